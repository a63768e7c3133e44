"""Optimisers by their own formulas, and gradients that are cut as a whole or each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from basecast.training.optimisers import Optimiser


def two() -> list[nn.Parameter]:
    """Of norms 5 and 1, with gradients of norms 10 and 0.1."""
    first, second = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.tensor([1.0]))
    first.grad, second.grad = torch.tensor([6.0, 8.0]), torch.tensor([0.1])
    return [first, second]


def stepped(optimiser: Optimiser, rate: float = 0.5, steps: int = 1) -> list[float]:
    parameters = two()
    made = optimiser.over([{"params": parameters, "factor": 1.0}], rate)
    for _ in range(steps):
        made.step()
    return torch.cat([p.detach() for p in parameters]).tolist()


def test_sgd_with_momentum() -> None:
    plain = Optimiser(kind="sgd", momentum=0.9, weight_decay=0)
    assert stepped(plain) == pytest.approx([3 - 3, 4 - 4, 1 - 0.05])
    assert stepped(plain, steps=2)[0] == pytest.approx(3 - 3 - 0.5 * (0.9 * 6 + 6))
    decayed = Optimiser(kind="sgd", weight_decay=0.1)
    assert stepped(decayed)[0] == pytest.approx(3 - 0.5 * (6 + 0.1 * 3))


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_the_first_step_of_adam_is_the_rate(kind: str) -> None:
    plain = Optimiser.model_validate({"kind": kind, "weight_decay": 0})
    assert stepped(plain) == pytest.approx([2.5, 3.5, 0.5], abs=1e-5)


def test_decay_is_within_the_gradient_of_adam_and_beside_that_of_adamw() -> None:
    within, beside = (Optimiser.model_validate({"kind": k, "weight_decay": 0.1}) for k in ("adam", "adamw"))
    assert stepped(within)[0] == pytest.approx(2.5, abs=1e-5)
    assert stepped(beside)[0] == pytest.approx(3 * (1 - 0.05) - 0.5, abs=1e-5)


def test_betas_are_those_of_the_averages() -> None:
    short = stepped(Optimiser(betas=(0.0, 0.5)), steps=3)
    assert short != stepped(Optimiser(betas=(0.97, 0.98)), steps=3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [10.0, 0.1]),
        ({"clip": 2.0}, [10 * 2 / math.hypot(10, 0.1), 0.1 * 2 / math.hypot(10, 0.1)]),
        ({"clip_each": 2.0}, [2.0, 0.1]),
        ({"clip": 20.0, "clip_each": 20.0}, [10.0, 0.1]),
    ],
)
def test_gradients_are_cut_as_a_whole_or_each(given: dict[str, float], expected: list[float]) -> None:
    parameters = two()
    norm = Optimiser.model_validate(given).clipped(parameters)
    assert float(norm) == pytest.approx(math.hypot(10, 0.1))
    norms = [float(p.grad.norm()) for p in parameters if p.grad is not None]
    assert norms == pytest.approx(expected, rel=1e-5)
