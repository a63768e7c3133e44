from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from basecast import interruption
from basecast.errors import InputError, InterruptedRunError, UsageError
from basecast.inference.jobs import Job, Shard, carry_out, parts_of
from basecast.inference.shards import RunSettings
from basecast.interruption import handled, is_asked_to_stop

_SIZES = (3, 3, 1, 2, 3)


@dataclass
class Work:
    """A made-up job: what it was asked for, and what happens as a shard of that number is done."""

    accidents: dict[int, Callable[[], None]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    read: int = 0

    def shards(self) -> Iterator[Shard]:
        self.read += 1
        for number, size in enumerate(_SIZES):
            yield number, [number] * size

    def worker(self, items: list[Any]) -> bytes:
        self.asked.append(items[0])
        self.accidents.get(items[0], lambda: None)()
        return repr(items).encode()

    @property
    def job(self) -> Job:
        return Job({"input": "abc"}, {"command": "basecast"}, self.shards, self.worker, {})


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def do(work: Work, tmp_path: Path) -> Callable[..., list[int]]:
    """Carry the job out for ``tmp_path/out``; the shards that were asked for."""

    def do(progress: Callable[[int], None] | None = None, **run: Any) -> list[int]:
        work.asked.clear()
        settings = RunSettings(**run)
        with handled(), parts_of(work.job, str(tmp_path / "out"), settings) as parts:
            carry_out(work.job, parts, settings, progress)
        return list(work.asked)

    return do


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], list[int]]:
    """Numbers of the shards that have a part."""
    return lambda: sorted(int(path.name[-6:]) for path in (tmp_path / "out.basecast").glob("part-*"))


def content(work: Work, tmp_path: Path) -> list[bytes]:
    with parts_of(work.job, str(tmp_path / "out"), RunSettings()) as parts:
        return [parts.load(number) for number, _ in work.shards()]


WHOLE = [repr([number] * size).encode() for number, size in enumerate(_SIZES)]


def test_every_shard_is_done_once(do: Callable[..., list[int]], work: Work, tmp_path: Path) -> None:
    said: list[int] = []
    assert do(said.append) == [0, 1, 2, 3, 4]
    assert said == [3, 6, 7, 9, 12]
    assert do(said.append) == []
    assert content(work, tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, [[0, 1, 2, 3, 4]]),
        (2, [[0, 2, 4], [1, 3]]),
        (5, [[0], [1], [2], [3], [4]]),
        (7, [[0], [1], [2], [3], [4], [], []]),
    ],
)
def test_shares_are_all_of_it(
    count: int, shares: list[list[int]], do: Callable[..., list[int]], work: Work, tmp_path: Path
) -> None:
    for i, share in enumerate(shares, 1):
        said: list[int] = []
        assert do(said.append, split=f"{i}/{count}") == share
        assert said[-1:] == [sum(_SIZES[number] for number in share)][: len(share)]
    assert do() == []
    assert content(work, tmp_path) == WHOLE


def test_what_is_done_counts_as_done(do: Callable[..., list[int]]) -> None:
    do(split="2/3")
    said: list[int] = []
    assert do(said.append) == [0, 2, 3]
    assert said == [3, 7, 9]  # shard 1 with the next that is done, shard 4 with none


def test_items_may_be_of_a_size(work: Work, tmp_path: Path) -> None:
    said: list[int] = []
    job = replace(work.job, size=lambda items: 100 * len(items))
    with parts_of(job, str(tmp_path / "out"), RunSettings()) as parts:
        carry_out(job, parts, RunSettings(), said.append)
    assert said == [300, 600, 700, 900, 1200]


@pytest.mark.parametrize(
    ("number", "code", "parts"),
    [(signal.SIGTERM, 143, [0, 1, 2]), (signal.SIGUSR1, 143, [0, 1, 2]), (signal.SIGINT, 130, [0, 1])],
    ids=["SIGTERM", "SIGUSR1", "SIGINT"],
)
def test_a_started_shard_is_finished_and_no_other_begun(
    number: signal.Signals,
    code: int,
    parts: list[int],
    do: Callable[..., list[int]],
    work: Work,
    kept: Callable[[], list[int]],
    tmp_path: Path,
) -> None:
    seen: list[bool] = []

    def interrupt() -> None:
        signal.raise_signal(number)
        seen.append(is_asked_to_stop())

    work.accidents[2] = interrupt
    with pytest.raises(InterruptedRunError, match=number.name) as caught:
        do()
    assert caught.value.exit_code == code
    assert work.asked == [0, 1, 2]
    assert kept() == parts
    assert seen == [True] * (code == 143)
    work.accidents.clear()
    assert do() == [number for number in range(5) if number not in parts]
    assert content(work, tmp_path) == WHOLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["SIGTERM", "SIGUSR1"])
def test_between_two_shards_a_run_ends_before_the_next(
    number: signal.Signals, do: Callable[..., list[int]], work: Work, kept: Callable[[], list[int]]
) -> None:
    def stop(done: int) -> None:
        if done == 6:
            signal.raise_signal(number)

    with pytest.raises(InterruptedRunError):
        do(stop)
    assert work.asked == kept() == [0, 1]


def test_a_shard_that_takes_for_ever_is_given_up(
    do: Callable[..., list[int]], work: Work, kept: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_ever() -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(600)

    monkeypatch.setattr(interruption, "GRACE", 1)
    work.accidents[1] = for_ever
    began = time.monotonic()
    with pytest.raises(InterruptedRunError) as caught:
        do()
    assert time.monotonic() - began < 20
    assert caught.value.exit_code == 143
    assert kept() == [0]
    work.accidents.clear()
    assert do() == [1, 2, 3, 4]


def test_a_shard_that_fails_leaves_those_before_it(
    do: Callable[..., list[int]], work: Work, kept: Callable[[], list[int]]
) -> None:
    def fail() -> None:
        raise InputError("record 7 is odd")

    work.accidents[3] = fail
    for _ in range(2):
        with pytest.raises(InputError, match="record 7 is odd"):
            do()
        assert kept() == [0, 1, 2]
    work.accidents.clear()
    assert do() == [3, 4]


def test_shards_are_read_one_by_one(do: Callable[..., list[int]], work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A genome's worth of items is never in memory: the next shard is read when the last has its part."""
    log: list[str] = []
    shards = work.shards

    def watched() -> Iterator[Shard]:
        for number, items in shards():
            log.append(f"read {number}")
            yield number, items

    monkeypatch.setattr(work, "shards", watched)
    do(lambda done: log.append(f"done {done}"))
    assert log == [f"{verb} {n}" for i in range(5) for verb, n in (("read", i), ("done", sum(_SIZES[: i + 1])))]


def test_the_folder_is_held_while_there_is_work(do: Callable[..., list[int]], work: Work, tmp_path: Path) -> None:
    refused: list[int] = []

    def second() -> None:
        with pytest.raises(UsageError, match="another process is writing"):
            content(work, tmp_path)
        refused.append(2)

    work.accidents[2] = second
    assert do() == [0, 1, 2, 3, 4]
    assert refused == [2]
    assert do() == []
