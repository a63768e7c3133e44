from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracks import write_genome

from basecast.data import signal_regions
from basecast.data.signal_regions import (
    Cover,
    Piece,
    drawn,
    folded,
    kept_apart,
    mappable,
    pieces_of,
    split_table,
    stretches_of,
)
from basecast.errors import InputError
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome

WINDOW, BIN = 256, 32


def stretches(genome: Genome, left_out: Counter[str], **gaps: list[tuple[int, int]]) -> list[Interval]:
    return stretches_of(genome, list(genome.lengths), gaps, window=WINDOW, resolution=BIN, left_out=left_out)


def test_contigs_end_at_gaps_and_on_bins(tmp_path: Path) -> None:
    genome = Genome(write_genome(tmp_path / "g.fa", {"a": 5000, "b": 1000, "c": 200}, gaps=[("a", 2000, 3100)]))
    left_out: Counter[str] = Counter()
    assert stretches(genome, left_out, b=[(300, 333), (500, 510)]) == [
        Interval("a", 0, 1984),
        Interval("a", 3104, 4992),
        Interval("b", 0, 288),
        Interval("b", 512, 992),
    ]
    assert left_out == {
        "contigs shorter than a window": 1,
        "stretches between gaps that are shorter than a window": 1,
    }


def test_runs_of_n_are_found_across_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_regions, "_READ", 700)
    gaps = [("a", 600, 1700), ("a", 2000, 2900)]  # the second is too short to be a gap
    genome = Genome(write_genome(tmp_path / "g.fa", {"a": 5000}, gaps=gaps))
    assert stretches(genome, Counter()) == [Interval("a", 0, 576), Interval("a", 1728, 4992)]


def test_no_contig_is_long_enough(tmp_path: Path) -> None:
    genome = Genome(write_genome(tmp_path / "g.fa", {"a": 255, "b": 20}))
    with pytest.raises(InputError, match=r"as long as a window of 256 bases \(its longest contig has 255\): give a sh"):
        stretches(genome, Counter())


def test_pieces_are_whole_windows_and_leave_nothing_out() -> None:
    pieces = pieces_of([Interval("a", 32, 5024), Interval("b", 0, 256)], 1100, WINDOW)
    assert [piece.end - piece.start for piece in pieces] == [1024, 1024, 1024, 1024, 896, 256]
    assert all(one.end == other.start for one, other in itertools.pairwise(pieces[:5]))
    assert pieces_of([Interval("a", 0, 1056)], 100, WINDOW)[-1] == Interval("a", 768, 1056)  # no rest below a window


@given(st.data())
def test_bases_of_stretches_in_windows(data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=60)))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int))).reshape(-1, 2)
    at = st.integers(0, len(mask))
    starts, ends = np.array(data.draw(st.lists(st.tuples(at, at).map(sorted), min_size=1, max_size=9))).T
    expected = [mask[a:b].sum() for a, b in zip(starts, ends, strict=True)]
    assert Cover((int(a), int(b)) for a, b in edges).bases(starts, ends).tolist() == expected


def shares_of(pieces: list[Interval], splits: np.ndarray) -> list[float]:
    lengths = np.array([piece.end - piece.start for piece in pieces])
    return (np.bincount(splits, weights=lengths, minlength=3) / lengths.sum()).tolist()


def test_pieces_are_drawn_by_their_bases() -> None:
    pieces = pieces_of([Interval("a", 0, 100_000), Interval("b", 0, 300_000)], 2000, WINDOW)
    found = drawn(pieces, {}, (0.7, 0.2, 0.1), 1)
    assert shares_of(pieces, found) == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert (
        drawn(pieces, {}, (0.7, 0.2, 0.1), 1).tolist()
        == found.tolist()
        != drawn(pieces, {}, (0.7, 0.2, 0.1), 2).tolist()
    )


def test_named_contigs_are_not_drawn_for() -> None:
    pieces = pieces_of([Interval(name, 0, 100_000) for name in "abc"], 2000, WINDOW)
    found = drawn(pieces, {"b": 2}, (0.8, 0.1, 0.1), 1)
    assert {split for piece, split in zip(pieces, found.tolist(), strict=True) if piece.contig == "b"} == {2}
    rest = [i for i, piece in enumerate(pieces) if piece.contig != "b"]
    assert shares_of([pieces[i] for i in rest], found[rest]) == pytest.approx([0.9, 0.1, 0], abs=0.02)
    assert (drawn(pieces, {"b": 2, "c": 1}, (0.8, 0.1, 0.1), 1).reshape(3, -1) == [[0], [2], [1]]).all()


def test_folds_are_alike_in_size() -> None:
    pieces = pieces_of([Interval("a", 0, 300_000)], 2000, WINDOW)
    sizes = np.bincount(folded(pieces, 4, 0), weights=[piece.end - piece.start for piece in pieces])
    assert sizes / sizes.sum() == pytest.approx([0.25] * 4, abs=0.01)


@settings(max_examples=200)
@given(
    splits=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    piece=st.sampled_from([256, 512, 1500]),
    flank=st.sampled_from([0, 100, 256, 1000, 5000]),
    folds=st.booleans(),
)
def test_nothing_that_is_held_out_is_seen_from_another_split(
    splits: list[int], piece: int, flank: int, folds: bool
) -> None:
    """Base by base: what a record and its flanks show is no base with a target of another split, or fold."""
    cut = pieces_of([Interval("a", 0, 256 * len(splits))], piece, WINDOW)
    pieces = [
        Piece(*interval, 0 if folds else split, split if folds else -1)
        for interval, split in zip(cut, splits, strict=False)
    ]
    left_out: Counter[str] = Counter()
    kept = kept_apart(pieces, flank, window=WINDOW, resolution=BIN, left_out=left_out)
    size = 256 * len(splits)
    has_target = np.full(size, -1)
    for one in kept:
        assert one.start % BIN == one.end % BIN == 0
        assert one.end - one.start >= WINDOW
        assert (has_target[one.start : one.end] == -1).all()
        has_target[one.start : one.end] = one.fold if folds else one.split
    for one in kept:
        seen = has_target[max(one.start - flank, 0) : one.end + flank]
        assert set(seen.tolist()) <= {-1, one.fold if folds else one.split}
    if len({(p.split, p.fold) for p in pieces}) == 1 or not flank:
        assert kept == pieces
    lost = sum(p.end - p.start for p in pieces) - sum(p.end - p.start for p in kept)
    assert left_out["bases kept apart from another split"] <= lost


def test_windows_that_are_unmappable_are_left_out() -> None:
    piece = Piece("a", 0, 256 * 6 + 32, 0)
    unmappable = {"a": [(256, 256 + 140), (1024, 1024 + 128), (1280, 1290)]}
    left_out: Counter[str] = Counter()
    found = mappable([piece], unmappable, 0.5, window=WINDOW, left_out=left_out)
    assert found == [Piece("a", 0, 256, 0), Piece("a", 512, 256 * 6 + 32, 0)]
    assert left_out == {"windows that are unmappable": 1}


def test_the_table_of_pieces() -> None:
    table = split_table([Piece("a", 0, 64, 2), Piece("b", 32, 96, 0, 3)])
    assert table.rows() == [("a", 0, 64, "test", None), ("b", 32, 96, "train", "fold3")]
