"""Made-up bases with two genes, one on each strand, and variants at their splice sites: what test vectors are made of.

The signals are those that animals and plants share: donor CAG|GTAAGT, branch point, pyrimidines, acceptor CAG|G.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from basecast.genome.sequence import Tokens, decode, encode, reverse_complement, unknown
from basecast.zoo.vectors import BASES, CONTIG, GENES, VARIANTS

_DONOR, _ACCEPTOR = "GTAAGT", "TACTAACTTTTTCTTTTTCCTTTCTTGCAG"
_EXONS, _INTRON, _SPACE = (110, 137, 124), 190, 40
_INTRONIC, _EXONIC = (0.30, 0.16, 0.16, 0.38), (0.26, 0.25, 0.28, 0.21)  # of A, C, G, T
_LINE = 60


@dataclass(frozen=True, eq=False)
class MadeUpGene:
    """A gene on the contig from ``start`` on; ``exons`` count from the first base that is read."""

    name: str
    start: int
    strand: str
    bases: Tokens
    exons: tuple[tuple[int, int], ...]

    def on_contig(self, first: int, last: int) -> tuple[int, int]:
        """[first, last) of the gene as it is read, on the contig."""
        if self.strand == "+":
            return self.start + first, self.start + last
        return self.start + self.bases.size - last, self.start + self.bases.size - first


@dataclass(frozen=True, eq=False)
class Scene:
    """Bases of one contig; its genes lie in [start, end)."""

    bases: Tokens
    start: int
    end: int
    genes: tuple[MadeUpGene, ...]

    def files(self) -> dict[str, str]:
        """FASTA, BED12 and VCF, by their names in a package."""
        text = decode(self.bases)
        fasta = [f">{CONTIG}", *(text[i : i + _LINE] for i in range(0, len(text), _LINE))]
        vcf = ["##fileformat=VCFv4.2", f"##contig=<ID={CONTIG},length={len(text)}>"]
        vcf += ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
        records = sorted(record for gene in self.genes for record in self._records(gene))
        vcf += [f"{CONTIG}\t{start + 1}\t.\t{ref}\t{alts}\t.\t.\t." for start, ref, alts in records]
        files = {BASES: fasta, GENES: map(_bed, self.genes), VARIANTS: vcf}
        return {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}

    def _records(self, gene: MadeUpGene) -> Iterator[tuple[int, str, str]]:
        """Start, REF and ALT: two alleles and a new donor in one gene, several bases at once in the other."""
        (_, first_donor), (acceptor, donor), (last_acceptor, _) = gene.exons
        if gene.strand == "+":
            yield self._record(gene, donor, donor + 1, "A", "T")
            middle = (acceptor + donor) // 2
            yield self._record(gene, middle, middle, "CAGGTAAGT")
        else:
            yield self._record(gene, first_donor, first_donor + 2, "CA")
            yield self._record(gene, acceptor - 2, acceptor + 1, "")
            yield self._record(gene, last_acceptor - 1, last_acceptor - 1, "C")

    def _record(self, gene: MadeUpGene, first: int, last: int, *alts: str) -> tuple[int, str, str]:
        """``alts`` in place of [first, last) of the gene as it is read."""
        start, end = gene.on_contig(first, last)
        if gene.strand == "-":
            alts = tuple(decode(reverse_complement(encode(alt))) for alt in alts)
        if start == end or "" in alts:  # VCF writes the base before
            start -= 1
            alts = tuple(decode(self.bases[start : start + 1]) + alt for alt in alts)
        return start, decode(self.bases[start:end]), ",".join(alts)


def made_up(seed: int, before: int, after: int) -> Scene:
    """A scene with ``before`` and ``after`` bases beside its genes; the same seed gives the same bases."""
    rng = np.random.Generator(np.random.PCG64(seed))
    plus, exons = _gene(rng)
    minus, _ = _gene(rng)
    space = np.concatenate([_draw(rng, _INTRONIC, _SPACE), unknown(_SPACE // 2)])
    parts = [_draw(rng, _INTRONIC, before), plus, space, reverse_complement(minus), _draw(rng, _INTRONIC, after)]
    start, end = before, before + plus.size + space.size + minus.size
    genes = (
        MadeUpGene("PLUS", start, "+", plus, exons),
        MadeUpGene("MINUS", end - minus.size, "-", minus, exons),
    )
    return Scene(np.concatenate(parts), start, end, genes)


def _gene(rng: np.random.Generator) -> tuple[Tokens, tuple[tuple[int, int], ...]]:
    """Three exons; N at a place in the first intron."""
    parts: list[Tokens] = []
    exons = []
    for i, length in enumerate(_EXONS):
        exon = _draw(rng, _EXONIC, length)
        if i:
            exon[:1] = encode("G")
            intron = _draw(rng, _INTRONIC, _INTRON)
            intron[: len(_DONOR)], intron[-len(_ACCEPTOR) :] = encode(_DONOR), encode(_ACCEPTOR)
            if i == 1:
                intron[60:67] = unknown(7)
            parts.append(intron)
        if i < len(_EXONS) - 1:
            exon[-3:] = encode("CAG")
        start = sum(part.size for part in parts)
        exons.append((start, start + length))
        parts.append(exon)
    return np.concatenate(parts), tuple(exons)


def _draw(rng: np.random.Generator, shares: tuple[float, ...], length: int) -> Tokens:
    return rng.choice(4, size=length, p=shares).astype(np.uint8)


def _bed(gene: MadeUpGene) -> str:
    exons = sorted(gene.on_contig(*exon) for exon in gene.exons)
    start, end = exons[0][0], exons[-1][1]
    sizes, starts = ",".join(str(b - a) for a, b in exons), ",".join(str(a - start) for a, _ in exons)
    fields = (CONTIG, start, end, gene.name, 0, gene.strand, start, end, 0, len(exons), sizes, starts)
    return "\t".join(map(str, fields))
