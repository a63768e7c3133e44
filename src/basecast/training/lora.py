"""Low-rank adapters (Hu et al. 2022): a frozen weight W is used as W + alpha / rank B A, of which A and B are trained.

B begins at zero, so that nothing differs at the start. When training is over the sum takes the place of W, and nothing
tells of the adapters any more.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from basecast.models.network import Network

_ADAPTED = (nn.Linear, nn.Conv1d)


class LowRank(nn.Module):
    """What a weight of shape (outputs, inputs, ...) becomes; the matrix that is added has rank ``rank`` at most."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.scale * (self.up @ self.down)).view_as(weight)


def adapt(network: Network, rank: int, alpha: float, besides: Collection[str] = ()) -> int:
    """Put adapters beside the linear layers and convolutions of a network, and return how many.

    A layer has none if it is grouped, or if an adapter would have as many weights as it has itself.

    Args:
        besides: names of attributes of the network that are left as they are.
    """
    n = 0
    for name, module in list(network.named_modules()):
        if not isinstance(module, _ADAPTED) or name.split(".")[0] in besides or parametrize.is_parametrized(module):
            continue
        outputs, inputs = module.weight.shape[0], module.weight[0].numel()
        if rank * (outputs + inputs) < module.weight.numel() and getattr(module, "groups", 1) == 1:
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, alpha))
            n += 1
    return n


def merged(network: Network) -> Network:
    """The network with the adapters added to its weights, and no adapter."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network
