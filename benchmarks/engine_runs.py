"""Timed runs of Basecast and of openspliceai, each kept as JSON, so that a benchmark that was killed goes on."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import basecast
from delta_fields import Delta, Scored, by_allele, plain_copy, read_records, shared_data
from parity_openspliceai import Made, read_fasta, read_genes, write_vcf
from running import PEER, Ran, make_peer, run_basecast, run_openspliceai

REPEATS = 3
SHORT = 30.0  # seconds; what takes less is the best of REPEATS
DISTANCE = 50
THRESHOLD = 0.001


@dataclass(frozen=True)
class Measured:
    """One item: the wall time of each repeat, of which the least counts, and what the program wrote."""

    walls: list[float]
    cpu: float
    memory: int
    out: str
    when: str
    load: float
    """Of the machine in the minute before."""

    @property
    def wall(self) -> float:
        return min(self.walls)


def digest(path: Path) -> str:
    """Of a file, or of every Python and C file below a folder."""
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".py", ".c", ".cpp")):
        found.update(file.read_bytes())
    return found.hexdigest()


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


class Bench:
    """What the parts share: the options, the inputs, the items done, and what failed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.work = options, options.work.resolve()
        self.data = shared_data(options.shared)
        self.weights = self.data / "weights" / "openspliceai-mane" / f"{options.context}nt"
        self.regions = plain_copy(self.data / "human" / "GRCh38_regions.fa.gz", self.work)
        self.table = self.data / "human" / "GRCh38_regions.genes.tsv"
        self.genome, self.genes = read_fasta(self.regions), read_genes(self.table)
        self.machine = machine()
        self.failures: list[str] = []
        self.environment = {"OMP_NUM_THREADS": str(options.threads)}
        if options.device == "cpu":
            self.environment["CUDA_VISIBLE_DEVICES"] = ""  # the peer takes a GPU where it finds one
        (self.work / "items").mkdir(exist_ok=True)

    def check(self, holds: bool, text: str) -> None:
        if not holds:
            self.failures.append(text)

    def peer_python(self) -> Path:
        given: Path | None = self.options.peer_python
        return given or make_peer(self.work / "venv")

    def item(self, name: str, settings: Sequence[object], run: Callable[[Path], tuple[Ran, Path]]) -> Measured:
        """Run in a folder of its own, unless it was done: on this machine, on these files, with this code."""
        told = [digest(s) if isinstance(s, Path) and s.is_file() else str(s) for s in settings]
        identity = [self.machine, self.environment, self.options.device, *told]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
        folder = self.work / "items" / f"{name}.{key}"
        kept = folder.with_name(folder.name + ".json")
        if kept.exists():
            return Measured(**json.loads(kept.read_text()))
        load, when, runs = os.getloadavg()[0], time.strftime("%Y-%m-%d %H:%M:%S"), []
        for _ in range(REPEATS):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            ran, out = run(folder)
            runs.append(ran)
            print(f"    {ran.wall:.1f} s, {ran.memory / 2**20:.0f} MiB", flush=True)
            if ran.wall > SHORT:
                break
        best = min(runs, key=lambda ran: ran.wall)
        found = Measured([r.wall for r in runs], best.cpu, max(r.memory for r in runs), str(out), when, load)
        partial = kept.with_name(kept.name + ".part")
        partial.write_text(json.dumps(asdict(found)))
        partial.rename(kept)
        return found

    # --- Basecast

    def ours(self, name: str, precision: str, out: str, verb: str, *arguments: object) -> Measured:
        """One run of a verb, a fresh process; a change of Basecast's code makes it a new item."""
        shared = ("--device", self.options.device, "--precision", precision, "--threads", self.options.threads)

        def run(folder: Path) -> tuple[Ran, Path]:
            given = (verb, *arguments, *shared, "-O", folder / out)
            return run_basecast(*given, log=folder / "log", environment=self.environment), folder / out

        code = digest(Path(basecast.__file__).parent)
        return self.item(f"basecast.{name}.{precision}", (code, verb, *arguments, *shared), run)

    def our_variants(self, name: str, precision: str, vcf: Path, model: Path | None = None) -> Measured:
        return self.ours(name, precision, "out.vcf", "variant", "-I", vcf, *self._scoring(model))

    def our_saturation(self, name: str, precision: str, region: str) -> Measured:
        return self.ours(name, precision, "out.vcf.gz", "saturate", "--region", region, *self._scoring(None))

    def our_sites(self, name: str, precision: str, fasta: Path, model: Path | None = None) -> Measured:
        chosen = ("-m", model or self.weights, "--strand", "+", "--threshold", THRESHOLD, "--format", "bed")
        return self.ours(name, precision, "out", "predict", "-R", fasta, *chosen)

    def _scoring(self, model: Path | None) -> tuple[object, ...]:
        inputs = ("-R", self.regions, "-A", self.table, "-m", model or self.weights)
        return (*inputs, "-D", DISTANCE, "--rules", "spliceai", "--decimals", 6)

    # --- the peer

    def peer_variants(self, name: str, vcf: Path, batch: int) -> Measured:
        inputs = ("-R", self.regions, "-A", self.table, "-I", vcf, "-m", self.weights, "-f", self.options.context)
        arguments = ("variant", *inputs, "-t", "pytorch", "-D", DISTANCE, "-M", 0, "-p", 6, "-b", batch)

        def run(folder: Path) -> tuple[Ran, Path]:
            out = folder / "out.vcf"
            return self._openspliceai(*arguments, "-O", out, log=folder / "log"), out

        return self.item(f"openspliceai.{name}.b{batch}", (PEER, *arguments), run)

    def peer_sites(self, name: str, fasta: Path) -> Measured:
        arguments = ("predict", "-i", fasta, "-m", self.weights, "-f", self.options.context, "--threshold", THRESHOLD)

        def run(folder: Path) -> tuple[Ran, Path]:
            return self._openspliceai(*arguments, "-o", folder, log=folder / "log"), folder

        return self.item(f"openspliceai.{name}", (PEER, *arguments), run)

    def _openspliceai(self, *arguments: object, log: Path) -> Ran:
        return run_openspliceai(self.peer_python(), *arguments, log=log, environment=self.environment)

    # --- files

    def vcf(self, name: str, records: Sequence[Made]) -> Path:
        path = self.work / f"{name}.{len(records)}.vcf"
        write_vcf(path, self.genome, list(records))
        return path


def scores(measured: Measured, key: str) -> dict[Scored, Delta]:
    return by_allele(read_records(Path(measured.out)), key)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(map(str, cells))} |" for cells in (columns, ["---"] * len(columns), *rows)]
