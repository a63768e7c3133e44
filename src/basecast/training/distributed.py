"""Processes that train one model together (torchrun): the only file with process-group calls.

Every rank takes its share of each batch, sums are taken over all, so that many ranks compute what one would.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from basecast.errors import BasecastError, UsageError
from basecast.models.layers import Norm


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def total(self, x: Tensor) -> Tensor:
        """The sum over the ranks, without gradients."""
        if self.world > 1:
            dist.all_reduce(x)
        return x

    def from_first(self, value: Any) -> Any:
        """What the first rank holds, on all of them."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """What each rank holds, in their order, on all of them."""
        if self.world == 1:
            return [value]
        held = [None] * self.world
        dist.all_gather_object(held, value)
        return held

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over the ranks, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for parameter, gradient in zip(parameters, pieces, strict=True):
            parameter.grad = gradient.view_as(parameter)

    def share_norms(self, network: nn.Module) -> None:
        """Let every norm take its statistics over the windows of all ranks."""
        for module in network.modules():
            if self.world > 1 and isinstance(module, Norm):
                module.total = _total
            elif self.world > 1 and isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise UsageError(f"{type(module).__name__} cannot be shared by ranks: build the network with Norm")


class _Sum(torch.autograd.Function):
    """A sum over ranks; as every rank's loss depends on it, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def _total(x: Tensor) -> Tensor:
    return _Sum.apply(x)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """This process's place among those that torchrun started; alone without it.

    Raises:
        BasecastError: another of them has ended.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise BasecastError(
            f"another process of this training has ended ({error}): see what it said; the same command goes on from "
            "the last checkpoint"
        ) from error
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process where torchrun started several."""
    rank = os.environ.get("LOCAL_RANK")
    return torch.device("cuda", int(rank)) if device.type == "cuda" and rank is not None else device
