"""Signals that ask a run to stop: at once, after what is under way, or when patience ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from basecast import interruption
from basecast.errors import InterruptedRunError
from basecast.interruption import finish_first, handled, is_asked_to_stop

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PATIENT = (signal.SIGTERM, signal.SIGUSR1)
named = {"ids": lambda number: number.name}


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    """Handlers are those of before, no alarm is set and nothing is wished for."""
    watched = (*ALL, signal.SIGALRM)
    before = [signal.getsignal(number) for number in watched]
    yield
    assert [signal.getsignal(number) for number in watched] == before
    assert signal.alarm(0) == 0
    assert not is_asked_to_stop()
    with finish_first():
        pass


def run(work: Callable[[], None]) -> None:
    with handled():
        work()


def interrupted(work: Callable[[], None]) -> InterruptedRunError:
    """How a run that does this work ends."""
    with pytest.raises(InterruptedRunError) as caught:
        run(work)
    return caught.value


@pytest.mark.parametrize("number", ALL, **named)
def test_a_signal_ends_what_runs(number: signal.Signals) -> None:
    def work() -> None:
        signal.raise_signal(number)
        pytest.fail("went on")

    error = interrupted(work)
    assert str(error).startswith(f"interrupted by {number.name}: the same command goes on where it stood")
    assert error.exit_code == (130 if number == signal.SIGINT else 143)


@pytest.mark.parametrize("number", PATIENT, **named)
def test_what_is_under_way_is_finished(number: signal.Signals) -> None:
    done = []

    def work() -> None:
        with finish_first():
            assert not is_asked_to_stop()
            signal.raise_signal(number)
            assert is_asked_to_stop()
            done.append("first")
        done.append("second")

    error = interrupted(work)
    assert done == ["first"]
    assert number.name in str(error)
    assert error.exit_code == 143


def test_the_keyboard_does_not_wait() -> None:
    def work() -> None:
        with finish_first():
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")

    assert interrupted(work).exit_code == 130


@pytest.mark.parametrize("first", PATIENT, **named)
def test_who_presses_ctrl_c_meanwhile_is_served_at_once(first: signal.Signals) -> None:
    def work() -> None:
        with finish_first():
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")

    assert interrupted(work).exit_code == 130


@pytest.mark.parametrize("first", PATIENT, **named)
@pytest.mark.parametrize("second", PATIENT, **named)
def test_a_scheduler_may_ask_twice(first: signal.Signals, second: signal.Signals) -> None:
    done = []

    def work() -> None:
        with finish_first():
            signal.raise_signal(first)
            signal.raise_signal(second)
            done.append("finished")

    assert first.name in str(interrupted(work))
    assert done == ["finished"]


def test_blocks_within_blocks_are_finished_to_the_outermost() -> None:
    done = []

    def work() -> None:
        with finish_first():
            with finish_first():
                signal.raise_signal(signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("after")

    interrupted(work)
    assert done == ["inner", "outer"]


@pytest.mark.parametrize("number", PATIENT, **named)
def test_patience_ends(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with finish_first():
            signal.raise_signal(number)
            time.sleep(60)

    monkeypatch.setattr(interruption, "GRACE", 1)
    began = time.monotonic()
    error = interrupted(work)
    assert 0.5 < time.monotonic() - began < 20
    assert number.name in str(error)
    assert error.exit_code == 143


def test_patience_leaves_time_to_end() -> None:
    """Schedulers kill 30 s after they ask; the interpreter takes some of them."""
    assert 10 <= interruption.GRACE <= 25


def test_an_error_of_the_work_itself_is_what_is_told() -> None:
    def work() -> None:
        with finish_first():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        run(work)


def test_no_except_exception_swallows_it() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:  # as libraries do around a user's function
            pytest.fail("swallowed")

    interrupted(work)


def test_without_a_signal_nothing_happens() -> None:
    def work() -> None:
        for _ in range(3):
            with finish_first():
                pass

    run(work)


def test_another_thread_leaves_signals_to_their_owner() -> None:
    found: list[object] = []

    def work() -> None:
        with finish_first():
            found.extend(signal.getsignal(number) for number in ALL)

    before = [signal.getsignal(number) for number in ALL]
    thread = threading.Thread(target=run, args=(work,))
    thread.start()
    thread.join()
    assert found == before
