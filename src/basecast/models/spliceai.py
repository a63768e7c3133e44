"""The SpliceAI family: a dilated residual network from sequence to splice sites.

Source: Jaganathan et al. 2019 (Cell 176), with the sizes of OpenSpliceAI (Chao et al. 2025, eLife RP107454).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from basecast.models.layers import Convolution, ResidualUnit, crop
from basecast.models.network import NO_CONDITIONS, Network, Stage, pick
from basecast.models.registry import Family, register
from basecast.spec import Architecture, LocalReach, Member, ModelSpec, Output
from basecast.spec.model import Frozen
from basecast.spec.splice import CLASSES, SPLICE, splice_output

_GROUPS = {80: 1, 400: 2, 2000: 3, 10000: 4}
_WIDTHS = (11, 11, 21, 41)
_DILATIONS = (1, 4, 10, 25)


class SpliceAIConfig(Frozen):
    """Sizes of one network. OpenSpliceAI: leaky ReLU 0.1 and epsilon 1e-5; Illumina: ReLU and 1e-3."""

    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="kernel width of each residual unit, odd")
    dilations: tuple[PositiveInt, ...]
    channels: int = Field(32, ge=1)
    skip_every: int = Field(4, ge=1, description="residual units between two skip connections")
    activation: Literal["relu", "leaky_relu"] = "leaky_relu"
    norm_epsilon: float = Field(1e-5, gt=0)
    classes: tuple[str, ...] = Field(CLASSES, min_length=2, description="what a base may be; the first is no site")

    @property
    def context(self) -> int:
        """Bases of context an output sees in all, half at each side."""
        return 2 * sum(d * (w - 1) for w, d in zip(self.widths, self.dilations, strict=True))

    def with_outputs(self, outputs: Sequence[Output]) -> SpliceAIConfig:
        """The same network with the classes of the output.

        Raises:
            ValueError: it is not splice sites base by base.
        """
        names = [output.name for output in outputs]
        if names != [SPLICE] or not outputs[0].has_classes or outputs[0].resolution != 1:
            raise ValueError(f"this family gives splice sites base by base, as {SPLICE!r} alone; asked for is {names}")
        return self.model_copy(update={"classes": tuple(track.name for track in outputs[0].tracks)})


def published(
    context: int,
    *,
    activation: Literal["relu", "leaky_relu"] = "leaky_relu",
    norm_epsilon: float = 1e-5,
    channels: int = 32,
) -> SpliceAIConfig:
    """The published sizes: ``context`` 80, 400, 2,000 or 10,000 bases."""
    if context not in _GROUPS:
        raise ValueError(f"published contexts are {sorted(_GROUPS)}, got {context}")
    groups = _GROUPS[context]
    return SpliceAIConfig(
        widths=tuple(w for w in _WIDTHS[:groups] for _ in range(4)),
        dilations=tuple(d for d in _DILATIONS[:groups] for _ in range(4)),
        channels=channels,
        activation=activation,
        norm_epsilon=norm_epsilon,
    )


def tiny() -> SpliceAIConfig:
    """For tests: two units of eight channels, 44 bases of context."""
    return SpliceAIConfig(widths=(5, 7), dilations=(1, 3), channels=8, skip_every=1)


class SpliceAI(Network):
    """(batch, 4, length) to logits (batch, 3, length - context): neither, acceptor, donor.

    A donor is the last base of an exon, an acceptor the first, on the strand that is read.
    """

    output_names = ("splice",)

    def __init__(self, config: SpliceAIConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.stem = Convolution(4, channels, 1)
        self.units = nn.ModuleList(
            ResidualUnit(
                channels,
                width,
                dilation,
                nn.ReLU() if config.activation == "relu" else nn.LeakyReLU(0.1),
                config.norm_epsilon,
            )
            for width, dilation in zip(config.widths, config.dilations, strict=True)
        )
        self.skips = nn.ModuleList(
            Convolution(channels, channels, 1) for _ in range(1 + len(config.widths) // config.skip_every)
        )
        self.head = Convolution(channels, len(config.classes), 1)

    def embed(
        self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor] = NO_CONDITIONS
    ) -> Float[Tensor, "batch channels outputs"]:
        length = one_hot.shape[-1] - self.config.context
        if length < 1:
            raise ValueError(
                f"a window of {one_hot.shape[-1]} bases is too short: the context alone is {self.config.context}; "
                "pad it with N (all-zero columns)"
            )
        levels, x = [], one_hot
        for stage in (self.stem, *self.units):
            x = self.through(stage, x)
            levels.append(crop(x, length))
        return self.join(levels)

    def stages(self) -> Sequence[Stage]:
        return (self.stem, *self.units)

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        chosen = levels[:: self.config.skip_every]
        return sum((skip(x) for skip, x in zip(self.skips[1:], chosen[1:], strict=True)), self.skips[0](chosen[0]))

    def heads(
        self,
        embedding: Tensor,
        names: Sequence[str],
        tracks: Mapping[str, Tensor],
        auxiliary: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        chosen = tracks.get("splice")
        return {"splice": pick(self.head, chosen, embedding)} if "splice" in names else {}


def spec(
    config: SpliceAIConfig, *, outputs: Sequence[Output] | None = None, members: int = 1, **card: Any
) -> ModelSpec:
    """The spec of a package of this family; ``card`` holds what the sizes do not tell (name, licence ...)."""
    half = config.context // 2
    files = ["model.safetensors"] if members == 1 else [f"model-{i}.safetensors" for i in range(members)]
    return ModelSpec(
        architecture=Architecture(family="spliceai", config=config.model_dump(mode="json")),
        reach=LocalReach(left=half, right=half),
        outputs=tuple(outputs or (splice_output(config.classes),)),
        members=tuple(Member(file=file, outputs=("splice",)) for file in files),
        **{"mask": "gene", **card},
    )


_SIZES: dict[str, Callable[[], SpliceAIConfig]] = {str(context): partial(published, context) for context in _GROUPS}

register(Family("spliceai", SpliceAIConfig, SpliceAI, {"tiny": tiny, **_SIZES}, spec))
