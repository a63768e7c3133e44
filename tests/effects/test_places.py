"""Regions, genes and BED files as bases; names that mean nothing, or too much."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scenes import annotation, gene

from basecast.effects.places import gene_body, parse_region, stretches_of
from basecast.errors import InputError, UsageError
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("places") / "g.fa"
    path.write_text("".join(f">{name}\n{'ACGT' * n}\n" for name, n in (("chr2", 600), ("chr1", 500), ("HLA:01", 5))))
    return Genome(path)


GENES = annotation(
    gene("BRCA1", [(100, 200), (300, 400)], contig="chr1"),
    gene("BRCA2", [(500, 600)], contig="chr1", gene_id="ENSG7.12"),
    gene("TWIN", [(10, 20)], contig="chr1", gene_id="TWIN_X"),
    gene("TWIN", [(10, 20)], contig="chr2", gene_id="TWIN_Y"),
    gene("TABLE", [(700, 800)], contig="chr1"),
    gene("TABLE", [(750, 900)], contig="chr1"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:1,000-2,000", Interval("chr1", 999, 2000)),
        ("chr1:7-7", Interval("chr1", 6, 7)),
        ("1:1-2000", Interval("chr1", 0, 2000)),
        ("chr2", Interval("chr2", 0, 2400)),
        ("HLA:01", Interval("HLA:01", 0, 20)),
        ("HLA:01:2-3", Interval("HLA:01", 1, 3)),
    ],
)
def test_a_region_counts_from_1_with_both_ends(text: str, expected: Interval, genome: Genome) -> None:
    assert parse_region(text, genome) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1:0-5", "bases count from 1"),
        ("chr1:9-8", "bases count from 1"),
        ("chr1:1-2,001", "is not within chr1:1-2,000"),
        ("chr1:,-8", "bases count from 1"),
        ("chr1:8", "such as chr1:1,000-2,000"),
        ("chr1:-8", "such as chr1:1,000-2,000"),
        ("chr7:1-8", "contig 'chr7' is not in"),
        ("", "such as chr1:1,000-2,000"),
    ],
)
def test_a_region_that_is_none(text: str, said: str, genome: Genome) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_region(text, genome)


@pytest.mark.parametrize("name", ["BRCA1", "ID_BRCA1"])
def test_a_gene_by_symbol_or_id(name: str) -> None:
    assert gene_body(name, GENES) == Interval("chr1", 100, 400)


def test_a_gene_id_with_or_without_its_version() -> None:
    assert gene_body("ENSG7.12", GENES) == gene_body("ENSG7", GENES) == Interval("chr1", 500, 600)


def test_rows_of_a_table_that_overlap_are_one_gene() -> None:
    assert gene_body("TABLE", GENES) == Interval("chr1", 700, 900)


def test_a_name_of_several_genes_says_where_they_are() -> None:
    with pytest.raises(UsageError) as raised:
        gene_body("TWIN", GENES)
    said = str(raised.value)
    assert "--gene TWIN means 2 genes" in said
    assert "TWIN_X at chr1:11-20, TWIN_Y at chr2:11-20: give the id of one, or --region" in said
    assert gene_body("TWIN_Y", GENES) == Interval("chr2", 10, 20)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("BRAC1", "BRCA1"), ("brca2", "BRCA2"), ("ENSG8", "ENSG7.12"), ("XYZZY", "its symbol or gene id")],
)
def test_an_unknown_gene_gets_near_names(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(hint)) as raised:
        gene_body(name, GENES)
    assert f"--gene {name} is not among the genes of memory.gtf" in str(raised.value)


def test_what_overlaps_is_one_stretch_in_the_order_of_the_genome(genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "a.bed"
    bed.write_text("chr1\t350\t450\nchr2\t0\t10\n")
    found = stretches_of(
        genome, GENES, regions=["chr1:50-100", "chr1:1,500-1,600", "chr2:11-12"], genes=["BRCA1", "TWIN_X"], beds=[bed]
    )
    assert found == [
        Interval("chr2", 0, 12),
        Interval("chr1", 10, 20),
        Interval("chr1", 49, 450),
        Interval("chr1", 1499, 1600),
    ]


def test_nothing_named_is_an_error(genome: Genome) -> None:
    with pytest.raises(UsageError, match="give --region"):
        stretches_of(genome, GENES)


def test_a_bed_file_that_is_none(genome: Genome, tmp_path: Path) -> None:
    bed = tmp_path / "a.bed"
    bed.write_text("chr1 five six\n")
    with pytest.raises(InputError, match="line 1"):
        stretches_of(genome, GENES, beds=[bed])
