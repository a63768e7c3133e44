"""Basecast's genome-wide prediction beside OpenSpliceAI 0.0.7 on one FASTA, row by row, with the same five models.

    python benchmarks/predict_openspliceai.py [--shared DIR] [--peer-python PATH] [--weights DIR --context 400]
        [--fasta FILE] [--long 300000] [--short 40000] [--split-threshold 50000] [--threshold 0.00001] [--threads N]

Without ``--fasta`` one is made of human sequence: a long and a short record with ``chr`` names, and a long and a short
one with others. The peer runs twice: with its split threshold above every record, where the two must agree row by row,
and with ``--split-threshold``, where it cuts long records, as it does by default above 1.5 Mb. Each of its rows is
brought to our coordinates: the start of the segment is added, and an acceptor moves from the last base of the intron
to the first of the exon. The peer's own environment is made under ``--work`` unless ``--peer-python`` names one.

Ends with status 1 where a row differs by more than 1e-4 or is only one program's for none of the reasons in the table.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from delta_fields import plain_copy, shared_data
from parity_openspliceai import read_fasta
from running import Ran, make_peer, run_basecast, run_openspliceai

LIMIT = 1e-4
NEAR = 2e-6  # six decimals, and the rounding of sums
KINDS = ("acceptor", "donor")
UNEXPLAINED = "for no reason known"


class Site(NamedTuple):
    contig: str
    position: int  # 0-based: last exonic base of a donor, first exonic base of an acceptor
    kind: str


class PeerRow(NamedTuple):
    p: float
    segment: tuple[int, int]  # 0-based, half-open: what the peer ran as one sequence


@dataclass
class Comparison:
    peer_rows: int = 0
    our_rows: int = 0
    equal: int = 0
    worst: float = 0.0
    differ: list[str] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    worst_duplicate: tuple[float, str] = (0.0, "")
    only_peer: Counter[str] = field(default_factory=Counter)
    only_ours: Counter[str] = field(default_factory=Counter)
    amiss: list[str] = field(default_factory=list)


def make_fasta(data: Path, work: Path, long: int, short: int) -> Path:
    """Records above and below the split threshold, with names that begin with chr and others. Ends are real ends."""
    chromosome = read_fasta(plain_copy(data / "human" / "hg38_chr1_1_1000000.fa.gz", work))["chr1"]
    regions = sorted(read_fasta(plain_copy(data / "human" / "GRCh38_regions.fa.gz", work)).values(), key=len)
    middle = next(sequence for sequence in regions if len(sequence) >= short)
    records = {
        "chr1": chromosome[-long:],
        "NC_long": regions[-1][:long],
        "chr2": middle[:short],
        "NC_short": regions[-2][:short],
    }
    path = work / f"records.{long}.{short}.fa"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return path


def run_peer(python: Path, fasta: Path, out: Path, *options: object, threads: int | None = None) -> Ran:
    """Run the peer's predict into the folder ``out``, made anew; it is run as from a shell."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    arguments = ("predict", "-i", fasta, "-o", out, *options)
    return run_openspliceai(python, *arguments, log=out / "log", environment=environment)


def peer_rows(out: Path, lengths: dict[str, int]) -> Iterator[tuple[Site, PeerRow]]:
    """Rows in our coordinates. The first column is ``NAME:+``, or ``NAME:START-END(.):+`` of a segment (1-based)."""
    folder = next(out.glob("SpliceAI_*"))
    for kind in KINDS:
        with (folder / f"{kind}_predictions.bed").open() as lines:
            for line in lines:
                name, start, _, _, p, *_ = line.split("\t")
                found = re.fullmatch(r"(.+?)(?::(\d+)-(\d+)\(\.\))?:\+", name)
                if not found or found[1] not in lengths:
                    sys.exit(f"{folder}: a row of a record that is not in the FASTA: {line!r}")
                contig = found[1]
                segment = (int(found[2]) - 1, int(found[3])) if found[2] else (0, lengths[contig])
                position = segment[0] + int(start) + (kind == "acceptor")
                yield Site(contig, position, kind), PeerRow(float(p), segment)


def our_rows(prefix: Path) -> dict[Site, float]:
    rows: dict[Site, float] = {}
    for kind in KINDS:
        with gzip.open(f"{prefix}.{kind}.bed.gz", "rt") as lines:
            for line in lines:
                contig, start, end, _, score, strand, p = line.rstrip("\n").split("\t")
                site = Site(contig, int(start), kind)
                assert int(end) == site.position + 1, line
                assert strand == "+", line
                assert abs(int(score) - 1000 * float(p)) <= 0.501, line
                assert site not in rows, f"twice: {line}"
                rows[site] = float(p)
    return rows


