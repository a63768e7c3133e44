"""Work that several processes share."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")


class Processes:
    """Calls in their order, by processes beside ours where there is more than one."""

    def __init__(self, count: int, pool: ProcessPoolExecutor | None) -> None:
        self.count, self._pool = count, pool

    def __call__(self, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
        if self._pool is None:
            yield from (call() for call in calls)
            return
        ahead: deque[Future[T]] = deque()
        try:
            for call in calls:
                ahead.append(self._pool.submit(call))
                if len(ahead) > self.count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for task in ahead:
                task.cancel()


@contextlib.contextmanager
def in_processes(threads: int | None) -> Iterator[Processes]:
    count = threads or len(os.sched_getaffinity(0))
    if count == 1:
        yield Processes(1, None)
        return
    # a signal of the terminal goes to all; who sent them out tells them to stop
    ignoring = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=ignoring) as pool:
        yield Processes(count, pool)
