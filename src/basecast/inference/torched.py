"""The steps by torch: any device, any activation; for windows that need the same positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from basecast.genome.sequence import Tokens
from basecast.inference.program import Program, Step
from basecast.inference.runner import Level
from basecast.inference.windows import Positions
from basecast.models.layers import make_one_hot

Rows = Float[Tensor, "windows channels rows"]


class TorchKernels:
    """For one device and type.

    Args:
        is_flat: of which steps the convolution is in two dimensions, channels last.
    """

    alike_only = True

    def __init__(
        self, program: Program, device: torch.device, dtype: torch.dtype, is_flat: Callable[[Step], bool]
    ) -> None:
        self._device, self._dtype = device, dtype
        self._steps = [TorchStep(step, device, dtype, is_flat(step)) for step in program.steps]

    def one_hot(self, tokens: Sequence[Tokens]) -> Rows:
        return make_one_hot(torch.from_numpy(np.stack(tokens)).to(self._device), self._dtype)

    def convolve(
        self, number: int, source: Level, residual: Level | None, first: Positions, last: Positions, lengths: Positions
    ) -> Rows:
        step, (a, b, length) = self._steps[number - 1], _same(first, last, lengths)
        low, high = a - step.reach, b + step.reach
        if a == b:
            return self._empty(len(first), step.channels)
        x = self._span(source, max(low, 0), min(high, length))
        outside = (max(-low, 0), max(high - length, 0))
        return step(x, outside, None if residual is None else self._span(residual, a, b))

    def read(self, level: Level, first: Positions, last: Positions) -> list[Tensor]:
        found = self._span(level, *_same(first, last))
        return list(found.float() if self._dtype == torch.bfloat16 else found)

    def release(self, rows: Rows) -> None:
        """Torch keeps memory by itself."""

    def _empty(self, n: int, channels: int) -> Rows:
        """No rows of ``n`` windows."""
        return torch.empty(n, channels, 0, device=self._device, dtype=self._dtype)

    def _span(self, level: Level, a: int, b: int) -> Rows:
        """Positions [a, b) of every window."""
        low, high = _same(level.first, level.last)
        begin, stop = min(max(low, a), b), max(min(high, b), a)
        pieces = [level.rows[:, :, begin - low : stop - low]] if begin < stop else []
        if a < begin:
            pieces.insert(0, self._from(level.base, level.left, a, begin))
        if max(stop, begin) < b:
            pieces.append(self._from(level.base, level.right, max(stop, begin), b))
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]

    def _from(self, base: Float[Tensor, "1 channels base"], shifts: Positions, a: int, b: int) -> Rows:
        """The reference's rows at [a, b) of windows that stand anywhere in it."""
        rows = torch.from_numpy(shifts[:, None] + np.arange(a, b)).to(self._device)
        return base[0][:, rows].movedim(0, 1)


class TorchStep:
    """One step on tensors that hold all that it sees."""

    def __init__(self, step: Step, device: torch.device, dtype: torch.dtype, is_flat: bool) -> None:
        self.reach, self.channels = step.reach, step.weight.shape[0]
        self._is_flat, self._dilation = is_flat, step.dilation
        self._weight, self._bias = step.weight.to(device, dtype), step.bias.to(device, dtype)
        if is_flat:
            self._weight = self._weight[:, :, None].contiguous(memory_format=torch.channels_last)
        self._affine = [x.to(device, dtype)[:, None] for x in (step.scale, step.shift) if x is not None]
        self._before, self._after = step.before, step.after

    def __call__(
        self, x: Float[Tensor, "windows inputs seen"], outside: tuple[int, int], residual: Rows | None
    ) -> Rows:
        """What the step gives of ``x`` with so many zeros at each end."""
        if self._affine:
            scale, shift = self._affine
            x = torch.addcmul(shift, x, scale)
        if self._before is not None:
            x = self._before(x)
        if any(outside):
            x = nn.functional.pad(x, outside)
        if self._is_flat:
            flat = x[:, :, None].contiguous(memory_format=torch.channels_last)
            x = nn.functional.conv2d(flat, self._weight, self._bias, dilation=(1, self._dilation))[:, :, 0]
        else:
            x = nn.functional.conv1d(x, self._weight, self._bias, dilation=self._dilation)
        if residual is not None:
            x = x + residual
        return x if self._after is None else self._after(x)


def _same(*values: Positions) -> tuple[int, ...]:
    """What is the same for all windows."""
    assert all((x == x[0]).all() for x in values)
    return tuple(int(x[0]) for x in values)
