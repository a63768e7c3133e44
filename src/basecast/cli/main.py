"""The command line: a table of verbs, and what an exit code means.

0 done; 1 bad input; 2 usage; 3 finished but nothing could be scored; 130/143 interrupted; 137 out of memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from basecast import __version__
from basecast.cli.calibrate import calibrate
from basecast.cli.completion import completion_of
from basecast.cli.console import Console
from basecast.cli.coverage import coverage
from basecast.cli.create_data import create_data
from basecast.cli.data import data
from basecast.cli.demo import demo
from basecast.cli.distill import distill
from basecast.cli.evaluate import evaluate
from basecast.cli.help import ABOUT, Manual
from basecast.cli.merge import merge
from basecast.cli.predict import predict
from basecast.cli.saturate import saturate
from basecast.cli.train import train
from basecast.cli.transfer import transfer
from basecast.cli.variant import variant
from basecast.cli.zoo import zoo
from basecast.errors import BasecastError, InterruptedRunError
from basecast.interruption import handled

app = App(
    name="basecast",
    help=ABOUT,
    version=f"basecast {__version__}",
    help_format="plaintext",
    help_formatter=Manual(),
    result_action="return_value",
)
app.command(coverage, sort_key=0.05)
app.command(create_data, sort_key=0.1)
app.command(data)
app.command(train, sort_key=0.2)
app.command(transfer, sort_key=0.3)
app.command(distill, sort_key=0.4)
app.command(calibrate, sort_key=0.45)
app.command(evaluate, sort_key=0.5)
app.command(predict, sort_key=1)
app.command(variant, sort_key=2)
app.command(saturate, sort_key=2.5)
app.command(merge, sort_key=3)
app.command(zoo)
app.command(demo, sort_key=5)
app.command(completion_of(app), sort_key=6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    console = Console("json" if "json" in _value_of("--log-format", tokens) else "text")

    def fail(error: BaseException | str, exit_code: int) -> int:
        console.say(str(error), level="error", exit_code=exit_code)
        _give_up_output()
        return exit_code

    with handled():
        try:
            verb, bound, unparsed = app.parse_args(tokens, exit_on_error=False, print_error=False)
            given = {"command": ("basecast", *tokens)} if "command" in unparsed else {}
            code = int(verb(*bound.args, **bound.kwargs, **given) or 0)
            print(end="", flush=True)
            return code
        except CycloptsError as error:
            return fail(f"{str(error).rstrip('.')}; see --help", 2)
        except (BasecastError, InterruptedRunError) as error:
            return fail(error, error.exit_code)
        except BrokenPipeError:  # who reads our output has had enough
            _give_up_output()
            return 1
        except MemoryError:
            return fail("out of memory: give --memory with a smaller amount, or use a larger machine", 137)
        except OSError as error:
            return fail(f"{error.filename or 'output'}: {error.strerror or error}; mend that and run again", 1)


def _give_up_output() -> None:
    """What cannot be written to standard output is not tried again, with a traceback, as the interpreter leaves."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _value_of(option: str, tokens: Sequence[str]) -> tuple[str, ...]:
    """The option's value before anything is parsed, so that parse errors come in the format asked for."""
    joined = [token.removeprefix(f"{option}=") for token in tokens if token.startswith(f"{option}=")]
    apart = [tokens[i + 1] for i, token in enumerate(tokens[:-1]) if token == option]
    return tuple(joined + apart)
