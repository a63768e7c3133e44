"""The Basenji2 family: convolutions and pools to bins, then dilated convolutions that add to what they read.

Source: Kelley 2020 (PLoS Computational Biology 16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from basecast.models.blocks import Layer, WideConvolution, activation_of, aligned, norm_of, pool_of
from basecast.models.layers import crop
from basecast.models.network import NO_CONDITIONS, Network
from basecast.models.registry import Family, register
from basecast.models.signal import DilatedConfig, Head, Heads, bins_of, signal_spec
from basecast.spec import ModelSpec, Output


class Basenji2Config(DilatedConfig):
    """Sizes of one network."""

    tower_dropout: float = Field(0.0, ge=0, lt=1)
    dilations: tuple[PositiveInt, ...] = (1, 2, 3, 4, 6, 9, 14, 21, 32, 48, 72)
    dilated_dropout: float = Field(0.3, ge=0, lt=1)


def _tower(filters: Sequence[int], widths: Sequence[int]) -> tuple[Layer, ...]:
    return tuple(Layer(filters=f, width=w, pool=2) for f, w in zip(filters, widths, strict=True))


def published() -> Basenji2Config:
    """30.09 M parameters with the 5,313 human tracks; windows of 131,072 bp, 896 bins of 128 bp.

    The 1,643 mouse tracks, which were learnt beside them, are one more head.
    """
    return Basenji2Config(
        tower=_tower((288, 339, 399, 470, 554, 652, 768), (15, *[5] * 6)),
        dilated_filters=384,
        final_filters=1536,
        heads=(Head(name="human", tracks=5313),),
        crop=64,
        length=131_072,
    )


def small() -> Basenji2Config:
    """About 0.3 M parameters, bins of 128 bp, for a few CPU cores; it sees as far as the published one."""
    return Basenji2Config(
        tower=_tower((16, 32, 32, 48, 64, 80, 96), (11, *[5] * 6)),
        dilated_filters=32,
        dilated_dropout=0.1,
        final_filters=192,
    )


def tiny() -> Basenji2Config:
    """For tests: bins of 8 bp."""
    return Basenji2Config(
        tower=_tower((8, 8, 8), (5, 3, 3)),
        dilated_filters=4,
        dilations=(1, 2),
        final_filters=8,
        heads=(Head(name="signal", tracks=3),),
    )


class Block(nn.Module):
    """GELU, convolution, batch norm, dropout, pool."""

    def __init__(
        self, inputs: int, layer: Layer, *, dropout: float = 0.0, dilation: int = 1, is_padded: bool = False
    ) -> None:
        super().__init__()
        self.activation = activation_of("gelu")
        self.conv = WideConvolution(inputs, layer.filters, layer.width, dilation, is_padded=is_padded)
        self.norm = norm_of(layer.filters)
        self.dropout = nn.Dropout(dropout)
        self.pool = pool_of(layer.pool)

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch filters bins"]:
        return self.pool(self.dropout(self.norm(self.conv(self.activation(x)))))


class DilatedResidual(nn.Module):
    """x plus what a dilated convolution and one of width 1 make of it, which begins as nothing."""

    def __init__(self, channels: int, filters: int, dilation: int, dropout: float, is_padded: bool) -> None:
        super().__init__()
        self.dilated = Block(channels, Layer(filters=filters, width=3), dilation=dilation, is_padded=is_padded)
        self.back = Block(filters, Layer(filters=channels, width=1), dropout=dropout)
        nn.init.constant_(self.back.norm.weight, 1e-3)  # exactly zero would keep the first from learning

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels positions"]:
        y = self.back(self.dilated(x))
        return aligned(x, self.dilated.conv, y.shape[-1]) + y


class Basenji2(Network):
    """(batch, 4, length) to logits (batch, tracks, bins) of each head."""

    def __init__(self, config: Basenji2Config) -> None:
        super().__init__()
        self.config = config
        self.output_names = tuple(head.name for head in config.heads)
        is_padded, channels = not config.is_local, 4
        blocks: list[nn.Module] = []
        for layer in config.tower:
            blocks.append(Block(channels, layer, dropout=config.tower_dropout, is_padded=is_padded))
            channels = layer.filters
        for dilation in config.dilations:
            blocks.append(
                DilatedResidual(channels, config.dilated_filters, dilation, config.dilated_dropout, is_padded)
            )
        last = Layer(filters=config.final_filters, width=1)
        self.blocks = nn.ModuleList([*blocks, Block(channels, last, dropout=config.final_dropout)])
        self.activation = activation_of("gelu")
        self.head = Heads(config.final_filters, config.heads)
        self.activations_a_base = 6.0 * config.tower[0].filters

    def embed(
        self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor] = NO_CONDITIONS
    ) -> Float[Tensor, "batch channels bins"]:
        bins = bins_of(self.config, one_hot.shape[-1])
        x = one_hot
        for block in self.blocks:
            x = self.through(block, x)
        return self.activation(crop(x, bins))

    def heads(
        self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return self.head.logits(embedding, names, tracks)


def spec(
    config: Basenji2Config, *, outputs: Sequence[Output] | None = None, members: int = 1, **card: Any
) -> ModelSpec:
    """The spec of a package of this family, see ``signal_spec``."""
    return signal_spec("basenji2", config, outputs, members, **card)


register(Family("basenji2", Basenji2Config, Basenji2, {"tiny": tiny, "small": small, "published": published}, spec))
