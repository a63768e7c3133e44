"""A model that goes on from another: for a new species, with another head, all of it or its last units only."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from basecast.errors import UsageError, counted
from basecast.models.layers import Norm
from basecast.models.network import Network
from basecast.models.registry import build
from basecast.spec import ModelSpec, Output
from basecast.spec.model import Frozen
from basecast.training.lineage import inherited
from basecast.training.loop import Penalty
from basecast.training.train import Start
from basecast.zoo.package import Package


class TransferSettings(Frozen):
    """What of the parent's weights is trained, and how freely."""

    last_units: int | None = Field(None, ge=0, description="train the head and so many of the last units; None is all")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor of the learning rate from each unit to the one before"
    )
    anti_forgetting: float = Field(0.0, ge=0, description="of the squared distance to the parent's weights (L2-SP)")
    new_head: bool = Field(False, description="begin with new weights in the head; another head always does")


def from_parent(parent: Package, spec: ModelSpec, settings: TransferSettings) -> Start:
    """Where a transfer begins. The first seed goes on from the parent's first member, the second from the second ...

    Args:
        spec: of the model that comes out: its name, outputs and mask; its architecture and reach are the parent's.

    Raises:
        UsageError: the parent is a graph of packages, its licence does not allow it, it has fewer units than asked for,
            or its family cannot have such outputs.
    """
    if parent.spec.architecture is None:
        raise UsageError(f"{parent.spec.name} is a graph of packages: transfer one of {list(parent.nodes)}")
    architecture = _with_head(parent.spec, spec.outputs)
    is_new = settings.new_head or _classes(parent.spec.outputs) != _classes(spec.outputs)
    spec = inherited(
        spec.model_copy(update={"architecture": architecture, "reach": parent.spec.reach}),
        [(parent.spec.name, parent.spec.licence)],
    )
    turn: dict[int, int] = {}

    def network(seed: int) -> Network:
        member = parent.networks[turn.setdefault(seed, len(turn)) % len(parent.networks)]
        if not is_new:
            made = deepcopy(member)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = build(architecture)
            head = _head(made)
            weights = {name: x for name, x in member.state_dict().items() if name not in head}
            made.load_state_dict(weights, strict=False)
        made.requires_grad_(True)
        _freeze(made, settings.last_units, parent.spec.name)
        return made

    words = {
        "architecture": architecture.model_dump(mode="json"),
        "parent": parent.digest,
        **settings.model_dump(mode="json"),
    }
    trained = "all weights" if settings.last_units is None else f"head and last {counted(settings.last_units, 'unit')}"
    note = f"It goes on from {parent.spec.name} ({trained} trained{', with a new head' if is_new else ''})."
    strength = settings.anti_forgetting
    return Start(
        spec,
        network,
        words,
        groups=lambda made: groups(made, settings.layer_decay),
        penalty=(lambda made: distance(made, strength)) if strength else None,
        note=note,
    )


def groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Trainable parameters by unit, each with its factor of the learning rate; what is in no unit has 1."""
    stages = [stage for stage in network.stages() if isinstance(stage, nn.Module)]
    by_unit = [[p for p in stage.parameters() if p.requires_grad] for stage in stages]
    inside = {id(p) for unit in by_unit for p in unit}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in inside]
    factors = [decay ** (len(by_unit) - i) for i in range(len(by_unit))]
    pairs = [*zip(by_unit, factors, strict=True), (rest, 1.0)]
    return [{"params": unit, "factor": factor} for unit, factor in pairs if unit]


def distance(network: Network, strength: float) -> Penalty:
    """``strength`` times the squared distance of the trained weights, head aside, to what they are now."""
    head = _head(network)
    start = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad and name not in head}

    def penalty(now: nn.Module) -> Tensor:
        terms = [(p - start[name]).square().sum() for name, p in now.named_parameters() if name in start]
        return strength * torch.stack(terms).sum() if terms else torch.zeros((), requires_grad=True)

    return penalty


def _freeze(network: Network, last_units: int | None, name: str) -> None:
    """Freeze all but the head and the last units; the norms of the others keep their statistics too."""
    if last_units is None:
        return
    stages = [stage for stage in network.stages() if isinstance(stage, nn.Module)]
    if not stages or last_units > len(stages):
        raise UsageError(f"{name} has {counted(len(stages), 'unit')}: train at most so many of the last")
    head, trained = _head(network), {id(p) for stage in stages[len(stages) - last_units :] for p in stage.parameters()}
    for weight, p in network.named_parameters():
        p.requires_grad_(weight in head or id(p) in trained)
    for module in network.modules():
        if isinstance(module, Norm):
            module.is_frozen = id(module.weight) not in trained


def _head(network: Network) -> set[str]:
    """Names of the head's weights."""
    return {name for name, _ in network.named_parameters() if name.split(".")[0] in network.head_modules}


def _classes(outputs: Sequence[Output]) -> list[tuple[str, list[str]]]:
    return [(output.name, [track.name for track in output.tracks]) for output in outputs]


def _with_head(parent: ModelSpec, outputs: Sequence[Output]) -> Any:
    """The parent's architecture, with a head for these outputs."""
    architecture = parent.architecture
    assert architecture is not None
    if _classes(parent.outputs) == _classes(outputs):
        return architecture
    if len(outputs) != 1 or "classes" not in architecture.config:
        raise UsageError(f"a {architecture.family} cannot give {_classes(outputs)}: only one output of classes")
    classes = [track.name for track in outputs[0].tracks]
    return architecture.model_copy(update={"config": {**architecture.config, "classes": classes}})
