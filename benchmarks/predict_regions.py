"""Genome-wide prediction on 42 Mb of human genes: time, memory, disk, the values themselves, and what kills do to it.

    python benchmarks/predict_regions.py [--only wall rss direct kills] [--shared DIR] [--weights DIR] [--threads N]
        [--large 42] [--small 4] [--kills 20] [--keep]

wall    both strands of --large megabases: seconds, Mb/s, peak memory, peak disk (state and outputs, no input).
rss     peak memory at --large over that at --small megabases; 1.1 is the limit.
direct  the BED files beside a forward pass of the plain modules, contig by contig; 1e-5 is the limit.
kills   --kills times each, a running predict and a running variant gets SIGTERM, SIGUSR1 or SIGKILL at a random moment
        and is started again, until it ends; every output is that of an undisturbed run, every exit code as promised.

Memory and disk are sampled five times a second, from /proc: Linux only. Ends with status 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from delta_fields import plain_copy, shared_data
from parity_openspliceai import Made, make_alleles, read_fasta, read_genes, write_vcf
from running import watch

PARTS = ("wall", "rss", "direct", "kills")
VERBS = ("predict", "variant")
MAX_RATIO = 1.1
MAX_DIFFERENCE = 1e-5
MAX_WAIT = 30.0
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL)
KINDS = ("acceptor", "donor")
ALLELES = ("snv", "snv", "insertion", "deletion")


class Usage(NamedTuple):
    bases: int
    seconds: float
    memory: int  # bytes
    disk: int  # bytes

    def __str__(self) -> str:
        speed = self.bases / 1e6 / self.seconds
        return (
            f"{self.bases / 1e6:.2f} Mb, both strands: {self.seconds:.0f} s, {speed:.4f} Mb/s, "
            f"peak memory {self.memory / 2**20:.0f} MiB, peak disk {self.disk / 2**20:.1f} MiB"
        )


class Bench:
    """What the parts share: the options, the inputs, a folder for files, and what failed."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.data = shared_data(options.shared)
        self.weights = (options.weights or self.data / "weights" / "openspliceai-mane" / "400nt").resolve()
        self.regions = plain_copy(self.data / "human" / "GRCh38_regions.fa.gz", work)
        self.failures: list[str] = []

    def check(self, holds: bool, text: str) -> None:
        print(("ok: " if holds else "FAILED: ") + text, flush=True)
        if not holds:
            self.failures.append(text)

    def folder(self, name: str) -> Path:
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def subset(self, megabases: float, name: str) -> tuple[Path, int]:
        """A FASTA of evenly chosen records of the regions, of about that size or all, and its bases."""
        records = list(read_fasta(self.regions).items())
        total = sum(len(sequence) for _, sequence in records)
        chosen = records[:: max(round(total / (megabases * 1e6)), 1)]
        return write_fasta(self.work / f"{name}.fa", dict(chosen)), sum(len(sequence) for _, sequence in chosen)

    def command(self, verb: str, *arguments: str | Path) -> list[str]:
        threads = ("--threads", str(self.options.threads)) if self.options.threads else ()
        shared = ("-m", self.weights, "--device", self.options.device, *threads)
        return [sys.executable, "-m", "basecast", verb, *map(str, (*arguments, *shared))]


def run(command: list[str], folder: Path) -> None:
    if code := subprocess.run(command, cwd=folder, check=False).returncode:
        sys.exit(f"{' '.join(command)}\nended with exit code {code}")


def write_fasta(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return path


# --- wall and rss: what a run takes


def usage(bench: Bench, megabases: float, name: str) -> Usage:
    """Run predict on that much sequence and watch it."""
    fasta, bases = bench.subset(megabases, name)
    folder = bench.folder(name)
    command = bench.command("predict", "-R", fasta, "-O", "out", "--format", "bed", "--format", "bigwig")
    ran = watch(command, cwd=folder, folder=folder)
    found = Usage(bases, ran.wall, ran.memory, ran.disk)
    print(f"{name}: {found}", flush=True)
    for path in sorted(folder.iterdir()):
        print(f"    {path.name}: {path.stat().st_size:,} bytes")
    return found


def measure(bench: Bench, parts: Sequence[str]) -> None:
    large = usage(bench, bench.options.large, "large")
    if "rss" in parts:
        small = usage(bench, bench.options.small, "small")
        ratio = large.memory / small.memory
        sizes = f"{large.bases / 1e6:.1f} Mb / {small.bases / 1e6:.1f} Mb"
        bench.check(ratio <= MAX_RATIO, f"peak memory at {sizes} = {ratio:.3f} (limit {MAX_RATIO})")


# --- direct: the values


def direct_values(network: Any, half: int, sequence: str, strand: str) -> np.ndarray:
    """(acceptor and donor, positions) of one forward pass over the contig with N at both ends, in contig order."""
    import torch

    codes = np.frombuffer(sequence.upper().encode(), np.uint8)
    one_hot = np.stack([codes == ord(base) for base in "ACGT"]).astype(np.float32)
    if strand == "-":
        one_hot = one_hot[::-1, ::-1]
    padded = np.pad(one_hot, ((0, 0), (half, half)))
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded)[None])
        values = torch.softmax(logits, 1)[0, 1:].numpy()
    return values[:, ::-1] if strand == "-" else values


