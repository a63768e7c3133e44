"""``basecast transfer``: a model and datasets in, a model for those data out."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import MODEL, OUTPUT, Data, Messages, Model
from basecast.cli.train import DEFAULT_RUN, DEFAULT_TRAINING, Package, TrainingOptions, TrainingRun, carry_out


def transfer(
    *,
    model: Model,
    data: Data,
    output: Package,
    last_units: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=0))] = None,
    layer_decay: Annotated[float, Parameter(group=MODEL, metavar="X", validator=Number(gt=0, lte=1))] = 1.0,
    anti_forgetting: Annotated[float, Parameter(group=MODEL, metavar="X", validator=Number(gte=0))] = 0.0,
    new_head: Annotated[bool, Parameter(group=MODEL, negative="")] = False,
    licence: Annotated[str | None, Parameter(group=OUTPUT, metavar="SPDX")] = None,
    training: TrainingOptions = DEFAULT_TRAINING,
    run: TrainingRun = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Train a model on from another, for a new species or another head.

    The card names the parent; the licence is the parent's. With several seeds each goes on from another member.

    Example: basecast transfer -m openspliceai-mane-400 --data beetle -O beetle-400 --epochs 4

    Parameters
    ----------
    model:
        Where to begin: a name of `basecast zoo list`, a package or a foreign checkpoint.
    data:
        Folders of datasets; several are trained on together.
    output:
        Folder of the model to write.
    last_units:
        Train only the head and the last N residual units; by default everything is trained.
    layer_decay:
        Factor of the learning rate from each unit to the one before it.
    anti_forgetting:
        Hold the weights near the parent's: factor of their squared distance in the loss.
    new_head:
        Begin with new weights in the head; data with other classes always do.
    licence:
        Of the weights, by default the parent's; it must suit the parent's.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.data.opening import open_split
    from basecast.training.train import shared_mask
    from basecast.training.transfer import TransferSettings, from_parent
    from basecast.zoo.catalogue import load_model

    parent = load_model(model)
    mask, species, build = shared_mask(data)
    described = parent.spec.model_copy(
        update={
            "name": output.name,
            "outputs": open_split(data[0], "train").header.outputs,
            "members": (),
            "mask": mask,
            "species": species,
            "genome_build": build,
            "licence": licence or "",
            "parents": (),
            "calibration": type(parent.spec.calibration)(),
        }
    )
    settings = TransferSettings(
        last_units=last_units, layer_decay=layer_decay, anti_forgetting=anti_forgetting, new_head=new_head
    )
    start = from_parent(parent, described, settings)
    return carry_out(data, output, start, training, run, 1e-4, Console(log_format), command)
