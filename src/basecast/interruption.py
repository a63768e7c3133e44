"""Signals that ask a run to stop: work that is under way may be finished first, for a while."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from basecast.errors import InterruptedRunError

GRACE = 20
"""Seconds that a started shard may take after a signal; schedulers kill about 30 s after theirs."""

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class _Wish:
    """What was asked for while a ``finish_first`` block runs."""

    depth = 0
    number: int | None = None


_wish = _Wish()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGUSR1 end what runs in the block with an InterruptedRunError; then handlers are put back.

    Outside the main thread nothing is done: its owner handles signals.
    """
    with contextlib.ExitStack() as handlers:
        for number, handler in {**dict.fromkeys(_EXIT_CODES, _asked), signal.SIGALRM: _late}.items():
            with contextlib.suppress(ValueError):  # not the main thread
                handlers.callback(signal.signal, number, signal.signal(number, handler))
        yield


@contextlib.contextmanager
def finish_first() -> Iterator[None]:
    """SIGTERM and SIGUSR1 take effect at the end of the block, or ``GRACE`` seconds after they came."""
    _wish.depth += 1
    try:
        yield
    finally:
        _wish.depth -= 1
        asked = _wish.number
        if asked is not None and not _wish.depth:
            _wish.number = None
            signal.alarm(0)
    if asked is not None and not _wish.depth:
        raise _interrupted(asked)


def is_asked_to_stop() -> bool:
    """Whether a signal waits for the end of a ``finish_first`` block: begin nothing new."""
    return _wish.number is not None


def _asked(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT or not _wish.depth:
        raise _interrupted(number)
    if _wish.number is None:  # schedulers may say it twice
        _wish.number = number
        signal.alarm(GRACE)


def _late(number: int, frame: FrameType | None) -> None:
    raise _interrupted(_wish.number or signal.SIGTERM)


def _interrupted(number: int) -> InterruptedRunError:
    return InterruptedRunError(
        _EXIT_CODES[signal.Signals(number)],
        f"interrupted by {signal.Signals(number).name}: the same command goes on where it stood, "
        "or begins anew if it reads or writes a pipe or is create-data",
    )
