"""Numbers with intervals, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from basecast.figures.canvas import COLOURS, panels

Bar = tuple[float, float, float]
"""A value, and the ends of its interval."""


def bars(groups: Mapping[str, Mapping[str, Mapping[str, Bar]]], unit: str) -> Figure:
    """A panel for each group, a colour for each series, a place for each label.

    Args:
        groups: panel -> series -> label -> bar.
        unit: of the values, 0..1.
    """
    widest = max(len({label for series in panel.values() for label in series}) for panel in groups.values())
    n_series = max(len(panel) for panel in groups.values())
    figure, axes = panels(len(groups), width=min(max(3.2, 0.18 * widest * (n_series + 2)), 12))
    for ax, (title, panel) in zip(axes, groups.items(), strict=True):
        labels = list(dict.fromkeys(label for series in panel.values() for label in series))
        width = 0.8 / max(len(panel), 1)
        for i, ((name, series), colour) in enumerate(zip(panel.items(), COLOURS * len(panel), strict=False)):
            known = [(labels.index(label), *bar) for label, bar in series.items() if np.isfinite(bar[0])]
            at, value, low, high = np.array(known, dtype=float).reshape(-1, 4).T
            around = np.nan_to_num(np.maximum(np.stack([value - low, high - value]), 0))
            places = at + (i - (len(panel) - 1) / 2) * width
            ax.bar(places, value, width, yerr=around, color=colour, error_kw={"linewidth": 0.7}, label=name)
        ax.set_xticks(np.arange(len(labels)), labels, fontsize=6 if widest > 4 else 8)
        ax.set(title=title, ylabel=unit, ylim=(0, 1.05))
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=4)
    return figure
