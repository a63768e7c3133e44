"""What a position can hold before its reads are likely copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from basecast.coverage.duplicates import clip, limits


def test_limits_leave_a_chance_of_one_in_a_hundred() -> None:
    u = limits(40)
    assert u.shape == (39,)
    np.testing.assert_allclose(stats.poisson.sf(np.arange(2, 41), u), 0.01, rtol=1e-9)


def test_positions_are_cut_to_what_their_surroundings_make_likely() -> None:
    u = limits(4)  # 0.44, 0.82, 1.28
    smoothed = np.array([0.0, u[0], u[0] + 1e-6, u[1], u[1] + 1e-6, u[2], u[2] + 1e-6, 50])
    values = np.full(8, 100, np.float32)
    got = clip(values, smoothed, u)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [1, 1, 2, 2, 3, 3, 4, 4])


def test_what_is_below_its_limit_is_left() -> None:
    values = np.array([0, 0.25, 1, 1.5, 0.999])
    np.testing.assert_array_equal(clip(values, np.zeros(5), limits(8)), [0, 0.25, 1, 1, 0.999])


def test_one_read_a_position_can_be_the_most() -> None:
    np.testing.assert_array_equal(clip(np.array([3.0, 0.5]), np.array([9.0, 9.0]), limits(1)), [1, 0.5])


def test_duplicates_fall_and_reads_of_a_peak_stay() -> None:
    """A tower of copies on thin ground is cut; the same number of reads a base throughout a peak is not."""
    rng = np.random.default_rng(0)
    values = rng.poisson(0.05, 20_000).astype(np.float64)
    values[5000] += 30
    values[10_000:10_400] += rng.poisson(6, 400)
    smoothed = np.convolve(values, np.full(101, 1 / 101), "same")
    got = clip(values, smoothed, limits(32))
    assert got[5000] <= 2
    assert got[10_100:10_300].sum() > 0.97 * values[10_100:10_300].sum()


@pytest.mark.parametrize("most", [0, -3])
def test_a_position_holds_at_least_one_read(most: int) -> None:
    with pytest.raises(ValueError, match="at least one read"):
        limits(most)
