"""The verbs transfer and distill, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lifecycle import folder_of, parent_of

from basecast.cli.main import main
from basecast.zoo.catalogue import embedded
from basecast.zoo.package import load_package, save_package

QUICK = [
    "--epochs",
    "1",
    "--batch-size",
    "3",
    "--window",
    "100",
    "--sampling",
    "grid",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def test_transfer_from_an_embedded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = next(iter(embedded()))
    data, out = folder_of(tmp_path / "data"), tmp_path / "child"
    command = ["transfer", "-m", parent, "--data", str(data), "-O", str(out), "--last-units", "1", *QUICK]
    assert main(command) == 0
    child = load_package(out).spec
    assert child.parents == (load_package(embedded()[parent]).spec.name,)
    assert child.species == "Testudo"
    assert not child.calibration.temperature
    assert "epoch 1" in capsys.readouterr().err
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_licence_that_the_parent_forbids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_package(tmp_path / "parent", parent_of())
    data = folder_of(tmp_path / "data")
    for verb, option in (("transfer", "-m"), ("distill", "--teacher")):
        command = [verb, option, str(tmp_path / "parent"), "--data", str(data), "-O", str(tmp_path / "x"), *QUICK]
        assert main([*command, "--licence", "MIT"]) == 2
        assert "cannot be under MIT" in capsys.readouterr().err
        assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_distill_a_smaller_student(tmp_path: Path) -> None:
    teacher, data, out = next(iter(embedded())), folder_of(tmp_path / "data"), tmp_path / "student"
    labels = tmp_path / "labels"
    command = ["distill", "--teacher", teacher, "--data", str(data), "-O", str(out), "--labels", str(labels)]
    assert main([*command, "--context", "80", "--channels", "8", "--log-format", "json", *QUICK]) == 0
    student = load_package(out)
    assert student.spec.architecture is not None
    assert student.spec.architecture.config["channels"] == 8
    assert student.spec.parents == (load_package(embedded()[teacher]).spec.name,)
    assert (labels / "train.h5").exists()
    lines = (out / "training" / "metrics-1.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["kind"] == "epoch"
