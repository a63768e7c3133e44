"""Signals as they were measured and as models predict them: along a stretch, bin by bin, and how well by assay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from basecast.figures.canvas import COLOURS, panels

_GREY = "#5c5c5c"
_ROW = 0.55  # inches
Series = Mapping[str, Float[np.ndarray, " bins"]]


def stretch(tracks: Mapping[str, Series], contig: str, start: int, resolution: int) -> Figure:
    """A stretch of a genome: for each track a row for what was measured and one for each model, on one scale.

    Args:
        tracks: track -> ``measured`` or a model's name -> log2(1 + x) of each bin; nan where there is none.
        start: 0-based, of the first bin.
        resolution: bases of a bin.
    """
    n_series = max(len(series) for series in tracks.values())
    heights = [1.0] * n_series
    figure = Figure(figsize=(9, 0.9 + _ROW * n_series * len(tracks)), layout="constrained")
    axes = figure.subplots(len(tracks) * n_series, 1, sharex=True, squeeze=False, height_ratios=heights * len(tracks))
    for row, (track, series) in enumerate(tracks.items()):
        top = max(float(np.nanmax(np.append(x, 0))) for x in series.values()) or 1.0
        for i, (name, values) in enumerate(series.items()):
            ax = axes[row * n_series + i, 0]
            edges = start + resolution * np.arange(len(values) + 1)
            ax.stairs(values, edges, fill=True, color=_GREY if i == 0 else COLOURS[(i - 1) % len(COLOURS)])
            ax.set(ylim=(0, top * 1.3), xlim=(edges[0], edges[-1]), yticks=[top])
            ax.set_yticklabels([f"{top:.3g}"], fontsize=6)
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=7, length=2)
            text = f"{track}, {name}" if i == 0 else name
            ax.text(0.004, 0.97, text, transform=ax.transAxes, fontsize=7, va="top")
    axes[-1, 0].xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:,.0f}"))
    axes[-1, 0].set_xlabel(f"{contig}; heights are log2(1 + x)", fontsize=8)
    return figure


def scatter(tracks: Mapping[str, tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], float]]) -> Figure:
    """A panel for each track: bins by what was measured and what is predicted, darker where there are more.

    Args:
        tracks: track -> log2(1 + x) of what was measured and of what is predicted, and their correlation.
    """
    across = min(len(tracks), 3)
    down = -(-len(tracks) // across)
    figure = Figure(figsize=(3.3 * across, 3.1 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax, (name, (measured, predicted, r)) in zip(axes, tracks.items(), strict=False):
        top = float(max(measured.max(initial=0), predicted.max(initial=0))) or 1.0
        ends = (0, top * 1.03)
        ax.hexbin(
            measured, predicted, gridsize=45, extent=(*ends, *ends), norm=LogNorm(vmin=0.15), cmap="Blues", mincnt=1
        )
        ax.plot(ends, ends, color="#999999", linewidth=0.8, linestyle="--")
        ax.set(xlim=ends, ylim=ends, aspect="equal")
        ax.set_title(f"{name}\nr = {r:.3f}", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=7)
    for ax in axes[len(tracks) :]:
        ax.set_visible(False)
    figure.supxlabel("log2(1 + measured)", fontsize=8)
    figure.supylabel("log2(1 + predicted)", fontsize=8)
    return figure


def distribution(models: Mapping[str, Mapping[str, Sequence[float]]], measure: str) -> Figure:
    """The value of each track by assay, a colour for each model, and a line at the median.

    Args:
        models: model -> assay -> value of each track; what is no number is left out.
        measure: what the values are.
    """
    assays = list(dict.fromkeys(assay for groups in models.values() for assay in groups))
    figure, (ax,) = panels(1, width=max(3.2, 1.2 + 0.7 * len(assays) * len(models)), height=3.6)
    width = 0.8 / len(models)
    rng = np.random.default_rng(0)
    for i, ((name, groups), colour) in enumerate(zip(models.items(), COLOURS * len(models), strict=False)):
        for assay, values in groups.items():
            known = np.array([x for x in values if np.isfinite(x)])
            at = assays.index(assay) + (i - (len(models) - 1) / 2) * width
            jitter = rng.uniform(-0.35, 0.35, known.size) * width
            ax.scatter(at + jitter, known, s=9, color=colour, alpha=0.5, linewidths=0)
            if known.size:
                ax.hlines(np.median(known), at - 0.42 * width, at + 0.42 * width, color=colour, linewidth=2)
        ax.scatter([], [], s=9, color=colour, label=name)
    sizes = {assay: max(len(groups.get(assay, ())) for groups in models.values()) for assay in assays}
    ax.set_xticks(np.arange(len(assays)), [f"{assay or 'tracks'}\n({sizes[assay]})" for assay in assays], fontsize=7)
    ax.set_ylabel(measure, fontsize=8)
    ax.set_xlim(-0.6, len(assays) - 0.4)
    ax.axhline(0, color="#cccccc", linewidth=0.7, zorder=0)
    if len(models) > 1:
        figure.legend(fontsize=7, frameon=False, loc="outside lower center", ncols=4)
    return figure
