"""OpenSpliceAI checkpoints: a ``.pt``/``.pth`` file or a folder of them (an ensemble)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basecast.errors import InputError
from basecast.models.spliceai import SpliceAI, SpliceAIConfig, spec
from basecast.spec import Calibration, Provenance
from basecast.zoo.package import Package, common_source, filled

SUFFIXES = (".pt", ".pth")
_UNIT_PARTS = {"batchnorm1": "norm1", "conv1": "conv1", "batchnorm2": "norm2", "conv2": "conv2"}


def load(paths: list[Path]) -> Package:
    """The checkpoints as one package, an ensemble if there are several.

    Both forms are read: the plain state dict, and the versioned dict that holds a temperature beside it.

    Raises:
        InputError: a file is no such checkpoint, holds code, or differs in size from the others.
    """
    configs, networks, temperatures = [], [], []
    for path in paths:
        state, temperature = _read(path)
        try:
            weights, config = _rename(state, path)
            network = filled(partial(SpliceAI, config), weights, path)
        except (ValueError, IndexError, RuntimeError) as error:
            raise InputError(f"{path} is no OpenSpliceAI checkpoint: its weights have other shapes ({error})") from None
        configs.append(config)
        networks.append(network)
        temperatures.append(temperature)
    for path, config, temperature in zip(paths, configs, temperatures, strict=True):
        if config != configs[0]:
            raise InputError(
                f"{path} has a context of {config.context}, {paths[0]} one of {configs[0].context}: "
                "an ensemble's members are of one size"
            )
        if temperature != temperatures[0]:
            raise InputError(f"{path} has another temperature than {paths[0]}: pass one of them")
    config = configs[0]
    calibration = Calibration(temperature={"splice": temperatures[0]} if temperatures[0] else {})
    name = paths[0].stem if len(paths) == 1 else f"openspliceai-{config.context}"
    card = spec(
        config,
        members=len(paths),
        name=name,
        calibration=calibration,
        licence="GPL-3.0-only",
        citation="Chao et al. 2025, eLife RP107454",
        provenance=Provenance(sources=common_source(paths), note="imported from OpenSpliceAI checkpoints"),
    )
    return Package(card, tuple(networks), source=str(paths[0] if len(paths) == 1 else paths[0].parent))


def _read(path: Path) -> tuple[Mapping[str, Tensor], tuple[float, ...]]:
    """The state dict and the temperature, empty if there is none."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's readers stumble over in a file that is none
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{path} is refused: it is a pickle that holds more than tensors, and loading it would run its code "
                f"({code[1]}). Save the state dict alone: torch.save(model.state_dict(), ...)"
            ) from None
        raise InputError(f"{path} is not a PyTorch checkpoint, or a damaged one: fetch it again") from None
    temperature: tuple[float, ...] = ()
    if isinstance(content, dict) and "state_dict" in content:
        if content.get("format_version") != 1:
            raise InputError(f"{path} has checkpoint format {content.get('format_version')!r}; only 1 is known")
        stored = content.get("temperature")
        if stored is not None:
            try:
                temperature = tuple(torch.as_tensor(stored, dtype=torch.float64).flatten().tolist())
            except (TypeError, ValueError, RuntimeError):
                temperature = ()
            if len(temperature) not in (1, 3) or not all(0 < t < math.inf for t in temperature):
                raise InputError(f"{path} has a temperature of {stored}; one or three positive values are expected")
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"{path} holds no state dict of tensors")
    return content, temperature


def _rename(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], SpliceAIConfig]:
    """Our names for the weights, and the config that their shapes imply."""
    prefixes = {"initial_conv": "stem", "initial_skip.conv": "skips.0", "final_conv": "head"}
    widths: list[int] = []
    block = 0
    while any(name.startswith(f"residual_units.{block}.") for name in state):
        theirs = f"residual_units.{block}"
        if f"{theirs}.conv.weight" in state:
            prefixes[f"{theirs}.conv"] = f"skips.{block - len(widths) + 1}"
        elif f"{theirs}.conv1.weight" in state:
            ours = f"units.{len(widths)}"
            widths.append(state[f"{theirs}.conv1.weight"].shape[-1])
            for part, renamed in _UNIT_PARTS.items():
                prefixes[f"{theirs}.{part}"] = f"{ours}.{renamed}"
        block += 1
    if not widths or len(widths) > 16 or "initial_conv.weight" not in state:
        raise InputError(f"{path} is not an OpenSpliceAI checkpoint: its weights are named {sorted(state)[:3]} ...")
    dilations = tuple((1, 4, 10, 25)[i // 4] for i in range(len(widths)))
    config = SpliceAIConfig(widths=tuple(widths), dilations=dilations, channels=state["initial_conv.weight"].shape[0])
    weights = {}
    for name, tensor in state.items():
        prefix, _, leaf = name.rpartition(".")
        weights[f"{prefixes.get(prefix, prefix)}.{leaf}"] = tensor
    return weights, config
