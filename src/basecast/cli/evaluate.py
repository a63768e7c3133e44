"""``basecast evaluate``: models and held-out data in, what the models are worth out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import DEFAULT_ENGINE, INPUT, MODEL, OUTPUT, Data, EngineOptions, Messages, settled
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.training.evaluation import Evaluation


def evaluate(
    *,
    model: Annotated[tuple[str, ...], Parameter(name=("-m", "--model"), group=MODEL, metavar="MODEL", negative="")],
    data: Data,
    output: Annotated[Path, Parameter(name=("-O", "--output"), group=OUTPUT, metavar="DIR")],
    split: Annotated[Literal["train", "validation", "test"], Parameter(group=INPUT)] = "test",
    leave_out: Annotated[tuple[str, ...], Parameter(group=INPUT, metavar="NAME", negative="", show_default=False)] = (),
    draws: Annotated[int, Parameter(group=OUTPUT, metavar="N", validator=Number(gte=0))] = 1000,
    seed: Annotated[int, Parameter(group=OUTPUT, metavar="N", validator=Number(gte=0))] = 0,
    restart: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    engine: EngineOptions = DEFAULT_ENGINE,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Measure models on held-out genes, and how sure each number is.

    Top-k accuracy, AUPRC, precision, recall and calibration, by genome, chromosome and kind of site. Whole records are
    run and every labelled base counts once. Intervals come from drawing records again; of several models each is also
    compared with the first on the same draws. An interrupted run goes on where it stood when the same command is given
    again.

    Example: basecast evaluate -m human-400 -d data -O evaluation

    Example (two models, one genome each): basecast evaluate -m old -m new -d human -d mouse -O evaluation

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these. May be
        given more than once; differences are from the first.
    data:
        Folder that `basecast create-data` wrote. May be given more than once.
    output:
        Folder to make: evaluation.json, table.tsv and figures.
    split:
        Which of the folder's files.
    leave_out:
        A gene, contig, chromosome or group whose records have no part. May be given more than once.
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
    from basecast.training.evaluate import evaluate as run_models
    from basecast.training.evaluation import EvaluateSettings
    from basecast.zoo.catalogue import load_model

    console, run = Console(log_format), RunSettings(restart=restart)
    engine.check(0)
    if engine.tuning is not None and len(model) > 1:
        raise UsageError("--tuning is the table of one model: give it with one --model, or leave it out")
    packages = [load_model(name) for name in model]
    tuning = engine.kernels(packages[0], run)
    for package in packages:
        engine.announce(console, package, None, tuning)
    with console.progress("bases") as progress:
        evaluation = run_models(
            data,
            output,
            models=packages,
            settings=EvaluateSettings(split=split, left_out=leave_out, draws=draws, seed=seed),
            engine=engine.settings(tuning),
            run=run,
            command=shlex.join(settled(command)),
            progress=progress,
        )
    return report(console, evaluation, output)


def report(console: Console, evaluation: Evaluation, output: Path) -> int:
    """Say what was found; the exit code."""
    for warning in evaluation.warnings:
        console.say(warning, level="warning")
    records = evaluation.records
    for model in evaluation.models:
        facts = {}
        for label in records.classes[1:]:
            for metric in ("top-1", "auprc"):
                row = evaluation.row(model.name, label, metric)
                facts[f"{label} {metric}"] = f"{row.value:.4f} ({row.low:.4f}-{row.high:.4f})"
        said = ", ".join(f"{name} {value}" for name, value in facts.items())
        console.say(f"{model.name}: {said}", model=model.name, **{k.replace(" ", "_"): v for k, v in facts.items()})
    n_sites = int(evaluation.models[0].tally.confusion[:, 1:].sum())
    n_bases = int(evaluation.models[0].tally.positions.sum())
    console.say(
        f"{counted(n_sites, 'site')} in {counted(n_bases, 'base')} of {counted(len(records), 'record')} "
        f"in {evaluation.seconds:.1f} s: {output}",
        output=str(output),
    )
    return 0
