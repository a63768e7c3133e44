"""From gradients to steps: which optimiser, and how large a gradient may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from basecast.spec.model import Frozen


class Optimiser(Frozen):
    """``adamw``: Loshchilov and Hutter 2019; ``adam``: Kingma and Ba 2015; ``sgd``: with momentum.

    The weight decay of ``adamw`` is beside the gradient, that of the others within it, as a squared norm in the loss.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = Field((0.9, 0.999), description="adam, adamw: decay of the averages of the gradient")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd")
    clip: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    clip_each: float | None = Field(None, gt=0, description="largest norm of the gradient of each parameter")

    def over(self, groups: Sequence[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
        """The optimiser of some parameters."""
        shared: dict[str, Any] = {"lr": rate, "weight_decay": self.weight_decay}
        if self.kind == "sgd":
            return torch.optim.SGD(list(groups), momentum=self.momentum, **shared)
        kind = torch.optim.AdamW if self.kind == "adamw" else torch.optim.Adam
        return kind(list(groups), betas=self.betas, **shared)

    def clipped(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Clip the gradients; the norm of the whole gradient as it was."""
        norm = nn.utils.clip_grad_norm_(parameters, self.clip or math.inf)
        for parameter in parameters if self.clip_each else []:
            nn.utils.clip_grad_norm_(parameter, self.clip_each or math.inf)
        return norm
