"""Options of a training: how a model learns, and where that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.options import RUN

if TYPE_CHECKING:
    from basecast.spec import ModelSpec
    from basecast.training.loop import LoopSettings

TRAINING = Group("Training", sort_key=1.5)


def _at_least(least: int, **more: Any) -> Parameter:
    return Parameter(validator=Number(gte=least), metavar="N", **more)


def _number(*, show_default: str | None = None, **limits: float) -> Parameter:
    return Parameter(validator=Number(**limits), metavar="X", show_default=show_default)


def _share(default: str) -> Parameter:
    return Parameter(validator=Number(gte=0, lte=1), metavar="SHARE", show_default=default)


_SETTINGS = {
    "sampling": ("sampling", "kind"),
    "window": ("sampling", "window"),
    "splice_bias": ("sampling", "splice_bias"),
    "jitter": ("sampling", "jitter"),
    "samples_per_epoch": ("sampling", "samples_per_epoch"),
    "importance_weights": ("sampling", "importance_weights"),
    "augment_rc": ("augment", "reverse_complement"),
    "augment_shift": ("augment", "shift"),
    "data_weight": ("data_weights",),
    "epochs": ("epochs",),
    "batch_size": ("batch_size",),
    "accumulate": ("accumulate",),
    "loss": ("loss", "kind"),
    "focal_alpha": ("loss", "alpha"),
    "focal_gamma": ("loss", "gamma"),
    "total_weight": ("loss", "total_weight"),
    "optimiser": ("optimiser", "kind"),
    "betas": ("optimiser", "betas"),
    "momentum": ("optimiser", "momentum"),
    "weight_decay": ("optimiser", "weight_decay"),
    "clip": ("optimiser", "clip"),
    "clip_each": ("optimiser", "clip_each"),
    "schedule": ("schedule", "kind"),
    "rate": ("schedule", "rate"),
    "warm_up": ("schedule", "warm_up"),
    "average": ("average",),
    "patience": ("patience",),
}
"""Where an option stands in the settings."""


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True)
class TrainingOptions:
    """How a model learns; what is not given is as the recipe has it.

    Parameters
    ----------
    recipe:
        Settings that go together: splicing or signal (by default what the data are), or those published for basenji,
        basenji2 or borzoi.
    sampling:
        Windows of an epoch: grid (each once), random-phase (each position once, cut anew every epoch) or biased (drawn,
        a share of them around a site).
    window:
        Label positions of a window, in bases.
    splice_bias:
        With biased: share of windows around a site.
    jitter:
        With biased: bases a site may lie from the centre of its window; by default a quarter of it.
    samples_per_epoch:
        With biased: windows of an epoch; by default those of the grid.
    importance_weights:
        With biased: weigh positions so that probabilities stay those of the genome.
    augment_rc:
        Signals: half of the windows from the other strand, with tracks in pairs swapped.
    augment_shift:
        Signals: largest distance that the sequence of a window is moved under its targets.
    data_weight:
        For each --data how often it is seen in an epoch.
    epochs:
        Passes over the data.
    batch_size:
        Windows a step, over all processes.
    accumulate:
        Parts in which a process computes a step, to save memory.
    loss:
        Of classes cross-entropy or focal, of signals poisson or poisson-multinomial.
    focal_alpha:
        With focal: a factor for each class, in their order.
    focal_gamma:
        With focal: how much what is easy is played down.
    total_weight:
        With poisson-multinomial: what the total of a window counts beside where it lies.
    optimiser:
        adamw, adam or sgd.
    betas:
        Of adamw and adam: decay of the averages of the gradient and of its square.
    momentum:
        Of sgd.
    schedule:
        Learning rate: cosine to 0, the published multistep or cosine-restarts, or constant.
    rate:
        Learning rate at its highest.
    warm_up:
        Steps over which the rate rises.
    weight_decay:
        Of the optimiser.
    clip:
        Largest norm of the gradient.
    clip_each:
        Largest norm of the gradient of each parameter.
    average:
        Decay of a moving average of the weights, which is validated and kept instead of them.
    patience:
        End after so many epochs without a lower validation loss.
    seeds:
        One network each; several make an ensemble.
    """

    recipe: Literal["splicing", "signal", "basenji", "basenji2", "borzoi"] | None = None
    sampling: Annotated[
        Literal["grid", "random-phase", "biased"] | None,
        Parameter(show_default="random-phase; grid where records are single windows"),
    ] = None
    window: Annotated[int | None, _at_least(1, show_default="5000; of signals what create-data was given")] = None
    splice_bias: Annotated[float | None, _share("0.5")] = None
    jitter: Annotated[int | None, _at_least(0)] = None
    samples_per_epoch: Annotated[int | None, _at_least(1)] = None
    importance_weights: Annotated[bool | None, Parameter(show_default="yes")] = None
    augment_rc: Annotated[bool | None, Parameter(show_default="yes for signals")] = None
    augment_shift: Annotated[int | None, _at_least(0, show_default="3 for signals")] = None
    data_weight: Annotated[tuple[float, ...] | None, Parameter(negative="", consume_multiple=True, metavar="X")] = None
    epochs: Annotated[int | None, _at_least(1, show_default="10; signals 30")] = None
    batch_size: Annotated[int | None, _at_least(1, show_default="36; signals 4")] = None
    accumulate: Annotated[int | None, _at_least(1, show_default="1")] = None
    loss: Annotated[
        Literal["cross-entropy", "focal", "poisson", "poisson-multinomial"] | None,
        Parameter(show_default="cross-entropy; signals poisson"),
    ] = None
    focal_alpha: Annotated[tuple[float, ...] | None, Parameter(negative="", consume_multiple=True, metavar="X")] = None
    focal_gamma: Annotated[float | None, _number(gte=0, show_default="2")] = None
    total_weight: Annotated[float | None, _number(gt=0, show_default="0.2")] = None
    optimiser: Annotated[Literal["adamw", "adam", "sgd"] | None, Parameter(show_default="adamw")] = None
    betas: Annotated[tuple[float, float] | None, Parameter(negative="", metavar="X", show_default="0.9 0.999")] = None
    momentum: Annotated[float | None, _number(gte=0, lt=1, show_default="0.9")] = None
    schedule: Annotated[
        Literal["cosine", "multistep", "cosine-restarts", "constant"] | None, Parameter(show_default="cosine")
    ] = None
    rate: Annotated[float | None, _number(gt=0, show_default="0.001; transfer of all weights 0.0001")] = None
    warm_up: Annotated[int | None, _at_least(0, show_default="0; signals 100")] = None
    weight_decay: Annotated[float | None, _number(gte=0, show_default="0.01")] = None
    clip: Annotated[float | None, _number(gt=0, show_default="none; signals 1")] = None
    clip_each: Annotated[float | None, _number(gt=0)] = None
    average: Annotated[float | None, _number(gt=0, lt=1)] = None
    patience: Annotated[int | None, _at_least(1)] = None
    seeds: Annotated[str, Parameter(name=["--seeds", "--seed"], metavar="N,N,...")] = "1"

    def settings(self, data: Sequence[str], spec: ModelSpec, slow: float, precision: str) -> LoopSettings:
        """As the library takes it.

        Args:
            data, spec: what is learnt, and by what.
            slow: factor of the recipe's learning rate.
            precision: of the run.
        """
        from pydantic import ValidationError

        from basecast.errors import UsageError
        from basecast.training.loop import LoopSettings
        from basecast.training.recipes import RECIPES, windows_of

        base = RECIPES[self.recipe or ("splicing" if spec.outputs[0].has_classes else "signal")]()
        given = base.model_dump()
        given["schedule"]["rate"] *= slow
        given["precision"] = precision
        given["sampling"] |= windows_of(data, spec, self.window)
        for name, (*path, last) in _SETTINGS.items():
            value = getattr(self, name)
            if value is not None:
                part = given
                for key in path:
                    part = part[key]
                part[last] = value
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
    checkpoint_activations:
        Make activations again on the way back instead of keeping them: less memory, about a third more work.
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
    checkpoint_activations: Annotated[bool, Parameter(negative="")] = False
    threads: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    workers: Annotated[int, Parameter(validator=Number(gte=0), metavar="N")] = 0
    checkpoint_every: Annotated[float, Parameter(validator=Number(gt=0), metavar="SECONDS")] = 120
    work_dir: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    restart: Annotated[bool, Parameter(negative="")] = False
    tensorboard: Annotated[Path | None, Parameter(metavar="FOLDER")] = None


DEFAULT_TRAINING, DEFAULT_RUN = TrainingOptions(), TrainingRun()
