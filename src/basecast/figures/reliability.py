"""Probability against what came of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from basecast.figures.canvas import COLOURS, panels


def reliability(points: Mapping[str, Mapping[str, Float[np.ndarray, "bins 4"]]]) -> Figure:
    """A panel for each class, a line for each model; an honest model lies on the diagonal.

    Both axes are logits, for most probabilities are near 0 or 1; shares of 0 and 1 lie on the edge.

    Args:
        points: class -> model -> for each bin mean probability, share of sites, and its interval.
    """
    figure, axes = panels(len(points))
    for ax, (name, models) in zip(axes, points.items(), strict=True):
        ax.plot(*[(_logit(np.array([0.0, 1.0])))] * 2, color="#999999", linewidth=0.8, linestyle="--")
        for (model, bins), colour in zip(models.items(), COLOURS * len(models), strict=False):
            said, seen, low, high = _logit(np.clip(np.where(np.isfinite(bins), bins, bins[:, 1:2]), 0, 1)).T
            around = np.maximum(np.stack([seen - low, high - seen]), 0)
            ax.errorbar(said, seen, around, color=colour, marker="o", markersize=3, linewidth=1, label=model)
        ticks = np.array([0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99])
        labels = [f"{tick:g}" for tick in ticks]
        ax.set_xticks(_logit(ticks), labels, fontsize=7)
        ax.set_yticks(_logit(ticks), labels, fontsize=7)
        ax.set(title=name, xlabel="probability", ylabel="share of sites")
    axes[0].legend(fontsize=7, frameon=False, loc="upper left")
    return figure


def _logit(p: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    kept = np.clip(p, 0.002, 0.998)
    return np.log(kept / (1 - kept))
