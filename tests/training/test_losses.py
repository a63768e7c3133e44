"""Losses against closed forms, torch's own, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from basecast.errors import UsageError
from basecast.spec.model import Output, Track
from basecast.spec.splice import splice_output
from basecast.training.losses import Loss

ALPHA = (0.5, 2.0, 3.0)
LOSSES = [Loss(), *(Loss(kind="focal", alpha=a, gamma=g) for a in (None, ALPHA) for g in (0.0, 0.5, 1.0, 2.0, 3.5))]


def name_of(loss: Loss) -> str:
    return f"{loss.kind}-{loss.gamma}-{'alpha' if loss.alpha else 'plain'}"


def examples(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 3, 5) and classes (2, 5)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(3, (2, 5), generator=generator, dtype=torch.uint8)


def logits_for(*p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=torch.float64).log()[None, :, None]


def test_cross_entropy_is_torchs_at_each_position() -> None:
    logits, target = examples()
    expected = functional.cross_entropy(logits, target.long(), reduction="none")
    torch.testing.assert_close(Loss().each(logits, target), expected)


def test_focal_without_focus_or_factors_is_cross_entropy() -> None:
    logits, target = examples()
    for alpha in (None, (1.0, 1.0, 1.0)):
        found = Loss(kind="focal", gamma=0, alpha=alpha).each(logits, target)
        torch.testing.assert_close(found, Loss().each(logits, target))


@pytest.mark.parametrize(
    ("p", "alpha", "gamma", "expected"),
    [
        (0.9, None, 2.0, 0.01 * -math.log(0.9)),
        (0.5, None, 2.0, 0.25 * math.log(2)),
        (0.1, None, 2.0, 0.81 * math.log(10)),
        (0.9, (1.0, 166.0, 166.0), 2.0, 166 * 0.01 * -math.log(0.9)),  # the factor stands outside of the focus
        (0.25, (1.0, 4.0, 1.0), 1.0, 4 * 0.75 * math.log(4)),
    ],
)
def test_focal_by_hand(p: float, alpha: tuple[float, ...] | None, gamma: float, expected: float) -> None:
    loss = Loss(kind="focal", alpha=alpha, gamma=gamma)
    logits = logits_for(0.7 * (1 - p), p, 0.3 * (1 - p))
    assert loss.each(logits, torch.tensor([[1]], dtype=torch.uint8)).item() == pytest.approx(expected, rel=1e-12)


def test_the_factor_is_that_of_the_true_class() -> None:
    logits, target = examples()
    plain, scaled = (Loss(kind="focal", alpha=alpha).each(logits, target) for alpha in (None, ALPHA))
    torch.testing.assert_close(scaled, plain * torch.tensor(ALPHA, dtype=torch.float64)[target.long()])


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_soft_targets_that_are_sure_are_hard_targets(loss: Loss) -> None:
    logits, target = examples()
    soft = functional.one_hot(target.long(), 3).movedim(2, 1)
    torch.testing.assert_close(loss.each(logits, soft.half()), loss.each(logits, target))


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_a_soft_target_is_a_mean_of_hard_ones(loss: Loss) -> None:
    logits, _ = examples()
    soft = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)[None, :, None].expand(2, 3, 5)
    hard = [loss.each(logits, torch.full((2, 5), c, dtype=torch.uint8)) for c in range(3)]
    torch.testing.assert_close(loss.each(logits, soft), 0.5 * hard[0] + 0.25 * hard[1] + 0.25 * hard[2])


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_slopes_are_those_of_finite_differences(loss: Loss) -> None:
    logits, target = examples()
    assert torch.autograd.gradcheck(lambda x: loss.each(x, target), logits.requires_grad_(True))


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
@pytest.mark.parametrize("sure", [30.0, 300.0])
def test_a_sure_answer_right_or_wrong_has_a_loss_and_a_slope(loss: Loss, sure: float) -> None:
    logits = torch.tensor([[[sure, -sure], [0.0, 0.0], [0.0, sure]]], requires_grad=True)
    each = loss.each(logits, torch.tensor([[0, 0]], dtype=torch.uint8))
    each.sum().backward()
    assert each[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert each[0, 1].item() == pytest.approx(2 * sure * (loss.alpha or [1])[0], rel=1e-6)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 0].abs().max() < 1e-6
    assert logits.grad[0, :, 1].abs().max() > 0.4


def test_a_loss_that_does_not_fit_the_output_is_refused() -> None:
    Loss(kind="focal", alpha=ALPHA).check(splice_output())
    with pytest.raises(UsageError, match="a factor for each of neither, acceptor, donor, got 2"):
        Loss(kind="focal", alpha=(1.0, 2.0)).check(splice_output())
    with pytest.raises(UsageError, match="cross-entropy needs classes, and the output 'signal' has none"):
        Loss().check(Output(name="signal", tracks=(Track(name="a"),), link="softplus"))


@pytest.mark.parametrize("given", [{"kind": "hinge"}, {"gamma": -1}, {"alpha": ALPHA}])
def test_a_loss_that_there_is_not_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Loss.model_validate(given)
