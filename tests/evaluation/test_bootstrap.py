"""Draws of records, and the interval that they give."""

from __future__ import annotations

import math

import numpy as np

from basecast.evaluation.bootstrap import draws, interval


def test_the_first_column_is_the_data_and_each_dataset_is_drawn_from_itself() -> None:
    drawn = draws([5, 0, 12], 200, seed=3)
    assert drawn.shape == (17, 201)
    assert (drawn[:, 0] == 1).all()
    assert (drawn[:5].sum(axis=0) == 5).all()
    assert (drawn[5:].sum(axis=0) == 12).all()
    np.testing.assert_allclose(drawn[:, 1:].mean(axis=1), 1, atol=0.35)
    assert drawn.max() > 1


def test_a_seed_gives_the_same_draws_always() -> None:
    np.testing.assert_array_equal(draws([30], 20, 7), draws([30], 20, 7))
    assert (draws([30], 20, 7) != draws([30], 20, 8)).any()


def test_the_interval_holds_95_of_100_and_leaves_out_what_is_no_number() -> None:
    values = np.append(np.arange(1001.0), [math.nan, math.inf])
    assert interval(values) == (25, 975)
    assert all(map(math.isnan, interval(np.array([math.nan]))))
    assert all(map(math.isnan, interval(np.zeros(0))))


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    x = np.random.default_rng(0).normal(0, 1, 400)
    w = draws([400], 2_000, 1)[:, 1:]
    low, high = interval(x @ w / 400)
    np.testing.assert_allclose((low, high), x.mean() + np.array([-1.96, 1.96]) * x.std() / 20, atol=0.012)
