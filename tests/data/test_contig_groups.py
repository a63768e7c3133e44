from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from basecast.data.contig_groups import ContigGroups, Source
from basecast.errors import InputError
from basecast.genome.reference import Genome


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    path = tmp_path / "genome.fa"
    path.write_text(">chr1_11_20\nACGTACGTAC\n>alone\nACGT\n")
    return Genome(path)


def groups(folder: Path, genome: Genome, *lines: str) -> ContigGroups:
    path = folder / "groups.tsv"
    path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
    return ContigGroups.read(path, genome)


@pytest.mark.parametrize(
    "row", ["chr1_11_20 1 11 20", "chr1_11_20 1 10 20"], ids=["counts from 1", "counts from 0, as its end tells"]
)
def test_where_a_contig_lies(tmp_path: Path, genome: Genome, row: str) -> None:
    read = groups(tmp_path, genome, "contig chrom start end", row)
    assert read.of("chr1_11_20") == Source("1", 10)
    assert read.of("alone") == Source("alone", 0)
    table = read.placed(pl.DataFrame({"contig": ["chr1_11_20", "alone"], "start": [3, 3]}))
    assert table["chromosome"].to_list() == ["1", "alone"]
    assert table["source_start"].to_list() == [13, 3]


def test_other_columns_and_contigs_are_passed_over(tmp_path: Path, genome: Genome) -> None:
    path = tmp_path / "groups.tsv.gz"
    text = "gene\t#contig\tchromosome\tstart\nX\tunknown\t7\t1\nY\tchr1_11_20\t1\t11\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    assert ContigGroups.read(path, genome).of("chr1_11_20") == Source("1", 10)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("contig chrom", "a b"), "lack the column start: begin with a header line"),
        (("contig chrom start", "chr1_11_20 1 x"), "line 2 of .* has no contig, chromosome and whole-number start"),
        (("contig chrom start end", "chr1_11_20 1 11 40"), "places chr1_11_20 at 11-40 of 1, but it has 10 bases"),
        (("contig chrom start", "z 1 1"), "name no contig of"),
    ],
    ids=["column", "start", "length", "nothing known"],
)
def test_bad_tables(tmp_path: Path, genome: Genome, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        groups(tmp_path, genome, *lines)
