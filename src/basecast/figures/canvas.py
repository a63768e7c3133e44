"""Figures as files."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c5c5c")
"""Of models and seeds, in their order; told apart by people who do not see all colours (Okabe and Ito 2008)."""


def panels(n: int, width: float = 4.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of ``n`` panels side by side, each ``width`` by ``height`` inches."""
    figure = Figure(figsize=(width * n, height), layout="constrained")
    axes = [figure.add_subplot(1, n, i + 1) for i in range(n)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def png(figure: Figure) -> bytes:
    """A figure as PNG; the same bytes for the same figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()