def compare(
    theirs: dict[Site, list[PeerRow]],
    ours: dict[Site, float],
    lengths: dict[str, int],
    half: int,
    threshold: float,
) -> Comparison:
    """Every row of both, with the reason where only one has it. ``half`` is CL/2, the context at one side."""
    result = Comparison(peer_rows=sum(map(len, theirs.values())), our_rows=len(ours))
    covered = {site.contig for site in theirs}
    for site in sorted(theirs.keys() | ours.keys()):
        label = f"{site.contig}:{site.position + 1} {site.kind}"  # as a genome browser shows it
        rows, p = theirs.get(site, []), ours.get(site)
        whole = [row for row in rows if sees_all(site.position, row.segment, lengths[site.contig], half)]
        cut = [row for row in rows if row not in whole]
        if p is None:
            near = [row for row in whole if row.p < threshold + NEAR]
            if site.position >= lengths[site.contig]:
                reason = "beyond the end of the record"
            elif not whole:
                reason = "scored only against N at a seam"
            else:
                reason = "at the threshold" if near else UNEXPLAINED
            result.only_peer[reason] += len(rows)
            if reason == UNEXPLAINED:
                result.amiss.append(f"{label}: {[row.p for row in rows]} there, no row here")
            continue
        for row in whole[:1]:
            result.worst = max(result.worst, abs(row.p - p))
            result.equal += abs(row.p - p) <= LIMIT
            if abs(row.p - p) > LIMIT:
                result.differ.append(f"{label}: {row.p:.6f} there, {p:.6f} here")
        for row in [*whole[1:], *cut]:
            same = abs(row.p - p) <= LIMIT
            result.duplicates["with the same score" if same else "with another score"] += 1
            text = f"{label}: {', '.join(f'{x.p:.6f}' for x in rows)} there, {p:.6f} here"
            result.worst_duplicate = max(result.worst_duplicate, (abs(row.p - p), text))
        if not whole:
            if site.contig not in covered and site.contig.startswith("chr"):
                reason = "chr record left out by the peer"
            elif site.position == 0 and site.kind == "acceptor":
                reason = "acceptor on the first base"
            else:
                reason = "at the threshold" if p < threshold + NEAR else UNEXPLAINED
            result.only_ours[reason] += 1
            if reason == UNEXPLAINED:
                result.amiss.append(f"{label}: {p:.6f} here, no row there")
    return result


def sees_all(position: int, segment: tuple[int, int], length: int, half: int) -> bool:
    """Whether the segment has the context of the position as far as the record has."""
    return segment[0] <= max(position - half, 0) and segment[1] >= min(position + half + 1, length)


def reasons(counts: Counter[str]) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n in counts.most_common()) or "0"


def show(name: str, result: Comparison, theirs: Ran, ours: Ran) -> None:
    largest, example = result.worst_duplicate
    rows = {
        "rows, openspliceai / basecast": f"{result.peer_rows:,} / {result.our_rows:,}",
        "equal within 1e-4": f"{result.equal:,} (max |dp| {result.worst:.1e})",
        "different": f"{len(result.differ):,}",
        "the peer's second row for a site": reasons(result.duplicates),
        "largest error of a second row": f"{largest:.6f} ({example})" if example else "-",
        "only in openspliceai": reasons(result.only_peer),
        "only in basecast": reasons(result.only_ours),
        "wall seconds, openspliceai / basecast": f"{theirs.wall:.1f} / {ours.wall:.1f} = {theirs.wall / ours.wall:.2f}",
        "CPU seconds, openspliceai / basecast": f"{theirs.cpu:.1f} / {ours.cpu:.1f} = {theirs.cpu / ours.cpu:.2f}",
    }
    print(
        f"\n| {name} | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), sep="\n", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--peer-python", type=Path, help="python of an environment with the peer; made where missing")
    parser.add_argument("--weights", type=Path, help="folder of OpenSpliceAI .pt files; the MANE ones by default")
    parser.add_argument("--context", type=int, default=400, help="CL of the weights: 80, 400, 2000 or 10000")
    parser.add_argument("--fasta", type=Path, help="plain FASTA to predict on instead of the made one")
    parser.add_argument("--long", type=int, default=300_000, help="bases of the two long records")
    parser.add_argument("--short", type=int, default=40_000, help="bases of the two short records")
    parser.add_argument("--split-threshold", type=int, default=50_000, help="the peer's; between --short and --long")
    parser.add_argument("--threshold", type=float, default=1e-5, help="least probability of a row")
    parser.add_argument("--threads", type=int, help="CPU threads of either program")
    parser.add_argument("--work", type=Path, default=Path("parity-work/predict"), help="where files are kept")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (options.weights and options.fasta):
        data = shared_data(options.shared)
        options.weights = options.weights or data / "weights" / "openspliceai-mane" / f"{options.context}nt"
    fasta = options.fasta or make_fasta(data, work, options.long, options.short)
    genome = read_fasta(fasta)
    lengths = {name: len(sequence) for name, sequence in genome.items()}
    print("; ".join(f"{name} {length:,}" for name, length in lengths.items()), flush=True)
    python = options.peer_python or make_peer(work / "venv")
    prefix = work / "basecast" / "all"
    shutil.rmtree(prefix.parent, ignore_errors=True)
    prefix.parent.mkdir()
    threads = ("--threads", str(options.threads)) if options.threads else ()
    ran = run_basecast(
        *("predict", "-R", fasta, "-O", prefix, "-m", options.weights, "--strand", "+", "--device", "cpu"),
        *("--threshold", options.threshold, "--format", "bed", *threads),
    )
    ours = our_rows(prefix)
    failures: list[str] = []
    for name, split in {"whole": max(lengths.values()) + 1, "split": options.split_threshold}.items():
        folder = work / f"peer.{name}"
        model = ("-m", options.weights, "-f", options.context, "--threshold", options.threshold)
        took = run_peer(python, fasta, folder, *model, "--split-threshold", split, threads=options.threads)
        theirs: dict[Site, list[PeerRow]] = defaultdict(list)
        for site, row in peer_rows(folder, lengths):
            theirs[site].append(row)
        result = compare(theirs, ours, lengths, options.context // 2, options.threshold)
        show(f"openspliceai --split-threshold {split}", result, took, ran)
        failures += [f"{name}: {text}" for text in result.differ + result.amiss]
        if not result.equal:
            failures.append(f"{name}: no row was compared")
    print("", *(failures or ["every row is equal within 1e-4, or only one program's for a reason above"]), sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
