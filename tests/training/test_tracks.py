"""Some of the tracks, by name: strands stay with each other, and what is misspelt is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecast.errors import InputError, UsageError
from basecast.spec import Output, ReverseComplement, Track
from basecast.spec.splice import splice_output
from basecast.training.tracks import names_in, with_tracks

NAMES = ("a+", "b", "a-", "c-", "c+")
OUTPUT = Output(
    name="signal",
    tracks=tuple(Track(name=name) for name in NAMES),
    resolution=32,
    link="softplus",
    reverse_complement=ReverseComplement(permutation=(2, 1, 0, 4, 3), shift=1),
)


def chosen(tracks: list[str] | None = None, without: tuple[str, ...] = ()) -> tuple[list[str], tuple[int, ...]]:
    (output,) = with_tracks((OUTPUT,), tracks, without)
    assert output.reverse_complement.shift == 1
    return [track.name for track in output.tracks], output.reverse_complement.permutation


def test_all_are_kept_by_default() -> None:
    assert with_tracks((OUTPUT,)) == (OUTPUT,)


def test_some_are_kept_in_the_order_of_the_data_with_their_strands() -> None:
    assert chosen(["c+", "c-", "b"]) == (["b", "c-", "c+"], (0, 2, 1))
    assert chosen(without=("b", "a+", "a-")) == (["c-", "c+"], (1, 0))
    assert chosen(["a+", "a-", "b"], without=("b",)) == (["a+", "a-"], (1, 0))


def test_an_output_without_a_track_is_left_out() -> None:
    other = Output(name="other", tracks=(Track(name="x"), Track(name="y")), link="softplus")
    found = with_tracks((OUTPUT, other), ["y"])
    assert [(output.name, [track.name for track in output.tracks]) for output in found] == [("other", ["y"])]
    assert found[0].reverse_complement.permutation == ()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the data have no track 'd', only a\+, a-, b, c\+, c-"):
        chosen(["d"])
    with pytest.raises(UsageError, match="no track 'd'"):
        chosen(without=("d",))
    with pytest.raises(UsageError, match=r"a\+ is one strand and a- the other: keep both or none"):
        chosen(["a+", "b"])
    with pytest.raises(UsageError, match="no track is left"):
        chosen(["b"], without=("b",))
    with pytest.raises(UsageError, match="are classes, which only go together: leave --tracks out"):
        with_tracks((splice_output(),), ["donor"])


def test_names_are_joined_by_commas_or_stand_in_a_table(tmp_path: Path) -> None:
    assert names_in("a, b,c,") == ["a", "b", "c"]
    assert names_in("") == []
    table = tmp_path / "targets.tsv"
    table.write_text("\tidentifier\tfile\n0\ta+\tx.bw\n1\ta-\ty.bw\n\n")
    assert names_in(str(table)) == ["a+", "a-"]


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    table = tmp_path / "targets.tsv"
    table.write_text("name\nx\n")
    with pytest.raises(InputError, match=r"the first line of .*targets\.tsv names no column 'identifier'"):
        names_in(str(table))
    table.write_text("file\tidentifier\nx.bw\n")
    with pytest.raises(InputError, match=r"line 2 of .*targets\.tsv has 1 columns, and 'identifier' is column 2"):
        names_in(str(table))
    table.write_text("")
    with pytest.raises(InputError, match="names no column"):
        names_in(str(table))