def bed_sites(prefix: Path) -> dict[tuple[str, int, str, str], float]:
    sites = {}
    for kind in KINDS:
        with gzip.open(f"{prefix}.{kind}.bed.gz", "rt") as lines:
            for line in lines:
                contig, start, _, _, _, strand, p = line.rstrip("\n").split("\t")
                key = contig, int(start), strand, kind
                assert key not in sites, f"twice: {line}"
                sites[key] = float(p)
    return sites


def direct(bench: Bench) -> None:
    import basecast

    threshold = 0.001
    regions = sorted(read_fasta(bench.regions).items(), key=lambda item: len(item[1]))
    short, middle, longer = (next(item for item in regions if len(item[1]) > n) for n in (10_000, 60_000, 130_000))
    gap = middle[1][:20_000] + "N" * 1_003 + middle[1][20_000:40_000].lower()
    genome = dict([short, middle, longer]) | {"with_gap": gap, "tiny": short[1][2_000:2_137], "one_base": "A"}
    fasta, folder = write_fasta(bench.work / "direct.fa", genome), bench.folder("direct")
    command = bench.command("predict", "-R", fasta, "-O", "out", "--threshold", str(threshold))
    run(command, folder)
    found = bed_sites(folder / "out")
    package = basecast.load_model(bench.weights)
    network, half = package.network.eval(), package.spec.reach.left
    worst, missing = 0.0, []
    rows = ["| contig | bases | strand | sites | max abs difference |", "|---|---|---|---|---|"]
    for contig, sequence in genome.items():
        for strand in "+-":
            values, here = direct_values(network, half, sequence, strand), 0.0
            places = [(k, int(i)) for k, i in np.argwhere(values >= threshold)]
            expected = {(contig, i, strand, KINDS[k]) for k, i in places}
            ours = {key for key in found if key[0] == contig and key[2] == strand}
            for key in expected | ours:
                p = float(values[KINDS.index(key[3]), key[1]])
                if key in ours:
                    here = max(here, abs(p - found[key]))
                if (key in ours) != (key in expected) and abs(p - threshold) > MAX_DIFFERENCE:
                    missing.append((key, p, found.get(key)))
            rows.append(f"| {contig} | {len(sequence):,} | {strand} | {len(ours):,} | {here:.1e} |")
            worst = max(worst, here)
    print("", *rows, "", sep="\n")
    bench.check(len(found) > 100, f"{len(found):,} sites with p >= {threshold} were compared")
    bench.check(not missing, f"the same sites in both {missing[:5] or ''}")
    bench.check(worst <= MAX_DIFFERENCE, f"largest difference {worst:.1e} (limit {MAX_DIFFERENCE})")


# --- kills


