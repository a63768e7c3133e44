"""Reads with several places in the genome: each is shared among them as the coverage around each tells.

The expectation-maximisation of Kelley et al. 2018 (Genome Research 28:739, "Multi-mapping reads"): coverage is smoothed
with a Gaussian, a read's shares are in proportion to the smoothed coverage at its places, and coverage follows from the
shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from basecast.coverage.smoothing import smoothed_at

_PRIOR = 1.0
"""Reads in a window that are taken to be everywhere, so that few reads of chance do not draw all others."""
_MOVED, _SETTLED = 0.003, 0.001  # it has converged when no more than this share of the reads still moves so much


@dataclass(frozen=True)
class Groups:
    """Places, read by read.

    Attributes:
        rows: of each place, in what was grouped.
        firsts: the first place of each read, shape (reads,).
        single: places, in what was grouped, of reads that have but one after all.
    """

    rows: Int64[np.ndarray, " places"]
    firsts: Int64[np.ndarray, " reads"]
    single: Int64[np.ndarray, " singles"]


def grouped(places: NDArray[np.void], max_places: int, counts: Counter[str]) -> Groups:
    """Places gathered by read: each place of a read once, reads without their first record and those of too many
    places left out.

    Args:
        places: records of ``events.PLACE``.
        counts: takes up what became of them.
    """
    if not len(places):
        return Groups(*np.empty((3, 0), np.int64))
    order = np.lexsort((~places["is_first"], places["kind"], places["at"], places["second"], places["first"]))
    found = places[order]
    is_new = np.append(
        True, (found["first"][1:] != found["first"][:-1]) | (found["second"][1:] != found["second"][:-1])
    )
    is_repeat = ~is_new & np.append(False, found["at"][1:] == found["at"][:-1])
    is_repeat &= np.append(False, found["kind"][1:] == found["kind"][:-1])
    read = np.cumsum(is_new) - 1
    n_reads = int(read[-1]) + 1
    n_places = np.bincount(read[~is_repeat], minlength=n_reads)
    has_first = np.bincount(read, found["is_first"], n_reads) > 0
    told = np.zeros(n_reads, np.int64)
    np.maximum.at(told, read, found["places"])
    kept = has_first & (n_places <= max_places)
    counts["places of reads without their first record"] += int((~has_first)[read].sum())
    counts["places of reads with too many"] += int((has_first & ~kept)[read].sum())
    counts["reads with too many places"] += int((has_first & ~kept).sum())
    counts["places told twice"] += int((is_repeat & kept[read]).sum())
    counts["reads with places that are not in the file"] += int((kept & (told > np.bincount(read))).sum())
    is_kept = kept[read] & ~is_repeat
    is_single = is_kept & (n_places == 1)[read]
    many = np.flatnonzero(is_kept & ~is_single)
    firsts = np.flatnonzero(np.append(True, read[many][1:] != read[many][:-1]))[: len(many)]
    counts["reads with one place after all"] += int(is_single.sum())
    counts["reads with several places"] += len(firsts)
    return Groups(order[many], firsts, order[is_single])


@dataclass(frozen=True)
class Shares:
    """How reads are shared among their places.

    Attributes:
        weights: of each place; those of a read sum to 1.
        moved: after each round, the share of the reads of which more than 1 % had moved.
        has_converged: whether the rounds ended because hardly any still did.
    """

    weights: Float64[np.ndarray, " places"]
    moved: list[float]
    has_converged: bool


def shares(
    keys: Int64[np.ndarray, " places"],
    firsts: Int64[np.ndarray, " reads"],
    prior: Callable[[Int64[np.ndarray, " keys"]], Float64[np.ndarray, " keys"]],
    *,
    sigma: float,
    iterations: int,
) -> Shares:
    """Weights of the places of reads.

    Args:
        keys: where each place is, in steps of the smoothing; contigs and strands lie farther apart than it reaches.
        firsts: the first place of each read.
        prior: smoothed coverage of the reads with one place at such keys, which ascend.
        sigma: of the smoothing, in keys.
        iterations: at most so many rounds; 0 shares evenly.
    """
    n_places = np.diff(np.append(firsts, len(keys)))
    weights = np.repeat(1 / n_places, n_places)
    if not iterations or not len(keys):
        return Shares(weights, [], False)
    where, cells = np.unique(keys, return_inverse=True)
    cells = cells.astype(np.int32)
    known = prior(where) + _PRIOR / (2 * np.sqrt(np.pi) * sigma)
    moved: list[float] = []

    def better(before: Float64[np.ndarray, " places"]) -> Float64[np.ndarray, " places"]:
        coverage = known + smoothed_at(where, np.bincount(cells, before, len(where)), sigma)
        after = coverage[cells]
        after /= np.repeat(np.add.reduceat(after, firsts), n_places)
        change = np.add.reduceat(np.abs(after - before), firsts)
        moved.append(float(np.count_nonzero(change > _MOVED) / len(firsts)))
        return after

    while len(moved) < iterations:
        once = better(weights)
        if moved[-1] <= _SETTLED or len(moved) == iterations:
            weights = once
            break
        twice = better(once)
        weights = _farther(weights, once, twice, firsts, n_places)
    return Shares(weights, moved, moved[-1] <= _SETTLED)


def _farther(
    start: Float64[np.ndarray, " places"],
    once: Float64[np.ndarray, " places"],
    twice: Float64[np.ndarray, " places"],
    firsts: Int64[np.ndarray, " reads"],
    n_places: Int64[np.ndarray, " reads"],
) -> Float64[np.ndarray, " places"]:
    """Where two rounds lead to (Varadhan and Roland 2008, Scandinavian Journal of Statistics 35:335, third scheme)."""
    step = once - start
    bend = (twice - once) - step
    size = float(np.sqrt((step @ step) / max(float(bend @ bend), 1e-300)))
    if size <= 1:
        return twice
    found = np.maximum(start + 2 * size * step + size * size * bend, 0)
    found = 0.99 * found + 0.01 * twice  # no place is given up for good
    return found / np.repeat(np.add.reduceat(found, firsts), n_places)
