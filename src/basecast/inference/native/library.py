"""The compiled convolutions: the library of this package's build, and how a layer is laid out for it."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from basecast.files import sha256_of
from basecast.inference.program import Step

DIRECT = 0
SIZES = (32, 64, 128, 256)
"""Rows of a block of the Fourier method."""

_LIBRARY = "_convolution.so"
_LAYOUT = 1  # of ITEM and of what a Layer describes, as levels.c says it
_BYTES = {"avx512": 64, "avx2": 32, "neon": 16}
_DIRECT_ROWS = 192  # outputs of a block of the direct method: what it reads stays in the first cache
_BESIDE = 6  # blocks that the library multiplies at once
_SPECTRA = 400_000  # bytes of spectra of blocks that share a reading of the weights: a part of the second cache

_ROWS = [(name, "i8") for name in ("first", "middle", "last", "changed", "same", "length")]
ITEM = np.dtype(
    [("input", _ROWS), ("residual", _ROWS)]
    + [(name, "i8") for name in ("first", "residual_first", "outputs", "output")]
)
"""An item as the library reads it: addresses, then rows."""


@functools.cache
def available() -> tuple[str, ...]:
    """The instruction sets of the library that this machine has, best first; none where there is no library."""
    try:
        best, layout = _library().best_level, _library().layout()
    except (OSError, AttributeError):
        return ()
    if layout != _LAYOUT:  # an editable install that was not built again
        return ()
    best.restype = ctypes.c_char_p
    found = best().decode()
    return ("avx512", "avx2") if found == "avx512" else (found,) if found else ()


def digest() -> str:
    """Of the library's file."""
    return sha256_of(Path(__file__).with_name(_LIBRARY))


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(__file__).with_name(_LIBRARY)))


def padded(n: int, instructions: str, dtype: np.dtype[Any]) -> int:
    """``n`` channels as the library wants them: a multiple of two vectors."""
    group = 2 * _BYTES[instructions] // dtype.itemsize
    return -(-n // group) * group


class Layer:
    """One step by one method: ``DIRECT``, or the size of a Fourier block."""

    def __init__(self, step: Step, size: int, instructions: str, dtype: np.dtype[Any]) -> None:
        self.channels, inputs = (padded(n, instructions, dtype) for n in step.weight.shape[:2])
        taps = step.weight.shape[2]
        weight = np.zeros((taps, inputs, self.channels))
        weight[:, : step.weight.shape[1], : step.weight.shape[0]] = step.weight.numpy().transpose(2, 1, 0)
        slopes = [1.0 if x is None else float(getattr(x, "negative_slope", 0)) for x in (step.before, step.after)]
        arrays = [_spectrum(weight, size) if size else weight, _wider(step.bias, self.channels)]
        arrays += [np.zeros(0) if x is None else _wider(x, inputs) for x in (step.scale, step.shift)]
        angles = np.exp(-2j * np.pi * np.arange(size) / max(size, 1))
        arrays.append(np.stack([angles.real, angles.imag], axis=1))
        self._kept = [_aligned(array, dtype) for array in arrays]
        self._places = _places(size) if size else np.zeros(1, np.int64)
        real = ctypes.c_float if dtype.itemsize == 4 else ctypes.c_double
        fields = [(f"n{i}", ctypes.c_int64) for i in range(6)] + [(f"p{i}", ctypes.c_void_p) for i in range(6)]
        described = type("Described", (ctypes.Structure,), {"_fields_": [*fields, ("before", real), ("after", real)]})
        rows = size or _DIRECT_ROWS + taps - 1
        addresses = [array.ctypes.data if array.size else None for array in self._kept] + [self._places.ctypes.data]
        self._described = described(taps, step.dilation, inputs, self.channels, rows, bool(size), *addresses, *slopes)
        self.gives = rows - taps + 1
        fit = _SPECTRA // ((size // 2 + 1) * 2 * (inputs + self.channels) * dtype.itemsize)
        self._together = max(fit // _BESIDE, 1) * _BESIDE
        self._function = getattr(_library(), f"convolve_{instructions}_f{8 * dtype.itemsize}")

    def run(self, items: np.ndarray) -> None:
        """Write the output rows of every item.

        Raises:
            MemoryError: there is no room for the blocks.
        """
        size, together = ctypes.c_int64(len(items)), ctypes.c_int64(self._together)
        if self._function(ctypes.byref(self._described), ctypes.c_void_p(items.ctypes.data), size, together):
            raise MemoryError("blocks of a convolution")


def can_run(step: Step) -> bool:
    """Whether the library knows the step's activations."""
    kinds = {type(module).__name__ for module in (step.before, step.after) if module is not None}
    slopes = [getattr(module, "negative_slope", 0) for module in (step.before, step.after)]
    return kinds <= {"ReLU", "LeakyReLU"} and all(0 <= slope < 1 for slope in slopes)


def _spectrum(weight: Float[np.ndarray, "taps inputs channels"], size: int) -> Float[np.ndarray, ...]:
    """(frequencies, inputs, 2, channels): real and imaginary parts for a correlation, halved and over ``size`` (the
    library leaves both out of its transforms)."""
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(len(weight))) / size
    found = [np.tensordot(wave(angles) / (2 * size), weight, 1) for wave in (np.cos, np.sin)]
    return np.stack(found, axis=2)


def _places(size: int) -> Int[np.ndarray, " size"]:
    """Where each frequency stands after the library's transform: digits reversed, of radix 4 and a last of 4 or 8."""
    radices, left = [], size
    while left > 8:
        radices.append(4)
        left //= 4
    frequency, span, place = np.arange(size), size, np.zeros(size, np.int64)
    for radix in [*radices, left]:
        span //= radix
        place += frequency % radix * span
        frequency = frequency // radix
    return place


def _wider(values: Any, n: int) -> Float[np.ndarray, " n"]:
    return np.pad(values.numpy(), (0, n - len(values)))


def _aligned(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    memory = np.empty(array.size * dtype.itemsize + 64, np.uint8)
    made = np.ndarray(array.shape, dtype, memory, -memory.ctypes.data % 64)
    made[...] = array
    return made
