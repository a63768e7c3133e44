from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import annotation, gene

from basecast.effects.alleles import Edit, align
from basecast.effects.splicing import Delta, delta_scores, spliceai_delta_scores
from basecast.genome.sequence import encode

FEW = settings(max_examples=80, deadline=None)
# coarse, so that deltas tie; 0.30004 is 0.3 after rounding, 0.30006 is not
levels = st.sampled_from([0.0, 0.1, 0.3, 0.30004, 0.30006, 0.7, 0.99996, 1.0])


@st.composite
def scored(draw: st.DrawFn) -> tuple[Edit, int, np.ndarray, np.ndarray]:
    before, lost, gained, after = (draw(st.integers(0, 4)) for _ in range(4))
    start = draw(st.integers(0, 30))

    def values(n: int) -> np.ndarray:
        return np.array(draw(st.lists(st.tuples(levels, levels, levels), min_size=n, max_size=n))).reshape(n, 3)

    edit = Edit(start + before, start + before + lost, encode("A" * gained))
    return edit, start, values(before + lost + after + 1), values(before + gained + after + 1)


@given(scored(), st.booleans(), st.sampled_from("+-"), st.integers(0, 40))
@FEW
def test_delta_scores_as_their_words_say(
    case: tuple[Edit, int, np.ndarray, np.ndarray], masked: bool, strand: str, origin: int
) -> None:
    edit, start, ref, alt = case
    aligned = align(edit, start, ref, alt)
    transcript = annotation(gene("G", [(0, start + 2), (start + 3, start + 5), (start + 7, 90)], strand)).transcripts[0]
    ends, starts = {start + 1, start + 4}, {start + 3, start + 7}
    donors, acceptors = (ends, starts) if strand == "+" else (starts, ends)
    found = delta_scores(aligned, edit, origin, transcript if masked else None)
    for event in range(4):
        track, is_gain, sites = (1, 2)[event // 2], event % 2 == 0, (acceptors, donors)[event // 2]
        ranked = []
        for row, (position, offset) in enumerate(zip(aligned.position.tolist(), aligned.offset.tolist(), strict=True)):
            delta = (aligned.alt[row, track] - aligned.ref[row, track]) * (1 if is_gain else -1)
            delta = max(round(float(delta), 4), 0)
            if masked and (offset == 0 and position in sites) == is_gain:
                delta = 0
            away = max(edit.start - position, position - edit.end + 1, 0)
            ranked.append((-delta, away, position, offset, row))
        score, _, position, offset, row = min(ranked)
        assert found.score[event] == -score
        assert (found.position[event] + origin, found.offset[event]) == (position, offset)
        assert (found.ref[event], found.alt[event]) == (aligned.ref[row, track], aligned.alt[row, track])
    assert all(not f"{score:.2f}".startswith("-") for score in found.score)


@pytest.mark.parametrize("n", range(1, 70))
def test_no_effect_is_nought_and_never_minus_nought(n: int) -> None:
    ref = np.full((n, 3), 0.5)
    alt = ref - 1e-6  # rounds to -0.0
    found = delta_scores(align(Edit(5, 6, encode("A")), 5, ref, alt), Edit(5, 6, encode("A")), 5, None)
    assert [f"{score:.2f}" for score in found.score] == ["0.00"] * 4
    assert found.position == (0, 0, 0, 0)


def snv(changes: dict[tuple[int, int], float], strand: str = "+", masked: bool = True) -> Delta:
    """An SNV at 20 that moves (position, track) from 0.5; exons [0, 10), [15, 25), [30, 40) have donors 9 and 24 and
    acceptors 15 and 30 on the plus strand."""
    ref = np.full((41, 3), 0.5)
    alt = ref.copy()
    for (position, track), by in changes.items():
        alt[position, track] += by
    transcript = annotation(gene("G", [(0, 10), (15, 25), (30, 40)], strand)).transcripts[0]
    edit = Edit(20, 21, encode("A"))
    return delta_scores(align(edit, 0, ref, alt), edit, 20, transcript if masked else None)


ACCEPTOR, DONOR = 1, 2


@pytest.mark.parametrize(
    ("position", "track", "strand", "is_hidden"),
    [
        (15, ACCEPTOR, "+", True),
        (15, DONOR, "+", False),  # a donor gained where the acceptor is: another type
        (24, DONOR, "+", True),
        (24, ACCEPTOR, "+", False),
        (15, ACCEPTOR, "-", False),
        (15, DONOR, "-", True),
        (24, ACCEPTOR, "-", True),
        (0, ACCEPTOR, "+", False),  # the transcript's ends are no sites
        (39, DONOR, "+", False),
        (16, ACCEPTOR, "+", False),
    ],
)
def test_the_mask_hides_gains_at_sites_of_the_type_and_losses_elsewhere(
    position: int, track: int, strand: str, is_hidden: bool
) -> None:
    gain, loss = (0, 1) if track == ACCEPTOR else (2, 3)
    assert snv({(position, track): 0.3}, strand, masked=False).score[gain] == 0.3
    assert snv({(position, track): 0.3}, strand).score[gain] == (0 if is_hidden else 0.3)
    assert snv({(position, track): -0.3}, strand).score[loss] == (0.3 if is_hidden else 0)


def test_the_mask_comes_before_the_maximum() -> None:
    """A smaller change that counts is not hidden by a larger one that does not."""
    found = snv({(15, ACCEPTOR): 0.4, (18, ACCEPTOR): 0.3, (24, DONOR): -0.2, (21, DONOR): -0.5})
    assert found.score == (0.3, 0, 0, 0.2)
    assert (found.position[0], found.position[3]) == (-2, 4)
    raw = snv({(15, ACCEPTOR): 0.4, (18, ACCEPTOR): 0.3, (24, DONOR): -0.2, (21, DONOR): -0.5}, masked=False)
    assert raw.score == (0.4, 0, 0, 0.5)


def test_ties_go_to_the_nearest_and_then_to_the_smaller_coordinate() -> None:
    assert snv({(17, DONOR): 0.30004, (24, DONOR): 0.3, (22, DONOR): 0.29996}, masked=False).position[2] == 2
    assert snv({(22, DONOR): 0.3, (18, DONOR): 0.3}, masked=False).position[2] == -2
    assert snv({(17, DONOR): 0.3002, (22, DONOR): 0.3}, masked=False).position[2] == -3


def test_a_lost_annotated_site_is_a_loss_even_if_it_is_deleted() -> None:
    ref = np.zeros((41, 3))
    ref[24, DONOR] = 0.9
    edit = Edit(23, 27, encode(""))
    transcript = annotation(gene("G", [(0, 10), (15, 25), (30, 40)])).transcripts[0]
    found = delta_scores(align(edit, 0, ref, np.zeros((37, 3))), edit, 22, transcript)
    assert (found.score[3], found.position[3], found.ref[3], found.alt[3]) == (0.9, 2, 0.9, 0.0)


def test_consequences_are_the_events_that_reach_the_threshold() -> None:
    def delta(*scores: float) -> Delta:
        return Delta(scores, (0,) * 4, (0,) * 4, (0.0,) * 4, (0.0,) * 4)  # type: ignore[arg-type]

    assert delta(0.2, 0.1999, 1, 0).consequences() == ("acceptor_gain", "donor_gain")
    assert delta(0, 0.3, 0, 0.9).consequences(0.5) == ("donor_loss",)
    assert delta(0.2, 0.2, 0.2, 0.2).consequences() == ("acceptor_gain", "acceptor_loss", "donor_gain", "donor_loss")


def column(*values: float) -> np.ndarray:
    """One track's values as those of an acceptor, in fp32."""
    array = np.zeros((len(values), 3), np.float32)
    array[:, ACCEPTOR] = values
    return array


def test_their_deletion_puts_noughts_after_the_anchor() -> None:
    found = spliceai_delta_scores(column(0.5, 0.5, 0.5, 0.25, 0.5), column(0.5, 0.75, 0.5, 0.5), 2, 1, None)
    assert (found.score[:2], found.position[:2]) == ((0.25, 0.25), (-1, 1))


def test_their_deletion_longer_than_the_distance_is_misplaced_as_published() -> None:
    """Of 5 rows 2 are left, fewer than come before the lost ones: those two stand at the left end."""
    found = spliceai_delta_scores(column(0, 0, 0, 0, 0.5), column(0.25, 0.75), 4, 1, None)
    assert (found.score[:2], found.position[:2]) == ((0.75, 0.5), (-1, 2))


def test_their_deletion_is_compared_in_double_precision() -> None:
    """Two gains that fp32 cannot tell apart: the larger is the second, not the first of equal ones."""
    ref, alt = column(0.1, 0.5, 0.1, 0.5, 0.5), column(0.9, 0.5, 0.9, 0.5)
    ref[2] = np.nextafter(ref[2], np.float32(0))
    assert alt[0, ACCEPTOR] - ref[0, ACCEPTOR] == alt[2, ACCEPTOR] - ref[2, ACCEPTOR]
    assert spliceai_delta_scores(ref, alt, 2, 1, None).position[0] == 0


def test_their_insertion_is_the_maximum_over_anchor_and_inserted_bases() -> None:
    found = spliceai_delta_scores(column(0, 0.25, 0), column(0.5, 0.125, 0.0, 0.75, 0.25), 1, 3, None)
    assert (found.score[0], found.position[0], found.alt[0]) == (0.5, -1, 0.5)
    found = spliceai_delta_scores(column(0, 0.125, 0), column(0.5, 0.125, 0.0, 0.75, 0.25), 1, 3, None)
    assert (found.score[0], found.position[0], found.ref[0]) == (0.625, 0, 0.125)


def test_their_mask_comes_after_the_place_is_chosen_and_ignores_types() -> None:
    ref, alt = column(0.5, 0.5, 0.5), column(0.25, 0.5, 1.0)
    assert spliceai_delta_scores(ref, alt, 1, 1, None).score[:2] == (0.5, 0.25)
    at_gain = spliceai_delta_scores(ref, alt, 1, 1, 1)
    assert (at_gain.score[:2], at_gain.position[:2]) == ((0, 0), (1, -1))
    at_loss = spliceai_delta_scores(ref, alt, 1, 1, -1)
    assert at_loss.score[:2] == (0.5, 0.25)


def test_their_score_can_be_minus_nought() -> None:
    """All deltas are negative: the largest, hidden by the mask, is multiplied by zero."""
    found = spliceai_delta_scores(column(0.5, 0.5, 0.5), column(0.25, 0.375, 0.25), 1, 1, 0)
    assert f"{found.score[0]:.2f}" == "-0.00"
    assert spliceai_delta_scores(column(0.5, 0.5, 0.5), column(0.25, 0.375, 0.25), 1, 1, None).score[0] == -0.125
