"""What answers cost by the direct method (a sum over taps, no FFT), what a run does, and what the machine can do.

    python benchmarks/engine_arithmetic.py VERB ...    the operations of `basecast VERB ...`, which is run without them

The answers need each position of a layer once: of the reference what the outputs see, of an altered sequence what lies
inside both the change's cone and the outputs' cone. The published method runs a whole window, every layer at its full
length, for REF and again for ALT, of each allele in each gene. Bases that are N count as others do.

What a run does is counted by kernels that give zeros: the engine plans, tiles and batches as with the real ones, and
chooses the method of each layer and window by the same table. A Fourier block counts as the library computes it, the
zeros that fill it up included. Heads, affines, activations and biases are left out.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

import basecast
from basecast.cli.main import main as basecast_main
from basecast.inference import members
from basecast.inference.native import library
from basecast.inference.program import Program, Step
from basecast.inference.runner import Level
from basecast.inference.tuning import Tuning
from basecast.inference.windows import Positions
from basecast.models.spliceai import CLASSES, SpliceAIConfig
from delta_fields import Scored

TILE = 5_000  # bases of output of a window of openspliceai predict
OUTPUTS = {"variant": "out.vcf", "saturate": "out.vcf.gz", "predict": "out"}
Span = tuple[int, int]  # half-open


class Costs(NamedTuple):
    """Multiply-adds a position, all members together, in the order of the layers."""

    reaches: list[int]  # of each layer of the trunk, at one side
    trunk: list[int]
    outputs: int  # the skips and the head

    @property
    def half(self) -> int:
        return sum(self.reaches)

    @property
    def position(self) -> int:
        return sum(self.trunk) + self.outputs


def costs(weights: Path) -> Costs:
    """Of a SpliceAI network, from the spec of its package."""
    spec = basecast.load_model(weights).spec
    assert spec.architecture is not None
    return costs_of(SpliceAIConfig(**spec.architecture.config), len(spec.members))


def costs_of(config: SpliceAIConfig, members: int) -> Costs:
    """Of so many networks of these sizes."""
    channels = config.channels
    reaches, trunk = [0], [4 * channels * members]
    for width, dilation in zip(config.widths, config.dilations, strict=True):
        reaches += [dilation * (width - 1) // 2] * 2
        trunk += [width * channels**2 * members] * 2
    skips = 1 + len(config.widths) // config.skip_every
    return Costs(reaches, trunk, (skips * channels + len(CLASSES)) * channels * members)


def union(spans: Iterable[Span]) -> int:
    """Positions that at least one of the spans covers."""
    total, last = 0, None
    for start, end in sorted(spans):
        begin = start if last is None else max(start, last)
        total += max(end - begin, 0)
        last = end if last is None else max(end, last)
    return total


def reference(costs: Costs, outputs: Sequence[Span]) -> int:
    """Multiply-adds of the outputs at these spans of one sequence, each position of a layer once."""
    total = costs.outputs * union(outputs)
    for passed, cost in zip(accumulate(costs.reaches), costs.trunk, strict=True):
        seen = costs.half - passed
        total += cost * union((start - seen, end + seen) for start, end in outputs)
    return total


def altered(costs: Costs, start: int, gained: int, outputs: Span) -> int:
    """Multiply-adds of an altered sequence that has ``gained`` new bases at ``start``; all in its own coordinates."""
    total = 0
    for passed, cost in zip(accumulate(costs.reaches), costs.trunk, strict=True):
        seen = costs.half - passed
        low, high = max(start - passed, outputs[0] - seen), min(start + gained + passed, outputs[1] + seen)
        total += cost * max(high - low, 0)
    low, high = max(start - costs.half, outputs[0]), min(start + gained + costs.half, outputs[1])
    return total + costs.outputs * max(high - low, 0)


def window(costs: Costs, length: int) -> int:
    """Multiply-adds of the published method for a window of so many bases, its context included."""
    return costs.position * length


@dataclass(frozen=True)
class Arithmetic:
    needed: int  # multiply-adds
    published: int


def of_variants(costs: Costs, scored: Iterable[Scored], distance: int) -> Arithmetic:
    """Of alleles scored in genes; those of one gene share the reference."""
    outputs: dict[tuple[str, str], set[Span]] = defaultdict(set)
    needed = published = 0
    for contig, pos, ref, alt, gene in scored:
        span = pos - 1 - distance, pos + distance
        outputs[contig, gene].add(span)
        shared = next((i for i, (a, b) in enumerate(zip(ref, alt, strict=False)) if a != b), min(len(ref), len(alt)))
        growth = len(alt) - len(ref)
        needed += altered(costs, pos - 1 + shared, len(alt) - shared, (span[0], span[1] + growth))
        length = 2 * costs.half + 2 * distance + 1
        published += window(costs, length) + window(costs, length + growth)
    return Arithmetic(needed + sum(reference(costs, sorted(spans)) for spans in outputs.values()), published)


def of_genome(costs: Costs, lengths: Iterable[int]) -> Arithmetic:
    """Of every position of one strand of contigs so long."""
    lengths = list(lengths)
    windows = sum(-(-length // TILE) for length in lengths)
    return Arithmetic(
        sum(reference(costs, [(0, length)]) for length in lengths), windows * window(costs, TILE + 2 * costs.half)
    )


# --- what a run does: FLOP, of which a multiply-add is two


def direct_operations(step: Step, sizes: Positions) -> int:
    """Of so many output rows by torch."""
    return 2 * step.work * int(sizes.sum())


def compiled_operations(step: Step, sizes: Positions, tuning: Tuning, dtype: np.dtype) -> int:
    """Of windows with so many output rows by the library, each by its own method."""
    outputs, inputs = (library.padded(n, tuning.instructions, dtype) for n in step.weight.shape[:2])
    taps, (each, rest), total = step.weight.shape[2], np.divmod(sizes, step.dilation), 0
    methods = tuning.compiled(step, sizes, "fp64" if dtype.itemsize == 8 else "fp32")
    for method in map(int, np.unique(methods)):
        if method == library.DIRECT:
            total += 2 * taps * inputs * outputs * int(sizes[methods == method].sum())
        else:
            gives = method - taps + 1
            blocks = rest * -(-(each + 1) // gives) + (step.dilation - rest) * -(-each // gives)
            total += block_operations(method, inputs, outputs) * int(blocks[methods == method].sum())
    return total


def block_operations(size: int, inputs: int, outputs: int) -> int:
    """Of a Fourier block: two channels are one complex transform, and each frequency is a complex matrix product."""
    passes, last = 0, size
    while last > 8:
        passes, last = passes + 1, last // 4
    butterflies = size * passes * 34 // 4 + size // last * {4: 16, 8: 60}[last]
    frequencies = size // 2 + 1
    return (inputs + outputs) // 2 * (butterflies + 4 * frequencies) + 8 * frequencies * inputs * outputs


class Counting:
    """Kernels that count operations, all of a process together, and give zeros."""

    total = 0
    _lock = threading.Lock()

    def __init__(self, program: Program, cost: Callable[[Step, Positions], int], alike_only: bool) -> None:
        self.alike_only, self._program, self._cost = alike_only, program, cost

    def one_hot(self, tokens: Sequence[np.ndarray]) -> None: ...

    def convolve(
        self, number: int, source: Level, residual: Level | None, first: Positions, last: Positions, lengths: Positions
    ) -> None:
        done = self._cost(self._program.steps[number - 1], last - first)
        with self._lock:
            Counting.total += done

    def release(self, rows: None) -> None: ...

    def read(self, level: Level, first: Positions, last: Positions) -> list[torch.Tensor]:
        return [torch.zeros(len(self._program.steps[-1].weight), int(n)) for n in last - first]


def by_library(program: Program, dtype: torch.dtype, tuning: Tuning) -> Counting:
    kind = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
    return Counting(program, partial(compiled_operations, tuning=tuning, dtype=kind), alike_only=False)


def by_torch(program: Program, device: torch.device, dtype: torch.dtype, is_flat: Callable[[Step], bool]) -> Counting:
    return Counting(program, direct_operations, alike_only=True)


def operations(*command: object) -> int:
    """FLOP of ``basecast`` with these arguments, counted in a process of its own; without its output file."""
    with TemporaryDirectory() as folder:
        given = [sys.executable, __file__, *map(str, command), "-O", f"{folder}/{OUTPUTS[str(command[0])]}"]
        ran = subprocess.run(given, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{' '.join(given)}\nended with exit code {ran.returncode}\n{ran.stderr}")
    return int(ran.stdout.split()[-1])


# --- what the machine can do

_MATMUL = """
import sys, time, torch
threads, n, dtype, device = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)
a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in "ab")
wait = torch.cuda.synchronize if a.is_cuda else lambda: None
best, until = float("inf"), time.perf_counter() + 3
while time.perf_counter() < until:
    start = time.perf_counter()
    torch.mm(a, b)
    wait()
    best = min(best, time.perf_counter() - start)
print(2 * n**3 / best)
"""


def matmul_peak(threads: int, precision: str, device: str) -> float:
    """FLOP/s of ``torch.mm`` of square matrices (2,048; on a GPU 8,192), the best of 3 s, in a process of its own."""
    size, dtype = (2048 if device == "cpu" else 8192), {"fp32": "float32", "bf16": "bfloat16"}[precision]
    command = [sys.executable, "-c", _MATMUL, *map(str, (threads, size, dtype, device))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    vars(members).update(CompiledKernels=by_library, TorchKernels=by_torch)
    code = basecast_main(sys.argv[1:])
    print(Counting.total)
    sys.exit(code)
