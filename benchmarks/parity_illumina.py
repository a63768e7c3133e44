"""Basecast with Illumina's weights beside Illumina's published SpliceAI scores, field by field.

    python benchmarks/parity_illumina.py [--shared DIR] [--limit N] [--v24 FILE] [--device cuda]

OR4F5 (1,971 SNVs raw and masked, 271 indels raw, D = 50): every delta score is to equal the published one to 2
decimals, and every position where the score is 0.01 or more. CI-SpliceAI (1,004 variants, published with D = 4,999): a
field is compared where its published position lies within 50 bases and the contig ends 5,051 bases away or farther,
positions where the score is 0.05 or more; each field that is not equal is listed with its cause. ``--v24`` takes the
gene table of the published scores (``spliceai/annotations/grch38.txt`` of the spliceai 1.3.1 wheel): the fields that
differ are then scored again with its gene bounds, which shows whether the bounds are the cause. Ends with status 1
below the marks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from delta_fields import SITES, Delta, Record, plain_copy, read_records, read_text, shared_data
from running import run_basecast

KEY = "Basecast"
DISTANCE = 50
CONTEXT = 5_000
Key = tuple[str, int, str, str]  # a record: contig, position, REF, ALT
Bounds = tuple[str, int, int]  # gene, first and last base (1-based, on the contig)


@dataclass(frozen=True)
class Field:
    """One delta score and its position, there and here."""

    record: Record
    gene: str
    site: str
    score: tuple[float, float]
    offset: tuple[int, int]

    @property
    def score_equal(self) -> bool:
        return f"{self.score[0]:.2f}" == f"{self.score[1]:.2f}".replace("-0.00", "0.00")

    def offset_equal(self, least: float) -> bool:
        return self.offset[0] == self.offset[1] or self.score[0] < least

    def __str__(self) -> str:
        there, here = (f"{score:.4g} at {at:+d}" for score, at in zip(self.score, self.offset, strict=True))
        return f"{self.record.name} {self.gene} {self.site}: published {there}, Basecast {here}"


@dataclass
class Comparison:
    fields: list[Field]
    missing: list[tuple[Record, Delta]]  # published, and without a counterpart here

    def row(self, name: str, least: float) -> str:
        equal = sum(field.score_equal for field in self.fields)
        counted = [field for field in self.fields if field.score[0] >= least]
        offsets = sum(field.offset_equal(least) for field in counted)
        share = equal / len(self.fields) if self.fields else 0.0
        return (
            f"| {name} | {len(self.fields)} | {equal} ({share:.2%}) | {offsets}/{len(counted)} | {len(self.missing)} |"
        )

    def unequal(self, least: float) -> list[Field]:
        return [field for field in self.fields if not (field.score_equal and field.offset_equal(least))]


def compare(published: list[Record], ours: list[Record], key: str, within: int | None = None) -> Comparison:
    """Match each record's entries by allele and gene; where both sides have one entry, whatever the gene is called."""
    result = Comparison([], [])
    for theirs, mine in zip(published, ours, strict=True):
        if theirs.key != mine.key:
            sys.exit(f"the output is out of step with the input: {theirs.name} and {mine.name}")
        wanted, got = theirs.deltas("SpliceAI"), mine.deltas(key)
        by_gene = {(d.allele, d.gene): d for d in got}
        for want in wanted:
            found = by_gene.get((want.allele, want.gene))
            if found is None and len(wanted) == len(got) == 1:
                found = got[0]
            if want.scores is None or want.offsets is None:
                continue
            if found is None or found.scores is None or found.offsets is None:
                result.missing.append((theirs, want))
                continue
            for i, site in enumerate(SITES):
                if within is None or abs(want.offsets[i]) <= within:
                    scores, offsets = (want.scores[i], found.scores[i]), (want.offsets[i], found.offsets[i])
                    result.fields.append(Field(theirs, want.gene, site, scores, offsets))
    return result


