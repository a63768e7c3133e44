"""Steps by torch: what they give of tensors that end, in every precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from basecast.inference.program import Program, Step
from basecast.inference.runner import Runner
from basecast.inference.torched import TorchKernels, TorchStep
from basecast.inference.windows import Change, Windows

CPU = torch.device("cpu")


def random_step(taps: int = 5, dilation: int = 2, **more: object) -> Step:
    made = torch.Generator().manual_seed(taps)
    weight = torch.randn(7, 4, taps, generator=made, dtype=torch.float64)
    bias = torch.randn(7, generator=made, dtype=torch.float64)
    reach = dilation * (taps - 1) // 2
    return Step(0, weight, bias, dilation, reach, reach, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_flat", [False, True], ids=["conv1d", "conv2d"])
@pytest.mark.parametrize("outside", [(0, 0), (3, 0), (2, 4)])
def test_a_step_is_what_it_says(outside: tuple[int, int], is_flat: bool) -> None:
    """after(convolution(before(scale * source + shift)) + residual), of zeros beyond the ends of what is convolved."""
    scale, shift = torch.tensor([1.0, -2, 0.5, 3]).double(), torch.tensor([0.1, 0.2, -0.3, 0.4]).double()
    step = random_step(scale=scale, shift=shift, before=nn.GELU(), after=nn.Tanh())
    x = torch.randn(3, 4, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inside = nn.functional.pad(nn.functional.gelu(x * scale[:, None] + shift[:, None]), outside)
    found = nn.functional.conv1d(inside, step.weight, step.bias, dilation=2)
    residual = torch.randn(found.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = x.clone()
    got = TorchStep(step, CPU, torch.float64, is_flat)(x, outside, residual)
    torch.testing.assert_close(got, torch.tanh(found + residual), rtol=0, atol=1e-12)
    assert torch.equal(x, kept)
    assert found.std() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 0), (torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_precisions_of_a_program(dtype: torch.dtype, tolerance: float) -> None:
    """What is read is at least single precision, for the heads."""
    program = Program((random_step(),))
    windows = Windows.whole([np.random.default_rng(i).integers(0, 5, 60).astype(np.uint8) for i in range(3)])
    exact, found = (
        Runner(program, TorchKernels(program, CPU, kind, lambda step: False)).embedding(windows)
        for kind in (torch.float64, dtype)
    )
    assert found.shape == (3, 7, 52)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (found - exact).abs().max() <= tolerance * exact.abs().max()
    assert (exact[0] - exact[1]).abs().max() > 0.1


def test_windows_that_need_other_positions_are_not_run_together() -> None:
    program = Program((random_step(),))
    kernels = TorchKernels(program, CPU, torch.float64, lambda step: False)
    assert kernels.alike_only
    runner = Runner(program, kernels)
    tokens = np.zeros(40, np.uint8)
    levels, _ = runner.reference([tokens], 0)
    windows = Windows.altered([tokens, tokens], [Change(10, 1, 1, 40), Change(12, 1, 1, 40)], [0, 0], [0, 0])
    with pytest.raises(AssertionError):
        runner.embedding(windows, levels)
