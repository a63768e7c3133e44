"""Work on several threads gives what one gives, in order."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from asking import engine_of, on
from toys import package_of

from basecast.inference.threads import Threads


def test_pieces_come_in_order_from_several_threads() -> None:
    def piece(i: int) -> tuple[int, str]:
        time.sleep(0.02 * (4 - i))
        return i, threading.current_thread().name

    found = list(Threads(4).each([partial(piece, i) for i in range(4)]))
    assert [i for i, _ in found] == [0, 1, 2, 3]
    assert len({name for _, name in found}) == 4


def test_pieces_of_a_piece_are_done_where_it_is() -> None:
    threads = Threads(2)

    def inner() -> str:
        return threading.current_thread().name

    def outer() -> bool:
        return set(threads.each([inner, inner, inner])) == {threading.current_thread().name}

    assert list(threads.each([outer] * 6)) == [True] * 6  # and none waits for another


def test_one_piece_is_done_here_and_may_have_pieces_elsewhere() -> None:
    threads = Threads(2)

    def inner() -> str:
        time.sleep(0.02)
        return threading.current_thread().name

    ((here, others),) = threads.each([lambda: (threading.current_thread().name, set(threads.each([inner, inner])))])
    assert here == threading.current_thread().name
    assert len(others - {here}) == 2


def test_an_error_comes_out_and_what_has_not_begun_is_dropped() -> None:
    done: list[int] = []

    def piece(i: int) -> None:
        if i == 0:
            raise ValueError("of the first")
        time.sleep(0.05)
        done.append(i)

    with pytest.raises(ValueError, match="of the first"):
        list(Threads(2).each([partial(piece, i) for i in range(40)]))
    time.sleep(0.2)
    assert len(done) < 10


@pytest.mark.parametrize("mode", ["delta", "valid"])
def test_values_do_not_depend_on_how_many_threads_there_are(mode: str) -> None:
    """To the last bit, and torch's own setting is as it was."""
    before = torch.get_num_threads()
    requests = [on(start, start + 700) for start in range(0, 2800, 350)]
    found = [
        engine_of(package_of("spliceai"), mode=mode, threads=n, tile=257).evaluate(requests)  # type: ignore[arg-type]
        for n in (1, 2, 5)
    ]
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one["splice"], same["splice"])
    assert np.ptp(found[0][0]["splice"]) > 1e-3
    assert torch.get_num_threads() == before
