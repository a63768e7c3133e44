"""Basecast's train beside OpenSpliceAI 0.0.7's: windows a second, memory, and the accuracy of what comes out.

    python benchmarks/training_openspliceai.py --only speed [--context 80] [--threads 1 2]
    python benchmarks/training_openspliceai.py --only accuracy [--seeds 10 11 12] [--epochs 10]

Both read the peer's own dataset files of *S. pombe* (contigs I and II train and validate, III is test) and train the
same network, with the same batch, optimiser, loss and schedule.

*Speed*: one epoch over few windows and one over many; the difference is what the further windows took, so that
start-up and validation cancel out. The peer is spared the windows that it drops: its shards are whole batches here.
Memory is the most of the longer run.

*Accuracy*: the peer's model of the least validation loss, and Basecast's after as many passes with the fixed grid,
random phase and biased sampling, each with the same seeds; then ``basecast evaluate`` on the test genes. Intervals are
of the difference between means over seeds, by resampling genes.

A run that is done is not done again while its result lies in ``--work``; remove it after a change of the code.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from create_data_openspliceai import peer_data, prepare_spombe
from delta_fields import shared_data
from running import PEER, Ran, make_peer, run_basecast, run_openspliceai

BATCHES = {80: 36, 400: 36, 2000: 24, 10000: 12}  # the peer's, by context
KINDS = ("grid", "random-phase", "biased")
SCHEDULE, LOSS = "MultiStepLR", "cross_entropy_loss"


@dataclass
class Bench:
    """Where files are kept, and what every run shares."""

    data: Path
    work: Path
    python: Path
    context: int
    device: str

    @property
    def batch(self) -> int:
        return BATCHES[self.context]

    def environment(self, threads: int) -> dict[str, str]:
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}  # the peer takes a GPU where it finds one
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} | hidden

    def once(self, name: str, run: Callable[[], Ran]) -> Ran:
        """What a run took, from the file of an earlier one if there is one."""
        kept = self.work / f"{name}.json"
        if not kept.exists():
            ran = run()
            print(f"    {ran.wall:.1f} s, {ran.cpu:.1f} s of CPU, {ran.memory / 2**20:.0f} MiB", flush=True)
            partial = kept.with_name(kept.name + ".part")
            partial.write_text(json.dumps(ran._asdict()))
            partial.rename(kept)
        return Ran(**json.loads(kept.read_text()))

    def peer_dataset(self) -> Path:
        """The peer's dataset files of *S. pombe*."""
        self.once("peer.data", lambda: peer_data(self.python, prepare_spombe(self.data, self.work), self.work / "peer"))
        return self.work / "peer" / "data"

    def peer_train(self, data: Path, test: Path, epochs: int, seed: int, threads: int, out: Path) -> Ran:
        return run_openspliceai(
            *(self.python, "train", "--train-dataset", data / "dataset_train.h5", "--test-dataset", test),
            *("--flanking-size", self.context, "--epochs", epochs, "--random-seed", seed),
            *("--scheduler", SCHEDULE, "--loss", LOSS, "--output-dir", out, "--project-name", "spombe"),
            log=out.with_name(f"{out.name}.{seed}.log"),
            environment=self.environment(threads),
        )

    def our_train(self, data: Path, kind: str, epochs: int, seed: int, threads: int, out: Path) -> Ran:
        return run_basecast(
            *("train", "--data", data, "--context", self.context, "--epochs", epochs, "--seed", seed),
            *("--batch", self.batch, "--sampling", kind, "--device", self.device, "--output", out),
            log=out.with_name(f"{out.name}.log"),
            environment=self.environment(threads),
        )


def write_shards(source: Path, out: Path, windows: int, shard: int) -> None:
    """The first windows of one of the peer's dataset files, in shards of ``shard``."""
    with h5py.File(source) as file, h5py.File(out, "w") as made:
        n_shards = len(file) // 2
        every = [(i, j) for i in range(n_shards) for j in range(len(file[f"X{i}"]))]
        if len(every) < windows:
            sys.exit(f"{source} has {len(every)} windows, {windows} are needed: give fewer with --windows")
        for number, first in enumerate(range(0, windows, shard)):
            rows = every[first : min(first + shard, windows)]
            made[f"X{number}"] = np.stack([file[f"X{i}"][j] for i, j in rows])
            made[f"Y{number}"] = np.stack([file[f"Y{i}"][0, j] for i, j in rows])[None]


