"""Which windows an epoch sees, held against enumeration: coverage, quotas, and weights that undo a bias exactly."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from basecast.data.windows import Places, Sampling, Windows, epoch_windows, every_window, grid, position_weights, share
from basecast.errors import UsageError

LENGTHS = (23, 1, 7, 40, 14)
SITES = ((0, 5, 6, 22), (0,), (), (3, 30, 39), (13,))


def places_of(lengths: tuple[int, ...] = LENGTHS, sites: tuple[tuple[int, ...], ...] = SITES) -> Places:
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sites])])
    return Places(np.array(lengths), offsets, np.array([s for group in sites for s in group], dtype=np.int64))


PLACES = places_of()


def biased(window: int = 7, **more: object) -> Sampling:
    return Sampling.model_validate({"kind": "biased", "window": window, **more})


def as_rows(windows: Windows) -> list[tuple[int, int, int]]:
    return list(zip(windows.dataset.tolist(), windows.record.tolist(), windows.start.tolist(), strict=True))


def coverage(places: Places, windows: Windows, size: int, dataset: int = 0) -> list[NDArray[np.int64]]:
    """How often each position of each record is in a window."""
    seen = [np.zeros(length, dtype=np.int64) for length in places.lengths]
    for number, record, start in as_rows(windows):
        if number == dataset:
            seen[record][max(start, 0) : max(start + size, 0)] += 1
    return seen


def touches(places: Places, windows: Windows, size: int) -> bool:
    """Whether every window holds a position of its record."""
    return bool(((windows.start > -size) & (windows.start < places.lengths[windows.record])).all())


# ---- every position once


@pytest.mark.parametrize("size", [1, 5, 7, 40, 64])
@pytest.mark.parametrize("kind", ["grid", "random-phase"])
def test_an_epoch_sees_every_position_once(kind: str, size: int) -> None:
    sampling = Sampling.model_validate({"kind": kind, "window": size})
    for epoch in range(6):
        windows = epoch_windows([PLACES], sampling, 3, epoch)
        assert all((seen == 1).all() for seen in coverage(PLACES, windows, size))
        assert touches(PLACES, windows, size)


def test_a_grid_begins_at_the_records_start() -> None:
    record, start = grid(np.array([10, 3]), 4)
    assert list(zip(record.tolist(), start.tolist(), strict=True)) == [(0, 0), (0, 4), (0, 8), (1, 0)]


def test_validation_is_the_grid_in_the_order_of_the_records() -> None:
    windows = every_window([PLACES, PLACES], 7)
    assert as_rows(windows) == sorted(as_rows(windows))
    assert sorted(as_rows(epoch_windows([PLACES, PLACES], Sampling(kind="grid", window=7), 1, 0))) == as_rows(windows)


def test_random_phase_moves_each_record_by_an_offset_and_offset_0_is_the_grid() -> None:
    sampling, size = Sampling(window=7), 7
    offsets = set()
    for epoch in range(40):
        windows = epoch_windows([PLACES], sampling, 1, epoch)
        for record, length in enumerate(LENGTHS):
            starts = np.sort(windows.start[windows.record == record])
            offsets.add((record, -int(starts[0])))
            assert starts.tolist() == grid(np.array([length]), size, -int(starts[0]))[1].tolist()
    assert offsets == set(itertools.product(range(len(LENGTHS)), range(size)))
    by_hand = grid(PLACES.lengths, size, np.zeros(len(LENGTHS), dtype=np.int64))
    assert [x.tolist() for x in by_hand] == [x.tolist() for x in grid(PLACES.lengths, size)]
    fixed = epoch_windows([PLACES], Sampling(kind="grid", window=size), 1, 0)
    assert sorted(zip(*(x.tolist() for x in by_hand), strict=True)) == [row[1:] for row in sorted(as_rows(fixed))]


# ---- a pure function


@pytest.mark.parametrize("kind", ["grid", "random-phase", "biased"])
def test_windows_are_a_function_of_seed_and_epoch(kind: str) -> None:
    sampling = Sampling.model_validate({"kind": kind, "window": 7})
    once = as_rows(epoch_windows([PLACES, PLACES], sampling, 4, 2))
    np.random.seed(0)  # noqa: NPY002 - global state must not matter
    epoch_windows([PLACES], sampling, 9, 9)
    assert as_rows(epoch_windows([PLACES, PLACES], sampling, 4, 2)) == once
    assert as_rows(epoch_windows([PLACES, PLACES], sampling, 4, 3)) != once
    assert as_rows(epoch_windows([PLACES, PLACES], sampling, 5, 2)) != once


def test_datasets_do_not_move_together() -> None:
    windows = epoch_windows([PLACES, PLACES], Sampling(window=7), 1, 0)
    first, second = (sorted(row[1:] for row in as_rows(windows) if row[0] == number) for number in (0, 1))
    assert first != second


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_the_shares_of_ranks_are_the_batches_and_nothing_is_lost(size: int, world: int) -> None:
    windows = epoch_windows([PLACES], Sampling(window=7), 1, 0)
    joined = []
    for batch in range(-(-len(windows) // size)):
        shares = [as_rows(share(windows, batch, size, rank, world)) for rank in range(world)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        joined += [row for part in shares for row in part]
    assert joined == as_rows(windows)


# ---- biased: what is drawn


def test_near_windows_hold_a_site_within_the_jitter() -> None:
    sampling = biased(9, splice_bias=1, jitter=3, samples_per_epoch=3000)
    windows = epoch_windows([PLACES], sampling, 1, 0)
    assert len(windows) == 3000
    assert touches(PLACES, windows, 9)
    away = [np.abs(np.array(SITES[r]) - (s + 4)).min() for _, r, s in as_rows(windows)]
    assert max(away) <= 3
    lone = windows.start[windows.record == 4] + 4 - SITES[4][0]
    assert set(lone.tolist()) == set(range(-3, 4))


def test_sites_are_drawn_alike_and_the_share_is_exact() -> None:
    # near windows all lie in the record of one base; others hardly ever
    places = places_of((1, 1_000_000), ((0,), ()))
    windows = epoch_windows([places], biased(7, splice_bias=0.3, samples_per_epoch=1001), 1, 0)
    assert (windows.record == 0).sum() == round(0.3 * 1001)
    near = epoch_windows([PLACES], biased(7, splice_bias=1, jitter=0, samples_per_epoch=18_000), 1, 0)
    counts = Counter((record, start + 3) for _, record, start in as_rows(near))
    assert set(counts) == {(record, site) for record, group in enumerate(SITES) for site in group}
    assert max(abs(n - 2000) for n in counts.values()) < 5 * 45


def test_without_bias_all_positions_are_alike_whatever_the_genes_length() -> None:
    size, n = 7, 40_000
    windows = epoch_windows([PLACES], biased(size, splice_bias=0, samples_per_epoch=n), 1, 0)
    assert touches(PLACES, windows, size)
    expected = n * size / sum(length + size - 1 for length in LENGTHS)
    seen = np.concatenate(coverage(PLACES, windows, size))
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected)


def chances(places: Places, sampling: Sampling) -> dict[tuple[int, int], float]:
    """The chance of each window (record, start) of a draw, by the words of the manual."""
    size, reach, bias = sampling.window, sampling.reach, sampling.splice_bias
    room = [(r, s) for r, length in enumerate(places.lengths) for s in range(1 - size, int(length))]
    found = dict.fromkeys(room, (1 - bias) / len(room))
    sites = [
        (r, int(p)) for r in range(len(places.lengths)) for p in places.sites[places.offsets[r] : places.offsets[r + 1]]
    ]
    for (r, p), jitter in itertools.product(sites, range(-reach, reach + 1)):
        at = (r, p - size // 2 + jitter)
        found[at] = found.get(at, 0.0) + bias / len(sites) / (2 * reach + 1)
    return found


CASES = [
    {"window": window, "jitter": jitter, "splice_bias": bias}
    for window, jitter in ((7, None), (7, 0), (7, 3), (8, 3), (1, 0), (30, 14), (90, 44))
    for bias in (0.5, 0.9)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_importance_weights_undo_the_bias_exactly(case: dict[str, object]) -> None:
    sampling = biased(**case)  # type: ignore[arg-type]
    size = sampling.window
    counted = [np.zeros(length) for length in LENGTHS]
    seen = [np.zeros(length) for length in LENGTHS]
    for (record, start), chance in chances(PLACES, sampling).items():
        weights = position_weights(PLACES, sampling, record, start).astype(float)
        assert weights.shape == (size,)
        inside = range(max(start, 0), min(start + size, LENGTHS[record]))
        for x in inside:
            counted[record][x] += chance * weights[x - start]
            seen[record][x] += chance
    anywhere = size / sum(length + size - 1 for length in LENGTHS)
    np.testing.assert_allclose(np.concatenate(counted), anywhere, rtol=1e-6)
    assert np.ptp(np.concatenate(seen)) > 0.1 * anywhere, "there must be a bias to undo"


def test_what_is_drawn_has_these_chances() -> None:
    sampling = biased(7, jitter=2, splice_bias=0.5, samples_per_epoch=100_000)
    drawn = Counter(row[1:] for row in as_rows(epoch_windows([PLACES], sampling, 1, 0)))
    expected = chances(PLACES, sampling)
    assert set(drawn) <= set(expected)
    for window, chance in expected.items():
        assert abs(drawn[window] - chance * 100_000) < 5 * np.sqrt(chance * 100_000 + 1)


def test_weights_may_be_left_out() -> None:
    plain = biased(7, importance_weights=False)
    assert (position_weights(PLACES, plain, 0, 2) == 1).all()
    assert not (position_weights(PLACES, biased(7), 0, 2) == 1).all()
    assert (position_weights(places_of((9,), ((),)), biased(7, splice_bias=0), 0, 2) == 1).all()


# ---- several datasets


@pytest.mark.parametrize("kind", ["grid", "random-phase"])
def test_a_dataset_is_seen_as_often_as_it_weighs(kind: str) -> None:
    sampling = Sampling.model_validate({"kind": kind, "window": 7})
    windows = epoch_windows([PLACES] * 4, sampling, 1, 0, [2, 0.5, 0, 1.25])
    seen = [np.concatenate(coverage(PLACES, windows, 7, number)) for number in range(4)]
    assert (seen[0] == 2).all()
    assert (seen[2] == 0).all()
    assert set(seen[1].tolist()) == {0, 1}
    assert set(seen[3].tolist()) == {1, 2}
    n_grid = len(every_window([PLACES], 7))
    if kind == "grid":
        assert np.bincount(windows.dataset).tolist() == [2 * n_grid, n_grid // 2, 0, n_grid + round(n_grid / 4)]


def test_a_random_half_is_another_each_epoch() -> None:
    halves = {
        tuple(sorted(as_rows(epoch_windows([PLACES], Sampling(kind="grid", window=7), 1, e, [0.5])))) for e in range(9)
    }
    assert len(halves) > 5


def test_with_a_bias_positions_of_all_datasets_count_alike_and_weights_share_the_samples() -> None:
    short, long = places_of((5,) * 60, ((2,),) * 60), places_of((900,), ((450,),))
    sampling = biased(21, samples_per_epoch=10_000)
    for weights, ratio in ((None, 1.0), ([3.0, 1.0], 3.0), ([0.0, 1.0], 0.0)):
        n_short, n_long = np.bincount(epoch_windows([short, long], sampling, 1, 0, weights).dataset, minlength=2)
        assert n_short + n_long == 10_000
        # what a position of each counts in an epoch: draws x the chance to be seen without bias
        per_position = n_short * 21 / (60 * 25), n_long * 21 / 920
        assert per_position[0] / per_position[1] == pytest.approx(ratio, rel=1e-3)


def test_by_default_a_biased_epoch_is_as_long_as_the_grid() -> None:
    assert len(epoch_windows([PLACES, PLACES], biased(7), 1, 0)) == len(every_window([PLACES, PLACES], 7))


# ---- what cannot be


@pytest.mark.parametrize("kind", ["grid", "random-phase", "biased"])
def test_an_epoch_without_a_window_is_refused(kind: str) -> None:
    sampling = Sampling.model_validate({"kind": kind, "window": 7})
    with pytest.raises(UsageError, match="an epoch has no window"):
        epoch_windows([PLACES, PLACES], sampling, 1, 0, [0, 0])


def test_a_bias_towards_sites_needs_sites() -> None:
    bare = places_of((50,), ((),))
    with pytest.raises(UsageError, match="a dataset has none: sample by random-phase"):
        epoch_windows([PLACES, bare], biased(7), 1, 0)
    assert len(epoch_windows([bare], biased(7, splice_bias=0), 1, 0))


@pytest.mark.parametrize("given", [{"jitter": 3}, {"samples_per_epoch": 3}])
def test_what_only_a_bias_has_is_refused_without_it(given: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="go with biased sampling, not with random-phase"):
        Sampling.model_validate(given)


def test_a_jitter_that_loses_the_site_is_refused() -> None:
    assert biased(9, jitter=4).reach == 4
    assert Sampling().reach == 1250
    for window in (8, 9):
        with pytest.raises(ValidationError, match=f"jitter of {window // 2 + window % 2} a site may lie outside"):
            biased(window, jitter=window // 2 + window % 2)
