"""Losses of one output: summed over what has a label, so that batches of any make-up can be added."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from basecast.errors import UsageError
from basecast.spec.model import Frozen, Output


class Loss(Frozen):
    """What is minimised. ``focal`` scales the cross-entropy of a class by alpha (1 - p) ** gamma (Lin et al. 2017)."""

    kind: Literal["cross-entropy", "focal"] = "cross-entropy"
    alpha: tuple[float, ...] | None = Field(None, description="focal: a factor for each class")
    gamma: float = Field(2.0, ge=0, description="focal: how much what is easy is played down")

    @model_validator(mode="after")
    def _factors_go_with_focal(self) -> Loss:
        if self.alpha is not None and self.kind != "focal":
            raise ValueError("factors of classes (alpha) go with the focal loss")
        return self

    def check(self, output: Output) -> None:
        """Raises UsageError where the loss does not fit an output."""
        if not output.has_classes:
            raise UsageError(f"{self.kind} needs classes, and the output {output.name!r} has none")
        if self.alpha is not None and len(self.alpha) != len(output.tracks):
            names = ", ".join(track.name for track in output.tracks)
            raise UsageError(f"focal alpha needs a factor for each of {names}, got {len(self.alpha)}")

    def each(self, logits: Float[Tensor, "batch classes bins"], target: Tensor) -> Float[Tensor, "batch bins"]:
        """The loss of each position in nats.

        Args:
            target: the class of each position, shape (batch, bins), or a probability of each class, shaped as logits.
        """
        log_p = functional.log_softmax(logits, dim=1)
        if self.kind == "focal":
            missed = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)  # 0 has no slope if gamma < 1
            log_p = missed.pow(self.gamma) * log_p
            if self.alpha is not None:
                log_p = log_p * log_p.new_tensor(self.alpha)[:, None]
        if target.ndim == 2:
            return -log_p.gather(1, target.long()[:, None])[:, 0]
        return -(target.to(log_p.dtype) * log_p).sum(dim=1)
