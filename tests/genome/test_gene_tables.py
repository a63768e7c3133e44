"""Gene tables and BED12: one transcript a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecast.errors import InputError
from basecast.genome.gene_tables import parse_bed12, parse_gene_table
from basecast.genome.transcripts import Transcripts

PATH = Path("genes.tsv")
HEADER = "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
BED = "chr1\t100\t900\tT1\t0\t-\t150\t850\t0\t2\t200,300,\t0,500,\n"


def test_a_gene_table_is_half_open_already() -> None:
    table, left_out = parse_gene_table([HEADER, "ABC\t1\t-\t90\t700\t99,499,\t200,700,\n"], PATH)
    (transcript,) = Transcripts(table)
    assert (transcript.id, transcript.gene_id, transcript.gene_name) == ("ABC", "ABC", "ABC")
    assert (transcript.start, transcript.end, transcript.exons) == (90, 700, ((99, 200), (499, 700)))
    assert (transcript.donors.tolist(), transcript.acceptors.tolist()) == ([499], [199])
    assert left_out == {}


def test_the_last_comma_may_be_missing() -> None:
    with_comma = parse_gene_table([HEADER, "ABC\t1\t+\t99\t700\t99,499,\t200,700,\n"], PATH).table
    without = parse_gene_table([HEADER, "ABC\t1\t+\t99\t700\t99,499\t200,700\n"], PATH).table
    assert without.equals(with_comma)


def test_columns_are_found_by_name_and_the_header_may_be_missing() -> None:
    swapped = ["#CHROM\tNAME\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n", "1\tABC\t+\t9\t70\t9,\t70,\n"]
    plain = ["ABC\t1\t+\t9\t70\t9,\t70,\n"]
    assert parse_gene_table(swapped, PATH).table.equals(parse_gene_table(plain, PATH).table)
    with pytest.raises(InputError, match=r"genes.tsv lacks EXON_END in its header"):
        parse_gene_table(["#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\n"], PATH)


def test_rows_of_one_name_stay_apart_and_unknown_strands_are_counted() -> None:
    lines = [HEADER, "P\tX\t+\t9\t70\t9,\t70,\n", "P\tY\t+\t9\t70\t9,\t70,\n", "Q\tY\t.\t9\t70\t9,\t70,\n"]
    table, left_out = parse_gene_table(lines, PATH)
    assert (table["gene"].to_list(), table["contig"].to_list()) == ([0, 1], ["X", "Y"])
    assert left_out == {"no strand": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ABC\t1\t+\t99\t700\t99,499,\t200,\n", "line 2 of genes.tsv has 2 exon starts and 1 exon ends"),
        ("ABC\t1\t+\t99\t700\t99,x,\t200,700,\n", "line 2 of genes.tsv has '99,x,' where whole numbers belong"),
        ("ABC\t1\t+\t99\n", "line 2 of genes.tsv has 4 tab-separated columns, not 7"),
        ("ABC\t1\t+\t99\t700\t99,499,\t200,701,\n", r"exons \(99-701\) outside of the transcript \(99-700\)"),
        ("ABC\t1\t+\t99\t700\t200,\t200,\n", "a start that is not below its end"),
        ("ABC\t1\t+\t700\t99\t99,\t200,\n", "a start that is not below its end"),
    ],
)
def test_a_malformed_row_is_named(row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_gene_table([HEADER, row], PATH)


def test_a_table_without_rows() -> None:
    with pytest.raises(InputError, match=r"genes.tsv has no transcript that can be used: no rows"):
        parse_gene_table([HEADER], PATH)


def test_bed12() -> None:
    (transcript,) = Transcripts(parse_bed12(["track name=x\n", BED], PATH).table)
    assert (transcript.id, transcript.gene_name, transcript.strand) == ("T1", "T1", "-")
    assert (transcript.start, transcript.end) == (100, 900)
    assert transcript.exons == ((100, 300), (600, 900))
    assert transcript.cds_length == 150 + 250


def test_a_row_without_a_name_has_its_place_for_one() -> None:
    (transcript,) = Transcripts(parse_bed12([BED.replace("T1", "")], PATH).table)
    assert transcript.id == transcript.gene_name == f"{transcript.contig}:101-900"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (BED.replace("200,300,", "200,"), "line 1 of genes.tsv has 1 block sizes and 2 block starts for 2 blocks"),
        (BED.replace("200,300,", "200,301,"), r"exons \(100-901\) outside of the transcript"),
        ("chr1\t100\t900\tT1\n", "4 tab-separated columns, BED12 has 12"),
    ],
)
def test_a_malformed_bed_row_is_named(row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_bed12([row], PATH)
