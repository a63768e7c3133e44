"""Settings that go together, by name: what suits a kind of data, and what was published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from basecast.data.opening import open_split
from basecast.data.windows import Augment
from basecast.errors import UsageError
from basecast.spec import LocalReach, ModelSpec
from basecast.training.fitting import context_of
from basecast.training.loop import LoopSettings
from basecast.training.losses import Loss
from basecast.training.optimisers import Optimiser
from basecast.training.schedules import Schedule

_VIEWS = Augment(reverse_complement=True, shift=3)


def splicing() -> LoopSettings:
    """For splice sites."""
    return LoopSettings()


def signal() -> LoopSettings:
    """For signals, of networks that one machine trains."""
    return LoopSettings(
        augment=_VIEWS,
        epochs=30,
        batch_size=4,
        loss=Loss(kind="poisson"),
        optimiser=Optimiser(clip=1.0),
        schedule=Schedule(rate=1e-3, warm_up=100),
    )


def basenji() -> LoopSettings:
    """Kelley et al. 2018."""
    return LoopSettings(
        augment=_VIEWS,
        epochs=100,
        batch_size=2,
        loss=Loss(kind="poisson"),
        optimiser=Optimiser(kind="adam", betas=(0.97, 0.98), weight_decay=0),
        schedule=Schedule(kind="constant", rate=2.063e-3),
        patience=12,
    )


def basenji2() -> LoopSettings:
    """Kelley 2020."""
    return LoopSettings(
        augment=_VIEWS,
        epochs=100,
        batch_size=4,
        loss=Loss(kind="poisson"),
        optimiser=Optimiser(kind="sgd", momentum=0.99, weight_decay=0, clip_each=2),
        schedule=Schedule(kind="constant", rate=0.15),
        patience=16,
    )


def borzoi() -> LoopSettings:
    """Linder et al. 2025; their penalty of 2e-8 times the squared weights is a decay of twice that."""
    return LoopSettings(
        augment=_VIEWS,
        epochs=180,
        batch_size=2,
        loss=Loss(kind="poisson-multinomial", total_weight=0.2),
        optimiser=Optimiser(kind="adam", weight_decay=4e-8, clip=0.15),
        schedule=Schedule(kind="constant", rate=6e-5, warm_up=20_000),
        patience=30,
    )


def windows_of(data: Sequence[str | Path], spec: ModelSpec, window: int | None = None) -> dict[str, Any]:
    """Of the sampling what follows from data of signals and the model; nothing for other data.

    Windows are as long as the model takes them, or as the data were made for, unless ``window`` says otherwise. Records
    that are no longer than one are not cut at random places, which would leave most windows half empty.

    Raises:
        UsageError: neither of them says how long a window is.
    """
    if spec.outputs[0].has_classes:
        return {}
    found = [open_split(folder, "train") for folder in data]
    lengths = () if isinstance(spec.reach, LocalReach) else spec.reach.lengths
    own = lengths[-1] - sum(context_of(spec)) if lengths else int(found[0].header.settings.get("window", 0))
    size = window or own
    if not size:
        raise UsageError(f"{found[0].path} does not say how long its windows are: give --window")
    longest = max(int(dataset.lengths.max(initial=0)) for dataset in found)
    return {"window": size, "kind": "grid" if longest <= size else "random-phase"}


RECIPES: dict[str, Callable[[], LoopSettings]] = {
    "splicing": splicing,
    "signal": signal,
    "basenji": basenji,
    "basenji2": basenji2,
    "borzoi": borzoi,
}
