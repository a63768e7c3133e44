"""Streams of bins against numpy and scipy on all bins at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from basecast.evaluation.signal_measures import Accuracy, Moments, correlation, log2_of, mean_of, ranks, spearman

RNG = np.random.default_rng(7)
TARGETS = RNG.gamma(0.4, 3.0, (5000, 6)).astype(np.float32)
PREDICTIONS = (0.5 * TARGETS + RNG.gamma(1.0, 1.0, TARGETS.shape)).astype(np.float32)


def streamed(x: np.ndarray, y: np.ndarray, parts: int = 7) -> Moments:
    """Parts of unequal size, added to some and merged in another order."""
    cuts = np.sort(np.random.default_rng(1).integers(0, len(x), parts))
    each = []
    for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True):
        each.append(Moments(x.shape[1]))
        each[-1].add(a, b)
    whole = Moments(x.shape[1])
    for part in each[::-1]:
        whole.merge(Moments.of_array(part.to_array()))
    return whole


def test_a_stream_is_as_all_at_once() -> None:
    found = streamed(PREDICTIONS, TARGETS)
    x, y = PREDICTIONS.astype(np.float64), TARGETS.astype(np.float64)
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(found.pearson, expected, rtol=1e-12)
    r2 = 1 - np.square(x - y).sum(axis=0) / np.square(y - y.mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(found.r2, r2, rtol=1e-12)
    assert found.n == 5000


def test_a_small_signal_on_a_large_one_is_not_lost() -> None:
    """E[x^2] - E[x]^2 in float32, as published code sums it, gives nothing here."""
    x, y = 1e4 + PREDICTIONS.astype(np.float64), 1e4 + TARGETS.astype(np.float64)
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(PREDICTIONS.T, TARGETS.T, strict=True)]
    np.testing.assert_allclose(streamed(x, y).pearson, expected, rtol=1e-6)
    single = x.astype(np.float32), y.astype(np.float32)
    n = np.float32(len(x))
    with np.errstate(invalid="ignore", divide="ignore"):
        naive = [
            ((a * b).sum() / n - a.mean() * b.mean()) / np.sqrt(((a * a).sum() / n - a.mean() ** 2) * (b.var()))
            for a, b in zip(single[0].T, single[1].T, strict=True)
        ]
    assert not np.allclose(naive, expected, rtol=1e-2)


def test_a_track_that_does_not_change_has_no_correlation_and_spoils_no_mean() -> None:
    x, y = PREDICTIONS.copy(), TARGETS.copy()
    x[:, 1], y[:, 2], y[:, 3] = 0.1, 0.1, 0
    found = streamed(x, y)
    np.testing.assert_array_equal(np.isnan(found.pearson), [False, True, True, True, False, False])
    np.testing.assert_array_equal(np.isnan(found.r2), [False, False, True, True, False, False])
    mean = mean_of(found.pearson, list("abcdef"))
    assert mean.without == ("b", "c", "d")
    assert (mean.n, mean.value) == (3, pytest.approx(found.pearson[[0, 4, 5]].mean()))
    assert math.isnan(mean_of(found.pearson[1:2], ["b"]).value)


def test_nothing_at_all_is_no_number() -> None:
    found = Moments(2)
    found.add(np.zeros((0, 2)), np.zeros((0, 2)))
    found.merge(Moments(2))
    assert np.isnan([*found.pearson, *found.r2]).all()
    found.merge(streamed(PREDICTIONS[:, :2], TARGETS[:, :2]))
    np.testing.assert_allclose(found.pearson, correlation(PREDICTIONS[:, :2], TARGETS[:, :2]), rtol=1e-12)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(bins, 3\), got \(4, 2\)"):
        Moments(3).add(np.zeros((4, 2)), np.zeros((4, 2)))


def test_the_log_is_of_what_is_above_zero() -> None:
    one, other = Accuracy(6), Accuracy(6)
    one.add(PREDICTIONS[:2000], TARGETS[:2000])
    other.add(PREDICTIONS[2000:], TARGETS[2000:])
    one.merge(Accuracy.of_array(other.to_array()))
    expected = np.log2(1 + PREDICTIONS.astype(np.float64)), np.log2(1 + TARGETS.astype(np.float64))
    np.testing.assert_allclose(one.log.pearson, correlation(*expected), rtol=1e-10)
    np.testing.assert_allclose(one.plain.pearson, correlation(PREDICTIONS, TARGETS), rtol=1e-10)
    np.testing.assert_array_equal(log2_of(np.array([-1.0, 0.0, 1.0, 3.0])), [0, 0, 1, 2])


def test_ranks_with_ties_as_scipy() -> None:
    x, y = np.round(PREDICTIONS), np.round(TARGETS)
    np.testing.assert_array_equal(ranks(x[:, 0]), stats.rankdata(x[:, 0]))
    assert ranks(np.zeros(0)).size == 0
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(spearman(x, y), expected, rtol=1e-12)
    y[:, 0] = 2
    assert math.isnan(spearman(x, y)[0])
