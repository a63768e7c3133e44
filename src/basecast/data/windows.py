"""Which windows an epoch sees: a pure function of the data, the seed and the epoch, so that nothing needs replaying.

A window is a stretch of label positions of one record; it may begin before the record and end after it, where positions
count as unknown. Where labels are of bins it begins on one. Batches are cut from the epoch's order, so workers and
devices do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import Field, model_validator

from basecast.errors import UsageError
from basecast.spec.model import Frozen, Output

Kind = Literal["grid", "random-phase", "biased"]


class Sampling(Frozen):
    """How the windows of an epoch are chosen.

    ``grid``: each record cut from its start, every window once. ``random-phase``: the same with a new offset for each
    record and epoch, so that every position is seen once. ``biased``: drawn windows, a share of them around a site.
    """

    kind: Kind = "random-phase"
    window: int = Field(5000, ge=1, description="label positions of a window")
    splice_bias: float = Field(0.5, ge=0, le=1, description="biased: share of windows around a site")
    jitter: int | None = Field(
        None, ge=0, description="biased: a site lies at most so far from the centre; by default a quarter of a window"
    )
    samples_per_epoch: int | None = Field(
        None, ge=1, description="biased: windows an epoch; by default those of the grid"
    )
    importance_weights: bool = Field(True, description="biased: weigh positions by 1 / how often they are seen")

    @model_validator(mode="after")
    def _settings_agree(self) -> Sampling:
        if self.kind != "biased" and (self.jitter is not None or self.samples_per_epoch is not None):
            raise ValueError(f"jitter and samples per epoch go with biased sampling, not with {self.kind}")
        if self.reach > (self.window - 1) // 2:
            raise ValueError(f"with a jitter of {self.reach} a site may lie outside its window of {self.window}")
        return self

    @property
    def reach(self) -> int:
        """``jitter``, settled."""
        return self.window // 4 if self.jitter is None else self.jitter


class Augment(Frozen):
    """Other views of a window, drawn for each time that it is seen."""

    reverse_complement: bool = Field(False, description="half of the windows from the other strand")
    shift: int = Field(0, ge=0, description="largest distance that the sequence is moved under its targets")

    def check(self, output: Output) -> None:
        """Stop where other views of a window would have other labels than are known.

        Raises:
            UsageError: the output is of classes, or of one strand without the other.
        """
        if output.has_classes and self != Augment():
            raise UsageError(
                f"{output.name!r} lies on one strand and is known to the base: windows are shifted and read from the "
                "other strand for signals only"
            )
        order = output.reverse_complement.permutation or range(len(output.tracks))
        alone = [t.name for i, t in zip(order, output.tracks, strict=True) if t.strand != "." and output.tracks[i] == t]
        if alone and self.reverse_complement:
            raise UsageError(
                f"{alone[0]} is of one strand and has no pair on the other: name it as strand_pair when the data are "
                "made, or leave out other views with --no-augment-rc"
            )


class Places(NamedTuple):
    """What sampling knows of a dataset: the length of each record, and all sites end to end, by record."""

    lengths: Int[np.ndarray, " records"]
    offsets: Int[np.ndarray, " records+1"]
    sites: Int[np.ndarray, " sites"]
    bin: int = 1
    """Bases of the largest bin that has labels: windows begin on such."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of an epoch in their order.

    Attributes:
        dataset: which of several it lies in.
        record: of that dataset.
        start: counted from the record's first position; may be negative.
        is_flipped: whether it is read from the other strand.
        shift: bases by which its sequence is moved to the right under its targets.
    """

    dataset: NDArray[np.int16]
    record: NDArray[np.int32]
    start: NDArray[np.int64]
    is_flipped: NDArray[np.bool_]
    shift: NDArray[np.int64]

    @classmethod
    def at(cls, dataset: NDArray[np.int16], record: NDArray[np.int32], start: NDArray[np.int64]) -> Windows:
        """Windows as they stand."""
        return cls(dataset, record, start, np.zeros(len(start), dtype=bool), np.zeros(len(start), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, which: slice | NDArray[np.int64]) -> Windows:
        here = self.dataset[which], self.record[which], self.start[which]
        return Windows(*here, self.is_flipped[which], self.shift[which])


def share(windows: Windows, batch: int, size: int, rank: int = 0, world: int = 1) -> Windows:
    """The windows of one rank in batch number ``batch``; the ranks' shares together are the batch."""
    low = batch * size
    high = min(low + size, len(windows))
    a, b = (low + (high - low) * r // world for r in (rank, rank + 1))
    return windows[a:b]


def grid(lengths: Int[np.ndarray, " records"], window: int, phase: NDArray[np.int64] | int = 0) -> _Chosen:
    """Every record cut into windows that begin ``phase`` before it; together they hold each position once."""
    phases = np.broadcast_to(np.asarray(phase, dtype=np.int64), lengths.shape)
    counts = -(-(lengths + phases) // window)
    record = np.repeat(np.arange(len(lengths), dtype=np.int32), counts)
    nth = np.arange(len(record)) - np.repeat(np.cumsum(counts) - counts, counts)
    return record, nth * window - phases[record]


_Chosen = tuple[NDArray[np.int32], NDArray[np.int64]]


def epoch_windows(
    places: Sequence[Places], sampling: Sampling, seed: int, epoch: int, weights: Sequence[float] | None = None
) -> Windows:
    """The windows of one epoch, shuffled.

    Args:
        weights: for each dataset how often its windows are seen in an epoch: 2 is twice, 0.5 a random half; with
            ``biased`` its share of the samples, times its size.

    Raises:
        UsageError: no window is left to see, or ``biased`` is asked of data without a site.
    """
    weights = [1.0] * len(places) if weights is None else list(weights)
    chosen: list[_Chosen] = []
    shares = np.array([weight * _room(p, sampling).sum() for weight, p in zip(weights, places, strict=True)])
    for number, (place, weight) in enumerate(zip(places, weights, strict=True)):
        rng = _stream(seed, epoch, number)
        if sampling.kind == "biased":
            total = sampling.samples_per_epoch or sum(len(grid(p.lengths, sampling.window)[0]) for p in places)
            chosen.append(_biased(place, sampling, round(total * shares[number] / max(shares.sum(), 1)), rng))
        else:
            chosen.append(_repeated(place, sampling, weight, rng))
    windows = _joined(chosen)
    if not len(windows):
        raise UsageError("an epoch has no window: give data with records, and weights above 0")
    return windows[_stream(seed, epoch, len(places)).permutation(len(windows))]


def augmented(windows: Windows, augment: Augment, seed: int, epoch: int) -> Windows:
    """The windows of an epoch in other views; which it is depends on seed, epoch and place in the epoch alone."""
    if augment == Augment():
        return windows
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch], spawn_key=(1,))))
    flips = rng.random(len(windows)) < (0.5 if augment.reverse_complement else 0.0)
    shifts = rng.integers(-augment.shift, augment.shift + 1, len(windows))
    return replace(windows, is_flipped=flips, shift=shifts)


