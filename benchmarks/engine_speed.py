"""How fast Basecast is: beside openspliceai 0.0.7 in the same run on one machine, and beside what the machine can do.

    python benchmarks/engine_speed.py [--only scattered panel saturation genome growth] [--precision fp32 bf16]
        [--shared DIR] [--peer-python PATH] [--work DIR] [--whole WORK ...] [--json FILE] [--plot FILE]

scattered   200 SNVs and indels, each in a gene of its own, near exon boundaries and far from them, both strands
panel       a variant per 300 bases of ten genes
saturation  every SNV of 1,000 bases
genome      one strand of a contig of 2 Mb
growth      100 to 10,000 variants and 0.5 to 8 Mb with one model; the plot needs matplotlib (pip install matplotlib)

The models are the five MANE ones of 10,000 nt, D = 50; both programs get --threads CPU threads. Each run is a fresh
process, whose start-up counts and is stated too (one variant, 1,000 bases); what takes less than 30 s is the best of
three. The peer is timed on --sample sizes at the best of --batches, each tried on the same records; beyond them its
time is extrapolated along their straight line, unless --whole names the work. Every item is kept under --work: a run
that was killed goes on, and a change of Basecast's code measures only Basecast again.

Ends with status 1 where a delta score differs from the peer's by more than 5e-4 or a site's probability by more than
1e-4, the peer's sizes are off a line by more than a tenth, or cost or memory grow a tenth faster than they may.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from engine_arithmetic import costs, matmul_peak, operations
from engine_beside import Row, time_genome, time_variants
from engine_growth import draw, growth_table, measure_growth
from engine_inputs import panel, saturated, scattered
from engine_runs import Bench, Measured, table
from running import PEER

WORKS = ("scattered", "panel", "saturation", "genome")
AIMS: dict[str, dict[str, float]] = {
    "scattered": {"fp32": 3.5, "bf16": 7},
    "panel": {"fp32": 12, "bf16": 22},
    "saturation": {"fp32": 14, "bf16": 25},
    "genome": {"fp32": 4, "bf16": 7},
}
Peaks = dict[str, dict[int, float]]  # precision -> threads -> FLOP/s
Done = dict[tuple[str, str], int]  # work, precision -> FLOP


class Counted(Bench):
    """Knows the command of each of Basecast's runs, so that its operations can be counted."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._commands: dict[tuple[str, str], tuple[object, ...]] = {}

    def ours(self, name: str, precision: str, out: str, verb: str, *arguments: object) -> Measured:
        self._commands[name, precision] = (verb, *arguments)
        return super().ours(name, precision, out, verb, *arguments)

    def done(self, work: str, precision: str) -> int:
        """FLOP of a run."""
        shared = ("--device", self.options.device, "--precision", precision, "--threads", self.options.threads)
        return operations(*self._commands[work, precision], *shared)


def time_work(bench: Bench, work: str) -> Row:
    options, cost = bench.options, costs(bench.weights)
    if work == "scattered":
        return time_variants(bench, work, scattered(bench.genome, bench.genes, options.scattered), cost)
    if work == "panel":
        return time_variants(bench, work, panel(bench.genome, bench.genes, options.genes, options.spacing), cost)
    if work == "saturation":
        region, snvs = saturated(bench.genome, bench.genes, options.saturation)
        return time_variants(bench, work, snvs, cost, region)
    return time_genome(bench, cost)


def speed_table(rows: Sequence[Row]) -> list[str]:
    columns = ["work", "", "openspliceai, s", "Basecast, s", "ratio", "aim", "start-up, s", "peak MiB", "ratio"]

    def cells(row: Row, precision: str, ran: Measured) -> Iterator[str]:
        yield f"{row.work}, {precision}"
        yield f"{row.amount:,} {row.unit}"
        yield f"{row.peer_wall:,.1f}{', extrapolated' if row.is_extrapolated else ''}"
        yield f"{ran.wall:,.1f}"
        yield f"{row.ratios[precision]:.1f}"
        yield f"{AIMS[row.work][precision]:g}"
        yield f"{row.peer_start:.1f} / {row.our_start:.1f}"
        yield f"{row.peer_memory / 2**20:,.0f} / {ran.memory / 2**20:,.0f}"
        yield f"{ran.memory / row.peer_memory:.2f}"
        if precision == "bf16" and row.rounding:
            yield "{:.1e} from fp32, 99.9 % within {:.1e}".format(*row.rounding)
        else:
            yield f"{row.worst:.1e} in {row.compared:,}"

    found = (list(cells(row, precision, ran)) for row in rows for precision, ran in row.ours.items())
    return table([*columns, "largest difference"], found)


