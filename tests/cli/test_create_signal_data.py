"""``basecast create-data`` with tracks, and ``basecast data check``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from basecast.cli.data import data
from basecast.data.opening import open_split
from basecast.genome.signal import write_bigwig
from conftest import Run

LENGTHS = {"I": 20_000, "II": 12_000, "III": 6000}
SMALL = ("--resolution", 32, "--window", 512, "--flank", 256, "--piece", 2048)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, two strands, and a track that is 0 from end to end."""
    folder, rng = tmp_path_factory.mktemp("tracks"), np.random.default_rng(0)
    lines = [f">{name}\n{''.join(rng.choice(list('ACGT'), n))}\n" for name, n in LENGTHS.items()]
    (folder / "genome.fa").write_text("".join(lines))
    for name, sign in (("plus", 1), ("minus", -1), ("none", 0)):
        places = {c: np.flatnonzero(rng.random(n) < 0.2) for c, n in LENGTHS.items()}
        stretches = [(c, at, sign * rng.integers(1, 9, len(at)).astype(np.float32)) for c, at in places.items() if sign]
        write_bigwig(folder / f"{name}.bw", LENGTHS, stretches)
    head = "identifier\tfile\tstrand_pair\tdescription\n"
    rows = "plus\tplus.bw\tminus\tCAGE:x\nminus\tminus.bw\tplus\tCAGE:x\n"
    (folder / "targets.tsv").write_text(head + rows)
    (folder / "with_none.tsv").write_text(head + rows + "zeros\tnone.bw\t\tCAGE:y\n")
    (folder / "peaks.bed").write_text("".join(f"I\t{at}\t{at + 100}\n" for at in range(300, 19_000, 1100)))
    return folder


def arguments(made: Path, output: Path, *options: object, table: str = "targets.tsv") -> list[object]:
    return ["create-data", "-R", made / "genome.fa", "--targets", made / table, "-O", output, *SMALL, *options]


def test_a_dataset_of_tracks_and_what_is_said_of_it(run: Run, made: Path, tmp_path: Path) -> None:
    ran = run(*arguments(made, tmp_path / "data", "--test-contigs", "III", "--species", "Made up", "--threads", 1))
    assert (ran.code, ran.out) == (0, "")
    lines = ran.err.splitlines()
    assert lines[0] == "basecast: warning: all values of 1 track are below 0: read without sign (minus)"
    assert lines[-1].startswith(f"basecast: 2 tracks in bins of 32 bases, written to {tmp_path / 'data'} in ")
    assert [line.split(":")[1].strip() for line in lines[-4:-1]] == ["train", "validation", "test"]
    test = open_split(tmp_path / "data", "test")
    assert set(test.records["contig"]) == {"III"}
    assert (test.header.species, test.header.settings["window"], test.flank) == ("Made up", 512, 256)
    assert test.header.command.startswith("basecast create-data -R ")


def test_every_number_as_json(run: Run, made: Path, tmp_path: Path) -> None:
    ran = run(*arguments(made, tmp_path / "data", "--log-format", "json"))
    told = json.loads(ran.err.splitlines()[-1])
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert {name: told[name] for name in report} == report


def test_windows_on_peaks(run: Run, made: Path, tmp_path: Path) -> None:
    options = ("--regions", made / "peaks.bed", "--jitter", 50, "--negatives", 0.5)
    ran = run(*arguments(made, tmp_path / "data", *options))
    assert ran.code == 0
    assert " on peaks, " in ran.err
    train = open_split(tmp_path / "data", "train")
    assert set(train.lengths.tolist()) == {512}


def test_records_of_baskerville(run: Run, shared_data: Path, tmp_path: Path) -> None:
    ran = run("create-data", "--tfrecords", shared_data / "peers" / "baskerville" / "tiny_hg38", "-O", tmp_path / "d")
    assert ran.code == 0
    assert "basecast: train: 45 records, 2,949,120 bases, 45 windows" in ran.err


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["-R", "g", "-A", "a", "--targets", "t"], 2, "-A and --targets given: examples come from genes (-A), from tr"),
        (["-R", "g"], 2, "neither -A, --targets nor --tfrecords given"),
        (["--targets", "t"], 2, "the genome is missing: give it with -R"),
        (["-A", "a"], 2, "the genome is missing: give it with -R"),
        (
            ["-R", "g", "-A", "a", "--window", "512"],
            2,
            "--window goes with tracks (--targets), not with -A: leave it out",
        ),
        (["-R", "g", "-A", "a", "--regions=p"], 2, "--regions goes with tracks (--targets), not with -A"),
        (
            ["-R", "g", "--targets", "t", "--transcripts", "all"],
            2,
            "--transcripts goes with genes (-A), not with --targ",
        ),
        (["-R", "g", "--targets", "t", "--split", "overlap"], 2, "--split goes with genes (-A), not with --targets"),
        (
            ["--tfrecords", "d", "--window", "512"],
            2,
            "--window goes with a genome and tracks (-R, --targets): in TFRec",
        ),
        (["-R", "g", "--tfrecords", "d"], 2, "-R goes with a genome and tracks"),
        (["-R", "g", "--targets", "t", "--jitter", "5"], 2, "--jitter goes with peaks (--regions)"),
        (["-R", "g", "--targets", "t", "--umap-clip", "0.5"], 2, "--umap-clip goes with --unmappable"),
        (["-R", "g", "--targets", "t", "--test-fold", "2"], 2, "--test-fold goes with --folds"),
        (["-R", "g", "--targets", "t", "--folds", "2"], 2, "--folds"),
        (["-R", "g", "--targets", "t", "--assay", "hic"], 2, "--assay"),
        (["-R", "g", "--targets", "absent.tsv"], 1, "the targets absent.tsv cannot be read"),
        (["--tfrecords", "absent"], 1, "absent/statistics.json cannot be read"),
    ],
    ids=lambda value: "-".join(value).replace("--", "").replace("/", "") if isinstance(value, list) else None,
)
def test_modes_do_not_mix(run: Run, tmp_path: Path, given: list[str], code: int, said: str) -> None:
    ran = run("create-data", *given, "-O", tmp_path / "data")
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "data").exists()


def checked(*words: object) -> int:
    return int(data([str(word) for word in words], result_action="return_value"))


def test_a_sound_dataset_is_told_so(run: Run, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(*arguments(made, tmp_path / "data"))
    capfd.readouterr()
    assert checked("check", tmp_path / "data", "-O", tmp_path / "check.json") == 0
    said = capfd.readouterr()
    header, *rows = (line.split("\t") for line in said.out.splitlines())
    assert header[:3] == ["split", "track", "bins"]
    assert [row[:2] for row in rows] == [[s, t] for s in ("train", "validation", "test") for t in ("plus", "minus")]
    assert said.err.splitlines()[-1] == f"basecast: 2 tracks of {tmp_path / 'data'}: nothing is wrong"
    told = json.loads((tmp_path / "check.json").read_text())
    assert len(told["tracks"]) == 6
    assert told["wrong"] == []


def test_a_track_that_is_zero_is_told_and_fails(
    run: Run, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = run(*arguments(made, tmp_path / "data", table="with_none.tsv"))
    assert ran.code == 0
    assert "basecast: warning: 1 track without any signal in these stretches (zeros)" in ran.err
    capfd.readouterr()
    assert checked("check", tmp_path / "data") == 1
    assert "basecast: error: train: zeros is 0 in all of " in capfd.readouterr().err
