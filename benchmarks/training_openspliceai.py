"""Basecast's train beside OpenSpliceAI 0.0.7's: windows a second, memory, and the accuracy of what comes out.

    python benchmarks/training_openspliceai.py --only speed [--context 80] [--threads 1]
    python benchmarks/training_openspliceai.py --only accuracy [--seeds 10 11 12] [--epochs 10] [--kinds grid]

Both read the peer's own dataset files of *S. pombe* (contigs I and II train and validate, III is test) and train the
same network, with the same optimiser, loss and schedule.

*Speed*: one epoch over few windows and one over many, in turn, with the same batch of windows of 5,000; the difference
is what the further windows took, so that start-up and validation cancel out. On a machine with other work the CPU time
of one thread is what to go by. The peer is spared the windows that it drops: its shards are whole batches here. Memory
is the most of the longer runs, and Basecast's also where a step is computed in four parts.

*Accuracy*: the peer's model of the least validation loss, and Basecast's after as many passes with the fixed grid,
random phase and biased sampling, each with the same seeds. A pass of Basecast's is cut into windows of 1,000, 128 a
step: as many steps as the peer has. All are then measured on the test genes, each base once. Intervals are of the
difference between means over seeds, on the same draws of genes.

What is done is not done again while its result lies in ``--work``; remove it after a change of the code.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from basecast.evaluation.answers import EngineSettings
from basecast.evaluation.bootstrap import interval
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.evaluation import EvaluateSettings, Evaluation
from basecast.evaluation.measures import ALL, MEAN, measure
from create_data_openspliceai import CONTIGS, our_data, peer_data, prepare_spombe
from delta_fields import shared_data
from running import PEER, Ran, make_peer, run_basecast, run_openspliceai

BATCHES = {80: 36, 400: 36, 2000: 24, 10000: 12}  # the peer's, by context
KINDS = ("grid", "random-phase", "biased")
SCHEDULE, LOSS = "MultiStepLR", "cross_entropy_loss"
WINDOW, BATCH = 1_000, 128  # Basecast's, where accuracy is compared
SPLIT_OF = {"chr2": "train", "chr4": "train", "chr3": "test"}
METRICS = ((MEAN, "top-1"), (MEAN, "auprc"), (MEAN, "f1"), (ALL, "nll"))


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

    def our_train(self, data: Path, kind: str, epochs: int, seed: int, threads: int, out: Path, *more: object) -> Ran:
        return run_basecast(
            *("train", "--data", data, "--context", self.context, "--epochs", epochs, "--seed", seed),
            *("--sampling", kind, "--schedule", "multistep", "--rate", 0.001, "--device", self.device),
            *("--threads", threads, "--output", out, *more),
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


def speed(bench: Bench, threads: int, windows: Sequence[int], rounds: int) -> None:
    """Windows a second by CPU time and by wall time, and peak memory, of either program."""
    taken: dict[tuple[str, int], list[Ran]] = {}
    for turn, n in itertools.product(range(rounds), windows):
        data = speed_data(bench, n)
        for program in ("openspliceai", "basecast"):
            name = f"speed.{program}.{bench.context}.{bench.device}.t{threads}.{n}.{turn}"
            if program == "openspliceai":
                test = data / "dataset_test.h5"
                run = partial(bench.peer_train, data, test, 1, 1, threads, bench.work / name)
            else:
                shape = ("--window", 5_000, "--batch-size", bench.batch, "--restart")
                run = partial(bench.our_train, data, "grid", 1, 1, threads, bench.work / name, *shape)
            taken.setdefault((program, n), []).append(bench.once(name, run))
    name = f"speed.parts.{bench.context}.{bench.device}.t{threads}"
    shape = ("--window", 5_000, "--batch-size", bench.batch, "--accumulate", 4, "--restart")
    parts = bench.once(
        name, partial(bench.our_train, speed_data(bench, windows[1]), "grid", 1, 1, threads, bench.work / name, *shape)
    )

    def rate(program: str, seconds: Callable[[Ran], float]) -> float:
        few, many = (min(map(seconds, taken[program, n])) for n in windows)
        return (windows[1] - windows[0]) / (many - few)

    programs = ("openspliceai", "basecast")
    by_cpu, by_wall = (
        [rate(program, seconds) for program in programs] for seconds in (lambda ran: ran.cpu, lambda ran: ran.wall)
    )
    held = [max(ran.memory for ran in taken[program, windows[1]]) for program in programs]
    memory = [each / 2**20 for each in (*held, parts.memory)]
    print(
        f"\ncontext {bench.context}, batch {bench.batch}, {bench.device}, threads {threads}",
        "",
        "| | openspliceai | Basecast | ratio |",
        "|---|---|---|---|",
        f"| windows a second of CPU | {by_cpu[0]:.1f} | {by_cpu[1]:.1f} | **{by_cpu[1] / by_cpu[0]:.2f}** |",
        f"| windows a second | {by_wall[0]:.1f} | {by_wall[1]:.1f} | **{by_wall[1] / by_wall[0]:.2f}** |",
        f"| peak memory, MiB | {memory[0]:,.0f} | {memory[1]:,.0f} | **{memory[0] / memory[1]:.1f}** |",
        f"| the same with --accumulate 4 | | {memory[2]:,.0f} | **{memory[0] / memory[2]:.1f}** |",
        sep="\n",
        flush=True,
    )


# --- accuracy


def accuracy(bench: Bench, seeds: Sequence[int], epochs: int, kinds: Sequence[str], draws: int) -> None:
    data = bench.peer_dataset()
    small = bench.work / "test_batch.h5"
    if not small.exists():  # the peer scores it after each epoch, which changes nothing in the model
        write_shards(data / "dataset_test.h5", small, bench.batch, bench.batch)
    models: dict[str, list[Path]] = {}
    trained = bench.work / "peer.trained"
    for seed in seeds:
        best = trained / f"SpliceAI_spombe_{bench.context}_0_rs{seed}" / "0" / "models" / "model_best.pt"
        if not best.with_name(f"model_{epochs - 1}.pt").exists():
            bench.peer_train(data, small, epochs, seed, 1, trained)
        models.setdefault("openspliceai", []).append(best)
    for kind, seed in itertools.product(kinds, seeds):
        out = bench.work / f"{kind}-{seed}"
        if not out.exists():
            bench.our_train(data, kind, epochs, seed, 1, out, "--window", WINDOW, "--batch-size", BATCH)
        models.setdefault(kind, []).append(out)
    inputs, table, genes = prepare_spombe(bench.data, bench.work), bench.work / "splits.tsv", bench.work / "genes"
    table.write_text("contig\tsplit\n" + "".join(f"{x}\t{SPLIT_OF[x]}\n" for x in CONTIGS.values()))
    if not genes.exists():
        our_data(inputs, genes, "--split-list", table)
    target = bench.work / "evaluation"
    shutil.rmtree(target, ignore_errors=True)
    evaluation = evaluate(
        [genes / "data"],
        target,
        models=[model for group in models.values() for model in group],
        settings=EvaluateSettings(draws=draws),
        engine=EngineSettings(device=bench.device, threads=1),
    )
    show(evaluation, list(models), seeds)


def show(evaluation: Evaluation, kinds: Sequence[str], seeds: Sequence[int]) -> None:
    """Every model, and means over seeds with intervals: of the mean itself, and of what it has more than another's."""
    found = [measure(x.tally, evaluation.records.classes, evaluation.weights) for x in evaluation.models]
    values = np.array([[each[metric] for metric in METRICS] for each in found])  # models, metrics, draws
    values = values.reshape(len(kinds), len(seeds), len(METRICS), -1)
    heads = ["top-1", "AUPRC", "F1", "NLL a base"]
    print(f"\n{len(evaluation.records)} records of test\n\n| | seed | {' | '.join(heads)} |\n|{'---|' * 6}")
    for kind, group in zip(kinds, values, strict=True):
        for seed, one in zip(seeds, group, strict=True):
            print(f"| {kind} | {seed} | {' | '.join(f'{x:.4g}' for x in one[:, 0])} |")
        print(f"| {kind} | mean | {' | '.join(map(with_interval, group.mean(axis=0)))} |")
    means = dict(zip(kinds, values.mean(axis=1), strict=True))
    for kind, than in ((kind, than) for kind in kinds for than in kinds[:2] if kinds.index(kind) > kinds.index(than)):
        print(f"| {kind} less {than} | mean | {' | '.join(map(with_interval, means[kind] - means[than]))} |")


