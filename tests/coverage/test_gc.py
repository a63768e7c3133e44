"""GC share in a window, and the model that undoes what a planted bias did."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from simulated import random_genome

from basecast.coverage.gc import GCFit, GCModel, gaussian, gc_fraction

SD = 64.0


def reference(tokens: np.ndarray, sd: float) -> np.ndarray:
    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(values.astype(float), sd, truncate=3, mode="constant")

    return smooth((tokens == 1) | (tokens == 2)) / smooth(tokens != 4)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return random_genome(np.random.default_rng(3), {"chr1": 1_500_000})["chr1"]


@pytest.fixture(scope="module")
def gc(tokens: np.ndarray) -> np.ndarray:
    return reference(tokens, SD)


# --- the share


@pytest.mark.parametrize("n_share", [0.0, 0.3])
@pytest.mark.parametrize("size", [1, 100, 385, 386, 300_001])
@pytest.mark.parametrize("step", [1, 8, 32])
def test_the_share_is_that_of_a_plain_gaussian_filter(n_share: float, size: int, step: int) -> None:
    rng = np.random.default_rng(size)
    tokens = np.where(rng.random(size) < n_share, 4, rng.integers(0, 4, size)).astype(np.uint8)
    tokens[0] = 1
    got = gc_fraction(tokens, SD, step)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reference(tokens, SD)[::step], atol=2e-6)


def test_the_window_is_around_its_base() -> None:
    tokens = np.zeros(2000, np.uint8)
    tokens[1000] = 2
    got = gc_fraction(tokens, SD)
    assert got.argmax() == 1000
    np.testing.assert_allclose(got[1000 - 192 : 1001], got[1000 : 1000 + 193][::-1], atol=1e-7)
    assert got[1000 - 193] == pytest.approx(0, abs=1e-7)


def test_what_is_not_known_is_nan_and_no_at() -> None:
    tokens = np.full(2000, 4, np.uint8)
    assert np.isnan(gc_fraction(tokens, SD)).all()
    tokens[500:510] = 2
    got = gc_fraction(tokens, SD)
    assert got[505] == pytest.approx(1)
    assert np.isnan(got[1000:]).all()


# --- the model


def planted(
    gc: np.ndarray, slope: float, depth: float, peaks: str = "none", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Events at each base under a bias of ``slope`` log2 a unit of GC, and where the peaks are."""
    rng = np.random.default_rng(seed)
    in_peak = np.zeros(gc.size, bool)
    places = np.arange(5000, gc.size - 5000, 6000)
    if peaks == "random":
        places = rng.choice(places, 60, replace=False)
    elif peaks == "rich":
        best = np.array([p - 2000 + gc[p - 2000 : p + 2000].argmax() for p in places])
        places = best[gc[best] > np.quantile(gc[best], 0.5)]
    elif peaks == "most of the rich":
        in_peak |= (gc > 0.58) & np.repeat(rng.random(gc.size // 500 + 1) < 0.6, 500)[: gc.size]
    if peaks in ("random", "rich"):
        for place in places:
            in_peak[place - 200 : place + 200] = True
    mean = depth * 2.0 ** (slope * (gc - 0.45)) * np.where(in_peak, 15, 1)
    return rng.poisson(mean).astype(np.float32), in_peak


def slope_of(gc: np.ndarray, coverage: np.ndarray) -> float:
    """Of log2 mean coverage in twenty groups of as many bases."""
    group = np.digitize(gc, np.quantile(gc, np.linspace(0, 1, 21)[1:-1]))
    n = np.bincount(group)
    return float(np.polyfit(np.bincount(group, gc) / n, np.log2(np.bincount(group, coverage) / n), 1)[0])


@pytest.mark.parametrize("peaks", ["none", "random", "rich", "most of the rich"])
@pytest.mark.parametrize("slope", [5.0, -5.0])
def test_a_planted_bias_is_undone_and_peaks_keep_their_height(
    tokens: np.ndarray, gc: np.ndarray, slope: float, peaks: str
) -> None:
    coverage, in_peak = planted(gc, slope, 0.1, peaks)
    fit = GCFit(SD)
    fit.add(coverage, tokens)
    model = fit.model()
    corrected = coverage * model.correction(gc)
    before = slope_of(gc[~in_peak], coverage[~in_peak])
    assert abs(before) > 4.5
    assert abs(slope_of(gc[~in_peak], corrected[~in_peak])) < 0.05 * abs(before)
    assert corrected.sum() == pytest.approx(coverage.sum(), rel=0.005)
    if in_peak.any():
        height = corrected[in_peak].mean() / corrected[~in_peak].mean()
        assert height == pytest.approx(15, rel=0.1)


def test_few_reads_that_leave_most_windows_empty_are_fitted_without_a_pseudo_count(
    tokens: np.ndarray, gc: np.ndarray
) -> None:
    coverage, _ = planted(gc, 5, 0.004)
    fit = GCFit(SD)
    fit.add(coverage, tokens)
    low, high = np.quantile(gc, [0.1, 0.9])
    rise = np.log2(fit.model().correction(np.array([low])) / fit.model().correction(np.array([high])))[0]
    assert rise == pytest.approx(5 * (high - low), rel=0.12)  # 6,000 reads


def test_what_was_measured_in_log2_is_undone_in_log2(tokens: np.ndarray, gc: np.ndarray) -> None:
    fit = GCFit(SD)
    fit.add((0.2 * 2.0 ** (4 * gc)).astype(np.float32), tokens)
    shares = np.array([0.35, 0.45, 0.55])
    np.testing.assert_allclose(np.diff(np.log2(fit.model().correction(shares))), -0.4, rtol=0.01)


def test_a_bend_of_the_third_degree_is_found(tokens: np.ndarray, gc: np.ndarray) -> None:

    def truth(share: np.ndarray) -> np.ndarray:
        return 0.2 * 2.0 ** (8 * (share - 0.45) - 30 * (share - 0.45) ** 2 - 50 * (share - 0.45) ** 3)

    fit = GCFit(SD)
    fit.add(truth(gc).astype(np.float32), tokens)
    shares = np.linspace(0.33, 0.6, 20)
    np.testing.assert_allclose(fit.model().expected(shares), truth(shares), rtol=0.03)


def test_beyond_what_was_seen_the_model_is_what_it_is_there(tokens: np.ndarray, gc: np.ndarray) -> None:
    coverage, _ = planted(gc, 5, 0.1)
    fit = GCFit(SD)
    fit.add(coverage, tokens)
    model = fit.model()
    assert 0.2 < model.low < 0.35 < 0.55 < model.high < 0.75
    ends = model.correction(np.array([0.0, model.low, model.high, 1.0]))
    assert ends[0] == ends[1] > ends[2] == ends[3]


def test_unknown_gc_is_left_as_it_is(tokens: np.ndarray, gc: np.ndarray) -> None:
    coverage, _ = planted(gc, 5, 0.1)
    fit = GCFit(SD)
    fit.add(coverage, tokens)
    assert fit.model().correction(np.array([np.nan]))[0] == 1


def test_without_a_read_nothing_is_corrected(tokens: np.ndarray) -> None:
    fit = GCFit(SD)
    fit.add(np.zeros(tokens.size, np.float32), tokens)
    np.testing.assert_array_equal(fit.model().correction(np.array([0.2, 0.5, np.nan])), 1)


def test_stretches_and_fits_add_up(tokens: np.ndarray, gc: np.ndarray) -> None:
    coverage, _ = planted(gc, 5, 0.1, "random")
    whole, first, second = GCFit(SD), GCFit(SD), GCFit(SD)
    for fit, start, end in ((first, 0, 700_000), (second, 700_000, tokens.size)):
        fit.add(coverage[start:end], tokens[start:end])
        whole.add(coverage[start:end], tokens[start:end])
    first.merge(second)
    assert first.model().coefficients == whole.model().coefficients


def test_places_of_multi_reads_have_no_part(tokens: np.ndarray, gc: np.ndarray) -> None:
    """Repeats hold few reads with one place. Were they read as thin, their GC would be taken for the reason."""
    coverage, _ = planted(gc, 5, 0.1)
    repeats = (gc > 0.5) & (np.arange(gc.size) // 2000 % 3 > 0)
    coverage[repeats] *= np.random.default_rng(0).random(int(repeats.sum())) < 0.4
    slopes = []
    for usable in (~repeats, None):
        fit = GCFit(SD)
        fit.add(coverage, tokens, usable)
        model = fit.model()
        slopes.append(float(np.log2(model.expected(np.array([0.55])) / model.expected(np.array([0.4])))[0]) / 0.15)
    assert slopes[0] == pytest.approx(5, rel=0.05)
    assert slopes[1] < 4


def test_the_level_can_be_set_by_a_whole_genome() -> None:
    model = GCModel((0.0, 1.0, 0.0, 0.0), 0.3, 0.6, 1.0, *np.empty((3, 0)))
    gc, coverage = np.array([0.3, 0.5, 0.6]), np.array([3.0, 1.0, 2.0])
    scaled = model.conserving(coverage.sum(), (coverage * model.correction(gc)).sum())
    assert (coverage * scaled.correction(gc)).sum() == pytest.approx(6)


def test_a_stretch_shorter_than_a_window_is_passed_over() -> None:
    fit = GCFit(SD)
    fit.add(np.ones(300, np.float32), np.zeros(300, np.uint8))
    assert fit.model().correction(np.array([0.0]))[0] == 1


def test_coverage_and_bases_must_align() -> None:
    with pytest.raises(ValueError, match="must align"):
        GCFit(SD).add(np.zeros(10, np.float32), np.zeros(11, np.uint8))


def test_the_window_sums_to_one() -> None:
    assert gaussian(SD).size == 2 * 192 + 1
    assert gaussian(SD).sum() == pytest.approx(1)
