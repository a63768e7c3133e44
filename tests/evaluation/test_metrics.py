"""Metrics against plain arithmetic and scikit-learn; what is left out of memory against what would be all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, precision_recall_fscore_support

from basecast.evaluation import metrics
from basecast.evaluation.metrics import SiteScores, average_precision, top_k_accuracy

RNG = np.random.default_rng(0)


def positions(n: int, n_sites: int, decimals: int = 9, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores that tell sites from others, but not always; few ``decimals`` make ties."""
    rng = np.random.default_rng(seed)
    is_site = np.zeros(n, dtype=bool)
    is_site[rng.choice(n, n_sites, replace=False)] = True
    scores = 1 / (1 + np.exp(6 - rng.normal(0, 2, n) - is_site * rng.normal(8, 3, n)))
    return np.round(scores, decimals).astype(np.float32), is_site


def test_top_k_counts_the_sites_among_the_best() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1])
    is_site = np.array([True, False, True, False, False, True])
    # three sites: the best 1, 3, 6 and all positions
    assert [top_k_accuracy(scores, is_site, k) for k in (0.5, 1.0, 2.0, 4.0)] == [1.0, 2 / 3, 1.0, 1.0]


def test_positions_that_tie_for_the_last_place_share_it() -> None:
    scores, is_site = np.array([0.9, 0.5, 0.5, 0.5]), np.array([True, True, False, False])
    assert top_k_accuracy(scores, is_site) == pytest.approx((1 + 1 / 3) / 2)
    assert top_k_accuracy(scores[::-1], is_site[::-1]) == top_k_accuracy(scores, is_site)


def test_without_a_site_there_is_no_answer() -> None:
    scores, is_site = np.array([0.9, 0.5]), np.zeros(2, dtype=bool)
    assert math.isnan(top_k_accuracy(scores, is_site))
    assert math.isnan(average_precision(scores, is_site))
    assert math.isnan(SiteScores().average_precision())


def test_arrays_that_do_not_align_and_a_k_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="must align"):
        top_k_accuracy(np.zeros(3), np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match="must align"):
        SiteScores().add(np.zeros(3), np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match="positive"):
        top_k_accuracy(np.zeros(3), np.ones(3, dtype=bool), 0.0)
    with pytest.raises(ValueError, match="nan"):
        SiteScores().add(np.array([0.1, math.nan]), np.zeros(2, dtype=bool))


@pytest.mark.parametrize("decimals", [9, 3, 1, 0])
def test_average_precision_is_that_of_scikit_learn(decimals: int) -> None:
    scores, is_site = positions(20_000, 60, decimals)
    expected = average_precision_score(is_site, scores)
    assert 0.1 < expected < 0.9 or decimals == 0
    assert average_precision(scores, is_site) == pytest.approx(expected, abs=1e-12)


def test_some_records_are_ranked_as_if_there_were_no_others() -> None:
    scores, is_site = positions(3_000, 90, 3)
    kept = SiteScores()
    for i in range(3):
        kept.add(scores[i::3], is_site[i::3], i)
    alone = kept.ranking(np.array([False, True, False]))
    assert alone.average_precision() == pytest.approx(average_precision(scores[1::3], is_site[1::3]), abs=1e-12)


@pytest.mark.parametrize("capacity", [1 << 20, 3_000, 700])
@pytest.mark.parametrize("decimals", [9, 3])
def test_what_is_kept_answers_as_all_positions_would(capacity: int, decimals: int) -> None:
    scores, is_site = positions(50_000, 150, decimals)
    kept = SiteScores(capacity)
    parts = [SiteScores(capacity) for _ in range(3)]
    for i, chunk in enumerate(np.array_split(np.arange(50_000), 12)):
        kept.add(scores[chunk], is_site[chunk], i)
        parts[i % 3].add(scores[chunk], is_site[chunk], i)
    merged = SiteScores(capacity)
    for part in parts:
        merged.merge(part)
    for one in (kept, merged):
        assert (one.n_sites, one.n_positions) == (150, 50_000)
        for k in metrics.TOP:
            assert one.top_k(k) == pytest.approx(top_k_accuracy(scores, is_site, k), abs=1e-12)
        assert 0 <= average_precision(scores, is_site) - one.average_precision() <= one.slack + 1e-12
        assert one.slack == 0 or capacity < 50_000
        assert one.ranking().positions.sum() <= capacity + 150
    assert merged.average_precision() == kept.average_precision()
    assert kept.floor == merged.floor > -1 or capacity > 50_000


def test_a_site_below_everything_kept_is_bounded_not_forgotten() -> None:
    scores = np.concatenate([np.linspace(0.5, 1, 100), [0.2, 0.9]]).astype(np.float32)
    is_site = np.arange(102) >= 100
    kept = SiteScores(50)
    kept.add(scores, is_site)
    whole = average_precision(scores, is_site)
    assert kept.average_precision() < whole <= kept.average_precision() + kept.slack
    assert kept.slack == 1 / 52


def test_average_precision_of_some_records_may_fall_shorter_than_that_of_all() -> None:
    scores, is_site = positions(3_000, 90, 3)
    record = np.arange(3_000) % 3
    scores[is_site & (record == 1)] /= 4
    kept = SiteScores(60)
    for i in range(3):
        kept.add(scores[record == i], is_site[record == i], i)
    for i in range(3):
        within = np.arange(3) == i
        short = average_precision(scores[record == i], is_site[record == i]) - kept.ranking(within).average_precision()
        assert short <= kept.slack_in(within)
    assert kept.slack_in(np.arange(3) == 1) > 1.4 * kept.slack > 0
    assert kept.slack_in(np.ones(3, dtype=bool)) == kept.slack


