"""Transcripts: their sites, and their columns."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from basecast.genome.transcripts import SCHEMA, Transcript, Transcripts

PLUS = Transcript("T", "3", "G", "ABC", "1", "+", 90, 700, ((90, 200), (300, 400), (600, 700)), 0, "", frozenset())
MINUS = dataclasses.replace(PLUS, strand="-")


def test_sites_are_the_exonic_bases_beside_introns() -> None:
    assert PLUS.introns == ((200, 300), (400, 600))
    assert (PLUS.donors.tolist(), PLUS.acceptors.tolist()) == ([199, 399], [300, 600])


def test_the_strand_swaps_donors_and_acceptors() -> None:
    assert (MINUS.donors.tolist(), MINUS.acceptors.tolist()) == ([300, 600], [199, 399])


def test_one_exon_has_no_sites() -> None:
    single = dataclasses.replace(PLUS, exons=((90, 700),))
    assert single.introns == ()
    assert single.donors.size == single.acceptors.size == 0


def test_the_version_is_joined_on_demand() -> None:
    assert PLUS.versioned == "T.3"
    assert dataclasses.replace(PLUS, version="").versioned == "T"


def test_columns_give_transcripts_when_asked() -> None:
    rows = [(i, f"T{i}", "", "G", "G", "1", "+", 0, 9, 4, "x", ["basic"], [0, 6], [3, 9]) for i in range(3)]
    transcripts = Transcripts(pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    assert len(transcripts) == 3
    assert transcripts[1] is transcripts[-2]
    assert transcripts[1].exons == ((0, 3), (6, 9))
    assert [t.id for t in transcripts[1:]] == ["T1", "T2"]
    assert transcripts[0].tags == {"basic"}
    with pytest.raises(IndexError):
        transcripts[3]
