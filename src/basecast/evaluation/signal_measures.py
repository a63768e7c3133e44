"""How near predictions are to a signal, track by track: streams of bins, in float64, that merge in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


class Moments:
    """Two values of each bin and track, of which means and sums of squares about them are kept.

    Deviations are taken from the mean of what is added at once, and parts are merged by the formula of Chan et al.
    (1983): no large sums are subtracted from each other.

    Attributes:
        n: bins.
        mean: of the first value and of the second, shape (2, tracks).
        squares: summed products of deviations: first by first, second by second, first by second; (3, tracks).
        error: summed squares of first less second, shape (tracks,).
        low, high: smallest and largest, each (2, tracks).
    """

    def __init__(self, n_tracks: int) -> None:
        self.n = 0
        self.mean, self.squares, self.error = np.zeros((2, n_tracks)), np.zeros((3, n_tracks)), np.zeros(n_tracks)
        self.low, self.high = np.full((2, n_tracks), np.inf), np.full((2, n_tracks), -np.inf)

    def add(self, first: Float[np.ndarray, "bins tracks"], second: Float[np.ndarray, "bins tracks"]) -> None:
        """More bins.

        Raises:
            ValueError: the two arrays differ in shape, or have other tracks than before.
        """
        if first.shape != second.shape or first.shape[1:] != self.error.shape:
            raise ValueError(
                f"both values must have shape (bins, {self.error.size}), got {first.shape} and {second.shape}"
            )
        if not len(first):
            return
        x, y = first.astype(np.float64), second.astype(np.float64)
        more = Moments(self.error.size)
        more.n, more.error = len(x), np.square(x - y).sum(axis=0)
        more.mean = np.stack([x.mean(axis=0), y.mean(axis=0)])
        more.low, more.high = (np.stack([f(x, axis=0), f(y, axis=0)]) for f in (np.min, np.max))
        x, y = x - more.mean[0], y - more.mean[1]
        more.squares = np.stack([(x * x).sum(axis=0), (y * y).sum(axis=0), (x * y).sum(axis=0)])
        self.merge(more)

    def merge(self, other: Moments) -> None:
        """All of another's bins."""
        n = self.n + other.n
        if not n:
            return
        apart, share = other.mean - self.mean, other.n / n
        products = np.stack([apart[0] * apart[0], apart[1] * apart[1], apart[0] * apart[1]])
        self.squares = self.squares + other.squares + products * (self.n * share)
        self.mean = self.mean + apart * share
        self.error = self.error + other.error
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.n = n

    def to_array(self) -> Float[np.ndarray, "11 tracks"]:
        """All of it as one array."""
        n = np.full((1, self.error.size), float(self.n))
        return np.concatenate([n, self.mean, self.squares, self.error[None], self.low, self.high])

    @classmethod
    def of_array(cls, array: Float[np.ndarray, "11 tracks"]) -> Self:
        """What ``to_array`` gave."""
        moments = cls(array.shape[1])
        moments.n = int(array[0].max(initial=0))
        moments.mean, moments.squares, moments.error = array[1:3].copy(), array[3:6].copy(), array[6].copy()
        moments.low, moments.high = array[7:9].copy(), array[9:11].copy()
        return moments

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Where the first value, and the second, is the same in all bins, shape (2, tracks)."""
        return ~(self.high > self.low)

    @property
    def pearson(self) -> Float[np.ndarray, " tracks"]:
        """Correlation; nan where one of the two is constant."""
        xx, yy, xy = self.squares
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.clip(xy / (np.sqrt(xx) * np.sqrt(yy)), -1, 1)
        return np.where(self.is_constant.any(axis=0), math.nan, r)

    @property
    def r2(self) -> Float[np.ndarray, " tracks"]:
        """The share of the second's variance that the first explains, 1 - error / variance; nan where it has none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = 1 - self.error / self.squares[1]
        return np.where(self.is_constant[1], math.nan, r2)


class Accuracy:
    """Predictions and targets of a stream of bins, as they are and as log2(1 + x); what is below 0 counts as 0 there.

    Attributes:
        plain, log: what is kept of either; the prediction is the first value, the target the second.
    """

    def __init__(self, n_tracks: int) -> None:
        self.plain, self.log = Moments(n_tracks), Moments(n_tracks)

    def add(self, predictions: Float[np.ndarray, "bins tracks"], targets: Float[np.ndarray, "bins tracks"]) -> None:
        """More bins.

        Raises:
            ValueError: the two arrays differ in shape, or have other tracks than before.
        """
        self.plain.add(predictions, targets)
        self.log.add(log2_of(predictions), log2_of(targets))

    def merge(self, other: Accuracy) -> None:
        """All of another's bins."""
        self.plain.merge(other.plain)
        self.log.merge(other.log)

    def to_array(self) -> Float[np.ndarray, "22 tracks"]:
        """All of it as one array."""
        return np.concatenate([self.plain.to_array(), self.log.to_array()])

    @classmethod
    def of_array(cls, array: Float[np.ndarray, "22 tracks"]) -> Self:
        """What ``to_array`` gave."""
        accuracy = cls(array.shape[1])
        accuracy.plain, accuracy.log = (Moments.of_array(half) for half in (array[:11], array[11:]))
        return accuracy


class Mean(NamedTuple):
    """Of the tracks that have a number their mean; ``without`` are those that have none."""

    value: float
    n: int
    without: tuple[str, ...]


def mean_of(values: Float[np.ndarray, " tracks"], names: Sequence[str]) -> Mean:
    """The mean over tracks; nan where none has a number."""
    known = np.isfinite(values)
    value = float(values[known].mean()) if known.any() else math.nan
    return Mean(value, int(known.sum()), tuple(name for name, has in zip(names, known, strict=True) if not has))


def log2_of(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """log2(1 + x) in float64; what is below 0 counts as 0."""
    return np.log1p(np.maximum(values, 0, dtype=np.float64)) / math.log(2)


def correlation(
    first: Float[np.ndarray, "bins tracks"], second: Float[np.ndarray, "bins tracks"]
) -> NDArray[np.float64]:
    """Pearson's, of each track; nan where one of the two is constant."""
    moments = Moments(first.shape[1])
    moments.add(first, second)
    return moments.pearson


def spearman(first: Float[np.ndarray, "bins tracks"], second: Float[np.ndarray, "bins tracks"]) -> NDArray[np.float64]:
    """Correlation of ranks, of each track; ties share their mean rank. nan where one of the two is constant."""
    return np.array(
        [correlation(ranks(x)[:, None], ranks(y)[:, None])[0] for x, y in zip(first.T, second.T, strict=True)]
    )


def ranks(values: NDArray[np.floating]) -> Float[np.ndarray, " values"]:
    """From 1; equal values share their mean rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if values.size else np.zeros(0, int)
    sizes = np.diff(np.append(begins, values.size))
    found = np.empty(values.size)
    found[order] = np.repeat(begins + (sizes + 1) / 2, sizes)
    return found
