"""Signal tracks are what the plain networks give: along contigs, in regions, about their middles, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from direct import random_bases, write_fasta, write_model
from signals import (
    Views,
    binned,
    by_windows,
    forward,
    local_bins,
    predict,
    read_bigwig,
    read_h5,
    slice_of,
    table_rows,
    window_bins,
    windowed,
)

from basecast.inference.untransform import untransformed
from basecast.zoo.package import Package

CONTIGS = {
    "b": random_bases(701, seed=1),
    "a": random_bases(60, seed=2),
    "none": "",
    "c": random_bases(150, seed=3) + "N" * 30 + random_bases(77, seed=4),
    "one": "G",
}
ALL = Views("+-", (1, 0, -3))
OPTIONS = ("--rc", "--shifts", "1,0,-3")
TOLERANCE = 2e-6


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signal")
    write_fasta(folder / "genome.fa", CONTIGS)
    write_model(folder / "binned", binned())
    write_model(folder / "windowed", windowed())
    return folder


def run(files: Path, model: str, *given: object) -> int:
    return predict("-R", files / "genome.fa", "-m", files / model, "-O", "out", *given)


def stats() -> dict[str, Any]:
    return json.loads(Path("out.stats.json").read_text())


def spread(values: np.ndarray, start: int, bin_: int, length: int) -> np.ndarray:
    """A value of each base of a contig, NaN where there is no bin."""
    found = np.full((length, values.shape[1]), np.nan)
    each = np.repeat(values, bin_, axis=0)
    low, high = max(start, 0), min(start + len(each), length)
    found[low:high] = each[low - start : high - start]
    return found


def tracks_of(package: Package) -> list[str]:
    return [track.name for track in package.spec.outputs[0].tracks]


def assert_bigwigs(names: dict[str, int], wanted: dict[str, np.ndarray]) -> None:
    """``names``: of a file and the track it has."""
    for name, track in names.items():
        found = read_bigwig(f"out.{name}.bw")
        assert found.keys() == CONTIGS.keys()
        for contig, values in found.items():
            expected = wanted.get(contig, np.full((len(CONTIGS[contig]), 9), np.nan))[:, track]
            np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


# ---- along contigs


@pytest.mark.parametrize(("views", "given"), [(Views(), ()), (ALL, OPTIONS)], ids=["plain", "views"])
def test_a_local_model_along_every_contig(views: Views, given: tuple[str, ...], files: Path) -> None:
    """Bins begin with the contig, the last one ends with it, and there is no seam."""
    package = binned()
    assert run(files, "binned", "--tile-size", "100", *given) == 0
    wanted = {
        name: spread(local_bins(package, bases, 0, -(-len(bases) // 4) * 4, views), 0, 4, len(bases))
        for name, bases in CONTIGS.items()
        if bases
    }
    assert_bigwigs({"plus": 0, "minus": 1, "both": 2}, wanted)
    told = stats()
    assert (told["contigs"], told["bases"], told["bins"], told["resolution"]) == (4, 701 + 60 + 257 + 1, 257, 4)
    assert told["tracks"] == ["plus", "minus", "both"]
    assert told["outputs"] == ["out.plus.bw", "out.minus.bw", "out.both.bw"]
    assert told["warnings"] == []


@pytest.mark.parametrize(("views", "given"), [(Views(), ()), (ALL, OPTIONS)], ids=["plain", "views"])
def test_whole_windows_along_every_contig(
    views: Views, given: tuple[str, ...], files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Windows overlap by what is cropped; a contig shorter than one is shown with N beside it, and that is said."""
    package = windowed()
    assert run(files, "windowed", *given) == 0
    wanted = {}
    for name, bases in CONTIGS.items():
        size = -(-len(bases) // 8) * 8
        if len(bases) >= 80:
            wanted[name] = spread(by_windows(package, bases, 0, size, views), 0, 8, len(bases))
    found = {track: read_bigwig(f"out.{name}.bw") for track, name in enumerate(["CAGE_", "CAGE-", "DNASE_x_y"][1:], 1)}
    for track, contigs in found.items():
        for name, values in wanted.items():
            whole = len(CONTIGS[name]) // 80 * 80  # what is left over has a window of its own, see below
            np.testing.assert_allclose(contigs[name][:whole], values[:whole, track], rtol=0, atol=TOLERANCE)
            assert not np.isnan(contigs[name]).any()
    assert "2 contigs are shorter than a window of 128 bases, so that the model is shown N beyond it" in (
        capfd.readouterr().err
    )
    assert np.isfinite(found[1]["one"]).all()


def test_bins_are_the_same_whatever_the_tile_and_the_shards(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from basecast.prediction import predict as module

    whole = {}
    for work, tile in ((1, 20), (1, 52), (10**12, 10_000)):
        monkeypatch.setattr(module, "WORK", {"cpu": work})
        assert run(files, "binned", "--tile-size", tile, "--format", "parquet") == 0
        whole[tile] = list(table_rows("out.parquet"))
    for rows in whole.values():
        assert [row[:4] for row in rows] == [row[:4] for row in whole[20]]
        np.testing.assert_allclose([row[4] for row in rows], [row[4] for row in whole[20]], rtol=0, atol=TOLERANCE)


# ---- tracks and formats


def test_tracks_by_name_and_by_file(files: Path) -> None:
    package = binned()
    Path("names.txt").write_text("both\tof them\n\n")
    assert run(files, "binned", "--tracks", "minus", "names.txt", "--rc") == 0
    assert stats()["tracks"] == ["minus", "both"]
    assert not Path("out.plus.bw").exists()
    bases = CONTIGS["b"]
    wanted = {"b": spread(local_bins(package, bases, 0, 704, Views("+-")), 0, 4, 701)}
    for name, track in (("minus", 1), ("both", 2)):
        np.testing.assert_allclose(read_bigwig(f"out.{name}.bw")["b"], wanted["b"][:, track], rtol=0, atol=TOLERANCE)


def test_names_that_no_file_may_have(files: Path) -> None:
    assert run(files, "windowed") == 0
    assert stats()["outputs"] == ["out.CAGE+.bw", "out.CAGE-.bw", "out.DNASE_x_y.bw"]


def test_names_that_are_alike_get_a_number() -> None:
    from basecast.prediction.signal_output import file_names
    from basecast.spec import Track

    assert file_names([Track(name=x) for x in ("a", "A", "b", "a b", "a_b")]) == ["a.0", "A.1", "b", "a_b.3", "a_b.4"]


def test_a_table_has_each_bin_of_each_track_once(files: Path) -> None:
    assert run(files, "windowed", "--format", "parquet", "bigwig", "--tracks", "CAGE-", "CAGE+") == 0
    rows = list(table_rows("out.parquet"))
    signal = {name: read_bigwig(f"out.{name}.bw") for name in ("CAGE-", "CAGE+")}
    places = [(list(CONTIGS).index(contig), start, track != "CAGE-") for contig, start, _, track, _ in rows]
    assert places == sorted(set(places))
    assert sum(end - start for _, start, end, _, _ in rows) == 2 * sum(map(len, CONTIGS.values()))
    for contig, start, end, track, value in rows:
        assert end - start == 8 or end == len(CONTIGS[contig])
        assert (signal[track][contig][start:end] == np.float32(value)).all()


@pytest.mark.parametrize("model", ["binned", "windowed"])
def test_what_was_measured(model: str, files: Path) -> None:
    package = windowed() if model == "windowed" else binned()
    taught = {}
    for given in ((), ("-u",)):
        assert run(files, model, *given, "--format", "parquet", "--shifts", "0,2", "--rc") == 0
        values = np.array([row[4] for row in table_rows("out.parquet")], np.float32).reshape(-1, 3)
        taught[bool(given)] = values
        assert stats()["is_untransformed"] == bool(given)
    np.testing.assert_array_equal(taught[True], untransformed(taught[False], package.spec.outputs[0]))
    assert np.abs(taught[True] - taught[False]).max(axis=0)[0] > 1e-2


# ---- regions


def test_regions_give_every_bin_that_they_touch_once(files: Path) -> None:
    Path("in.bed").write_text("c\t33\t34\nb\t100\t205\nb\t203\t204\nb\t203\t210\nc\t251\t257\n")
    assert run(files, "binned", "--regions", "in.bed") == 0
    package, wanted = binned(), {}
    for contig, spans in {"b": [(100, 212)], "c": [(32, 36), (248, 260)]}.items():
        bases, each = CONTIGS[contig], []
        for start, end in spans:
            each.append(spread(local_bins(package, bases, start, end), start, 4, len(bases)))
        wanted[contig] = np.nanmax([np.nan_to_num(x, nan=-np.inf) for x in each], axis=0)
        wanted[contig][np.isneginf(wanted[contig])] = np.nan
    assert_bigwigs({"plus": 0, "minus": 1, "both": 2}, wanted)
    assert stats()["bins"] == 28 + 1 + 3
    assert stats()["bases"] == 112 + 4 + 9


def test_a_region_shorter_than_a_window_is_in_its_middle(files: Path) -> None:
    """The shortest window that is allowed holds it."""
    Path("in.bed").write_text("b\t320\t336\n")
    assert run(files, "windowed", "--regions", "in.bed") == 0
    seen = slice_of(CONTIGS["b"], 320 - 16 - 24, 320 - 16 - 24 + 96)
    values = forward(windowed(), seen, "+")[2:4]
    assert_bigwigs({"CAGE+": 0, "DNASE_x_y": 2}, {"b": spread(values, 320, 8, 701)})


def test_bins_about_the_middles_of_regions(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As Basenji's: in the order of the file, wherever that is, each region for itself, N beyond the contigs."""
    Path("in.bed").write_text("c\t100\t111\nb\t0\t3\nb\t300\t301\nc\t100\t111\na\t50\t60\n")
    assert run(files, "windowed", "--regions", "in.bed", "--format", "h5", *OPTIONS) == 0
    found, package = read_h5("out.h5"), windowed()
    middles = [("c", 105), ("b", 1), ("b", 300), ("c", 105), ("a", 55)]
    assert found["chrom"].tolist() == [contig.encode() for contig, _ in middles]
    assert found["start"].tolist() == [middle - 40 for _, middle in middles]
    assert found["end"].tolist() == [middle + 40 for _, middle in middles]
    assert found["target_ids"].tolist() == [b"CAGE+", b"CAGE-", b"DNASE/x y"]
    assert found["target_labels"].tolist() == [b"one strand", b"the other", b""]
    assert found["preds"].dtype == np.float32
    assert found["preds"].shape == (5, 10, 3)
    for values, (contig, middle) in zip(found["preds"], middles, strict=True):
        expected = window_bins(package, CONTIGS[contig], middle - 40, ALL)
        np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)
    said = "2 regions of 5 lie so near an end of their contig that the model is shown N beyond it"
    assert said in capfd.readouterr().err
    assert stats()["warnings"] == [said]


@pytest.mark.parametrize(("model", "given"), [("windowed", ()), ("binned", ("--regions", "in.bed"))])
def test_an_h5_of_the_bins_of_a_grid(model: str, given: tuple[str, ...], files: Path) -> None:
    Path("in.bed").write_text("c\t100\t111\nb\t0\t3\nc\t105\t200\n")
    assert run(files, model, *given, "--format", "h5", "parquet") == 0
    found, n = read_h5("out.h5"), len(stats()["tracks"])
    rows = [tuple(row) for row in table_rows("out.parquet")]
    bins = list(zip(found["chrom"].tolist(), found["start"].tolist(), found["end"].tolist(), strict=True))
    assert bins == [(contig.encode(), start, end) for contig, start, end, *_ in rows[::n]]
    assert found["preds"].ravel().tolist() == [value for *_, value in rows]
    assert found["preds"].shape == (len(bins), n)


@pytest.mark.parametrize(("model", "length"), [("windowed", 32), ("windowed", 240), ("binned", 20), ("binned", 400)])
def test_a_length_of_ones_own(model: str, length: int, files: Path) -> None:
    Path("in.bed").write_text("b\t371\t372\nb\t100\t102\nc\t90\t120\n")
    given = ("--tile-size", 52, "--length", length, "--format", "h5")
    assert run(files, model, "--regions", "in.bed", *given) == 0
    found = read_h5("out.h5")
    for values, contig, middle in zip(found["preds"], "bbc", (371, 101, 105), strict=True):
        start, bases = middle - length // 2, CONTIGS[contig]
        if model == "binned":
            expected = local_bins(binned(), bases, start, start + length)
        elif length == 240:
            expected = by_windows(windowed(), bases, start, start + length)
        else:
            expected = forward(windowed(), slice_of(bases, start - 32, start - 32 + 96), "+")[1:5]
        np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)


def test_middles_that_do_not_overlap_may_be_a_bigwig_too(files: Path) -> None:
    Path("in.bed").write_text("c\t200\t201\nb\t10\t11\nb\t690\t691\n")
    given = ("--length", 40, "--format", "bigwig", "h5", "parquet")
    assert run(files, "binned", "--regions", "in.bed", *given) == 0
    found, wanted = read_h5("out.h5"), {}
    for row, contig in ((1, "b"), (2, "b"), (0, "c")):
        start = int(found["start"][row])
        each = spread(found["preds"][row], start, 4, len(CONTIGS[contig]))
        before = wanted.get(contig, np.full_like(each, np.nan))
        wanted[contig] = np.where(np.isnan(each), before, each)
    assert found["start"].tolist() == [180, -10, 670]
    assert_bigwigs({"plus": 0, "both": 2}, wanted)
    rows = list(table_rows("out.parquet"))
    assert sum(end - start for _, start, end, track, _ in rows if track == "plus") == 40 + 30 + 31
    assert min(start for contig, start, *_ in rows if contig == "b") == 0


# ---- what does not go


@pytest.mark.parametrize(
    ("model", "given", "code", "said"),
    [
        ("binned", ("--tracks", "nose"), 2, "coverage has no track 'nose', and there is no such file: its tracks are"),
        ("binned", ("--tracks", "bad.txt"), 1, "line 2 of bad.txt: coverage has no track 'Plus'"),
        ("binned", ("--head", "signal"), 2, "has no output 'signal' along the sequence, only coverage"),
        ("binned", ("--shifts", "1,x"), 2, "--shifts '1,x' is no list of whole numbers such as 1,0,-1"),
        ("binned", ("--strand", "+"), 2, "toy_binned predicts signal tracks: --strand is not for them"),
        ("binned", ("--threshold", "0.3"), 2, "--threshold is not for them"),
        ("binned", ("--format", "bigwig", "bed"), 2, "--format bed is not for them"),
        ("human-400", ("--rc",), 2, "human-400 predicts sites: --rc is not for them"),
        ("human-400", ("--format", "h5"), 2, "--format h5 is not for them"),
        ("binned", ("--tracks", "minus", "-u"), 2, "does not say what was done to its targets: there is nothing for"),
        ("binned", ("--regions", "in.bed", "--length", "6"), 2, "has bins of 4 bp: a --length of 6 is no whole number"),
        ("binned", ("--length", "8"), 2, "--length is of regions: give a BED file with --regions"),
        ("binned", ("--regions", "in.bed", "--length", "8"), 2, "about the middle of regions 1 and 2 overlap on b"),
        ("binned", ("--regions", "other.bed"), 1, "line 1: contig 'chrQ' of other.bed is not in"),
        (
            "binned",
            ("--regions", "past.bed"),
            1,
            "line 1 of past.bed: a:50-61 ends past the contig, which has 60",
        ),
        ("binned", ("--regions", "past.bed", "--length", "8"), 1, "a:50-61 ends past the contig"),
        ("mixing", (), 2, "has the outputs splice, coverage: choose one with --head"),
        ("mixing", ("--head", "coverage"), 2, "needs organism beside the sequence"),
        ("track", (), 2, "needs conservation beside the sequence"),
    ],
)
def test_what_does_not_go(
    model: str, given: tuple[str, ...], code: int, said: str, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from toys import package_of

    Path("in.bed").write_text("b\t10\t20\nb\t12\t22\n")
    Path("other.bed").write_text("chrQ\t10\t20\n")
    Path("past.bed").write_text("a\t50\t61\n")
    Path("bad.txt").write_text("plus\nPlus\n")
    if model in ("mixing", "track"):
        write_model(Path(model), package_of(f"toy_{model}"))
    where = {"human-400": "human-400", "mixing": "mixing", "track": "track"}.get(model, str(files / model))
    before = {path.name for path in Path().iterdir()}
    assert predict("-R", files / "genome.fa", "-m", where, "-O", "out", *given) == code
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("basecast: error: ")
    assert said in last
    assert {path.name for path in Path().iterdir()} == before


def test_values_that_are_no_numbers(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    package = binned()
    package.network.head.bias[1] = np.nan  # type: ignore[union-attr,index]
    write_model(Path("broken"), package)
    assert predict("-R", files / "genome.fa", "-m", "broken", "-O", "out") == 1
    assert "toy_binned gives values that are no numbers at b:1-704" in capfd.readouterr().err
    assert predict("-R", files / "genome.fa", "-m", "broken", "-O", "out", "--tracks", "plus", "--restart") == 0


def test_tracks_without_a_transform_are_told(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(files, "binned", "-u") == 0
    assert "warning: 2 tracks of 3 have no transform and stay as the model gives them" in capfd.readouterr().err
