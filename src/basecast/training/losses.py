"""Losses of one output: summed over what has a label, so that batches of any make-up can be added."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from basecast.errors import UsageError
from basecast.models.network import LINKS
from basecast.spec.model import Frozen, Output

EPSILON = 1e-7
"""Added to what a logarithm is taken of."""
_RATES = ("softplus", "exp", "exp_linear")


class Loss(Frozen):
    """What is minimised.

    ``focal`` scales the cross-entropy of a class by alpha (1 - p) ** gamma (Lin et al. 2017). ``poisson`` is the
    negative log-likelihood of counts, p - y log(p + 1e-7), the mean over tracks. ``poisson-multinomial`` takes it apart
    (Linder et al. 2025): where in the window the counts of a track lie, -sum y log(p / sum p), and ``total_weight``
    times how many there are, sum p - sum y log(sum p), with 1e-7 added within each logarithm. With a weight of 1 it is
    ``poisson``.
    """

    kind: Literal["cross-entropy", "focal", "poisson", "poisson-multinomial"] = "cross-entropy"
    alpha: tuple[float, ...] | None = Field(None, description="focal: a factor for each class")
    gamma: float = Field(2.0, ge=0, description="focal: how much what is easy is played down")
    total_weight: float = Field(0.2, gt=0, description="poisson-multinomial: what the total of a window counts")

    @model_validator(mode="after")
    def _factors_go_with_focal(self) -> Loss:
        if self.alpha is not None and self.kind != "focal":
            raise ValueError("factors of classes (alpha) go with the focal loss")
        return self

    @property
    def is_of_classes(self) -> bool:
        """Whether it judges classes; else counts."""
        return self.kind in ("cross-entropy", "focal")

    def check(self, output: Output) -> None:
        """Raises UsageError where the loss does not fit an output."""
        if self.is_of_classes and not output.has_classes:
            raise UsageError(f"{self.kind} needs classes, and the output {output.name!r} has none")
        if not self.is_of_classes and (output.link not in _RATES or output.axes != "position"):
            raise UsageError(
                f"{self.kind} needs a rate at each position, and the output {output.name!r} has axes {output.axes} and "
                f"the link {output.link}"
            )
        if self.alpha is not None and len(self.alpha) != len(output.tracks):
            names = ", ".join(track.name for track in output.tracks)
            raise UsageError(f"focal alpha needs a factor for each of {names}, got {len(self.alpha)}")

    def each(
        self, logits: Float[Tensor, "batch tracks bins"], target: Tensor, weight: Float[Tensor, "batch bins"], link: str
    ) -> Float[Tensor, " batch"]:
        """The loss of each window in nats, summed over its bins.

        Args:
            target: the class of each bin, shape (batch, bins), or values shaped as logits: probabilities of the
                classes, or what was measured.
            weight: what each bin counts; 0 where it has no label.
            link: from logits to rates, where it is of counts.
        """
        if self.is_of_classes:
            return (self._of_classes(logits, target) * weight).sum(1)
        weight = weight[:, None]
        rate, known = LINKS[link](logits, 1), torch.where(weight > 0, target, 0.0).to(logits.dtype)
        log_rate = torch.log(rate + EPSILON)
        if self.kind == "poisson":
            return (weight * (rate - known * log_rate)).mean(1).sum(1)
        rates, counts = (weight * rate).sum(2), (weight * known).sum(2)
        log_rates = torch.log(rates + EPSILON)
        where = counts * log_rates - (weight * known * log_rate).sum(2)
        return (where + self.total_weight * (rates - counts * log_rates)).mean(1)

    def _of_classes(self, logits: Float[Tensor, "batch classes bins"], target: Tensor) -> Float[Tensor, "batch bins"]:
        log_p = functional.log_softmax(logits, dim=1)
        if self.kind == "focal":
            missed = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)  # 0 has no slope if gamma < 1
            log_p = missed.pow(self.gamma) * log_p
            if self.alpha is not None:
                log_p = log_p * log_p.new_tensor(self.alpha)[:, None]
        if target.ndim == 2:
            return -log_p.gather(1, target.long()[:, None])[:, 0]
        return -(target.to(log_p.dtype) * log_p).sum(dim=1)
