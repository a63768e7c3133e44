"""The families that a package's ``config.json`` may name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from basecast.models.network import Network
from basecast.spec import Architecture, ModelSpec

_MODULES = ("basenji", "basenji2", "borzoi", "spliceai")


@dataclass(frozen=True)
class Family:
    """A network class, its config, and the spec that a config implies.

    Attributes:
        config: has ``with_outputs(outputs)``: the same network with heads for these, or a ValueError in words.
        sizes: name -> config; ``tiny`` is for tests.
        spec: of (config, outputs=None, members=1, and what the sizes do not tell: name, licence ...); given
            ``outputs`` are taken over, with the family's resolution and link.
    """

    name: str
    config: type[BaseModel]
    network: Callable[[Any], Network]
    sizes: Mapping[str, Callable[[], BaseModel]]
    spec: Callable[..., ModelSpec]


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make a family known by its name."""
    _FAMILIES[family.name] = family


def families() -> dict[str, Family]:
    """Every family by name."""
    for module in _MODULES:
        importlib.import_module(f"basecast.models.{module}")
    return dict(_FAMILIES)


def build(architecture: Architecture) -> Network:
    """The network of an architecture, weights as initialised.

    Raises:
        ValueError: the family is not known, or its config is not valid.
    """
    known = families()
    if architecture.family not in known:
        raise ValueError(f"there is no model family {architecture.family!r}, only {sorted(known)}")
    family = known[architecture.family]
    return family.network(family.config.model_validate(architecture.config))
