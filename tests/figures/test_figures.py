"""Figures: what is drawn is what was given, and the same input gives the same bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from basecast.figures.bars import bars
from basecast.figures.canvas import png
from basecast.figures.curves import precision_recall, training_curves
from basecast.figures.reliability import reliability


def history(seed: int) -> list[dict[str, object]]:
    steps = [{"kind": "step", "step": 10 * i, "loss": 1 / (i + seed), "top1": None} for i in range(1, 6)]
    epochs = [
        {
            "kind": "epoch",
            "epoch": e,
            "step": 25 * e,
            "loss": 0.3,
            "validation_loss": 0.4 / e,
            "validation_top1_donor": 0.2 * e,
            "validation_top1_acceptor": 0.1 * e,
            "validation_auprc_donor": None,
            "validation_auprc_acceptor": 0.3,
        }
        for e in (1, 2)
    ]
    return [*steps, *epochs]


def lines_of(figure: Figure, panel: int) -> list[tuple[list[float], list[float]]]:
    return [(list(x), list(y)) for x, y in (line.get_data() for line in figure.axes[panel].lines)]


def test_training_curves_show_loss_and_validation_metrics() -> None:
    figure = training_curves({1: history(1), 2: history(2)})
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "top-1", "AUPRC"]
    assert lines_of(figure, 0)[1] == ([25, 50], [0.4, 0.2])
    assert lines_of(figure, 1)[:2] == [([1, 2], [0.2, 0.4]), ([1, 2], [0.1, 0.2])]
    assert all(map(math.isnan, lines_of(figure, 2)[0][1]))  # what is no number has no point
    assert len(lines_of(figure, 1)) == 4


def test_training_curves_of_signals_show_how_they_correlate() -> None:
    lines = [
        {"kind": "step", "step": 10, "loss": -2.0, "pearson": 0.2},
        *(
            {"kind": "epoch", "epoch": e, "step": 10 * e, "validation_loss": -3.0 * e, "validation_pearson_x": 0.1 * e}
            | {"validation_r2_x": 0.2 * e}
            for e in (1, 2)
        ),
    ]
    figure = training_curves({1: lines})
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "Pearson correlation", "R2"]
    assert lines_of(figure, 0)[1] == ([10, 20], [-3.0, -6.0])
    assert figure.axes[0].get_yscale() == "linear"  # a loss of counts may be below 0
    assert lines_of(figure, 1) == [([1, 2], [0.1, 0.2])]


def test_a_training_without_an_epoch_has_curves_too() -> None:
    figure = training_curves({1: history(1)[:3]})
    assert lines_of(figure, 0)[0][0] == [10, 20, 30]
    assert png(figure).startswith(b"\x89PNG")


def test_precision_recall_has_a_panel_a_class_and_a_line_a_model() -> None:
    points = (np.array([0.2, 0.9]), np.array([1.0, 0.5]))
    figure = precision_recall({"donor": {"a": points, "b": points}, "acceptor": {"a": points, "b": points}})
    assert [ax.get_title() for ax in figure.axes] == ["donor", "acceptor"]
    assert lines_of(figure, 0) == [([0.2, 0.9], [1.0, 0.5])] * 2


def test_reliability_is_drawn_on_logits_and_certain_bins_lie_on_the_edge() -> None:
    bins = np.array([[0.1, 0.5, 0.4, 0.6], [0.9, 1.0, math.nan, math.nan]])
    figure = reliability({"donor": {"a": bins}})
    diagonal, line = lines_of(figure, 0)[:2]
    assert diagonal[0] == diagonal[1]
    assert line[0] == pytest.approx([math.log(0.1 / 0.9), math.log(9)])
    assert line[1] == pytest.approx([0, diagonal[1][1]])


def test_bars_stand_where_their_labels_are_and_what_is_no_number_has_none() -> None:
    panel = {
        "a": {"x": (0.5, 0.4, 0.7), "y": (math.nan, math.nan, math.nan)},
        "b": {"x": (0.6, math.nan, math.nan), "y": (0.9, 0.8, 1.0)},
    }
    figure = bars({"AUPRC": panel}, "share")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]
    heights = {round(p.get_x() + p.get_width() / 2, 2): p.get_height() for p in ax.patches}  # type: ignore[attr-defined]
    assert heights == {-0.2: 0.5, 0.2: 0.6, 1.2: 0.9}


def test_the_same_figure_is_the_same_file() -> None:
    one, two = (png(training_curves({1: history(1)})) for _ in range(2))
    assert one == two
