from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basecast.coverage.events import PLACE, isin
from basecast.coverage.multireads import grouped, shares


def places(*rows: tuple[int, int, int, bool, int]) -> Any:
    """Read, position, kind, whether it is the first record, told places."""
    found = np.zeros(len(rows), PLACE)
    for i, (read, at, kind, is_first, told) in enumerate(rows):
        found[i] = (read // 7, read, at, kind, is_first, told)
    return found


ROW = st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(0, 3), st.booleans(), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(ROW, max_size=60), st.integers(1, 5))
def test_grouping_is_that_of_a_table(rows: list[tuple[int, int, int, bool, int]], most: int) -> None:
    counts: Counter[str] = Counter()
    table = places(*rows)
    found = grouped(table, most, counts)
    groups = [some.tolist() for some in np.split(found.rows, found.firsts[1:]) if len(some)]
    groups += [[row] for row in found.single.tolist()]
    by_read = {rows[group[0]][0]: {rows[row][1:3] for row in group} for group in groups}
    assert len(by_read) == len(groups)
    expected = {}
    fates: Counter[str] = Counter()
    for read in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == read]
        where = {row[1:3] for row in mine}
        if not any(row[3] for row in mine):
            fates["places of reads without their first record"] += len(mine)
        elif len(where) > most:
            fates["places of reads with too many"] += len(mine)
            fates["reads with too many places"] += 1
        else:
            expected[read] = where
            fates["places told twice"] += len(mine) - len(where)
            fates["reads with one place after all"] += len(where) == 1
            fates["reads with several places"] += len(where) > 1
            fates["reads with places that are not in the file"] += max(row[4] for row in mine) > len(mine)
    assert by_read == expected
    assert +counts == +fates
    assert sum(map(len, groups)) + sum(counts[name] for name in counts if name.startswith("places")) == len(rows)


def test_of_a_place_told_twice_the_first_record_stays() -> None:
    found = grouped(places((1, 5, 0, False, 0), (1, 5, 0, True, 0), (1, 9, 0, False, 0)), 10, Counter())
    assert found.rows.tolist() == [1, 2]


def test_half_of_a_key_is_not_the_key() -> None:
    kind = np.dtype([("first", "<u8"), ("second", "<u8")])
    among = np.array([(1, 5), (1, 7), (1, 9), (3, 0), (3, 2)], kind)
    asked = np.array([(1, 5), (1, 6), (1, 9), (1, 10), (0, 5), (3, 2), (3, 3), (4, 0), (1, 7)], kind)
    assert isin(asked, among).tolist() == [True, False, True, False, False, True, False, False, True]
    assert not isin(asked, among[:0]).any()


def nothing(keys: Any) -> Any:
    return np.zeros(len(keys))


def shared(keys: list[int], firsts: list[int], prior: Any = nothing, iterations: int = 100) -> Any:
    return shares(np.array(keys), np.array(firsts), prior, sigma=8, iterations=iterations)


def test_where_nothing_tells_it_is_even() -> None:
    rng = np.random.default_rng(0)
    inside = rng.integers(0, 300, 500)
    keys = np.stack([inside, inside + 10_000, inside + 20_000], axis=1).ravel().tolist()
    found = shared(keys, list(range(0, len(keys), 3)))
    assert found.weights == pytest.approx(np.full(len(keys), 1 / 3), abs=1e-12)
    assert found.has_converged
    assert len(found.moved) == 1


def test_neighbours_draw_reads_and_each_stays_one() -> None:
    keys = [100, 5000, 101, 5001, 9000, 200, 300]
    firsts = [0, 2, 5]

    def prior(where: Any) -> Any:
        return np.where(np.abs(where - 100) < 30, 4.0, 0.4)

    found = shared(keys, firsts, prior)
    sums = np.add.reduceat(found.weights, firsts)
    assert sums == pytest.approx(np.ones(3), abs=1e-12)
    assert found.weights[0] > 0.85
    assert found.weights[2] > 0.8
    assert found.weights[5] == pytest.approx(0.5, abs=0.02)
    assert found.has_converged


def test_no_rounds_share_evenly() -> None:
    found = shared([1, 2, 3, 9, 10], [0, 3], lambda keys: 1.0 + keys, iterations=0)
    assert found.weights.tolist() == [1 / 3] * 3 + [0.5] * 2
    assert found.moved == []


def test_at_most_so_many_rounds() -> None:
    rng = np.random.default_rng(0)
    inside = np.sort(rng.integers(0, 3000, 3000))
    keys = np.stack([inside, inside + 10_000], axis=1).ravel().tolist()
    for rounds in (1, 2, 3, 7):
        found = shared(keys, list(range(0, 6000, 2)), lambda where: np.where(where < 40, 9.0, 0.0), iterations=rounds)
        assert len(found.moved) == rounds
        assert not found.has_converged
        assert np.add.reduceat(found.weights, np.arange(0, 6000, 2)) == pytest.approx(np.ones(3000), abs=1e-12)


def test_it_leads_where_plain_rounds_lead() -> None:
    """Without the long steps, many more rounds come to the same."""
    rng = np.random.default_rng(3)
    inside = np.sort(rng.integers(0, 200, 300))
    keys = np.stack([inside, inside + 10_000], axis=1).ravel()
    firsts = np.arange(0, 600, 2)

    def prior(where: Any) -> Any:
        return np.where(where < 30, 0.5, 0.05)

    fast = shares(keys, firsts, prior, sigma=8, iterations=400)
    plain = np.full(600, 0.5)
    where, cells = np.unique(keys, return_inverse=True)
    taps = np.exp(-0.5 * (np.arange(-24, 25) / 8) ** 2)
    taps /= taps.sum()
    known = prior(where) + 1 / (2 * np.sqrt(np.pi) * 8)
    for _ in range(3000):
        full = np.bincount(keys, plain, 10_300)
        coverage = (np.convolve(full, taps, "same")[where] + known)[cells]
        plain = coverage / np.repeat(np.add.reduceat(coverage, firsts), 2)
    assert np.abs(fast.weights - plain).max() < 0.02
    assert np.abs(plain - 0.5).max() > 0.2
    assert len(fast.moved) < 60