def limit_table(rows: Sequence[Row], done: Done, peaks: Peaks, threads: int) -> list[str]:
    """What the answers need is what the direct method would do, each position once; with Fourier transforms less is
    done. Start-up is left out of the rates."""
    columns = ["work", "per s", "TFLOP needed", "done / needed", "done, TFLOP/s", "of matmul's"]
    columns += ["needed, TFLOP/s", "of matmul's", "openspliceai's / needed", "its TFLOP/s", "of matmul's"]

    def cells(row: Row, precision: str, ran: Measured) -> Iterator[str]:
        needed, published = 2 * row.arithmetic.needed, 2 * row.arithmetic.published
        did, ours, theirs = done[row.work, precision], ran.wall - row.our_start, row.peer_wall - row.peer_start
        yield f"{row.work}, {precision}"
        yield f"{row.amount / ours:,.1f} {row.unit}"
        yield f"{needed / 1e12:.2f}"
        yield f"{did / needed:.3f}"
        for rate in (did / ours, needed / ours):
            yield f"{rate / 1e12:.3f}"
            yield f"{rate / peaks[precision][threads]:.0%}"
        yield f"{published / needed:.1f}"
        yield f"{published / theirs / 1e12:.3f}"
        yield f"{published / theirs / peaks['fp32'][threads]:.0%}"

    found = (list(cells(row, precision, ran)) for row in rows for precision, ran in row.ours.items())
    told = (f"{p}, {n} thread{'s' * (n > 1)}: {rate / 1e9:,.0f}" for p, by in peaks.items() for n, rate in by.items())
    return [*table(columns, found), "", f"matmul, GFLOP/s: {'; '.join(told)}"]


def told_machine(bench: Bench) -> dict[str, str]:
    asked = "from importlib.metadata import version as v; print(v('openspliceai'), v('torch'))"
    command = [str(bench.peer_python()), "-c", asked]
    peer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {
        "machine": f"{bench.machine['cpu']}, {bench.machine['cores']} cores",
        "both": f"{bench.options.threads} threads, {bench.options.device}",
        "basecast": f"{version('basecast')}, torch {version('torch')}",
        "openspliceai": f"{peer[0]}, torch {peer[1]}",
        "models": f"{len(list(bench.weights.glob('*.pt')))} of {bench.options.context} nt",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=(*WORKS, "growth"), default=(*WORKS, "growth"), help="which parts")
    add("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"], help="of Basecast; fp32 always runs")
    add("--shared", type=Path, help="folder of the shared data")
    add("--peer-python", type=Path, help=f"python of an environment with {PEER}; made where missing")
    add("--work", type=Path, default=Path("parity-work/engine"), help="where items and files are kept")
    add("--threads", type=int, default=2, help="CPU threads of either program")
    add("--device", default="cpu", help="where both run: cpu or cuda")
    add("--context", type=int, default=10_000, help="of the models: 80, 400, 2000 or 10000")
    add("--batches", nargs="+", type=int, default=[1, 2, 8, 32], help="the peer's batch sizes to try")
    add("--sample", nargs="+", type=int, default=[12, 24, 48], help="records that the peer is timed on")
    add("--sample-genome", nargs="+", type=float, default=[0.1, 0.2, 0.4], help="Mb that the peer is timed on")
    add("--whole", nargs="+", choices=WORKS, default=[], help="works that the peer does to the end")
    add("--scattered", type=int, default=200, help="records")
    add("--genes", type=int, default=10, help="genes of the panel")
    add("--spacing", type=int, default=300, help="bases between two records of the panel")
    add("--saturation", type=int, default=1_000, help="bases")
    add("--genome", type=float, default=2.0, help="Mb")
    add("--growth-variants", nargs=3, type=int, default=[100, 1_000, 10_000])
    add("--growth-genome", nargs=3, type=float, default=[0.5, 2.0, 8.0], help="Mb")
    add("--json", type=Path, help="file for all numbers")
    add("--plot", type=Path, default=Path(__file__).parents[1] / "docs" / "figures" / "growth.png")
    options = parser.parse_args()
    options.precision = ["fp32", *(["bf16"] if "bf16" in options.precision else [])]
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def main() -> None:
    options = parse()
    if "growth" in options.only and find_spec("matplotlib") is None:
        sys.exit("growth draws a plot: pip install matplotlib, or leave it out of --only")
    bench = Counted(options)
    works = [work for work in WORKS if work in options.only]
    told = told_machine(bench)
    threads = sorted({1, options.threads}) if works else []
    peaks: Peaks = {p: {n: matmul_peak(n, p, options.device) for n in threads} for p in options.precision}
    rows = [time_work(bench, work) for work in works]
    done: Done = {(row.work, p): bench.done(row.work, p) for row in rows for p in row.ours}
    extra = [{"ratios": row.ratios, "done": {p: done[row.work, p] for p in row.ours}} for row in rows]
    found = [asdict(row) | more for row, more in zip(rows, extra, strict=True)]
    report = {"told": told, "peaks": peaks, "rows": found}
    lines = [f"{name}: {text}" for name, text in told.items()]
    if rows:
        lines += ["", *speed_table(rows), "", *(note for row in rows for note in row.notes)]
        lines += ["", *limit_table(rows, done, peaks, options.threads)]
    if "growth" in options.only:
        points = measure_growth(bench)
        report["growth"] = [point._asdict() for point in points]
        lines += ["", *growth_table(points)]
        draw(points, options.plot)
    print("", *lines, "", *(bench.failures or ["every answer is the peer's, every line straight"]), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(report | {"failures": bench.failures}, indent=1) + "\n")
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
