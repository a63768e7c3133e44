"""How many bases a second ``predict`` gives of a signal model, and a plain loop over tensors that are in memory.

Both run the same network on the same windows in the same precision and batch. The loop has its tokens as tensors
before the clock starts, and leaves its values in memory; Basecast reads a FASTA, keeps parts, and writes a bigWig a
track. They must give the same values. On a CPU the ratio is of CPU seconds too, which others on the machine disturb
less. Run as ``python benchmarks/prediction_signal.py [--device cuda --precision bf16]``; weights are random, for they
change no time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from basecast.genome.reference import Genome
from basecast.genome.signal import BigWig
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.tiling import tiles
from basecast.models.layers import make_one_hot
from basecast.models.network import LINKS
from basecast.models.registry import families
from basecast.prediction.predict import TrackSettings, predict_signal
from basecast.prediction.signal import SignalSettings
from basecast.zoo.package import Package

LIMIT = 0.9
TOLERANCE = {"fp32": 1e-5, "bf16": 0.02}


def package_of(family: str, size: str) -> Package:
    known = families()[family]
    config = known.sizes[size]()
    torch.manual_seed(0)
    network = known.network(config).eval().requires_grad_(False)
    return Package(known.spec(config, name=f"{family}-{size}", licence="MIT"), (network,))


def write_genome(path: Path, megabases: float) -> Path:
    bases = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, round(megabases * 1e6))]
    path.write_bytes(b">chr\n" + b"\n".join(bytes(bases[i : i + 60]) for i in range(0, bases.size, 60)) + b"\n")
    return path


class PlainLoop:
    """The network over windows whose tokens are tensors already."""

    def __init__(self, package: Package, genome: Path, device: str, precision: str, batch: int, tile: int) -> None:
        self.spec, self.device, self.precision = package.spec, torch.device(device), precision
        (self.output,) = package.spec.outputs
        self.network = package.network.to(self.device)
        opened = Genome(genome)
        (length,) = opened.lengths.values()
        length -= length % self.output.resolution
        self.places = tiles(self.spec, 0, length, tile)
        windows = [opened.tokens("chr", tile.window_start, tile.window_end) for tile in self.places]
        self.batches = []
        for first in range(0, len(windows), batch):  # the last tile may be shorter, and then runs alone
            alike = [w for w in windows[first : first + batch] if w.size == windows[0].size]
            rest = [w for w in windows[first : first + batch] if w.size != windows[0].size]
            self.batches += [torch.from_numpy(np.stack(some)) for some in (alike, rest) if some]

    def __call__(self) -> NDArray[np.float32]:
        found = []
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), mixed:
            for tokens in self.batches:
                logits = self.network(make_one_hot(tokens.to(self.device), torch.float32)).float()
                found += list(LINKS[self.output.link](logits, 1).mT.cpu().numpy())
        pieces = []
        for place, values in zip(self.places, found, strict=True):
            skip = (place.start - place.seen_start) // self.output.resolution - self.output.crop
            pieces.append(values[skip : skip + (place.end - place.start) // self.output.resolution])
        return np.concatenate(pieces)


def batch_of(package: Package, device: str, precision: str, genome: Path, options: dict[str, object]) -> int:
    """How many windows the engine runs at once."""
    engine = Engine(package, device=device, precision=precision, **options)  # type: ignore[arg-type]
    sizes: list[int] = []
    forward = engine._forward
    engine._forward = lambda batch, *rest: sizes.append(len(batch)) or forward(batch, *rest)  # type: ignore[method-assign,assignment,func-returns-value]
    end = min(12 * engine.longest_tile, sum(Genome(genome).lengths.values()))
    engine.evaluate([Request(Genome(genome), "chr", 0, end - end % package.spec.outputs[0].resolution)])
    return max(sizes)


class Took(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds


def timed(run: Callable[[], object]) -> tuple[Took, object]:
    began, cpu = time.perf_counter(), time.process_time()
    found = run()  # its values are in memory, so a GPU is done
    return Took(time.perf_counter() - began, time.process_time() - cpu), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="basenji")
    parser.add_argument("--size", default="small")
    parser.add_argument("--megabases", type=float, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--tile", type=int, help="bases of output at once")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    package = package_of(options.family, options.size)
    if options.device == "cpu":
        torch.set_num_threads(1)  # one window, one thread: in either program
    with tempfile.TemporaryDirectory() as folder:
        genome = write_genome(Path(folder) / "genome.fa", options.megabases)
        given = {"threads": 1, "tile": options.tile}
        batch = batch_of(package, options.device, options.precision, genome, given)
        tile = Engine(package, device=options.device, precision=options.precision, **given).longest_tile
        settings = SignalSettings(device=options.device, precision=options.precision, **given)
        loop = PlainLoop(package, genome, options.device, options.precision, batch, tile)

        def ours() -> object:
            written = TrackSettings(formats=("bigwig",))
            return predict_signal(genome, Path(folder) / "out", model=package, settings=settings, output=written)

        loop()  # what is done once: kernels, memory
        times: dict[str, list[Took]] = {"predict": [], "plain loop": []}
        for _ in range(options.repeats):  # by turns, for a machine's speed changes
            took, expected = timed(loop)
            times["plain loop"].append(took)
            times["predict"].append(timed(ours)[0])
        names = [f"{folder}/out.{track.name}.bw" for track in package.spec.outputs[0].tracks]
        resolution = package.spec.outputs[0].resolution
        found = np.stack([BigWig(name).values("chr", 0, len(expected) * resolution)[::resolution] for name in names], 1)  # type: ignore[arg-type]
    assert isinstance(expected, np.ndarray)
    worst = float(np.abs(found - expected).max())
    scale = float(np.abs(expected).mean())
    shown = f"{options.family}-{options.size}, {len(names)} tracks, {options.megabases:g} Mb"
    print(f"{shown}, {options.device}, {options.precision}, windows at once {batch}, tile {tile:,} bp")
    best = {name: Took(*(min(each) for each in zip(*took, strict=True))) for name, took in times.items()}
    for name, took in best.items():
        print(f"  {name:<11} {options.megabases / took.wall:8.3f} Mb/s ({took.wall:.2f} s, {took.cpu:.2f} s of CPU)")
    walls, cpus = (getattr(best["plain loop"], kind) / getattr(best["predict"], kind) for kind in Took._fields)
    print(f"  ratio {walls:.2f} of wall time, {cpus:.2f} of CPU time (at least {LIMIT})")
    print(f"  largest difference {worst:.2g} of a mean of {scale:.2g}")
    ratio = walls if options.device != "cpu" else max(walls, cpus)
    return int(ratio < LIMIT or worst > TOLERANCE[options.precision] * max(scale, 1))


if __name__ == "__main__":
    sys.exit(main())
