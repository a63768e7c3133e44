"""The page of a coverage run: a panel for each thing that was done."""

from __future__ import annotations

import numpy as np
import pytest

from basecast.figures.canvas import png
from basecast.figures.coverage import GC, Division, Fragments, page

PLACES = {1: 800.0, 2: 100.0, 3: 50.0, 40: 50.0}


def gc() -> GC:
    share = np.array([0.3, 0.4, 0.5])
    fitted = np.array([0.5, 1.0, 2.0])
    return GC(share, fitted * 1.1, fitted, np.array([1.1, 1.1, 1.1]), np.array([10.0, 100.0, 10.0]))


def test_what_was_not_done_has_no_panel() -> None:
    assert [ax.get_title() for ax in page("a.bam", places=PLACES, most_places=10).axes] == ["15 % multi-reads"]
    whole = page(
        "a.bam",
        places=PLACES,
        most_places=10,
        fragments=Fragments(np.arange(50, 501), np.ones(451), 180),
        gc=gc(),
        division=Division(np.array([0, 5, 5, 0]), np.array([0, 1, 2, 7])),
        changes=[0.3, 0.1, 0.02],
    )
    titles = [ax.get_title() for ax in whole.axes]
    assert titles == [
        "15 % multi-reads",
        "How they were divided",
        "Convergence",
        "Fragments: 180 bases",
        "GC of the background",
    ]
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in whole.axes)
    assert png(whole).startswith(b"\x89PNG")


def test_bars_are_shares_of_all_reads_and_what_was_left_out_is_said() -> None:
    ax = page("a.bam", places=PLACES, most_places=10).axes[0]
    heights = {round(p.get_x() + p.get_width() / 2): p.get_height() for p in ax.patches}  # type: ignore[attr-defined]
    assert {n: h for n, h in heights.items() if h} == pytest.approx({1: 0.8, 2: 0.1, 3: 0.05, 11: 0.05})
    assert [text.get_text() for text in ax.texts] == ["5 % left out"]


def test_divisions_are_shares_of_their_own_reads() -> None:
    figure = page("a.bam", places=PLACES, most_places=10, division=Division(np.array([0, 4, 4]), np.array([0, 3, 6])))
    after, before = (patch.get_data().values for patch in figure.axes[1].patches)  # type: ignore[attr-defined]
    np.testing.assert_allclose(after, [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(before, [0, 0.5, 0.5])


def test_gc_is_drawn_over_the_level_of_what_was_corrected() -> None:
    ax = page("a.bam", places=PLACES, most_places=10, gc=gc()).axes[1]
    before, after = (np.asarray(dots.get_offsets())[:, 1] for dots in ax.collections)
    np.testing.assert_allclose(before, [0.5, 1, 2])
    np.testing.assert_allclose(after, 1)


@pytest.mark.parametrize("places", [{}, {1: 10.0}, {2: 3.0}], ids=["none", "unique", "multi"])
def test_a_run_with_little_has_a_page_too(places: dict[int, float]) -> None:
    figure = page("a.bam", places=places, most_places=1, changes=[0.0], division=Division(*np.zeros((2, 5), int)))
    assert png(figure).startswith(b"\x89PNG")
