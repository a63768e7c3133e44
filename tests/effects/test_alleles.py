from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basecast.effects.alleles import Edit, align, distance_to, placements, smallest_edit
from basecast.genome.sequence import decode, encode
from basecast.genome.source import Text

FEW = settings(max_examples=80, deadline=None)
UNITS = ("A", "C", "AC", "ACG", "AACA", "N", "AN", "G")
repeats = st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 6)), min_size=1, max_size=5).map(
    lambda parts: "".join(unit * times for unit, times in parts)
)


def on(letters: str) -> Text:
    return Text(letters, "c")


def made(letters: str, edit: Edit) -> str:
    """The whole contig with the edit made."""
    return decode(edit.on(on(letters), "c").tokens("c", 0, len(letters) + edit.growth))


def altered(letters: str, start: int, end: int, inserted: str) -> str:
    return letters[:start] + inserted + letters[end:]


@given(repeats, st.data())
@FEW
def test_the_smallest_edit_makes_alt_and_has_nothing_in_common_at_its_ends(letters: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(letters) - 1))
    ref = letters[start : data.draw(st.integers(start + 1, len(letters)))]
    alt = data.draw(st.text("ACGT", min_size=1, max_size=12) | st.sampled_from([ref[0], ref + ref, ref[1:] or "T"]))
    swapped = data.draw(st.booleans())
    edit = smallest_edit(start, ref.lower() if swapped else ref, alt if swapped else alt.lower())
    assert made(letters, edit) == altered(letters, start, start + len(ref), alt)
    assert start <= edit.start <= edit.end <= start + len(ref)
    lost, gained = letters[edit.start : edit.end], decode(edit.inserted)
    assert not (lost and gained) or (lost[0] != gained[0] and lost[-1] != gained[-1])
    assert edit.growth == len(alt) - len(ref)


@pytest.mark.parametrize(
    ("ref", "alt", "start", "end", "inserted"),
    [
        ("A", "G", 10, 11, "G"),
        ("ACG", "ATG", 11, 12, "T"),
        ("AAAA", "AA", 10, 12, ""),  # the end goes first: the leftmost of equal deletions
        ("AT", "ATATAT", 10, 10, "ATAT"),
        ("TTA", "A", 10, 12, ""),  # anchored at its right, as at a contig's start
        ("ACGT", "TCGA", 10, 14, "TCGA"),
        ("CAA", "TA", 10, 12, "T"),
        ("CTT", "CGT", 11, 12, "G"),
    ],
)
def test_smallest_edits_by_hand(ref: str, alt: str, start: int, end: int, inserted: str) -> None:
    edit = smallest_edit(10, ref, alt)
    assert (edit.start, edit.end, decode(edit.inserted)) == (start, end, inserted)


def lettered(letters: str) -> str:
    """N is a base that nobody knows, equal to no other N: each becomes a letter of its own."""
    return "".join(chr(0x1000 + i) if letter == "N" else letter for i, letter in enumerate(letters))


def equal_starts(letters: str, edit: Edit) -> list[int]:
    """Every place where a deletion or an insertion of that size makes the same sequence, by trying them all."""
    apart, inserted, lost = lettered(letters), decode(edit.inserted), edit.end - edit.start
    after = altered(apart, edit.start, edit.end, inserted)
    if lost:
        return [p for p in range(len(apart) - lost + 1) if altered(apart, p, p + lost, "") == after]
    n = len(inserted)
    return [p for p in range(len(apart) + 1) if after[:p] + after[p + n :] == apart]


@st.composite
def indels(draw: st.DrawFn) -> tuple[str, Edit]:
    """A contig rich in repeats and a deletion or an insertion that often is a unit of one; at the ends too."""
    letters = draw(repeats)
    start = draw(st.integers(0, len(letters)))
    if draw(st.booleans()) and start < len(letters):
        return letters, Edit(start, draw(st.integers(start + 1, len(letters))), encode(""))
    copied = letters[start : start + draw(st.integers(1, 6))].replace("N", "")
    return letters, Edit(start, start, encode(copied or draw(st.sampled_from(["A", "AC", "T"]))))


