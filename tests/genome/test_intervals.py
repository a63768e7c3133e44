from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basecast.errors import InputError
from basecast.genome.intervals import Interval, merged, read_regions
from basecast.genome.reference import Genome

LENGTHS = {"chr2": 500, "chr1": 1000, "tracked": 30, "NC_000005.10": 40}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("regions") / "genome.fa"
    path.write_text(
        "".join(f">{name}\n{'ACGT' * (length // 4)}{'A' * (length % 4)}\n" for name, length in LENGTHS.items())
    )
    return Genome(path)


def read(text: str, genome: Genome, tmp_path: Path) -> list[Interval]:
    path = tmp_path / "regions.bed"
    path.write_bytes(text.encode())
    return read_regions(path, genome)


# ---- what is read


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("chr1\t5\t10\n", [("chr1", 5, 10)]),
        ("chr1\t5\t10", [("chr1", 5, 10)]),
        ("chr1\t0\t1000\tname\t960\t+\t1\t2\n", [("chr1", 0, 1000)]),
        ("chr1 5 10 name\n", [("chr1", 5, 10)]),
        ("chr1\t5\t10\r\nchr1\t20\t30\r\n", [("chr1", 5, 10), ("chr1", 20, 30)]),
        ("chr1\t5\t10\nchr1\t8\t20\n", [("chr1", 5, 20)]),
        ("chr1\t5\t10\nchr1\t10\t20\n", [("chr1", 5, 20)]),
        ("chr1\t5\t10\nchr1\t11\t20\n", [("chr1", 5, 10), ("chr1", 11, 20)]),
        ("chr1\t5\t100\nchr1\t10\t20\nchr1\t30\t40\n", [("chr1", 5, 100)]),
        ("chr1\t5\t10\nchr1\t5\t10\n", [("chr1", 5, 10)]),
        ("chr1\t50\t60\nchr2\t7\t9\nchr1\t5\t10\n", [("chr2", 7, 9), ("chr1", 5, 10), ("chr1", 50, 60)]),
        ("1\t5\t10\nchr1\t10\t20\n5\t1\t2\n", [("chr1", 5, 20), ("NC_000005.10", 1, 2)]),
        ("#chrom\tstart\tend\nchr1\t5\t10\n", [("chr1", 5, 10)]),
        ("track name=x\nbrowser position chr1:1-2\n\n \t\nchr1\t5\t10\n", [("chr1", 5, 10)]),
        ("track\nbrowser\nchr1\t5\t10\n", [("chr1", 5, 10)]),
        ("tracked\t5\t10\n", [("tracked", 5, 10)]),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, str) else "",
)
def test_bed_is_read_in_the_order_of_the_genome(
    text: str, wanted: list[tuple[str, int, int]], genome: Genome, tmp_path: Path
) -> None:
    assert read(text, genome, tmp_path) == wanted


@pytest.mark.parametrize("packed", ["gzip", "bgzip"])
def test_bed_may_be_packed(packed: str, genome: Genome, tmp_path: Path) -> None:
    path = tmp_path / "regions.bed.gz"
    lines = b"".join(b"chr1\t%d\t%d\n" % (at, at + 1) for at in range(0, 900, 3))
    if packed == "gzip":
        path.write_bytes(gzip.compress(lines, mtime=0))
    else:
        with pysam.BGZFile(str(path), "wb") as file:  # type: ignore[attr-defined]
            file.write(lines)
    assert read_regions(path, genome) == [Interval("chr1", at, at + 1) for at in range(0, 900, 3)]


def test_names_may_be_those_of_an_alias_table(genome: Genome, tmp_path: Path) -> None:
    assert read("Ca1\t5\t10\n", Genome(genome.path, aliases={"chr1": "Ca1"}), tmp_path) == [("chr1", 5, 10)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_merged_has_each_base_once(spans: list[tuple[int, int]]) -> None:
    stretches = [(start, start + length) for start, length in spans]
    found = list(merged(stretches))
    assert [i for a, b in found for i in range(a, b)] == sorted({i for a, b in stretches for i in range(a, b)})
    assert all(left[1] < right[0] for left, right in itertools.pairwise(found))


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no region: a line is CONTIG, START, END, separated by tabs"),
        ("# nothing\ntrack x\n", "names no region"),
        (
            "chr1\t5\t10\nchr9\t5\t10\n",
            r"line 2: contig 'chr9' of .*regions\.bed is not in .*genome\.fa, which has 'chr2'",
        ),
        (
            "\nchr1\t990\t1001\n",
            r"line 2 of .*: chr1:990-1001 ends past the contig, which has 1,000 bases in .*build\?",
        ),
        ("chr1\t5000\t6000\n", "ends past the contig"),
        ("chr1\t10\t10\n", "line 1 of .*: the region 10-10 is empty: BED counts from 0, the end is not included"),
        ("chr1\t10\t5\n", "the region 10-5 is empty"),
        ("chr1\t-1\t5\n", r"line 1 of .*regions\.bed is no BED \('chr1\\t-1\\t5'\): a line is CONTIG, START, END"),
        ("chrom\tstart\tend\nchr1\t1\t2\n", "line 1 of .* is no BED"),
        ("chr1\t1.5\t20\n", "is no BED"),
        ("chr1\t1,000\t2,000\n", "is no BED"),
        ("chr1\t5\n", "is no BED"),
        ("chr1:5-10\n", "is no BED"),
        ("chr1\t5\t10\ngarbage\n", "line 2 of .* is no BED .'garbage'"),
        (">chr1\nACGT\n", "is no BED"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_region_is_named(text: str, said: str, genome: Genome, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(text, genome, tmp_path)


def test_a_file_that_cannot_be_read(genome: Genome, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the regions .*none\.bed cannot be read \(No such file.*\): check the path"):
        read_regions(tmp_path / "none.bed", genome)
    with pytest.raises(InputError, match=r"the regions .* cannot be read \(Is a directory\)"):
        read_regions(tmp_path, genome)


@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\xfe\x80BAM", gzip.compress(b"chr1\t5\t10\n" * 500, mtime=0)[:-9], b"\x1f\x8b\x08nonsense"],
    ids=["bytes", "truncated", "no_gzip"],
)
def test_a_file_that_is_no_text(content: bytes, genome: Genome, tmp_path: Path) -> None:
    (tmp_path / "regions.bed").write_bytes(content)
    with pytest.raises(InputError, match=r"the regions .*regions\.bed "):
        read_regions(tmp_path / "regions.bed", genome)


def test_a_bgzip_file_without_its_end_is_refused(genome: Genome, tmp_path: Path) -> None:
    path = tmp_path / "regions.bed.gz"
    with pysam.BGZFile(str(path), "wb") as file:  # type: ignore[attr-defined]
        file.write(b"chr1\t5\t10\n")
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match="truncated"):
        read_regions(path, genome)


def test_a_pipe_is_refused(genome: Genome, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    handle = os.open(pipe, os.O_RDWR)
    try:
        os.write(handle, b"chr1\t5\t10\n")
        with pytest.raises(InputError, match="are a pipe, and they are read more than once: give a file"):
            read_regions(pipe, genome)
    finally:
        os.close(handle)
