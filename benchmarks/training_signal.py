"""Training on signals: windows a second beside a plain loop, and memory by size with and without checkpoints.

    python benchmarks/training_signal.py --only speed [--family basenji] [--size small] [--batch 4]
    python benchmarks/training_signal.py --only memory [--sizes basenji:small basenji:published ...]

*Speed*: Basecast's loop reads made-up data from its store, draws other views of each window, and keeps its books; the
plain loop has tokens and targets in memory and does a forward pass, a backward pass and a step. Network, precision,
batch and optimiser are the same. Each is timed over few windows and over many, in turn, and the difference counts, so
that what is done once cancels out; of several rounds the least. On a machine with other work the CPU time of the one
thread is what to go by; on a GPU it is wall time. First it is asserted that both compute the same losses.

*Memory*: the most that a process holds in one step, beyond what it held before, with a batch of one window. A size that
does not fit is told as such.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from basecast.data.loader import Source
from basecast.data.opening import open_split
from basecast.data.store import Header, Record
from basecast.data.windows import epoch_windows
from basecast.data.writer import Writer
from basecast.models.layers import make_one_hot
from basecast.models.network import LINKS
from basecast.models.registry import families
from basecast.spec import LocalReach, ModelSpec, Output, Track
from basecast.training.design import designed
from basecast.training.distributed import Ranks
from basecast.training.fitting import context_of
from basecast.training.loop import Loop, LoopSettings
from basecast.training.losses import EPSILON
from basecast.training.recipes import signal
from basecast.training.train import from_scratch

SIZES = ("basenji:small", "basenji:published", "basenji2:small", "basenji2:published", "borzoi:small")
ON_GPU = (*SIZES, "borzoi:published")


def model_of(family: str, size: str, tracks: int) -> ModelSpec:
    """A model of a size, with so many tracks."""
    resolution = families()[family].sizes[size]().resolution  # type: ignore[attr-defined]
    named = tuple(Track(name=str(i)) for i in range(tracks))
    output = Output(name="signal", tracks=named, resolution=resolution, link="softplus")
    return designed((output,), family=family, size=size, name=f"{family}-{size}", licence="CC0-1.0")


def window_of(spec: ModelSpec, wanted: int) -> int:
    """Label positions of a window: as many as wanted, or what the model's window has."""
    reach = spec.reach
    return wanted if isinstance(reach, LocalReach) else reach.lengths[-1] - sum(context_of(spec))


# --- speed


