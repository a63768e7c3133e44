"""The compiled convolutions alone, against torch's in double precision."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from altering import COMPILED, DTYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from basecast.inference.native import library, memory
from basecast.inference.native.library import DIRECT, ITEM, SIZES, Layer
from basecast.inference.program import Step

pytestmark = pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels for this machine")

FP32, FP64 = 2e-6, 1e-13
"""Of the largest value."""
ACTIVATIONS = [None, nn.ReLU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.3)]


def step_of(
    rng: np.random.Generator, taps: int, dilation: int, inputs: int, outputs: int, *, has_affine: bool, **more: Any
) -> Step:
    def random(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    affine = {"scale": random(inputs), "shift": random(inputs)} if has_affine else {}
    weight = random(outputs, inputs, taps) / math.sqrt(inputs * taps)
    reach = dilation * (taps - 1) // 2
    return Step(0, weight, random(outputs), dilation, reach, reach, **affine, **more)


def wide(x: np.ndarray, instructions: str, dtype: np.dtype[Any]) -> np.ndarray:
    """Rows as the library wants them: aligned, with channels of zeros."""
    made = memory.rows(len(x), library.padded(x.shape[1], instructions, dtype), dtype)
    made[...] = 0
    made[:, : x.shape[1]] = x
    return made


def run(
    layer: Layer, pieces: list[tuple[np.ndarray, int, int, np.ndarray | None]], dtype: np.dtype[Any]
) -> list[np.ndarray]:
    """Each piece's output rows: of an input, from a first row that may be negative, with a residual."""
    items, made = np.zeros(len(pieces), ITEM), []
    for item, (source, first, outputs, residual) in zip(items, pieces, strict=True):
        at = source.ctypes.data
        item["input"] = (at, at, at, 0, len(source), len(source))
        if residual is not None:
            at = residual.ctypes.data
            item["residual"] = (at, at, at, 0, len(residual), len(residual))
        made.append(memory.rows(outputs, layer.channels, dtype))
        item["first"], item["outputs"], item["output"] = first, outputs, made[-1].ctypes.data
    layer.run(items)
    return made


def by_torch(step: Step, x: np.ndarray, first: int, outputs: int, residual: np.ndarray | None) -> np.ndarray:
    """The same in double precision, by torch's own convolution."""
    given = torch.from_numpy(x.astype(np.float64)).T[None]
    if step.scale is not None and step.shift is not None:
        given = given * step.scale[:, None] + step.shift[:, None]
    if step.before is not None:
        given = step.before(given)
    last = first + outputs + 2 * step.reach
    given = nn.functional.pad(given, (max(-first, 0), max(last - len(x), 0)))[:, :, max(first, 0) :]
    given = given[:, :, : outputs + 2 * step.reach]
    found = nn.functional.conv1d(given, step.weight, step.bias, dilation=step.dilation)[0].T
    if residual is not None:
        found = found + torch.from_numpy(residual.astype(np.float64))
    return (found if step.after is None else step.after(found)).numpy()


@given(st.data())
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("kernels", COMPILED)
def test_a_convolution_is_torch_s(kernels: str, precision: str, data: st.DataObject) -> None:
    dtype = np.dtype(np.float64 if precision == "fp64" else np.float32)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    taps, dilation = 2 * data.draw(st.integers(0, 30)) + 1, data.draw(st.sampled_from([1, 1, 2, 3, 4, 10, 25, 30]))
    inputs, outputs = (data.draw(st.sampled_from([1, 2, 4, 6, 8, 31, 32, 33, 40, 64, 70])) for _ in range(2))
    step = step_of(
        rng,
        taps,
        dilation,
        inputs,
        outputs,
        has_affine=data.draw(st.booleans()),
        before=data.draw(st.sampled_from(ACTIVATIONS)),
        after=data.draw(st.sampled_from(ACTIVATIONS)),
    )
    method = data.draw(st.sampled_from([DIRECT, *(size for size in SIZES if size > taps)]))
    layer = Layer(step, method, kernels, dtype)
    pieces, expected = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        rows = data.draw(st.integers(1, 400))
        first = data.draw(st.integers(-2 * step.reach, max(rows - 1, 0)))
        seen = data.draw(st.sampled_from([1, 2, 5, rows, rows + step.reach]))
        x = rng.normal(size=(rows, inputs)).astype(dtype)
        residual = rng.normal(size=(seen, outputs)).astype(dtype) if data.draw(st.booleans()) else None
        rest = None if residual is None else wide(residual, kernels, dtype)
        pieces.append((wide(x, kernels, dtype), first, seen, rest))
        expected.append(by_torch(step, x, first, seen, residual))
    for found, wanted in zip(run(layer, pieces, dtype), expected, strict=True):
        tolerance = (FP64 if precision == "fp64" else FP32) * max(np.abs(wanted).max(), 1)
        assert np.abs(found[:, :outputs] - wanted).max() < tolerance
        assert np.abs(found[:, outputs:]).max(initial=0) < tolerance, "channels that are no one's stay zero"


