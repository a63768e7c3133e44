"""A made-up genome with genes and variants whose effects are known, for the demo: no base of it is from any organism.

The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basecast.data.simulated_genes import SimulatedGene, background, simulated_gene
from basecast.data.simulated_variants import Contig, PlacedGene, SimulatedVariant, simulated_variants
from basecast.files import whole_file
from basecast.genome.sequence import decode, reverse_complement

_NOTE = "simulated by basecast, seed {seed}: not from any organism"
_CONTIGS = ("sim1", "sim2")
_GENES_A_CONTIG = 6
_LINE = 60
_BETWEEN_GENES = (2500, 5000)


@dataclass(frozen=True, slots=True)
class SimulatedGenome:
    """Where the files are.

    Attributes:
        genome: FASTA of two contigs.
        genes: GTF with gene, transcript, exon and CDS rows; one transcript a gene, tagged Ensembl_canonical.
        variants: VCF; INFO ``SIM`` says what each record was made to be.
        truth: the same, record by record.
    """

    genome: Path
    genes: Path
    variants: Path
    truth: tuple[str, ...]


def simulate(folder: Path, *, seed: int = 1) -> SimulatedGenome:
    """Write ``genome.fa``, ``genes.gtf`` and ``variants.vcf`` into ``folder``, which is made if it is missing.

    Two contigs of about 60 kb each hold twelve protein-coding genes of four to seven exons on both strands.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    contigs = [_contig(rng, name, number * _GENES_A_CONTIG) for number, name in enumerate(_CONTIGS)]
    variants = simulated_variants(rng, contigs)
    note = _NOTE.format(seed=seed)
    truth = tuple(variant.truth for variant in variants)
    files = SimulatedGenome(folder / "genome.fa", folder / "genes.gtf", folder / "variants.vcf", truth)
    folder.mkdir(parents=True, exist_ok=True)
    for path, lines in (
        (files.genome, _fasta(contigs, note)),
        (files.genes, _gtf(contigs, note)),
        (files.variants, _vcf(contigs, variants, note)),
    ):
        with whole_file(path) as partial:
            partial.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return files


def _contig(rng: np.random.Generator, name: str, n_before: int) -> Contig:
    """Genes in a row, each on either strand in turn, with space before, between and after."""
    parts = [background(rng, int(rng.integers(*_BETWEEN_GENES)))]
    genes: list[PlacedGene] = []
    for i in range(_GENES_A_CONTIG):
        gene = simulated_gene(rng)
        strand = "+-"[(i + n_before // _GENES_A_CONTIG) % 2]  # each kind of variant falls on both strands
        start = sum(part.size for part in parts)
        genes.append(PlacedGene(gene, f"SIM{n_before + i + 1}", name, start, strand))
        parts += [gene.sequence if strand == "+" else reverse_complement(gene.sequence)]
        parts += [background(rng, int(rng.integers(*_BETWEEN_GENES)))]
    return Contig(name, np.concatenate(parts), tuple(genes))


def _fasta(contigs: list[Contig], note: str) -> Iterator[str]:
    for contig in contigs:
        yield f">{contig.name} {note}"
        bases = decode(contig.tokens)
        yield from (bases[i : i + _LINE] for i in range(0, len(bases), _LINE))


def _gtf(contigs: list[Contig], note: str) -> Iterator[str]:
    yield f"#!{note}"
    for placed in (placed for contig in contigs for placed in contig.genes):
        number = int(placed.name.removeprefix("SIM"))
        gene_tags = f'gene_id "SIMG{number:05}"; gene_name "{placed.name}"; gene_biotype "protein_coding";'
        own_tags = f'transcript_id "SIMT{number:05}"; transcript_biotype "protein_coding"; tag "Ensembl_canonical";'
        tags = f"{gene_tags} {own_tags}"

        def row(feature: str, span: tuple[int, int], frame: str, attributes: str, placed: PlacedGene = placed) -> str:
            start, end = placed.on_contig(*span)
            fields = (placed.contig, "simulated", feature, start + 1, end, ".", placed.strand, frame, attributes)
            return "\t".join(map(str, fields))

        whole = (0, placed.gene.sequence.size)
        yield row("gene", whole, ".", gene_tags)
        yield row("transcript", whole, ".", tags)
        for i, exon in enumerate(placed.gene.exons, 1):
            yield row("exon", exon, ".", f'{tags} exon_number "{i}";')
        for span, frame in _coding_parts(placed.gene):
            yield row("CDS", span, str(frame), tags)


def _coding_parts(gene: SimulatedGene) -> Iterator[tuple[tuple[int, int], int]]:
    """Coding stretches of the exons, and how many bases of each finish the codon before (GTF "frame")."""
    done = 0
    for start, end in gene.exons:
        first, last = max(start, gene.coding[0]), min(end, gene.coding[1])
        if first < last:
            yield (first, last), -done % 3
            done += last - first


def _vcf(contigs: list[Contig], variants: list[SimulatedVariant], note: str) -> Iterator[str]:
    yield "##fileformat=VCFv4.2"
    yield f"##source={note}"
    yield from (f"##contig=<ID={contig.name},length={contig.tokens.size}>" for contig in contigs)
    yield '##INFO=<ID=SIM,Number=1,Type=String,Description="What the record was made to be (simulated truth)">'
    yield '##INFO=<ID=SIM_GENE,Number=1,Type=String,Description="Simulated gene that the record was made in">'
    yield '##INFO=<ID=SVTYPE,Number=1,Type=String,Description="Type of structural variant">'
    yield '##INFO=<ID=END,Number=1,Type=Integer,Description="Last base of the structural variant">'
    yield '##ALT=<ID=DEL,Description="Deletion">'
    yield "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    for number, v in enumerate(variants, 1):
        yield f"{v.contig}\t{v.start + 1}\tsim{number:02}\t{v.ref}\t{','.join(v.alts)}\t.\tPASS\t{v.info}"
