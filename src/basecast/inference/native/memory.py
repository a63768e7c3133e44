"""Rows for the library, in memory that is used again: new memory costs the system as much as a short convolution."""

from __future__ import annotations

import bisect
import threading
from typing import Any

import numpy as np
from jaxtyping import Float

_KEPT = 2**27
_ALIGNED = 64

_lock = threading.Lock()
_spare: list[tuple[int, int, np.ndarray]] = []
"""Size, address, bytes; by size."""


def rows(n: int, channels: int, dtype: np.dtype[Any]) -> Float[np.ndarray, "rows channels"]:
    """Uninitialised rows that begin at a multiple of 64 bytes."""
    wanted = n * channels * dtype.itemsize
    memory = _taken(wanted)
    if memory is None:
        size = (wanted + _ALIGNED) * 9 // 8  # for the next that wants a little more
        memory = np.empty(size, np.uint8)
    first = -memory.ctypes.data % _ALIGNED
    return np.ndarray((n, channels), dtype, memory, first)


def release(made: Float[np.ndarray, "rows channels"]) -> None:
    """Give back what ``rows`` gave; it is not to be used any more."""
    memory = made.base
    assert isinstance(memory, np.ndarray)
    with _lock:
        bisect.insort(_spare, (memory.size, memory.ctypes.data, memory))
        while sum(size for size, *_ in _spare) > _KEPT:
            _spare.pop(0)


def _taken(wanted: int) -> np.ndarray | None:
    """The smallest that is large enough, and not far too large."""
    with _lock:
        at = bisect.bisect_left(_spare, (wanted + _ALIGNED,))
        if at < len(_spare) and _spare[at][0] <= 4 * (wanted + 2**16):
            return _spare.pop(at)[2]
    return None