@pytest.mark.parametrize("method", [DIRECT, *SIZES])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("kernels", COMPILED)
def test_what_rows_give_depends_on_nothing_beside_them(kernels: str, precision: str, method: int) -> None:
    """The same bytes alone, as one of many, on another thread, and in a second run."""
    dtype = np.dtype(np.float64 if precision == "fp64" else np.float32)
    rng = np.random.default_rng(method)
    step = step_of(rng, 11, 4, 40, 33, has_affine=True, before=nn.ReLU())
    layer = Layer(step, method, kernels, dtype)
    pieces = [
        (wide(rng.normal(size=(n, 40)).astype(dtype), kernels, dtype), first, outputs, None)
        for n, first, outputs in [(300, -20, 300), (90, 0, 50), (41, 0, 1), (700, 3, 640), (64, -20, 64)]
    ]
    together = run(layer, pieces, dtype)
    alone = [run(layer, [piece], dtype)[0] for piece in pieces]
    backwards = run(layer, pieces[::-1], dtype)[::-1]
    with ThreadPoolExecutor(2) as pool:
        threads = [x[0] for x in pool.map(lambda piece: run(layer, [piece], dtype), pieces)]
    for found in (alone, backwards, threads):
        for one, other in zip(together, found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.ptp(together[0]) > 1


@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("method", [DIRECT, 32, 128])
def test_rows_of_three_places_are_one_tensor(kernels: str, method: int) -> None:
    """Of the reference, changed, of the reference again: each position is read where it stands."""
    dtype = np.dtype(np.float32)
    rng = np.random.default_rng(3)
    step = step_of(rng, 9, 3, 8, 8, has_affine=True, before=nn.LeakyReLU(0.1))
    layer = Layer(step, method, kernels, dtype)
    before, own, after = (wide(rng.normal(size=(n, 8)).astype(dtype), kernels, dtype) for n in (50, 20, 60))
    x = np.concatenate([before[:40], own, after[5:50]])
    (whole,) = run(layer, [(x, -4, 90, None)], dtype)
    item, made = np.zeros(1, ITEM), memory.rows(90, layer.channels, dtype)
    width = x.strides[0]
    places = (before.ctypes.data, own.ctypes.data - 40 * width, after.ctypes.data + (5 - 60) * width)
    item["input"] = (*places, 40, 60, len(x))
    item["first"], item["outputs"], item["output"] = -4, 90, made.ctypes.data
    layer.run(item)
    np.testing.assert_array_equal(made, whole)
    assert np.ptp(whole[:, 0]) > 1


def test_activations_that_are_known() -> None:
    step = step_of(np.random.default_rng(0), 1, 1, 1, 1, has_affine=False)

    def can(before: nn.Module | None, after: nn.Module | None) -> bool:
        return library.can_run(Step(0, step.weight, step.bias, 1, 0, 0, before=before, after=after))

    assert can(None, None)
    assert can(nn.ReLU(), nn.LeakyReLU(0.2))
    assert not can(nn.GELU(), None)
    assert not can(None, nn.SiLU())
    assert not can(nn.LeakyReLU(1.5), None), "its maximum is not the activation"
    assert not can(None, nn.LeakyReLU(-0.1))


@pytest.fixture
def no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_spare", [])


@given(st.integers(0, 300), st.sampled_from([16, 32, 48]), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=40, deadline=None)
def test_rows_are_aligned(n: int, channels: int, kind: type) -> None:
    made = memory.rows(n, channels, np.dtype(kind))
    assert made.shape == (n, channels)
    assert made.ctypes.data % 64 == 0
    made[...] = 1
    memory.release(made)


def test_memory_is_used_again_once_it_is_given_back(no_spare: None) -> None:
    dtype = np.dtype(np.float32)
    first, second = (memory.rows(10_000, 32, dtype) for _ in range(2))
    assert not np.shares_memory(first, second)
    place = first.ctypes.data
    memory.release(first)
    assert memory.rows(2, 32, dtype).ctypes.data != place, "far too large for a few"
    third, fourth = memory.rows(9900, 32, dtype), memory.rows(9900, 32, dtype)
    assert third.ctypes.data == place
    assert not np.shares_memory(third, fourth)
    assert not np.shares_memory(third, second)


def test_what_is_kept_for_later_is_bounded(no_spare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_KEPT", 500_000)
    for made in [memory.rows(1000, 32, np.dtype(np.float32)) for _ in range(9)]:
        memory.release(made)
    assert 0 < sum(size for size, *_ in memory._spare) <= 500_000
