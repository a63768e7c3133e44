"""Several networks as one plain module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from basecast.models.network import INVERSE_LINKS, LINKS, NO_CONDITIONS, Network
from basecast.spec import ModelSpec, Output


class Ensemble(nn.Module):
    """The logits whose link is the mean of the members' values; for gradients and other people's tools."""

    def __init__(self, networks: Iterable[Network], spec: ModelSpec) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.spec = spec

    def forward(self, one_hot: Tensor, conditions: Mapping[str, Tensor] = NO_CONDITIONS) -> Tensor | dict[str, Tensor]:
        """Logits as a member's ``forward`` gives them: a tensor for one output, else a tensor for each name."""
        answers = [member(one_hot, conditions) for member in self.members]
        means = {output.name: self._mean(output, answers) for output in self.spec.outputs}
        return means if len(means) > 1 else next(iter(means.values()))

    def _mean(self, output: Output, answers: list[Tensor | dict[str, Tensor]]) -> Tensor:
        listing = [x for x, member in zip(answers, self.spec.members, strict=True) if output.name in member.outputs]
        logits = [x if isinstance(x, Tensor) else x[output.name] for x in listing]
        return INVERSE_LINKS[output.link](torch.stack([LINKS[output.link](x, 1) for x in logits]).mean(dim=0))
