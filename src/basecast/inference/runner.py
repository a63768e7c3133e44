"""Windows through a program: whole ones, or at the price of what a change alters.

Of an altered window a tensor can differ from the reference's only inside the change's cone, and only what lies inside
the outputs' cone is needed. The rest is the reference's, shifted where the allele changes the length.

The idea for convolutional networks: Nair et al. 2022 (fastISM). Indels and dilated residual stacks are exact too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from basecast.genome.sequence import Tokens
from basecast.inference.program import Program
from basecast.inference.windows import Positions, Span, Windows, computed


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One tensor of several windows: rows of their own for [first, last), and the reference's around them.

    Attributes:
        rows: the windows' own, as the kernels keep them.
        first, last: in positions of each window.
        base: the reference's rows, None where the windows are whole.
        low, high: which of them are of the window's own stretch.
        left, right: a position below ``first`` is row ``position + left`` of the reference's, from ``last`` on
            ``position + right``.
    """

    rows: Any
    first: Positions
    last: Positions
    base: Any
    low: Positions
    high: Positions
    left: Positions
    right: Positions

    def holds(self, first: Positions, last: Positions, reach: int = 0) -> bool:
        """Whether there is a row for every position that [first, last) sees."""
        if self.base is None:
            return True
        is_empty = first >= last
        first, last = first - reach, last + reach
        left, right = np.minimum(last, self.first) + self.left, np.maximum(first, self.last) + self.right
        is_left = (first >= self.first) | ((first + self.left >= self.low) & (left <= self.high))
        is_right = (last <= self.last) | ((right >= self.low) & (last + self.right <= self.high))
        return bool((is_left & is_right | is_empty).all())


@runtime_checkable
class Kernels(Protocol):
    """How the steps of one program are computed on a device."""

    alike_only: bool
    """Whether windows that are run together must need the same positions."""

    def one_hot(self, tokens: Sequence[Tokens]) -> Any:
        """Rows of the bases of each window."""

    def convolve(
        self, number: int, source: Level, residual: Level | None, first: Positions, last: Positions, lengths: Positions
    ) -> Any:
        """Rows [first, last) of what step ``number`` (from 1) gives; beyond a window's ends its source is zero."""

    def release(self, rows: Any) -> None:
        """Rows that are not used any more."""

    def read(self, level: Level, first: Positions, last: Positions) -> list[Tensor]:
        """(channels, positions) of each window."""


class Runner:
    """Runs one program."""

    def __init__(self, program: Program, kernels: Kernels, is_padded: bool = False) -> None:
        self.program, self.kernels = program, kernels
        self._is_padded = is_padded
        self._last_use = program.last_use

    def embedding(self, windows: Windows, reference: Sequence[Level] | None = None) -> Tensor:
        """(windows, channels, outputs) of windows with as many outputs; altered ones take their ``reference``."""
        level = self._levels(windows, reference, keep=False)[-1]
        found = self._read(level, windows)
        self.kernels.release(level.rows)
        return torch.stack(found)

    def reference(self, tokens: Sequence[Tokens], growth: int) -> tuple[list[Level], list[Tensor]]:
        """Every tensor of stretches, for windows to be altered from, and of each the embedding, (1, channels, outputs).

        ``growth`` is by how many bases altered windows are longer at most.
        """
        windows = Windows.whole(tokens)
        levels = self._levels(windows, None, keep=True, margin=max(growth, 0))
        return levels, [embedding[None] for embedding in self._read(levels[-1], windows)]

    def release(self, levels: Sequence[Level]) -> None:
        """Give back what ``reference`` gave; it is not to be used any more."""
        for level in levels:
            self.kernels.release(level.rows)

    def _read(self, level: Level, windows: Windows) -> list[Tensor]:
        return self.kernels.read(level, self.program.reach + 0 * windows.lengths, windows.lengths - self.program.reach)

    def _levels(self, windows: Windows, reference: Sequence[Level] | None, keep: bool, margin: int = 0) -> list[Any]:
        spans = computed(self.program, windows, is_padded=self._is_padded, margin=margin)
        own = zip(windows.tokens, *spans[0], windows.starts, strict=True)
        tokens = [x[a - start : b - start] for x, a, b, start in own]
        bases: Sequence[Level | None] = reference or [None] * len(spans)
        levels: list[Any] = [self._level(self.kernels.one_hot(tokens), spans[0], windows, bases[0])]
        for number, step in enumerate(self.program.steps, start=1):
            residual = None if step.residual is None else levels[step.residual]
            first, last = spans[number]
            is_there = levels[step.source].holds(first, last, step.reach)
            if not is_there or not (residual is None or residual.holds(first, last)):
                raise AssertionError(f"step {number} would read beyond its reference")
            rows = self.kernels.convolve(number, levels[step.source], residual, first, last, windows.lengths)
            levels.append(self._level(rows, spans[number], windows, bases[number]))
            for tensor in {step.source, step.residual} if not keep else ():
                if tensor is not None and self._last_use[tensor] == number:
                    self.kernels.release(levels[tensor].rows)
                    levels[tensor] = None
        return levels

    @staticmethod
    def _level(rows: Any, span: Span, windows: Windows, base: Level | None) -> Level:
        if base is None:
            none = windows.offsets
            return Level(rows, *span, None, none, none, none, none)
        sizes = base.last - base.first
        low, high = ((np.cumsum(sizes) - x)[windows.stretches] for x in (sizes, 0 * sizes))
        left = low + windows.offsets - base.first[windows.stretches]
        return Level(rows, *span, base.rows, low, high, left, left - windows.growths)
