"""Layers whose reach is known, so that an engine can run them on no more bases than an answer needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

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

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch outputs shorter"]:
        if self.kernel_size == (1,):
            return nn.functional.linear(x.transpose(1, 2), self.weight[:, :, 0], self.bias).transpose(1, 2)
        # as an image of one row, which keeps channels last in memory where they are and is up to twice as fast then
        padding, dilation = (0, int(self.padding[0])), (1, self.dilation[0])
        image = nn.functional.conv2d(
            x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, padding=padding, dilation=dilation
        )
        return image.squeeze(2)


class Norm(nn.BatchNorm1d):
    """Batch normalisation.

    Attributes:
        is_frozen: statistics stay as they are, in training too.
        is_again: the same batch comes by a second time, so statistics do not move.
        total: sums a tensor over the processes that train together, so that they normalise as one would.
    """

    is_frozen = False
    is_again = False
    total: Callable[[Tensor], Tensor] | None = None

    def train(self, mode: bool = True) -> Norm:
        return super().train(mode and not self.is_frozen)

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels length"]:
        momentum = 0.0 if self.is_again else self.momentum or 0.0
        if self.training:
            if not self.is_again:
                self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            if self.total is not None:
                return self._together(x, self.total, momentum)
        image = nn.functional.batch_norm(
            x.unsqueeze(2),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            momentum,
            self.eps,
        )
        return image.squeeze(2)

    def _together(self, x: Tensor, total: Callable[[Tensor], Tensor], momentum: float) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_full((1,), x.shape[0] * x.shape[2])
        sums = total(torch.cat([count, wide.sum((0, 2))]))
        n, mean = sums[0].detach(), sums[1:] / sums[0].detach()
        centred = wide - mean[:, None]
        variance = total(centred.square().sum((0, 2))) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * n / (n - 1), momentum)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None] + self.bias[:, None]).to(x.dtype)


def recomputed(
    block: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """What surrounds a block the first time and, the same batch once more, the second."""

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        norms = [module for module in block.modules() if isinstance(module, Norm)]
        try:
            for norm in norms:
                norm.is_again = True
            yield
        finally:
            for norm in norms:
                norm.is_again = False

    return contextlib.nullcontext(), again()


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
        self.norm1 = Norm(channels, eps=epsilon)
        self.activation1 = activation
        self.conv1 = Convolution(channels, channels, width, dilation)
        self.norm2 = Norm(channels, eps=epsilon)
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
    """One-hot from tokens A, C, G, T, N = 0..4 on the device where the tokens are; N is all zeros.

    In memory the channels of a position lie side by side, as fast convolutions want them.
    """
    bases = torch.arange(4, device=tokens.device, dtype=tokens.dtype)
    return (tokens[:, :, None] == bases).to(dtype).transpose(1, 2)
