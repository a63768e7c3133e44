"""What can be wrong with a dataset of tracks, looked for in every value of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import Field

from basecast.data.opening import open_split
from basecast.data.signal_bins import clipped
from basecast.data.store import SPLITS, Dataset
from basecast.errors import InputError, counted
from basecast.spec.model import Frozen, Track

_MUCH = 0.01
"""Share of the bins at the clip above which a clip is worth a word."""


class TrackCheck(Frozen):
    """One track of one split, over the bins that have a label."""

    split: str
    track: str
    bins: int
    nan: int
    infinite: int
    negative: int
    zero: float | None = Field(description="share of the bins, 0..1; as the others None where there is no bin")
    soft_clipped: float | None = Field(description="share of the bins that the soft clip made smaller")
    clipped: float | None = Field(description="share of the bins at the clip")
    mean: float | None = Field(description="as a model is taught it, as the largest")
    largest: float | None


class Replicates(Frozen):
    """Two tracks of one description, assay and strand."""

    split: str
    a: str
    b: str
    pearson: float | None = Field(description="over bins as a model is taught them; None where one does not vary")


class CheckReport(Frozen):
    """What was found."""

    dataset: str
    tracks: tuple[TrackCheck, ...]
    replicates: tuple[Replicates, ...]
    wrong: tuple[str, ...] = Field(description="what must be mended before training")
    notes: tuple[str, ...] = Field(description="what is worth a look")


def check(folder: str | os.PathLike[str]) -> CheckReport:
    """Look at every value of a dataset of tracks.

    Raises:
        InputError: there is no dataset, it is damaged, or it has no tracks with values in bins.
    """
    found = [name for name in SPLITS if (Path(folder) / f"{name}.h5").is_file()]
    datasets = {name: open_split(folder, name) for name in found or SPLITS[:1]}
    tracks: list[TrackCheck] = []
    replicates: list[Replicates] = []
    for split, dataset in datasets.items():
        outputs = [o for o in dataset.header.outputs if o.name in dataset.header.dense and not o.has_classes]
        if not outputs:
            raise InputError(
                f"{dataset.path} has no tracks with values in bins, which this looks at: give a folder that "
                "'basecast create-data --targets' wrote"
            )
        for output in outputs:
            more, pairs = _checked(dataset, output.name, split)
            tracks += more
            replicates += pairs
    return CheckReport(
        dataset=str(folder),
        tracks=tuple(tracks),
        replicates=tuple(replicates),
        wrong=tuple(said for track in tracks for said in _wrong(track)),
        notes=tuple(
            f"{track.split}: {track.clipped:.1%} of the bins of {track.track} are at its clip"
            for track in tracks
            if track.clipped is not None and track.clipped > _MUCH
        ),
    )


def _wrong(track: TrackCheck) -> list[str]:
    place = f"{track.split}: {track.track}"
    if not track.bins:
        return [f"{place} has no bin with a label"]
    met = (("NaN", track.nan), ("infinite values", track.infinite), ("values below 0", track.negative))
    said = [f"{place} has {what} in {counted(n, 'bin')}" for what, n in met if n]
    return said + ([f"{place} is 0 in all of {counted(track.bins, 'bin')}"] if track.zero == 1 else [])


def _checked(dataset: Dataset, output: str, split: str) -> tuple[list[TrackCheck], list[Replicates]]:
    tracks = dataset.header.output(output).tracks
    pairs = replicate_pairs(tracks)
    counts = np.zeros((6, len(tracks)), dtype=np.int64)  # NaN, infinite, below 0, zero, soft clipped, clipped
    sums, largest = np.zeros(len(tracks)), np.full(len(tracks), -np.inf)
    moments = _Moments(pairs)
    bins = 0
    for record, length in enumerate(dataset.lengths.tolist()):
        values = dataset.labels(record, 0, length, output)[dataset.valid(record, 0, length, output)]
        bins += len(values)
        counts[0] += np.isnan(values).sum(axis=0)
        counts[1] += np.isinf(values).sum(axis=0)
        values = np.where(np.isfinite(values), values, 0)
        counts[2] += (values < 0).sum(axis=0)
        counts[3] += (values == 0).sum(axis=0)
        for i, track in enumerate(tracks):
            counts[4:, i] += clipped(values[:, i], track.transform)
        sums += values.sum(axis=0, dtype=np.float64)
        largest = np.maximum(largest, values.max(axis=0, initial=-np.inf))
        moments.add(values)

    def share(n: int) -> float | None:
        return n / bins if bins else None

    checks = [
        TrackCheck(
            split=split,
            track=track.name,
            bins=bins,
            nan=int(nan),
            infinite=int(infinite),
            negative=int(negative),
            zero=share(int(zero - nan - infinite)),
            soft_clipped=share(int(soft)),
            clipped=share(int(hard)),
            mean=share(sums[i]),
            largest=float(largest[i]) if bins else None,
        )
        for i, (track, (nan, infinite, negative, zero, soft, hard)) in enumerate(zip(tracks, counts.T, strict=True))
    ]
    found = zip(pairs, moments.pearson(), strict=True)
    return checks, [Replicates(split=split, a=tracks[a].name, b=tracks[b].name, pearson=r) for (a, b), r in found]


def replicate_pairs(tracks: Sequence[Track]) -> list[tuple[int, int]]:
    """Pairs of tracks that have one description, assay and strand."""
    alike: dict[tuple[str, str, str], list[int]] = {}
    for i, track in enumerate(tracks):
        if track.description:
            alike.setdefault((track.description, track.assay, track.strand), []).append(i)
    return [pair for group in alike.values() for pair in combinations(group, 2)]


class _Moments:
    """Sums of tracks and of pairs of them, in float64, about the means of what came first."""

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._a, self._b = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
        self._sums = np.zeros((6, len(pairs)))
        self._about: Float[np.ndarray, " tracks"] | None = None

    def add(self, values: Float[np.ndarray, "bins tracks"]) -> None:
        if not len(values) or not len(self._a):
            return
        if self._about is None:
            self._about = values.mean(axis=0, dtype=np.float64)
        x, y = (values[:, side] - self._about[side] for side in (self._a, self._b))
        self._sums += [
            np.full(len(self._a), len(x)),
            x.sum(0),
            y.sum(0),
            (x * x).sum(0),
            (y * y).sum(0),
            (x * y).sum(0),
        ]

    def pearson(self) -> list[float | None]:
        """Of each pair."""
        n, x, y, xx, yy, xy = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            r = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
        return [float(value) if np.isfinite(value) else None for value in r]
