"""Which way of computing a convolution is the fastest here: measured once a run, then part of its plan."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field, ValidationError

from basecast.errors import InputError, UsageError
from basecast.files import whole_file
from basecast.inference.native import library
from basecast.inference.native.library import DIRECT, ITEM, SIZES, Layer
from basecast.inference.program import Program, Step
from basecast.inference.torched import TorchStep, name_of
from basecast.spec.model import Frozen

_REPEATS = 5
_BLOCKS = 36
_POSITIONS = 5_000
_SHORTEST = 1.5  # a Fourier block of fewer rows than this times the taps gives too little


class Tuning(Frozen):
    """The kernels of a run.

    Every choice is a function of this table, so that the same table on the same type of machine gives the same bytes.
    """

    instructions: str = Field("", description="of the compiled kernels; empty: torch computes")
    nanoseconds: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="by taps x inputs x outputs x bits of a layer: what an output row costs by the direct method, and "
        "what a block costs by the Fourier method, by the block's rows",
    )
    convolutions: dict[str, str] = Field(
        default_factory=dict, description="of torch, by taps x dilation x inputs x outputs of a layer: conv1d or conv2d"
    )

    @classmethod
    def read(cls, path: Path) -> Tuning:
        """A table that ``write`` wrote.

        Raises:
            InputError: it is none, or asks for what this machine does not have.
        """
        try:
            return cls.model_validate_json(path.read_text()).checked()
        except ValidationError as error:
            problem = error.errors()[0]
            raise InputError(f"{path} is no kernel table ({problem['msg']}): remove it to have one measured") from None

    @classmethod
    def of(cls, tables: Iterable[Tuning]) -> Tuning:
        """One table of those of several packages, for one machine."""
        found = list(tables)
        return cls(
            instructions=max(table.instructions for table in found),
            nanoseconds={k: v for table in found for k, v in table.nanoseconds.items()},
            convolutions={k: v for table in found for k, v in table.convolutions.items()},
        )

    def write(self, path: Path) -> None:
        """The table as JSON."""
        with whole_file(path) as partial:
            partial.write_text(self.model_dump_json(indent=1) + "\n")

    def checked(self) -> Tuning:
        """This table.

        Raises:
            UsageError: it asks for instructions that this machine does not have.
        """
        if self.instructions and self.instructions not in library.available():
            has = " and ".join(library.available()) or "none: Basecast was installed without its compiled kernels"
            raise UsageError(
                f"the kernel table was measured with {self.instructions}, this machine has {has}: "
                "pin one that all have with --tuning FILE"
            )
        return self

    def methods(self, step: Step, outputs: Int[np.ndarray, " windows"], itemsize: int) -> Int[np.ndarray, " windows"]:
        """The compiled method that takes least for so many output rows, window by window."""
        costs = self.nanoseconds[_shape(step, itemsize)]
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


def measured(programs: Iterable[Program], device: torch.device, precision: str) -> Tuning:
    """The table for what these programs compute: on a CPU with the compiled kernels where there are any."""
    steps = [step for program in programs for step in program.steps]
    bits = 64 if precision == "fp64" else 32
    if device.type == "cpu" and library.available() and all(library.can_run(step) for step in steps):
        instructions = library.available()[0]
        shapes = {_shape(step, bits // 8) for step in steps}
        costs = {name: _costs(*map(int, name.split("x")), instructions) for name in sorted(shapes)}
        return Tuning(instructions=instructions, nanoseconds=costs)
    if precision == "fp64":  # exactness is asked for, not speed
        return Tuning()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layers = {name_of(step): step for step in steps}
    return Tuning(convolutions={name: _fastest(layers[name], device, dtype) for name in sorted(layers)})


def _fastest(step: Step, device: torch.device, dtype: torch.dtype) -> str:
    x = torch.ones(1, step.weight.shape[1], _POSITIONS + 2 * step.reach, device=device, dtype=dtype)
    taken = {}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("conv1d", "conv2d"):
            run = TorchStep(replace(step, scale=None, before=None, after=None), device, dtype, name == "conv2d")
            taken[name] = min(_elapsed(lambda: run(x, (0, 0), None), device) for _ in range(_REPEATS))  # noqa: B023
    finally:
        torch.set_num_threads(before)
    return min(taken, key=taken.__getitem__)


def _elapsed(run: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _shape(step: Step, itemsize: int) -> str:
    outputs, inputs, taps = step.weight.shape
    return f"{taps}x{inputs}x{outputs}x{8 * itemsize}"


@functools.cache
def _costs(taps: int, inputs: int, outputs: int, bits: int, instructions: str) -> dict[str, float]:
    dtype = np.dtype(f"f{bits // 8}")
    weight = torch.full((outputs, inputs, taps), 1e-3, dtype=torch.float64)
    step = Step(0, weight, torch.zeros(outputs, dtype=torch.float64), 1, (taps - 1) // 2, 0)
    costs = {}
    for method in (DIRECT, *(size for size in SIZES if size >= _SHORTEST * taps and taps > 1)):
        layer = Layer(step, method, instructions, dtype)
        n = layer.gives * (_BLOCKS if method else 1)
        source = library.rows(n + taps - 1, library.padded(inputs, instructions, dtype), dtype)
        source[...] = np.linspace(0, 1, len(source), dtype=dtype)[:, None]
        made = library.rows(n, layer.channels, dtype)
        item = np.zeros(1, ITEM)
        at = source.ctypes.data
        item["input"] = (at, at, at, 0, len(source), len(source))
        item["outputs"], item["output"] = n, made.ctypes.data
        fastest = min(_elapsed(partial(layer.run, item), torch.device("cpu")) for _ in range(_REPEATS))
        costs[str(method or "direct")] = float(f"{1e9 * fastest / (_BLOCKS if method else n):.3g}")
    return costs
