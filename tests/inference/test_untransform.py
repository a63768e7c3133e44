"""Each track gets its own inverse, whatever its neighbours have."""

from __future__ import annotations

import numpy as np
import pytest

from basecast.inference.untransform import untransformed
from basecast.spec import Output, TargetTransform, Track

ROOT = TargetTransform(power=0.5, soft_clip=20.0)
SCALED = TargetTransform(scale=0.1)
BORZOI = TargetTransform(power=0.75, soft_clip=384.0, scale=0.01, scaled_last=True)
TRANSFORMS = (ROOT, None, SCALED, ROOT, BORZOI)
OUTPUT = Output(
    name="signal",
    resolution=32,
    link="softplus",
    tracks=tuple(Track(name=f"t{i}", transform=transform) for i, transform in enumerate(TRANSFORMS)),
)
STATISTIC = np.random.default_rng(0).gamma(0.3, 2000, (6, 5))


def taught(kind: type) -> np.ndarray:
    columns = [x if t is None else t.apply(x) for x, t in zip(STATISTIC.T.astype(kind), TRANSFORMS, strict=True)]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize(("kind", "within"), [(np.float64, 1e-12), (np.float32, 3e-5)])
def test_the_statistic_comes_back_in_the_same_kind_of_number(kind: type, within: float) -> None:
    values = taught(kind)
    before = values.copy()
    found = untransformed(values, OUTPUT)
    assert found.dtype == kind
    np.testing.assert_allclose(found, STATISTIC, rtol=within, atol=within)
    np.testing.assert_array_equal(values, before)
    moved = np.abs(found - values).max(axis=0) > 1
    assert moved.tolist() == [t is not None for t in TRANSFORMS]


def test_tracks_that_were_chosen_and_any_axes_before_them() -> None:
    values = taught(np.float64)
    whole = untransformed(values, OUTPUT)
    np.testing.assert_array_equal(untransformed(values[:, [4, 1, 0]], OUTPUT, [4, 1, 0]), whole[:, [4, 1, 0]])
    stacked = untransformed(values.reshape(2, 3, 5), OUTPUT)
    np.testing.assert_array_equal(stacked.reshape(6, 5), whole)
    np.testing.assert_array_equal(untransformed(values[0], OUTPUT), whole[0])


@pytest.mark.parametrize("chosen", [None, [0, 1]])
def test_as_many_tracks_as_there_are(chosen: list[int] | None) -> None:
    n = 5 if chosen is None else 2
    with pytest.raises(ValueError, match=f"signal have {n} tracks"):
        untransformed(np.zeros((7, 3)), OUTPUT, chosen)
