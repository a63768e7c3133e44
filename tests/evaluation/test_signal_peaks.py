"""Peaks against scipy's Poisson and Benjamini-Hochberg, and against what chance alone gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from basecast.evaluation.signal_peaks import benjamini_hochberg, called, peaks_of, poisson_p

RNG = np.random.default_rng(11)
NOTHING = RNG.poisson(5, 20_000).astype(np.float32)


def test_p_is_that_of_as_many_counts_or_more() -> None:
    counts = np.array([0, 0.4, 1, 2.6, 9, 300, -1], dtype=np.float32)
    expected = stats.poisson.sf(np.round(np.maximum(counts, 0)) - 1, counts.astype(np.float64).mean())
    np.testing.assert_allclose(poisson_p(counts), expected, rtol=1e-9)
    assert poisson_p(np.zeros(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_adjusted_p_as_scipy(ties: bool) -> None:
    p = RNG.random(3000) ** 3
    p = np.round(p, 2) if ties else p
    found = benjamini_hochberg(p)
    np.testing.assert_allclose(found, stats.false_discovery_control(p), rtol=1e-12)
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    assert benjamini_hochberg(np.zeros(0)).size == 0


def test_chance_alone_has_no_peaks() -> None:
    p = poisson_p(NOTHING)
    assert called(p).sum() <= 1
    assert called(p, "basenji-compat").sum() > 50  # the rounded quotient calls what is below 1


def test_planted_peaks_are_found() -> None:
    counts = NOTHING.copy()
    counts[::20] = RNG.poisson(30, counts[::20].size)
    exact, compat = called(poisson_p(counts)), called(poisson_p(counts), "basenji-compat")
    planted = np.arange(counts.size) % 20 == 0
    assert exact[planted].mean() > 0.97
    assert exact[~planted].sum() < 0.02 * exact.sum()
    assert compat.sum() > exact.sum()


def test_predictions_that_find_peaks() -> None:
    counts = NOTHING.copy()
    counts[:500] = 40
    predictions = np.round(counts + RNG.normal(0, 20, counts.size)).astype(np.float32)
    found = peaks_of(predictions, counts)
    is_peak = called(poisson_p(counts))
    assert found.n == is_peak.sum() >= 500
    assert found.auroc == pytest.approx(roc_auc_score(is_peak, predictions), abs=1e-12)
    assert found.auprc == pytest.approx(average_precision_score(is_peak, predictions), abs=1e-12)
    nothing = peaks_of(predictions, np.zeros_like(counts))
    assert (nothing.n, math.isnan(nothing.auroc), math.isnan(nothing.auprc)) == (0, True, True)
