"""Sites among other positions by score, to be asked again and again with other weights of the records they are in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

_AT_ONCE = 1 << 24  # numbers of a table
_FULL = 64  # numbers of a table of ranks and records for each entry: a product costs so much less


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
        """Positions and sites by rank and record, where they are small enough for a matrix product; else none."""
        shape = (2 * self.n_steps, n_records)
        if shape[0] * shape[1] > min(_FULL * max(self.record.size, 1), _AT_ONCE):
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
