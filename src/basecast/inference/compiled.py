"""The compiled kernels: rows of channels, any windows together, each step by the method that is cheapest for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from basecast.genome.sequence import Tokens
from basecast.inference.native import library, memory
from basecast.inference.native.library import ITEM, Layer
from basecast.inference.program import Program
from basecast.inference.runner import Level
from basecast.inference.tuning import Tuning
from basecast.inference.windows import Positions

Rows = Float[np.ndarray, "rows channels"]


class CompiledKernels:
    """For a CPU, in single or double precision. What a window gives does not depend on those beside it."""

    alike_only = False

    def __init__(self, program: Program, dtype: torch.dtype, tuning: Tuning) -> None:
        self._program, self._tuning = program, tuning
        self._dtype = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        self._layers: dict[tuple[int, int], Layer] = {}
        self._methods: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._bases = np.zeros((5, library.padded(4, tuning.instructions, self._dtype)), self._dtype)
        self._bases[:4, :4] = np.eye(4)

    def one_hot(self, tokens: Sequence[Tokens]) -> Rows:
        found = np.concatenate(tokens)
        made = memory.rows(found.size, self._bases.shape[1], self._dtype)
        np.take(self._bases, found, axis=0, out=made, mode="clip")
        return made

    def convolve(
        self, number: int, source: Level, residual: Level | None, first: Positions, last: Positions, lengths: Positions
    ) -> Rows:
        step, sizes = self._program.steps[number - 1], last - first
        channels = library.padded(step.weight.shape[0], self._tuning.instructions, self._dtype)
        made = memory.rows(int(sizes.sum()), channels, self._dtype)
        items = np.zeros(len(sizes), ITEM)
        items["input"] = _addresses(source, lengths)
        items["first"], items["residual_first"], items["outputs"] = first - step.reach, first, sizes
        if residual is not None:
            items["residual"] = _addresses(residual, lengths)
        items["output"] = made.ctypes.data + (np.cumsum(sizes) - sizes) * made.strides[0]
        methods = [self._method(number, n) for n in sizes.tolist()]
        for method in sorted(set(methods)):
            chosen = items if methods.count(method) == len(methods) else items[np.array(methods) == method]
            self._layer(number, method).run(np.ascontiguousarray(chosen))
        return made

    def read(self, level: Level, first: Positions, last: Positions) -> list[Tensor]:
        channels = self._program.steps[-1].weight.shape[0]
        ends = np.cumsum(level.last - level.first)
        found = []
        for i, (a, b) in enumerate(zip(first, last, strict=True)):
            made = np.empty((int(b - a), level.rows.shape[1]), self._dtype)
            low, high, end = level.first[i], level.last[i], ends[i]
            begin, stop = max(a, low), min(b, high)
            if a < low:
                made[: low - a] = level.base[a + level.left[i] : low + level.left[i]]
            made[begin - a : stop - a] = level.rows[end - (high - begin) : end - (high - stop)]
            if stop < b:
                made[stop - a :] = level.base[stop + level.right[i] : b + level.right[i]]
            found.append(torch.from_numpy(made).T[:channels])
        return found

    def release(self, rows: Rows) -> None:
        memory.release(rows)

    def _method(self, number: int, outputs: int) -> int:
        if (number, outputs) not in self._methods:
            step, precision = self._program.steps[number - 1], "fp64" if self._dtype.itemsize == 8 else "fp32"
            self._methods[number, outputs] = int(self._tuning.compiled(step, np.array([outputs]), precision)[0])
        return self._methods[number, outputs]

    def _layer(self, number: int, method: int) -> Layer:
        with self._lock:
            if (number, method) not in self._layers:
                self._layers[number, method] = Layer(
                    self._program.steps[number - 1], method, self._tuning.instructions, self._dtype
                )
            return self._layers[number, method]


def _addresses(level: Level, lengths: Positions) -> np.ndarray:
    """Where the windows' positions stand: as if each tensor began at position 0."""
    found = np.zeros(len(lengths), ITEM["input"])
    width, sizes = level.rows.strides[0], level.last - level.first
    own = level.rows.ctypes.data + (np.cumsum(sizes) - sizes - level.first) * width
    found["middle"], found["changed"], found["same"], found["length"] = own, level.first, level.last, lengths
    if level.base is not None:
        found["first"] = level.base.ctypes.data + level.left * width
        found["last"] = level.base.ctypes.data + level.right * width
    return found
