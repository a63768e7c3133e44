"""Which way of computing a convolution is the fastest here: measured once a machine, then part of a run's plan."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field, ValidationError

from basecast.errors import InputError, UsageError
from basecast.files import built_once, cache_folder, whole_file
from basecast.inference.device import processor, without_tf32
from basecast.inference.native import library
from basecast.inference.native.library import DIRECT, ITEM, SIZES, Layer
from basecast.inference.native.memory import rows
from basecast.inference.program import Program, Step
from basecast.inference.torched import TorchStep
from basecast.spec.model import Frozen

_REPEATS = 5
_PHASES = 12
_BLOCKS = 3 * _PHASES
_POSITIONS = 5_000
_SPECTRUM = 2**23  # bytes of a layer's weights by the Fourier method: every size that is used has its own
_SHORTEST = 1.5  # a Fourier block of fewer rows than this times the taps gives too little


class Tuning(Frozen):
    """The kernels of a run.

    Every choice is a function of this table, so that the same table on the same type of machine gives the same bytes.
    """

    instructions: str = Field("", description="of the compiled kernels; empty: torch computes")
    nanoseconds: dict[str, dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]] = Field(
        default_factory=dict,
        description="by taps x inputs x outputs x bits of a layer: what an output row costs by the direct method, and "
        "what a block costs by the Fourier method, by the block's rows; of torch an output row by conv1d and conv2d",
    )

    @classmethod
    def read(cls, path: Path) -> Tuning:
        """A table that ``write`` wrote.

        Raises:
            InputError: it is none.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValueError as error:
            problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise InputError(
                f"{path} is no kernel table ({problem}): give another path to have one measured and written there"
            ) from None

    def write(self, path: Path) -> None:
        """The table as JSON."""
        with whole_file(path) as partial:
            partial.write_text(self.model_dump_json(indent=1) + "\n")

    def check(self, programs: Iterable[Program], device: torch.device, precision: str) -> None:
        """Hold the table against what it is to be used for.

        Raises:
            UsageError: it asks for what this machine does not have, or lacks a layer.
        """
        if not self.instructions and not self.nanoseconds:  # nothing was measured: torch's conv1d
            return
        if self.instructions and device.type != "cpu":
            raise UsageError(f"the kernel table is of a CPU ({self.instructions}), and this run is on {device}")
        if self.instructions and self.instructions not in library.available():
            has = " and ".join(library.available()) or "none: Basecast was installed without its compiled kernels"
            raise UsageError(
                f"the kernel table was measured with {self.instructions}, this machine has {has}: "
                "pin one that all machines have with --tuning FILE"
            )
        for step in (step for program in programs for step in program.steps):
            names = [_name(step, instructions, precision) for instructions in (self.instructions, "")]
            if not any(self.nanoseconds.get(name) for name in names):
                raise UsageError(
                    f"the kernel table has no layer {names[0]}: it was measured for another model or precision"
                )
            methods = {"direct", *(str(size) for size in SIZES if size >= step.weight.shape[2])}
            methods = methods if self.instructions else {"conv1d", "conv2d"}
            if unknown := set(self.nanoseconds.get(names[0], {})) - methods:
                raise UsageError(
                    f"the kernel table has {min(unknown)!r} for layer {names[0]}, not one of {sorted(methods)}"
                )

    def compiles(self, program: Program, precision: str) -> bool:
        """Whether the compiled kernels compute the program; otherwise torch does."""
        return bool(self.instructions) and all(
            self.nanoseconds.get(_name(step, self.instructions, precision)) and library.can_run(step)
            for step in program.steps
        )

    def compiled(self, step: Step, outputs: Int[np.ndarray, " windows"], precision: str) -> Int[np.ndarray, " windows"]:
        """The compiled method that takes least for so many output rows, window by window."""
        costs = self.nanoseconds[_name(step, self.instructions, precision)]
        names = list(costs)
        each, rest = np.divmod(outputs, step.dilation)
        taken = []
        for name in names:
            if name == "direct":
                taken.append(costs[name] * outputs)
            else:
                gives = int(name) - step.weight.shape[2] + 1
                blocks = rest * -(-(each + 1) // gives) + (step.dilation - rest) * -(-each // gives)
                taken.append(costs[name] * blocks)
        known = np.array([DIRECT if name == "direct" else int(name) for name in names])
        return known[np.argmin(taken, axis=0)]

    def is_flat(self, step: Step, precision: str) -> bool:
        """Whether torch computes the layer faster in two dimensions, channels last."""
        costs = self.nanoseconds.get(_name(step, "", precision), {})
        return costs.get("conv2d", math.inf) < costs.get("conv1d", math.inf)


def measured(programs: Iterable[Program], device: torch.device, precision: str) -> Tuning:
    """The table for what these programs compute: on a CPU with the compiled kernels where there are any.

    A layer is measured once on a type of machine and then remembered in the cache, for the table decides the last bits.
    """
    steps = [step for program in programs for step in program.steps]
    is_compiled = device.type == "cpu" and bool(library.available())
    if not is_compiled and precision == "fp64":  # exactness is asked for, not speed
        return Tuning()
    instructions = library.available()[0] if is_compiled else ""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    machine = [processor(device), instructions, library.digest() if is_compiled else torch.__version__]
    folder = cache_folder("kernels", hashlib.sha256(repr(machine).encode()).hexdigest()[:16])

    def costs(step: Step) -> dict[str, float]:
        if is_compiled and library.can_run(step):
            return _compiled(step, precision, instructions)
        return _of_torch(step, device, dtype)

    layers = {_name(step, instructions if library.can_run(step) else "", precision): step for step in steps}
    found = {}
    for name in sorted(layers):
        path = built_once(folder / f"{name}.json", lambda to, step=layers[name]: to.write_text(json.dumps(costs(step))))  # type: ignore[misc]
        found[name] = json.loads(path.read_text())
    return Tuning(instructions=instructions, nanoseconds=found)


def _of_torch(step: Step, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Nanoseconds of an output row by each of torch's ways, on one thread."""
    x = torch.ones(1, step.weight.shape[1], _POSITIONS + 2 * step.reach, device=device, dtype=dtype)
    bare = replace(step, scale=None, shift=None, before=None, after=None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = {name: TorchStep(bare, device, dtype, name == "conv2d") for name in ("conv1d", "conv2d")}
        taken = {name: _fastest(partial(run, x, (0, 0), None), device) for name, run in runs.items()}
    finally:
        torch.set_num_threads(before)
    return {name: _rounded(seconds / _POSITIONS) for name, seconds in taken.items()}


def _compiled(step: Step, precision: str, instructions: str) -> dict[str, float]:
    """Nanoseconds of an output row by the direct method, and of a block by the Fourier method, by the block's rows."""
    dtype = np.dtype(np.float64 if precision == "fp64" else np.float32)
    _, inputs, taps = step.weight.shape
    wide = replace(step, dilation=_PHASES, scale=None, shift=None, before=None, after=None)
    costs = {}
    for method in _methods(step):
        layer = Layer(wide, method, instructions, dtype)
        n = layer.gives * (_BLOCKS if method else 1)
        source = rows(n + _PHASES * (taps - 1), library.padded(inputs, instructions, dtype), dtype)
        source[...] = np.linspace(0, 1, len(source), dtype=dtype)[:, None]
        made = rows(n, layer.channels, dtype)
        item = np.zeros(1, ITEM)
        at = source.ctypes.data
        item["input"] = (at, at, at, 0, len(source), len(source))
        item["outputs"], item["output"] = n, made.ctypes.data
        seconds = _fastest(partial(layer.run, item), torch.device("cpu"))
        costs[str(method or "direct")] = _rounded(seconds / (_BLOCKS if method else n))
    return costs


def _methods(step: Step) -> list[int]:
    """How the library may compute a layer: directly, or by blocks that are longer than its taps."""
    taps = step.weight.shape[2]
    fit = _SPECTRUM // (8 * step.weight[:, :, 0].numel())
    return [DIRECT, *(size for size in SIZES if size >= _SHORTEST * taps and taps > 1 and size // 2 + 1 <= fit)]


def _rounded(seconds: float) -> float:
    """Nanoseconds, three digits."""
    return float(f"{1e9 * seconds:.3g}")


def _fastest(run: Callable[[], object], device: torch.device) -> float:
    return min(_elapsed(run, device) for _ in range(_REPEATS))


def _elapsed(run: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    with torch.inference_mode(), without_tf32(device):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _name(step: Step, instructions: str, precision: str) -> str:
    """A layer in a table; dilation is nothing to the compiled kernels, which know no precision below single."""
    outputs, inputs, taps = step.weight.shape
    if not instructions:
        return f"{taps}d{step.dilation}x{inputs}x{outputs} {precision}"
    return f"{taps}x{inputs}x{outputs} {'fp64' if precision == 'fp64' else 'fp32'}"
