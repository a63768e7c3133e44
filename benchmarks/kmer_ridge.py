"""Ridge regression of signal on counts of short words around each bin: a baseline without a network.

Blocks of a bin's features: words of 1 to 6 bases in the 640 bp about it, in all that a network sees, and words of 1 to
4 bases in stretches on its left and on its right, each with its share of G and C. Words are read on the plus strand,
so that the two strands of a track are two regressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from basecast.data.store import Dataset
from basecast.inference.untransform import untransformed

LONGEST, SHORT = 6, 4
"""Bases of the longest words, and of those of a side."""
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Tried on the validation data, beside features of variance 1."""
_CHUNK = 1024  # bins


@dataclass(frozen=True)
class Block:
    """Bins [first, last) counted from a bin, and the longest words that are counted in them."""

    first: int
    last: int
    longest: int


def blocks(reach: int) -> list[Block]:
    """What is counted, where a network sees ``reach`` bins on either side."""
    sides = [Block(3, min(11, reach), SHORT), Block(11, min(43, reach), SHORT)]
    sides += [Block(1 - x.last, 1 - x.first, SHORT) for x in sides]
    return [Block(-2, 3, LONGEST), Block(-reach, reach + 1, LONGEST), *(x for x in sides if x.last > x.first)]


def n_words(longest: int) -> int:
    return sum(4**k for k in range(1, longest + 1))


def counts(tokens: NDArray[np.uint8], resolution: int) -> NDArray[np.float32]:
    """Words that begin in each bin, shape (bins, words); those with N or past the end are not counted."""
    n_bins = tokens.size // resolution
    found = []
    for k in range(1, LONGEST + 1):
        code, known = np.zeros(tokens.size, dtype=np.int64), np.ones(tokens.size, dtype=bool)
        for i in range(k):
            shifted = np.full(tokens.size, 4, dtype=np.int64)
            shifted[: tokens.size - i] = tokens[i:]
            code, known = code * 4 + shifted, known & (shifted < 4)
        at = np.arange(tokens.size) // resolution * 4**k + code
        within = known & (np.arange(tokens.size) < n_bins * resolution)
        found.append(np.bincount(at[within], minlength=n_bins * 4**k).reshape(n_bins, 4**k))
    return np.concatenate(found, axis=1).astype(np.float32)


def features(dataset: Dataset, row: int, start: int, end: int, reach: int, resolution: int) -> NDArray[np.float32]:
    """Of the bins of [start, end) of a record: the share of each word in each block, and that of G and C."""
    side = reach * resolution
    summed = np.cumsum(counts(dataset.tokens(row, start - side, end + side), resolution), axis=0, dtype=np.float64)
    summed = np.concatenate([np.zeros((1, summed.shape[1])), summed])
    bins, columns = np.arange((end - start) // resolution) + reach, []
    for block in blocks(reach):
        within = summed[bins + block.last, : n_words(block.longest)]
        within -= summed[bins + block.first, : n_words(block.longest)]
        share = within / ((block.last - block.first) * resolution)
        columns += [share, share[:, 1:2] + share[:, 2:3]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def targets(dataset: Dataset, row: int, start: int, end: int, tracks: Sequence[int]) -> NDArray[np.float64]:
    """log(1 + x) of what was measured, then what was measured; shape (bins, 2 tracks)."""
    output = dataset.header.outputs[0]
    seen = dataset.labels(row, start, end, output.name)[:, list(tracks)].astype(np.float64)
    seen = untransformed(seen, output, tracks)
    return np.concatenate([np.log1p(seen), seen], axis=1)


def chunks(dataset: Dataset, resolution: int) -> Iterator[tuple[int, int, int]]:
    """Record, start and end of stretches that together are all records."""
    for row, length in enumerate(dataset.lengths.tolist()):
        for start in range(0, length, _CHUNK * resolution):
            yield row, start, min(start + _CHUNK * resolution, length)


class Ridge:
    """Sums over the training data, solved for each penalty in turn."""

    def __init__(self, dataset: Dataset, tracks: Sequence[int], reach: int) -> None:
        self.tracks, self.reach = list(tracks), reach
        self.output = dataset.header.outputs[0]
        resolution = self.output.resolution
        where = list(chunks(dataset, resolution))
        self._about = features(dataset, *where[len(where) // 2], reach, resolution).mean(axis=0)
        p = self._about.size
        gram, cross = np.zeros((p, p)), np.zeros((p, 2 * len(tracks)))
        total, aims, n = np.zeros(p), np.zeros(2 * len(tracks)), 0
        for number, at in enumerate(where):
            valid = dataset.valid(*at, self.output.name)
            # near its mean, so that single precision is enough for the products of a chunk
            x = (features(dataset, *at, reach, resolution) - self._about)[valid]
            y = targets(dataset, *at, tracks)[valid]
            gram += x.T @ x
            cross += x.T.astype(np.float64) @ y
            total, aims, n = total + x.sum(axis=0, dtype=np.float64), aims + y.sum(axis=0), n + len(x)
            print(f"ridge: {number + 1} of {len(where)} stretches", flush=True)
        self.mean, self.aim = total / n, aims / n
        gram /= n
        gram -= np.outer(self.mean, self.mean)
        self.scale = np.sqrt(np.maximum(np.diagonal(gram), 1e-12))
        gram /= self.scale[:, None]
        gram /= self.scale
        self._gram, self._cross = gram, (cross / n - np.outer(self.mean, self.aim)) / self.scale[:, None]

    def solved(self, penalty: float) -> NDArray[np.float64]:
        """Weights of standardised features, shape (features, 2 tracks)."""
        gram = self._gram.copy()
        gram[np.diag_indices_from(gram)] += penalty
        return cho_solve(cho_factor(gram, lower=True, overwrite_a=True, check_finite=False), self._cross)

    def predict(self, dataset: Dataset, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of all bins of a dataset, record by record, for weights (features, columns)."""
        resolution = self.output.resolution
        return np.concatenate(
            [
                (features(dataset, *at, self.reach, resolution) - self._about - self.mean) / self.scale @ weights
                for at in chunks(dataset, resolution)
            ]
        )
