"""From the members' logits to the package's values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from basecast.models.network import LINKS, Network
from basecast.spec import ModelSpec


def mean_values(
    spec: ModelSpec,
    networks: Iterable[Network],
    logits_of: Callable[[Network, tuple[str, ...]], Mapping[str, Tensor]],
    names: tuple[str, ...],
    calibrated: bool,
    tracks: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Each named output: temperature and link on every member that lists it, then the mean.

    ``logits_of`` runs one network for some outputs; position outputs have tracks in dimension 1. A link over
    tracks (softmax) needs them all, so a subset of ``tracks`` is cut after it.
    """
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(names, 0)
    for member, network in zip(spec.members, networks, strict=True):
        wanted = tuple(name for name in names if name in member.outputs)
        if not wanted:
            continue
        logits = logits_of(network, wanted)
        for name in wanted:
            output = spec.output(name)
            x = logits[name].float() if logits[name].dtype != torch.float64 else logits[name]
            temperature = spec.calibration.temperature.get(name) if calibrated else None
            if temperature:
                x = x / torch.tensor(temperature, device=x.device, dtype=x.dtype).view(1, -1, *[1] * (x.ndim - 2))
            x = LINKS[output.link](x, 1)
            if output.link == "softmax" and name in tracks:
                x = x.index_select(1, tracks[name])
            sums[name] = sums[name] + x if name in sums else x
            counts[name] += 1
    return {name: total / counts[name] for name, total in sums.items()}