# --- speed


def speed_data(bench: Bench, windows: int) -> Path:
    """Whole batches of train windows, and one batch to validate on and to test."""
    folder = bench.work / f"speed.{bench.batch}.{windows}"
    if not folder.exists():
        partial = folder.with_name(folder.name + ".part")
        partial.mkdir(exist_ok=True)
        for split, n in (("train", windows), ("validation", bench.batch), ("test", bench.batch)):
            name = f"dataset_{split}.h5"
            write_shards(bench.peer_dataset() / name, partial / name, n, 2 * bench.batch)
        partial.rename(folder)
    return folder


def speed(bench: Bench, threads: int, windows: Sequence[int]) -> list[object]:
    """A row: threads, windows a second of both and their ratio, peak memory of both and its ratio."""
    rates, memory = [], []
    for program in ("openspliceai", "basecast"):
        took = []
        for n in windows:
            data, name = speed_data(bench, n), f"speed.{program}.{bench.context}.{bench.device}.t{threads}.{n}"
            if program == "openspliceai":
                run = partial(bench.peer_train, data, data / "dataset_test.h5", 1, 1, threads, bench.work / name)
            else:
                run = partial(bench.our_train, data, "grid", 1, 1, threads, bench.work / name)
            took.append(bench.once(name, run))
        rates.append((windows[1] - windows[0]) / (took[1].wall - took[0].wall))
        memory.append(took[1].memory / 2**20)
    speeds = f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"**{rates[1] / rates[0]:.2f}**"
    return [threads, *speeds, f"{memory[0]:,.0f}", f"{memory[1]:,.0f}", f"**{memory[0] / memory[1]:.1f}**"]


# --- accuracy


def accuracy(bench: Bench, seeds: Sequence[int], epochs: int) -> None:
    data = bench.peer_dataset()
    small = bench.work / "test_batch.h5"
    if not small.exists():  # the peer scores it after each epoch, which changes nothing in the model
        write_shards(data / "dataset_test.h5", small, bench.batch, bench.batch)
    models: dict[str, list[Path]] = {}
    trained = bench.work / "peer.trained"
    for seed in seeds:
        bench.once(f"peer.trained.{seed}", partial(bench.peer_train, data, small, epochs, seed, 1, trained))
        folder = trained / f"SpliceAI_spombe_{bench.context}_0_rs{seed}" / "0" / "models"
        models.setdefault("openspliceai", []).append(folder / "model_best.pt")
    for kind, seed in itertools.product(KINDS, seeds):
        out = bench.work / f"trained.{kind}.{seed}"
        bench.once(out.name, partial(bench.our_train, data, kind, epochs, seed, 1, out))
        models.setdefault(kind, []).append(out)
    print(models)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["speed", "accuracy"], default=["speed", "accuracy"])
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--peer-python", type=Path, help=f"python of an environment with {PEER}; made where missing")
    parser.add_argument("--context", type=int, choices=BATCHES, default=80, help="bases of context of the network")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; accuracy is compared on the CPU's threads")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="speed: CPU threads of either program")
    parser.add_argument("--windows", type=int, nargs=2, default=[144, 720], help="speed: of the short and the long run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12], help="accuracy: one model each")
    parser.add_argument("--epochs", type=int, default=10, help="accuracy: passes over the training data")
    parser.add_argument("--work", type=Path, default=Path("parity-work/training"), help="where files are kept")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = options.peer_python or make_peer(work / "venv")
    bench = Bench(shared_data(options.shared), work, python, options.context, options.device)
    if "speed" in options.only:
        columns = ("threads", "openspliceai, windows/s", "Basecast", "ratio", "openspliceai, MiB", "Basecast", "ratio")
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
        cores = sorted(os.sched_getaffinity(0))
        for threads in options.threads:
            os.sched_setaffinity(0, cores[-threads:] if bench.device == "cpu" else cores)
            print(f"| {' | '.join(map(str, speed(bench, threads, options.windows)))} |", flush=True)
        os.sched_setaffinity(0, cores)
    if "accuracy" in options.only:
        accuracy(bench, options.seeds, options.epochs)


if __name__ == "__main__":
    main()
