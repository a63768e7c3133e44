"""Indexes find what lies far out, and never stand beside a file that is not theirs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest

from basecast.genome.bcf import quiet_htslib
from basecast.genome.tabix import remove_indexes, write_index

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
HEADERS = {
    "no contigs": "",
    "no length": "##contig=<ID=a>\n##contig=<ID=w>\n",
    "lengths": "##contig=<ID=a,length=1000>\n##contig=<ID=w,length=2147483000>\n",
    "another's length": "##contig=<ID=a,length=1000>\n",
    "wrong length": "##contig=<ID=a,length=1000>\n##contig=<ID=w,length=1000>\n",
}
FAR = (600_000_000, 2_000_000_000)


def packed(path: Path, text: str) -> Path:
    with pysam.BGZFile(str(path), "wb", None) as handle:
        handle.write(text.encode())
    return path


def bed(path: Path, position: int) -> Path:
    rows = [("a", 7), ("w", 0), ("w", 70_000), ("w", position - 20_000), ("w", position - 1)]
    return packed(path, "".join(f"{contig}\t{at}\t{at + 1}\tn{at}\n" for contig, at in rows))


def vcf(path: Path, position: int, header: str = "") -> Path:
    rows = [("a", 8), ("w", 1), ("w", 70_001), ("w", position - 19_999), ("w", position)]
    records = "".join(f"{contig}\t{at}\tn{at - 1}\tA\tC\t.\t.\t.\n" for contig, at in rows)
    return packed(path, "##fileformat=VCFv4.2\n" + header + COLUMNS + records)


def bcf(path: Path, position: int, header: str) -> Path:
    declared = header if "ID=w" in header else header + "##contig=<ID=w>\n"
    declared = declared if "ID=a" in declared else declared + "##contig=<ID=a>\n"
    text = vcf(path.with_suffix(".vcf.gz"), position, declared)
    with pysam.VariantFile(str(text)) as source, pysam.VariantFile(str(path), "wb", header=source.header) as target:
        for record in source:
            target.write(record)
    text.unlink()
    return path


def indexed(data: Path, preset: Any, largest: int) -> None:
    with quiet_htslib(), contextlib.ExitStack() as later:
        write_index(data, str(data), preset, largest, later)


def names(data: Path, region: str) -> list[str]:
    """The records of a region, by pysam and by the programs that are installed."""
    if data.suffix == ".bcf":
        with pysam.VariantFile(str(data)) as records:
            found = [str(record.id) for record in records.fetch(region=region)]
    else:
        column = 3 if data.name.endswith(".bed.gz") else 2
        with pysam.TabixFile(str(data), index=str(next(data.parent.glob(f"{data.name}.*i")))) as rows:
            found = [str(row).split("\t")[column] for row in rows.fetch(region=region)]
        assert told(["tabix", str(data), region], column) in (None, found)
    if not data.name.endswith(".bed.gz"):
        assert told(["bcftools", "view", "-H", str(data), region], 2) in (None, found)
    return found


def told(command: list[str], column: int) -> list[str] | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [row.split("\t")[column] for row in done.stdout.splitlines()]


def check_far(data: Path, position: int) -> None:
    assert not Path(f"{data}.tbi").exists()
    assert names(data, f"w:{position}-{position}") == [f"n{position - 1}"]
    assert names(data, f"w:{position - 50_000}-{position - 1}") == [f"n{position - 20_000}"]
    assert names(data, "w:1-10") == ["n0"]
    assert names(data, "w:65000-400000000") == ["n70000"]
    assert names(data, "a") == ["n7"]


@pytest.mark.parametrize("position", FAR)
def test_a_sparse_bed_with_a_row_far_out(tmp_path: Path, position: int) -> None:
    data = bed(tmp_path / "x.bed.gz", position)
    indexed(data, "bed", position + 1000)
    check_far(data, position)


@pytest.mark.parametrize("position", FAR)
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize(("write", "suffix"), [(vcf, "vcf.gz"), (bcf, "bcf")], ids=["vcf", "bcf"])
def test_a_sparse_variant_file_with_a_record_far_out(
    tmp_path: Path, write: Callable[[Path, int, str], Path], suffix: str, header: str, position: int
) -> None:
    data = write(tmp_path / f"x.{suffix}", position, header)
    indexed(data, suffix.split(".")[0], position)
    check_far(data, position)


@pytest.mark.parametrize(("largest", "suffix"), [(0, ".tbi"), ((1 << 29) - 1, ".tbi"), (1 << 29, ".csi")])
def test_csi_from_two_to_the_29_bases_on(tmp_path: Path, largest: int, suffix: str) -> None:
    for data, preset in ((bed(tmp_path / "x.bed.gz", 100_000), "bed"), (vcf(tmp_path / "x.vcf.gz", 100_000), "vcf")):
        indexed(data, preset, largest)
        assert [path.name for path in data.parent.glob(f"{data.name}.*")] == [data.name + suffix]
        assert names(data, "w:100000-100000") == ["n99999"]


@pytest.mark.parametrize("largest", [1000, 1 << 29])
def test_a_file_without_rows(tmp_path: Path, largest: int) -> None:
    data = packed(tmp_path / "x.bed.gz", "")
    indexed(data, "bed", largest)
    with pysam.TabixFile(str(data), index=str(next(tmp_path.glob("x.bed.gz.*i")))) as rows:
        assert rows.contigs == []


def test_the_index_takes_its_name_when_it_is_told_to(tmp_path: Path) -> None:
    partial, target = bed(tmp_path / "partial", 100_000), tmp_path / "x.bed.gz"
    with contextlib.ExitStack() as later:
        write_index(partial, str(target), "bed", 1000, later)
        assert not Path(f"{target}.tbi").exists()
        partial.rename(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bed.gz", "x.bed.gz.tbi"]
    assert names(target, "w:70001-70001") == ["n70000"]


def test_where_the_data_fails_at_the_end_there_is_no_index(tmp_path: Path) -> None:
    partial = bed(tmp_path / "partial", 100_000)
    later = contextlib.ExitStack()
    write_index(partial, str(tmp_path / "x.bed.gz"), "bed", 1000, later)
    later.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [path.name for path in tmp_path.iterdir()] == ["partial"]


@pytest.mark.parametrize("rows", ["c\t5\t6\nc\t3\t4\n", "c\t5\t6\nd\t1\t2\nc\t7\t8\n"], ids=["position", "contig"])
@pytest.mark.parametrize("largest", [1000, 1 << 29])
def test_what_is_not_sorted_gets_no_index_and_keeps_no_stale_one(tmp_path: Path, rows: str, largest: int) -> None:
    data = packed(tmp_path / "x.bed.gz", rows)
    for stale in (".tbi", ".csi"):
        Path(f"{data}{stale}").write_bytes(b"stale")
    with pytest.raises(OSError, match="index"):
        indexed(data, "bed", largest)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bed.gz"]


def test_stale_indexes_go(tmp_path: Path) -> None:
    data = bed(tmp_path / "x.bed.gz", 100_000)
    for stale in (".tbi", ".csi"):
        Path(f"{data}{stale}").write_bytes(b"stale")
    indexed(data, "bed", 1 << 29)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bed.gz", "x.bed.gz.csi"]
    remove_indexes(str(data))
    remove_indexes(str(data))
    assert [path.name for path in tmp_path.iterdir()] == ["x.bed.gz"]
