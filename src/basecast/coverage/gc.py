"""How coverage follows the GC content of the fragments, and what undoes it.

Reads are counts, so the model is a Poisson one with a log link: log2 of the mean coverage is a third-degree polynomial
of the GC share in a Gaussian window. Its likelihood has a place for windows without a read, where a logarithm of the
coverage has none. Peaks may follow GC too; windows far from the model, on either side, have no part in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy.lib.stride_tricks import sliding_window_view

from basecast.coverage.smoothing import reach
from basecast.genome.sequence import N, Tokens

DEGREE = 3
_BLOCK = 1 << 17  # bases of a Fourier transform, in single precision: there is a genome of them
_STEP = 32  # bases from window to window; the GC share hardly changes within
_GC_BINS = 500
_FEWEST, _RATIO, _COUNT_BINS = 0.05, np.log(1.04), 512  # effective counts: the lowest bin, and from bin to bin
_LOWER = 0.5  # of the windows of a GC share that the first fit sees
_FARTHEST = 3.0  # deviance residual beyond which a window is no background
_ROUNDS = 25
_AT_LEAST = 400  # windows that a GC share must have beyond it to be one that the model has seen


def gaussian(sd: float) -> Float64[np.ndarray, " taps"]:
    """Weights of a Gaussian window, cut where the smoothing is; they sum to 1."""
    weights = np.exp(-0.5 * (np.arange(-reach(sd), reach(sd) + 1) / sd) ** 2)
    return weights / weights.sum()


def gc_fraction(tokens: Tokens, sd: float, step: int = 1) -> Float32[np.ndarray, " windows"]:
    """Share of G and C in a Gaussian window around every ``step``-th base, among the bases that are known.

    Outside ``tokens`` nothing is known: give three standard deviations more at each side where the contig goes on.

    Args:
        tokens: bases, shape (length,).
        sd: of the window, bases.

    Returns:
        Shape (ceil(length / step),); NaN where the window has no known base.
    """
    known = tokens != N
    is_gc = (tokens == 1) | (tokens == 2)
    found = _around(is_gc, sd, step)
    if known.all():
        edge = _around(np.ones(min(tokens.size, 2 * gaussian(sd).size), bool), sd, 1)
        share = _edges(edge, tokens.size, step)
    else:
        share = _around(known, sd, step)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 1e-3, np.clip(found / share, 0, 1), np.nan).astype(np.float32)


def _edges(edge: Float[np.ndarray, " some"], size: int, step: int) -> Float[np.ndarray, " windows"]:
    """What of each window lies inside ``size`` bases, from that of a shorter stretch."""
    if edge.size == size:
        return edge[::step]
    inside = np.ones(size, np.float32)
    half = edge.size // 2
    inside[:half], inside[-half:] = edge[:half], edge[-half:]
    return inside[::step]


def _around(
    values: Bool[np.ndarray, " bases"] | Float[np.ndarray, " bases"], sd: float, step: int
) -> Float[np.ndarray, " windows"]:
    """Weighted sum in the window around every ``step``-th place; zero outside."""
    weights = gaussian(sd).astype(np.float32)
    padded = np.pad(values, weights.size // 2).astype(np.float32)
    if step >= 16:  # few windows: plain sums are the faster
        return sliding_window_view(padded, weights.size)[::step] @ weights
    found = np.empty(values.size, np.float32)
    size = min(_BLOCK, 1 << (padded.size - 1).bit_length())
    transform = np.fft.rfft(weights, size)
    for start in range(0, values.size, size - weights.size + 1):
        block = padded[start : start + size]
        there = np.fft.irfft(np.fft.rfft(block, size) * transform, size)[weights.size - 1 : block.size]
        found[start : start + there.size] = there
    return found[::step]


@dataclass(frozen=True)
class GCModel:
    """Coverage of the background by GC share.

    ``coefficients`` are of log2 coverage over ``(gc - low) / (high - low) * 2 - 1``; beyond ``low`` and ``high``, the
    shares that were seen, the model is what it is there. ``level`` is the coverage that all GC shares are brought to.
    """

    coefficients: tuple[float, ...]
    low: float
    high: float
    level: float
    gc: Float64[np.ndarray, " bins"]  # of the bins of the figure
    coverage: Float64[np.ndarray, " bins"]  # of the background, mean
    windows: Float64[np.ndarray, " bins"]  # of the background in the bin

    def expected(self, gc: Float[np.ndarray, " *places"]) -> Float64[np.ndarray, " *places"]:
        """Mean coverage of the background at a GC share."""
        place = (np.clip(gc, self.low, self.high) - self.low) / max(self.high - self.low, 1e-9) * 2 - 1
        return 2.0 ** np.polynomial.polynomial.polyval(place, self.coefficients)

    def correction(self, gc: Float[np.ndarray, " *places"]) -> Float64[np.ndarray, " *places"]:
        """What coverage is to be multiplied with; 1 where GC is not known."""
        return np.nan_to_num(self.level / self.expected(gc), nan=1.0)

    def conserving(self, before: float, after: float) -> GCModel:
        """The same model at the level that brings a sum of corrected coverage, ``after``, back to ``before``."""
        return replace(self, level=self.level * before / after)


class GCFit:
    """Coverage by GC share, tallied over stretches that together are a genome.

    A window's Gaussian coverage says whether it is background. What is fitted is the coverage of the few bases at its
    centre, for the GC share belongs to them: coverage of a whole window against the share at its centre would make
    the slope too small.

    Args:
        sd: of the Gaussian window of the GC share, bases; that of :func:`gc_fraction` when the model is applied.
    """

    def __init__(self, sd: float) -> None:
        self.sd = sd
        self._events = 1 / float((gaussian(sd) ** 2).sum())  # a window's mean times this varies as a count does
        self._windows, self._coverage, self._counts, self._gc = np.zeros((4, _GC_BINS * _COUNT_BINS))

    def add(
        self,
        coverage: Float[np.ndarray, " bases"],
        tokens: Tokens,
        usable: Bool[np.ndarray, " bases"] | None = None,
    ) -> None:
        """A stretch of a contig, empty or not: without the empty ones the model takes GC that gives few reads for more.

        Windows that reach out of the stretch are passed over, so it is to be long; those that hold much that is not
        usable too.

        Args:
            coverage: by reads with one place only, events at each base.
            tokens: the bases.
            usable: where such reads can lie: False at the places of multi-reads. All, if left out.
        """
        if coverage.shape != tokens.shape:
            raise ValueError(f"coverage and bases must align, got {coverage.shape} and {tokens.shape}")
        size = tokens.size // _STEP * _STEP
        edge = -(-reach(self.sd) // _STEP) * _STEP
        inner = slice(edge // _STEP, (size - edge) // _STEP)
        if inner.stop <= inner.start:
            return
        # the window of a block is around its first base; the block is moved by half of itself to be around it too
        gc = gc_fraction(tokens[:size], self.sd, _STEP)[inner]
        counts = _around(coverage[:size], self.sd, _STEP)[inner] * self._events
        half = _STEP // 2
        local = coverage[edge - half : size - edge - half].reshape(-1, _STEP).mean(1)
        kept = np.isfinite(gc)
        if usable is not None:
            kept &= _around(~usable[:size], self.sd, _STEP)[inner] < 0.01
        gc, counts, local = gc[kept].astype(np.float64), np.maximum(counts[kept], 0), local[kept]
        by_count = np.clip(np.ceil(np.log(np.maximum(counts, 1e-9) / _FEWEST) / _RATIO), 0, _COUNT_BINS - 1)
        cells = np.minimum((gc * _GC_BINS).astype(np.int64), _GC_BINS - 1) * _COUNT_BINS + by_count.astype(np.int64)
        for tally, values in ((self._windows, None), (self._coverage, local), (self._counts, counts), (self._gc, gc)):
            tally += np.bincount(cells, values, tally.size)

    def merge(self, other: GCFit) -> None:
        """Take what another fit of the same window has tallied too."""
        for name in ("_windows", "_coverage", "_counts", "_gc"):
            getattr(self, name).__iadd__(getattr(other, name))

    def model(self) -> GCModel:
        """The fit. Its level conserves the coverage that was added; without a read, nothing is corrected."""
        if not self._coverage.any():
            return GCModel((0.0,), 0.0, 1.0, 1.0, *np.empty((3, 0)))
        full = self._windows > 0
        n, coverage = self._windows[full], self._coverage[full]
        counts, gc = self._counts[full] / n, self._gc[full] / n
        fitted = self._background(np.flatnonzero(full) // _COUNT_BINS, n, coverage, counts, gc)
        return replace(fitted, level=float(coverage.sum() / (coverage / fitted.expected(gc)).sum()))

    def _background(
        self,
        bins: Int64[np.ndarray, " cells"],
        n: Float64[np.ndarray, " cells"],
        coverage: Float64[np.ndarray, " cells"],
        counts: Float64[np.ndarray, " cells"],
        gc: Float64[np.ndarray, " cells"],
    ) -> GCModel:
        """Fit, leave out what is far from it, and again until nothing more is."""
        # the first fit is without the fullest windows of each GC share: where peaks follow GC, it would follow them
        below = np.cumsum(n) - n
        starts = np.searchsorted(bins, bins)
        kept = below - below[starts] < _LOWER * np.bincount(bins, n)[bins]
        if coverage[kept].sum() < _LOWER / 5 * coverage.sum():  # most windows are empty: nothing to go by
            kept[:] = True
        for _ in range(_ROUNDS):
            windows = np.bincount(bins[kept], n[kept], _GC_BINS)
            full = np.flatnonzero(windows)
            windows = windows[full]
            total = np.bincount(bins[kept], coverage[kept], _GC_BINS)[full]
            centre = np.bincount(bins[kept], (gc * n)[kept], _GC_BINS)[full] / windows
            low, high = _seen(centre, windows)
            place = (np.clip(centre, low, high) - low) / max(high - low, 1e-9) * 2 - 1
            coefficients = _poisson(np.vander(place, DEGREE + 1, increasing=True), total, windows) / np.log(2)
            model = GCModel(tuple(coefficients.tolist()), low, high, 1.0, centre, total / windows, windows)
            residual = _deviance(counts, model.expected(gc) * self._events)
            spread = max(_median(residual[kept] ** 2, n[kept]) / 0.4549, 1.0)  # the median of a chi-square of one
            now = np.abs(residual) <= _FARTHEST * np.sqrt(spread)
            if (now == kept).all():
                break
            kept = now
        return model


def _seen(gc: Float64[np.ndarray, " bins"], windows: Float64[np.ndarray, " bins"]) -> tuple[float, float]:
    """The GC shares beyond which there are too few windows to tell."""
    beyond = min(_AT_LEAST, windows.sum() / 20)
    low = np.searchsorted(np.cumsum(windows), beyond)
    high = windows.size - 1 - np.searchsorted(np.cumsum(windows[::-1]), beyond)
    return float(gc[low]), float(gc[max(low, high)])


def _median(values: Float64[np.ndarray, " cells"], weights: Float64[np.ndarray, " cells"]) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _poisson(
    basis: Float64[np.ndarray, "bins terms"], total: Float64[np.ndarray, " bins"], n: Float64[np.ndarray, " bins"]
) -> Float64[np.ndarray, " terms"]:
    """Coefficients of log mean, by iteratively reweighted least squares (McCullagh and Nelder 1989, section 2.5)."""
    mean = total / n
    eta = np.log(mean + mean.mean() / 10)
    coefficients = np.zeros(basis.shape[1])
    for _ in range(100):
        fitted = np.exp(eta)
        root = np.sqrt(n * fitted)
        step = np.linalg.lstsq(basis * root[:, None], (eta + (mean - fitted) / fitted) * root, rcond=1e-10)[0]
        moved = float(np.abs(step - coefficients).max())
        coefficients, eta = step, np.clip(basis @ step, -30, 30)
        if moved < 1e-9:
            break
    return coefficients


def _deviance(
    counts: Float[np.ndarray, " windows"], mean: Float64[np.ndarray, " windows"]
) -> Float64[np.ndarray, " windows"]:
    """Signed deviance residuals of a Poisson model."""
    mean = np.clip(mean, 1e-9, 1e9)
    ratio = np.log(np.maximum(counts, 1e-9) / mean)
    square = 2 * (np.where(counts > 0, counts * ratio, 0) - (counts - mean))
    return np.sign(counts - mean) * np.sqrt(np.maximum(square, 0))
