"""Network weights made by formula, so that a parity test needs no file of anyone.

The peers ran on the same formula once (``benchmarks/make_golden.py``); their numbers lie beside this file. numpy and
the standard library only, since it is imported in the peers' environments too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

WIDTHS = (11, 11, 21, 41)
DILATIONS = (1, 4, 10, 25)
GROUPS = {80: 1, 400: 2, 2000: 3, 10000: 4}
CHANNELS = 32
GAIN = 0.9
HEAD_GAIN = 2.5


def formula_uniform(name: str, size: int) -> NDArray[np.float64]:
    """``size`` numbers over -1..1 that depend on ``name`` alone: an integer hash of each index, exact everywhere."""
    start = zlib.crc32(name.encode()) * 0x9E3779B97F4A7C15 % 2**64
    x = np.arange(size, dtype=np.uint64) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def formula_weight(name: str, shape: tuple[int, ...], salt: str = "") -> NDArray[np.float32]:
    """A parameter by its name in either family's files; ``salt`` makes another member of an ensemble.

    Convolutions are scaled by fan-in, so that signals neither vanish nor explode; the head is steep and biased to
    "neither", so that most positions are no site and some nearly certain ones.
    """
    u = formula_uniform(f"{salt}{name}", math.prod(shape)).reshape(shape)
    keras = name.endswith(":0")
    leaf = name.rpartition("/" if keras else ".")[2].removesuffix(":0")
    head = name.startswith(("final_conv", "conv1d_39/"))
    if leaf in ("running_var", "moving_variance"):
        made = 1.0 + 0.5 * u
    elif leaf in ("running_mean", "moving_mean"):
        made = 0.2 * u
    elif leaf == "gamma" or (leaf == "weight" and len(shape) == 1):
        made = 1.0 + 0.3 * u
    elif leaf in ("bias", "beta"):
        made = np.array([4.0, 0.0, 0.0]) if head else 0.1 * u
    else:
        inputs = (0, 1) if keras else (1, 2)
        fan_in = math.prod(shape[axis] for axis in inputs)
        # without a mean, so that the positive mean of rectified signals does not carry every position along
        made = (u - u.mean(axis=inputs, keepdims=True)) * math.sqrt(3.0 / fan_in) * (HEAD_GAIN if head else GAIN)
    return made.astype(np.float32)


def openspliceai_shapes(context: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Parameters and buffers of an OpenSpliceAI state dict, in its order; ``num_batches_tracked`` has shape ()."""
    groups, c = GROUPS[context], CHANNELS
    yield from _torch_convolution("initial_conv", (c, 4, 1))
    yield from _torch_convolution("initial_skip.conv", (c, c, 1))
    index = 0
    for width in WIDTHS[:groups]:
        for _ in range(4):
            unit = f"residual_units.{index}"
            for part in ("batchnorm1", "batchnorm2"):
                for leaf in ("weight", "bias", "running_mean", "running_var"):
                    yield f"{unit}.{part}.{leaf}", (c,)
                yield f"{unit}.{part}.num_batches_tracked", ()
            for part in ("conv1", "conv2"):
                yield from _torch_convolution(f"{unit}.{part}", (c, c, width))
            index += 1
        yield from _torch_convolution(f"residual_units.{index}.conv", (c, c, 1))
        index += 1
    yield from _torch_convolution("final_conv", (3, c, 1))


def _torch_convolution(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
