from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from basecast.data.simulated import SimulatedGenome, simulate
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode, encode, reverse_complement
from basecast.genome.transcripts import Transcript
from basecast.genome.variants import VariantReader, VariantRecord

STOPS = {"TAA", "TAG", "TGA"}
KINDS = {
    "donor_loss": 6,
    "acceptor_loss": 6,
    "donor_gain": 6,
    "acceptor_gain": 6,
    "exonic_control": 6,
    "intronic_control": 6,
    "donor_loss_insertion": 1,
    "acceptor_loss_deletion": 1,
    "donor_loss_mnv": 1,
    "donor_loss_two_alleles": 1,
    "between_genes": 1,
    "exon_deletion_symbolic": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    return simulate(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def genome(files: SimulatedGenome) -> Genome:
    return Genome(files.genome)


@pytest.fixture(scope="module")
def annotation(files: SimulatedGenome, genome: Genome) -> Annotation:
    return Annotation.read(files.genes).on(genome)


@pytest.fixture(scope="module")
def records(files: SimulatedGenome) -> list[VariantRecord]:
    with VariantReader(files.variants) as reader:
        return list(reader)


def info(record: VariantRecord) -> dict[str, str]:
    return dict(entry.split("=") for entry in record.line.decode().split("\t")[7].split(";"))


def as_read(genome: Genome, transcript: Transcript, start: int, end: int) -> str:
    tokens = genome.tokens(transcript.contig, start, end)
    return decode(tokens if transcript.strand == "+" else reverse_complement(tokens))


def altered(genome: Genome, transcript: Transcript, record: VariantRecord, start: int, end: int) -> str:
    """Bases [start, end) of the reference after the record's first allele, as the gene is read."""
    before = genome.tokens(record.contig, start, record.start)
    after = genome.tokens(record.contig, record.start + len(record.ref), end)
    tokens = np.concatenate([before, encode(record.alts[0]), after])
    return decode(tokens if transcript.strand == "+" else reverse_complement(tokens))


def test_a_seed_gives_the_same_bytes_and_another_seed_others(files: SimulatedGenome, tmp_path: Path) -> None:
    again, other = simulate(tmp_path / "again"), simulate(tmp_path / "new" / "other", seed=2)
    for name in ("genome", "genes", "variants"):
        bytes_once = getattr(files, name).read_bytes()
        assert getattr(again, name).read_bytes() == bytes_once
        assert getattr(other, name).read_bytes() != bytes_once
        assert b"simulated by basecast, seed 1: not from any organism" in bytes_once
        assert b"seed 2" in getattr(other, name).read_bytes()


@pytest.mark.parametrize("seed", range(2, 12))
def test_every_seed_gives_genes_that_fit_their_genome(seed: int, tmp_path: Path) -> None:
    files = simulate(tmp_path, seed=seed)
    genome = Genome(files.genome)
    annotation = Annotation.read(files.genes).on(genome)
    assert_genes(genome, annotation)
    with VariantReader(files.variants) as reader:
        assert_references(genome, list(reader))


def test_two_contigs_of_about_sixty_kilobases(genome: Genome) -> None:
    assert list(genome.lengths) == ["sim1", "sim2"]
    assert all(45_000 < length < 80_000 for length in genome.lengths.values())


def test_twelve_canonical_coding_genes_on_both_strands(annotation: Annotation) -> None:
    assert len(annotation.transcripts) == 12
    assert annotation.left_out == {}
    for contig in ("sim1", "sim2"):
        assert Counter(t.strand for t in annotation.transcripts if t.contig == contig) == {"+": 3, "-": 3}
    assert {t.biotype for t in annotation.transcripts} == {"protein_coding"}
    assert all("Ensembl_canonical" in t.tags for t in annotation.transcripts)
    assert [t.gene_name for t in annotation.transcripts] == [f"SIM{i}" for i in range(1, 13)]


def test_exons_introns_and_the_space_between_genes_have_their_sizes(annotation: Annotation) -> None:
    transcripts = annotation.transcripts
    exons = np.array([end - start for t in transcripts for start, end in t.exons])
    introns = np.array([end - start for t in transcripts for start, end in t.introns])
    assert exons.min() >= 80
    assert exons.max() <= 250
    assert introns.min() >= 150
    assert introns.max() <= 3100
    for left, right in itertools.pairwise(transcripts):
        assert left.contig != right.contig or right.start - left.end >= 2500


def test_every_intron_is_gt_ag_and_every_frame_is_open(genome: Genome, annotation: Annotation) -> None:
    assert_genes(genome, annotation)


def assert_genes(genome: Genome, annotation: Annotation) -> None:
    for t in annotation.transcripts:
        for start, end in t.introns:
            intron = as_read(genome, t, start, end)
            assert (intron[:2], intron[-2:]) == ("GT", "AG")
        message = "".join(as_read(genome, t, start, end) for start, end in t.exons[:: 1 if t.strand == "+" else -1])
        starts = [i for i in range(len(message) - 2) if message[i : i + 3] == "ATG"]
        frames = {i: [message[j : j + 3] for j in range(i, i + t.cds_length + 3, 3)] for i in starts}
        assert any(codons[-1] in STOPS and not STOPS & set(codons[:-1]) for codons in frames.values())


def test_rows_of_the_gtf_agree_with_one_another(files: SimulatedGenome) -> None:
    rows = [line.split("\t") for line in files.genes.read_text().splitlines() if not line.startswith("#")]
    assert {row[2] for row in rows} == {"gene", "transcript", "exon", "CDS"}
    for gene in (row for row in rows if row[2] == "gene"):
        name = gene[8].split(";")[0]
        coding = [row for row in rows if row[2] == "CDS" and row[8].startswith(f"{name};")]
        done = 0
        for _, _, _, first, last, _, _, frame, _ in coding:
            assert int(frame) == -done % 3
            done += int(last) - int(first) + 1
        assert done % 3 == 0


def test_every_reference_allele_is_the_genomes(genome: Genome, records: list[VariantRecord]) -> None:
    assert_references(genome, records)
    assert records == sorted(records, key=lambda record: (record.contig, record.start))


def assert_references(genome: Genome, records: list[VariantRecord]) -> None:
    for record in records:
        assert decode(genome.tokens(record.contig, record.start, record.start + len(record.ref))) == record.ref
        assert record.ref not in record.alts


def test_each_kind_of_record_is_there(records: list[VariantRecord]) -> None:
    assert Counter(info(record)["SIM"] for record in records) == KINDS
    assert sum(len(record.alts) == 2 for record in records) == 1
    assert [record.alts for record in records if info(record).get("SVTYPE") == "DEL"] == [("<DEL>",)]


def test_records_do_to_their_genes_what_they_say(
    genome: Genome, annotation: Annotation, records: list[VariantRecord]
) -> None:
    genes = {t.gene_name: t for t in annotation.transcripts}
    for record in records:
        kind, gene = info(record)["SIM"], genes.get(info(record).get("SIM_GENE", ""))
        if gene is None:
            assert kind == "between_genes"
            assert not annotation.overlapping(record.contig, record.start, record.start + 1)
            continue
        last = record.start + len(record.ref)
        distance = np.abs(np.concatenate([gene.donors, gene.acceptors]) - record.start).min()
        if "_loss" in kind:
            pairs = [
                (end - 2, end) if (gene.strand == "+") == kind.startswith("acceptor") else (start, start + 2)
                for start, end in gene.introns
            ]
            assert sum(record.start < end and start < last for start, end in pairs) == 1
        elif kind.endswith("_gain"):
            new = "GT" if kind.startswith("donor") else "AG"
            assert 40 <= distance <= 110
            assert new in altered(genome, gene, record, record.start - 1, last + 1)
            assert new not in as_read(genome, gene, record.start - 1, last + 1)
        elif kind.endswith("_control"):
            assert distance >= 29
            is_exonic = any(start <= record.start < end for start, end in gene.exons)
            assert is_exonic == (kind == "exonic_control")
