"""What coverage should be, from reads whose truth is known, and how far a track is from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from simulated import NEIGHBOURS, PEAK, Peaks, Reads, Repeat

from basecast.coverage.gc import gc_fraction

Tracks = Mapping[str, NDArray[np.float64]]
"""Contig -> coverage at each base."""

SD = 64.0  # of the GC window
AROUND = 600  # bases at each side of a peak that its fragments reach


def background(genome: Mapping[str, NDArray[np.uint8]], peaks: Sequence[Peaks], repeats: Sequence[Repeat]) -> Tracks:
    """1 where neither a peak nor a repeat is near, 0 elsewhere."""
    found = {name: np.ones(len(tokens)) for name, tokens in genome.items()}
    for one in peaks:
        for name, starts in one.starts.items():
            for start in starts:
                found[name][max(start - AROUND, 0) : start + PEAK + AROUND] = 0
    for repeat in repeats:
        for copy in repeat.copies:
            first = max(copy.start - NEIGHBOURS - AROUND, 0)
            found[copy.contig][first : copy.start + repeat.length + NEIGHBOURS + AROUND] = 0
    return found


def gc_slope(genome: Mapping[str, NDArray[np.uint8]], tracks: Tracks, where: Tracks) -> float:
    """Of log2 mean coverage over the GC share around the base, in twenty groups of as many bases each."""
    kept = np.concatenate([where[name] > 0 for name in genome])
    gc = np.concatenate([gc_fraction(tokens, SD) for tokens in genome.values()])[kept]
    coverage = np.concatenate([tracks[name] for name in genome])[kept]
    group = np.digitize(gc, np.quantile(gc, np.linspace(0, 1, 21)[1:-1]))
    n = np.bincount(group)
    return float(np.polyfit(np.bincount(group, gc) / n, np.log2(np.bincount(group, coverage) / n), 1)[0])


def peak_height(tracks: Tracks, peaks: Peaks, where: Tracks) -> float:
    """Of what the peaks hold beyond the background, at the width that they were planted with, over the background."""
    total = sum(float((tracks[name] * where[name]).sum()) for name in where)
    level = total / sum(float(there.sum()) for there in where.values())
    held, bases, n = 0.0, 0, 0
    for name, starts in peaks.starts.items():
        for start in starts:
            region = tracks[name][max(start - AROUND, 0) : start + PEAK + AROUND]
            held, bases, n = held + float(region.sum()), bases + region.size, n + 1
    return (held - level * bases) / (level * n * PEAK) + 1


def multi_read_error(reads: Reads, repeats: Sequence[int], tracks: Tracks) -> float:
    """Reads in the wrong copies, over those that an even division puts there.

    Args:
        repeats: numbers of the repeats that are looked at.
        tracks: of 5' ends on both strands.
    """
    found, even = 0.0, 0.0
    for i in repeats:
        repeat = reads.repeats[i]
        of_family = int((reads.family == i).sum()) * (1 + reads.paired) / len(repeat.copies)
        for j, copy in enumerate(repeat.copies):
            region = slice(copy.start, copy.start + repeat.length)
            truth = sum(float(ends[region].sum()) for ends in reads.ends(copy.contig))
            mine = int(((reads.family == i) & (reads.copy == j)).sum()) * (1 + reads.paired)
            found += abs(float(tracks[copy.contig][region].sum()) - truth)
            even += abs(of_family - mine)
    return found / even
