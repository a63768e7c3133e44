"""Where a training run stands, in one file that appears whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from basecast.errors import InputError
from basecast.files import named_errors, whole_file

Weights = dict[str, Tensor]
_DIGEST = hashlib.sha256().digest_size


@dataclass
class State:
    """Everything that the next step depends on, besides the plan.

    Attributes:
        step, epochs: steps done, over all epochs; epochs ended.
        network, optimiser: their state.
        average: the moving average of the weights, if one is kept.
        best: weights of the epoch with the lowest validation loss; ``best_loss`` is that, ``best_epoch`` counts from 0.
        patience: epochs since then.
        loss, counted: what the current epoch's loss is summed from.
        seconds: spent in training.
        is_done: whether training has ended.
    """

    step: int = 0
    epochs: int = 0
    network: Weights = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    average: Weights = field(default_factory=dict)
    best: Weights = field(default_factory=dict)
    best_loss: float = float("inf")
    best_epoch: int = -1
    patience: int = 0
    loss: float = 0.0
    counted: float = 0.0
    seconds: float = 0.0
    is_done: bool = False

    def save(self, path: Path) -> None:
        """Write it; an earlier one stays until this one is whole.

        Raises:
            BasecastError: it could not be written.
        """
        content = io.BytesIO()
        torch.save({name: getattr(self, name) for name in asdict(State())}, content)
        with named_errors(path), whole_file(path) as partial:
            partial.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())

    @classmethod
    def load(cls, path: Path) -> State:
        """Read it, on the CPU.

        Raises:
            InputError: it is damaged.
        """
        with path.open("rb") as file:
            digest, content = file.read(_DIGEST), file.read()
        if hashlib.sha256(content).digest() != digest:  # torch would not see a bit that has changed
            raise InputError(f"the checkpoint {path} is damaged: --restart removes it and begins anew")
        return cls(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def copied(weights: Mapping[str, Tensor]) -> Weights:
    """Weights that do not change when the network's do, on the CPU."""
    return {name: x.detach().to("cpu", copy=True) for name, x in weights.items()}
