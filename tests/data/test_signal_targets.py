from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tracks import write_table

from basecast.data.signal_targets import PRESETS, Assay, read_targets, signal_output, write_resolved
from basecast.errors import InputError
from basecast.spec.model import TargetTransform


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a few files that are there; what is in them is not read with the table."""
    (tmp_path / "bw").mkdir()
    for name in ("a", "b_plus", "b_minus"):
        (tmp_path / "bw" / f"{name}.bw").write_bytes(b"")
    return tmp_path


def table(folder: Path, *rows: dict[str, object]) -> Path:
    return write_table(folder / "targets.tsv", rows)


def test_identifier_and_file_are_enough(folder: Path) -> None:
    (target,) = read_targets(table(folder, {"identifier": "x", "file": "bw/a.bw"}))
    assert target.path == folder / "bw" / "a.bw"  # from the table, not from where we are
    assert (target.pair, target.transform) == (0, TargetTransform())


def test_every_column_of_basenji(folder: Path) -> None:
    (target,) = read_targets(
        table(
            folder,
            {
                "": 0,
                "identifier": "x",
                "file": "bw/a.bw",
                "clip": 384,
                "clip_soft": 64,
                "scale": 0.3,
                "sum_stat": "sum_sqrt",
                "strand_pair": 0,
                "description": "RNA:liver: adult",
            },
        ),
        scaled_last=True,
    )
    assert target.transform == TargetTransform(clip=384, soft_clip=64, scale=0.3, power=0.5, scaled_last=True)
    (track,) = signal_output([target], 32).tracks
    assert (track.name, track.assay, track.biosample, track.strand) == ("x", "RNA", "liver: adult", ".")


@pytest.mark.parametrize(
    ("said", "statistic", "power"),
    [("sum", "sum", 1), ("avg", "mean", 1), ("median", "median", 1), ("max", "max", 1), ("sum_exp75", "sum", 0.75)],
)
def test_statistics(folder: Path, said: str, statistic: str, power: float) -> None:
    (target,) = read_targets(table(folder, {"identifier": "x", "file": "bw/a.bw", "sum_stat": said}))
    assert (target.transform.statistic, target.transform.power) == (statistic, power)


def test_an_assay_gives_what_the_table_leaves_open(folder: Path) -> None:
    path = table(folder, {"identifier": "x", "file": "bw/a.bw", "clip": 100, "sum_stat": ""})
    (target,) = read_targets(path, assay="dnase")
    assert target.transform == TargetTransform(statistic="mean", clip=100, soft_clip=32, scale=2)
    assert signal_output([target], 1, "dnase").tracks[0].assay == "DNASE"
    assert set(PRESETS) == {"cage", "rna", "dnase", "atac", "chip", "histone"}


@pytest.mark.parametrize(
    "pairs",
    [("b-", "b+"), ("8", "7")],
    ids=["by identifier", "by index"],
)
def test_strands_are_paired(folder: Path, pairs: tuple[str, str]) -> None:
    """An index need not count from 0: the rows of a table that was cut out of a larger one keep theirs."""
    rows = [
        {"": 7 + i, "identifier": name, "file": f"bw/b_{sign}.bw", "strand_pair": pair}
        for i, (name, sign, pair) in enumerate(zip(("b+", "b-"), ("plus", "minus"), pairs, strict=True))
    ]
    targets = read_targets(table(folder, *rows, {"": 9, "identifier": "x", "file": "bw/a.bw", "strand_pair": ""}))
    assert [target.pair for target in targets] == [1, 0, 2]
    output = signal_output(targets, 32)
    assert output.reverse_complement.permutation == (1, 0, 2)
    assert [track.strand for track in output.tracks] == ["+", "-", "."]


def test_rows_without_an_index_count_from_zero(folder: Path) -> None:
    rows = [{"identifier": n, "file": f"bw/b_{n}.bw", "strand_pair": p} for n, p in (("plus", 1), ("minus", 0))]
    targets = read_targets(table(folder, *rows))
    assert [target.pair for target in targets] == [1, 0]
    assert [track.strand for track in signal_output(targets, 1).tracks] == ["+", "-"]  # as the files say


def test_unpaired_tracks_have_no_permutation(folder: Path) -> None:
    targets = read_targets(table(folder, {"identifier": "x", "file": "bw/a.bw"}))
    assert signal_output(targets, 1).reverse_complement.permutation == ()


@pytest.mark.parametrize("assay", [None, "cage"])
def test_what_is_resolved_is_read_again(assay: Assay | None, folder: Path, tmp_path: Path) -> None:
    rows = [
        {"identifier": n, "file": f"bw/b_{n}.bw", "strand_pair": p, "description": 'RNA:"5\'" end'}
        for n, p in (("plus", 1), ("minus", 0))
    ]
    first = read_targets(table(folder, *rows), assay=assay)
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "targets.resolved.tsv"
    write_resolved(first, path)
    again = read_targets(path)
    assert [(t.path, t.pair, t.transform) for t in again] == [(t.path, t.pair, t.transform) for t in first]
    assert [t.row for t in again] == [t.row | {"index": str(i), "file": str(t.path)} for i, t in enumerate(first)]
    assert pl.read_csv(path, separator="\t", quote_char=None)["clip"].to_list() == ([384, 384] if assay else [None] * 2)


def test_a_track_may_be_called_na(folder: Path) -> None:
    (target,) = read_targets(table(folder, {"identifier": "NA", "file": "bw/a.bw", "clip": "NA"}))
    assert (target.identifier, target.transform.clip) == ("NA", None)


GOOD = {"identifier": "x", "file": "bw/a.bw"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"identifier": "x"}], r"lack the column file: begin with a header line such as identifier, file, clip"),
        ([GOOD, {"identifier": "y", "file": "bw/gone.bw"}], r"line 3 of .*: there is no file .*bw/gone\.bw"),
        ([GOOD, GOOD], r"line 3 of .* repeats the identifier 'x' of line 2"),
        ([GOOD, {"identifier": "y", "file": ""}], r"line 3 of .* lacks an identifier or a file"),
        ([GOOD | {"sum_stat": "peak"}], r"line 2 of .*: sum_stat 'peak' is not known here: give one of sum, mean"),
        ([GOOD | {"clip": "many"}], r"line 2 of .*: clip 'many' is no number above 0"),
        ([GOOD | {"scale": "-2"}], r"line 2 of .*: scale '-2' is no number above 0"),
        ([GOOD | {"clip_soft": "inf"}], r"line 2 of .*: clip_soft 'inf' is no number above 0"),
        ([GOOD | {"strand_pair": "4"}], r"line 2 of .*: the strand pair '4' is neither the number of a row nor an"),
        (
            [
                {"identifier": "a", "file": "bw/a.bw", "strand_pair": "b"},
                {"identifier": "b", "file": "bw/a.bw", "strand_pair": "c"},
                {"identifier": "c", "file": "bw/a.bw", "strand_pair": "b"},
            ],
            r"line 2 of .*: the strand pair of a is b \(line 3\), whose strand pair is c: two strands name each other",
        ),
    ],
    ids=lambda value: value[2:22] if isinstance(value, str) else "",
)
def test_a_table_with_an_error_is_told_with_its_line(folder: Path, rows: list[dict[str, object]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_targets(table(folder, *rows))


@pytest.mark.parametrize("content", ["", "identifier\tfile\n", "identifier\tfile\nx\tbw/a.bw\tmore\n"])
def test_tables_that_are_none(folder: Path, content: str) -> None:
    path = folder / "targets.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"targets\.tsv"):
        read_targets(path)


def test_files_elsewhere_are_no_error_where_they_are_not_read(folder: Path) -> None:
    (target,) = read_targets(table(folder, {"identifier": "x", "file": "/far/away.w5"}), files_exist=False)
    assert target.path == Path("/far/away.w5")
