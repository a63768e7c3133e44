"""Layers whose reach is known, so that an engine can run them on no more bases than an answer needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, fx, nn


class Convolution(nn.Conv1d):
    """A stride-1 convolution that gives only the positions it sees whole: ``reach`` fewer at each end."""

    def __init__(self, inputs: int, outputs: int, width: int, dilation: int = 1) -> None:
        if width % 2 == 0:
            raise ValueError(f"the width of a centred convolution is odd, got {width}")
        super().__init__(inputs, outputs, width, dilation=dilation)
        self.reach = dilation * (width - 1) // 2


def crop(x: Float[Tensor, "batch channels length"], length: int) -> Float[Tensor, "batch channels middle"]:
    """The middle ``length`` positions."""
    start = (x.shape[-1] - length) // 2
    return x[..., start : start + length]


fx.wrap("crop")  # one step for who traces a network


@contextlib.contextmanager
def padded(network: nn.Module) -> Iterator[None]:
    """Within the block every ``Convolution`` keeps its input's length by zero padding, as the published code runs."""
    convolutions = [module for module in network.modules() if isinstance(module, Convolution)]
    try:
        for convolution in convolutions:
            convolution.padding = (convolution.reach,)
        yield
    finally:
        for convolution in convolutions:
            convolution.padding = (0,)


class ResidualUnit(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), pre-activation (Jaganathan et al. 2019, "RB block")."""

    def __init__(self, channels: int, width: int, dilation: int, activation: nn.Module, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm1d(channels, eps=epsilon)
        self.activation1 = activation
        self.conv1 = Convolution(channels, channels, width, dilation)
        self.norm2 = nn.BatchNorm1d(channels, eps=epsilon)
        self.activation2 = type(activation)(**_settings(activation))
        self.conv2 = Convolution(channels, channels, width, dilation)
        self.reach = self.conv1.reach + self.conv2.reach

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels shorter"]:
        y = self.conv1(self.activation1(self.norm1(x)))
        y = self.conv2(self.activation2(self.norm2(y)))
        return crop(x, y.shape[-1]) + y


def _settings(activation: nn.Module) -> dict[str, float]:
    return {"negative_slope": activation.negative_slope} if isinstance(activation, nn.LeakyReLU) else {}


def make_one_hot(
    tokens: UInt8[Tensor, "batch length"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "batch 4 length"]:
    """One-hot from tokens A, C, G, T, N = 0..4 on the device where the tokens are; N is all zeros."""
    bases = torch.arange(4, device=tokens.device, dtype=tokens.dtype)
    return (tokens[:, None, :] == bases[None, :, None]).to(dtype)
