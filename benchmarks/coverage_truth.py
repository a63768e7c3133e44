"""Coverage of simulated reads, beside what was planted in them.

    python benchmarks/coverage_truth.py [--reads N] [--seeds N]

A genome of 8 Mb with GC of 25 to 70 %; fragments kept by their GC share (a slope of 4, and of -4, in log2), peaks of 15
times the background at random places and at places rich in GC, repeats in exact copies of other depths. The reads are
written as aligners write them (NH tags; BWA's XA tags; Bowtie2 -k, which says nothing) and go through ``basecast``'s
coverage as any file does. Ends with status 1 where a number is not what it must be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "coverage"))

from planted_truth import Tracks, background, gc_slope, multi_read_error, peak_height
from simulated import planted_peaks, planted_repeats, random_genome, simulate

from basecast.coverage.build import coverage
from basecast.coverage.settings import CoverageSettings
from basecast.genome.signal import BigWig

HEIGHT = 15.0
SIZES = {"chr1": 6_000_000, "chr2": 2_000_000}
ROWS = ["| what | reads | planted | found | asked for | |", "|---|---|---|---|---|---|"]
FAILURES: list[str] = []


def row(what: str, reads: str, planted: object, found: float, asked: str, good: bool) -> None:
    ROWS.append(f"| {what} | {reads} | {planted} | {found:.4g} | {asked} | {'' if good else 'NO'} |")
    print(ROWS[-1], flush=True)
    if not good:
        FAILURES.append(f"{what} ({reads}): {found:.4g}, and not {asked}")


def tracks(bam: Path, reference: Path | None, **settings: object) -> tuple[Tracks, dict[str, object]]:
    """Coverage by contig, and the run's report."""
    output = bam.with_suffix(".bw")
    coverage(bam, output, reference=reference, settings=CoverageSettings(**settings), threads=1)  # type: ignore[arg-type]
    track = BigWig(output)
    found = {name: np.nan_to_num(track.values(name, 0, size)).astype(np.float64) for name, size in SIZES.items()}
    return found, json.loads(output.with_suffix(".report.json").read_text())


def total(track: Tracks) -> float:
    return sum(float(values.sum()) for values in track.values())


def gc_and_peaks(folder: Path, n: int, seed: int) -> None:
    for slope in (4.0, -4.0):
        rng = np.random.default_rng(seed)
        genome = random_genome(rng, SIZES)
        peaks = [planted_peaks(rng, genome, 160, HEIGHT, follow_gc=follow) for follow in (False, True)]
        reads = simulate(genome, n, rng=rng, slope=slope, peaks=peaks, fragment=200)
        fasta, bam = reads.write_fasta(folder / "genome.fa"), reads.write_bam(folder / "gc.bam", "nh")
        where = background(genome, peaks, [])
        for event in ("ends", "centres"):
            name = f"{n:,} single, {event}, seed {seed}"
            before, _ = tracks(bam, None, event=event)
            after, report = tracks(bam, fasta, event=event, gc=True)
            was, now = gc_slope(genome, before, where), gc_slope(genome, after, where)
            row("GC slope after / before", name, slope, abs(now / was), "<= 0.05", abs(now / was) <= 0.05)
            kept = total(after) / total(before)
            row("depth after / before", name, 1, kept, "1 +- 0.005", abs(kept - 1) <= 0.005)
            kept = total(before) / n
            row("depth / reads", name, 1, kept, "1 +- 0.0005", abs(kept - 1) <= 0.0005)
            for one, kind in zip(peaks, ("at random", "rich in GC"), strict=True):
                change = peak_height(after, one, where) / HEIGHT
                was = peak_height(before, one, where) / HEIGHT
                text = f"height of peaks {kind} / planted (before: {was:.2f})"
                row(text, name, HEIGHT, change, "1 +- 0.1", abs(change - 1) <= 0.1)
            if event == "centres":
                found = float(report["fragment length"])  # type: ignore[arg-type]
                row("fragment length", name, 200, found, "200 +- 10", abs(found - 200) <= 10)


def paired(folder: Path, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(rng, SIZES)
    reads = simulate(genome, n, rng=rng, fragment=200, paired=True)
    found, _ = tracks(reads.write_bam(folder / "paired.bam", "nh"), None, event="centres")
    wrong = 0.0
    for i, name in enumerate(genome):
        mine = reads.contig == i
        centres = np.bincount((reads.start + reads.length // 2)[mine], minlength=SIZES[name])
        wrong += float(np.abs(found[name] - centres).sum())
    row("centres of fragments that are elsewhere", f"{n:,} pairs, seed {seed}", 0, wrong, "0", wrong == 0)


def multi_reads(folder: Path, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    genome = random_genome(rng, SIZES)
    end = SIZES["chr1"]
    repeats = planted_repeats(genome, 60, 200, (1, 4), end=end)
    repeats += planted_repeats(genome, 30, 200, (1, 4, 9), end=end - 600_000)
    informed = range(len(repeats))
    repeats += planted_repeats(genome, 40, 300, (1, 5), end=end - 1_200_000, has_neighbours=False)
    blind = range(len(informed), len(repeats))
    reads = simulate(genome, n, rng=rng, repeats=repeats)
    name = f"{n:,} single, {int((reads.family >= 0).sum()):,} multi, seed {seed}"
    found = {}
    for dialect in ("nh", "xa", "none"):
        found[dialect], _ = tracks(reads.write_bam(folder / f"{dialect}.bam", dialect), None)
    error = multi_read_error(reads, informed, found["nh"])
    row("multi-read error / uniform's, neighbours tell", name, 0, error, "<= 0.5", error <= 0.5)
    error = multi_read_error(reads, blind, found["nh"])
    row("multi-read error / uniform's, nothing tells", name, 1, error, "1", abs(error - 1) <= 0.01)
    for dialect, who in (("none", "Bowtie2 -k, no tags"), ("xa", "BWA's XA")):
        apart = max(float(np.abs(found[dialect][c] - found["nh"][c]).max()) for c in genome)
        row(f"{who}: largest difference from NH", name, 0, apart, "0", apart == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=800_000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for part in (gc_and_peaks, paired, multi_reads):
                part(Path(folder), options.reads, seed)
    print("", *ROWS, "", *FAILURES, sep="\n")
    sys.exit(1 if FAILURES else 0)


if __name__ == "__main__":
    main()