def test_scores_that_are_all_the_same_leave_nothing_to_rank() -> None:
    kept = SiteScores(10)
    kept.add(np.zeros(100, dtype=np.float32), np.arange(100) < 5)
    assert kept.average_precision() == 0.0
    assert average_precision(np.zeros(100), np.arange(100) < 5) == 0.05 <= kept.slack


def test_what_is_kept_can_be_written_and_read() -> None:
    scores, is_site = positions(5_000, 40)
    kept = SiteScores(300)
    for i in range(5):
        kept.add(scores[i::5], is_site[i::5], i)
    again = SiteScores.of_arrays(kept.arrays())
    assert (again.floor, again.n_positions, again.n_sites) == (kept.floor, 5_000, 40)
    for one, other in zip(again.ranking(), kept.ranking(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_threshold_is_the_score_of_the_last_of_the_best() -> None:
    scores, is_site = positions(10_000, 40)
    kept = SiteScores(500)
    kept.add(scores, is_site)
    assert [kept.threshold(k) for k in metrics.TOP] == [np.sort(scores)[-n] for n in (20, 40, 80, 160)]
    assert math.isnan(SiteScores().threshold())


def test_the_curve_has_the_area_of_its_steps() -> None:
    scores, is_site = positions(10_000, 40, 2)
    kept = SiteScores()
    kept.add(scores, is_site)
    recall, precision = kept.ranking().curve()
    assert recall[-1] == 1
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(kept.average_precision(), abs=1e-12)


def test_likely_positions_are_all_there_are() -> None:
    scores, is_site = positions(10_000, 40)
    kept = SiteScores()
    for i, chunk in enumerate(np.array_split(np.arange(10_000), 5)):
        kept.add(scores[chunk], is_site[chunk], i)
    p, of_site, record = kept.likely(0.01)
    assert sorted(p[of_site]) == sorted(scores[is_site & (scores >= 0.01)])
    assert sorted(p[~of_site]) == sorted(scores[~is_site & (scores >= 0.01)])
    assert np.bincount(record).tolist() == [(scores[i * 2000 : i * 2000 + 2000] >= 0.01).sum() for i in range(5)]


def test_it_is_known_whether_likely_positions_were_dropped() -> None:
    scores, is_site = positions(10_000, 40)
    n_likely = int((scores[~is_site] >= 0.01).sum())
    for capacity, has_all in ((n_likely, True), (n_likely - 1, False), (20_000, True)):
        kept = SiteScores(capacity)
        kept.add(scores, is_site)
        kept.arrays()
        assert kept.has_all(0.01) is has_all
    tied = SiteScores(5)
    tied.add(np.full(10, 0.01, dtype=np.float32), np.zeros(10, dtype=bool))
    tied.arrays()
    assert not tied.has_all(0.01)


def probabilities(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    labels = RNG.choice(3, n, p=[0.8, 0.1, 0.1])
    logits = RNG.normal(size=(n, 3)) + 2 * np.eye(3)[labels]
    x = np.exp(logits)
    return (x / x.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_likelihood_brier_and_classes_are_those_of_scikit_learn() -> None:
    p, labels = probabilities(4_000)
    exact = p.astype(float) / p.sum(axis=1, keepdims=True, dtype=float)
    assert metrics.negative_log_likelihood(p, labels) / 4_000 == pytest.approx(log_loss(labels, exact), rel=1e-6)
    expected = brier_score_loss(labels, exact, scale_by_half=False, labels=[0, 1, 2])
    assert metrics.brier(p, labels) / 4_000 == pytest.approx(expected, rel=1e-5)
    found = metrics.precision_recall_f1(metrics.confusion(p, labels))
    expected = np.array(precision_recall_fscore_support(labels, p.argmax(axis=1))[:3])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_an_impossible_truth_costs_much_but_not_everything() -> None:
    p = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert metrics.negative_log_likelihood(p, np.array([1])) == pytest.approx(87.3, abs=0.1)
    assert metrics.brier(p, np.array([1])) == 2.0


def test_a_class_that_is_never_called_has_no_precision() -> None:
    found = metrics.precision_recall_f1(np.array([[9, 0], [1, 0]]))
    np.testing.assert_array_equal(found[:, 1], [math.nan, 0.0, 0.0])


def test_calibration_error_is_the_mean_distance_in_bins_of_equal_mass() -> None:
    scores = np.array([0.001, 0.1, 0.2, 0.6, 0.8], dtype=np.float32)
    is_site = np.array([True, False, True, True, True])
    # two bins: p 0.15 against 1/2, p 0.7 against 1
    found = metrics.expected_calibration_error(scores, is_site, n_bins=2)
    assert found == pytest.approx((0.35 + 0.3) / 2)
    assert math.isnan(metrics.expected_calibration_error(scores[:1], is_site[:1]))


def test_honest_probabilities_have_a_small_error_and_sharpened_ones_do_not() -> None:
    p = RNG.beta(0.3, 0.5, 50_000)
    is_site = RNG.random(50_000) < p
    sharpened = p**2 / (p**2 + (1 - p) ** 2)
    assert metrics.expected_calibration_error(p, is_site) < 0.01
    assert metrics.expected_calibration_error(sharpened, is_site) > 0.04


@pytest.mark.parametrize("n", [1, 14, 15, 16, 1000])
def test_bins_have_equal_mass(n: int) -> None:
    sizes = np.bincount(metrics.equal_mass_bins(RNG.random(n)), minlength=15)
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1