class Kill(NamedTuple):
    number: signal.Signals
    after: float  # seconds since the start
    listens: bool  # whether the program handled the signal by then
    code: int  # as a shell shows it
    wait: float  # seconds until the process was gone

    @property
    def as_promised(self) -> bool:
        if self.number == signal.SIGKILL:
            return self.code == 137
        return self.wait <= MAX_WAIT and (self.code == 143 or (not self.listens and self.code == 128 + self.number))

    def __str__(self) -> str:
        early = "" if self.listens or self.number == signal.SIGKILL else ", starting"
        return f"{self.number.name[3:]} {self.after:.1f} s{early} -> {self.code} in {self.wait:.1f} s"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below; of a summary, of all but the time that the run took."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name.endswith(".stats.json"):
            content = json.dumps({k: v for k, v in json.loads(content).items() if k != "seconds"}).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def is_handled(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return bool(int(fields["SigCgt"], 16) >> (number - 1) & 1)
    return False


def run_and_kill(
    command: list[str], folder: Path, log: Path, after: float | None, number: signal.Signals
) -> Kill | int:
    """The kill, or the exit code of a run that ended before it; without ``after`` it is let alone."""
    start = time.perf_counter()
    with log.open("w") as lines:
        process = subprocess.Popen(command, cwd=folder, stdout=lines, stderr=lines)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(after)
        listens, sent = is_handled(process.pid, number), time.perf_counter()
        process.send_signal(number)
        try:
            code = process.wait(2 * MAX_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    return Kill(number, sent - start, listens, code if code >= 0 else 128 - code, time.perf_counter() - sent)


def kill_inputs(bench: Bench) -> dict[str, list[str]]:
    """Verb to command; outputs are named without a folder, so that they may tell of the command."""
    choice = random.Random("basecast kills")
    genome = read_fasta(bench.regions)
    genes = [gene for gene in read_genes(bench.data / "human" / "GRCh38_regions.genes.tsv") if gene[0] in genome]
    made: set[Made] = set()
    while len(made) < bench.options.kill_variants:
        contig, _, boundaries = choice.choice(genes)
        pos, kind = choice.randint(boundaries[0] + 20, boundaries[-1] - 20), choice.choice(ALLELES)
        made.add((contig, pos, *make_alleles(choice, kind, genome[contig], pos), kind))
    vcf = bench.work / "kills.vcf"
    write_vcf(vcf, genome, sorted(made))
    fasta, bases = bench.subset(bench.options.kill_megabases, "kills")
    print(f"predict: {bases:,} bases; variant: {len(made):,} records", flush=True)
    formats = [word for name in ("bed", "bigwig", "parquet") for word in ("--format", name)]
    annotation = bench.data / "human" / "GRCh38_regions.genes.tsv"
    commands = {
        "predict": bench.command("predict", "-R", fasta, "-O", "out", *formats),
        "variant": bench.command("variant", "-I", vcf, "-O", "out.vcf.gz", "-R", bench.regions, "-A", annotation),
    }
    return {verb: commands[verb] for verb in bench.options.verbs}


def kills(bench: Bench) -> None:
    choice = random.Random(bench.options.seed)
    for verb, command in kill_inputs(bench).items():
        folder = bench.folder(f"{verb}.undisturbed")
        start = time.perf_counter()
        run(command, folder)
        seconds, expected = time.perf_counter() - start, digests(folder)
        print(f"{verb}, undisturbed: {seconds:.1f} s, {len(expected)} files: {', '.join(expected)}", flush=True)
        done: list[Kill] = []
        runs = 0
        while len(done) < bench.options.kills or not runs:
            runs += 1
            here, code = killed_run(bench, verb, command, choice, seconds, bench.options.kills - len(done))
            done += here
            for kill in here:
                if not kill.as_promised:
                    bench.check(False, f"{verb}: {kill}")
            now = digests(bench.work / f"{verb}.killed")
            differ = sorted(name for name in now.keys() | expected.keys() if now.get(name) != expected.get(name))
            story = "; ".join(map(str, here)) or "no kill"
            bench.check(
                code == 0 and not differ, f"{verb}, run {runs}: {story}; then exit code {code}, {differ} differ"
            )
            if code:
                print((bench.work / f"{verb}.log").read_text()[-2000:])
                break
        show_kills(verb, done)


def killed_run(
    bench: Bench, verb: str, command: list[str], choice: random.Random, seconds: float, most: int
) -> tuple[list[Kill], int]:
    """Kill and start again until the run ends by itself: at most so many kills, and its exit code."""
    folder = bench.folder(f"{verb}.killed")
    done: list[Kill] = []
    while True:
        after = choice.uniform(0, seconds) if len(done) < most else None
        ended = run_and_kill(command, folder, bench.work / f"{verb}.log", after, choice.choice(SIGNALS))
        if isinstance(ended, int):
            return done, ended
        done.append(ended)


def show_kills(verb: str, done: list[Kill]) -> None:
    groups: dict[tuple[str, int, str], list[float]] = {}
    for kill in done:
        handled = "-" if kill.number == signal.SIGKILL else "yes" if kill.listens else "not yet"
        groups.setdefault((kill.number.name, kill.code, handled), []).append(kill.wait)
    rows = [f"| {verb}: signal | exit code | handled | times | longest wait, s |", "|---|---|---|---|---|"]
    rows += [
        f"| {' | '.join(map(str, key))} | {len(waits)} | {max(waits):.1f} |" for key, waits in sorted(groups.items())
    ]
    print("", *rows, "", sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="which parts; all by default")
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--weights", type=Path, help="model; the five of OpenSpliceAI (MANE, 400 nt) by default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads of basecast")
    parser.add_argument("--large", type=float, default=42, help="Mb of the large run; 42 is all")
    parser.add_argument("--small", type=float, default=4, help="Mb of the small run")
    parser.add_argument("--kills", type=int, default=20, help="kills of either verb")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS, help="what is killed")
    parser.add_argument("--kill-megabases", type=float, default=0.4, help="Mb that the killed predict runs over")
    parser.add_argument("--kill-variants", type=int, default=2_000, help="records that the killed variant scores")
    parser.add_argument("--seed", type=int, default=0, help="of signals and moments")
    parser.add_argument("--work", type=Path, default=Path("parity-work"), help="where files are made")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        work = options.work / "regions"
        if options.keep:
            work.mkdir(exist_ok=True)
        else:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regions-", dir=options.work)))
        bench = Bench(options, work.resolve())
        if {"wall", "rss"} & set(options.only):
            measure(bench, options.only)
        if "direct" in options.only:
            direct(bench)
        if "kills" in options.only:
            kills(bench)
    print("", *(bench.failures or ["everything as promised"]), sep="\n")
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
