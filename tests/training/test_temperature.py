"""The fit of temperatures against scipy's minimiser and against temperatures that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from basecast.errors import InputError
from basecast.training.temperature import Batches, fitted, moments

TRUE = (0.6, 1.0, 2.5)


def sample(n: int, temperature: tuple[float, ...], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Logits of rare classes, and labels drawn from the softmax of them divided by ``temperature``."""
    rng = np.random.default_rng(seed)
    z = rng.normal([4, -2, -2], [1.5, 3, 3], (n, 3)).astype(np.float32)
    p = np.exp(z / np.array(temperature, dtype=float))
    p /= p.sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2)
    return z, labels.astype(np.uint8)


def nll(z: NDArray[np.float32], labels: NDArray[np.uint8], inverse: NDArray[np.float64]) -> float:
    scaled = z.astype(np.float64) * inverse
    return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(labels.size), labels]).sum())


def in_batches(z: NDArray[np.float32], labels: NDArray[np.uint8], n: int = 7) -> Batches:
    return lambda: zip(np.array_split(z, n), np.array_split(labels, n), strict=True)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_one_temperature_is_that_of_the_minimum(true: float) -> None:
    z, labels = sample(40_000, (true,))
    (found,) = fitted(in_batches(z, labels), 3)
    expected = minimize_scalar(
        lambda b: nll(z, labels, np.full(3, b)), bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9}
    )
    assert found == pytest.approx(1 / expected.x, rel=1e-5)
    assert found == pytest.approx(true, rel=0.05)


def test_a_temperature_a_class_is_that_of_the_minimum() -> None:
    z, labels = sample(60_000, TRUE)
    found = fitted(in_batches(z, labels), 3, per_class=True)
    expected = minimize(lambda b: nll(z, labels, b), np.ones(3), method="BFGS", options={"gtol": 1e-3})
    np.testing.assert_allclose(found, 1 / expected.x, rtol=1e-4)
    np.testing.assert_allclose(found, TRUE, rtol=0.15)


def test_gradient_and_curvature_are_those_of_the_likelihood() -> None:
    z, labels = sample(500, TRUE)
    at, h = np.array([0.8, 1.3, 0.6]), 1e-4
    found = moments(in_batches(z, labels), at)
    assert found.value == pytest.approx(nll(z, labels, at), rel=1e-12)
    assert found.positions == 500
    ends = [moments(in_batches(z, labels), at + h * side) for i in range(3) for side in (np.eye(3)[i], -np.eye(3)[i])]
    np.testing.assert_allclose(found.gradient, [(a.value - b.value) / (2 * h) for a, b in pairs(ends)], rtol=1e-5)
    np.testing.assert_allclose(
        found.curvature, [(a.gradient - b.gradient) / (2 * h) for a, b in pairs(ends)], rtol=1e-5
    )


def pairs(values: list) -> list:
    return list(zip(values[::2], values[1::2], strict=True))


def test_batches_do_not_matter_and_a_constant_added_to_a_position_does_not_either() -> None:
    z, labels = sample(5_000, (1.7,))
    one, many = fitted(in_batches(z, labels, 1), 3), fitted(in_batches(z, labels, 60), 3)
    shifted = z + np.random.default_rng(1).normal(0, 5, (5_000, 1)).astype(np.float32)
    assert one == pytest.approx(many, rel=1e-9)
    assert one == pytest.approx(fitted(in_batches(shifted, labels), 3), rel=1e-4)


@pytest.mark.parametrize("how", ["without error", "at chance"])
def test_labels_that_no_temperature_fits_are_refused(how: str) -> None:
    z, _ = sample(2_000, (1.0,))
    labels = z.argmax(axis=1) if how == "without error" else z.argmin(axis=1)
    with pytest.raises(InputError, match="no temperature from"):
        fitted(in_batches(z, labels.astype(np.uint8)), 3)


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(InputError, match="no labelled position"):
        fitted(in_batches(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.uint8), 1), 3)
