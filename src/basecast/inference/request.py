"""What is asked of an engine, and in which orientation it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from basecast.errors import InputError, UsageError
from basecast.genome.sequence import Tokens
from basecast.genome.source import Source
from basecast.inference.tiling import Tile
from basecast.spec import ModelSpec, Output


@runtime_checkable
class TrackSource(Protocol):
    """Where an input track comes from."""

    def values(self, contig: str, start: int, end: int) -> Float[np.ndarray, "channels bins"]:
        """Bins of [start, end); NaN where there is no value."""


@dataclass(frozen=True, eq=False)
class Request:
    """Outputs at [start, end) of a contig, read on ``strand``."""

    source: Source
    contig: str
    start: int
    end: int
    strand: str = "+"
    conditions: Mapping[str, str] = field(default_factory=dict)
    tracks: Mapping[str, TrackSource] = field(default_factory=dict)
    base: Request | None = None
    """The request on the unaltered source, where this one's source is altered; asked together they share work."""


@dataclass(frozen=True, eq=False)
class Window:
    """What a network is shown, in the orientation of the request's strand; ``key`` is equal where all of it is."""

    request: Request
    tile: Tile
    tokens: Tokens
    inputs: Mapping[str, Float[np.ndarray, "channels bins"]]
    key: bytes


def asked(
    spec: ModelSpec, outputs: Sequence[str] | None, tracks: Mapping[str, Sequence[int]] | None
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """The outputs asked for, all where None, and the tracks chosen of some.

    Raises:
        UsageError: an output or a track is not the model's.
    """
    known = {output.name: len(output.tracks) for output in spec.outputs}
    names = tuple(outputs) if outputs is not None else tuple(known)
    chosen = {name: list(indices) for name, indices in (tracks or {}).items()}
    for name in (*names, *chosen):
        if name not in known:
            raise UsageError(f"{spec.name} has no output {name!r}, only {list(known)}")
        if not set(chosen.get(name, [])) <= set(range(known[name])):
            raise UsageError(f"{name} of {spec.name} has tracks 0 to {known[name] - 1}, not {chosen[name]}")
    return names, chosen


def flip(values: Float[np.ndarray, ...], output: Output, chosen: Sequence[int] | None = None) -> Float[np.ndarray, ...]:
    """Values of the reverse-complemented window as those of the window; done twice it changes nothing.

    Raises:
        UsageError: the tracks chosen are not closed under the permutation.
    """
    rule = output.reverse_complement
    if rule.permutation:
        kept = list(chosen) if chosen is not None else list(range(len(output.tracks)))
        if not {rule.permutation[i] for i in kept} <= set(kept):
            raise UsageError(
                f"tracks {kept} of {output.name} swap with others on the minus strand: choose both strands"
            )
        values = values[..., [kept.index(rule.permutation[i]) for i in kept]]
    for axis in range(values.ndim - 1):
        values = np.flip(values, axis)
        if rule.shift:
            values = np.roll(values, rule.shift, axis)
    return values


def joined(
    spec: ModelSpec,
    name: str,
    windows: Sequence[Window],
    values: Sequence[Float[np.ndarray, ...]],
    chosen: Mapping[str, Sequence[int]],
) -> Float[np.ndarray, ...]:
    """One array of what the windows of a request gave, in the order of the contig.

    Raises:
        InputError: a window gave more or fewer bins than the spec says.
        UsageError: it takes several windows of an output that is given a window at a time.
    """
    output = spec.output(name)
    pieces = []
    for window, value in zip(windows, values, strict=True):
        tile = window.tile
        if window.request.strand == "-":
            value = flip(value, output, chosen.get(name))
        if output.axes in ("position", "position_pair"):
            first, last = (at // output.resolution for at in (tile.seen_start, tile.seen_end))
            if len(value) != last - first - 2 * output.crop:
                raise InputError(
                    f"{spec.name} gives {len(value)} bins of {name} where its config promises "
                    f"{last - first - 2 * output.crop}: reach, resolution or crop is wrong"
                )
            begin, stop = ((at - tile.seen_start) // output.resolution - output.crop for at in (tile.start, tile.end))
            value = value[begin:stop] if output.axes == "position" else value[begin:stop, begin:stop]
        pieces.append(value)
    if output.axes != "position" and len(pieces) > 1:
        stretch = windows[0].request
        raise UsageError(
            f"{name} of {spec.name} is given a window at a time: [{stretch.start}, {stretch.end}) needs several"
        )
    return np.concatenate(pieces)  # a copy: what is remembered stays as it is
