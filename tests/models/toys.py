"""Four small models that bend the contracts of a spec as real families will; registered by tests only.

Binned and strand-paired; globally mixing with 1-bp, 128-bp, 2-D and site-pair heads; sequence plus a track; a graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from basecast.inference.request import Request
from basecast.models import spliceai
from basecast.models.layers import Convolution, crop
from basecast.models.network import NO_CONDITIONS, Network, pick
from basecast.models.registry import Family, families, register
from basecast.spec import (
    Architecture,
    Condition,
    Input,
    LocalReach,
    Member,
    ModelSpec,
    Node,
    Output,
    ReverseComplement,
    TargetTransform,
    Track,
    WindowReach,
)
from basecast.spec.model import Frozen, Reach
from basecast.zoo.package import Package

Tensors = Mapping[str, Tensor]


class ToyConfig(Frozen):
    channels: int = 6


def make_spec(
    family: str, config: ToyConfig, reach: Reach, outputs: Sequence[Output], members: int, **card: Any
) -> ModelSpec:
    names = tuple(output.name for output in outputs)
    return ModelSpec(
        architecture=Architecture(family=family, config=config.model_dump()),
        reach=reach,
        outputs=tuple(outputs),
        members=tuple(Member(file=f"model-{i}.safetensors", outputs=names) for i in range(members)),
        **card,
    )


class Binned(Network):
    """Bins of 4 bases; a bin sees 3 bases before itself and 4 after; the head leaves out a bin at each end."""

    output_names = ("coverage",)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.stem = Convolution(4, config.channels, 5)
        self.activation = nn.GELU()
        self.down = nn.Conv1d(config.channels, config.channels, 7, stride=4)
        self.head = nn.Conv1d(config.channels, 3, 1)

    def embed(self, one_hot: Tensor, conditions: Tensors = NO_CONDITIONS) -> Tensor:
        x = crop(self.stem(one_hot), one_hot.shape[-1] - 2 * self.stem.reach)
        return self.down(self.activation(x))

    def heads(self, embedding: Tensor, names: Sequence[str], tracks: Tensors, auxiliary: Tensors) -> dict[str, Tensor]:
        return {"coverage": pick(self.head, tracks.get("coverage"), embedding[..., 1:-1])}


def binned_spec(config: ToyConfig, *, members: int = 1, **card: Any) -> ModelSpec:
    transform = TargetTransform(scale=2.0, power=0.75, soft_clip=32.0)
    plus, minus = Track(name="plus", strand="+", transform=transform), Track(name="minus", strand="-")
    coverage = Output(
        name="coverage",
        tracks=(plus, minus, Track(name="both")),
        resolution=4,
        crop=1,
        link="softplus",
        reverse_complement=ReverseComplement(permutation=(1, 0, 2), shift=1),
    )
    return make_spec("toy_binned", config, LocalReach(left=3, right=4, stride=4), [coverage], members, **card)


class Mixing(Network):
    """Attention over 128-bp tokens, an organism, and heads on four kinds of axes, one of them fed by another."""

    output_names = ("splice", "coverage", "contacts", "junctions")
    sites = 4

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        c = config.channels
        self.stem = nn.Conv1d(4, c, 9, padding="same")
        self.organism = nn.Embedding(2, c)
        self.activation = nn.GELU()
        self.splice, self.coverage = nn.Conv1d(c, 2, 1), nn.Conv1d(c, 3, 1)
        self.contacts, self.junctions = nn.Conv1d(c, 2, 1), nn.Conv1d(c, 1, 1)

    def embed(self, one_hot: Tensor, conditions: Tensors = NO_CONDITIONS) -> Tensor:
        x = self.activation(self.stem(one_hot) + self.organism(conditions["organism"])[:, :, None])
        tokens = nn.functional.avg_pool1d(x, 128).mT
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return crop(x + mixed.mT.repeat_interleave(128, -1), x.shape[-1] - 256)

    def heads(self, embedding: Tensor, names: Sequence[str], tracks: Tensors, auxiliary: Tensors) -> dict[str, Tensor]:
        def pairs(head: nn.Conv1d, name: str, x: Tensor) -> Tensor:
            product = x[..., :, None] * x[..., None, :]
            return pick(head, tracks.get(name), product.flatten(2)).unflatten(2, product.shape[2:])

        tokens = nn.functional.avg_pool1d(embedding, 128)
        logits: dict[str, Tensor] = {}
        if "splice" in names:
            logits["splice"] = pick(self.splice, tracks.get("splice"), embedding)
        if "coverage" in names:
            logits["coverage"] = pick(self.coverage, tracks.get("coverage"), tokens)
        if "contacts" in names:
            logits["contacts"] = pairs(self.contacts, "contacts", tokens)
        if "junctions" in names:
            scores = auxiliary["splice"] if "splice" in auxiliary else self.splice(embedding)
            best = scores.amax(1).topk(self.sites).indices.sort().values[:, None].expand(-1, embedding.shape[1], -1)
            logits["junctions"] = pairs(self.junctions, "junctions", embedding.gather(2, best))
        return logits


def mixing_spec(config: ToyConfig, *, members: int = 1, **card: Any) -> ModelSpec:
    outputs = [
        Output(name="splice", tracks=(Track(name="acceptor"), Track(name="donor")), link="softmax"),
        Output(
            name="coverage",
            tracks=(Track(name="plus", strand="+"), Track(name="minus", strand="-"), Track(name="both")),
            resolution=128,
            link="softplus",
            reverse_complement=ReverseComplement(permutation=(1, 0, 2)),
        ),
        Output(name="contacts", tracks=(Track(name="in"), Track(name="out")), axes="position_pair", resolution=128),
        Output(name="junctions", tracks=(Track(name="psi"),), axes="site_pair", link="sigmoid", auxiliary=("splice",)),
    ]
    reach = WindowReach(lengths=(768, 1024), crop=128)
    organism = Condition(name="organism", values=("human", "mouse"))
    return make_spec("toy_mixing", config, reach, outputs, members, conditions=(organism,), **card)


class WithInput(Network):
    """Sequence beside ``given``, an input at 1 bp: both see the same convolutions."""

    output_names = ("rate",)
    given = "conservation"
    extra = 2

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.stem = Convolution(4 + self.extra, config.channels, 3, 2)
        self.activation = nn.GELU()
        self.body = Convolution(config.channels, config.channels, 5)
        self.head = Convolution(config.channels, 2, 1)

    def embed(self, one_hot: Tensor, conditions: Tensors = NO_CONDITIONS) -> Tensor:
        x = self.body(self.activation(self.stem(torch.cat([one_hot, conditions[self.given]], 1))))
        return crop(x, one_hot.shape[-1] - 8)

    def heads(self, embedding: Tensor, names: Sequence[str], tracks: Tensors, auxiliary: Tensors) -> dict[str, Tensor]:
        return {"rate": pick(self.head, tracks.get("rate"), embedding)}


RATE = Output(name="rate", tracks=(Track(name="fast"), Track(name="slow")), link="exp")


def with_track_spec(config: ToyConfig, *, members: int = 1, **card: Any) -> ModelSpec:
    inputs = (Input(name="sequence"), Input(name="conservation", kind="track", channels=2, missing=-1.0))
    return make_spec("toy_track", config, LocalReach(left=4, right=4), [RATE], members, inputs=inputs, **card)


class Refiner(WithInput):
    """The second package of the graph: fed with the scores of the first."""

    given = "sites"
    extra = 3


def refiner_spec(config: ToyConfig, *, members: int = 1, **card: Any) -> ModelSpec:
    scores = Input(name="sites", kind="scores", channels=3, node="first", output="splice")
    inputs = (Input(name="sequence"), scores)
    return make_spec("toy_refiner", config, LocalReach(left=4, right=4), [RATE], members, inputs=inputs, **card)


register(Family("toy_binned", ToyConfig, Binned, {"tiny": ToyConfig}, binned_spec))
register(Family("toy_mixing", ToyConfig, Mixing, {"tiny": ToyConfig}, mixing_spec))
register(Family("toy_track", ToyConfig, WithInput, {"tiny": ToyConfig}, with_track_spec))
register(Family("toy_refiner", ToyConfig, Refiner, {"tiny": ToyConfig}, refiner_spec))


def package_of(family: str, members: int = 1, seed: int = 0, **card: Any) -> Package:
    """The tiny preset of a family with random weights and random batch statistics, ready to answer."""
    known = families()[family]
    config = known.sizes["tiny"]()
    torch.manual_seed(seed)
    networks = []
    for _ in range(members):
        network = known.network(config).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        networks.append(network)
    card = {"name": family, "licence": "MIT", **card}
    return Package(known.spec(config, members=members, **card), tuple(networks))


def graph_package() -> Package:
    """SpliceAI's tiny preset, and a refiner that reads its scores."""
    first, second = package_of("spliceai"), package_of("toy_refiner", seed=1)
    side = spliceai.tiny().context // 2 + 4
    reach = LocalReach(left=side, right=side)
    nodes = (Node(name="first", package="first"), Node(name="second", package="second"))
    spec = ModelSpec(name="toy_graph", licence="MIT", nodes=nodes, reach=reach, outputs=second.spec.outputs)
    return Package(spec, nodes={"first": first, "second": second})


class Signal:
    """An input track over one contig; NaN outside it and where ``values`` has it."""

    def __init__(self, values: np.ndarray) -> None:
        self.stored = values

    def values(self, contig: str, start: int, end: int) -> np.ndarray:
        found = np.full((len(self.stored), end - start), np.nan)
        first, last = max(start, 0), min(end, self.stored.shape[1])
        if first < last:
            found[:, first - start : last - start] = self.stored[:, first:last]
        return found


def request_of(package: Package, source: Any, start: int, end: int, strand: str = "+", **more: Any) -> Request:
    """A request with what the model needs beside the sequence: the first value of each condition."""
    conditions = {condition.name: condition.values[0] for condition in package.spec.conditions}
    return Request(source, "sequence", start, end, strand, **{"conditions": conditions, **more})
