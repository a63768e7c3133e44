"""``basecast train``: datasets in, a model out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import MODEL, OUTPUT, RUN, Data, Messages
from basecast.cli.training_progress import numbers_of, told

if TYPE_CHECKING:
    from basecast.training.loop import LoopSettings
    from basecast.training.train import Draft, Start, Trained

TRAINING = Group("Training", sort_key=1.5)
Package = Annotated[Path, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="MODEL")]


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True)
class TrainingOptions:
    """How a model learns.

    Parameters
    ----------
    sampling:
        Windows of an epoch: grid (each once), random-phase (each position once, cut anew every epoch) or biased (drawn,
        a share of them around a site).
    window:
        Label positions of a window.
    splice_bias:
        With biased: share of windows around a site.
    jitter:
        With biased: bases a site may lie from the centre of its window; by default a quarter of it.
    samples_per_epoch:
        With biased: windows of an epoch; by default those of the grid.
    importance_weights:
        With biased: weigh positions so that probabilities stay those of the genome.
    data_weight:
        For each --data how often it is seen in an epoch.
    epochs:
        Passes over the data.
    batch_size:
        Windows a step, over all processes.
    accumulate:
        Parts in which a process computes a step, to save memory.
    loss:
        cross-entropy or focal.
    focal_alpha:
        With focal: a factor for each class, in their order.
    focal_gamma:
        With focal: how much what is easy is played down.
    schedule:
        Learning rate: cosine to 0, the published multistep or cosine-restarts, or constant.
    rate:
        Learning rate at its highest.
    warm_up:
        Steps over which the rate rises.
    weight_decay:
        Of AdamW.
    clip:
        Largest norm of the gradient.
    average:
        Decay of a moving average of the weights, which is validated and kept instead of them.
    patience:
        End after so many epochs without a lower validation loss.
    seeds:
        One network each; several make an ensemble.
    """

    sampling: Literal["grid", "random-phase", "biased"] = "random-phase"
    window: Annotated[int, Parameter(validator=Number(gte=1), metavar="N")] = 5000
    splice_bias: Annotated[float, Parameter(validator=Number(gte=0, lte=1), metavar="SHARE")] = 0.5
    jitter: Annotated[int | None, Parameter(validator=Number(gte=0), metavar="N")] = None
    samples_per_epoch: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    importance_weights: bool = True
    data_weight: Annotated[tuple[float, ...] | None, Parameter(negative="", consume_multiple=True, metavar="X")] = None
    epochs: Annotated[int, Parameter(validator=Number(gte=1), metavar="N")] = 10
    batch_size: Annotated[int, Parameter(validator=Number(gte=1), metavar="N")] = 36
    accumulate: Annotated[int, Parameter(validator=Number(gte=1), metavar="N")] = 1
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_alpha: Annotated[tuple[float, ...] | None, Parameter(negative="", consume_multiple=True, metavar="X")] = None
    focal_gamma: Annotated[float, Parameter(validator=Number(gte=0), metavar="X")] = 2.0
    schedule: Literal["cosine", "multistep", "cosine-restarts", "constant"] = "cosine"
    rate: Annotated[
        float | None, Parameter(validator=Number(gt=0), metavar="X", show_default="0.001; transfer: 0.0001")
    ] = None
    warm_up: Annotated[int, Parameter(validator=Number(gte=0), metavar="N")] = 0
    weight_decay: Annotated[float, Parameter(validator=Number(gte=0), metavar="X")] = 0.01
    clip: Annotated[float | None, Parameter(validator=Number(gt=0), metavar="X")] = None
    average: Annotated[float | None, Parameter(validator=Number(gt=0, lt=1), metavar="X")] = None
    patience: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    seeds: Annotated[str, Parameter(name=["--seeds", "--seed"], metavar="N,N,...")] = "1"

    def settings(self, rate: float, precision: str) -> LoopSettings:
        """As the library takes it; ``rate`` is the default, ``precision`` that of the run."""
        from pydantic import ValidationError

        from basecast.errors import UsageError
        from basecast.training.loop import LoopSettings

        windows = ("window", "splice_bias", "jitter", "samples_per_epoch", "importance_weights")
        steps = ("epochs", "batch_size", "accumulate", "weight_decay", "clip", "average", "patience")
        given = {
            "sampling": {"kind": self.sampling, **{name: getattr(self, name) for name in windows}},
            "loss": {"kind": self.loss, "alpha": self.focal_alpha, "gamma": self.focal_gamma},
            "schedule": {"kind": self.schedule, "rate": self.rate or rate, "warm_up": self.warm_up},
            "data_weights": self.data_weight,
            "precision": precision,
            **{name: getattr(self, name) for name in steps},
        }
        try:
            return LoopSettings.model_validate(given)
        except ValidationError as error:
            raise UsageError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}; see --help") from None

    @property
    def each_seed(self) -> list[int]:
        """``seeds`` as numbers."""
        from basecast.errors import UsageError

        try:
            return [int(text) for text in self.seeds.split(",")]
        except ValueError:
            raise UsageError(f"--seeds {self.seeds!r} is not numbers joined by commas, such as 10,11,12") from None


@Parameter(name="*", group=RUN)
@dataclass(frozen=True)
class TrainingRun:
    """Where training runs, and what it leaves on the way.

    Parameters
    ----------
    device:
        auto, cpu, cuda or cuda:N; under torchrun each process takes its own GPU.
    precision:
        By default bf16 on a GPU and fp32 on a CPU.
    threads:
        CPU threads, by default all that the process may use.
    workers:
        Processes that read windows; 0 reads between steps.
    checkpoint_every:
        Seconds from one checkpoint to the next.
    work_dir:
        Folder for checkpoints and metrics; by default MODEL.basecast.
    restart:
        Discard what an interrupted run of this output has left.
    tensorboard:
        Folder to write TensorBoard's files to.
    """

    device: Annotated[str, Parameter(metavar="DEVICE")] = "auto"
    precision: Literal["fp32", "bf16"] | None = None
    threads: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    workers: Annotated[int, Parameter(validator=Number(gte=0), metavar="N")] = 0
    checkpoint_every: Annotated[float, Parameter(validator=Number(gt=0), metavar="SECONDS")] = 120
    work_dir: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    restart: Annotated[bool, Parameter(negative="")] = False
    tensorboard: Annotated[Path | None, Parameter(metavar="FOLDER")] = None


DEFAULT_TRAINING, DEFAULT_RUN = TrainingOptions(), TrainingRun()


def train(
    *,
    data: Data,
    output: Package,
    context: Annotated[int, Parameter(group=MODEL, metavar="N")] = 400,
    channels: Annotated[int, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = 32,
    licence: Annotated[str, Parameter(group=OUTPUT, metavar="SPDX")] = "LicenseRef-unspecified",
    training: TrainingOptions = DEFAULT_TRAINING,
    run: TrainingRun = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Train a splice-site model on datasets of `basecast create-data`.

    The epoch with the lowest loss on the whole validation split is kept. An interrupted run goes on where it stood when
    the same command is given again, to the same weights.

    Example: basecast train --data data -O my-model --context 400

    Example (an ensemble, with more windows around sites): basecast train --data data -O my-models --seeds 10,11,12
    --sampling biased --average 0.999

    Parameters
    ----------
    data:
        Folders of datasets; several are trained on together.
    output:
        Folder of the model to write.
    context:
        Bases that a position is judged by: 80, 400, 2000 or 10000, half on each side.
    channels:
        Width of the network.
    licence:
        Of the weights, an SPDX identifier.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.errors import UsageError
    from basecast.models.spliceai import published, spec
    from basecast.training.train import from_scratch, shared_mask

    mask, species, build = shared_mask(data)
    try:
        config = published(context, channels=channels)
    except ValueError as error:
        raise UsageError(f"--context: {error}") from None
    described = spec(config, mask=mask, name=output.name, species=species, genome_build=build, licence=licence)
    start = from_scratch(described)
    return carry_out(data, output, start, training, run, 1e-3, Console(log_format), command)


def carry_out(
    data: tuple[str, ...],
    output: Path,
    start: Start,
    options: TrainingOptions,
    run: TrainingRun,
    rate: float,
    console: Console,
    command: tuple[str, ...],
) -> int:
    """Train from ``start`` and say how it goes."""
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
    settings = options.settings(rate, precision)
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
