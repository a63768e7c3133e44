"""A model of signals in which every bin sees the whole window; registered by tests only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from toys import ToyConfig, make_spec

from basecast.models.layers import crop
from basecast.models.network import NO_CONDITIONS, Network, pick
from basecast.models.registry import Family, register
from basecast.spec import ModelSpec, Output, ReverseComplement, TargetTransform, Track, WindowReach

LENGTH, CROP, BIN = 256, 32, 8


class Windowed(Network):
    """Attention over bins of 8 bases."""

    output_names = ("signal",)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, config.channels, 9, padding="same")
        self.head = nn.Conv1d(config.channels, 3, 1)

    def embed(self, one_hot: Tensor, conditions: Mapping[str, Tensor] = NO_CONDITIONS) -> Tensor:
        x = nn.functional.gelu(self.stem(3 * one_hot))
        tokens = nn.functional.avg_pool1d(x, BIN).mT
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return crop((tokens + mixed).mT, (one_hot.shape[-1] - 2 * CROP) // BIN)

    def heads(
        self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"signal": pick(self.head, tracks.get("signal"), embedding)}


def windowed_spec(config: ToyConfig, *, members: int = 1, **card: Any) -> ModelSpec:
    cage: dict[str, Any] = {"assay": "CAGE", "biosample": "liver", "description": "CAGE:liver"}
    cage["transform"] = TargetTransform(scale=2.0, power=0.5)
    output = Output(
        name="signal",
        tracks=(
            Track(name="a+", strand="+", **cage),
            Track(name="a-", strand="-", **cage),
            Track(name="b", assay="DNASE", description="DNASE:heart"),
        ),
        resolution=BIN,
        link="softplus",
        reverse_complement=ReverseComplement(permutation=(1, 0, 2)),
    )
    return make_spec("toy_windowed", config, WindowReach(lengths=(128, LENGTH), crop=CROP), [output], members, **card)


register(Family("toy_windowed", ToyConfig, Windowed, {"tiny": ToyConfig}, windowed_spec))
