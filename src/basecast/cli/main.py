"""The command line: a table of verbs, and what an exit code means.

0 done; 1 bad input; 2 usage; 3 finished but nothing could be scored; 130/143 interrupted; 137 out of memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from cyclopts import App, CycloptsError

from basecast import __version__
from basecast.cli.console import Console
from basecast.cli.demo import demo
from basecast.cli.variant import variant
from basecast.cli.zoo import zoo
from basecast.errors import BasecastError, InterruptedRunError

app = App(
    name="basecast",
    help="From DNA sequence to function.",
    version=f"basecast {__version__}",
    help_format="plaintext",
    result_action="return_value",
)
app.command(variant)
app.command(zoo)
app.command(demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    console = Console("json" if "json" in _value_of("--log-format", tokens) else "text")
    with contextlib.ExitStack() as handlers:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread: its owner handles signals
                handlers.callback(signal.signal, number, signal.signal(number, _interrupt))
        try:
            return int(app(tokens, exit_on_error=False, print_error=True) or 0)
        except CycloptsError:
            return 2
        except BasecastError as error:
            console.say(str(error), level="error", exit_code=error.exit_code)
            return error.exit_code
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise InterruptedRunError(
        number, f"interrupted by {signal.Signals(number).name}: the same command goes on where it stood"
    )


def _value_of(option: str, tokens: Sequence[str]) -> tuple[str, ...]:
    """The option's value before anything is parsed, so that parse errors come in the format asked for."""
    joined = [token.removeprefix(f"{option}=") for token in tokens if token.startswith(f"{option}=")]
    apart = [tokens[i + 1] for i, token in enumerate(tokens[:-1]) if token == option]
    return tuple(joined + apart)
