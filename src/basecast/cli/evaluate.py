"""``basecast evaluate``: models and held-out data in, what the models are worth out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import DEFAULT_ENGINE, INPUT, MODEL, OUTPUT, Data, EngineOptions, Messages, settled
from basecast.errors import UsageError

if TYPE_CHECKING:
    from basecast.evaluation.evaluation import Evaluation
    from basecast.evaluation.signal_evaluation import SignalEvaluation

_SIGNAL = Group("Signals", sort_key=2)


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
    rc: Annotated[bool, Parameter(group=_SIGNAL, negative="")] = False,
    shifts: Annotated[str, Parameter(group=_SIGNAL, metavar="N,N", allow_leading_hyphen=True)] = "0",
    tracks: Annotated[str | None, Parameter(group=_SIGNAL, metavar="NAMES")] = None,
    annotation: Annotated[Path | None, Parameter(name=("-A", "--annotation"), group=_SIGNAL, metavar="GENES")] = None,
    radius: Annotated[int, Parameter(group=_SIGNAL, metavar="BASES", validator=Number(gte=0))] = 500,
    replicates: Annotated[Path | None, Parameter(group=_SIGNAL, metavar="TABLE")] = None,
    peaks_rule: Annotated[Literal["bh", "basenji-compat"], Parameter(group=_SIGNAL)] = "bh",
    locus: Annotated[str | None, Parameter(group=_SIGNAL, metavar="CONTIG:START-END")] = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Measure models on held-out data.

    Of splice sites: top-k accuracy, AUPRC, precision, recall and calibration, by genome, chromosome and kind of site,
    with intervals from drawing records again; of several models each is also compared with the first on the same
    draws. Of signals: correlations of each track over bins, peaks, genes and replicates. Whole records are run and
    everything that has a label counts once. An interrupted run goes on where it stood when the same command is given
    again.

    Example: basecast evaluate -m human-400 -d data -O evaluation

    Example (signals): basecast evaluate -m my-model -d signal-data -O evaluation --rc --shifts -1,0,1 -A genes.gtf.gz

    Example (two models, one genome each): basecast evaluate -m old -m new -d human -d mouse -O evaluation

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these. May be
        given more than once; differences are from the first.
    data:
        Folder that `basecast create-data` wrote. May be given more than once.
    output:
        Folder to make: evaluation.json, tables and figures.
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
    rc:
        Of signals: the mean over both strands.
    shifts:
        Of signals: the mean over sequences moved by so many bases.
    tracks:
        Of signals: only these tracks, joined by commas, or a table with a column `identifier`.
    annotation:
        Of signals: genes (GFF3, GTF, BED12), at whose start sites signal is summed and compared.
    radius:
        With --annotation: bases on either side of a start site.
    replicates:
        Of signals: a tab-separated table with columns `track` and `group`; tracks of a group are replicates. By default
        those are that have the same description, strand and assay.
    peaks_rule:
        Of signals: by which bins are called peaks; `basenji-compat` is the rule of Basenji's published numbers.
    locus:
        Of signals: the stretch that is drawn.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.evaluation.evaluate import evaluate as run_models
    from basecast.evaluation.evaluation import EvaluateSettings
    from basecast.evaluation.signal_evaluation import SignalEvaluateSettings
    from basecast.inference.shards import RunSettings
    from basecast.inference.views import Views
    from basecast.training.tracks import names_in
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
            signal=SignalEvaluateSettings(
                views=Views(reverse_complement=rc, shifts=_whole_numbers(shifts)),
                tracks=None if tracks is None else tuple(names_in(tracks)),
                annotation=annotation,
                radius=radius,
                replicates=replicates,
                peaks_rule=peaks_rule,
                locus=locus,
            ),
            engine=engine.settings(tuning),
            run=run,
            command=shlex.join(settled(command)),
            progress=progress,
        )
    return report(console, evaluation, output)


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"--shifts {text!r} is not whole numbers joined by commas, such as -1,0,1") from None


def report(console: Console, evaluation: Evaluation | SignalEvaluation, output: Path) -> int:
    """Say what was found; the exit code."""
    for warning in evaluation.warnings:
        console.say(warning, level="warning")
    *models, (data, facts) = evaluation.told()
    for said, known in models:
        console.say(said, **known)
    console.say(f"{data}: {output}", **facts, output=str(output))
    return 0
