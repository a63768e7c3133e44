"""Basecast beside OpenSpliceAI 0.0.7 on 60 varied records of real genes, with the same MANE weights.

    python benchmarks/parity_openspliceai.py [--shared DIR] [--peer-python PATH] [--work DIR]

Runs ``openspliceai variant`` (its single-record path, 6 decimals) and ``basecast variant --rules spliceai`` at D = 50
and 500, raw and masked; ends with status 1 where a delta score differs by more than 5e-4 or a scored field is missing
on one side. The peer runs in an environment of its own, made under ``--work`` unless ``--peer-python`` names one; its
output is kept there, since it takes minutes on a CPU.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from delta_fields import by_allele, compare_deltas, plain_copy, read_records, shared_data
from running import PEER, make_peer, run_basecast, run_openspliceai

LIMIT = 5e-4
Gene = tuple[str, str, list[int]]  # contig, strand, exon boundaries (1-based)
Made = tuple[str, int, str, str, str]  # contig, position, REF, ALT, kind
DISTANCES = (50, 500)
MARGIN = 5_000 + 500 + 80  # bases a scorable record keeps from either contig end
# kind: how many; at a position near an exon boundary, or far from it where the kind is deep
KINDS = {"snv": 24, "deep snv": 8, "insertion": 12, "deletion": 12, "long deletion": 4}
UNSCORED = {"mnv": 1, "near end": 2, "ref mismatch": 1}


def read_fasta(path: Path) -> dict[str, str]:
    contigs = (block.partition("\n") for block in path.read_text().split(">")[1:])
    return {header.split()[0]: sequence.replace("\n", "").upper() for header, _, sequence in contigs}


def read_genes(path: Path) -> list[Gene]:
    """Contig, strand and exon boundaries (1-based) of the genes with three exons or more."""
    genes = []
    for line in path.read_text().splitlines()[1:]:
        _, contig, strand, _, _, starts, ends = line.split("\t")
        starts_, ends_ = ([int(x) for x in column.split(",") if x] for column in (starts, ends))
        if len(starts_) >= 3:
            genes.append((contig, strand, sorted([*(s + 1 for s in starts_), *ends_])))
    return genes


def other_base(choice: random.Random, base: str) -> str:
    return choice.choice([b for b in "ACGT" if b != base])


def make_alleles(choice: random.Random, kind: str, sequence: str, pos: int) -> tuple[str, str]:
    kind, base = kind.removeprefix("deep "), sequence[pos - 1]
    if kind == "insertion":
        return base, base + "".join(choice.choices("ACGT", k=choice.randint(1, 9)))
    if kind in ("deletion", "long deletion"):
        size = choice.randint(1, 12) if kind == "deletion" else choice.randint(25, 50)
        return sequence[pos - 1 : pos + size], base
    if kind == "mnv":
        return sequence[pos - 1 : pos + 1], "".join(other_base(choice, b) for b in sequence[pos - 1 : pos + 1])
    if kind == "ref mismatch":
        return other_base(choice, base), base
    return base, other_base(choice, base)


def make_records(genome: dict[str, str], genes: list[Gene], kinds: Mapping[str, int]) -> list[Made]:
    """Contig, position, REF, ALT and kind of each record: both strands in turn, a gene of its own for each."""
    choice = random.Random("basecast parity")
    choice.shuffle(genes)
    by_strand = {strand: iter([g for g in genes if g[1] == strand]) for strand in "+-"}
    records = []
    for i, kind in enumerate(kind for kind, n in kinds.items() for _ in range(n)):
        for contig, _, boundaries in by_strand["+-"[i % 2]]:
            sequence = genome[contig]
            inner = [b for b in boundaries[1:-1] if MARGIN < b < len(sequence) - MARGIN]
            if not inner:
                continue
            shift = (
                choice.choice([-1, 1]) * choice.randint(60, 400) if kind.startswith("deep ") else choice.randint(-8, 8)
            )
            pos = boundaries[0] + 3 if kind == "near end" else choice.choice(inner) + shift
            records.append((contig, pos, *make_alleles(choice, kind, sequence, pos), kind.replace(" ", "_")))
            break
    if len(records) < sum(kinds.values()):
        sys.exit(f"only {len(records)} genes for {sum(kinds.values())} records")
    return sorted(records)


def write_vcf(path: Path, genome: dict[str, str], records: list[Made]) -> None:
    contigs = sorted({record[0] for record in records})
    lines = ["##fileformat=VCFv4.2", *(f"##contig=<ID={c},length={len(genome[c])}>" for c in contigs)]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    lines += [f"{c}\t{pos}\t{kind}\t{ref}\t{alt}\t.\t.\t." for c, pos, ref, alt, kind in records]
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        for stale in path.parent.glob("peer.*.vcf"):
            stale.unlink()


def run_peer(python: Path, vcf: Path, fasta: Path, genes: Path, model: Path, distance: int, mask: int) -> Path:
    done = vcf.parent / f"peer.D{distance}.M{mask}.vcf"
    if not done.exists():
        partial = done.with_suffix(".part.vcf")
        ran = run_openspliceai(
            *(python, "variant", "-R", fasta, "-A", genes, "-I", vcf, "-O", partial, "-D", distance, "-M", mask),
            *("-m", model, "-f", 10000, "-t", "pytorch", "-p", 6, "-b", 1),
            log=vcf.parent / f"peer.D{distance}.M{mask}.log",
        )
        print(f"{ran.wall:.0f} s", flush=True)
        partial.rename(done)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--peer-python", type=Path, help=f"python of an environment with {PEER}; made where missing")
    parser.add_argument("--work", type=Path, default=Path("parity-work/openspliceai"), help="where files are kept")
    parser.add_argument("--device", default="cpu", help="where Basecast runs")
    parser.add_argument("--peer-only", action="store_true", help="run the peer and stop")
    options = parser.parse_args()
    data, work = shared_data(options.shared), options.work.resolve()
    fasta = plain_copy(data / "human" / "GRCh38_regions.fa.gz", work)
    genes, model = data / "human" / "GRCh38_regions.genes.tsv", data / "weights" / "openspliceai-mane" / "10000nt"
    genome = read_fasta(fasta)
    vcf = work / "records.vcf"
    write_vcf(vcf, genome, make_records(genome, read_genes(genes), KINDS | UNSCORED))
    python = options.peer_python or make_peer(work / "venv")
    peers = {(d, m): run_peer(python, vcf, fasta, genes, model, d, m) for d in DISTANCES for m in (0, 1)}
    if options.peer_only:
        return
    failures: list[str] = []
    rows = ["|   D | mask   | fields | max abs dDS | DP equal where DS >= 0.001 |", "|---|---|---|---|---|"]
    for distance in DISTANCES:
        out = work / f"basecast.D{distance}.vcf"
        ran = run_basecast(
            *("variant", "-I", vcf, "-O", out, "-R", fasta, "-A", genes, "-D", distance, "-M", "both"),
            *("--rules", "spliceai", "--model", model, "--decimals", "6", "--device", options.device),
        )
        print(f"{ran.wall:.0f} s", flush=True)
        for mask, key in enumerate(("SpliceAI", "SpliceAI_masked")):
            peer = by_allele(read_records(peers[distance, mask]), "OpenSpliceAI")
            found = compare_deltas(peer, by_allele(read_records(out), key), LIMIT)
            fields, agreed = len(found.differences), f"{found.dp_equal}/{found.dp_counted}"
            rows.append(f"| {distance} | {key} | {fields} | {found.worst:.2e} | {agreed} |")
            failures += [f"D={distance} M={mask} {text}" for text in found.amiss + found.dp_amiss]
            if fields < 4 * 60:
                failures.append(f"D={distance} M={mask}: only {fields} fields were compared, 240 expected")
    print("\n".join(rows))
    print("\n".join(failures) or f"every delta score within {LIMIT}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
