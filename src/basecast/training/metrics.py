"""How well scores find sites (top-k, average precision), and how honest probabilities are (NLL, Brier, ECE)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

TOP = (0.5, 1.0, 2.0, 4.0)
"""Multiples of the number of sites of which "top-k accuracy" is told."""
LEAST_PROBABILITY = 0.01
"""Below it a position has no part in a calibration error: nearly all positions are no sites, and say so."""
BINS = 15
CAPACITY = 1 << 20
"""Scores of positions that are no sites, kept of each class."""
_AT_ONCE = 1 << 24  # numbers of a table of entries and draws
_FULL = 8  # numbers of a table of ranks and records for each entry


def top_k_accuracy(
    scores: Float[np.ndarray, " positions"], is_site: Bool[np.ndarray, " positions"], k: float = 1.0
) -> float:
    """Of the ``k * n_sites`` best positions, how many sites are among them (Jaganathan et al. 2019).

    Args:
        scores: how likely each position is a site.
        is_site: where the annotation has one.
        k: multiple of the number of sites; 1.0 is the published "top-k accuracy".

    Returns:
        The share found of ``min(kept, n_sites)``, 0..1; ``nan`` where there is no site. Of positions that tie for the
        last places each has an equal part in them, so the order of the arrays does not matter.

    Raises:
        ValueError: the two arrays differ in shape, or ``k`` is not positive.
    """
    return _ranked(scores, is_site).top_k(k)


def average_precision(scores: Float[np.ndarray, " positions"], is_site: Bool[np.ndarray, " positions"]) -> float:
    """Area under the precision-recall curve as a sum of steps, one for each distinct score: no interpolation.

    Returns:
        0..1; ``nan`` where there is no site.

    Raises:
        ValueError: the two arrays differ in shape.
    """
    return _ranked(scores, is_site).average_precision()


def _ranked(scores: NDArray[np.floating], is_site: NDArray[np.bool_]) -> Ranking:
    if scores.shape != is_site.shape:
        raise ValueError(f"scores and is_site must align, got {scores.shape} and {is_site.shape}")
    return Ranking.of(scores, is_site, np.zeros(scores.size, dtype=np.int32), np.zeros(1, dtype=np.int64))


class Ranking(NamedTuple):
    """How sites and other positions follow each other from the best score to the worst, by record.

    Recall changes only at the distinct scores of sites, the steps. Rank ``2 i`` holds what lies above step ``i`` and
    below the one before, rank ``2 i + 1`` what is at it. Entries count the positions of a record in a rank: it takes
    little memory, and can be asked again and again with other weights of the records.
    """

    n_steps: int
    rank: Int[np.ndarray, " entries"]
    """Ascending."""
    record: Int[np.ndarray, " entries"]
    positions: Int[np.ndarray, " entries"]
    sites: Int[np.ndarray, " entries"]
    """Of these positions."""
    low: Int[np.ndarray, " records"]
    """Sites of each record that count as ranked below everything."""

    @classmethod
    def of(
        cls,
        scores: Float[np.ndarray, " positions"],
        is_site: Bool[np.ndarray, " positions"],
        record: Int[np.ndarray, " positions"],
        low: Int[np.ndarray, " records"],
    ) -> Ranking:
        """Positions of any order."""
        steps, n_records = np.unique(scores[is_site]), max(low.size, 1)
        step = np.searchsorted(steps, scores, side="right") - 1  # of steps that score no more, the best
        is_above = step >= 0
        step, record, is_site, scores = step[is_above], record[is_above], is_site[is_above], scores[is_above]
        rank = 2 * (steps.size - 1 - step) + (steps[step] == scores)
        keys, which = np.unique(rank * n_records + record, return_inverse=True)
        sites = np.bincount(which[is_site], minlength=keys.size)
        counts = np.bincount(which, minlength=keys.size)
        return cls(steps.size, keys // n_records, keys % n_records, counts, sites, low)

    def average_precision(self) -> float:
        """Area under the precision-recall curve; nan without a site."""
        return float(self.measured(())[0, 0])

    def top_k(self, k: float = 1.0) -> float:
        """As ``top_k_accuracy``."""
        return float(self.measured((k,))[1, 0])

    def measured(
        self, ks: Sequence[float], weights: Int[np.ndarray, "records draws"] | None = None
    ) -> Float[np.ndarray, "measures draws"]:
        """Average precision, then top-k for each of ``ks``; nan in a draw without sites.

        Args:
            weights: how often each record is counted in each draw; by default one draw, with every record once.

        Raises:
            ValueError: a k is not positive.
        """
        if any(k <= 0 for k in ks):
            raise ValueError(f"k must be positive, got {min(ks)}")
        if weights is None:
            weights = np.ones((self.low.size, 1), dtype=np.int32)
        tables = self._tables(len(weights))
        size = max(_AT_ONCE // max(2 * self.n_steps if tables else self.record.size, 1), 1)
        chunks = [np.ascontiguousarray(weights[:, i : i + size]) for i in range(0, weights.shape[1], size)]
        return np.concatenate([self._measured(ks, chunk, tables) for chunk in chunks], axis=1)

    def _measured(
        self, ks: Sequence[float], weights: NDArray[np.integer], tables: list[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        found, before, kept = self._counts(weights, tables)
        missed = self.low @ weights[: self.low.size]
        n_sites = found[-1] + missed
        new = np.diff(found, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = found[1:] / np.maximum(kept, 1)
            measures = [(new * precision).sum(axis=0) / n_sites]
            for k in ks:
                n_kept = np.maximum((k * n_sites).astype(np.int64), 1)
                step = (kept < n_kept).sum(axis=0, keepdims=True)  # the first that is not wholly among the best
                is_in = step[0] < kept.shape[0]
                at = np.minimum(step, max(kept.shape[0] - 1, 0))
                whole = np.take_along_axis(found, step, axis=0)[0]
                if kept.shape[0]:
                    first, last, more = (np.take_along_axis(x, at, axis=0)[0] for x in (before, kept, new))
                    share = np.clip((n_kept - first) / np.maximum(last - first, 1), 0, 1)
                    whole = whole + np.where(is_in, share * more, 0)
                measures.append(whole / np.minimum(n_kept, n_sites))
        return np.where(n_sites > 0, np.stack(measures), math.nan)

    def curve(self) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
        """Recall and precision at each step, from the best score down."""
        found, _, kept = self._counts(np.ones((self.low.size, 1), dtype=np.int64), [])
        return found[1:, 0] / max(int(found[-1, 0] + self.low.sum()), 1), found[1:, 0] / kept[:, 0]

    def _tables(self, n_records: int) -> list[NDArray[np.float64]]:
        """Positions and sites by rank and record, where that takes little more than the entries; else none."""
        shape = (2 * self.n_steps, n_records)
        if shape[0] * shape[1] > _FULL * max(self.record.size, 1):
            return []
        tables = [np.zeros(shape), np.zeros(shape)]
        for table, counts in zip(tables, (self.positions, self.sites), strict=True):
            table[self.rank, self.record] = counts
        return tables

    def _counts(
        self, weights: NDArray[np.integer], tables: list[NDArray[np.float64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Sites down to each step, with 0 before the first; positions above each step; positions down to it."""
        if tables:
            w = weights.astype(np.float64)
            positions, sites = ((table @ w).astype(np.int64) for table in tables)
        else:
            positions = self._by_rank(self.positions, weights, slice(None))
            sites = self._by_rank(self.sites, weights, np.flatnonzero(self.sites))
        positions, sites = np.cumsum(positions, axis=0), np.cumsum(sites, axis=0)
        found = np.concatenate([np.zeros((1, weights.shape[1]), dtype=np.int64), sites[1::2]])
        return found, positions[::2], positions[1::2]

    def _by_rank(
        self, counts: NDArray[np.integer], weights: NDArray[np.integer], entries: slice | NDArray[np.integer]
    ) -> NDArray[np.int64]:
        """Weighted counts of entries at each rank, shape (2 steps, draws)."""
        rank = self.rank[entries]
        summed = np.zeros((2 * self.n_steps, weights.shape[1]), dtype=np.int64)
        if rank.size:
            first = np.flatnonzero(np.diff(rank, prepend=-1))
            each = weights[self.record[entries]] * counts[entries, None].astype(weights.dtype)
            summed[rank[first]] = np.add.reduceat(each, first, axis=0)
        return summed


