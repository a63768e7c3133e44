"""Made-up contigs and genes for tests that run no network: lengths, bodies, regions, and hypothesis' choice of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from direct import Gene
from hypothesis import strategies as st

from basecast.genome.annotation import Annotation, Transcripts
from basecast.genome.intervals import Interval, merged
from basecast.genome.sequence import Tokens
from basecast.genome.transcripts import SCHEMA

LENGTHS = {"b": 60, "none": 0, "a": 23, "one": 1}


@dataclass(frozen=True)
class Lengths:
    """A genome of which only the lengths are known."""

    lengths: dict[str, int] = field(default_factory=LENGTHS.copy)

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        raise AssertionError("no base is read")


def genome(lengths: dict[str, int] = LENGTHS) -> Any:
    return Lengths(lengths)


def annotation(genes: Sequence[Gene]) -> Annotation:
    """A gene of one transcript each."""
    rows = [
        {
            **dict.fromkeys(("id", "version", "gene_id", "biotype"), ""),
            **{"gene": i, "gene_name": name, "contig": contig, "strand": strand, "start": start, "end": end},
            **{"cds_length": 0, "tags": [], "exon_start": [start], "exon_end": [end]},
        }
        for i, (name, contig, strand, start, end) in enumerate(genes)
    ]
    return Annotation(Path("memory.gtf"), "", "all", Transcripts(pl.DataFrame(rows, schema=SCHEMA)), {})


@st.composite
def spans(draw: st.DrawFn) -> tuple[str, int, int]:
    contig = draw(st.sampled_from([name for name, length in LENGTHS.items() if length]))
    start = draw(st.integers(0, LENGTHS[contig] - 1))
    return contig, start, draw(st.integers(start + 1, LENGTHS[contig]))


@st.composite
def genes(draw: st.DrawFn) -> Gene:
    contig, start, end = draw(spans())
    return draw(st.sampled_from("xy")), contig, draw(st.sampled_from("+-")), start, end


@st.composite
def regions(draw: st.DrawFn) -> list[Interval]:
    """As ``read_regions`` gives them: none overlap or touch."""
    found: dict[str, list[tuple[int, int]]] = {}
    for contig, start, end in draw(st.lists(spans(), max_size=4)):
        found.setdefault(contig, []).append((start, end))
    return [Interval(contig, *stretch) for contig in LENGTHS for stretch in merged(found.get(contig, []))]
