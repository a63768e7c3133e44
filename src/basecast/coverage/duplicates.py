"""How many reads a position can hold before they are likely copies of one molecule."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64

_CHANCE = 0.01


def limits(most: int) -> Float64[np.ndarray, " limits"]:
    """The coverage u_k, k = 2..``most``, at which more than k reads have a chance of 1 in 100.

    u_k solves 1 - PoissonCDF(k; u_k) = 0.01; the rule is Basenji's (Kelley et al. 2018).

    Returns:
        Shape (most - 1,), ascending, events a position.

    Raises:
        ValueError: ``most`` is not positive.
    """
    if most < 1:
        raise ValueError(f"a position holds at least one read, got {most}")
    return np.array([_limit(k) for k in range(2, most + 1)])


def _limit(k: int) -> float:
    low, high = 0.0, k + 1.0  # at u = k + 1 more than k reads are about as likely as not
    for _ in range(60):
        u = (low + high) / 2
        chance = 1 - math.fsum(math.exp(i * math.log(u) - u - math.lgamma(i + 1)) for i in range(k + 1))
        low, high = (u, high) if chance < _CHANCE else (low, u)
    return (low + high) / 2


def clip(
    values: Float[np.ndarray, " positions"],
    smoothed: Float[np.ndarray, " positions"],
    limits: Float64[np.ndarray, " limits"],
) -> Float[np.ndarray, " positions"]:
    """Values cut to what the coverage around them makes likely.

    Args:
        values: events at each position.
        smoothed: events a position around it, as expected from its neighbours.
        limits: those of :func:`limits`.

    Returns:
        ``values``, at most 1 where ``smoothed`` is up to u_2, k where it is in (u_k, u_k+1], and the most beyond the
        last; same shape and type.
    """
    return np.minimum(values, (np.searchsorted(limits, smoothed) + 1).astype(values.dtype))
