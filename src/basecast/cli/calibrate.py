"""``basecast calibrate``: a model and held-out genes in, the model with honest probabilities out."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import DEFAULT_ENGINE, INPUT, MODEL, OUTPUT, Data, EngineOptions, Messages, Model, settled
from basecast.cli.train import shipped

if TYPE_CHECKING:
    from basecast.training.calibration import Calibrated


def calibrate(
    *,
    model: Model,
    data: Data,
    output: Annotated[Path, Parameter(name=("-O", "--output"), group=OUTPUT, metavar="MODEL")],
    split: Annotated[Literal["train", "validation", "test"], Parameter(group=INPUT)] = "validation",
    per_class: Annotated[bool, Parameter(group=MODEL, negative="")] = False,
    draws: Annotated[int, Parameter(group=OUTPUT, metavar="N", validator=Number(gte=0))] = 1000,
    seed: Annotated[int, Parameter(group=OUTPUT, metavar="N", validator=Number(gte=0))] = 0,
    restart: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    engine: EngineOptions = DEFAULT_ENGINE,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Make a model's probabilities honest by a temperature fitted to held-out genes.

    The temperature, which is written in a new package, minimises the negative log-likelihood of every labelled base.
    The package's card tells the calibration error, likelihood and Brier score before and after, on these genes and on
    the test genes. An interrupted run goes on where it stood when the same command is given again.

    Example: basecast calibrate -m my-model -d data -O my-model-calibrated

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these.
    data:
        Folder that `basecast create-data` wrote. May be given more than once.
    output:
        Folder of the model to write.
    split:
        Which of the folder's files the temperature is fitted to; take one that the weights were not fitted to.
    per_class:
        A temperature for each class. It fits more closely, and changes which positions rank before others.
    draws:
        How often the records are drawn for the intervals.
    seed:
        Of the draws.
    restart:
        Discard what an interrupted run of this output has left.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.inference.shards import RunSettings
    from basecast.training.calibration import CalibrateSettings
    from basecast.training.calibration import calibrate as fit
    from basecast.zoo.catalogue import load_model

    console, run = Console(log_format), RunSettings(restart=restart)
    engine.check(0)
    package = load_model(model)
    tuning = engine.kernels(package, run)
    engine.announce(console, package, None, tuning)
    with console.progress("bases") as progress:
        found = fit(
            data,
            output,
            model=package,
            settings=CalibrateSettings(split=split, per_class=per_class, draws=draws, seed=seed),
            engine=engine.settings(tuning),
            run=run,
            command=shlex.join(settled(command)),
            write=lambda target, draft: shipped(target, draft, console, engine.device),
            progress=progress,
        )
    return report(console, found, output)


def report(console: Console, found: Calibrated, output: Path) -> int:
    """Say what was found; the exit code."""
    warnings = dict.fromkeys(line for split in found.splits.values() for line in split.warnings)
    for warning in warnings:
        console.say(warning, level="warning")
    for name, split in found.splits.items():
        changes = [
            f"{what} {_told(split.row('before', label, metric).value)} -> "
            f"{_told(split.row('after', label, metric).value)}"
            for label, metric, what in (
                *((label, "ece", f"ECE of {label}") for label in split.records.classes[1:]),
                ("all", "nll", "NLL"),
                ("all", "brier", "Brier score"),
            )
        ]
        console.say(f"{name}: {', '.join(changes)}", split=name)
    temperature = ", ".join(f"{value:.4f}" for value in found.temperature)
    console.say(
        f"temperature {temperature} in {found.seconds:.1f} s: {output}",
        temperature=list(found.temperature),
        output=str(output),
    )
    return 0


def _told(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}"
