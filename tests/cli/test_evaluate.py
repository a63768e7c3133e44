"""``basecast evaluate`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from binned_model import local_model, write_signals
from labelled import model, write_split

from basecast.zoo.package import save_package
from conftest import Run

ON_CPU = ("--device", "cpu", "--threads", "1", "--draws", "20")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    write_split(folder / "yeast")
    for seed in (0, 3):
        save_package(folder / f"model{seed}", model(seed=seed))
    return folder


def test_two_models_on_a_folder(run: Run, files: Path, tmp_path: Path) -> None:
    models = ("-m", files / "model0", "-m", files / "model3")
    ran = run("evaluate", *models, "-d", files / "yeast", "-O", tmp_path / "out", "--leave-out", "chr2", *ON_CPU)
    assert ran.code == 0, ran.err
    for name in ("tiny-0", "tiny-3"):
        assert f"basecast: {name}: acceptor top-1 0." in ran.err
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert said["left_out"] == ["chr2"]
    assert "--leave-out chr2" in said["command"]
    assert {row["than"] for row in said["rows"]} == {"", "tiny-0"}


def test_what_is_typed_wrong_is_said(run: Run, files: Path, tmp_path: Path) -> None:
    wanted = ("-m", files / "model0", "-O", tmp_path / "out", *ON_CPU)
    ran = run("evaluate", *wanted, "-d", files / "nothing")
    assert (ran.code, "nothing has no test.h5" in ran.err) == (1, True)
    ran = run("evaluate", *wanted, "-d", files / "yeast", "--leave-out", "GENEX")
    assert (ran.code, "--leave-out GENEX: no gene" in ran.err) == (2, True)
    ran = run("evaluate", *wanted, "-m", files / "model3", "-d", files / "yeast", "--tuning", tmp_path / "table.json")
    assert (ran.code, "--tuning is the table of one model" in ran.err) == (2, True)
    assert run("evaluate", "-d", files / "yeast", "-O", tmp_path / "out").code == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    write_signals(folder / "data", by=local_model())
    save_package(folder / "model", local_model())
    return folder


def test_signals(run: Run, signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.evaluation.signal_evaluation_files.figures_of", lambda _: {})
    (tmp_path / "pairs.tsv").write_text("track\tgroup\nplus\tPRO\nminus\tPRO\n")
    more = ("--rc", "--shifts", "-1,0,1", "--tracks", "plus,minus", "--replicates", tmp_path / "pairs.tsv")
    where = ("-m", signals / "model", "-d", signals / "data", "-O", tmp_path / "out")
    ran = run("evaluate", *where, *more, "--peaks-rule", "basenji-compat", *ON_CPU)
    assert ran.code == 0, ran.err
    assert "basecast: toy_binned: mean pearson 0." in ran.err
    assert "2 tracks in 258 bins of 3 records" in ran.err
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert said["views"] == {"reverse_complement": True, "shifts": [-1, 0, 1]}
    assert [(row["group"], row["scale"]) for row in said["replicates"]] == [("PRO", "measured"), ("PRO", "log2")]
    assert "--shifts -1,0,1" in said["command"]


def test_what_is_typed_wrong_of_signals_is_said(run: Run, files: Path, signals: Path, tmp_path: Path) -> None:
    where = ("-m", signals / "model", "-O", tmp_path / "out", *ON_CPU)
    ran = run("evaluate", *where, "-d", signals / "data", "--shifts", "one")
    assert (ran.code, "--shifts 'one' is not whole numbers joined by commas" in ran.err) == (2, True)
    ran = run("evaluate", *where, "-d", signals / "data", "--tracks", "nothing")
    assert (ran.code, "--tracks nothing: the data have no track of that name" in ran.err) == (2, True)
    ran = run("evaluate", *where, "-d", files / "yeast", "--rc")
    assert (ran.code, "go with signals, and the data have splice sites" in ran.err) == (2, True)
    ran = run("evaluate", "-m", files / "model0", "-O", tmp_path / "out", "-d", signals / "data", *ON_CPU)
    assert (ran.code, "has none of the tracks of the data by name" in ran.err) == (2, True)
    ran = run("calibrate", "-m", files / "model0", "-O", tmp_path / "out", "-d", signals / "data", "--split", "test")
    assert (ran.code, "there are no sites to be found in it" in ran.err) == (2, True)
    assert not list(tmp_path.iterdir())
