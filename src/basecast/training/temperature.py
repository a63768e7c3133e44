"""The temperature that makes probabilities honest: what logits are divided by (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from basecast.errors import InputError

LOWEST, HIGHEST = 0.05, 20.0
_MOST_PASSES = 60
_CLOSE = 1e-12  # fall in likelihood, a position, below which nothing more is to be had
_BLOCK = 1 << 18

Batches = Callable[[], Iterable[tuple[NDArray[np.floating], NDArray[np.integer]]]]
"""Gives logits (positions, classes) and labels (positions,), batch by batch, as often as it is called."""


class Moments(NamedTuple):
    """The summed negative log-likelihood at some inverse temperatures, its gradient and curvature there."""

    value: float
    gradient: Float[np.ndarray, " classes"]
    curvature: Float[np.ndarray, "classes classes"]
    positions: int


def moments(batches: Batches, inverse: Float[np.ndarray, " classes"]) -> Moments:
    """One pass over all positions, in float64; ``inverse`` multiplies the logits of each class."""
    n_classes = inverse.size
    value, positions = 0.0, 0
    gradient, curvature = np.zeros(n_classes), np.zeros((n_classes, n_classes))
    for logits, labels in batches():
        for i in range(0, labels.size, _BLOCK):
            z, y = logits[i : i + _BLOCK].astype(np.float64), labels[i : i + _BLOCK]
            scaled = z * inverse
            scaled -= scaled.max(axis=1, keepdims=True)
            p = np.exp(scaled)
            total = p.sum(axis=1, keepdims=True)
            rows = np.arange(y.size)
            value += float((np.log(total[:, 0]) - scaled[rows, y]).sum())
            p /= total
            weighted = p * z
            gradient += weighted.sum(axis=0) - np.bincount(y, z[rows, y], n_classes)
            curvature += np.diag((weighted * z).sum(axis=0)) - weighted.T @ weighted
        positions += labels.size
    return Moments(value, gradient, curvature, positions)


def fitted(batches: Batches, n_classes: int, *, per_class: bool = False) -> tuple[float, ...]:
    """The temperature, or one for each class, with the least summed negative log-likelihood.

    In the inverse temperatures the likelihood of a softmax is convex, so that Newton's method with shorter steps where
    they are needed ends at the one minimum. Each step is a pass over the positions; nothing else is kept of them.

    Raises:
        InputError: there is no position, or the minimum is not between ``LOWEST`` and ``HIGHEST``: the labels are
            predicted without error, or not at all.
    """
    shares = np.eye(n_classes) if per_class else np.ones((n_classes, 1))
    at = np.ones(shares.shape[1])
    now = moments(batches, shares @ at)
    if not now.positions:
        raise InputError("there is no labelled position to fit a temperature to")
    for _ in range(_MOST_PASSES):
        gradient, curvature = shares.T @ now.gradient, shares.T @ now.curvature @ shares
        curvature += np.eye(at.size) * (1e-12 * np.trace(curvature) + 1e-300)
        step = -np.linalg.solve(curvature, gradient)
        expected = -float(gradient @ step) / 2
        if expected <= _CLOSE * now.positions:
            break
        size = 1.0
        while size > 1e-6:
            tried = at + size * step
            if (tried > 0).all() and (then := moments(batches, shares @ tried)).value < now.value:
                break
            size /= 2
        else:
            break
        at, now = tried, then
        if at.max() > 1 / LOWEST or at.min() < 1 / HIGHEST:
            break
    if at.max() > 1 / LOWEST or at.min() < 1 / HIGHEST:
        raise InputError(
            f"no temperature from {LOWEST:g} to {HIGHEST:g} fits these labels: they are predicted without error or not "
            "at all; take more held-out genes, or other ones"
        )
    return tuple(float(1 / x) for x in at)