def write_data(folder: Path, spec: ModelSpec, window: int, records: int) -> None:
    """Random bases and counts, in records of eight windows."""
    output, flank = spec.outputs[0], max(context_of(spec))
    rng, length = np.random.default_rng(1), 8 * window
    for split, n in (("train", records), ("validation", 1)):
        header = Header(split=split, mask="none", flank=flank, outputs=(output,), dense=(output.name,))
        with Writer(folder / f"{split}.h5", header) as writer:
            for i in range(n):
                tokens = rng.integers(0, 4, length + 2 * flank).astype(np.uint8)
                counts = rng.poisson(2.0, (length // output.resolution, len(output.tracks))).astype(np.float32)
                writer.add(Record(f"c{i}", flank, flank + length, "+"), tokens, {output.name: counts})


class Bench:
    """One network and one dataset, and both loops over them."""

    def __init__(self, spec: ModelSpec, folder: Path, window: int, batch: int, device: torch.device) -> None:
        self.spec, self.folder, self.window, self.batch, self.device = spec, folder, window, batch, device
        self.precision = "bf16" if device.type == "cuda" else "fp32"
        self.runs = 0

    def settings(self, windows: int) -> LoopSettings:
        sampling = {"kind": "biased", "splice_bias": 0.0, "samples_per_epoch": windows, "window": self.window}
        changed = {"sampling": sampling, "epochs": 1, "batch_size": self.batch, "precision": self.precision}
        return LoopSettings.model_validate(signal().model_dump() | changed)

    def source(self, split: str, settings: LoopSettings) -> Source:
        return Source.of([open_split(self.folder, split)], settings.sampling, context_of(self.spec), self.spec.outputs)

    def network(self) -> Any:
        return from_scratch(self.spec).network(1).to(self.device)

    def loop(self, windows: int) -> float:
        """Seconds of Basecast's loop."""
        settings = self.settings(windows)
        self.runs += 1
        sources = [self.source(split, settings) for split in ("train", "validation")]
        network = self.network()
        stem = self.folder / f"run-{self.runs}"
        loop = Loop(network, self.spec.outputs, *sources, settings, seed=1, stem=stem, ranks=Ranks(), every=1e9)
        return self.timed(loop.run)

    def plain(self, windows: int) -> float:
        """Seconds of a loop of a dozen lines over tensors in memory."""
        settings = self.settings(windows)
        source = self.source("train", settings)
        batch = source.batch(epoch_windows(source.places, settings.sampling, 1, 0))
        tokens, targets = batch.inputs["sequence"].to(self.device), batch.targets["signal"].to(self.device)
        network = self.network()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)

        def run() -> None:
            network.train()
            for first in range(0, windows, self.batch):
                rows = slice(first, first + self.batch)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                    logits = network(make_one_hot(tokens[rows]))
                rate = nn.functional.softplus(logits.float())
                loss = nn.functional.poisson_nll_loss(rate, targets[rows], log_input=False, eps=EPSILON)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()

        return self.timed(run)

    def timed(self, run: Any) -> float:
        on_gpu = self.device.type == "cuda"
        clock = time.perf_counter if on_gpu else time.process_time
        began = clock()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        return clock() - began

    def check(self) -> None:
        """Both losses of a batch are one number."""
        settings = self.settings(self.batch)
        source = self.source("train", settings)
        batch = source.batch(epoch_windows(source.places, settings.sampling, 1, 0)).to(self.device)
        network = self.network().eval()
        with torch.no_grad():
            logits = network(make_one_hot(batch.inputs["sequence"]))
        target, known = batch.targets["signal"], batch.valid["signal"]
        ours = settings.loss.each(logits, target, known.float(), self.spec.outputs[0].link).sum() / known.sum()
        rate = LINKS[self.spec.outputs[0].link](logits, 1).movedim(1, 2)[known]
        plain = nn.functional.poisson_nll_loss(rate, target.movedim(1, 2)[known], log_input=False, eps=EPSILON)
        assert torch.allclose(ours, plain, rtol=1e-5), (ours, plain)


def speed(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    spec = model_of(options.family, options.size, options.tracks)
    window = window_of(spec, options.window)
    with tempfile.TemporaryDirectory() as made:
        write_data(Path(made), spec, window, options.records)
        bench = Bench(spec, Path(made), window, options.batch, device)
        bench.check()
        few, many = (n * options.batch for n in options.steps)
        least: dict[tuple[str, int], float] = {}
        for _ in range(options.rounds):
            for n in (few, many):
                for name, run in (("loop", bench.loop), ("plain", bench.plain)):
                    least[name, n] = min(run(n), least.get((name, n), float("inf")))
    rates = {name: (many - few) / (least[name, many] - least[name, few]) for name in ("loop", "plain")}
    clock = "s" if device.type == "cuda" else "s of CPU"
    print(
        f"\n{spec.name}, {options.tracks} tracks, windows of {window:,} + {sum(context_of(spec)):,} bases, batch "
        f"{options.batch}, {bench.precision}, {device}, {options.threads} threads\n"
        f"Basecast's loop {rates['loop']:.2f} windows/{clock}, plain loop {rates['plain']:.2f}: "
        f"ratio {rates['loop'] / rates['plain']:.3f}",
        flush=True,
    )


# --- memory


def step_of(name: str, checkpointed: bool, device: torch.device) -> None:
    """One step of a size, and the most it held: printed as weights, bases and bytes."""
    family, size = name.split(":")
    one_step(family, "tiny", 1024, checkpointed, device)  # what libraries take once is not counted
    before = 0 if device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights, bases = one_step(family, size, 131_072, checkpointed, device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    print(weights, bases, peak)


def one_step(family: str, size: str, window: int, checkpointed: bool, device: torch.device) -> tuple[int, int]:
    """Weights of the network, and bases of its window."""
    spec = model_of(family, size, tracks=14)
    bases = window_of(spec, window) + sum(context_of(spec))
    network = from_scratch(spec).network(1).to(device).train()
    network.checkpointed = checkpointed
    optimiser = torch.optim.AdamW(network.parameters())
    tokens = torch.randint(0, 4, (1, bases), dtype=torch.uint8, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = network(make_one_hot(tokens))
    assert isinstance(logits, torch.Tensor)
    nn.functional.softplus(logits.float()).mean().backward()
    optimiser.step()
    return sum(p.numel() for p in network.parameters()), bases


def memory(options: argparse.Namespace) -> None:
    precision = "bf16" if options.device.startswith("cuda") else "fp32"
    print(f"\n{options.device}, {precision}, a batch of one window\n")
    print("| size | weights | bases | GiB a step | with --checkpoint-activations | ratio |\n|---|---|---|---|---|---|")
    for name in options.sizes or (ON_GPU if options.device.startswith("cuda") else SIZES):
        held: list[float] = []
        told = ["?", "?"]
        for checkpointed in ("", "checkpointed"):
            command = [sys.executable, __file__, "--device", options.device, "--step", name, checkpointed]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode == 0:
                *told, peak = ran.stdout.split()
                held.append(int(peak) / 2**30)
            else:
                held.append(float("nan"))  # out of memory
        size = f"{int(told[0]):,} | {int(told[1]):,}" if told[0] != "?" else "? | ?"
        shown = " | ".join("does not fit" if x != x else f"{x:.2f}" for x in held)
        print(f"| {name.replace(':', ' ')} | {size} | {shown} | {held[0] / held[1]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["speed", "memory"], help="by default both")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--family", default="basenji")
    parser.add_argument("--size", default="small")
    parser.add_argument("--tracks", type=int, default=14)
    parser.add_argument("--window", type=int, default=16_384, help="label positions, where the model takes any")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--records", type=int, default=16, help="of eight windows each")
    parser.add_argument("--steps", type=int, nargs=2, default=[4, 24], help="of the short and the long run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", help="memory: family:size")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step_of(options.step[0], bool(options.step[1]), torch.device(options.device))
        return
    if options.only != "memory":
        speed(options)
    if options.only != "speed":
        memory(options)


if __name__ == "__main__":
    main()
