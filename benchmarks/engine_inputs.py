"""What the engine is timed on: variants of real genes, and stretches of genome; always the same ones."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from parity_openspliceai import MARGIN, Gene, Made, make_alleles, make_records

SHARES = {
    "deep snv": 0.2,
    "insertion": 0.125,
    "deep insertion": 0.1,
    "deletion": 0.125,
    "deep deletion": 0.1,
    "long deletion": 0.05,
}
"""Share of the scattered records; the rest are SNVs near an exon boundary."""
ALLELES = {"snv": 0.8, "insertion": 0.1, "deletion": 0.1}
MODERATE = (35_000, 60_000)  # bases of a gene of the panel
Genome = dict[str, str]


def scattered(genome: Genome, genes: Sequence[Gene], count: int) -> list[Made]:
    """Each in a gene of its own, both strands, near an exon boundary and far from it."""
    kinds = {kind: round(share * count) for kind, share in SHARES.items()}
    return make_records(genome, list(genes), {"snv": count - sum(kinds.values())} | kinds)


def along(choice: random.Random, genome: Genome, gene: Gene, spacing: int) -> list[Made]:
    """Records all along a gene, so many bases apart on average."""
    contig, _, boundaries = gene
    sequence, records = genome[contig], []
    pos, end = max(boundaries[0], MARGIN), min(boundaries[-1], len(sequence) - MARGIN)
    while (pos := pos + choice.randint(1, 2 * spacing - 1)) < end:
        kind = choice.choices(list(ALLELES), list(ALLELES.values()))[0]
        records.append((contig, pos, *make_alleles(choice, kind, sequence, pos), kind))
    return records


def panel(genome: Genome, genes: Sequence[Gene], count: int, spacing: int) -> list[Made]:
    """A dense panel: genes of moderate length, half of them on either strand."""
    choice = random.Random("basecast panel")
    moderate = [gene for gene in genes if MODERATE[0] < gene[2][-1] - gene[2][0] < MODERATE[1]]
    chosen = [
        gene
        for strand, n in (("+", count - count // 2), ("-", count // 2))
        for gene in choice.sample([gene for gene in moderate if gene[1] == strand], n)
    ]
    return sorted(record for gene in chosen for record in along(choice, genome, gene, spacing))


def saturated(genome: Genome, genes: Sequence[Gene], bases: int) -> tuple[str, list[Made]]:
    """A stretch (``contig:start-end``, 1-based) around an exon boundary of some gene, and every SNV of it."""
    choice = random.Random("basecast saturation")
    for contig, _, boundaries in choice.sample(list(genes), len(genes)):
        start = boundaries[len(boundaries) // 2] - bases // 2
        end, last = start + bases - 1, min(boundaries[-1], len(genome[contig]) - MARGIN)
        if max(boundaries[0], MARGIN) <= start and end <= last:
            snvs = [
                (contig, pos, ref, alt, "snv")
                for pos in range(start, end + 1)
                for ref in genome[contig][pos - 1]
                for alt in "ACGT"
                if alt != ref
            ]
            return f"{contig}:{start}-{end}", snvs
    sys.exit(f"no gene for a stretch of {bases} bases")


def growing(genome: Genome, genes: Sequence[Gene], largest: int) -> list[Made]:
    """Records all along all genes, gene by gene: the first so many are a smaller run of the same density."""
    choice = random.Random("basecast growth")
    shuffled = choice.sample(list(genes), len(genes))
    lengths = (min(g[2][-1], len(genome[g[0]]) - MARGIN) - max(g[2][0], MARGIN) for g in shuffled)
    spacing = int(sum(max(length, 0) for length in lengths) / (1.1 * largest + len(genes)))
    records = [record for gene in shuffled for record in along(choice, genome, gene, spacing)]
    if len(records) < largest:
        sys.exit(f"only {len(records)} of {largest} records")
    return records[:largest]


def sample(records: Sequence[Made], count: int) -> list[Made]:
    """About so many of the records, evenly chosen; those of one position stay together."""
    sites: dict[tuple[str, int], list[Made]] = {}
    for record in records:
        sites.setdefault(record[:2], []).append(record)
    per_site = len(records) / len(sites)
    n = max(min(round(count / per_site), len(sites)), 1)
    groups = list(sites.values())
    return [record for i in range(n) for record in groups[i * len(groups) // n]]


def write_genome(path: Path, genome: Genome, bases: int) -> Path:
    """A FASTA of the longest contigs, the last one cut, so many bases in all. No name begins with ``chr``."""
    lines = []
    for i, sequence in enumerate(sorted(genome.values(), key=len, reverse=True), 1):
        if bases > 0:
            lines.append(f">long_{i}\n{sequence[:bases]}\n")
            bases -= len(sequence)
    text = "".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path