@given(indels())
@FEW
def test_placements_are_all_there_are(case: tuple[str, Edit]) -> None:
    letters, edit = case
    places = placements(on(letters), "c", edit)
    assert list(range(edit.start - places.left, edit.start + places.right + 1)) == equal_starts(letters, edit)
    assert places.span == (edit.start - places.left - 1, edit.end + places.right)


@pytest.mark.parametrize("unit", ["A", "ACG", "GATTACAT"])
@pytest.mark.parametrize("n_bases", [255, 256, 257, 1100, 5000])
@pytest.mark.parametrize("n_units", [1, 3])
def test_placements_in_a_repeat_longer_than_one_look(unit: str, n_bases: int, n_units: int) -> None:
    repeat = (unit * n_bases)[:n_bases]
    letters, low, n = "T" + repeat + "TTCC", 1, n_units * len(unit)
    first = equal_starts(letters, Edit(low, low + n, encode("")))
    for start in {low, low + n_bases // 2, low + n_bases - n}:
        edit = Edit(start, start + n, encode(""))
        places = placements(on(letters), "c", edit)
        assert (start - places.left, start + places.right) == (first[0], first[-1])
    inserted = encode((unit * n_units)[: n_units * len(unit)])
    places = placements(on(letters), "c", Edit(low, low, inserted))
    starts = equal_starts(letters, Edit(low, low, inserted))
    assert (low - places.left, low + places.right) == (starts[0], starts[-1])
    assert places.right >= n_bases - len(unit)


@pytest.mark.parametrize(("ref", "alt"), [("A", "C"), ("AA", "CC"), ("AAA", "C"), ("A", "CCC")])
def test_what_replaces_bases_stays_where_it_is(ref: str, alt: str) -> None:
    places = placements(on("AAAAAAAA"), "c", smallest_edit(3, ref, alt))
    assert (places.left, places.right, places.span) == (0, 0, (3, 3 + len(ref)))


@given(indels(), st.data())
@FEW
def test_the_leftmost_placement_within(case: tuple[str, Edit], data: st.DataObject) -> None:
    """An insertion is within an interval if it follows one of its bases, as VCF anchors it."""
    letters, edit = case
    low = data.draw(st.integers(-2, len(letters)))
    high = data.draw(st.integers(low, len(letters) + 2))
    starts, lost = equal_starts(letters, edit), edit.end - edit.start
    inside = [p for p in starts if (low <= p and p + lost <= high if lost else low < p <= high)]
    chosen = placements(on(letters), "c", edit).leftmost_within(on(letters), "c", low, high)
    assert chosen.start == min(inside or starts)
    assert made(letters, chosen) == made(letters, edit)
    assert (chosen.end - chosen.start, chosen.growth) == (lost, edit.growth)


@given(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, 8), st.integers(0, 8), st.integers(-20, 20), st.integers(0, 3)
)
@FEW
def test_align_pairs_each_base_with_itself(
    lost: int, gained: int, before: int, after: int, start: int, common: int
) -> None:
    """Every base has a number: kept bases meet their own, the rest meets what it replaces, or nothing."""
    n = before + lost + after
    ref = np.arange(1, n + 1.0)[:, None]
    new = 100 + np.arange(gained, dtype=float)[:, None]
    alt = np.concatenate([ref[:before], new, ref[before + lost :]])
    edit = Edit(start + before, start + before + lost, encode("A" * gained))
    found = align(edit, start, ref, alt)
    rows = {
        (p, o): (r, a)
        for p, o, r, a in zip(found.position, found.offset, found.ref[:, 0], found.alt[:, 0], strict=True)
    }
    expected: dict[tuple[int, int], tuple[float, float]] = {}
    for i in range(n):
        inside = i - before
        other = i + 1.0 if not 0 <= inside < lost else 100.0 + inside if inside < gained else 0.0
        expected[start + i, 0] = (i + 1.0, other)
    for k in range(lost, gained):
        expected[start + before + lost - 1, k - lost + 1] = (0.0, 100.0 + k)
    assert rows == expected
    assert len(found.position) == len(expected)

    def nearest(position: int, offset: int) -> int:
        if lost:
            return min(abs(position - base) for base in range(edit.start, edit.end))
        return edit.start - position if position < edit.start else position - edit.start + 1

    assert distance_to(edit, found).tolist() == [
        nearest(*row) for row in zip(found.position, found.offset, strict=True)
    ]
