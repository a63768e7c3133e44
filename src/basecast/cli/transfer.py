"""``basecast transfer``: a model and datasets in, a model for those data out."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import INPUT, MODEL, OUTPUT, Data, Messages, Model
from basecast.cli.train import Package, Tracks, carry_out, chosen_outputs
from basecast.cli.training_options import DEFAULT_RUN, DEFAULT_TRAINING, TrainingOptions, TrainingRun

Targets = Annotated[str | None, Parameter(name=["--tracks", "--targets"], group=INPUT, metavar="NAMES")]


def transfer(
    *,
    model: Model,
    data: Data,
    output: Package,
    mode: Annotated[Literal["full", "head", "lora"], Parameter(group=MODEL)] = "full",
    last_units: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=0))] = None,
    layer_decay: Annotated[float, Parameter(group=MODEL, metavar="X", validator=Number(gt=0, lte=1))] = 1.0,
    anti_forgetting: Annotated[float, Parameter(group=MODEL, metavar="X", validator=Number(gte=0))] = 0.0,
    rank: Annotated[int, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = 8,
    alpha: Annotated[float, Parameter(group=MODEL, metavar="X", validator=Number(gt=0))] = 16,
    tracks: Targets = None,
    leave_out_tracks: Tracks = None,
    new_head: Annotated[bool, Parameter(group=MODEL, negative="")] = False,
    licence: Annotated[str | None, Parameter(group=OUTPUT, metavar="SPDX")] = None,
    training: TrainingOptions = DEFAULT_TRAINING,
    run: TrainingRun = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Train a model on from another, for a new species or other tracks.

    The card names the parent; the licence is the parent's. With several seeds each goes on from another member.

    Example: basecast transfer -m openspliceai-mane-400 --data beetle -O beetle-400 --epochs 4

    Example (a new head on what a model has learnt): basecast transfer -m my-basenji --data tracks -O mine --mode head

    Parameters
    ----------
    model:
        Where to begin: a name of `basecast zoo list`, a package or a foreign checkpoint.
    data:
        Folders of datasets; several are trained on together.
    output:
        Folder of the model to write.
    mode:
        What is trained: all weights, only the head, or the head and low-rank adapters of the other layers, which are
        added to their weights at the end.
    last_units:
        With full: train only the head and the last N residual units.
    layer_decay:
        With full: factor of the learning rate from each unit to the one before it.
    anti_forgetting:
        With full: hold the weights near the parent's, factor of their squared distance in the loss.
    rank:
        With lora: rank of an adapter.
    alpha:
        With lora: an adapter is scaled by alpha / rank.
    tracks:
        Signals: train only on these tracks, names joined by commas or a table with a column identifier.
    leave_out_tracks:
        Signals: train on all tracks but these.
    new_head:
        Begin with new weights in the head; data with other classes always do.
    licence:
        Of the weights, by default the parent's; it must suit the parent's.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from pydantic import ValidationError

    from basecast.errors import UsageError
    from basecast.training.train import shared_mask
    from basecast.training.transfer import TransferSettings, from_parent
    from basecast.zoo.catalogue import load_model

    parent = load_model(model)
    mask, species, build = shared_mask(data)
    described = parent.spec.model_copy(
        update={
            "name": output.name,
            "outputs": chosen_outputs(data, tracks, leave_out_tracks),
            "members": (),
            "mask": mask,
            "species": species,
            "genome_build": build,
            "licence": licence or "",
            "parents": (),
            "calibration": type(parent.spec.calibration)(),
        }
    )
    try:
        settings = TransferSettings(
            mode=mode,
            last_units=last_units,
            layer_decay=layer_decay,
            anti_forgetting=anti_forgetting,
            rank=rank,
            alpha=alpha,
            new_head=new_head,
        )
    except ValidationError as error:
        raise UsageError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}; see --help") from None
    slow = 0.1 if mode == "full" else 1.0  # what has been learnt is not to be lost
    start = from_parent(parent, described, settings)
    return carry_out(data, output, start, training, run, slow, Console(log_format), command)
