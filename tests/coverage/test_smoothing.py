from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from basecast.coverage import smoothing
from basecast.coverage.smoothing import smoothed, smoothed_at


@pytest.mark.parametrize("sigma", [0.5, 2, 8, 32.5])
@pytest.mark.parametrize("length", [40, 1000, 5000])
def test_it_is_the_gaussian_filter(sigma: float, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "_BLOCK", 512)
    values = np.random.default_rng(0).poisson(0.2, length).astype(float)
    if length > smoothing.reach(sigma):
        expected = gaussian_filter1d(values, sigma, truncate=3, mode="reflect")
        found = smoothed(values, sigma, True, True)
        assert np.abs(found - expected).max() < 1e-12
        assert found.sum() == pytest.approx(values.sum(), rel=1e-12)  # nothing gets lost at the ends
    expected = gaussian_filter1d(values, sigma, truncate=3, mode="constant")
    assert np.abs(smoothed(values, sigma, False, False) - expected).max() < 1e-12


@pytest.mark.parametrize("length", [1, 5, 30])
def test_contigs_shorter_than_the_window_keep_what_they_hold(length: int) -> None:
    values = np.random.default_rng(0).poisson(2, length).astype(float)
    assert smoothed(values, 32, True, True).sum() == pytest.approx(values.sum(), rel=1e-12)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.9])
@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_at_a_few_keys_it_is_what_it_is_in_full(share: float, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "_CHUNK", 77)
    rng = np.random.default_rng(1)
    keys = np.flatnonzero(rng.random(20_000) < share)
    mass = rng.random(len(keys))
    full = np.zeros(20_000)
    full[keys] = mass
    expected = gaussian_filter1d(full, sigma, truncate=3, mode="constant")[keys]
    assert smoothed_at(keys, mass, sigma) == pytest.approx(expected, rel=1e-12)


def test_no_keys() -> None:
    assert not len(smoothed_at(np.empty(0, np.int64), np.empty(0), 4))
