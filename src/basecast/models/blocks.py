"""Blocks of the networks that pool: convolutions of any width, padded with zeros or not, and pools.

In memory the channels of a position lie side by side throughout, which convolutions and pools are fastest with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from basecast.models.layers import Norm
from basecast.spec.model import Frozen

EPSILON, MOMENTUM = 1e-3, 0.1
"""Of batch and layer norms, as Keras has them (its momentum 0.9 is ours 0.1)."""

Activation = Literal["relu", "gelu", "linear"]


def activation_of(name: Activation) -> nn.Module:
    """A module of its own for each place; GELU in its tanh form."""
    if name == "gelu":
        return nn.GELU(approximate="tanh")
    return nn.ReLU() if name == "relu" else nn.Identity()


def norm_of(channels: int) -> Norm:
    """Batch normalisation as these networks have it."""
    return Norm(channels, eps=EPSILON, momentum=MOMENTUM)


class WideConvolution(nn.Conv1d):
    """A stride-1 convolution; it gives the positions that it sees whole or, ``is_padded``, as many as it is given.

    Of an even width the position is the left one of the two in the middle, as in TensorFlow's "same".
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, dilation: int = 1, *, bias: bool = False, is_padded: bool = False
    ) -> None:
        super().__init__(inputs, outputs, width, dilation=dilation, bias=bias)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.left, self.right = sides(width, dilation)
        self.is_padded = is_padded

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch outputs positions"]:
        image, padding = x.unsqueeze(2), (0, 0)
        if self.is_padded:
            if self.left == self.right:
                padding = (0, self.left)
            else:
                image = nn.functional.pad(image, (self.left, self.right))
        weight, dilation = self.weight.unsqueeze(2), (1, self.dilation[0])
        return nn.functional.conv2d(image, weight, self.bias, padding=padding, dilation=dilation).squeeze(2)


def sides(width: int, dilation: int = 1) -> tuple[int, int]:
    """Positions that a convolution sees to the left and right of its own."""
    total = dilation * (width - 1)
    return total // 2, total - total // 2


class Layer(Frozen):
    """One layer of the tower: a convolution, then the largest of every ``pool`` positions."""

    filters: PositiveInt
    width: PositiveInt
    pool: PositiveInt = 1


def sight_of(tower: Iterable[Layer]) -> tuple[int, int, int]:
    """Of the layers of a tower in order: bases that a bin sees to its left and right, and bases a bin."""
    left, right, scale = 0, 0, 1
    for layer in tower:
        before, after = sides(layer.width)
        left, right, scale = left + before * scale, right + after * scale, scale * layer.pool
    return left, right, scale


class Pool(nn.MaxPool1d):
    """The largest of every ``width`` positions."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.width = width

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels bins"]:
        return nn.functional.max_pool2d(x.unsqueeze(2), (1, self.width)).squeeze(2)


def pool_of(width: int) -> nn.Module:
    """A pool; of width 1 nothing."""
    return Pool(width) if width > 1 else nn.Identity()


def beside(x: Float[Tensor, "batch one length"], y: Float[Tensor, "batch two length"]) -> Tensor:
    """The channels of both, one after the other."""
    return torch.cat([x.mT, y.mT], 2).mT


def aligned(
    x: Float[Tensor, "batch channels length"], convolution: WideConvolution, length: int
) -> Float[Tensor, "batch channels positions"]:
    """The positions of a convolution's input that its ``length`` outputs stand at."""
    start = 0 if convolution.is_padded else convolution.left
    return x[..., start : start + length]
