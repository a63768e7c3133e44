"""The shape that every network has: ``embed``, then ``heads``; ``forward`` is both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from basecast.models.layers import recomputed


@runtime_checkable
class Stage(Protocol):
    """A module that gives ``reach`` positions fewer at each end than it is given."""

    reach: int

    def __call__(self, x: Tensor, /) -> Tensor: ...


NO_CONDITIONS: Mapping[str, Tensor] = {}


class Network(nn.Module):
    """A plain module over one-hot DNA (batch, 4, length), A, C, G, T; N is all zeros.

    ``output_names`` are the heads in the order of the spec. Everything beside the sequence arrives in ``conditions``:
    the index of a condition's value, shape (batch,), or an input track, shape (batch, channels, bins).
    Position outputs have shape (batch, tracks, bins).
    """

    output_names: tuple[str, ...]
    head_modules: ClassVar[tuple[str, ...]] = ("head",)
    """Attributes that hold the heads: what is made anew for other outputs."""
    checkpointed: bool = False
    """Whether training keeps only what lies between blocks, and makes the rest again on the way back."""
    activations_a_base: float | None = None
    """Numbers alive at once for each base of a window, where the widths of the layers do not tell."""

    def embed(self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor]) -> Tensor:
        """What the heads read."""
        raise NotImplementedError

    def through(self, block: nn.Module, *inputs: Tensor) -> Any:
        """What a block gives; its activations are made again on the way back where the network is ``checkpointed``."""
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: recomputed(block))
        return block(*inputs)

    def stages(self) -> Sequence[Stage]:
        """The stride-1 convolutional stretch from one-hot on, in order; nothing where the network has none."""
        return ()

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        """The embedding from what each stage gives at the output positions; with ``stages`` it is all of ``embed``."""
        raise NotImplementedError

    def heads(
        self,
        embedding: Tensor,
        names: Sequence[str],
        tracks: Mapping[str, Int[Tensor, " chosen"]],
        auxiliary: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Logits of the outputs in ``names``, and of them only the ``tracks`` named (all where none are)."""
        raise NotImplementedError

    def forward(
        self, one_hot: Float[Tensor, "batch 4 length"], conditions: Mapping[str, Tensor] = NO_CONDITIONS
    ) -> Tensor | dict[str, Tensor]:
        """Logits: a tensor if the network has one output, else a tensor for each name."""
        logits = self.heads(self.embed(one_hot, conditions), self.output_names, {}, {})
        return logits[self.output_names[0]] if len(self.output_names) == 1 else logits


def pick(head: nn.Conv1d, chosen: Tensor | None, embedding: Tensor) -> Tensor:
    """A width-1 head, computed only for the chosen tracks (all for ``None``)."""
    if chosen is None:
        return head(embedding)
    bias = None if head.bias is None else head.bias[chosen]
    return nn.functional.conv1d(embedding, head.weight[chosen], bias)


Link = Callable[[Tensor, int], Tensor]


LINKS: dict[str, Link] = {
    "identity": lambda logits, dim: logits,
    "softmax": lambda logits, dim: torch.softmax(logits, dim),
    "sigmoid": lambda logits, dim: torch.sigmoid(logits),
    "softplus": lambda logits, dim: nn.functional.softplus(logits),
    "exp": lambda logits, dim: torch.exp(logits),
    "exp_linear": lambda logits, dim: torch.where(logits > 0, logits + 1, torch.exp(logits.clamp(max=0))),
}
"""Link name -> function of (logits, dimension of the tracks)."""

INVERSE_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda values: values,
    "softmax": lambda values: torch.log(values),
    "sigmoid": lambda values: torch.logit(values),
    "softplus": lambda values: values + torch.log(-torch.expm1(-values)),
    "exp": lambda values: torch.log(values),
    "exp_linear": lambda values: torch.where(values > 1, values - 1, torch.log(values)),
}
