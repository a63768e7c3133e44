"""What changes between two windows, and which positions of every tensor are needed and altered."""

from __future__ import annotations

import numpy as np
from altering import CONFIGS, network_of, program_for
from hypothesis import given, settings
from hypothesis import strategies as st

from basecast.genome.sequence import Tokens
from basecast.inference.windows import Change, Windows, altered, change_between, computed, needed

FEW = settings(max_examples=80, deadline=None)
PROGRAM = program_for(network_of(CONFIGS["tiny"]))
few_tokens = st.lists(st.integers(0, 1), max_size=9).map(lambda values: np.array(values, np.uint8))


@given(few_tokens, few_tokens)
@FEW
def test_the_change_between_windows_makes_one_of_the_other(ref: Tokens, alt: Tokens) -> None:
    change = change_between(ref, alt)
    gained = alt[change.start : change.start + change.gained]
    made = np.concatenate([ref[: change.start], gained, ref[change.start + change.lost :]])
    np.testing.assert_array_equal(made, alt)
    assert change.length == alt.size
    lost = ref[change.start : change.start + change.lost]
    assert min(change.lost, change.gained) == 0 or (lost[0] != gained[0] and lost[-1] != gained[-1])
    assert change.is_inside == (change.start + change.gained > 0 and change.start < alt.size)


def test_altered_windows_hold_the_bases_that_differ() -> None:
    alts = [np.array([0, 3, 3, 1], np.uint8), np.array([2, 2], np.uint8)]
    windows = Windows.altered(alts, [Change(1, 0, 2, 4), Change(2, 3, 0, 2)], [0, 0], [5, 7])
    assert [x.tolist() for x in windows.tokens] == [[3, 3], []]
    assert windows.lengths.tolist() == [4, 2]
    assert windows.starts.tolist() == [1, 2]
    assert windows.offsets.tolist() == [5, 7]
    assert windows.growths.tolist() == [2, -3]


def test_what_is_needed_shrinks_to_the_outputs_layer_by_layer() -> None:
    """Units of widths 5 and 7, dilations 1 and 3: reaches 2 + 2 and 9 + 9 at each side, 44 bases in all."""
    lengths = np.array([50, 60])
    spans = [(low.tolist(), high.tolist()) for low, high in needed(PROGRAM, lengths)]
    assert spans[0] == ([0, 0], [50, 60])
    assert spans[-1] == ([22, 22], [28, 38])
    assert ([4, 4], [46, 56]) in spans
    assert needed(PROGRAM, lengths, is_padded=True)[-1][1].tolist() == [50, 60]
    more = needed(PROGRAM, lengths, margin=3)
    assert [x.tolist() for x in more[0]] == [[0, 0], [50, 60]], "no more than there are"
    for (low, high), (first, last), lost in zip(needed(PROGRAM, lengths), more, PROGRAM.least_lost, strict=True):
        assert first.tolist() == [max(low[0] - 3, lost)] * 2
        assert last.tolist() == [min(at + 3, length - lost) for at, length in zip(high, lengths, strict=True)]


def test_what_a_change_alters_grows_layer_by_layer() -> None:
    alt = np.zeros(70, np.uint8)
    windows = Windows.altered([alt, alt], [Change(30, 1, 1, 70), Change(35, 4, 0, 70)], [0, 0], [0, 0])
    spans = [(low.tolist(), high.tolist()) for low, high in altered(PROGRAM, windows)]
    assert spans[0] == ([30, 35], [31, 35])
    assert ([26, 31], [35, 39]) in spans
    assert spans[-1] == ([8, 13], [53, 57])


@given(st.integers(45, 90), st.integers(0, 89), st.integers(0, 60))
@FEW
def test_what_is_computed_is_altered_and_needed(length: int, start: int, gained: int) -> None:
    gained, start = min(gained, length), min(start, length - min(gained, length))
    windows = Windows.altered([np.zeros(length, np.uint8)], [Change(start, 1, gained, length)], [0], [0])
    spans = [needed(PROGRAM, windows.lengths), altered(PROGRAM, windows), computed(PROGRAM, windows)]
    for (low, high), (first, last), (begin, end) in zip(*spans, strict=True):
        both = set(range(int(low[0]), int(high[0]))) & set(range(int(first[0]), int(last[0])))
        assert set(range(int(begin[0]), int(end[0]))) == both
        assert low[0] <= begin[0] <= end[0] <= high[0]
