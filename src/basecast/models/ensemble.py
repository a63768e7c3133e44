"""Several networks as one plain module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from basecast.models.network import INVERSE_LINKS, LINKS, NO_CONDITIONS, Network
from basecast.spec import Output


class Ensemble(nn.Module):
    """The logits whose link is the mean of the members' values; for gradients and other people's tools."""

    def __init__(self, networks: Sequence[Network], outputs: Sequence[Output]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.outputs = tuple(outputs)

    def forward(self, one_hot: Tensor, conditions: Mapping[str, Tensor] = NO_CONDITIONS) -> Tensor | dict[str, Tensor]:
        """Logits as a member's ``forward`` gives them: a tensor for one output, else a tensor for each name."""
        answers = [member(one_hot, conditions) for member in self.members]
        if len(self.outputs) == 1:
            return self._mean(self.outputs[0], answers)
        return {output.name: self._mean(output, [answer[output.name] for answer in answers]) for output in self.outputs}

    def _mean(self, output: Output, logits: Sequence[Tensor]) -> Tensor:
        values = torch.stack([LINKS[output.link](x, 1) for x in logits]).mean(dim=0)
        return INVERSE_LINKS[output.link](values)
