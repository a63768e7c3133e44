"""What a run says on standard error: sentences for a person, JSON lines for a program, progress on a terminal only."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

LogFormat = Literal["text", "json"]


class Console:
    """Messages of one run, each with the facts it is made of."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        self.log_format = log_format

    def say(self, message: str, *, level: str = "info", **facts: Any) -> None:
        """One message; ``facts`` stand beside it in JSON."""
        if self.log_format == "json":
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            line = json.dumps({"time": stamp, "level": level, "message": message, **facts}, default=str)
        else:
            line = f"basecast: {'' if level == 'info' else level + ': '}{message}"
        print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[..., None] | None]:
        """A function to call with the number done, of how many, and a word; None without a terminal."""
        if self.log_format == "json" or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console as Terminal
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        counter, rate = TextColumn("{task.completed:,} {task.description}"), TextColumn("{task.fields[rate]}")
        columns = (SpinnerColumn(), counter, TimeElapsedColumn(), rate)
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None, rate="")
            began = time.monotonic()

            first: list[int] = []  # what an earlier run had done says nothing of our speed

            def update(done: int, total: int | None = None, more: str = "") -> None:
                seconds = max(time.monotonic() - began, 1e-9)
                first.append(done) if not first else None
                rate = (done - first[0]) / seconds
                left = f", {(total - done) / rate / 60:,.0f} min left" if total and rate else ""
                bar.update(task, completed=done, total=total, rate=f"{rate:,.1f}/s{left} {more}".rstrip())

            yield update
