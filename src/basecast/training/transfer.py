"""A model that goes on from another: for a new species or other tracks, all of it or a part of its weights only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from basecast.errors import UsageError, counted
from basecast.models.layers import Norm
from basecast.models.network import Network
from basecast.models.registry import build, families
from basecast.spec import ModelSpec, Output
from basecast.spec.model import Frozen
from basecast.training.lineage import inherited
from basecast.training.loop import Penalty
from basecast.training.lora import adapt, merged
from basecast.training.train import Start
from basecast.zoo.package import Package


class TransferSettings(Frozen):
    """What of the parent's weights is trained, and how freely.

    ``full``: all of them, or the head and the last units. ``head``: a head on what the others give, which stay as they
    are, the statistics of norms too. ``lora``: the head, and low-rank adapters of the other layers.
    """

    mode: Literal["full", "head", "lora"] = "full"
    last_units: int | None = Field(None, ge=0, description="full: train the head and so many of the last units")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="full: factor of the learning rate from each unit to the one before"
    )
    anti_forgetting: float = Field(0.0, ge=0, description="full: of the squared distance to the parent's weights")
    rank: int = Field(8, ge=1, description="lora: of an adapter")
    alpha: float = Field(16.0, gt=0, description="lora: an adapter is scaled by alpha / rank")
    new_head: bool = Field(False, description="begin with new weights in the head; another head always does")

    @model_validator(mode="after")
    def _settings_go_with_the_mode(self) -> TransferSettings:
        free = (self.last_units, self.layer_decay, self.anti_forgetting)
        if self.mode != "full" and free != (None, 1.0, 0.0):
            raise ValueError(f"last units, layer decay and anti-forgetting go with the mode full, not with {self.mode}")
        if self.mode != "lora" and (self.rank, self.alpha) != (8, 16.0):
            raise ValueError(f"rank and alpha go with the mode lora, not with {self.mode}")
        return self

    @property
    def in_words(self) -> str:
        """What is trained."""
        if self.mode == "lora":
            return f"its head and adapters of rank {self.rank} trained"
        if self.mode == "head" or self.last_units == 0:
            return "its head trained"
        units = "all weights" if self.last_units is None else f"head and last {counted(self.last_units, 'unit')}"
        return f"{units} trained"


def from_parent(parent: Package, spec: ModelSpec, settings: TransferSettings) -> Start:
    """Where a transfer begins. The first seed goes on from the parent's first member, the second from the second ...

    Args:
        spec: of the model that comes out: its name, outputs and mask; its architecture and reach are the parent's.

    Raises:
        UsageError: the parent is a graph of packages, its licence does not allow it, it has no units or fewer than
            asked for, or its family cannot have such outputs.
    """
    is_new = settings.new_head or _tracks(parent.spec.outputs) != _tracks(spec.outputs)
    spec = inherited(_with_outputs(parent.spec, spec), [(parent.spec.name, parent.spec.licence)])
    architecture = spec.architecture
    assert architecture is not None
    turn: dict[int, int] = {}

    def network(seed: int) -> Network:
        member = parent.networks[turn.setdefault(seed, len(turn)) % len(parent.networks)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = build(architecture)
            kept = {name: x for name, x in member.state_dict().items() if not (is_new and _is_of_head(made, name))}
            made.load_state_dict(kept, strict=not is_new)
            _prepare(made, settings, parent.spec.name)
        return made

    words = {
        "architecture": architecture.model_dump(mode="json"),
        "parent": parent.digest,
        **settings.model_dump(mode="json"),
    }
    note = f"It goes on from {parent.spec.name} ({settings.in_words}{', with a new head' if is_new else ''})."
    strength = settings.anti_forgetting
    return Start(
        spec,
        network,
        words,
        groups=lambda made: groups(made, settings.layer_decay),
        penalty=(lambda made: distance(made, strength)) if strength else None,
        finished=merged,
        note=note,
    )


def _prepare(network: Network, settings: TransferSettings, name: str) -> None:
    """Settle which weights are trained; of norms whose weights are not, the statistics stay too."""
    stages = _units(network)
    if not stages and (settings.last_units or settings.layer_decay < 1):
        raise UsageError(f"{name} is not made of units: leave --last-units and --layer-decay out")
    network.requires_grad_(settings.mode == "full" and settings.last_units is None)
    for last in stages[len(stages) - settings.last_units :] if settings.last_units else []:
        last.requires_grad_(True)
    if settings.last_units is not None and settings.last_units > len(stages):
        raise UsageError(f"{name} has {counted(len(stages), 'unit')}: train at most so many of the last")
    for weight, p in network.named_parameters():
        if _is_of_head(network, weight):
            p.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, Norm):
            module.is_frozen = not module.weight.requires_grad
    if settings.mode == "lora":
        adapt(network, settings.rank, settings.alpha, besides=network.head_modules)


def groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Trainable parameters by unit, each with its factor of the learning rate; what is in no unit has 1."""
    by_unit = [[p for p in stage.parameters() if p.requires_grad] for stage in _units(network)]
    inside = {id(p) for unit in by_unit for p in unit}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in inside]
    factors = [decay ** (len(by_unit) - i) for i in range(len(by_unit))]
    pairs = [*zip(by_unit, factors, strict=True), (rest, 1.0)]
    return [{"params": unit, "factor": factor} for unit, factor in pairs if unit]


def distance(network: Network, strength: float) -> Penalty:
    """``strength`` times the squared distance of the trained weights, head aside, to what they are now."""
    free = [(name, p) for name, p in network.named_parameters() if p.requires_grad and not _is_of_head(network, name)]
    start = {name: p.detach().clone() for name, p in free}

    def penalty(now: nn.Module) -> Tensor:
        terms = [(p - start[name]).square().sum() for name, p in now.named_parameters() if name in start]
        return strength * torch.stack(terms).sum() if terms else torch.zeros((), requires_grad=True)

    return penalty


def _units(network: Network) -> list[nn.Module]:
    return [stage for stage in network.stages() if isinstance(stage, nn.Module)]


def _is_of_head(network: Network, weight: str) -> bool:
    return weight.split(".")[0] in network.head_modules


def _tracks(outputs: Sequence[Output]) -> list[tuple[str, list[str]]]:
    return [(output.name, [track.name for track in output.tracks]) for output in outputs]


def _with_outputs(parent: ModelSpec, spec: ModelSpec) -> ModelSpec:
    """``spec`` with the parent's architecture, and heads for its own outputs."""
    architecture = parent.architecture
    if architecture is None:
        raise UsageError(f"{parent.name} is a graph of packages: transfer one of {[n.name for n in parent.nodes]}")
    family = families()[architecture.family]
    try:
        config = family.config.model_validate(architecture.config).with_outputs(spec.outputs)  # type: ignore[attr-defined]
    except ValueError as error:
        raise UsageError(f"{parent.name} cannot have these outputs: {error}") from None
    made = family.spec(config, outputs=spec.outputs, name=spec.name, licence=spec.licence)
    return spec.model_copy(
        update={
            "architecture": made.architecture,
            "reach": made.reach,
            "outputs": made.outputs,
            "members": made.members,
        }
    )
