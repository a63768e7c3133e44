from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import Gene, World, regular, sites, write_world

from basecast.data.splice_labels import (
    Bodies,
    Labels,
    Loci,
    connected,
    genes_of,
    introns_of,
    loci_of,
    motifs_of,
    sites_of,
    unknown_of,
)
from basecast.data.store import FIRST, LAST, MOTIFS, Sites
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode
from basecast.spec.splice import ACCEPTOR, DONOR


def labels_of(world: World) -> tuple[Loci, Labels]:
    genome = Genome(world.genome)
    table = Annotation.read(world.annotation, transcripts="all").fitted_to(genome).transcripts.table
    loci = loci_of(genes_of(table), list(genome.lengths))
    introns = introns_of(table, loci.genes)
    introns = introns.with_columns(motif=pl.Series(motifs_of(introns, loci.table, genome)))
    return loci, sites_of(introns, loci.table)


def placed(loci: Loci, labels: Labels) -> dict[tuple[str, str, int], int]:
    """Sites of all loci by contig, strand and position on the plus strand."""
    found = {}
    for locus, (contig, strand, start, end, *_) in enumerate(loci.table.iter_rows()):
        rows = slice(*labels.offsets[locus : locus + 2])
        for position, label in zip(labels.sites.position[rows].tolist(), labels.sites.label[rows], strict=True):
            found[contig, strand, start + position if strand == "+" else end - 1 - position] = int(label)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_connected_intervals_are_those_of_a_walk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(3, size=60)
    starts = rng.integers(400, size=60)
    ends = starts + rng.integers(1, 25, size=60)
    component = connected(groups, starts, ends)
    linked = np.eye(60, dtype=bool)
    for i, j in itertools.product(range(60), repeat=2):
        linked[i, j] |= groups[i] == groups[j] and starts[i] < ends[j] and starts[j] < ends[i]
    for _ in range(60):
        linked = linked @ linked
    assert np.array_equal(component[:, None] == component[None], linked)


def test_touching_intervals_are_apart() -> None:
    at = np.zeros(2, dtype=np.int64)
    assert connected(at, np.array([0, 10]), np.array([10, 20])).tolist() == [0, 1]
    assert connected(at, np.array([0, 9]), np.array([10, 20])).tolist() == [0, 0]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_sites_of_one_gene(tmp_path: Path, strand: str) -> None:
    world = write_world(tmp_path, {"c": 2000}, [regular("g", "c", strand, 300)])
    loci, labels = labels_of(world)
    assert placed(loci, labels) == sites(world.genes)
    assert labels.sites.label.tolist() == [DONOR, ACCEPTOR, DONOR, ACCEPTOR]  # from the 5' end, on either strand
    assert [MOTIFS[i] for i in labels.sites.motif] == ["GT-AG"] * 4
    assert labels.sites.intron.tolist() == [60] * 4
    assert labels.sites.place.tolist() == [FIRST, FIRST, LAST, LAST]
    assert np.isnan(labels.sites.usage).all()


def test_a_donor_is_the_last_base_of_an_exon_and_an_acceptor_the_first(tmp_path: Path) -> None:
    for strand in "+-":
        world = write_world(tmp_path / strand, {"c": 2000}, [regular("g", "c", strand, 300)])
        loci, labels = labels_of(world)
        _, _, start, end, *_ = loci.table.row(0)
        text = Genome(world.genome).tokens("c", start, end)
        read = decode(text) if strand == "+" else decode((3 - text)[::-1])
        for position, label in zip(labels.sites.position, labels.sites.label, strict=True):
            motif = read[position + 1 : position + 3] if label == DONOR else read[position - 2 : position]
            assert motif == ("GT" if label == DONOR else "AG")


def test_genes_of_a_strand_that_overlap_are_one_locus_and_those_of_the_other_are_not(tmp_path: Path) -> None:
    outer = regular("outer", "c", "+", 100, n=6, intron=200)
    genes = [
        outer,
        regular("nested", "c", "+", outer.transcripts[0][1][1] + 20, n=2, exon=20, intron=40),
        regular("against", "c", "-", 500),
        regular("apart", "c", "+", outer.end, n=2),  # it begins where the first ends
        regular("elsewhere", "d", "+", 100),
    ]
    world = write_world(tmp_path, {"d": 1000, "c": 4000}, genes)
    loci, labels = labels_of(world)
    assert loci.table["genes"].to_list() == ["elsewhere", "outer,nested", "against", "apart"]
    assert loci.table["contig"].to_list() == ["d", "c", "c", "c"]  # as the genome has them
    assert placed(loci, labels) == sites(genes)


