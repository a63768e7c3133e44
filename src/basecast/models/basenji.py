"""The Basenji family: convolutions and pools to bins, then densely connected dilated convolutions.

Source: Kelley et al. 2018 (Genome Research 28).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from basecast.models.blocks import Layer, WideConvolution, aligned, beside, norm_of, pool_of
from basecast.models.layers import crop
from basecast.models.network import NO_CONDITIONS, Network
from basecast.models.registry import Family, register
from basecast.models.signal import DilatedConfig, Head, Heads, bins_of, signal_spec
from basecast.spec import ModelSpec, Output


class BasenjiConfig(DilatedConfig):
    """Sizes of one network; the paper counts the last layer of its tower among the dilated ones."""

    tower_dropout: float = Field(0.05, ge=0, lt=1)
    dilations: tuple[PositiveInt, ...] = (2, 4, 8, 16, 32, 64)
    dilated_dropout: float = Field(0.1, ge=0, lt=1)

    def with_dilated(self, layers: int) -> BasenjiConfig:
        """With the first so many densely connected layers only, 0 to all: a shorter sight.

        Raises:
            ValueError: there are fewer.
        """
        if not 0 <= layers <= len(self.dilations):
            raise ValueError(f"there are {len(self.dilations)} densely connected layers, not {layers}")
        return self.model_copy(update={"dilations": self.dilations[:layers]})


def published() -> BasenjiConfig:
    """15.19 M parameters with the paper's 4,229 tracks; windows of 131,072 bp, 960 bins of 128 bp."""
    sizes = ((312, 22, 1), (368, 1, 2), (435, 6, 4), (514, 6, 4), (607, 6, 4), (717, 3, 1))
    return BasenjiConfig(
        tower=tuple(Layer(filters=f, width=w, pool=p) for f, w, p in sizes),
        dilated_filters=108,
        final_filters=1365,
        heads=(Head(name="signal", tracks=4229),),
        link="exp_linear",
        crop=32,
        length=131_072,
    )


def small() -> BasenjiConfig:
    """About 0.2 M parameters, bins of 128 bp, for a few CPU cores; it sees as far as the published one."""
    sizes = ((32, 15, 8), (48, 5, 4), (64, 5, 4), (96, 3, 1))
    return BasenjiConfig(
        tower=tuple(Layer(filters=f, width=w, pool=p) for f, w, p in sizes),
        dilated_filters=32,
        final_filters=128,
    )


def tiny() -> BasenjiConfig:
    """For tests: bins of 8 bp."""
    sizes = ((8, 6, 2), (8, 3, 4))
    return BasenjiConfig(
        tower=tuple(Layer(filters=f, width=w, pool=p) for f, w, p in sizes),
        dilated_filters=4,
        dilations=(2, 4),
        final_filters=8,
        heads=(Head(name="signal", tracks=3),),
    )


class TowerLayer(nn.Module):
    """Convolution, batch norm, pool, ReLU, dropout; the ReLU of the largest is the largest ReLU."""

    def __init__(self, inputs: int, layer: Layer, dropout: float, is_padded: bool) -> None:
        super().__init__()
        self.conv = WideConvolution(inputs, layer.filters, layer.width, is_padded=is_padded)
        self.norm = norm_of(layer.filters)
        self.pool = pool_of(layer.pool)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch filters bins"]:
        return self.dropout(self.activation(self.pool(self.norm(self.conv(x)))))


class DilatedLayer(nn.Module):
    """Its input, and beside it what a dilated convolution makes of it."""

    def __init__(self, inputs: int, filters: int, dilation: int, dropout: float, is_padded: bool) -> None:
        super().__init__()
        self.conv = WideConvolution(inputs, filters, 3, dilation, is_padded=is_padded)
        self.norm = norm_of(filters)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch more bins"]:
        y = self.dropout(self.activation(self.norm(self.conv(x))))
        return beside(aligned(x, self.conv, y.shape[-1]), y)


class Basenji(Network):
    """(batch, 4, length) to logits (batch, tracks, bins) of each head."""

    def __init__(self, config: BasenjiConfig) -> None:
        super().__init__()
        self.config = config
        self.output_names = tuple(head.name for head in config.heads)
        is_padded, channels = not config.is_local, 4
        blocks: list[nn.Module] = []
        for layer in config.tower:
            blocks.append(TowerLayer(channels, layer, config.tower_dropout, is_padded))
            channels = layer.filters
        for dilation in config.dilations:
            blocks.append(DilatedLayer(channels, config.dilated_filters, dilation, config.dilated_dropout, is_padded))
            channels += config.dilated_filters
        last = Layer(filters=config.final_filters, width=1)
        self.blocks = nn.ModuleList([*blocks, TowerLayer(channels, last, config.final_dropout, is_padded)])
        self.head = Heads(config.final_filters, config.heads)
        self.activations_a_base = 4.0 * config.tower[0].filters

    def embed(
        self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor] = NO_CONDITIONS
    ) -> Float[Tensor, "batch channels bins"]:
        bins = bins_of(self.config, one_hot.shape[-1])
        x = one_hot
        for block in self.blocks:
            x = self.through(block, x)
        return crop(x, bins)

    def heads(
        self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return self.head.logits(embedding, names, tracks)


def spec(config: BasenjiConfig, *, outputs: Sequence[Output] | None = None, members: int = 1, **card: Any) -> ModelSpec:
    """The spec of a package of this family, see ``signal_spec``."""
    return signal_spec("basenji", config, outputs, members, **card)


register(Family("basenji", BasenjiConfig, Basenji, {"tiny": tiny, "small": small, "published": published}, spec))
