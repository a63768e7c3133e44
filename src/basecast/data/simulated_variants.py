"""Made-up variants in made-up genes: what each one does is known, because it was made to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from basecast.data.simulated_genes import SimulatedGene
from basecast.genome.sequence import Tokens, decode, encode, reverse_complement

_FROM_SITE = 30  # bases between a control and the nearest splice site, at least


@dataclass(frozen=True, eq=False)
class PlacedGene:
    """A gene on a contig; ``start`` is the first base of its stretch there, whatever the strand."""

    gene: SimulatedGene
    name: str
    contig: str
    start: int
    strand: str

    def on_contig(self, start: int, end: int) -> tuple[int, int]:
        """The stretch [start, end) of the gene, as it is read, on the contig."""
        if self.strand == "+":
            return self.start + start, self.start + end
        last = self.start + self.gene.sequence.size
        return last - end, last - start


@dataclass(frozen=True, eq=False)
class Contig:
    """Bases of a contig, shape (length,), and its genes in order."""

    name: str
    tokens: Tokens
    genes: tuple[PlacedGene, ...]


@dataclass(frozen=True, slots=True)
class SimulatedVariant:
    """A record of the VCF; ``start`` is 0-based."""

    contig: str
    start: int
    ref: str
    alts: tuple[str, ...]
    info: str

    @property
    def truth(self) -> str:
        """What the record was made to be."""
        return self.info.removeprefix("SIM=").split(";")[0]


def simulated_variants(rng: np.random.Generator, contigs: Sequence[Contig]) -> list[SimulatedVariant]:
    """About forty records, in the order of the contigs: lost and new sites, controls, and one of each other kind."""
    variants = [
        variant
        for contig in contigs
        for number, placed in enumerate(contig.genes)
        for variant in _of_gene(rng, contig, placed, is_even=number % 2 == 0)
    ]
    variants += _other_kinds(contigs[0])
    order = {contig.name: i for i, contig in enumerate(contigs)}
    return sorted(variants, key=lambda variant: (order[variant.contig], variant.start, variant.ref, variant.alts))


def _of_gene(
    rng: np.random.Generator, contig: Contig, placed: PlacedGene, *, is_even: bool
) -> Iterator[SimulatedVariant]:
    """A lost and a new site, one a donor and one an acceptor, and a control, in an exon or deep in an intron."""
    gene = placed.gene
    donor, acceptor = gene.introns[int(rng.integers(len(gene.introns) - 1))]
    if is_even:
        yield _edit(contig, placed, donor, donor + 1, ["A"], "donor_loss")
        yield _edit(contig, placed, gene.latent_acceptor, gene.latent_acceptor + 1, ["G"], "acceptor_gain")
        thirds = _third_bases(gene)
        pyrimidines = thirds[np.isin(gene.sequence[thirds], encode("CT"))]  # NNC and NNT mean the same, whatever NN is
        at = int(rng.choice(pyrimidines))
        other = "T" if gene.sequence[at] == encode("C")[0] else "C"
        yield _edit(contig, placed, at, at + 1, [other], "exonic_control")
    else:
        yield _edit(contig, placed, acceptor - 1, acceptor, ["A"], "acceptor_loss")
        yield _edit(contig, placed, gene.latent_donor, gene.latent_donor + 1, ["T"], "donor_gain")
        start, end = max(gene.introns, key=lambda intron: intron[1] - intron[0])
        at = (start + end) // 2
        at += int(np.flatnonzero(gene.sequence[at:end] != encode("C")[0])[0])
        yield _edit(contig, placed, at, at + 1, ["C"], "intronic_control")  # C makes neither GT nor AG


def _other_kinds(contig: Contig) -> Iterator[SimulatedVariant]:
    """An insertion, a deletion, two bases at once, two alleles, one between genes, and one that has no score."""
    insertion, deletion, both, two, symbolic = contig.genes[:5]
    donor = insertion.gene.introns[-1][0]
    yield _edit(contig, insertion, donor + 1, donor + 1, ["AC"], "donor_loss_insertion")
    acceptor = deletion.gene.introns[-1][1]
    yield _edit(contig, deletion, acceptor - 4, acceptor + 1, [""], "acceptor_loss_deletion")
    donor = both.gene.introns[-1][0]
    yield _edit(contig, both, donor, donor + 2, ["CA"], "donor_loss_mnv")
    donor = two.gene.introns[-1][0]
    yield _edit(contig, two, donor, donor + 1, ["A", "C"], "donor_loss_two_alleles")
    at = contig.genes[0].start // 2
    ref = decode(contig.tokens[at : at + 1])
    yield SimulatedVariant(contig.name, at, ref, ("A" if ref != "A" else "G",), "SIM=between_genes")
    start, end = symbolic.on_contig(*symbolic.gene.exons[1])
    info = f"SIM=exon_deletion_symbolic;SIM_GENE={symbolic.name};SVTYPE=DEL;END={end}"
    yield SimulatedVariant(contig.name, start - 1, decode(contig.tokens[start - 1 : start]), ("<DEL>",), info)


def _third_bases(gene: SimulatedGene) -> NDArray[np.int64]:
    """Positions of the third base of each codon that are not near a splice site."""
    exonic = np.concatenate([np.arange(start, end) for start, end in gene.exons])
    coding = exonic[(exonic >= gene.coding[0]) & (exonic < gene.coding[1])]
    sites = np.array(gene.introns).ravel()
    thirds: NDArray[np.int64] = coding[2::3]
    return thirds[np.abs(thirds[:, None] - sites).min(axis=1) >= _FROM_SITE]


def _edit(contig: Contig, placed: PlacedGene, start: int, end: int, alts: Sequence[str], kind: str) -> SimulatedVariant:
    """The record that puts ``alts`` in place of [start, end) of the gene as it is read."""
    left, right = placed.on_contig(start, end)
    letters = [encode(alt) for alt in alts]
    if placed.strand == "-":
        letters = [reverse_complement(alt) for alt in letters]
    texts = [decode(alt) for alt in letters]
    if left == right or "" in texts:  # VCF writes the base before an insertion or deletion
        left -= 1
        before = decode(contig.tokens[left : left + 1])
        texts = [before + text for text in texts]
    ref = decode(contig.tokens[left:right])
    return SimulatedVariant(contig.name, left, ref, tuple(texts), f"SIM={kind};SIM_GENE={placed.name}")
