from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from basecast.data import writer as module
from basecast.data.store import Dataset, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.genome.sequence import encode
from basecast.spec.model import Output, Track
from basecast.spec.splice import SPLICE, splice_output

HEADER = Header(outputs=(splice_output(),))
RECORD = Record("chr1", 10, 14, "+")


def one_site(position: int) -> Sites:
    zero = np.zeros(1, dtype=np.uint8)
    return Sites(np.array([position]), zero + np.uint8(1), zero.astype(np.float32), zero, zero.astype(np.int32), zero)


def write(path: Path, n: int = 50) -> bytes:
    rng = np.random.default_rng(3)
    with Writer(path, HEADER) as writer:
        for i in range(n):
            length = int(rng.integers(200, 4000))
            tokens = rng.integers(5, size=length).astype(np.uint8)
            writer.add(Record(f"c{i}", 0, length, "+-"[i % 2]), tokens, {SPLICE: one_site(i)})
    return path.read_bytes()


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a.h5") == write(tmp_path / "b.h5")


def test_what_is_gathered_before_writing_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "whole.h5")
    monkeypatch.setattr(module, "_KEPT", 5000)
    write(tmp_path / "parts.h5")
    whole, parts = Dataset(tmp_path / "whole.h5"), Dataset(tmp_path / "parts.h5")
    assert whole.records.equals(parts.records)
    assert np.array_equal(whole.sequence, parts.sequence)
    assert np.array_equal(whole.targets[SPLICE].offsets, parts.targets[SPLICE].offsets)


def test_no_record_at_all(tmp_path: Path) -> None:
    with Writer(tmp_path / "none.h5", HEADER):
        pass
    assert len(Dataset(tmp_path / "none.h5")) == 0


def test_a_sequence_of_another_length_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.h5", HEADER) as writer, pytest.raises(ValueError, match="its sequence has 5 bases"):
        writer.add(RECORD, encode("ACGTA"), {SPLICE: Sites.none()})


@pytest.mark.parametrize("position", [-1, 4])
def test_a_site_outside_its_record_is_refused(tmp_path: Path, position: int) -> None:
    with Writer(tmp_path / "a.h5", HEADER) as writer, pytest.raises(ValueError, match="outside its record of 4 bases"):
        writer.add(RECORD, encode("ACGT"), {SPLICE: one_site(position)})


def test_values_of_another_shape_are_refused(tmp_path: Path) -> None:
    output = Output(name="signal", tracks=(Track(name="a"),), resolution=2, link="softplus")
    header = Header(outputs=(output,), dense=("signal",))
    with Writer(tmp_path / "a.h5", header) as writer, pytest.raises(ValueError, match=r"shape \(3, 1\) for 4 bases"):
        writer.add(RECORD, encode("ACGT"), {"signal": np.zeros((3, 1), dtype=np.float32)})


def test_an_error_in_the_block_is_the_one_that_is_told(tmp_path: Path) -> None:
    def stop() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Writer(tmp_path / "a.h5", HEADER):
        stop()
