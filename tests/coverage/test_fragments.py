"""The length of fragments from reads of one end."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import planted_peaks, random_genome, simulate

from basecast.coverage.fragments import FragmentLength
from basecast.errors import BasecastError

Ends = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def counted(forward: np.ndarray, reverse: np.ndarray) -> Ends:
    f, n_f = np.unique(forward, return_counts=True)
    r, n_r = np.unique(reverse, return_counts=True)
    return f, n_f.astype(float), r, n_r.astype(float)


def ends(
    seed: int, length: float, spread: float, *, clustered: float = 0.3, read: int = 50, holes: bool = False
) -> Ends:
    """5' ends of 100,000 reads on 3 Mb; ``holes`` are places where no read can be mapped."""
    rng = np.random.default_rng(seed)
    size, n = 3_000_000, 100_000
    can_map = np.ones(size, bool)
    if holes:
        for start in rng.integers(0, size, size // 1500):
            can_map[start : start + int(rng.exponential(500))] = False
    in_peak = int(n * clustered)
    centre = rng.choice(rng.integers(2000, size - 2000, 200), in_peak) + rng.normal(0, 40, in_peak).astype(int)
    lengths = np.maximum(rng.normal(length, spread, n).round().astype(int), 20)
    start = np.concatenate([centre - lengths[:in_peak] // 2, rng.integers(0, size - 1000, n - in_peak)])
    is_forward = rng.random(n) < 0.5
    forward, reverse = start[is_forward], (start + lengths - 1)[~is_forward]
    return counted(forward[can_map[forward]], reverse[can_map[np.maximum(reverse - read + 1, 0)]])


@pytest.mark.parametrize("holes", [False, True], ids=["all-mappable", "holes"])
@pytest.mark.parametrize("read", [36, 100])
@pytest.mark.parametrize("length", [70, 180, 300, 450])
def test_the_planted_length_is_found_whatever_can_be_mapped(length: int, read: int, holes: bool) -> None:
    tally = FragmentLength(read_length=read)
    tally.add(*ends(length, length, 15, read=read, holes=holes))
    assert tally.length == pytest.approx(length, abs=6)


@pytest.mark.parametrize("length", [50, 51, 147, 499])
def test_both_ends_count(length: int) -> None:
    """A fragment from s has its last base at s + length - 1, and that is what is found, to the base."""
    start = np.arange(1000, 5_000_000, 5000)
    tally = FragmentLength(45, 505)
    tally.add(*counted(start, start + length - 1))
    assert tally.length == length


def test_the_curve_covers_the_range_and_its_mean_is_one() -> None:
    tally = FragmentLength(60, 400)
    tally.add(*ends(1, 180, 15))
    lengths, curve = tally.curve
    assert (lengths[0], lengths[-1]) == (60, 400)
    assert curve.mean() == pytest.approx(1)
    assert lengths[curve.argmax()] == tally.length


def test_the_peak_at_the_read_length_is_not_taken() -> None:
    """Without the bridge it would be: reads of both strands where little else can be mapped end a read apart."""
    rng = np.random.default_rng(0)
    alone = rng.integers(0, 3_000_000, 100_000) * 1000
    f, _, r, _ = ends(5, 180, 15, clustered=0.1)
    with_phantom = counted(np.concatenate([f, alone]), np.concatenate([r, alone + 75 - 1]))
    lengths = []
    for read_length in (None, 75):
        tally = FragmentLength(read_length=read_length)
        tally.add(*with_phantom)
        lengths.append(tally.length)
    assert lengths == [75, pytest.approx(180, abs=4)]


def test_a_tower_of_duplicates_does_not_speak_for_the_genome() -> None:
    f, n_f, r, n_r = ends(6, 180, 15)
    n_f[1000], n_r[np.searchsorted(r, f[1000] + 300)] = 20_000, 20_000
    tally = FragmentLength()
    tally.add(f, n_f, r, n_r)
    assert tally.length == pytest.approx(180, abs=4)


@pytest.mark.parametrize("holes", [False, True], ids=["all-mappable", "holes"])
def test_reads_that_lie_evenly_tell_no_length(holes: bool) -> None:
    tally = FragmentLength(read_length=50)
    tally.add(*ends(7, 180, 15, clustered=0, holes=holes))
    with pytest.raises(BasecastError, match=r"no peak at 50\.\.500 bases: give the length"):
        _ = tally.length


def test_no_reads_tell_no_length() -> None:
    tally = FragmentLength()
    tally.add(*counted(np.empty(0, np.int64), np.empty(0, np.int64)))
    with pytest.raises(BasecastError, match="from 0 pairs"):
        _ = tally.length


def test_contigs_and_tallies_add_up() -> None:
    parts = [ends(seed, 180, 15) for seed in (1, 2)]
    whole, first, second = FragmentLength(), FragmentLength(), FragmentLength()
    for tally, part in zip((first, second), parts, strict=True):
        tally.add(*part)
        whole.add(*part)
    first.merge(second)
    np.testing.assert_allclose(first.curve[1], whole.curve[1])


def test_the_peaks_of_simulated_reads_are_enough() -> None:
    rng = np.random.default_rng(11)
    genome = random_genome(rng, {"chr1": 1_000_000})
    peaks = planted_peaks(rng, genome, 60, 20, follow_gc=False)
    reads = simulate(genome, 60_000, rng=rng, peaks=[peaks], fragment=220)
    tally = FragmentLength(read_length=50)
    forward, reverse = reads.ends("chr1")
    f, r = np.flatnonzero(forward), np.flatnonzero(reverse)
    tally.add(f, forward[f].astype(float), r, reverse[r].astype(float))
    assert tally.length == pytest.approx(220, abs=8)


def test_a_range_must_hold_a_length() -> None:
    with pytest.raises(ValueError, match="500 to 50 bases"):
        FragmentLength(500, 50)