class SiteScores:
    """Scores of any number of positions, of which little is kept and nothing that matters is lost.

    Kept are the score of every site and the ``capacity`` largest scores of other positions, in float32; ``floor`` is
    the largest score that was dropped. Average precision and top-k ask, for a site, how many other positions score as
    high: above the floor the answer is exact. A site at or below it would be outranked by at least all that is kept:
    it counts as not found, by which average precision falls short by ``slack`` at most. Top-k is exact as long as the
    k * n_sites best positions are above the floor. Of positions that never exceed the capacity all are kept.

    Kept scores are the largest of a union, so parts may be added and merged in any order, to the same result.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity, self.floor = capacity, -math.inf
        self.n_positions = 0
        self._sites = _Kept()
        self._others = _Kept()

    @property
    def n_sites(self) -> int:
        return self._sites.size

    def add(
        self, scores: Float[np.ndarray, " positions"], is_site: Bool[np.ndarray, " positions"], record: int = 0
    ) -> None:
        """Positions of one record.

        Raises:
            ValueError: the two arrays differ in shape, or a score is nan.
        """
        if scores.shape != is_site.shape:
            raise ValueError(f"scores and is_site must align, got {scores.shape} and {is_site.shape}")
        if np.isnan(scores).any():
            raise ValueError("a score is nan")
        scores = scores.astype(np.float32)
        self.n_positions += scores.size
        self._sites.append(scores[is_site], np.full(int(is_site.sum()), record, dtype=np.int32))
        high = scores[~is_site & (scores > self.floor)]
        self._others.append(high, np.full(high.size, record, dtype=np.int32))
        self._shrink()

    def merge(self, other: SiteScores) -> None:
        """All of another's positions."""
        self.n_positions += other.n_positions
        for mine, its in ((self._sites, other._sites), (self._others, other._others)):
            mine.append(*its.arrays())
        self.floor = max(self.floor, other.floor)
        self._shrink()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All of it as plain arrays."""
        self._shrink(at_once=True)
        (sites, of_site), (others, of_other) = self._sites.arrays(), self._others.arrays()
        counts = np.array([self.floor, self.n_positions, self.capacity], dtype=np.float64)
        return {"sites": sites, "of_site": of_site, "others": others, "of_other": of_other, "counts": counts}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SiteScores:
        """What ``arrays`` gave."""
        floor, n_positions, capacity = arrays["counts"].tolist()
        scores = cls(int(capacity))
        scores.floor, scores.n_positions = floor, int(n_positions)
        scores._sites.append(arrays["sites"], arrays["of_site"])
        scores._others.append(arrays["others"], arrays["of_other"])
        return scores

    def _shrink(self, at_once: bool = False) -> None:
        if not at_once and self._others.size <= 2 * self.capacity:
            return
        scores, record = self._others.arrays()
        if scores.size > self.capacity:
            cut = float(np.partition(scores, scores.size - self.capacity - 1)[scores.size - self.capacity - 1])
            self.floor = max(self.floor, cut)
        kept = scores > self.floor
        self._others = _Kept()
        self._others.append(scores[kept], record[kept])

    def ranking(self, records: Bool[np.ndarray, " records"] | None = None) -> Ranking:
        """What is kept, of some records or of all, which are numbered from 0.

        Args:
            records: whether a record is among them; by default all up to the last that was added.
        """
        self._shrink(at_once=True)
        (sites, of_site), (others, of_other) = self._sites.arrays(), self._others.arrays()
        if records is None:
            records = np.ones(1 + int(max(of_site.max(initial=-1), of_other.max(initial=-1))), dtype=bool)
        in_sites, in_others = records[of_site], records[of_other]
        is_high = in_sites & (sites > self.floor)
        others, of_other = others[in_others], of_other[in_others]
        n_high = int(is_high.sum())
        return Ranking.of(
            np.concatenate([sites[is_high], others]),
            np.arange(n_high + others.size) < n_high,
            np.concatenate([of_site[is_high], of_other]),
            np.bincount(of_site[in_sites & ~is_high], minlength=max(records.size, 1)),
        )

    def top_k(self, k: float = 1.0) -> float:
        """As ``top_k_accuracy`` of all positions."""
        return self.ranking().top_k(k)

    def average_precision(self) -> float:
        """As ``average_precision`` of all positions, at most ``slack`` below it."""
        return self.ranking().average_precision()

    def threshold(self, k: float = 1.0) -> float:
        """The score of the last of the ``k * n_sites`` best positions that are kept; nan without a site."""
        self._shrink(at_once=True)
        scores = np.concatenate([self._sites.arrays()[0], self._others.arrays()[0]])
        if not self.n_sites:
            return math.nan
        rank = min(max(int(k * self.n_sites), 1), scores.size)
        return float(np.partition(scores, scores.size - rank)[scores.size - rank])

    def likely(self, least: float) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32]]:
        """Score, whether it is a site, and record of every position with at least this score, or above the floor."""
        self._shrink(at_once=True)
        (sites, of_site), (others, of_other) = self._sites.arrays(), self._others.arrays()
        scores, record = np.concatenate([sites, others]), np.concatenate([of_site, of_other])
        kept = (scores >= least) & (scores > self.floor)
        return scores[kept], (np.arange(scores.size) < sites.size)[kept], record[kept]

    @property
    def slack(self) -> float:
        """By how much average precision may fall short of that of all positions; 0 where nothing was dropped."""
        if self.floor == -math.inf or not self.n_sites:
            return 0.0
        self._shrink(at_once=True)
        n_low = int((self._sites.arrays()[0] <= self.floor).sum())
        return n_low / (self.n_sites + self._others.size)


class _Kept:
    """Scores with their records, in chunks."""

    def __init__(self) -> None:
        self._scores: list[NDArray[np.float32]] = []
        self._record: list[NDArray[np.int32]] = []
        self.size = 0

    def append(self, scores: NDArray[np.float32], record: NDArray[np.int32]) -> None:
        if scores.size:
            self._scores.append(scores)
            self._record.append(record)
            self.size += scores.size

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        if len(self._scores) > 1:
            self._scores, self._record = [np.concatenate(self._scores)], [np.concatenate(self._record)]
        if not self._scores:
            return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
        return self._scores[0], self._record[0]


def confusion(
    probabilities: Float[np.ndarray, "positions classes"], labels: Int[np.ndarray, " positions"]
) -> Int[np.ndarray, "classes classes"]:
    """How often a position of a class (row) is given most probability as another (column)."""
    n = probabilities.shape[1]
    return np.bincount(labels.astype(np.int64) * n + probabilities.argmax(axis=1), minlength=n * n).reshape(n, n)


def precision_recall_f1(counts: NDArray[np.integer]) -> Float[np.ndarray, "... 3 classes"]:
    """Of each class, from a confusion matrix (or many, in leading dimensions); nan where there is nothing to divide."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    called, real = counts.sum(axis=-2), counts.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([hits / called, hits / real, 2 * hits / (called + real)], axis=-2)


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "positions classes"], labels: Int[np.ndarray, " positions"]
) -> float:
    """Summed over positions, natural logarithm; a probability of 0 counts as the smallest normal float32."""
    true = probabilities[np.arange(labels.size), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).sum())


