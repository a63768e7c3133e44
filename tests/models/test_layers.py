"""Layers against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from basecast.models.layers import Convolution, Norm, ResidualUnit, crop, make_one_hot, padded


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """What a module gives, and slopes of a weighted sum of it by its input and each of its weights."""
    x = x.clone().requires_grad_(True)
    y = module(x)
    found = torch.autograd.grad((y * random(*y.shape, seed=2)).sum(), [x, *module.parameters()])
    return [y.detach(), *found]


def check_same(first: nn.Module, second: nn.Module, x: Tensor, tolerance: float = 1e-12) -> None:
    for one, other in zip(gradients(first, x), gradients(second, x), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ---- convolution


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize("width", [1, 3, 11])
def test_a_convolution_is_torchs_and_gives_what_it_sees_whole(width: int, dilation: int) -> None:
    own, torchs = Convolution(5, 7, width, dilation).double(), nn.Conv1d(5, 7, width, dilation=dilation).double()
    torchs.load_state_dict(own.state_dict())
    x = random(3, 5, 90)
    check_same(own, torchs, x)
    assert own(x).shape[-1] == 90 - 2 * own.reach
    with padded(own):
        assert own(x).shape[-1] == 90
        torch.testing.assert_close(own(x), nn.functional.conv1d(x, own.weight, own.bias, 1, own.reach, dilation))
    assert own(x).shape[-1] == 90 - 2 * own.reach


def test_padding_ends_even_after_an_error() -> None:
    own = Convolution(1, 1, 5)
    with pytest.raises(RuntimeError, match="stop"), padded(own):
        raise RuntimeError("stop")
    assert own.padding == (0,)


def test_a_convolution_has_a_centre() -> None:
    with pytest.raises(ValueError, match="is odd, got 4"):
        Convolution(1, 1, 4)


def test_channels_stay_side_by_side_in_memory() -> None:
    x = make_one_hot(torch.randint(5, (2, 50), dtype=torch.uint8))
    assert x.stride() == (200, 1, 4)
    y = Norm(8)(Convolution(4, 8, 3)(x))
    assert y.unsqueeze(2).is_contiguous(memory_format=torch.channels_last)


def test_a_batch_without_a_window_gives_none() -> None:
    unit = ResidualUnit(4, 5, 2, nn.ReLU(), 1e-5).eval()
    y = unit(torch.zeros(0, 4, 60))
    assert y.shape == (0, 4, 60 - 2 * unit.reach)
    y.sum().backward()


# ---- norm


def norms(**more: Any) -> tuple[Norm, nn.BatchNorm1d]:
    """Ours and torch's, with the same odd weights and statistics."""
    own, torchs = Norm(6, **more).double(), nn.BatchNorm1d(6, **more).double()
    with torch.no_grad():
        for i, x in enumerate(own.state_dict().values()):
            if x.is_floating_point():
                x.copy_(random(6, seed=i).abs() + 0.1)
    torchs.load_state_dict(own.state_dict())
    return own, torchs


def same_state(first: nn.Module, second: nn.Module) -> None:
    for (name, x), (other, y) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert name == other
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("options", [{}, {"eps": 1e-3, "momentum": 0.3}], ids=["default", "other"])
def test_a_norm_is_torchs_in_training_and_after(options: dict[str, Any], together: bool) -> None:
    own, torchs = norms(**options)
    if together:
        own.total = lambda x: x * 1  # a sum over one process
    x = 3 + 2 * random(4, 6, 30)
    check_same(own, torchs, x)
    same_state(own, torchs)
    assert own.num_batches_tracked == 1
    own.eval()
    torchs.eval()
    check_same(own, torchs, x)
    same_state(own, torchs)


def test_halves_that_meet_are_the_whole() -> None:
    """Two processes by hand: the sum over both is put in where each asks for it."""
    own, torchs = norms()
    x = 3 + 2 * random(5, 6, 30)
    halves = [x[:2], x[2:]]
    whole = torchs(x)
    count = x.new_tensor([x.shape[0] * x.shape[2]])
    mean = x.mean((0, 2))
    sums = [torch.cat([count, x.sum((0, 2))]), (x - mean[:, None]).square().sum((0, 2))]
    parts = []
    for half in halves:
        turn = iter(sums)
        own.total = lambda _, turn=turn: next(turn)  # type: ignore[misc]
        parts.append(own(half))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)


def test_in_half_precision_statistics_that_meet_are_still_sums_of_singles() -> None:
    own, torchs = Norm(6), nn.BatchNorm1d(6)
    own.total = lambda x: x * 1
    x = (100 + random(8, 6, 5000)).float().bfloat16()
    y = own(x)
    assert y.dtype == torch.bfloat16
    torchs(x.float())
    torch.testing.assert_close(own.running_mean, torchs.running_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.running_var, torchs.running_var, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("together", [False, True])
def test_a_frozen_norm_stays_as_it_is_in_training(together: bool) -> None:
    own, torchs = norms()
    own.is_frozen = True
    if together:
        own.total = lambda x: pytest.fail("it has nothing to share")
    network = nn.Sequential(own)
    network.train()
    torchs.eval()
    x = 3 + 2 * random(4, 6, 30)
    check_same(network, torchs, x)
    same_state(own, torchs)
    assert network.training
    assert not own.training


# ---- the rest


def test_one_hot_has_a_row_for_each_base_and_none_for_n() -> None:
    x = make_one_hot(torch.tensor([[0, 1, 2, 3, 4]], dtype=torch.uint8), torch.float64)
    assert x.dtype == torch.float64
    assert x[0].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_a_crop_is_the_middle() -> None:
    x = torch.arange(10.0).reshape(1, 1, 10)
    assert crop(x, 4).flatten().tolist() == [3, 4, 5, 6]
