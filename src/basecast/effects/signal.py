"""What an allele does to a signal: one number a track from the bins of REF and those of ALT.

A statistic is a reduction of two arrays (bins, tracks) that stand at the same places; which bins, a window's or a
gene's, is the caller's to say. The sign is ALT minus REF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from basecast.errors import UsageError

Bins = Float[np.ndarray, "bins tracks"]
Score = Float[np.ndarray, " tracks"]

_AT_ONCE = 1 << 22
"""Values that are held in float64 at once."""


def difference_of_sums(ref: Bins, alt: Bins) -> Score:
    """sum(alt) - sum(ref)."""
    return (alt - ref).sum(axis=0)


def log_ratio_of_sums(ref: Bins, alt: Bins) -> Score:
    """log2(1 + sum(alt)) - log2(1 + sum(ref))."""
    return np.log2(1 + alt.sum(axis=0)) - np.log2(1 + ref.sum(axis=0))


def absolute_distance(ref: Bins, alt: Bins) -> Score:
    """sum(abs(alt - ref)): the L1 norm."""
    return np.abs(alt - ref).sum(axis=0)


def euclidean_distance(ref: Bins, alt: Bins) -> Score:
    """sqrt(sum((alt - ref)^2)): the L2 norm."""
    return np.sqrt(np.square(alt - ref).sum(axis=0))


def largest_difference(ref: Bins, alt: Bins) -> Score:
    """alt - ref in the bin where it is largest without its sign, the first of equal ones."""
    change = alt - ref
    return np.take_along_axis(change, np.abs(change).argmax(axis=0)[None], axis=0)[0]


def symmetric_divergence(ref: Bins, alt: Bins) -> Score:
    """(KL(r || a) + KL(a || r)) / 2 in nats, of r and a: ref and alt plus ref's 25th percentile, each over its sum.

    This is half of Jeffreys' divergence, which Basenji's family of tools calls JS; the Jensen-Shannon divergence is
    taken to the mean of the two and is smaller.
    """
    pseudo = np.percentile(ref, 25, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where all is 0, infinite where one alone is
        r, a = (x / x.sum(axis=0) for x in (ref + pseudo, alt + pseudo))
        return (_divergence(r, a) + _divergence(a, r)) / 2


def _divergence(p: Bins, q: Bins) -> Score:
    return np.where(p == 0, 0, p * np.log(p / q)).sum(axis=0)


def _as_it_is(x: Bins) -> Bins:
    return x


def _log(x: Bins) -> Bins:
    return np.log2(1 + x)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A reduction of values, of their log2(1 + x), or of their square roots."""

    reduce: Callable[[Bins, Bins], Score]
    of: Callable[[Bins], Bins] = _as_it_is
    is_norm: bool = False
    """Whether that of two tracks together is the root of the sum of their squares."""
    is_of_genes: bool = False
    """Whether it means something over the bins of a gene only."""


STATISTICS = {
    "SAD": Statistic(difference_of_sums),
    "logSAD": Statistic(difference_of_sums, _log),
    "sqrtSAD": Statistic(difference_of_sums, np.sqrt),
    "SED": Statistic(difference_of_sums, is_of_genes=True),
    "logSED": Statistic(log_ratio_of_sums),
    "SAX": Statistic(largest_difference),
    "D1": Statistic(absolute_distance),
    "logD1": Statistic(absolute_distance, _log),
    "sqrtD1": Statistic(absolute_distance, np.sqrt),
    "D2": Statistic(euclidean_distance, is_norm=True),
    "logD2": Statistic(euclidean_distance, _log, is_norm=True),
    "sqrtD2": Statistic(euclidean_distance, np.sqrt, is_norm=True),
    "JS": Statistic(symmetric_divergence),
    "logJS": Statistic(symmetric_divergence, _log),
}
"""By name; SAD and SED are of Kelley et al. 2018, the others of the tools of Basenji2 and Borzoi."""

ALIASES = {"SUM": "SAD", "logSUM": "logSAD", "sqrtSUM": "sqrtSAD"}
"""Names that other tools give them."""


def statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        UsageError: there is none; the message names those there are.
    """
    found = STATISTICS.get(ALIASES.get(name, name))
    if found is None:
        raise UsageError(f"there is no statistic {name!r}, only {', '.join(STATISTICS)} (and {', '.join(ALIASES)})")
    return found


def scores(names: Sequence[str], ref: Bins, alt: Bins) -> Float[np.ndarray, "rows tracks"]:
    """A row for each statistic, then the sum of REF and the sum of ALT; computed in float64, given in float32.

    All are NaN where there is no bin.

    Raises:
        ValueError: the arrays differ in shape.
        UsageError: there is no such statistic.
    """
    if ref.shape != alt.shape:
        raise ValueError(f"bins of REF and ALT must align, got {ref.shape} and {alt.shape}")
    chosen = [statistic(name) for name in names]
    found = np.full((len(chosen) + 2, ref.shape[1]), np.nan, np.float32)
    step = max(_AT_ONCE // max(len(ref), 1), 1)
    for first in range(0, ref.shape[1] if len(ref) else 0, step):
        part = slice(first, first + step)
        r, a = ref[:, part].astype(np.float64), alt[:, part].astype(np.float64)
        rows = [one.reduce(one.of(r), one.of(a)) for one in chosen]
        found[:, part] = [*rows, r.sum(axis=0), a.sum(axis=0)]
    return found


def joined(left: Bins, right: Bins, first: int, last: int, resolution: int) -> Bins:
    """Values of an allele that lacks some bases, on the bins of the allele that has them.

    A bin takes the side on which more of its bases stand, the left one of equal ones; a bin all of whose bases are
    lacking is 0.

    Args:
        left: of the shorter allele, with the bins before the lacking bases at their places.
        right: the same, with the bins after them at their places.
        first, last: the lacking bases [first, last), counted from the first bin's beginning.
        resolution: bases a bin.
    """
    starts = np.arange(len(left)) * resolution
    before = np.clip(first - starts, 0, resolution)[:, None]
    after = np.clip(starts + resolution - last, 0, resolution)[:, None]
    return np.where(before + after == 0, 0, np.where(before >= after, left, right)).astype(left.dtype, copy=False)
