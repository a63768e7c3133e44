"""Bins with more counts than chance gives, and how well predictions find them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from basecast.evaluation.metrics import average_precision
from basecast.evaluation.signal_measures import ranks

PeaksRule = Literal["bh", "basenji-compat"]
FALSE_DISCOVERIES = 0.01
"""Share of the peaks that may be none."""
EVERY = 8
"""Of so many bins the published rule looks at one."""


class Peaks(NamedTuple):
    """Of one track: how many bins are peaks, and how well its predictions tell them from others."""

    n: int
    auroc: float
    auprc: float


def peaks_of(
    predictions: Float[np.ndarray, " bins"], counts: Float[np.ndarray, " bins"], rule: PeaksRule = "bh"
) -> Peaks:
    """Areas under the curves; nan where no bin or every bin is a peak."""
    is_peak = called(poisson_p(counts), rule)
    n = int(is_peak.sum())
    if n in (0, is_peak.size):
        return Peaks(n, math.nan, math.nan)
    at = ranks(predictions)[is_peak].sum()
    auroc = float((at - n * (n + 1) / 2) / (n * (is_peak.size - n)))
    return Peaks(n, auroc, average_precision(predictions, is_peak))


def poisson_p(counts: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " bins"]:
    """Of each bin the chance of as many counts or more, were all bins alike: Poisson about their mean."""
    k = torch.from_numpy(np.round(np.maximum(counts, 0, dtype=np.float64)))
    mean = torch.full_like(k, max(float(np.mean(counts, dtype=np.float64)), np.finfo(float).tiny))
    upper: NDArray[np.float64] = torch.special.gammainc(k.clamp(min=1), mean).numpy()
    return np.where(k.numpy() > 0, upper, 1.0)


def called(p: Float[np.ndarray, " bins"], rule: PeaksRule = "bh") -> Bool[np.ndarray, " bins"]:
    """Which are peaks.

    ``bh`` is the procedure of Benjamini and Hochberg (1995). ``basenji-compat`` is what Basenji's published peak
    accuracies were counted with: its quotient is rounded down to a whole number, so that every bin whose adjusted p is
    below 1 is a peak.
    """
    if rule == "basenji-compat":
        quotients = np.empty(p.size)
        order = np.argsort(p, kind="stable")
        quotients[order] = p[order] * p.size // np.arange(1, p.size + 1)
        return quotients < FALSE_DISCOVERIES
    return benjamini_hochberg(p) < FALSE_DISCOVERIES


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Adjusted p: the smallest share of false discoveries at which a test is called; ascends with p."""
    order = np.argsort(p)[::-1]
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum.accumulate(p[order] * p.size / np.arange(p.size, 0, -1))
    return np.minimum(adjusted, 1)