def subset(source: Path, folder: Path, limit: int | None, keep: set[Key] | None = None) -> Path:
    """The VCF in plain text: ``limit`` evenly spread records, or those of ``keep``."""
    lines = read_text(source).splitlines()
    head = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    if keep is not None:
        keys = (line.split("\t")[:5] for line in body)
        body = [
            line
            for line, (contig, pos, _, ref, alts) in zip(body, keys, strict=True)
            if (contig, int(pos), ref, alts) in keep
        ]
    if limit is not None and len(body) > limit:
        body = [body[i * len(body) // limit] for i in range(limit)]
    path = folder / source.name.removesuffix(".gz")
    path.write_text("\n".join(head + body) + "\n")
    return path


def score(vcf: Path, fasta: Path, genes: Path, weights: Path, device: str, *more: str) -> list[Record]:
    out = vcf.with_suffix(".scored.vcf")
    run_basecast(
        *("variant", "-I", vcf, "-O", out, "-R", fasta, "-A", genes, "-D", DISTANCE, "-M", "both"),
        *("--rules", "spliceai", "--model", weights, "--decimals", "8", "--info-key", KEY, "--device", device),
        *more,
    )
    return list(read_records(out))


def read_bounds(table: Path) -> dict[str, list[Bounds]]:
    """Gene bounds by contig of a SpliceAI gene table."""
    bounds: dict[str, list[Bounds]] = {}
    for line in table.read_text().splitlines()[1:]:
        name, contig, _, start, end = line.split("\t")[:5]
        bounds.setdefault(contig, []).append((name, int(start) + 1, int(end)))
    return bounds


def move_to_region(table: Path, contigs: set[str], out: Path) -> dict[str, list[Bounds]]:
    """Write the genes of a genome-wide table that overlap ``chrom_start_end`` contigs, in the contigs' coordinates."""
    lines = table.read_text().splitlines()
    moved = [lines[0]]
    for contig in sorted(contigs):
        chromosome, first, last = contig.rsplit("_", 2)
        origin, size = int(first) - 1, int(last) - int(first) + 1
        for line in lines[1:]:
            name, chrom, strand, start, end, *exons = line.split("\t")
            if f"chr{chrom}" != chromosome or int(end) <= origin or int(start) >= int(last):
                continue
            sides = [[int(x) - origin for x in column.split(",") if x] for column in exons]
            kept = [(max(s, 0), min(e, size)) for s, e in zip(*sides, strict=True) if e > 0 and s < size]
            bounds = (max(int(start) - origin, 0), min(int(end) - origin, size))
            kept = kept or [bounds]
            columns = ["".join(f"{exon[side]}," for exon in kept) for side in (0, 1)]
            moved.append("\t".join([name, contig, strand, *map(str, bounds), *columns]))
    out.write_text("\n".join(moved) + "\n")
    return read_bounds(out)


def seen_part(bounds: Bounds, pos: int) -> tuple[int, int]:
    """The stretch of a gene that a score about ``pos`` can see; outside of it the model is shown N."""
    return max(bounds[1], pos - CONTEXT - DISTANCE), min(bounds[2], pos + CONTEXT + DISTANCE)


def cause(field: Field, genes: dict[str, list[Bounds]], v24: dict[str, list[Bounds]], again: Field | None) -> str:
    """Why a field is not equal, as far as the program can tell."""
    record, (there, here) = field.record, field.score
    if again is not None and again.score_equal and again.offset_equal(0.05):
        return "gene bounds: equal when scored with those of GENCODE V24"
    if abs(there - here) <= 0.0052 and field.offset_equal(0.05):
        return "rounding: the published second decimal is within 0.0002 of ours"
    if len(record.ref) > DISTANCE + 1:
        return "a deletion longer than D is out of line under SpliceAI's rules, and they differ with D"
    mine = [b for b in genes.get(record.contig, []) if b[0] == field.gene]
    theirs = [b for b in v24.get(record.contig, []) if b[0] == field.gene]
    if v24 and not theirs:
        return f"{field.gene} is not in the GENCODE V24 table given"
    if v24 and mine and not {seen_part(b, record.pos) for b in theirs} & {seen_part(b, record.pos) for b in mine}:
        return "gene bounds differ from GENCODE V24 within the context, yet V24's do not give the published score"
    near = [min(record.pos - first, last - record.pos) for _, first, last in mine]
    if not v24 and near and min(near) < CONTEXT + DISTANCE:
        return (
            f"the gene ends {min(near)} bases away, within the context: bounds may differ from GENCODE V24 (pass --v24)"
        )
    if field.score_equal:
        return "position only: another site with the same score to 2 decimals"
    return "unknown"


def missing_cause(record: Record, want: Delta, genes: dict[str, list[Bounds]]) -> str:
    names = [name for name, first, last in genes.get(record.contig, []) if first <= record.pos <= last]
    return f"{want.gene} is a neighbour gene, not in the table of curated genes ({', '.join(names) or 'none'} there)"


def or4f5(data: Path, work: Path, options: argparse.Namespace, rows: list[str]) -> list[str]:
    human = data / "human"
    variants, weights = human / "variants", data / "weights" / "spliceai-illumina"
    fasta, genes = human / "hg38_chr1_1_1000000.fa.gz", human / "chr1_1Mb.genes.tsv"
    sources = {name: variants / f"or4f5.spliceai.{name}.hg38.vcf.gz" for name in ("raw.snv", "masked.snv", "raw.indel")}
    vcfs = {name: subset(source, work, options.limit) for name, source in sources.items()}
    # --force: the FASTA is the first megabase of the contig whose whole length the published header declares
    snv, indel = (
        score(vcfs[name], fasta, genes, weights, options.device, "--force") for name in ("raw.snv", "raw.indel")
    )
    failures = []
    for name, ours, key in (
        ("raw.snv", snv, KEY),
        ("masked.snv", snv, f"{KEY}_masked"),
        ("raw.indel", indel, KEY),
    ):
        found = compare(list(read_records(vcfs[name])), ours, key)
        rows.append(found.row(f"OR4F5 {name}", 0.01))
        failures += [f"OR4F5 {name} {field}" for field in found.unequal(0.01)]
        failures += [f"OR4F5 {name} {record.name} {want.gene}: no score here" for record, want in found.missing]
    return failures


def ci_spliceai(data: Path, work: Path, options: argparse.Namespace, rows: list[str]) -> list[str]:
    human = data / "human"
    table, weights = human / "GRCh38_regions.genes.tsv", data / "weights" / "spliceai-illumina"
    fasta = plain_copy(human / "GRCh38_regions.fa.gz", work)
    source = human / "variants" / "ci_spliceai.on_regions.vcf.gz"
    vcf = subset(source, work, options.limit)
    ours = score(vcf, fasta, table, weights, options.device)
    inner = [int(record.info["FLANK"]) >= CONTEXT + DISTANCE + 1 for record in read_records(vcf)]

    def of_inner(published: list[Record], scored: list[Record]) -> Comparison:
        kept = [pair for pair, use in zip(zip(published, scored, strict=True), inner, strict=True) if use]
        return compare([a for a, _ in kept], [b for _, b in kept], KEY, DISTANCE)

    found = of_inner(list(read_records(vcf)), ours)
    rows.append(found.row("CI-SpliceAI", 0.05))
    unequal, genes = found.unequal(0.05), read_bounds(table)
    v24: dict[str, list[Bounds]] = {}
    again: dict[tuple[Key, str, str], Field] = {}
    if options.v24 and unequal:
        folder = work / "v24"
        folder.mkdir(exist_ok=True)
        moved = folder / "genes.tsv"
        v24 = move_to_region(options.v24, {field.record.contig for field in unequal}, moved)
        part = subset(vcf, folder, None, {field.record.key for field in unequal})
        rescored = compare(list(read_records(part)), score(part, fasta, moved, weights, options.device), KEY, DISTANCE)
        again = {(field.record.key, field.gene, field.site): field for field in rescored.fields}
    causes = [(cause(f, genes, v24, again.get((f.record.key, f.gene, f.site))), str(f)) for f in unequal]
    causes += [(missing_cause(record, want, genes), record.name) for record, want in found.missing]
    print("\nCI-SpliceAI, each field that is not equal, and its cause:")
    print("\n".join(f"{text}: {why}" for why, text in sorted(causes)))
    print("\ncauses:", *(f"{n} x {why}" for why, n in Counter(why for why, _ in causes).most_common()), sep="\n  ")
    equal = sum(field.score_equal for field in found.fields)
    return [] if equal >= 0.97 * len(found.fields) else ["CI-SpliceAI: fewer than 97 % of the fields are equal"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--work", type=Path, default=Path("parity-work/illumina"), help="where files are kept")
    parser.add_argument("--limit", type=int, help="so many records of each set, for a quick look")
    parser.add_argument("--v24", type=Path, help="gene table of the published scores (grch38.txt of spliceai 1.3.1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["or4f5", "ci"], help="one of the two sets")
    options = parser.parse_args()
    data, work = shared_data(options.shared), options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows = [
        "| set | fields | equal to 2 decimals | DP equal, where scored | entries missing here |",
        "|---|---|---|---|---|",
    ]
    failures = [] if options.only == "ci" else or4f5(data, work, options, rows)
    failures += [] if options.only == "or4f5" else ci_spliceai(data, work, options, rows)
    print("", *rows, "", *failures, sep="\n")
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
