"""What a model's card says of its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from basecast.data.loader import Source
from basecast.errors import counted
from basecast.training.checkpoint import State
from basecast.training.loop import LoopSettings

_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}


def best_epoch(metrics: bytes) -> dict[str, Any]:
    """The line of the metrics that tells of the epoch that was kept."""
    epochs = [line for line in map(json.loads, metrics.splitlines()) if line["kind"] == "epoch"]
    return next(line for line in epochs if line["epoch"] == epochs[-1]["best_epoch"])


def notes(
    begun: str,
    states: Sequence[State],
    metrics: Sequence[bytes],
    seeds: Sequence[int],
    data: Sequence[Source],
    settings: LoopSettings,
    command: str = "",
) -> str:
    """Markdown: how it was trained, on what, and how it did on the validation data.

    Args:
        begun: where the weights began, if not at random.
        states, metrics: of each seed.
        data: training and validation.
        command: that trained it.
    """
    sampling, schedule, loss, optimiser = settings.sampling, settings.schedule, settings.loss, settings.optimiser
    bias = f", {sampling.splice_bias:.0%} of them around a site" if sampling.kind == "biased" else ""
    weighted = ", weighted to count as uniform ones" if bias and sampling.importance_weights else ""
    more = {
        "focal": f" (gamma {loss.gamma:g}, alpha {loss.alpha or 1})",
        "poisson-multinomial": f" (total weight {loss.total_weight:g})",
    }
    own = {
        "adam": f" (betas {optimiser.betas[0]:g}, {optimiser.betas[1]:g})",
        "sgd": f" (momentum {optimiser.momentum:g})",
    }
    minutes = sum(state.seconds for state in states) / 60
    told = [
        f"{counted(len(seeds), 'network')} of {counted(states[0].step, 'step')}; a step is at most "
        f"{settings.batch_size} windows of {sampling.window:,} positions ({sampling.kind}{bias}{weighted}).",
        f"{_OPTIMISERS[optimiser.kind]}{own.get(optimiser.kind, '')}, rate {schedule.rate:g} ({schedule.kind}, warm-up "
        f"{schedule.warm_up} steps), weight decay {optimiser.weight_decay:g}, loss {loss.kind}"
        f"{more.get(loss.kind, '')}, {minutes:,.0f} minutes in all.",
        *_more(settings),
        "The epoch with the lowest validation loss was kept. `training/` holds the metrics and the curves.",
    ]
    counts = "sites" if data[0].outputs[0].has_classes else "tracks"
    best = [best_epoch(text) for text in metrics]
    names = [name for name in best[0] if name.startswith("validation_")]
    columns = " | ".join(name.removeprefix("validation_").replace("_", " ") for name in names)
    return "\n".join(
        [
            "### Training",
            "",
            *([begun, ""] if begun else []),
            *told,
            "",
            f"| data | records | bases | {counts} |",
            "|---|---|---|---|",
            *_data(data),
            "",
            *(f"- `{line}`" for line in _commands(data, command)),
            "",
            "The epoch kept, on the validation data:",
            "",
            f"| seed | epoch | {columns} |",
            "|" + "---|" * (2 + len(names)),
            *(
                f"| {seed} | {line['epoch']} of {state.epochs} | {' | '.join(_number(line[name]) for name in names)} |"
                for seed, state, line in zip(seeds, states, best, strict=True)
            ),
        ]
    )


def _more(settings: LoopSettings) -> list[str]:
    """What is not done by default."""
    each = settings.optimiser.clip_each
    weights = settings.data_weights and ", ".join(f"{weight:g}" for weight in settings.data_weights)
    more = {
        "half of the windows were read from the other strand": settings.augment.reverse_complement,
        f"sequences were moved by up to {settings.augment.shift} bases": settings.augment.shift,
        f"gradients clipped to a norm of {settings.optimiser.clip}": settings.optimiser.clip,
        f"gradients of each parameter clipped to a norm of {each}": each,
        f"validated and kept is a moving average of the weights (decay {settings.average})": settings.average,
        f"ended after {settings.patience} epochs without a lower validation loss": settings.patience,
        f"each dataset was seen {weights} times an epoch": weights,
        f"a step was computed in {settings.accumulate} parts": settings.accumulate > 1,
        f"computed in {settings.precision}": settings.precision != "fp32",
    }
    return ["; ".join(words for words, is_so in more.items() if is_so).capitalize() + "."] if any(more.values()) else []


def _data(data: Sequence[Source]) -> list[str]:
    output = data[0].outputs[0]
    return [
        f"| {d.path.parent.name}/{d.path.name} | {len(d):,} | {int(d.lengths.sum()):,} | {n:,} |"
        for source in data
        for d, places in zip(source.datasets, source.places, strict=True)
        for n in [len(places.sites) if output.has_classes else len(output.tracks)]
    ]


def _commands(data: Sequence[Source], command: str) -> list[str]:
    """What made the data, and the model from them."""
    made = (dataset.header.command for source in data for dataset in source.datasets)
    return list(dict.fromkeys(line for line in (*made, command) if line))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
