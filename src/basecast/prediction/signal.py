"""A model on a genome: the signal tracks of places, bin by bin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from basecast.errors import InputError, UsageError, counted
from basecast.genome.reference import Genome
from basecast.inference.request import Request
from basecast.inference.tiling import grain
from basecast.inference.untransform import untransformed
from basecast.inference.views import Views, evaluate
from basecast.prediction.settings import DeviceSettings, output_of
from basecast.prediction.stretches import few_lengths
from basecast.spec import Output, WindowReach
from basecast.zoo.package import Package


class SignalSettings(DeviceSettings):
    """Which signal is predicted, and how."""

    head: str | None = Field(None, description="the output; by default the only one along the sequence")
    tracks: tuple[str, ...] = Field((), description="names, or files with a name a line; none: all")
    views: Views = Views()
    untransform: bool = Field(False, description="as it was measured, not as the model was taught")
    length: int | None = Field(None, ge=1, description="so many bases about the middle of each region, each for itself")


class Place(NamedTuple):
    """[start, end) of a contig, whole bins, which may reach beyond the contig; ``row`` is that of its region."""

    contig: str
    start: int
    end: int
    row: int = 0


class SignalPredictor:
    """A model on a genome, ready to predict tracks.

    Raises:
        UsageError: the model gives no such output or track, needs more than the sequence, or has nothing to undo.
    """

    def __init__(self, package: Package, genome: Genome, settings: SignalSettings) -> None:
        self.package, self.genome, self.settings = package, genome, settings
        self.output = output_of(package.spec, settings.head)
        if self.output.has_classes:
            raise UsageError(f"{self.output.name} of {package.spec.name} has classes: predict its sites, no signal")
        needed = [condition.name for condition in package.spec.conditions]
        needed += [given.name for given in package.spec.inputs[1:]]
        if needed:
            raise UsageError(f"{package.spec.name} needs {', '.join(needed)} beside the sequence: ask an Engine for it")
        self.tracks = chosen_tracks(self.output, settings.tracks)
        bare = [self.output.tracks[i].transform is None for i in self.tracks]
        if settings.untransform and all(bare):
            raise UsageError(
                f"{package.spec.name} does not say what was done to its targets: there is nothing for --untransform"
            )
        self.warnings: list[str] = []
        if settings.untransform and any(bare):
            some = f"{counted(sum(bare), 'track')} of {len(bare)}"
            self.warnings.append(f"{some} have no transform and stay as the model gives them")
        self.engine = settings.engine(package)

    def values(self, places: Sequence[Place]) -> list[Float32[np.ndarray, "bins tracks"]]:
        """Bins of each place, from its start on.

        Raises:
            InputError: the model gives what is no number.
        """
        name, bin_ = self.output.name, self.output.resolution
        requests = [self._request(place) for place in places]
        answers = evaluate(self.engine, requests, self.settings.views, [name], {name: self.tracks})
        found = []
        for place, answer in zip(places, answers, strict=True):
            values = answer[name][: (place.end - place.start) // bin_]
            if self.settings.untransform:
                values = untransformed(values, self.output, self.tracks)
            if not np.isfinite(values).all():
                raise InputError(
                    f"{self.package.spec.name} gives values that are no numbers at {place.contig}:{place.start + 1}-"
                    f"{place.end}: its weights or config are wrong, or --precision bf16 is too coarse for it"
                )
            found.append(values)
        return found

    def payload(self, places: Sequence[Place]) -> bytes:
        """The places as a line of JSON, then their values as float32, little-endian, place by place, bin by bin.

        They are the same whatever was predicted before.
        """
        self.engine.forget()
        values = [np.ascontiguousarray(x, "<f4").tobytes() for x in self.values(places)]
        return b"".join([json.dumps(places).encode(), b"\n", *values])

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere opens the genome there; the model and the kernels travel."""
        names = [self.output.tracks[i].name for i in self.tracks] if self.settings.tracks else []
        update = {"tuning": self.engine.tuning, "tracks": tuple(names)}
        return SignalPredictor, (self.package, self.genome, self.settings.model_copy(update=update))

    def _request(self, place: Place) -> Request:
        step = grain(self.package.spec)
        size = -(-(place.end - place.start) // step) * step
        if not isinstance(self.package.spec.reach, WindowReach):
            size = few_lengths(size, self.engine.longest_tile, step)
        return Request(self.genome, place.contig, place.start, place.start + size)


def chosen_tracks(output: Output, asked: Sequence[str]) -> list[int]:
    """The tracks of an output with the names ``asked`` for, in that order; all where none are.

    A word that is no name is a file whose lines begin with one.

    Raises:
        UsageError: a word is neither.
        InputError: a line of a file begins with no name.
    """
    if not asked:
        return list(range(len(output.tracks)))
    places: dict[str, list[int]] = {}
    for i, track in enumerate(output.tracks):
        places.setdefault(track.name, []).append(i)
    found: list[int] = []
    for word in asked:
        if word in places:
            found += places[word]
        elif Path(word).is_file():
            for number, line in enumerate(Path(word).read_text().splitlines(), 1):
                name = line.split("\t")[0].strip()
                if name and name not in places:
                    raise InputError(f"line {number} of {word}: {output.name} has no track {name!r}")
                found += places.get(name, [])
        else:
            some = ", ".join(list(places)[:5]) + (", ..." if len(places) > 5 else "")
            raise UsageError(f"{output.name} has no track {word!r}, and there is no such file: its tracks are {some}")
    return list(dict.fromkeys(found))
