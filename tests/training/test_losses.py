"""Losses against closed forms, torch's own, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special, stats
from torch.nn import functional

from basecast.errors import UsageError
from basecast.spec.model import Output, Track
from basecast.spec.splice import splice_output
from basecast.training.losses import EPSILON, Loss

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


def by_bin(loss: Loss, logits: torch.Tensor, target: torch.Tensor, link: str = "softmax") -> torch.Tensor:
    """The loss where one bin counts and no other, for each, shape (batch, bins)."""
    alone = torch.eye(logits.shape[-1], dtype=logits.dtype)
    return torch.stack([loss.each(logits, target, row.expand(len(logits), -1), link) for row in alone], dim=1)


def test_cross_entropy_is_torchs_at_each_position() -> None:
    logits, target = examples()
    expected = functional.cross_entropy(logits, target.long(), reduction="none")
    torch.testing.assert_close(by_bin(Loss(), logits, target), expected)


def test_focal_without_focus_or_factors_is_cross_entropy() -> None:
    logits, target = examples()
    for alpha in (None, (1.0, 1.0, 1.0)):
        found = by_bin(Loss(kind="focal", gamma=0, alpha=alpha), logits, target)
        torch.testing.assert_close(found, by_bin(Loss(), logits, target))


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
    assert by_bin(loss, logits, torch.tensor([[1]], dtype=torch.uint8)).item() == pytest.approx(expected, rel=1e-12)


def test_the_factor_is_that_of_the_true_class() -> None:
    logits, target = examples()
    plain, scaled = (by_bin(Loss(kind="focal", alpha=alpha), logits, target) for alpha in (None, ALPHA))
    torch.testing.assert_close(scaled, plain * torch.tensor(ALPHA, dtype=torch.float64)[target.long()])


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_soft_targets_that_are_sure_are_hard_targets(loss: Loss) -> None:
    logits, target = examples()
    soft = functional.one_hot(target.long(), 3).movedim(2, 1)
    torch.testing.assert_close(by_bin(loss, logits, soft.half()), by_bin(loss, logits, target))


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_a_soft_target_is_a_mean_of_hard_ones(loss: Loss) -> None:
    logits, _ = examples()
    soft = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)[None, :, None].expand(2, 3, 5)
    hard = [by_bin(loss, logits, torch.full((2, 5), c, dtype=torch.uint8)) for c in range(3)]
    torch.testing.assert_close(by_bin(loss, logits, soft), 0.5 * hard[0] + 0.25 * hard[1] + 0.25 * hard[2])


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
def test_slopes_are_those_of_finite_differences(loss: Loss) -> None:
    logits, target = examples()
    assert torch.autograd.gradcheck(lambda x: by_bin(loss, x, target), logits.requires_grad_(True))


@pytest.mark.parametrize("loss", LOSSES, ids=name_of)
@pytest.mark.parametrize("sure", [30.0, 300.0])
def test_a_sure_answer_right_or_wrong_has_a_loss_and_a_slope(loss: Loss, sure: float) -> None:
    logits = torch.tensor([[[sure, -sure], [0.0, 0.0], [0.0, sure]]], requires_grad=True)
    each = by_bin(loss, logits, torch.tensor([[0, 0]], dtype=torch.uint8))
    each.sum().backward()
    assert each[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert each[0, 1].item() == pytest.approx(2 * sure * (loss.alpha or [1])[0], rel=1e-6)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 0].abs().max() < 1e-6
    assert logits.grad[0, :, 1].abs().max() > 0.4


# ---- counts


def counts(seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits and counts (4, 3, 11), and weights (4, 11), many 0; the last window has no label at all."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, (4, 11)) * (rng.random((4, 11)) < 0.7)
    weight[3] = 0
    return rng.normal(0, 2, (4, 3, 11)), rng.poisson(3, (4, 3, 11)).astype(float), weight


RATES = {"softplus": lambda x: np.logaddexp(0, x), "exp": np.exp}


@pytest.mark.parametrize("link", RATES)
@pytest.mark.parametrize("kind", ["poisson", "poisson-multinomial"])
def test_losses_of_counts_are_the_likelihoods_that_scipy_has(kind: str, link: str) -> None:
    logits, y, weight = counts()
    weight = (weight > 0).astype(float)
    found = loss_of(kind, logits, y, weight, link, total_weight=0.3)
    for window, (known, rate) in enumerate(zip(weight > 0, RATES[link](logits), strict=True)):
        each = []
        for p, n in zip(rate[:, known], y[window][:, known], strict=True):
            if kind == "poisson":  # what does not depend on the rate is left out
                each.append(-(stats.poisson.logpmf(n, p) + special.gammaln(n + 1)).sum())
                continue
            total = stats.poisson.logpmf(n.sum(), p.sum()) + special.gammaln(n.sum() + 1)
            where = (special.xlogy(n, p / p.sum())).sum() if known.any() else 0.0
            each.append(-(where + 0.3 * total))
        assert found[window] == pytest.approx(np.mean(each) if known.any() else 0, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("link", RATES)
def test_losses_of_counts_with_weights_by_their_formulas(link: str) -> None:
    logits, y, weight = counts()
    rate, w = RATES[link](logits), weight[:, None]
    plain = (w * (rate - y * np.log(rate + EPSILON))).sum(2).mean(1)
    np.testing.assert_allclose(loss_of("poisson", logits, y, weight, link), plain, rtol=1e-12)
    s, n = (w * rate).sum(2), (w * y).sum(2)
    where = n * np.log(s + EPSILON) - (w * y * np.log(rate + EPSILON)).sum(2)
    apart = (where + 0.2 * (s - n * np.log(s + EPSILON))).mean(1)
    np.testing.assert_allclose(loss_of("poisson-multinomial", logits, y, weight, link), apart, rtol=1e-12)


def loss_of(kind: str, logits: np.ndarray, y: np.ndarray, weight: np.ndarray, link: str, **more: float) -> np.ndarray:
    loss = Loss.model_validate({"kind": kind, **more})
    return loss.each(torch.from_numpy(logits), torch.from_numpy(y), torch.from_numpy(weight), link).numpy()


def test_with_a_weight_of_one_for_the_total_it_is_the_poisson_loss() -> None:
    arrays = counts()
    plain, apart = (
        loss_of(kind, *arrays, "softplus", **more)
        for kind, more in (("poisson", {}), ("poisson-multinomial", {"total_weight": 1.0}))
    )
    np.testing.assert_allclose(apart, plain, rtol=1e-9)
    assert np.abs(plain - loss_of("poisson-multinomial", *arrays, "softplus")).max() > 1


@pytest.mark.parametrize("kind", ["poisson", "poisson-multinomial"])
def test_what_has_no_label_does_not_count_whatever_stands_there(kind: str) -> None:
    logits, y, weight = counts()
    other = np.where(weight[:, None] > 0, y, np.nan)
    np.testing.assert_array_equal(
        loss_of(kind, logits, other, weight, "softplus"), loss_of(kind, logits, y, weight, "softplus")
    )
    x = torch.from_numpy(logits).requires_grad_(True)
    loss = Loss.model_validate({"kind": kind})
    loss.each(x, torch.from_numpy(other), torch.from_numpy(weight), "softplus").sum().backward()
    assert x.grad is not None
    assert ((x.grad != 0).all(1).numpy() == (weight > 0)).all()


@pytest.mark.parametrize("link", ["softplus", "exp", "exp_linear"])
@pytest.mark.parametrize("kind", ["poisson", "poisson-multinomial"])
def test_slopes_of_counts_are_those_of_finite_differences(kind: str, link: str) -> None:
    logits, y, weight = (torch.from_numpy(x) for x in counts())
    loss = Loss.model_validate({"kind": kind})
    assert torch.autograd.gradcheck(lambda x: loss.each(x, y, weight, link), logits.requires_grad_(True))


@pytest.mark.parametrize("kind", ["poisson", "poisson-multinomial"])
def test_single_precision_comes_near_double(kind: str) -> None:
    rng = np.random.default_rng(1)
    y = rng.poisson(rng.gamma(0.3, 30, (2, 3, 6000))).astype(np.float32)
    logits = rng.normal(-2, 6, y.shape).astype(np.float32)
    weight = np.ones((2, 6000), dtype=np.float32)
    single = loss_of(kind, logits, y, weight, "softplus")
    double = loss_of(kind, *(x.astype(float) for x in (logits, y, weight)), "softplus")
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-5)


def test_a_loss_that_does_not_fit_the_output_is_refused() -> None:
    Loss(kind="focal", alpha=ALPHA).check(splice_output())
    with pytest.raises(UsageError, match="a factor for each of neither, acceptor, donor, got 2"):
        Loss(kind="focal", alpha=(1.0, 2.0)).check(splice_output())
    signal = Output(name="signal", tracks=(Track(name="a"),), link="softplus")
    with pytest.raises(UsageError, match="cross-entropy needs classes, and the output 'signal' has none"):
        Loss().check(signal)
    Loss(kind="poisson").check(signal)
    for changed in ({"link": "identity"}, {"axes": "position_pair"}, {"link": "softmax"}):
        with pytest.raises(UsageError, match="poisson needs a rate at each position, and the output 'signal' has"):
            Loss(kind="poisson").check(signal.model_copy(update=changed))


@pytest.mark.parametrize("given", [{"kind": "hinge"}, {"gamma": -1}, {"alpha": ALPHA}, {"total_weight": 0}])
def test_a_loss_that_there_is_not_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Loss.model_validate(given)