def test_genes_are_in_the_order_of_their_loci() -> None:
    """The minus gene begins between those of the plus locus."""
    names = ["A", "M", "B"]
    columns = {"gene": [0, 1, 2], "contig": ["c"] * 3, "strand": ["+", "-", "+"], "id": names, "name": names}
    genes = loci_of(pl.DataFrame({**columns, "start": [0, 100, 400], "end": [500, 300, 1000]}), ["c"]).genes
    assert genes["locus"].to_list() == [0, 0, 1]
    assert genes["id"].to_list() == ["A", "B", "M"]


def test_sites_of_all_transcripts_are_merged_and_keep_the_shortest_intron(tmp_path: Path) -> None:
    long = [(100, 150), (250, 300), (400, 450)]
    skipped = [(100, 150), (400, 450)]
    world = write_world(tmp_path, {"c": 1000}, [Gene("g", "c", "+", [long, skipped])])
    _, labels = labels_of(world)
    assert labels.sites.position.tolist() == [49, 150, 199, 300]
    assert labels.sites.intron.tolist() == [100] * 4
    assert labels.sites.place.tolist() == [FIRST | LAST, FIRST, LAST, FIRST | LAST]


def test_a_base_that_is_both_keeps_the_kind_of_more_transcripts(tmp_path: Path) -> None:
    donor = [(100, 151), (250, 300)]  # base 150 ends an exon in two transcripts,
    acceptor = [(60, 90), (150, 300)]  # and begins one in a third
    world = write_world(tmp_path, {"c": 1000}, [Gene("g", "c", "+", [acceptor, donor, [*donor, (400, 450)]])])
    loci, labels = labels_of(world)
    assert labels.n_both == 1
    assert placed(loci, labels)["c", "+", 150] == DONOR


def test_motifs_are_read_on_their_strand(tmp_path: Path) -> None:
    genes = [regular("plus", "c", "+", 100, n=5), regular("minus", "c", "-", 1100, n=5)]
    world = write_world(tmp_path, {"c": 2000}, genes)
    text = list(world.bases["c"])
    ends = {"+": [("GC", "AG"), ("AT", "AC"), ("GA", "AG"), ("GT", "AG")], "-": [("CT", "GC"), ("GT", "AT")]}
    for gene in genes:
        exons = gene.transcripts[0]
        for ((_, start), (end, _)), (left, right) in zip(itertools.pairwise(exons), ends[gene.strand], strict=False):
            text[start : start + 2], text[end - 2 : end] = left, right
    world.genome.write_text(">c\n" + "".join(text) + "\n")
    _, labels = labels_of(world)
    found = [MOTIFS[i] for i in labels.sites.motif[labels.sites.label == DONOR]]
    assert found[:4] == ["GC-AG", "AT-AC", "other", "GT-AG"]
    assert sorted(found[4:]) == ["AT-AC", "GC-AG", "GT-AG", "GT-AG"]


# --- bases of other genes


BODIES = pl.DataFrame(
    {
        "contig": ["c"] * 5 + ["d"],
        "strand": ["+", "+", "+", "-", "+", "+"],
        "start": [0, 50, 60, 0, 500, 0],
        "end": [400, 55, 90, 900, 600, 900],
        "id": ["long", "own", "other", "minus", "far", "away"],
        "name": [""] * 6,
    }
)


def test_bodies_of_other_genes_of_the_strand() -> None:
    own = BODIES.filter(pl.col("id").is_in(["own", "long"]))
    bodies = Bodies(BODIES)
    assert bodies.others("c", "+", 40, 95, own) == [(60, 90)]
    assert bodies.others("c", "+", 40, 95, own[:0]) == [(40, 95)]  # one from far before reaches in
    assert bodies.others("c", "+", 390, 550, own[:0]) == [(390, 400), (500, 550)]
    assert bodies.others("c", "-", 40, 95, own) == [(40, 95)]
    assert bodies.others("d", "-", 0, 100, own) == []


@pytest.mark.parametrize(
    ("strand", "positions", "wanted"),
    [
        ("+", [], [[10, 20], [40, 50]]),
        ("-", [], [[50, 60], [80, 90]]),
        ("+", [10, 15, 19, 30], [[11, 15], [16, 19], [40, 50]]),
        ("-", [50, 55, 89], [[51, 55], [56, 60], [80, 89]]),
    ],
)
def test_unknown_stretches_are_as_the_locus_is_read_and_spare_its_sites(
    strand: str, positions: list[int], wanted: list[list[int]]
) -> None:
    locus = {"start": 100, "end": 200, "strand": strand}
    columns = Sites.none()._replace(position=np.array(positions, dtype=np.int64))
    assert unknown_of([(110, 120), (140, 150)], locus, columns).tolist() == wanted
