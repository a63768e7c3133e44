from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tracks import Values, counts, write_track

from basecast.data import signal_bins
from basecast.data.signal_bins import clipped, column, columns_of, contig_names, statistic_of
from basecast.data.signal_targets import TargetRow
from basecast.errors import InputError
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome
from basecast.spec.model import TargetTransform

LENGTHS = {"chr1": 4096, "chr2": 1000}
ONE = Interval("chr1", 0, 4096)


def target(path: Path, **transform: object) -> TargetRow:
    return TargetRow({"identifier": path.stem}, path, 0, TargetTransform.model_validate(transform))


@pytest.fixture
def values() -> Values:
    return counts(LENGTHS)["chr1"]


@pytest.fixture
def path(tmp_path: Path, values: Values) -> Path:
    return write_track(tmp_path / "a.bw", LENGTHS, {"chr1": values})


def test_bins_are_sums_of_their_bases(path: Path, values: Values) -> None:
    found = column(target(path), "chr1", Interval("chr1", 128, 4096 - 128), 64)
    expected = [values[at : at + 64].sum() for at in range(128, 4096 - 128, 64)]
    assert found.values.dtype == np.float32
    assert found.values.tolist() == expected
    assert (found.covered, found.total) == (np.count_nonzero(values[128:-128]), values[128:-128].sum())


@pytest.mark.parametrize("statistic", ["sum", "mean", "median", "max"])
def test_statistics_of_a_bin(statistic: str) -> None:
    values = np.random.default_rng(1).gamma(0.5, 3, 256).astype(np.float32)
    function = {"sum": np.sum, "mean": np.mean, "median": np.median, "max": np.max}[statistic]
    expected = [function(values[at : at + 32].astype(np.float64)) for at in range(0, 256, 32)]
    assert statistic_of(values, 32, statistic) == pytest.approx(expected, rel=1e-12)


def test_large_sums_neither_overflow_nor_round(tmp_path: Path) -> None:
    """Half precision ends at 65,504, and single precision drops the ones beside 16,777,216."""
    values = np.ones(4096, dtype=np.float32)
    values[0] = 2**24
    path = write_track(tmp_path / "a.bw", LENGTHS, {"chr1": values})
    found = column(target(path), "chr1", ONE, 4096)
    assert found.values.tolist() == [np.float32(2**24 + 4095)]
    assert found.total == 2**24 + 4095


def test_the_transform_is_that_of_the_track(path: Path, values: Values) -> None:
    made = {"power": 0.5, "soft_clip": 3.0, "clip": 4.5, "scale": 2.0}
    found = column(target(path, **made), "chr1", ONE, 128).values
    x = np.sqrt(2 * values.reshape(-1, 128).sum(axis=1) + 1) - 1
    x = np.minimum(np.where(x > 3, 2 + np.sqrt(np.maximum(x - 3, 0) + 1), x), 4.5)
    assert found == pytest.approx(x, rel=1e-6)
    assert clipped(found, TargetTransform.model_validate(made)) == ((x > 3).sum(), (x == 4.5).sum())


def test_a_clip_of_what_was_scaled_last_is_found() -> None:
    transform = TargetTransform(clip=4, soft_clip=2, scale=0.3, scaled_last=True)
    values = transform.apply(np.array([1.0, 2.0, 3.0, 100.0])).astype(np.float32)
    assert clipped(values, transform) == (2, 1)


def test_values_below_zero_lose_their_sign_and_are_told(tmp_path: Path, values: Values) -> None:
    path = write_track(tmp_path / "minus.bw", LENGTHS, {"chr1": -values})
    found = column(target(path), "chr1", ONE, 64)
    assert found.values.tolist() == values.reshape(-1, 64).sum(axis=1).tolist()
    assert (found.above, found.below) == (0, values.argmax() + 1)


def test_values_that_are_not_finite(tmp_path: Path, values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_track(tmp_path / "a.bw", LENGTHS, {"chr1": values})

    class Odd:
        def values(self, contig: str, start: int, end: int) -> Values:
            found = values[start:end].copy()
            found[[5, 6]] = np.nan, np.inf
            return found

    monkeypatch.setattr(signal_bins, "_opened", lambda *_: Odd())
    with pytest.raises(InputError, match=r"a\.bw has an infinite value at chr1:7: make the bigWig again"):
        column(target(path), "chr1", ONE, 64)


def test_bases_without_a_value_are_zero(path: Path) -> None:
    found = column(target(path), "chr2", Interval("chr2", 0, 960), 64)
    assert (found.values.tolist(), found.covered, found.above) == ([0.0] * 15, 0, 0)


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{name[3:]}\n{'ACGT' * (length // 4)}\n" for name, length in LENGTHS.items()))
    return Genome(path)


def test_contigs_go_by_the_names_of_each_file(path: Path, genome: Genome) -> None:
    assert contig_names(target(path), genome, ["2", "1"]) == {"2": "chr2", "1": "chr1"}


def test_contigs_that_a_file_lacks_are_named(tmp_path: Path, genome: Genome, values: Values) -> None:
    path = write_track(tmp_path / "few.bw", {"chr1": 4096}, {"chr1": values})
    assert contig_names(target(path), genome, ["1"]) == {"1": "chr1"}
    with pytest.raises(InputError, match=r"few\.bw lacks 2 of .*genome\.fa; it has chr1: give --contig-aliases"):
        contig_names(target(path), genome, ["1", "2"])


def test_contigs_of_another_length_are_named(tmp_path: Path, genome: Genome, values: Values) -> None:
    path = write_track(tmp_path / "long.bw", LENGTHS | {"chr2": 1001}, {"chr1": values})
    with pytest.raises(InputError, match=r"chr2 of .*long\.bw has 1,001 bases, and 2 of .* 1,000: is it of another"):
        contig_names(target(path), genome, ["1", "2"])


def test_processes_give_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_track(tmp_path / f"{i}.bw", LENGTHS, counts(LENGTHS, seed=i)) for i in range(3)]
    targets, names = [target(path) for path in paths], [{name: name for name in LENGTHS}] * 3
    stretches = [Interval("chr1", at, at + 512) for at in range(0, 4096, 512)]
    one = list(columns_of(targets, names, stretches, 64))
    monkeypatch.setattr(signal_bins, "_SMALL", 0)
    two = list(columns_of(targets, names, stretches, 64, threads=2))
    assert [len(columns) for columns in two] == [3] * 8
    for a, b in zip((c for cs in one for c in cs), (c for cs in two for c in cs), strict=True):
        assert np.array_equal(a.values, b.values)
        assert a[1:] == b[1:]


def test_damage_is_told_from_a_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_track(tmp_path / "a.bw", LENGTHS, counts(LENGTHS))
    content = bytearray(path.read_bytes())
    (data,) = struct.unpack_from("<Q", content, 16)
    content[data + 8 : data + 108] = bytes(100)
    path.write_bytes(content)
    monkeypatch.setattr(signal_bins, "_SMALL", 0)
    with pytest.raises(InputError, match=r"a\.bw is truncated or damaged"):
        list(columns_of([target(path)], [{"chr1": "chr1"}], [ONE] * 4, 64, threads=2))
