"""``basecast train``: datasets in, a model out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import INPUT, MODEL, OUTPUT, Data, Messages
from basecast.cli.training_options import DEFAULT_RUN, DEFAULT_TRAINING, TrainingOptions, TrainingRun
from basecast.cli.training_progress import numbers_of, told

if TYPE_CHECKING:
    from basecast.spec import Output
    from basecast.training.train import Draft, Start, Trained

Package = Annotated[Path, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="MODEL")]
_FAMILY = "spliceai; signals basenji"
Config = Annotated[tuple[str, ...], Parameter(group=MODEL, negative="", consume_multiple=True, metavar="KEY=VALUE")]
Tracks = Annotated[str | None, Parameter(group=INPUT, metavar="NAMES")]


def train(
    *,
    data: Data,
    output: Package,
    family: Annotated[str | None, Parameter(group=MODEL, metavar="NAME", show_default=_FAMILY)] = None,
    size: Annotated[str | None, Parameter(group=MODEL, metavar="NAME", show_default="small")] = None,
    context: Annotated[int | None, Parameter(group=MODEL, metavar="N", show_default="400")] = None,
    channels: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = None,
    config: Config = (),
    tracks: Tracks = None,
    leave_out_tracks: Tracks = None,
    licence: Annotated[str, Parameter(group=OUTPUT, metavar="SPDX")] = "LicenseRef-unspecified",
    training: TrainingOptions = DEFAULT_TRAINING,
    run: TrainingRun = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Train a model on datasets of `basecast create-data`.

    The epoch with the lowest loss on the whole validation split is kept. An interrupted run goes on where it stood when
    the same command is given again, to the same weights.

    Example: basecast train --data data -O my-model --context 400

    Example (an ensemble, with more windows around sites): basecast train --data data -O my-models --seeds 10,11,12
    --sampling biased --average 0.999

    Example (signals): basecast train --data tracks -O my-basenji --family basenji --size small

    Parameters
    ----------
    data:
        Folders of datasets; several are trained on together.
    output:
        Folder of the model to write.
    family:
        How the network is built: spliceai, basenji, basenji2 or borzoi.
    size:
        One of the family's sizes, such as tiny, small or published.
    context:
        The size of a spliceai, the bases that a position is judged by: 80, 400, 2000 or 10000, half on each side.
    channels:
        Width of the network.
    config:
        KEY=VALUE of the family's config, or a file of a JSON object: what differs from the size. Again for more.
    tracks:
        Signals: train only on these tracks, names joined by commas or a table with a column identifier.
    leave_out_tracks:
        Signals: train on all tracks but these.
    licence:
        Of the weights, an SPDX identifier.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.errors import UsageError
    from basecast.training.design import designed, fields_of
    from basecast.training.train import from_scratch, shared_mask

    if context is not None and size is not None:
        raise UsageError("--context is the size of a spliceai: give it or --size")
    mask, species, build = shared_mask(data)
    described = designed(
        chosen_outputs(data, tracks, leave_out_tracks),
        family=family,
        size=size if context is None else str(context),
        config=fields_of(config) | ({} if channels is None else {"channels": channels}),
        mask=mask,
        name=output.name,
        species=species,
        genome_build=build,
        licence=licence,
    )
    return carry_out(data, output, from_scratch(described), training, run, 1.0, Console(log_format), command)


def chosen_outputs(data: Sequence[str], tracks: str | None, left_out: str | None) -> tuple[Output, ...]:
    """The outputs of the data, with the tracks that are asked for."""
    from basecast.data.opening import open_split
    from basecast.training.tracks import names_in, with_tracks

    outputs = open_split(data[0], "train").header.outputs
    return with_tracks(outputs, None if tracks is None else names_in(tracks), names_in(left_out or ""))


def carry_out(
    data: tuple[str, ...],
    output: Path,
    start: Start,
    options: TrainingOptions,
    run: TrainingRun,
    slow: float,
    console: Console,
    command: tuple[str, ...],
) -> int:
    """Train from ``start`` and say how it goes; ``slow`` is the factor of the recipe's learning rate."""
    import os

    import torch

    from basecast.errors import counted
    from basecast.inference.device import available_threads, choose_device, keep_freed_memory
    from basecast.inference.shards import RunSettings
    from basecast.training.train import train as trained_on
    from basecast.zoo.package import require_new

    require_new(output)
    device = choose_device(run.device)
    precision = run.precision or ("bf16" if device.type == "cuda" else "fp32")
    settings = options.settings(data, start.spec, slow, precision)
    torch.set_num_threads(run.threads or available_threads())
    keep_freed_memory()
    is_first = os.environ.get("RANK", "0") == "0"
    parameters = sum(p.numel() for p in start.network(options.each_seed[0]).parameters() if p.requires_grad)
    if is_first:
        words = (
            f"{parameters:,} weights to train, {counted(len(options.each_seed), 'network')}, on {device}, {precision}"
        )
        console.say(words, parameters=parameters, device=str(device))
    with told(console, run.tensorboard if is_first else None, options.each_seed) as tell:
        found = trained_on(
            data,
            output,
            start,
            settings,
            seeds=options.each_seed,
            run=RunSettings(restart=run.restart, work_dir=run.work_dir),
            device=run.device,
            workers=run.workers,
            every=run.checkpoint_every,
            checkpointed=run.checkpoint_activations,
            command=shlex.join(command),
            write=lambda target, draft: shipped(target, draft, console, run.device),
            tell=tell if is_first else None,
        )
    if is_first:
        console.say(f"{output}: {_summary(found)}", seconds=round(found.seconds, 3), best=found.best)
    return 0


def shipped(target: Path, draft: Draft, console: Console, device: str) -> None:
    """Write the package with test vectors, or say why it has none."""
    from basecast.acceptance.ship import ship

    if why := ship(target, draft.package, draft.notes, draft.files, device=device):
        console.say(f"{target} carries no test vectors: {why}", level="warning")


def _summary(found: Trained) -> str:
    lines = zip(found.seeds, found.best, strict=True)
    return "; ".join(f"seed {seed}, epoch {best['epoch']}: {numbers_of(best)}" for seed, best in lines)
