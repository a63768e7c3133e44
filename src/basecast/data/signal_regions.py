"""Which stretches of a genome are learnt from, and which test what was learnt, so that neither sees the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data import splits
from basecast.data.store import SPLITS
from basecast.errors import InputError
from basecast.genome.intervals import Interval, merged
from basecast.genome.reference import Genome
from basecast.genome.sequence import N

_READ = 1 << 24
_GAP = 1000
"""Bases of N in a row from which on a stretch ends, as at a gap."""


class Piece(NamedTuple):
    """A stretch of a contig, on whole bins; ``split`` is an index of `store.SPLITS`, ``fold`` -1 without folds."""

    contig: str
    start: int
    end: int
    split: int
    fold: int = -1

    @property
    def interval(self) -> Interval:
        return Interval(self.contig, self.start, self.end)


class Cover:
    """How many bases of some stretches, which do not overlap, lie in windows."""

    def __init__(self, stretches: Iterable[tuple[int, int]]) -> None:
        ordered = np.array(sorted(stretches), dtype=np.int64).reshape(-1, 2)
        self._starts, self._ends = ordered[:, 0], ordered[:, 1]
        self._sums = np.concatenate([[0], np.cumsum(self._ends - self._starts)])

    def _before(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        i = np.searchsorted(self._starts, at)
        if not len(self._ends):
            return np.zeros_like(at)
        return self._sums[i] - np.where(i > 0, np.maximum(self._ends[i - 1] - at, 0), 0)

    def bases(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bases of each window [start, end)."""
        return self._before(ends) - self._before(starts)


def by_contig(intervals: Iterable[Interval]) -> dict[str, list[tuple[int, int]]]:
    """Starts and ends of the intervals of each contig."""
    found: dict[str, list[tuple[int, int]]] = {}
    for contig, start, end in intervals:
        found.setdefault(contig, []).append((start, end))
    return found


