"""Small made-up genomes with genes, and what their labels are, base by base, without any of the code under test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Exons = Sequence[tuple[int, int]]
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


class Gene(NamedTuple):
    """Exons of each transcript, 0-based half-open."""

    name: str
    contig: str
    strand: str
    transcripts: Sequence[Exons]
    biotype: str = "protein_coding"

    @property
    def start(self) -> int:
        return min(start for exons in self.transcripts for start, _ in exons)

    @property
    def end(self) -> int:
        return max(end for exons in self.transcripts for _, end in exons)


class World(NamedTuple):
    """Files, the bases of each contig, and the genes."""

    genome: Path
    annotation: Path
    bases: dict[str, str]
    genes: list[Gene]


def regular(name: str, contig: str, strand: str, start: int, n: int = 3, exon: int = 90, intron: int = 60) -> Gene:
    """A gene of ``n`` exons."""
    exons = [(start + i * (exon + intron), start + i * (exon + intron) + exon) for i in range(n)]
    return Gene(name, contig, strand, [exons])


def reverse(bases: str) -> str:
    return "".join(PAIR[base] for base in reversed(bases))


def write_world(
    folder: Path,
    lengths: Mapping[str, int],
    genes: Iterable[Gene],
    *,
    seed: int = 0,
    copies: Iterable[tuple[Gene, Gene]] = (),
    shift: int = 0,
) -> World:
    """A genome whose introns are GT-AG, and its GFF3.

    Args:
        copies: pairs of genes; the second has the bases of the first.
        shift: added to the coordinates in the GFF3 alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng, genes = np.random.default_rng(seed), list(genes)
    contigs = {name: list("".join(rng.choice(list("ACGT"), length))) for name, length in lengths.items()}
    for gene in genes:
        for exons in gene.transcripts:
            for (_, start), (end, _) in itertools.pairwise(exons):
                left, right = ("GT", "AG") if gene.strand == "+" else ("CT", "AC")
                if max(start + 2, end) <= lengths.get(gene.contig, 0):
                    contigs[gene.contig][start : start + 2], contigs[gene.contig][end - 2 : end] = left, right
    for one, other in copies:
        text = "".join(contigs[one.contig][one.start : one.end])
        contigs[other.contig][other.start : other.end] = text if one.strand == other.strand else reverse(text)
    bases = {name: "".join(letters) for name, letters in contigs.items()}
    genome, annotation = folder / "genome.fa", folder / "genes.gff3"
    genome.write_text("".join(f">{name}\n{text}\n" for name, text in bases.items()))
    write_gff(annotation, genes, shift=shift)
    return World(genome, annotation, bases, genes)


def write_gff(path: Path, genes: Iterable[Gene], *, shift: int = 0) -> None:
    lines = ["##gff-version 3"]
    for gene in genes:

        def line(kind: str, start: int, end: int, attributes: str, gene: Gene = gene) -> str:
            where = f"{start + 1 + shift}\t{end + shift}\t.\t{gene.strand}\t."
            return f"{gene.contig}\tmade\t{kind}\t{where}\t{attributes};biotype={gene.biotype}"

        lines.append(line("gene", gene.start, gene.end, f"ID=gene:{gene.name};Name={gene.name}"))
        for i, exons in enumerate(gene.transcripts):
            name = f"{gene.name}.{i}"
            whole = (exons[0][0], exons[-1][1])
            lines.append(line("mRNA", *whole, f"ID=transcript:{name};Parent=gene:{gene.name}"))
            lines += [line("exon", *exon, f"Parent=transcript:{name}") for exon in exons]
    path.write_text("\n".join(lines) + "\n")


def sites(genes: Iterable[Gene]) -> dict[tuple[str, str, int], int]:
    """For each site, by contig, strand and 0-based position, its class: 1 acceptor, 2 donor."""
    found = {}
    for gene in genes:
        for exons in gene.transcripts:
            for (_, start), (end, _) in itertools.pairwise(exons):
                donor, acceptor = (start - 1, end) if gene.strand == "+" else (end, start - 1)
                found[gene.contig, gene.strand, donor] = 2
                found[gene.contig, gene.strand, acceptor] = 1
    return found
