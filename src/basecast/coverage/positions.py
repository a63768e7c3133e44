"""Positions and what is counted there, without the positions between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_NOTHING = 1e-9  # shares that were added and taken off again leave such
_AT_ONCE = 4_000_000


class Positions:
    """How often each position was added."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints]] = []
        self._waiting = 0

    def add(self, at: Ints, weight: int = 1) -> None:
        if len(at):
            self._parts.append((at, np.full(len(at), weight, np.int64)))
            self._waiting += len(at)
            if self._waiting > _AT_ONCE:
                self._parts = [self.sums()]
                self._waiting = 0

    def sums(self) -> tuple[Ints, Ints]:
        """Positions, ascending, and what was added there, where that is not nothing."""
        return summed([(np.empty(0, np.int64), np.empty(0, np.int64)), *self._parts])


def summed(some: Iterable[tuple[Ints, NDArray[np.generic]]]) -> tuple[Ints, NDArray[Any]]:
    """Positions of several sums, ascending, each once; what is nothing is left out."""
    places, values = (np.concatenate(column) for column in zip(*some, strict=True))
    if not len(places):
        return places, values
    if (places[1:] < places[:-1]).any():
        order = np.argsort(places, kind="stable")
        places, values = places[order], values[order]
    firsts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    sums = np.add.reduceat(values, firsts)
    is_some = np.abs(sums) > _NOTHING
    return places[firsts][is_some], sums[is_some]
