"""Pieces of work on CPU threads, each piece on one of them: what it gives does not depend on how many there are.

Torch's own threads share one operation, and some operations then round otherwise; they also spin while they wait, which
costs whoever shares the machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_here = threading.local()


class Threads:
    """``n`` threads that live as long as this object."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool: ThreadPoolExecutor | None = None

    def each(self, pieces: Sequence[Callable[[], T]]) -> Iterator[T]:
        """What each piece gives, in their order. Pieces of a piece, and one alone, are done by who asks."""
        if self.n == 1 or len(pieces) == 1 or getattr(_here, "is_one_of_several", False):
            yield from (piece() for piece in pieces)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n, "basecast", initializer=_mark)
        futures = [self._pool.submit(piece) for piece in pieces]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _mark() -> None:
    _here.is_one_of_several = True
