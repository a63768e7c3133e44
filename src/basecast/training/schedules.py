"""Learning rates as functions of how far training has come: nothing to keep, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from basecast.spec.model import Frozen

RESTART = 5
"""Epochs of one cosine of ``cosine-restarts`` (Chao et al. 2025)."""
_FLOOR = 1e-5


class Schedule(Frozen):
    """``multistep``: halved before each of the last five epochs (Jaganathan et al. 2019; Chao et al. 2025).

    ``cosine-restarts``: from the rate to 1e-5 along a cosine, anew every five epochs (Chao et al. 2025). ``cosine``:
    once, from the rate to 0 over the whole training. ``constant``: as it is.
    """

    kind: Literal["multistep", "cosine-restarts", "cosine", "constant"] = "cosine"
    rate: float = Field(1e-3, gt=0)
    warm_up: int = Field(0, ge=0, description="steps over which the rate rises from 0")

    def at(self, step: int, epoch: float, epochs: int) -> float:
        """The learning rate of a step, counted from 0, before which ``epoch`` of ``epochs`` have passed."""
        rate = self.rate
        if self.kind == "multistep":
            rate *= 0.5 ** sum(epoch >= epochs - before for before in range(1, 6) if epochs - before > 0)
        elif self.kind == "cosine-restarts":
            rate = _FLOOR + (rate - _FLOOR) * _cosine(epoch % RESTART / RESTART)
        elif self.kind == "cosine":
            rate *= _cosine(epoch / epochs)
        return rate * min(1.0, (step + 1) / self.warm_up) if self.warm_up else rate


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2
