"""``basecast distill``: a teacher and datasets in, one student out."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import INPUT, MODEL, OUTPUT, Data, Messages
from basecast.cli.train import Package, carry_out
from basecast.cli.training_options import DEFAULT_RUN, DEFAULT_TRAINING, TrainingOptions, TrainingRun


def distill(
    *,
    teacher: Annotated[str, Parameter(group=MODEL, metavar="MODEL")],
    data: Data,
    output: Package,
    context: Annotated[int | None, Parameter(group=MODEL, metavar="N")] = None,
    channels: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = None,
    copies: Annotated[int, Parameter(group=INPUT, metavar="N", validator=Number(gte=0))] = 1,
    mutation_rate: Annotated[float, Parameter(group=INPUT, metavar="SHARE", validator=Number(gte=0, lte=1))] = 0.02,
    labels: Annotated[Path | None, Parameter(group=OUTPUT, metavar="DIR")] = None,
    licence: Annotated[str | None, Parameter(group=OUTPUT, metavar="SPDX")] = None,
    training: TrainingOptions = DEFAULT_TRAINING,
    run: TrainingRun = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Teach one student what an ensemble says.

    It learns from real sequences and from mutated copies of them. The epoch is chosen by the true labels of the
    validation split. The card names the teacher; the licence is its.

    Example: basecast distill --teacher openspliceai-mane-400 --data human -O student --context 400

    Parameters
    ----------
    teacher:
        The model to learn from: a name of `basecast zoo list`, a package or a foreign checkpoint.
    data:
        Folder of datasets.
    output:
        Folder of the model to write.
    context:
        Bases that a position is judged by: 80, 400, 2000 or 10000; by default as many as the teacher's.
    channels:
        Width of the network; without --context and --channels it is built as the teacher's.
    copies:
        Mutated copies of each record that the teacher is shown too.
    mutation_rate:
        Share of the bases of a copy that are replaced.
    labels:
        Folder for what the teacher says, to be used again for other students; by default MODEL.labels.
    licence:
        Of the weights, by default the teacher's; it must suit the teacher's.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.evaluation.records import EngineSettings
    from basecast.training.distillation import TeachingSettings, student_of, teach
    from basecast.training.lineage import inherited
    from basecast.training.train import from_scratch, shared_mask
    from basecast.zoo.catalogue import load_model
    from basecast.zoo.package import require_new

    console, package = Console(log_format), load_model(teacher)
    mask, species, build = shared_mask(data)
    described = student_of(package, context, channels).model_copy(
        update={
            "name": output.name,
            "mask": mask,
            "species": species,
            "genome_build": build,
            "licence": licence or "",
            "citation": package.spec.citation,
        }
    )
    shown = f"each record and {copies} copies of it with {mutation_rate:.1%} of the bases replaced"
    note = (
        f"It was taught the probabilities that {package.spec.name} gives for {shown}; its epoch was chosen by labels."
    )
    start = replace(from_scratch(inherited(described, [(package.spec.name, package.spec.licence)])), note=note)
    require_new(output)
    folder = labels or Path(f"{output}.labels")
    with console.progress("bases") as bar:
        teach(
            package,
            data,
            folder,
            settings=TeachingSettings(copies=copies, mutation_rate=mutation_rate),
            engine=EngineSettings(device=run.device, threads=run.threads),
            command=shlex.join(command),
            progress=bar,
        )
    console.say(f"what {package.spec.name} says is in {folder}", labels=str(folder))
    return carry_out((str(folder),), output, start, training, run, 1.0, console, command)