def with_interval(draws: np.ndarray) -> str:
    low, high = interval(draws[1:])
    return f"{draws[0]:.4g} ({low:.4g} to {high:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["speed", "accuracy"], default=["speed", "accuracy"])
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--peer-python", type=Path, help=f"python of an environment with {PEER}; made where missing")
    parser.add_argument("--context", type=int, choices=BATCHES, default=80, help="bases of context of the network")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; accuracy is compared on the CPU's threads")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="speed: CPU threads of either program")
    parser.add_argument("--windows", type=int, nargs=2, default=[144, 576], help="speed: of the short and the long run")
    parser.add_argument("--rounds", type=int, default=2, help="speed: runs of each, in turn; the least time counts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12], help="accuracy: one model each")
    parser.add_argument("--epochs", type=int, default=10, help="accuracy: passes over the training data")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="accuracy: windows of an epoch")
    parser.add_argument("--draws", type=int, default=1000, help="accuracy: of the test genes, for the intervals")
    parser.add_argument("--work", type=Path, default=Path("parity-work/training"), help="where files are kept")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = options.peer_python or make_peer(work / "venv")
    bench = Bench(shared_data(options.shared), work, python, options.context, options.device)
    if "speed" in options.only:
        cores = sorted(os.sched_getaffinity(0))
        for threads in options.threads:
            os.sched_setaffinity(0, cores[-threads:] if bench.device == "cpu" else cores)
            speed(bench, threads, options.windows, options.rounds)
        os.sched_setaffinity(0, cores)
    if "accuracy" in options.only:
        accuracy(bench, options.seeds, options.epochs, options.kinds, options.draws)


if __name__ == "__main__":
    main()
