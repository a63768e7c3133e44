"""``basecast calibrate`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled import model, write_split

from basecast.zoo.package import load_package, save_package
from conftest import Run

ON_CPU = ("--device", "cpu", "--threads", "1", "--draws", "20")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    package = model(steep=1.5)
    write_split(folder / "yeast", "validation", by=package, heat=(2.0,))
    write_split(folder / "yeast", "test", by=package, heat=(2.0,))
    save_package(folder / "model", package)
    return folder


def test_a_model_gets_a_temperature_and_vectors_that_it_passes(run: Run, files: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    ran = run("calibrate", "-m", files / "model", "-d", files / "yeast", "-O", new, *ON_CPU)
    assert ran.code == 0, ran.err
    assert "basecast: test: ECE of acceptor " in ran.err
    (temperature,) = load_package(new).spec.calibration.temperature["splice"]
    assert temperature == pytest.approx(2, rel=0.2)
    assert f"temperature {temperature:.4f} in " in ran.err
    assert f"-O {new}" in load_package(new).spec.provenance.command
    assert run("zoo", "verify", "--run", new, "--device", "cpu").code == 0


def test_what_is_typed_wrong_is_said(run: Run, files: Path, tmp_path: Path) -> None:
    wanted = ("-m", files / "model", "-O", tmp_path / "new", *ON_CPU)
    ran = run("calibrate", *wanted, "-d", files / "yeast", "--split", "train")
    assert (ran.code, "has no train.h5" in ran.err) == (1, True)
    ran = run("calibrate", "-m", files / "model", "-O", files / "model", "-d", files / "yeast", *ON_CPU)
    assert (ran.code, "is there already" in ran.err) == (2, True)
    assert run("calibrate", *wanted).code == 2
    assert not list(tmp_path.iterdir())
