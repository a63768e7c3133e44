"""The parts of a genome put together: reads with several places shared among them, all that is counted in its place."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from basecast.coverage.events import KINDS, LONGEST
from basecast.coverage.fragments import FragmentLength
from basecast.coverage.layout import Layout
from basecast.coverage.multireads import Groups, Shares, grouped, shares
from basecast.coverage.positions import summed
from basecast.coverage.reading import Part
from basecast.coverage.settings import CoverageSettings
from basecast.coverage.smoothing import reach, smoothed_at

Ints = NDArray[np.int64]

_STEPS = 8  # of the smoothing's grid within a standard deviation
_FEW = 100  # fragments of proper pairs: fewer do not tell their length


@dataclass(frozen=True)
class Lane:
    """One track of a part: positions of the line, ascending, and what is there.

    Attributes:
        at, values: events, or where whole reads are counted changes of coverage.
        single_at, single: events of reads with one place.
        shared_at: places of reads with several.
    """

    at: Ints
    values: Float64[np.ndarray, " positions"]
    single_at: Ints
    single: Int64[np.ndarray, " positions"]
    shared_at: Ints


def names_told(load: Callable[[int], Part], count: int) -> NDArray[np.void] | None:
    """Digests, ascending, of the reads of which nothing but the flags of other records tells that they have several
    places; None where there are none.
    """
    found = []
    for number in range(count):
        part = load(number)
        if part.needs_names:
            others = part.places[(part.places["places"] == 0) & ~part.places["is_first"]]
            found.append(others[["first", "second"]])
    if not found:
        return None
    every = np.concatenate(found)
    every = every[np.lexsort((every["second"], every["first"]))]
    return every[np.append(True, every[1:] != every[:-1])]


class Join:
    """All parts of a genome.

    Args:
        load: gives a part by its number.

    Attributes:
        counts: alignments and reads, by what became of them.
        templates, spans: how often fragments of pairs, and alignments, have each length up to ``LONGEST``.
        fragment: pairs of 5' ends by the length between them, where that was looked at.
        length: of the fragments, where their centres are counted.
        shares: how reads with several places were shared.
        largest: of each such read, the share of its best place if shared evenly, and as it was shared.
    """

    def __init__(self, load: Callable[[int], Part], layout: Layout, settings: CoverageSettings) -> None:
        self.layout, self.settings, self._load = layout, settings, load
        self.counts: Counter[str] = Counter()
        self.templates, self.spans = np.zeros((2, LONGEST + 1), np.int64)
        places, blocks, before = [], [], 0
        is_single = False  # whether any event is that of a single read
        for number in range(len(layout.parts)):
            part = load(number)
            self.counts.update(part.counts)
            self.templates += part.templates
            self.spans += part.spans
            part.blocks["place"] += before
            before += len(part.places)
            places.append(part.places)
            blocks.append(part.blocks)
            is_single |= any(len(at) for at, _ in part.events[:4]) or bool((part.places["kind"] < 4).any())
        every = np.concatenate(places)
        groups = grouped(every, settings.max_places, self.counts)
        self.fragment: FragmentLength | None = None
        self.length = self._fragment_length(is_single) if settings.event == "centres" else None
        self._shifts = self._shifts_by_kind()
        self._at, self._lane = self._placed(every["at"][groups.rows], every["kind"][groups.rows])
        self._single_at, self._single_lane = self._placed(every["at"][groups.single], every["kind"][groups.single])
        self.shares = self._shared(groups)
        n_places = np.diff(np.append(groups.firsts, len(groups.rows)))
        self.places = Counter(dict(enumerate(np.bincount(n_places).tolist())))
        firsts = groups.firsts
        self.largest = 1 / n_places, np.maximum.reduceat(self.shares.weights, firsts) if len(firsts) else np.empty(0)
        self._blocks = np.concatenate(blocks)
        if settings.event == "reads":
            weights, lanes = np.zeros(len(every)), np.zeros(len(every), np.int64)
            weights[groups.rows], lanes[groups.rows] = self.shares.weights, self._lane
            weights[groups.single], lanes[groups.single] = 1, self._single_lane
            self._block_weights, self._block_lanes = weights[self._blocks["place"]], lanes[self._blocks["place"]]

    @property
    def lanes(self) -> range:
        """Tracks, by number: one, or forward and reverse."""
        return range(1 if self.settings.strands == "both" else 2)

    def lane(self, number: int, lane: int) -> Lane:
        """A track of a part."""
        start, end = self.layout.start(number), self.layout.end(number)
        part = self._load(number)
        mine = _within(self._at, start, end) & (self._lane == lane)
        single_at, single = self._single(number, part, lane)
        shared_at = np.unique(self._at[mine])
        if self.settings.event != "reads":
            shared = (self._at[mine], self.shares.weights[mine])
            at, values = summed([(single_at, single), shared])
        else:
            blocks = _within(self._blocks["start"], start, end) & (self._block_lanes == lane)
            weights, chosen = self._block_weights[blocks], self._blocks[blocks]
            at, values = summed([part.edges[lane], (chosen["start"], weights), (chosen["end"], -weights)])
        return Lane(at, values.astype(np.float64), single_at, single, shared_at)

    def _single(self, number: int, part: Part, lane: int) -> tuple[Ints, Ints]:
        """Events of reads with one place, moved to where they are counted."""
        start, end = self.layout.start(number), self.layout.end(number)
        alone = self._single_at[_within(self._single_at, start, end) & (self._single_lane == lane)]
        some = [(alone, np.ones(len(alone), np.int64))]
        for kind in (2 * lane, 2 * lane + 1, 4 + lane):
            at, counts = part.events[kind]
            some.append((self.layout.within(at + self._shifts[kind], self.layout.contig_of(at)), counts))
        return summed(some)

    def _placed(self, at: Ints, kinds: NDArray[np.uint8]) -> tuple[Ints, Ints]:
        moved = self.layout.within(at + self._shifts[kinds], self.layout.contig_of(at))
        return moved, np.where(kinds >= 4, kinds - 4, kinds // 2).astype(np.int64)

    def _shifts_by_kind(self) -> Ints:
        shifts = np.zeros(KINDS, np.int64)
        shifts[[0, 2]], shifts[[1, 3]] = self.settings.shift_forward, self.settings.shift_reverse
        if self.length is not None:  # to the base that is the centre of a proper pair's fragment too
            shifts[[0, 2]] += self.length // 2
            shifts[[1, 3]] -= (self.length - 1) // 2
        return shifts

    def _fragment_length(self, is_single: bool) -> int | None:
        if self.settings.fragment_length is not None or not is_single:
            return self.settings.fragment_length
        if self.templates[:LONGEST].sum() >= _FEW:
            return int(np.searchsorted(np.cumsum(self.templates), self.templates.sum() / 2))
        self.fragment = FragmentLength(read_length=int(self.spans.argmax()) or None)
        for number in range(len(self.layout.parts)):
            part = self._load(number)
            forward, reverse = (summed([part.events[strand], part.events[strand + 2]]) for strand in (0, 1))
            bounds = self.layout.bounds[self.layout.parts[number].start : self.layout.parts[number].stop + 1]
            cuts = [np.searchsorted(at, bounds) for at, _ in (forward, reverse)]
            for contig in np.flatnonzero((np.diff(cuts[0]) > 0) & (np.diff(cuts[1]) > 0)):
                (f, g), (r, s) = ((cut[contig], cut[contig + 1]) for cut in cuts)
                self.fragment.add(forward[0][f:g], forward[1][f:g], reverse[0][r:s], reverse[1][r:s])
        return self.fragment.length

    def _shared(self, groups: Groups) -> Shares:
        grid = _Grid(self.layout, self.settings.sigma)
        return shares(
            grid.keys(self._at, self._lane),
            groups.firsts,
            lambda keys: self._prior(keys, grid),
            sigma=grid.sigma,
            iterations=self.settings.iterations,
        )

    def _prior(self, keys: Ints, grid: _Grid) -> Float64[np.ndarray, " keys"]:
        """Smoothed coverage at keys, which ascend, by reads with one place."""
        found = np.zeros(len(keys))
        for number, lane in itertools.product(range(len(self.layout.parts)), self.lanes):
            first, last = grid.range(self.layout.parts[number], lane)
            wanted = slice(*np.searchsorted(keys, [first, last]).tolist())
            asked = keys[wanted]
            if len(asked):
                at, counts = self._single(number, self._load(number), lane)
                where, mass = summed([(grid.keys(at, np.full(len(at), lane)), counts)])
                after = np.searchsorted(asked, where)
                ahead = asked[np.minimum(after, len(asked) - 1)] - where
                behind = where - asked[np.maximum(after - 1, 0)]
                near = (np.abs(ahead) <= grid.reach) | (np.abs(behind) <= grid.reach)
                every = np.union1d(asked, where[near])
                there = np.zeros(len(every))
                there[np.searchsorted(every, where[near])] = mass[near]
                found[wanted] = smoothed_at(every, there, grid.sigma)[np.searchsorted(every, asked)]
        return found


def _within(at: Ints, start: int, end: int) -> NDArray[np.bool_]:
    return (at >= start) & (at < end)


class _Grid:
    """Steps in which coverage is smoothed: a fraction of the standard deviation, contigs and lanes out of reach of each
    other.
    """

    def __init__(self, layout: Layout, sigma: float) -> None:
        self.step = max(int(sigma / _STEPS), 1)
        self.sigma = sigma / self.step
        self.reach = reach(self.sigma)
        self._layout = layout
        sizes = np.diff(layout.bounds) // self.step + 1 + self.reach
        self._offsets = np.append(0, np.cumsum(sizes))

    def keys(self, at: Ints, lane: Ints) -> Ints:
        contigs = self._layout.contig_of(at)
        inside = (at - self._layout.bounds[contigs]) // self.step
        return inside + self._offsets[contigs] + lane * self._offsets[-1]

    def range(self, contigs: range, lane: int) -> tuple[int, int]:
        first, last = self._offsets[[contigs.start, contigs.stop]] + lane * self._offsets[-1]
        return int(first), int(last)
