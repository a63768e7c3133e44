"""Figures of signals show what they are given."""

from __future__ import annotations

import numpy as np

from basecast.figures.canvas import png
from basecast.figures.signal_evaluation import distribution, scatter, stretch

RNG = np.random.default_rng(0)


def test_a_stretch_has_a_row_for_each_series_on_the_tracks_scale() -> None:
    measured = np.array([0.0, np.nan, 4.0, 1.0])
    tracks = {
        "a": {"measured": measured, "one": measured / 2, "two": measured * 2},
        "b": {"measured": np.zeros(4), "one": np.zeros(4), "two": np.zeros(4)},
    }
    figure = stretch(tracks, "chrII", 1000, 128)
    assert len(figure.axes) == 6
    for ax in figure.axes:
        assert ax.get_xlim() == (1000, 1000 + 4 * 128)
    assert {ax.get_ylim() for ax in figure.axes[:3]} == {(0, 8 * 1.3)}
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["a, measured", "one", "two", "b, measured", "one", "two"]
    assert figure.axes[-1].get_xlabel().startswith("chrII")
    assert png(figure) == png(stretch(tracks, "chrII", 1000, 128))


def test_a_scatter_has_a_panel_for_each_track() -> None:
    one = RNG.gamma(1, 1, 500)
    figure = scatter({f"t{i}": (one, one * 0.5, 0.5 + i / 10) for i in range(4)})
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == [f"t{i}\nr = 0.{5 + i}00" for i in range(4)]
    assert all(ax.get_xlim() == ax.get_ylim() for ax in shown)
    assert png(scatter({"silent": (np.zeros(9), np.zeros(9), float("nan"))}))


def test_a_distribution_leaves_out_what_is_no_number() -> None:
    models = {"one": {"CAGE": [0.5, 0.6, float("nan")], "DNASE": [float("nan")]}, "two": {"CAGE": [0.4]}}
    figure = distribution(models, "r")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CAGE\n(3)", "DNASE\n(1)"]
    assert sum(len(points.get_offsets()) for points in ax.collections if hasattr(points, "get_sizes")) == 3
    assert len(figure.legends) == 1
    assert png(distribution({"one": {"": [0.1]}}, "r"))
