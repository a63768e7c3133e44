"""How a training that runs is shown: a bar on a terminal, a line an epoch, TensorBoard by choice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from basecast.cli.console import Console

Tell = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def told(console: Console, tensorboard: Path | None, seeds: Sequence[int]) -> Iterator[Tell]:
    """A function that is given each line of the metrics of these seeds.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(_board(tensorboard)) if tensorboard else None
        bar = stack.enter_context(console.progress("steps"))

        def tell(line: dict[str, Any]) -> None:
            if write is not None:
                write(line)
            if line["kind"] == "step":
                if bar is not None:
                    before = seeds.index(line["seed"]) * line["steps"]
                    bar(before + line["step"], len(seeds) * line["steps"], _now(line))
                return
            left = line["seconds"] / line["step"] * (line["steps"] - line["step"]) / 60
            trained = f"{line['loss']:.4g}" if line["loss"] is not None else "none"
            console.say(
                f"seed {line['seed']}, epoch {line['epoch']} of {line['epochs']}: training loss {trained}, validation "
                f"{numbers_of(line)}; {left:,.0f} min left",
                **line,
            )

        yield tell


def numbers_of(line: dict[str, Any]) -> str:
    """What an epoch gave on the validation data."""
    found = {name.removeprefix("validation_"): x for name, x in line.items() if name.startswith("validation_")}
    return ", ".join(f"{name.replace('_', ' ')} {x:.4g}" for name, x in found.items() if x is not None)


def _now(line: dict[str, Any]) -> str:
    shown = {"loss": line["loss"], "top-1": line.get("top1"), "correlation": line.get("pearson")}
    return ", ".join(f"{name} {x:.3g}" for name, x in shown.items() if x is not None)


@contextlib.contextmanager
def _board(folder: Path) -> Iterator[Tell]:
    from basecast.errors import UsageError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'basecast[tensorboard]'") from None
    writer = SummaryWriter(str(folder))

    def write(line: dict[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, float):
                at = f"seed-{line['seed']}/{line['kind']}/{name}"
                writer.add_scalar(at, value, line["step"])

    try:
        yield write
    finally:
        writer.close()
