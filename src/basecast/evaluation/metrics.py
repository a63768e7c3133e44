"""How well scores find sites (top-k, average precision), and how honest probabilities are (NLL, Brier, ECE)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from numpy.typing import NDArray

from basecast.evaluation.ranking import Ranking

TOP = (0.5, 1.0, 2.0, 4.0)
"""Multiples of the number of sites of which "top-k accuracy" is told."""
LEAST_PROBABILITY = 0.01
"""Below it a position has no part in a calibration error: nearly all positions are no sites, and say so."""
BINS = 15
CAPACITY = 1 << 20
"""Scores of positions that are no sites, kept of each class."""


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

    def has_all(self, least: float) -> bool:
        """Whether no position with at least this score was dropped."""
        return bool(np.float32(self.floor) < np.float32(least))

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
        return self.slack_in(None)

    def slack_in(self, records: Bool[np.ndarray, " records"] | None) -> float:
        """The same of some records, of which ``ranking`` tells."""
        self._shrink(at_once=True)
        (sites, of_site), (_, of_other) = self._sites.arrays(), self._others.arrays()
        is_low = sites <= self.floor
        if records is not None:
            is_low, of_other = is_low[records[of_site]], of_other[records[of_other]]
        return int(is_low.sum()) / max(is_low.size + of_other.size, 1)


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
    probabilities: Float[np.ndarray, "positions classes"], labels: Integer[np.ndarray, " positions"]
) -> Int[np.ndarray, "classes classes"]:
    """How often a position of a class (row) is given most probability as another (column)."""
    n = probabilities.shape[1]
    return np.bincount(labels.astype(np.int64) * n + probabilities.argmax(axis=1), minlength=n * n).reshape(n, n)


def precision_recall_f1(counts: NDArray[Any]) -> Float[np.ndarray, "... 3 classes"]:
    """Of each class, from a confusion matrix (or many, in leading dimensions); nan where there is nothing to divide."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    called, real = counts.sum(axis=-2), counts.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([hits / called, hits / real, 2 * hits / (called + real)], axis=-2)


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "positions classes"], labels: Integer[np.ndarray, " positions"]
) -> float:
    """Summed over positions, natural logarithm; a probability of 0 counts as the smallest normal float32."""
    true = probabilities[np.arange(labels.size), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).sum())


def brier(probabilities: Float[np.ndarray, "positions classes"], labels: Integer[np.ndarray, " positions"]) -> float:
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
