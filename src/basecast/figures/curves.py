"""How a training went, and where precision goes with recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from basecast.figures.canvas import COLOURS, panels

_METRICS = {"top1": "top-1", "auprc": "AUPRC", "pearson": "Pearson correlation", "r2": "R2"}
"""Of which there is a panel each, and what it is called there."""
Points = tuple[Float[ndarray, " points"], Float[ndarray, " points"]]


def training_curves(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss by step, with that of the validation data, and every other validation metric by epoch.

    Args:
        histories: of each seed the lines of its metrics: ``kind`` is ``step`` or ``epoch``.
    """
    names = {
        name: None
        for lines in histories.values()
        for line in lines
        if line["kind"] == "epoch"
        for name in line
        if name.startswith("validation_") and name != "validation_loss"
    }
    groups = {metric: [n for n in names if n.startswith(f"validation_{metric}_")] for metric in _METRICS}
    shown = {metric: found for metric, found in groups.items() if found}
    figure, axes = panels(1 + len(shown))
    for number, (seed, lines) in enumerate(histories.items()):
        colour = COLOURS[number % len(COLOURS)]
        steps, epochs = ([line for line in lines if line["kind"] == kind] for kind in ("step", "epoch"))
        axes[0].plot(_column(steps, "step"), _column(steps, "loss"), color=colour, alpha=0.4, linewidth=0.8)
        axes[0].plot(
            _column(epochs, "step"),
            _column(epochs, "validation_loss"),
            color=colour,
            marker="o",
            markersize=3,
            label=f"seed {seed}, validation",
        )
        for ax, (_, found) in zip(axes[1:], shown.items(), strict=True):
            for name, style in zip(found, ("-", "--", ":", "-.") * len(found), strict=False):
                label = name.split("_", 2)[-1] if number == 0 else None
                values = _column(epochs, name)
                ax.plot(_column(epochs, "epoch"), values, style, color=colour, marker="o", markersize=3, label=label)
    losses = [loss for lines in histories.values() for line in lines for loss in _losses(line)]
    axes[0].set(xlabel="step", ylabel="loss", yscale="log" if min(losses, default=1) > 0 else "linear")
    for ax, metric in zip(axes[1:], shown, strict=True):
        ax.set(xlabel="epoch", ylabel=_METRICS[metric], ylim=(None, 1))
    for ax in axes:
        ax.legend(fontsize=7, frameon=False)
    return figure


def _column(lines: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(line[name]) if line.get(name) is not None else float("nan") for line in lines]


def _losses(line: Mapping[str, Any]) -> list[float]:
    return [line[name] for name in ("loss", "validation_loss") if line.get(name) is not None]


def precision_recall(curves: Mapping[str, Mapping[str, Points]]) -> Figure:
    """A panel for each class, a line for each model.

    Args:
        curves: class -> model -> recall and precision, from the best score down.
    """
    figure, axes = panels(len(curves))
    for ax, (name, models) in zip(axes, curves.items(), strict=True):
        for (model, (recall, precision)), colour in zip(models.items(), COLOURS * len(models), strict=False):
            ax.plot(recall, precision, color=colour, linewidth=1.2, label=model)
        ax.set(title=name, xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes[-1].legend(fontsize=7, frameon=False, loc="lower left")
    return figure
