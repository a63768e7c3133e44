"""``basecast train`` and ``basecast transfer`` on signals, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_signals import signals, write_signal_dataset

from basecast.acceptance import ship
from basecast.errors import InputError
from basecast.training.checkpoint import State
from basecast.training.loop import Loop, LoopSettings
from basecast.training.recipes import borzoi
from basecast.zoo.package import Package, load_package
from conftest import Ran, Run

QUICK = ("--epochs", 1, "--batch-size", 8, "--device", "cpu", "--threads", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signals(tmp_path_factory.mktemp("signals"), records={"train": 3, "validation": 1})


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With bins of 4 bases, as the tiny borzoi has them."""
    at = tmp_path_factory.mktemp("fine")
    records = {"train": 2, "validation": 1}
    return write_signal_dataset(at, resolution=4, length=2048, flank=256, window=256, records=records)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and test vectors take longer than training here."""

    def none(package: Package, device: str) -> None:
        raise InputError("not here")

    monkeypatch.setattr("basecast.figures.canvas.png", lambda figure: b"")
    monkeypatch.setattr(ship, "make", none)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[LoopSettings]:
    """The settings of every loop that is run."""
    seen: list[LoopSettings] = []
    own = Loop.run

    def run(loop: Loop) -> State:
        seen.append(loop.settings)
        return own(loop)

    monkeypatch.setattr(Loop, "run", run)
    return seen


def last(ran: Ran) -> str:
    return ran.err.splitlines()[-1]


def trained(run: Run, data: Path, target: Path, *options: object) -> Package:
    ran = run("train", "--data", data, "-O", target, "--size", "tiny", *QUICK, *options)
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert "pearson signal" in last(ran)
    return load_package(target)


def test_a_basenji_by_default_with_what_suits_signals(
    run: Run, data: Path, tmp_path: Path, settled: list[LoopSettings]
) -> None:
    spec = trained(run, data, tmp_path / "m").spec
    assert spec.architecture is not None
    assert spec.architecture.family == "basenji"
    assert spec.mask == "none"
    assert [track.name for track in spec.outputs[0].tracks] == ["reads+", "reads-"]
    (settings,) = settled
    assert (settings.loss.kind, settings.optimiser.kind, settings.optimiser.clip) == ("poisson", "adamw", 1)
    assert settings.augment.model_dump() == {"reverse_complement": True, "shift": 3}
    assert (settings.sampling.kind, settings.sampling.window) == ("random-phase", 512)


def test_a_published_recipe_and_what_differs_from_it(
    run: Run, data: Path, tmp_path: Path, settled: list[LoopSettings]
) -> None:
    options = ("--recipe", "borzoi", "--rate", 0.01, "--no-augment-rc", "--total-weight", 0.5, "--window", 1024)
    trained(run, data, tmp_path / "m", *options, "--sampling", "grid")
    expected: dict[str, Any] = borzoi().model_dump()
    expected["schedule"]["rate"], expected["augment"]["reverse_complement"] = 0.01, False
    expected["loss"]["total_weight"] = 0.5
    expected["sampling"] |= {"window": 1024, "kind": "grid"}
    assert settled[0].model_dump() == expected | {"epochs": 1, "batch_size": 8}


def test_a_field_of_the_config_differs_from_the_size(run: Run, data: Path, tmp_path: Path) -> None:
    wide, narrow = (
        trained(run, data, tmp_path / name, "--family", "basenji", "--config", f"dilations={d}").spec
        for name, d in (("wide", "[2,4,8]"), ("narrow", "[]"))
    )
    assert wide.reach.left > narrow.reach.left + 100  # type: ignore[union-attr]


def test_a_model_of_whole_windows_takes_its_own(
    run: Run, fine: Path, tmp_path: Path, settled: list[LoopSettings]
) -> None:
    package = trained(run, fine, tmp_path / "m", "--family", "borzoi", "--checkpoint-activations")
    assert package.spec.architecture is not None
    assert package.spec.architecture.family == "borzoi"
    assert settled[0].sampling.window == 512, "1,024 less what is cropped, whatever the data were made for"
    ran = run(
        "train", "-d", fine, "-O", tmp_path / "n", "--family", "borzoi", "--size", "tiny", "--window", 256, *QUICK
    )
    assert ran.code == 2
    assert "takes windows whose labels cover 512 bases, not 256: see --window" in last(ran)


def test_tracks_are_chosen_and_left_out(run: Run, data: Path, tmp_path: Path) -> None:
    ran = run("train", "-d", data, "-O", tmp_path / "m", "--size", "tiny", "--tracks", "reads+", *QUICK)
    assert ran.code == 2
    assert "reads+ is one strand and reads- the other: keep both or none" in last(ran)
    ran = run("train", "-d", data, "-O", tmp_path / "m", "--size", "tiny", "--leave-out-tracks", "reads", *QUICK)
    assert "the data have no track 'reads', only reads+, reads-" in last(ran)


REFUSED: dict[str, tuple[tuple[object, ...], int, str]] = {
    "other bins": (("--size", "small"), 2, "has bins of 8 bp, a model of this size has bins of 128 bp"),
    "a window within a bin": (("--window", 513), 2, "--window 513 is no whole number of them: give 512"),
    "a loss of classes": (("--loss", "focal"), 2, "focal needs classes, and the output 'signal' has none"),
    "a recipe of classes": (("--recipe", "splicing"), 2, "cross-entropy needs classes"),
    "a bias to sites": (("--sampling", "biased"), 2, "a splice bias needs sites"),
    "two sizes": (("--context", 80), 2, "--context is the size of a spliceai: give it or --size"),
    "a field that is none": (("--config", "depth=3"), 2, "config of basenji has no field 'depth'"),
    "a file that is none": (("--config", "nowhere.json"), 1, "neither KEY=VALUE nor a file of JSON"),
}


@pytest.mark.parametrize(("options", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(
    options: tuple[object, ...], code: int, words: str, run: Run, data: Path, tmp_path: Path
) -> None:
    size = () if "--size" in options else ("--size", "tiny")
    ran = run("train", "--data", data, "-O", tmp_path / "m", *size, *QUICK, *options)
    assert ran.code == code, ran.err
    assert words in last(ran)
    assert "Traceback" not in ran.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("mode", ["head", "lora", "full"])
def test_transfer_to_the_tracks_of_other_data(
    mode: str, run: Run, data: Path, tmp_path: Path, settled: list[LoopSettings]
) -> None:
    parent = trained(run, data, tmp_path / "parent", "--licence", "GPL-3.0-only")
    more = ("--rank", 2) if mode == "lora" else ()
    options = ("--targets", "reads+,reads-", "--new-head", "--mode", mode, *more, *QUICK)
    ran = run("transfer", "-m", tmp_path / "parent", "--data", data, "-O", tmp_path / "m", *options)
    assert ran.code == 0, ran.err
    child = load_package(tmp_path / "m")
    assert (child.spec.parents, child.spec.licence) == (("parent",), "GPL-3.0-only")
    assert settled[-1].schedule.rate == pytest.approx(1e-4 if mode == "full" else 1e-3)
    before, after = (package.networks[0].state_dict() for package in (parent, child))
    assert before.keys() == after.keys()
    moved = {name.split(".")[0] for name, x in after.items() if not (x == before[name]).all()}
    assert moved == ({"head"} if mode == "head" else {"head", "blocks"})
    ran = run("transfer", "-m", tmp_path / "parent", "-d", data, "-O", tmp_path / "n", "--mode", "head", "--rank", 3)
    assert ran.code == 2
    assert "rank and alpha go with the mode lora, not with head; see --help" in last(ran)
