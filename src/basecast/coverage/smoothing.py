"""Gaussian smoothing: of a few positions far apart, and of stretches base by base."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

_REACH = 3  # standard deviations
_CHUNK = 1 << 17
_BLOCK = 1 << 16  # bases of a Fourier transform


def reach(sigma: float) -> int:
    """Positions at either side that the window of a standard deviation sees."""
    return int(_REACH * sigma + 0.5)


def smoothed_at(
    keys: Int64[np.ndarray, " keys"], mass: Float[np.ndarray, " keys"], sigma: float
) -> Float64[np.ndarray, " keys"]:
    """Gaussian density around each key: what lies at the keys, by their distance. It costs what is near, not what lies
    between.

    Args:
        keys: ascending, each once.
        mass: at each key.
        sigma: in keys.
    """
    n_taps = reach(sigma)
    taps = np.exp(-0.5 * (np.arange(n_taps + 2) / sigma) ** 2)
    taps[-1] = 0
    taps /= taps[0] + 2 * taps[1:].sum()
    found = mass * taps[0]
    for start in range(0, len(keys), _CHUNK):
        end = min(start + _CHUNK, len(keys))
        for step in range(1, n_taps + 1):
            last = min(end, len(keys) - step)
            if last <= start:
                break
            gaps = keys[start + step : last + step] - keys[start:last]
            near = np.flatnonzero(gaps <= n_taps)
            if not len(near):
                break
            if 2 * len(near) > len(gaps):  # most of them: not to pick is the faster
                weights = taps[np.minimum(gaps, n_taps + 1)]
                found[start:last] += weights * mass[start + step : last + step]
                found[start + step : last + step] += weights * mass[start:last]
            else:
                weights, near = taps[gaps[near]], near + start
                found[near] += weights * mass[near + step]
                found[near + step] += weights * mass[near]
    return found


def smoothed(
    values: Float64[np.ndarray, " bases"], sigma: float, is_start: bool, is_end: bool
) -> Float64[np.ndarray, " bases"]:
    """Values in a Gaussian window. Where the contig starts or ends it is mirrored, so that nothing gets lost; where it
    goes on, what is beyond counts as 0.
    """
    n_taps = reach(sigma)
    if not n_taps:
        return values
    taps = np.exp(-0.5 * (np.arange(-n_taps, n_taps + 1) / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(values, (0 if is_start else n_taps, 0 if is_end else n_taps))
    padded = np.pad(padded, (n_taps if is_start else 0, n_taps if is_end else 0), "symmetric")
    found = np.zeros_like(values)
    step = _BLOCK - 2 * n_taps
    transform = np.fft.rfft(taps, _BLOCK)
    for at in range(0, len(values), step):
        block = padded[at : at + _BLOCK]
        if block.any():
            there = np.fft.irfft(np.fft.rfft(block, _BLOCK) * transform, _BLOCK)[2 * n_taps : len(block)]
            found[at : at + len(there)] = there
    return found
