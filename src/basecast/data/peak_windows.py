"""Windows centred on peaks, and windows of background that have the peaks' GC."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from basecast.data.contig_groups import text_lines
from basecast.data.signal_regions import Cover, Piece, by_contig
from basecast.data.splits import TRAIN
from basecast.errors import InputError, counted
from basecast.genome.intervals import Interval, merged
from basecast.genome.reference import Genome

_SUMMIT = 9  # column of narrowPeak
_STEPS = 100  # GC is matched to a percent


class Peaks(NamedTuple):
    """Peaks of a file, in its order."""

    path: Path
    names: list[str]
    intervals: list[Interval]
    centres: list[int]

    @classmethod
    def read(cls, path: str | os.PathLike[str], genome: Genome, *, summit: bool = False) -> Self:
        """BED or narrowPeak, plain or gzipped.

        Args:
            summit: the centre is the summit that narrowPeak's tenth column tells, not the middle.

        Raises:
            InputError: the file cannot be read or has no peak; a line is no BED, lies off its contig or tells no
                summit where it is asked for.
        """
        names, intervals, centres = [], [], []
        for number, line in enumerate(text_lines(Path(path), "the peaks"), 1):
            if not line.strip() or line.startswith("#") or line.split()[0] in ("track", "browser"):
                continue
            cells, where = line.split("\t"), f"line {number} of {path}"
            if len(cells) < 3 or not (cells[1].strip().isdecimal() and cells[2].strip().isdecimal()):
                raise InputError(f"{where} is no BED ({line[:60]!r}): a line is CONTIG, START, END, separated by tabs")
            start, end, contig = int(cells[1]), int(cells[2]), genome.resolve(cells[0])
            if contig is None:
                raise InputError(
                    f"line {number}: {genome.contigs.describe_unknown(cells[0], str(path), 'a text editor')}"
                )
            if not start < end <= genome.lengths[contig]:
                raise InputError(
                    f"{where}: {start}-{end} is empty or ends past {contig}, which has {genome.lengths[contig]:,} "
                    "bases: is it of another genome build?"
                )
            centre = (start + end) // 2
            if summit:
                said = cells[_SUMMIT].strip() if len(cells) > _SUMMIT else ""
                if not said.isdecimal() or int(said) >= end - start:
                    raise InputError(
                        f"{where} tells no summit in its tenth column ({said or 'none'}): give narrowPeak of a program "
                        "that calls summits, or leave --summit out"
                    )
                centre = start + int(said)
            names.append(cells[3].strip() if len(cells) > 3 and cells[3].strip() not in ("", ".") else f"peak{number}")
            intervals.append(Interval(contig, start, end))
            centres.append(centre)
        if not names:
            raise InputError(f"{path} names no peak: a line is CONTIG, START, END, separated by tabs")
        return cls(Path(path), names, intervals, centres)


def centred(
    peaks: Peaks,
    pieces: Sequence[Piece],
    *,
    window: int,
    resolution: int,
    jitter: int,
    seed: int,
    left_out: Counter[str],
) -> list[tuple[Piece, str]]:
    """A window for each peak in a piece, which it does not leave, and the peak's name; in the order of the pieces.

    Args:
        jitter: windows of train are moved off their peak by up to so many bases.
    """
    places: dict[str, list[Piece]] = {}
    for piece in pieces:
        places.setdefault(piece.contig, []).append(piece)
    starts = {contig: [piece.start for piece in own] for contig, own in places.items()}
    moves = np.random.default_rng(seed).integers(-jitter, jitter + 1, len(peaks.names)).tolist()
    found: dict[tuple[str, int], tuple[Piece, str]] = {}
    for name, interval, centre, move in zip(peaks.names, peaks.intervals, peaks.centres, moves, strict=True):
        at = bisect_right(starts.get(interval.contig, []), centre) - 1
        if at < 0 or centre >= places[interval.contig][at].end:
            left_out["peaks outside the stretches that are learnt from"] += 1
            continue
        piece = places[interval.contig][at]
        start = centre - window // 2 + (move if piece.split == TRAIN else 0)
        start = min(max(round(start / resolution) * resolution, piece.start), piece.end - window)
        if (piece.contig, start) in found:
            left_out["peaks with the window of another"] += 1
            continue
        found[piece.contig, start] = piece._replace(start=start, end=start + window), name
    order = {piece.contig: i for i, piece in reversed(list(enumerate(pieces)))}
    return sorted(found.values(), key=lambda item: (order[item[0].contig], item[0].start))


def background(
    peaks: Peaks,
    chosen: Sequence[tuple[Piece, str]],
    pieces: Sequence[Piece],
    genome: Genome,
    *,
    window: int,
    share: float,
    seed: int,
) -> tuple[list[Piece], tuple[str, ...]]:
    """Windows of the pieces without a base of any peak, ``share`` for each chosen one of its split, alike in GC.

    For each peak in random order the nearest GC, to a percent, that is left over. Also a note where there are too few.
    """
    rng = np.random.default_rng([seed, 1])
    of_peaks = {contig: Cover(merged(own)) for contig, own in by_contig(peaks.intervals).items()}
    candidates: list[Piece] = []
    gc: list[NDArray[np.float64]] = []
    for piece in pieces:
        starts = np.arange(piece.start, piece.end - window + 1, window)
        taken = of_peaks[piece.contig].bases(starts, starts + window) if piece.contig in of_peaks else starts * 0
        free = starts[taken == 0]
        candidates += [piece._replace(start=start, end=start + window) for start in free.tolist()]
        gc.append(_gc(genome, piece, free, window))
    shares, of_split = np.concatenate(gc), np.array([piece.split for piece in candidates], dtype=np.int64)
    found: list[Piece] = []
    wanted = 0
    for split in sorted({piece.split for piece, _ in chosen}):
        own = [piece for piece, _ in chosen if piece.split == split]
        aims = np.concatenate([_gc(genome, piece, np.array([piece.start]), window) for piece in own])
        n = round(share * len(own))
        wanted += n
        rounds = [rng.permutation(len(own)) for _ in range(-(-n // len(own)))]
        order = np.concatenate([np.zeros(0, dtype=np.int64), *rounds])[:n]
        left = _Bins(rng.permutation(np.flatnonzero(of_split == split)), shares)
        found += [candidates[i] for i in (left.nearest(float(aims[peak])) for peak in order.tolist()) if i is not None]
    notes: tuple[str, ...] = ()
    if len(found) < wanted:
        notes = (f"{counted(len(found), 'window')} of background, {wanted:,} were asked for: no more is free of peaks",)
    order_of = {piece.contig: i for i, piece in reversed(list(enumerate(pieces)))}
    return sorted(found, key=lambda piece: (order_of[piece.contig], piece.start)), notes


def _gc(genome: Genome, piece: Piece, starts: NDArray[np.int64], window: int) -> NDArray[np.float64]:
    """The share of G and C in the windows of a piece that begin at ``starts``."""
    tokens = genome.tokens(piece.contig, piece.start, piece.end)
    sums = np.concatenate([[0], np.cumsum((tokens == 1) | (tokens == 2))])
    at = starts - piece.start
    return (sums[at + window] - sums[at]) / window


class _Bins:
    """Windows by GC, each given away once."""

    def __init__(self, windows: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
        self._of: list[list[int]] = [[] for _ in range(_STEPS + 1)]
        for window in windows.tolist():
            self._of[round(float(shares[window]) * _STEPS)].append(window)

    def nearest(self, share: float) -> int | None:
        """A window whose GC is nearest to ``share``; None where none is left."""
        aim = round(share * _STEPS)
        for step in sorted(range(_STEPS + 1), key=lambda step: abs(step - aim)):
            if self._of[step]:
                return self._of[step].pop()
        return None
