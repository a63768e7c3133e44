"""How alignments became coverage, on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from basecast.figures.canvas import COLOURS

_FULL, _SPARE, _LINE, _AFTER = COLOURS[0], COLOURS[6], COLOURS[1], COLOURS[2]


class Fragments(NamedTuple):
    """Fragment lengths in bases, how often each is seen over the mean, and the length that was taken."""

    lengths: Integer[np.ndarray, " lengths"]
    curve: Float[np.ndarray, " lengths"]
    chosen: int


class GC(NamedTuple):
    """By GC share: mean coverage of the background, the model's, and coverage as it was corrected; windows of each."""

    share: Float[np.ndarray, " bins"]
    before: Float[np.ndarray, " bins"]
    fitted: Float[np.ndarray, " bins"]
    after: Float[np.ndarray, " bins"]
    windows: Float[np.ndarray, " bins"]


class Division(NamedTuple):
    """Multi-reads by the largest share that one of their places got: counts in equal bins of 0..1, before and after."""

    before: Integer[np.ndarray, " bins"]
    after: Integer[np.ndarray, " bins"]


def page(
    title: str,
    *,
    places: Mapping[int, float],
    most_places: int,
    fragments: Fragments | None = None,
    gc: GC | None = None,
    division: Division | None = None,
    changes: Sequence[float] = (),
) -> Figure:
    """Panels for what was done; what was not done has none.

    Args:
        title: of the page, such as the names of the alignments.
        places: reads by the number of places that they were aligned to.
        most_places: of a read that counts; those with more were left out.
        changes: at each iteration, the share of the multi-reads that moved to speak of.
    """
    drawn: list[Callable[[Axes], None]] = [partial(_places, places=places, most=most_places)]
    if division is not None:
        drawn.append(partial(_division, division=division))
    if len(changes):
        drawn.append(partial(_convergence, changes=changes))
    if fragments is not None:
        drawn.append(partial(_fragments, fragments=fragments))
    if gc is not None:
        drawn.append(partial(_gc, gc=gc))
    columns = min(len(drawn), 3)
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows + 0.4), layout="constrained")
    for i, draw in enumerate(drawn):
        ax = figure.add_subplot(rows, columns, i + 1)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        draw(ax)
    figure.suptitle(title, fontsize=11)
    return figure


def _places(ax: Axes, places: Mapping[int, float], most: int) -> None:
    """One bar for each number of places; those with more than count are one."""
    total = max(sum(places.values()), 1)
    counted = [places.get(n, 0) / total for n in range(1, most + 1)]
    beyond = sum(reads for n, reads in places.items() if n > most) / total
    ax.bar(range(1, most + 1), counted, color=[_SPARE, *[_FULL] * (most - 1)])
    ax.bar(most + 1, beyond, color=_LINE, hatch="//", edgecolor="white")
    shared = sum(counted[1:])
    if lowest := min((share for share in (*counted, beyond) if share > 0), default=0):
        ax.set_yscale("log")
        ax.set_ylim(lowest / 3, 1.5)
    ticks = [n for n in range(1, most + 1) if most <= 10 or n % (-(-most // 10)) == 1]
    ax.set_xticks([*ticks, most + 1], [*map(str, ticks), f"> {most}"])
    ax.set(xlabel="places of a read", ylabel="share of reads", title=f"{_percent(shared)} multi-reads")
    if beyond:
        text = ax.text(0.98, 0.97, f"{_percent(beyond)} left out", ha="right", va="top", fontsize=8, color=_LINE)
        text.set_transform(ax.transAxes)


def _division(ax: Axes, division: Division) -> None:
    edges = np.linspace(0, 1, len(division.after) + 1)
    before, after = (counts / max(int(counts.sum()), 1) for counts in division)
    ax.stairs(after, edges, fill=True, color=_FULL, alpha=0.85, label="by their neighbours")
    ax.stairs(before, edges, color=_SPARE, linestyle="--", linewidth=1.2, label="evenly")
    ax.set(
        xlabel="largest share at one place", ylabel="share of multi-reads", xlim=(0, 1), title="How they were divided"
    )
    ax.legend(fontsize=7, frameon=False)


def _convergence(ax: Axes, changes: Sequence[float]) -> None:
    ax.plot(range(1, len(changes) + 1), changes, color=_FULL, marker="o", markersize=3, linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="iteration", ylabel="share of multi-reads that move", ylim=0, title="Convergence")


def _fragments(ax: Axes, fragments: Fragments) -> None:
    ax.plot(fragments.lengths, fragments.curve, color=_FULL, linewidth=1.3)
    ax.axvline(fragments.chosen, color=_LINE, linewidth=1, linestyle="--")
    ax.set(xlabel="bases from end to end", ylabel="pairs of ends / mean", title=f"Fragments: {fragments.chosen} bases")


def _gc(ax: Axes, gc: GC) -> None:
    """Coverage over the level of the background as it was corrected, so that 1 is what is wanted."""
    level = float(np.average(gc.after, weights=gc.windows))
    sizes = 4 + 26 * np.sqrt(gc.windows / gc.windows.max())
    for values, colour, name in ((gc.before, _SPARE, "before"), (gc.after, _AFTER, "after")):
        ax.scatter(gc.share, values / level, sizes, color=colour, alpha=0.6, linewidths=0, label=name)
    ax.plot(gc.share, gc.fitted / level, color=_LINE, linewidth=1.3, label="model")
    ax.axhline(1, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_yscale("log", base=2)
    low, high = (float(f(gc.fitted)) / level for f in (np.min, np.max))
    ax.set_ylim(min(low / 2, 0.5), max(high * 2, 2))
    ax.set(xlabel="GC share around the base", ylabel="coverage / level", title="GC of the background")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.legend(fontsize=7, frameon=False)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
