from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import rel_entr

from basecast.effects.signal import ALIASES, STATISTICS, joined, scores
from basecast.errors import UsageError

RNG = np.random.default_rng(0)
REF, ALT = RNG.gamma(0.5, 3, (50, 4)).astype(np.float32), RNG.gamma(0.5, 3, (50, 4)).astype(np.float32)


def by_hand(name: str, ref: list[float], alt: list[float]) -> float:
    """A statistic of one track, written out."""
    of = {"log": lambda x: math.log2(x + 1), "sqr": math.sqrt}.get(name[:3], float)
    if name == "logSED":
        return math.log2(1 + sum(alt)) - math.log2(1 + sum(ref))
    r, a = [of(x) for x in ref], [of(x) for x in alt]
    change = [y - x for x, y in zip(r, a, strict=True)]
    if name.endswith(("SAD", "SUM", "SED")):
        return sum(a) - sum(r)
    if name.endswith("D1"):
        return sum(map(abs, change))
    if name.endswith("D2"):
        return math.sqrt(sum(x * x for x in change))
    if name == "SAX":
        return max(change, key=abs)
    assert name.endswith("JS")
    pseudo = np.percentile(r, 25)
    p, q = (np.array(x) + pseudo for x in (r, a))
    p, q = p / p.sum(), q / q.sum()
    return float((rel_entr(p, q) + rel_entr(q, p)).sum() / 2)


@pytest.mark.parametrize("name", [*STATISTICS, *ALIASES])
def test_each_is_what_its_formula_says(name: str) -> None:
    found = scores([name], REF, ALT)
    wanted = [by_hand(name, r.tolist(), a.tolist()) for r, a in zip(REF.T, ALT.T, strict=True)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], wanted, rtol=2e-6)
    np.testing.assert_allclose(found[1:], [REF.sum(0), ALT.sum(0)], rtol=1e-6)
    assert (np.abs(found[0]) > 1e-3).all()


@pytest.mark.parametrize("name", STATISTICS)
def test_alleles_that_change_places_change_the_sign(name: str) -> None:
    there, back = scores([name], REF, ALT)[0], scores([name], ALT, REF)[0]
    if name.endswith(("D1", "D2")):
        np.testing.assert_array_equal(there, back)
    elif not name.endswith("JS"):  # whose pseudocount is of REF
        np.testing.assert_array_equal(there, -back)
    np.testing.assert_array_equal(scores([name], REF, REF)[0], 0)


def test_a_small_change_of_a_large_sum_is_kept() -> None:
    """Float32 sums of 6,000 bins would lose it, float16 scores too."""
    ref = np.full((6000, 1), 1000.0, np.float32)
    alt = ref.copy()
    alt[3] += np.float32(0.125)
    assert scores(["SAD", "D1", "SAX"], ref, alt)[:3, 0].tolist() == [0.125] * 3


def test_zeros_are_no_trouble_and_no_bin_is_no_score() -> None:
    ref, alt = np.zeros((10, 1), np.float32), np.zeros((10, 1), np.float32)
    alt[4] = 2
    ref[:8] += 1
    assert np.isfinite(scores(list(STATISTICS), ref, alt)).all()
    assert np.isnan(scores(["SAD", "JS"], ref[:0], alt[:0])).all()
    assert np.isnan(scores(["JS"], 0 * ref, 0 * alt)[0]).all()
    with pytest.raises(ValueError, match="must align"):
        scores(["SAD"], ref, alt[:5])


def test_tracks_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(list(STATISTICS), REF, ALT)
    monkeypatch.setattr("basecast.effects.signal._AT_ONCE", 1)
    np.testing.assert_array_equal(scores(list(STATISTICS), REF, ALT), whole)


def test_an_unknown_statistic_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no statistic 'TYPO', only SAD, .*JS.*and SUM"):
        scores(["SAD", "TYPO"], REF, ALT)


@pytest.mark.parametrize("resolution", [1, 4, 8])
@pytest.mark.parametrize(("first", "last"), [(9, 10), (8, 16), (3, 30), (0, 5), (13, 64), (5, 5)])
def test_a_bin_takes_the_side_that_it_has_more_of(first: int, last: int, resolution: int) -> None:
    n = 64 // resolution
    left, right = np.full((n, 1), 1.0, np.float32), np.full((n, 1), 2.0, np.float32)
    found = joined(left, right, first, last, resolution)[:, 0]
    for i in range(n):
        bases = range(i * resolution, (i + 1) * resolution)
        before, after = sum(x < first for x in bases), sum(x >= last for x in bases)
        assert found[i] == (0 if before == after == 0 else 1 if before >= after else 2)