def stretches_of(
    genome: Genome,
    contigs: Sequence[str],
    gaps: Mapping[str, list[tuple[int, int]]],
    *,
    window: int,
    resolution: int,
    left_out: Counter[str],
) -> list[Interval]:
    """The contigs without their gaps, on whole bins; shorter ones than a window are counted in ``left_out``.

    Raises:
        InputError: none is as long as a window.
    """
    found = []
    for contig in contigs:
        start = 0
        if genome.lengths[contig] < window:
            left_out["contigs shorter than a window"] += 1
            continue
        closed = list(merged([*gaps.get(contig, []), *_long_unknown(genome, contig)]))
        for low, high in [*closed, (genome.lengths[contig],) * 2]:
            first, last = -(-start // resolution) * resolution, low // resolution * resolution
            if last - first >= window:
                found.append(Interval(contig, first, last))
            elif low > start:
                left_out["stretches between gaps that are shorter than a window"] += 1
            start = high
    if not found:
        longest = max((genome.lengths[contig] for contig in contigs), default=0)
        raise InputError(
            f"no stretch of {genome.path} without a gap is as long as a window of {window:,} bases (its longest contig "
            f"has {longest:,}): give a shorter --window"
        )
    return found


def _long_unknown(genome: Genome, contig: str) -> list[tuple[int, int]]:
    """Runs of N of a contig that are gaps."""
    runs = []
    for at in range(0, genome.lengths[contig], _READ):
        is_n = genome.tokens(contig, at, min(at + _READ, genome.lengths[contig])) == N
        edges = np.flatnonzero(np.diff(np.concatenate([[False], is_n, [False]]).astype(np.int8)))
        runs += [(at + int(a), at + int(b)) for a, b in edges.reshape(-1, 2)]
    return [(start, end) for start, end in merged(runs) if end - start >= _GAP]


def pieces_of(stretches: Iterable[Interval], length: int, window: int) -> list[Interval]:
    """The stretches cut into pieces of about ``length`` bases, each a whole number of windows but the last of each."""
    size = max(length // window, 1) * window
    found = []
    for contig, start, end in stretches:
        starts = list(range(start, end, size))
        if len(starts) > 1 and end - starts[-1] < window:
            del starts[-1]
        found += [Interval(contig, a, b) for a, b in zip(starts, [*starts[1:], end], strict=True)]
    return found


def drawn(
    pieces: Sequence[Interval], named: Mapping[str, int], shares: tuple[float, float, float], seed: int
) -> NDArray[np.int64]:
    """The split of each piece: that of its contig where it has one, else drawn.

    Args:
        named: contig -> split.
        shares: of train, validation and test in the bases that are drawn; where a contig stands for a split, none is
            drawn for it.
    """
    found = np.array([named.get(piece.contig, -1) for piece in pieces], dtype=np.int64)
    left = np.flatnonzero(found < 0)
    if left.size:
        lengths = np.array([pieces[i].end - pieces[i].start for i in left.tolist()])
        wanted = [0.0 if split in named.values() else share for split, share in enumerate(shares)]
        wanted[splits.TRAIN] = 1 - sum(wanted[1:])
        found[left] = splits.by_size(np.arange(left.size), lengths, wanted, seed)
    return found


def folded(pieces: Sequence[Interval], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each piece, of about as many bases each."""
    lengths = np.array([piece.end - piece.start for piece in pieces])
    return splits.by_size(np.arange(len(pieces)), lengths, [1 / folds] * folds, seed)


def kept_apart(
    pieces: Sequence[Piece], flank: int, *, window: int, resolution: int, left_out: Counter[str]
) -> list[Piece]:
    """The pieces so that none lies within ``flank`` bases of one of another split or fold: the later one begins later.

    What is left of a piece is at least a window; shorter rests, and bases cut off, are counted in ``left_out``.
    """
    found: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.contig, piece.start)):
        # an earlier end may lie beyond a short neighbour, so all ends of the contig count
        start = piece.start
        for other in reversed(found):
            if other.contig != piece.contig or other.end + flank <= piece.start:
                break
            if (other.split, other.fold) != (piece.split, piece.fold):
                start = max(start, -(-(other.end + flank) // resolution) * resolution)
        if piece.end - start >= window:
            found.append(piece._replace(start=start))
        else:
            left_out["pieces that are too short beside another split"] += 1
        left_out["bases kept apart from another split"] += min(start, piece.end) - piece.start
    order = {piece.contig: i for i, piece in reversed(list(enumerate(pieces)))}
    return sorted(found, key=lambda piece: (order[piece.contig], piece.start))


def mappable(
    pieces: Iterable[Piece],
    unmappable: Mapping[str, list[tuple[int, int]]],
    most: float,
    *,
    window: int,
    left_out: Counter[str],
) -> list[Piece]:
    """The pieces without those windows of their grid of which more than the share ``most`` is unmappable."""
    found = []
    for piece in pieces:
        starts = np.arange(piece.start, piece.end, window)
        ends = np.append(starts[1:], piece.end)
        share = Cover(unmappable.get(piece.contig, ())).bases(starts, ends) / (ends - starts)
        kept = share <= most
        left_out["windows that are unmappable"] += int((~kept).sum())
        edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
        for a, b in edges.reshape(-1, 2):
            if ends[b - 1] - starts[a] >= window:
                found.append(piece._replace(start=int(starts[a]), end=int(ends[b - 1])))
    return found


def split_table(pieces: Sequence[Piece]) -> pl.DataFrame:
    """``splits.tsv``: a row a piece, 0-based half-open."""
    return pl.DataFrame(
        [(p.contig, p.start, p.end, SPLITS[p.split], None if p.fold < 0 else f"fold{p.fold}") for p in pieces],
        schema={"contig": pl.String, "start": pl.Int64, "end": pl.Int64, "split": pl.String, "fold": pl.String},
        orient="row",
    )
