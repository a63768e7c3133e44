"""Sites of parts as one table: in order, each once, wherever genes overlap and shards end. No network is run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from direct import KINDS, Gene, Site
from hypothesis import given, settings
from hypothesis import strategies as st
from landscape import LENGTHS, annotation, genes, genome, regions

from basecast.genome.intervals import Interval
from basecast.genome.source import Masked
from basecast.inference.request import Request
from basecast.prediction.output import Sites
from basecast.prediction.predictor import Predictor, PredictSettings
from basecast.prediction.stretches import Stretch, gene_name, shards, stretches

FLOOR = 0.2


def probabilities(start: int, end: int, strand: str, low: int) -> np.ndarray:
    """Made up: they depend on position, strand, kind, and where N begins."""
    seeds = np.arange(start, end)[:, None] * 7 + np.array([3, 5]) + 11 * (strand == "-") + 13 * low
    return (seeds * 0.6180339887 % 1).astype(np.float32)


class Engine:
    """Answers as made up; counts what it is asked for."""

    longest_tile = 5000

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.asked_since_forgotten = 0

    def forget(self) -> None:
        self.asked_since_forgotten = 0

    def evaluate(self, requests: Sequence[Request], outputs: Any, tracks: Any) -> list[dict[str, np.ndarray]]:
        self.requests += requests
        self.asked_since_forgotten += 1
        lows = [request.source.start if isinstance(request.source, Masked) else 0 for request in requests]
        return [{"splice": probabilities(r.start, r.end, r.strand, low)} for r, low in zip(requests, lows, strict=True)]


def predictor_of(genes: Sequence[Gene] | None, masked: bool, floor: float = FLOOR) -> Predictor:
    predictor = object.__new__(Predictor)
    predictor.settings = PredictSettings(floor=floor)
    predictor.genome = genome()
    predictor.annotation = None if genes is None else annotation(genes)
    predictor.context = "gene" if masked else "genomic"
    predictor.engine = Engine()  # type: ignore[assignment]
    predictor._columns = [1, 2]
    return predictor


def sites_of(payloads: Sequence[bytes], threshold: float = 0.0) -> Sites:
    parts = SimpleNamespace(load=lambda number: payloads[number])
    return Sites(parts, len(payloads), threshold, LENGTHS)  # type: ignore[arg-type]


def merged(sites: Sites) -> list[tuple[Any, ...]]:
    return [row for table in sites.rows() for row in table.iter_rows()]


@settings(max_examples=40, deadline=None)
@given(
    within=st.none() | regions(),
    bodies=st.none() | st.lists(genes(), min_size=1, max_size=6),
    masked=st.booleans(),
    span=st.integers(1, 70),
    most=st.integers(1, 200),
)
def test_sites_are_in_order_and_each_once(
    within: list[Interval] | None, bodies: list[Gene] | None, masked: bool, span: int, most: int
) -> None:
    masked = masked and bodies is not None
    predictor = predictor_of(bodies, masked)
    items = list(stretches(genome(), within, predictor.annotation, masked=masked, strands="both", span=span))
    found = merged(sites_of([predictor.payload(shard) for _, shard in shards(items, most)]))
    wanted: dict[Site, float] = {}
    for item in items:
        values = probabilities(item.start, item.end, item.strand, item.low if masked else 0)
        for i, k in itertools.product(range(len(values)), range(2)):
            at, p = item.start + i, float(values[i, k])
            here = [g[0] for g in bodies or () if g[1] == item.contig and g[2] == item.strand and g[3] <= at < g[4]]
            site = (item.contig, at, item.strand, KINDS[k], item.gene if masked else ",".join(dict.fromkeys(here)))
            if p >= FLOOR:
                wanted[site] = max(p, wanted.get(site, 0))
    assert {row[:4] + row[5:]: row[4] for row in found} == wanted
    assert len(found) == len(wanted)
    order = [(list(LENGTHS).index(contig), *rest) for contig, *rest in (row[:4] + row[5:] for row in found)]
    assert order == sorted(order)


@settings(max_examples=20, deadline=None)
@given(bodies=st.lists(genes(), min_size=1, max_size=6), most=st.integers(1, 100))
def test_a_signal_has_one_value_a_base_the_largest(bodies: list[Gene], most: int) -> None:
    predictor = predictor_of(bodies, masked=True)
    items = stretches(genome(), None, predictor.annotation, masked=True, strands="both", span=50)
    sites = sites_of([predictor.payload(shard) for _, shard in shards(items, most)])
    largest: dict[Site, float] = {}
    for contig, at, strand, kind, p, _ in merged(sites):
        place = (contig, at, strand, kind, "")
        largest[place] = max(p, largest.get(place, 0))
    for kind, strand in itertools.product(KINDS, "+-"):
        pieces = list(sites.signal(kind, strand))
        places = [(list(LENGTHS).index(c), at) for c, positions, _ in pieces for at in positions.tolist()]
        assert places == sorted(set(places))
        found = {
            (c, at, strand, kind, ""): p for c, x, y in pieces for at, p in zip(x.tolist(), y.tolist(), strict=True)
        }
        assert found == {site: p for site, p in largest.items() if site[2:4] == (strand, kind)}


def test_genes_of_one_name_that_overlap_give_a_site_once() -> None:
    bodies: list[Gene] = [
        ("x", "b", "+", 0, 40),
        ("x", "b", "+", 20, 60),
        ("x", "b", "+", 20, 60),
        ("y", "b", "+", 5, 30),
    ]
    predictor = predictor_of(bodies, masked=True, floor=0.0)
    items = stretches(genome(), None, predictor.annotation, masked=True, strands="gene", span=7)
    found = merged(sites_of([predictor.payload(shard) for _, shard in shards(items, 10)]))
    places = [(row[1], row[3], row[5]) for row in found]
    assert len(set(places)) == len(places) == 2 * (60 + 25)
    first, second = probabilities(0, 60, "+", 0), probabilities(0, 60, "+", 20)
    shared = {(row[1], row[3]): row[4] for row in found if row[5] == "x" and 20 <= row[1] < 40}
    larger = np.maximum(first, second)[20:40]
    assert shared == {(20 + i, KINDS[k]): float(larger[i, k]) for i in range(20) for k in range(2)}
    assert (first > second)[20:40].any()
    assert (first < second)[20:40].any()


def test_counts_and_rows_keep_to_the_threshold() -> None:
    predictor = predictor_of(None, masked=False, floor=0.1)
    items = stretches(genome(), None, None, masked=False, strands="both", span=20)
    payloads = [predictor.payload(shard) for _, shard in shards(items, 30)]
    everything, chosen = merged(sites_of(payloads)), sites_of(payloads, 0.75)
    kept = [row for row in everything if row[4] >= 0.75]
    assert 0 < len(kept) < len(everything)
    assert merged(chosen) == kept
    assert chosen.counts() == {kind: sum(row[3] == kind for row in kept) for kind in ("donor", "acceptor")}
    by_kind = [row for kind in KINDS for table in chosen.rows(kind) for row in table.iter_rows()]
    assert sorted(by_kind) == sorted(kept)


def test_a_part_does_not_depend_on_what_was_predicted_before() -> None:
    predictor = predictor_of(None, masked=False)
    item = Stretch("b", 0, 60, "+", 0, 60)
    first = predictor.payload([item])
    predictor.sites([item._replace(strand="-")])
    assert predictor.payload([item]) == first
    assert predictor.engine.asked_since_forgotten == 1  # type: ignore[attr-defined]


def test_no_site_at_all() -> None:
    predictor = predictor_of(None, masked=False, floor=1.0)
    items = list(stretches(genome(), None, None, masked=False, strands="both", span=20))
    sites = sites_of([predictor.payload(items)])
    assert merged(sites) == []
    assert sites.counts() == {"donor": 0, "acceptor": 0}
    assert list(sites.signal("donor", "+")) == []


@pytest.mark.parametrize("size", [1, 15, 16, 17, 299, 300, 301, 4100, 4999])
def test_alike_lengths_become_equal(size: int) -> None:
    """So that scaffolds fill batches; what lies past the end is thrown away."""
    predictor = predictor_of(None, masked=False)
    predictor.sites([Stretch("b", 10, 10 + size, "+", 0, 60)])
    (request,) = predictor.engine.requests  # type: ignore[attr-defined]
    asked = request.end - request.start
    assert size <= asked <= size + max(size // 4, 15)
    assert request.start == 10


@pytest.mark.parametrize("size", [4999, 5000, 10_000, 100_000])
def test_no_tile_is_run_for_what_is_thrown_away(size: int) -> None:
    predictor = predictor_of(None, masked=False)
    predictor.sites([Stretch("b", 0, size, "+", 0, 60)])
    (request,) = predictor.engine.requests  # type: ignore[attr-defined]
    assert -(-request.end // Engine.longest_tile) == -(-size // Engine.longest_tile)


def test_scaffolds_of_many_lengths_have_few_lengths() -> None:
    predictor = predictor_of(None, masked=False)
    lengths = range(200, 1200)
    predictor.sites([Stretch("b", 0, size, "+", 0, 60) for size in lengths])
    sizes = {request.end - request.start for request in predictor.engine.requests}  # type: ignore[attr-defined]
    assert len(sizes) < 30


def test_names_of_several_transcripts_of_a_gene_stand_once() -> None:
    """Also where a name has a comma."""
    bodies: list[Gene] = [
        ("a,b", "b", "+", 0, 30),
        ("a,b", "b", "+", 10, 60),
        ("c", "b", "+", 20, 60),
        ("d", "b", "-", 0, 60),
    ]
    predictor = predictor_of(bodies, masked=False, floor=0.0)
    table = predictor.sites([Stretch("b", 0, 60, "+", 0, 60)])
    names = dict(table.select("position", "gene").iter_rows())
    assert (names[0], names[15], names[25], names[59]) == ("a,b", "a,b", "a,b,c", "a,b,c")
    assert gene_name("", "id") == "id"