def every_window(places: Sequence[Places], window: int) -> Windows:
    """The grid of all records in their order: what is validated on."""
    return _joined([grid(place.lengths, window) for place in places])


def _joined(chosen: Sequence[_Chosen]) -> Windows:
    return Windows.at(
        np.repeat(np.arange(len(chosen), dtype=np.int16), [len(record) for record, _ in chosen]),
        np.concatenate([record for record, _ in chosen]),
        np.concatenate([start for _, start in chosen]),
    )


def _stream(seed: int, epoch: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, number])))


def _repeated(place: Places, sampling: Sampling, weight: float, rng: np.random.Generator) -> _Chosen:
    """A grid for each whole repeat, and a random share of one more for what is left of ``weight``."""
    parts = []
    for left in (1.0,) * int(weight) + (weight % 1,):
        is_random = sampling.kind == "random-phase"
        phase = rng.integers(0, sampling.window // place.bin, len(place.lengths)) * place.bin if is_random else 0
        record, start = grid(place.lengths, sampling.window, phase)
        if left < 1:
            kept = np.sort(rng.permutation(len(record))[: round(left * len(record))])
            record, start = record[kept], start[kept]
        parts.append((record, start))
    return np.concatenate([record for record, _ in parts]), np.concatenate([start for _, start in parts])


def _biased(place: Places, sampling: Sampling, n: int, rng: np.random.Generator) -> _Chosen:
    """A share of ``n`` windows within ``jitter`` of a site's centre, the rest anywhere, all positions alike."""
    n_near = round(n * sampling.splice_bias)
    if n_near and not len(place.sites):
        raise UsageError("a splice bias needs sites, and a dataset has none: sample by random-phase")
    site = rng.integers(0, max(len(place.sites), 1), n_near)
    near = np.searchsorted(place.offsets, site, side="right") - 1
    jitter = rng.integers(-sampling.reach, sampling.reach + 1, n_near)
    near_start = (place.sites[site] if n_near else site) - sampling.window // 2 + jitter
    room = _room(place, sampling)
    ends = np.cumsum(room)
    at = rng.integers(0, ends[-1], n - n_near)
    record = np.searchsorted(ends, at, side="right")
    start = (at - (ends - room)[record] + 1) * place.bin - sampling.window
    starts = np.concatenate([near_start // place.bin * place.bin, start])
    return np.concatenate([near, record]).astype(np.int32), starts.astype(np.int64)


def _room(place: Places, sampling: Sampling) -> NDArray[np.int64]:
    """In how many bins a window of each record may begin: from where it holds its first alone to where its last."""
    return (place.lengths + sampling.window) // place.bin - 1


def position_weights(place: Places, sampling: Sampling, record: int, start: int) -> Float[np.ndarray, " window"]:
    """What each position of a biased window counts: how often it would be seen without bias, over how often it is.

    With it the expected loss is that of all positions alike (Horvitz and Thompson 1952), for any share and jitter.
    """
    size, reach = sampling.window, sampling.reach
    if not sampling.importance_weights or not len(place.sites):
        return np.ones(size, dtype=np.float32)
    low, high = place.offsets[record : record + 2]
    sites = place.sites[low:high]
    # what begins within ``reach`` of an aim may be drawn for its site; a window holds x if it begins in (x - size, x]
    aims = sites - size // 2
    near = aims[np.searchsorted(aims, start - size - reach) : np.searchsorted(aims, start + size + reach, side="right")]
    begun = np.zeros(2 * size + 1)  # windows drawn for a site that begin at start - size + i, by how many sites
    firsts, lasts = near - reach - (start - size), near + reach + 1 - (start - size)
    np.add.at(begun, firsts.clip(0, 2 * size), 1)
    np.add.at(begun, lasts.clip(0, 2 * size), -1)
    holding = np.concatenate([[0.0], np.cumsum(np.cumsum(begun[:-1]))])
    seen = (holding[size + 1 : 2 * size + 1] - holding[1 : size + 1]) / (len(place.sites) * (2 * reach + 1))
    anywhere = size / float(place.bin * _room(place, sampling).sum())
    return (anywhere / ((1 - sampling.splice_bias) * anywhere + sampling.splice_bias * seen)).astype(np.float32)
