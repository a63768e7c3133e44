from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from basecast.effects import signal_arrays, signal_output
from basecast.effects.signal_output import Format, SignalLayout, SignalOutput
from basecast.effects.signal_scorer import SignalRow
from basecast.errors import BasecastError, UsageError
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.spec import Provenance, Track

TRACKS = (Track(name="a", strand="+"), Track(name="b", description="CAGE:ä"), Track(name="a"))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[VariantReader]:
    path = tmp_path / "in.tsv"
    path.write_text("chrom\tpos\tid\tref\talt\nchr1\t5\trs1\tA\tC\n")
    with VariantReader(path) as opened:
        yield opened


def layout(form: Format, has_genes: bool = False) -> SignalLayout:
    names = ("SAD", "D2")
    return SignalLayout(
        format=form, statistics=names, tracks=TRACKS, has_genes=has_genes, provenance=Provenance(note="n")
    )


def record(number: int) -> VariantRecord:
    return VariantRecord(number, "chr1", number, "A", ("C", "AT"), f"chr1\t{number + 1}\trs{number}\tA\tC,AT".encode())


def rows(number: int) -> list[SignalRow]:
    values = np.arange(12, dtype=np.float32).reshape(4, 3) + 100 * number
    return [SignalRow(0, "scored", "G", values), SignalRow(1, "why_not")]


@pytest.mark.parametrize("form", ["parquet", "tsv", "h5", "h5ad"])
def test_memory_does_not_grow_with_the_file(
    form: Format, reader: VariantReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_output, "_HELD", 600)
    monkeypatch.setattr(signal_arrays, "_CHUNK", 600)
    monkeypatch.setattr(signal_arrays, "_COPIED", 200)
    peaks = []
    for n in (100, 500, 4000):
        tracemalloc.start()
        with layout(form).open(str(tmp_path / f"{n}.{form}"), reader, "") as writer:
            for number in range(n):
                writer.write(record(number), rows(number))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * max(peaks[:2])


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_parts_of_arrays_make_the_whole(
    at_once: int, reader: VariantReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_arrays, "_CHUNK", at_once * len(TRACKS))
    with layout("h5", has_genes=True).open(str(tmp_path / "out.h5"), reader, "basecast variant") as writer:
        for number in range(7):
            writer.write(record(number), rows(number))
    with h5py.File(tmp_path / "out.h5") as file:
        wanted = np.stack([rows(n)[0].values for n in range(7)])  # type: ignore[misc]
        np.testing.assert_array_equal(file["SAD"][::2], wanted[:, 0])
        np.testing.assert_array_equal(file["alt_sum"][::2], wanted[:, 3])
        assert np.isnan(file["D2"][1::2]).all()
        assert file["snp"][:].tolist() == [f"rs{n}".encode() for n in range(7) for _ in range(2)]
        assert file["gene_id"][:2].tolist() == [b"G", b""]
        assert file["alt_allele"][:2].tolist() == [b"C", b"AT"]
        assert file["target_labels"][:].tolist() == [b"", "CAGE:ä".encode(), b""]
        assert "basecast variant" in file.attrs["basecast"]


def test_no_record_makes_a_file_without_rows(reader: VariantReader, tmp_path: Path) -> None:
    for form in ("parquet", "h5", "h5ad"):
        with layout(form).open(str(tmp_path / f"out.{form}"), reader, ""):
            pass
    assert pl.read_parquet(tmp_path / "out.parquet").shape == (0, 16)
    with h5py.File(tmp_path / "out.h5") as file, h5py.File(tmp_path / "out.h5ad") as anndata:
        assert file["SAD"].shape == anndata["X"].shape == (0, 3)
        assert file["snp"].shape == (0,)


def test_what_breaks_off_leaves_nothing(reader: VariantReader, tmp_path: Path) -> None:
    def broken_off(form: Format) -> None:
        with layout(form).open(str(tmp_path / f"out.{form}"), reader, "") as writer:
            writer.write(record(1), rows(1))
            raise RuntimeError

    forms: tuple[Format, ...] = ("parquet", "h5", "h5ad")
    for form in forms:
        with pytest.raises(RuntimeError):
            broken_off(form)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tsv"]


def test_a_full_disk_is_told_with_the_file(
    reader: VariantReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signal_arrays.ArrayWriter, "_append", full)
    writer = layout("h5").open(str(tmp_path / "out.h5"), reader, "")
    with pytest.raises(BasecastError, match=r"out\.h5 could not be written"), writer:
        writer.write(record(1), rows(1))
    assert not (tmp_path / "out.h5").exists()


def test_the_format_is_the_suffix_s_unless_it_is_said() -> None:
    assert SignalOutput().of("a/b.TSV") == "tsv"
    assert SignalOutput(format="h5").of("scores.hdf5") == "h5"
    for target in ("out.vcf", "out", "-"):
        with pytest.raises(UsageError, match="--format"):
            SignalOutput().of(target)
