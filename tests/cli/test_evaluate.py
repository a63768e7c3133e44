"""``basecast evaluate`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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
