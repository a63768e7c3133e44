"""A contig, a gene table and a VCF made by formula: what the peers and Basecast both score in the golden tests.

The VCF and the table call the contig ``1``, the FASTA ``chr1``, as Illumina's published files do. numpy and the
standard library only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from formula import formula_uniform
from numpy.typing import NDArray

LENGTH = 25_000
# name, strand, (start, end) of each exon, 0-based half-open; PLUS and MINUS overlap, SHORT lies inside MINUS
GENES = (
    ("PLUS", "+", ((40, 900), (5_600, 5_750), (6_400, 6_530), (8_000, 8_190), (10_100, 10_260), (12_000, 12_400))),
    ("MINUS", "-", ((12_100, 12_500), (13_000, 13_120), (16_200, 16_330), (17_500, 17_700), (24_000, 24_980))),
    ("SHORT", "+", ((14_000, 14_200), (14_480, 14_560), (14_800, 15_000))),
)


def bases(name: str, size: int) -> str:
    return "".join("ACGT"[int(2 * (u + 1))] for u in formula_uniform(name, size))


def make_contig() -> str:
    """25 kb with a run of N, a single N, and a stretch in lower case."""
    sequence = bases("contig", LENGTH)
    sequence = sequence[:7_000] + "N" * 30 + sequence[7_030:7_500] + "N" + sequence[7_501:]
    return sequence[:9_000] + sequence[9_000:9_200].lower() + sequence[9_200:]


def probe(contig: str, context: int) -> str:
    """What a network is shown itself: 250 outputs about the run of N, and the context they need."""
    start = 6_900 - context // 2
    return contig[start : start + context + 250]


def one_hot(sequence: str) -> NDArray[np.float32]:
    """(4, length): A, C, G, T; anything else is zeros."""
    letters = np.frombuffer(sequence.upper().encode(), dtype=np.uint8)
    return (letters == np.frombuffer(b"ACGT", dtype=np.uint8)[:, None]).astype(np.float32)


def make_records(contig: str) -> list[tuple[int, str, str, str]]:
    """(position, 1-based; identifier; REF; ALT) of every kind of record that the rules treat in a way of its own."""

    def ref(pos: int, size: int = 1) -> str:
        return contig[pos - 1 : pos - 1 + size].upper()

    def other(pos: int, step: int = 1) -> str:
        return "ACGT"[("ACGT".index(ref(pos)) + step) % 4]

    def snv(pos: int, name: str) -> tuple[int, str, str, str]:
        return pos, name, ref(pos), other(pos)

    def insertion(pos: int, name: str, size: int) -> tuple[int, str, str, str]:
        return pos, name, ref(pos), ref(pos) + bases(name, size)

    def deletion(pos: int, name: str, size: int) -> tuple[int, str, str, str]:
        return pos, name, ref(pos, 1 + size), ref(pos)

    mixed = 6_440
    records = [
        snv(60, "near_start_for_all"),
        snv(4_900, "near_start_at_10000"),
        snv(5_750, "last_base_of_an_exon"),
        snv(5_753, "donor_region"),
        (6_401, "three_alleles", ref(6_401), ",".join(other(6_401, step) for step in (1, 2, 3))),
        (mixed, "mixed_alleles", ref(mixed, 3), f"{ref(mixed)},*,{ref(mixed, 3)}TT"),
        insertion(6_528, "insertion_of_one", 1),
        snv(6_990, "beside_n"),
        snv(7_490, "near_single_n"),
        deletion(7_995, "deletion_of_one", 1),
        insertion(8_186, "insertion_of_six", 6),
        snv(9_100, "lower_case"),
        deletion(10_098, "deletion_of_four", 4),
        deletion(10_240, "deletion_of_fifteen", 15),
        deletion(10_300, "deletion_of_thirty", 30),
        deletion(10_500, "deletion_of_eighty", 80),
        deletion(10_700, "deletion_of_120", 120),
        (11_000, "mnv", ref(11_000, 2), other(11_000) + other(11_001)),
        (11_100, "delins", ref(11_100, 3), other(11_100) + other(11_101)),
        (11_200, "ref_mismatch", other(11_200), ref(11_200)),
        (11_300, "alt_is_ref", ref(11_300), ref(11_300)),
        (11_400, "alt_n", ref(11_400), "N"),
        snv(12_300, "two_genes"),
        snv(13_000, "minus_exon_end"),
        insertion(13_121, "minus_insertion", 3),
        snv(14_481, "two_strands"),
        deletion(14_796, "two_strands_deletion", 7),
        deletion(16_195, "minus_deletion", 9),
        snv(17_705, "minus_intron"),
        snv(24_970, "near_end"),
        snv(24_990, "no_gene"),
    ]
    return sorted(records)


def write_scene(folder: Path) -> tuple[Path, Path, Path]:
    """Write ``genome.fa``, ``genes.tsv`` and ``in.vcf`` into ``folder``; returns their paths."""
    contig = make_contig()
    fasta, genes, vcf = folder / "genome.fa", folder / "genes.tsv", folder / "in.vcf"
    lines = [contig[i : i + 60] for i in range(0, LENGTH, 60)]
    fasta.write_text("\n".join([">chr1 made by formula", *lines]) + "\n")
    table = ["#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END"]
    for name, strand, exons in GENES:
        starts, ends = ("".join(f"{exon[side]}," for exon in exons) for side in (0, 1))
        table.append(f"{name}\t1\t{strand}\t{exons[0][0]}\t{exons[-1][1]}\t{starts}\t{ends}")
    genes.write_text("\n".join(table) + "\n")
    head = ["##fileformat=VCFv4.2", f"##contig=<ID=1,length={LENGTH}>", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    body = [f"1\t{pos}\t{name}\t{ref}\t{alt}\t.\t.\t." for pos, name, ref, alt in make_records(contig)]
    vcf.write_text("\n".join(head + body) + "\n")
    return fasta, genes, vcf
