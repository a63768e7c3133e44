"""What is predicted, and how it is cut: every base asked for once a strand, in order, within its contig."""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from direct import Gene
from hypothesis import given
from hypothesis import strategies as st
from landscape import LENGTHS, Lengths, annotation, genes, genome, regions

from basecast.genome.annotation import Annotation, Transcripts
from basecast.genome.intervals import Interval
from basecast.prediction import stretches as module
from basecast.prediction.stretches import Stretch, shards, stretches

asked = given(
    within=st.none() | regions(),
    bodies=st.none() | st.lists(genes(), max_size=5),
    masked=st.booleans(),
    strands=st.sampled_from(["both", "+", "-", "gene"]),
    span=st.integers(1, 70),
)


def read_by(strands: str, gene: str = "+-") -> str:
    return {"both": "+-", "gene": gene}.get(strands, strands)


@asked
def test_each_base_asked_for_is_in_one_stretch_a_strand(
    within: list[Interval] | None, bodies: list[Gene] | None, masked: bool, strands: Any, span: int
) -> None:
    if bodies is None and (masked or strands == "gene"):
        return
    genes = None if bodies is None else annotation(bodies)
    found = list(stretches(genome(), within, genes, masked=masked, strands=strands, span=span))
    got = Counter((x.contig, i, x.strand, x.low, x.high, x.gene) for x in found for i in range(x.start, x.end))

    def inside(contig: str, i: int) -> bool:
        return within is None or any(r.contig == contig and r.start <= i < r.end for r in within)

    wanted: Counter[tuple[Any, ...]] = Counter()
    for contig, length in LENGTHS.items():
        here = [gene for gene in bodies or () if gene[1] == contig]
        for i in filter(lambda i: inside(contig, i), range(length)):
            if bodies is None:
                wanted.update((contig, i, s, 0, length, "") for s in read_by(strands))
            elif masked:
                for name, _, strand, low, high in here:
                    if low <= i < high:
                        wanted.update((contig, i, s, low, high, name) for s in read_by(strands, strand))
            else:
                read = {s for _, _, strand, low, high in here if low <= i < high for s in read_by(strands, strand)}
                wanted.update((contig, i, s, 0, length, "") for s in read)
    assert got == wanted
    order = [(list(LENGTHS).index(x.contig), x.start, x.strand, x.gene) for x in found]
    assert order == sorted(order)
    for x in found:
        assert 0 <= x.low <= x.start < x.end <= min(x.high, x.start + span) <= LENGTHS[x.contig]


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 30), st.integers(1, 12))
def test_shards_are_the_stretches_in_order(sizes: list[int], most: int, most_items: int) -> None:
    items = [Stretch("a", 100 * i, 100 * i + size, "+", 0, 10**6) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_ITEMS", most_items)
        found = list(shards(iter(items), most))
    assert [number for number, _ in found] == list(range(len(found)))
    assert [item for _, shard in found for item in shard] == items
    for number, shard in found:
        size = [item.end - item.start for item in shard]
        assert sum(size[:-1]) < most
        assert len(shard) <= most_items
        assert number == len(found) - 1 or sum(size) >= most or len(shard) == most_items


def test_many_scaffolds_make_shards_of_bounded_size() -> None:
    lengths = {f"s{i}": 300 for i in range(10_000)}
    found = stretches(genome(lengths), None, None, masked=False, strands="both", span=10**9)
    sizes = [len(shard) for _, shard in shards(found, 10**9)]
    assert sizes == [5000] * 4


def test_scaffolds_with_long_context_make_small_shards() -> None:
    items = [Stretch(f"s{i}", 0, 300, "+", 0, 300) for i in range(1000)]
    sizes = [len(shard) for _, shard in shards(items, 100_000, 10_000)]  # type: ignore[call-arg]
    assert sizes == [10] * 100


def test_planning_grows_with_regions_and_genes_not_with_their_product() -> None:
    def calls(n: int) -> int:
        within = [Interval("c", 100 * i, 100 * i + 50) for i in range(n)]
        bodies = annotation([("x", "c", "+", 100 * i, 100 * i + 90) for i in range(n)])
        profile = cProfile.Profile()
        planned = profile.runcall(
            lambda: list(stretches(Lengths({"c": 100 * n}), within, bodies, masked=True, strands="+", span=1000))
        )
        assert len(planned) == n
        return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]

    assert calls(400) < 6 * calls(100)


def test_a_gene_is_called_by_its_symbol_or_its_id() -> None:
    genes = annotation([("", "a", "+", 2, 20)])
    table = genes.transcripts.table.with_columns(gene_id=pl.lit("ENSG1"))
    genes = Annotation(genes.path, "", "all", Transcripts(table), {})
    (found,) = stretches(genome(), None, genes, masked=True, strands="gene", span=100)
    assert found == Stretch("a", 2, 20, "+", 2, 20, "ENSG1")


def test_a_body_reaches_from_the_first_to_the_last_base_of_its_transcripts() -> None:
    """Of a gene on two contigs or strands each has its own."""
    table = annotation(
        [("x", "b", "+", 10, 20), ("x", "b", "+", 30, 40), ("x", "b", "-", 5, 7), ("x", "a", "+", 1, 2)]
    ).transcripts.table.with_columns(gene=pl.lit(0, pl.Int64))
    genes = Annotation(Path("memory.gtf"), "", "all", Transcripts(table), {})
    found = stretches(genome(), None, genes, masked=True, strands="gene", span=100)
    assert [(x.contig, x.start, x.end, x.strand) for x in found] == [
        ("b", 5, 7, "-"),
        ("b", 10, 40, "+"),
        ("a", 1, 2, "+"),
    ]
