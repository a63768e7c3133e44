"""The Borzoi family: convolutions and pools, attention at the coarsest level, and back up to finer bins.

Sources: Linder et al. 2025 (Nature Genetics 57), and for rotary attention Hingerl et al. 2024 (Flashzoi).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from jaxtyping import Float
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from basecast.models.attention import RelativeSizes, RotarySizes, Sizes, Transformer
from basecast.models.blocks import Pool, WideConvolution, activation_of, norm_of
from basecast.models.network import NO_CONDITIONS, Network
from basecast.models.registry import Family, register
from basecast.models.signal import Head, Heads, SignalConfig, bins_of, signal_spec
from basecast.spec import ModelSpec, Output, WindowReach


class BorzoiConfig(SignalConfig):
    """Sizes of one network; every layer before attention halves the length."""

    stem_filters: PositiveInt
    stem_width: PositiveInt
    tower: tuple[PositiveInt, ...] = Field(min_length=1, description="filters of each layer")
    tower_width: PositiveInt = 5
    attention: Annotated[Sizes, Field(discriminator="kind")]
    transformers: int = Field(ge=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    levels: int = Field(2, ge=0, description="how often the bins are halved again after attention")
    level_width: PositiveInt = 3
    final_filters: PositiveInt | None = None
    final_dropout: float = Field(0.1, ge=0, lt=1)
    crop: int = Field(ge=0, description="bins at each end of a window for which nothing is given")
    length: PositiveInt = Field(description="bases of a window")

    @model_validator(mode="after")
    def _sizes_agree(self) -> BorzoiConfig:
        if self.levels > len(self.tower):
            raise ValueError(f"a tower of {len(self.tower)} layers has no {self.levels} levels to go back up")
        if self.length % self.coarsest or self.length <= 2 * self.crop * self.resolution:
            raise ValueError(
                f"windows of {self.length} bases are no whole number of {self.coarsest}, "
                f"or no more than what a crop of {self.crop} bins takes"
            )
        return self

    @property
    def coarsest(self) -> int:
        """Bases a position where attention stands."""
        return 2 ** (1 + len(self.tower))

    @property
    def resolution(self) -> int:
        return self.coarsest >> self.levels

    @property
    def reach(self) -> WindowReach:
        return WindowReach(lengths=(self.length,), multiple_of=self.coarsest, crop=self.crop * self.resolution)


def published() -> BorzoiConfig:
    """Borzoi: 185.9 M parameters with its 7,611 human tracks; windows of 524,288 bp, 6,144 bins of 32 bp.

    The 2,608 mouse tracks, which were learnt beside them, are one more head.
    """
    return BorzoiConfig(
        stem_filters=512,
        stem_width=15,
        tower=(608, 736, 896, 1056, 1280, 1536),
        attention=RelativeSizes(heads=8, key_size=64, value_size=192),
        transformers=8,
        final_filters=1920,
        crop=5120,
        length=524_288,
        heads=(Head(name="human", tracks=7611),),
    )


def flashzoi() -> BorzoiConfig:
    """Borzoi with rotary attention."""
    return published().model_copy(update={"attention": RotarySizes(heads=8, shared_heads=4)})


def small() -> BorzoiConfig:
    """About 0.6 M parameters for a few CPU cores: 512 bins of 32 bp of windows of 32,768 bp."""
    return BorzoiConfig(
        stem_filters=32,
        stem_width=11,
        tower=(40, 48, 56, 64, 80, 96),
        attention=RelativeSizes(heads=4, key_size=16, value_size=24),
        transformers=2,
        crop=256,
        length=32_768,
    )


def tiny() -> BorzoiConfig:
    """For tests: bins of 4 bp of windows of 1,024 bp."""
    return BorzoiConfig(
        stem_filters=6,
        stem_width=5,
        tower=(6, 6, 8),
        attention=RelativeSizes(heads=2, key_size=4, value_size=4, features=8),
        transformers=1,
        final_filters=8,
        crop=64,
        length=1024,
        heads=(Head(name="signal", tracks=3),),
    )


class NormConvolution(nn.Module):
    """Batch norm, GELU, a convolution that keeps the length, dropout."""

    def __init__(self, inputs: int, outputs: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm_of(inputs)
        self.activation = activation_of("gelu")
        self.conv = WideConvolution(inputs, outputs, width, bias=True, is_padded=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch inputs length"]) -> Float[Tensor, "batch outputs length"]:
        return self.dropout(self.conv(self.activation(self.norm(x))))


class Level(nn.Module):
    """Back up: each position twice, plus what stood there on the way down, then a separable convolution."""

    def __init__(self, channels: int, skipped: int, width: int) -> None:
        super().__init__()
        self.coarse = NormConvolution(channels, channels, 1)
        self.fine = NormConvolution(skipped, channels, 1)
        self.depthwise = nn.Conv1d(channels, channels, width, padding="same", groups=channels, bias=False)
        self.pointwise = WideConvolution(channels, channels, 1, bias=True)

    def forward(
        self, x: Float[Tensor, "batch channels coarse"], skip: Float[Tensor, "batch skipped fine"]
    ) -> Float[Tensor, "batch channels fine"]:
        twice = self.coarse(x).mT.repeat_interleave(2, 1).mT
        return self.pointwise(self.depthwise(twice + self.fine(skip)))


class Borzoi(Network):
    """(batch, 4, length) to logits (batch, tracks, bins) of each head."""

    def __init__(self, config: BorzoiConfig) -> None:
        super().__init__()
        self.config = config
        self.output_names = tuple(head.name for head in config.heads)
        self.stem = WideConvolution(4, config.stem_filters, config.stem_width, bias=True, is_padded=True)
        self.pool = Pool(2)
        sizes = (config.stem_filters, *config.tower)
        self.tower = nn.ModuleList(
            NormConvolution(inputs, outputs, config.tower_width) for inputs, outputs in itertools.pairwise(sizes)
        )
        channels = config.tower[-1]
        self.transformers = nn.ModuleList(
            Transformer(channels, config.attention, config.dropout) for _ in range(config.transformers)
        )
        self.levels = nn.ModuleList(
            Level(channels, config.tower[-1 - i], config.level_width) for i in range(config.levels)
        )
        width = config.final_filters
        self.final = nn.Identity() if width is None else NormConvolution(channels, width, 1, config.final_dropout)
        self.activation = activation_of("gelu")
        self.head = Heads(width or channels, config.heads)
        self.activations_a_base = 6.0 * config.stem_filters

    def embed(
        self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor] = NO_CONDITIONS
    ) -> Float[Tensor, "batch channels bins"]:
        bins = bins_of(self.config, one_hot.shape[-1])
        x, skips = self.pool(self.through(self.stem, one_hot)), []
        for block in self.tower:
            skips.append(self.through(block, x))
            x = self.pool(skips[-1])
        x = x.mT
        for block in self.transformers:
            x = self.through(block, x)
        x = x.mT
        for block in self.levels:
            x = self.through(block, x, skips.pop())
        start = self.config.crop
        return self.activation(self.through(self.final, x[..., start : start + bins]))

    def heads(
        self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return self.head.logits(embedding, names, tracks)


def spec(config: BorzoiConfig, *, outputs: Sequence[Output] | None = None, members: int = 1, **card: Any) -> ModelSpec:
    """The spec of a package of this family, see ``signal_spec``."""
    return signal_spec("borzoi", config, outputs, members, **card)


_SIZES = {"tiny": tiny, "small": small, "published": published, "flashzoi": flashzoi}

register(Family("borzoi", BorzoiConfig, Borzoi, _SIZES, spec))
