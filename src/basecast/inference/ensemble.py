"""From the members' networks to the package's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from basecast.models.network import LINKS, Network
from basecast.spec import Member, ModelSpec

Values = dict[str, Float[np.ndarray, "..."]]


class Answer:
    """The values of one batch: heads and link of each member, then the mean over members.

    An output with a temperature is the link of its members' mean logits, divided: for a softmax that is the mean
    log-probability, so that a fitted temperature has one distribution to act on.

    Position outputs have tracks in dimension 1. A link over tracks (softmax) needs them all, so of such an output a
    subset of tracks is cut after it; of others only the chosen ones are computed.
    """

    def __init__(
        self,
        spec: ModelSpec,
        names: tuple[str, ...],
        chosen: Mapping[str, Sequence[int]],
        calibrated: bool,
        device: torch.device,
    ) -> None:
        self._spec, self._names = spec, names
        self._temperature = spec.calibration.temperature if calibrated else {}
        tracks = {name: torch.tensor(indices, device=device) for name, indices in chosen.items()}
        self._cut_late = {name: index for name, index in tracks.items() if spec.output(name).has_classes}
        self._cut_early = {name: index for name, index in tracks.items() if name not in self._cut_late}
        self._sums: dict[str, Tensor] = {}
        self._counts = dict.fromkeys(names, 0)

    def of(self, member: Member, network: Network, embed: Callable[[], Tensor]) -> dict[str, Tensor]:
        """What one member gives; its embedding is made only if an output of it is asked for."""
        wanted = [name for name in self._names if name in member.outputs]
        if not wanted:
            return {}
        fed = {other for name in wanted for other in self._spec.output(name).auxiliary}
        needed = [output.name for output in self._spec.outputs if output.name in {*wanted, *fed}]
        logits = network.heads(embed(), needed, self._cut_early, {})
        given = {}
        for name in wanted:
            x = logits[name].float() if logits[name].dtype != torch.float64 else logits[name]
            given[name] = x if name in self._temperature else self._linked(name, x)
        return given

    def _linked(self, name: str, x: Tensor) -> Tensor:
        x = LINKS[self._spec.output(name).link](x, 1)
        return x.index_select(1, self._cut_late[name]) if name in self._cut_late else x

    def add(self, given: Mapping[str, Tensor]) -> None:
        """What ``of`` gave, member by member in their order."""
        for name, x in given.items():
            self._sums[name] = self._sums[name] + x if name in self._sums else x
            self._counts[name] += 1

    def values(self) -> list[Values]:
        """For each window of the batch the mean over the members that list an output, tracks last."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        for name in means.keys() & self._temperature.keys():
            means[name] = self._linked(name, means[name] / self._divisor(name, means[name]))
        arrays = {name: x.movedim(1, -1).cpu().numpy() for name, x in means.items()}
        size = len(next(iter(arrays.values()))) if arrays else 0
        return [{name: array[i].copy() for name, array in arrays.items()} for i in range(size)]

    def _divisor(self, name: str, x: Tensor) -> Tensor:
        """The temperature of each track that ``x`` has in dimension 1."""
        temperature = torch.tensor(self._temperature[name], device=x.device, dtype=x.dtype)
        if temperature.numel() > 1 and name in self._cut_early:
            temperature = temperature[self._cut_early[name]]
        return temperature.view(-1, *[1] * (x.ndim - 2))