def brier(probabilities: Float[np.ndarray, "positions classes"], labels: Int[np.ndarray, " positions"]) -> float:
    """Squared distances from the true class's corner, over classes, summed over positions (Brier 1950)."""
    x = probabilities.astype(np.float64)
    true = x[np.arange(labels.size), labels]
    return float(np.square(x).sum() + (1 - 2 * true).sum())


def equal_mass_bins(scores: NDArray[np.floating], n_bins: int = BINS) -> Int[np.ndarray, " positions"]:
    """The bin of each score: as many positions in each as can be, equal scores in an order of their own."""
    bins = np.empty(scores.size, dtype=np.int64)
    bins[np.argsort(scores, kind="stable")] = np.arange(scores.size) * n_bins // max(scores.size, 1)
    return bins


def expected_calibration_error(
    scores: Float[np.ndarray, " positions"],
    is_site: Bool[np.ndarray, " positions"],
    least: float = LEAST_PROBABILITY,
    n_bins: int = BINS,
) -> float:
    """Mean distance between probability and share of sites, in bins of equally many positions with p >= ``least``.

    Returns:
        0..1; nan where no position has so much.
    """
    kept = scores >= least
    scores, is_site = scores[kept].astype(np.float64), is_site[kept]
    if not scores.size:
        return math.nan
    bins = equal_mass_bins(scores, n_bins)
    away = np.bincount(bins, scores, n_bins) - np.bincount(bins, is_site, n_bins)
    return float(np.abs(away).sum() / scores.size)
