"""Datasets in, a package out: what it holds, what is refused, and a run that goes on where it stood."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_data import (
    CONTEXT,
    described,
    metrics_of,
    planted,
    same_weights,
    scratch,
    settings_of,
    sources_of,
    write_data,
)

from basecast.acceptance.ship import ship
from basecast.acceptance.vectors import check
from basecast.data.windows import every_window
from basecast.errors import BasecastError, InputError, UsageError
from basecast.files import digest_of
from basecast.genome.source import Text
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.shards import RunSettings
from basecast.spec.model import Node, Output, Track
from basecast.spec.splice import SPLICE
from basecast.training.loop import Loop
from basecast.training.train import Draft, from_scratch, shared_mask, train
from basecast.zoo.package import load_package, verify_package

ONE = settings_of(epochs=1)


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here; the ensemble has its figure."""
    monkeypatch.setattr("basecast.figures.canvas.png", lambda figure: b"")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "toy", records=4, length=200)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another species, whose genome has a file of the same name."""
    folder = tmp_path_factory.mktemp("data") / "other"
    return write_data(folder, records=2, length=150, seed=2, species="Alius alius", genome_build="al2")


@pytest.fixture(scope="module")
def ensemble(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("models") / "both"
    train([data], target, scratch(), settings_of(average=0.9), seeds=(3, 8), command="basecast train --seeds 3,8")
    return target


# ---- what is written


def test_seeds_make_an_ensemble_whose_answer_is_the_mean(ensemble: Path, data: Path, tmp_path: Path) -> None:
    package = load_package(ensemble)
    assert [member.file for member in package.spec.members] == ["model-3.safetensors", "model-8.safetensors"]
    bases = planted(np.random.default_rng(5), 300)[0]
    request = Request(Text(bases), "bases", 0, 300, "+")
    alone = []
    for seed in (3, 8):
        train([data], tmp_path / str(seed), scratch(), settings_of(average=0.9), seeds=(seed,))
        single = load_package(tmp_path / str(seed))
        number = (3, 8).index(seed)
        assert same_weights(single.networks[0].state_dict(), package.networks[number].state_dict())
        alone.append(Engine(single, device="cpu").evaluate([request], [SPLICE])[0][SPLICE])
    together = Engine(package, device="cpu").evaluate([request], [SPLICE])[0][SPLICE]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2, atol=1e-6)


def test_a_package_says_what_it_was_made_of(ensemble: Path, data: Path) -> None:
    spec = load_package(ensemble).spec
    assert (spec.name, spec.licence, spec.species, spec.mask) == ("both", "CC0-1.0", "Toyus toyi", "gene")
    assert spec.provenance.command == "basecast train --seeds 3,8"
    assert spec.provenance.sources == {
        "toy.fa": f"{1:064d}",
        "toy/train.h5": digest_of(data / "train.h5"),
        "toy/validation.h5": digest_of(data / "validation.h5"),
    }


def test_its_card_says_how_it_was_trained(ensemble: Path) -> None:
    card = (ensemble / "README.md").read_text()
    lines = metrics_of(ensemble / "training" / "metrics-8.jsonl", "epoch")
    best = min(lines, key=lambda line: line["validation_loss"])
    assert "2 networks of" in card
    assert "100 positions (random-phase)" in card
    assert "Validated and kept is a moving average of the weights (decay 0.9)." in card
    assert f"| 8 | {best['epoch']} of 2 | {best['validation_loss']:.4g} |" in card
    assert "| toy/train.h5 | 4 | 860 |" in card
    assert "| toy/validation.h5 | 2 | 410 |" in card


def test_its_training_goes_with_it(ensemble: Path) -> None:
    names = verify_package(ensemble)
    assert {"training/metrics-3.jsonl", "training/metrics-8.jsonl", "training/curves.png"} <= set(names)
    assert (ensemble / "training" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not Path(f"{ensemble}.basecast").exists()
    assert sorted(path.name for path in ensemble.parent.iterdir()) == ["both"]


def test_the_epoch_that_is_kept_is_the_best(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def validate(loop: Loop) -> dict[str, float]:
        kept.append({name: x.clone() for name, x in loop.network.state_dict().items()})
        return {"loss": [3.0, 1.0, 2.0][len(kept) - 1]}

    monkeypatch.setattr(Loop, "validate", validate)
    trained = train([data], tmp_path / "m", scratch(), settings_of(epochs=3))
    assert trained.best[0]["epoch"] == 2
    assert trained.seconds > 0
    assert same_weights(load_package(tmp_path / "m").networks[0].state_dict(), kept[1])


def test_a_shipped_model_has_vectors_that_it_passes(data: Path, tmp_path: Path) -> None:
    why: list[str] = []

    def write(target: Path, draft: Draft) -> None:
        why.append(ship(target, draft.package, draft.notes, draft.files, device="cpu"))

    settings = settings_of(epochs=6, batch_size=4, schedule={"rate": 0.03})
    train([data], tmp_path / "m", scratch(), settings, write=write)
    assert why == [""]
    assert all(one.agrees for one in check(load_package(tmp_path / "m"), tmp_path / "m", device="cpu"))
    assert "max |diff|" in (tmp_path / "m" / "README.md").read_text()


def test_weights_in_double_precision_become_single(data: Path, tmp_path: Path) -> None:
    train([data], tmp_path / "m", scratch(), settings_of(epochs=1, precision="fp64"))
    (network,) = load_package(tmp_path / "m").networks
    assert {x.dtype for x in network.state_dict().values()} == {torch.float32, torch.int64}


# ---- several datasets


def test_two_species_are_trained_on_together(data: Path, other: Path, tmp_path: Path) -> None:
    mask, species, build = shared_mask([data, other])
    assert (mask, species, build) == ("gene", "Toyus toyi, Alius alius", "toy1, al2")
    told: list[dict[str, Any]] = []
    train([data, other], tmp_path / "m", scratch(species=species), ONE, tell=told.append)
    spec = load_package(tmp_path / "m").spec
    assert spec.provenance.sources["toy.fa"] == f"{1:064d}"
    assert spec.provenance.sources["toy.fa (2)"] == f"{2:064d}"
    assert {"toy/train.h5", "other/train.h5", "other/validation.h5"} <= spec.provenance.sources.keys()
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| other/train.h5 | 2 | 310 |" in card
    alone: list[dict[str, Any]] = []
    train([data], tmp_path / "n", scratch(), ONE, tell=alone.append)
    assert told[-1]["steps"] > alone[-1]["steps"]
    assert told[-1]["validation_loss"] != alone[-1]["validation_loss"]


def test_a_dataset_that_weighs_nothing_is_not_trained_on(data: Path, other: Path, tmp_path: Path) -> None:
    steps = []
    for weights in ((1, 0), (0, 1), (1, 1)):
        told: list[dict[str, Any]] = []
        settings = settings_of(epochs=1, data_weights=weights, sampling={"kind": "grid", "window": 50})
        train([data, other], tmp_path / str(weights), scratch(), settings, tell=told.append)
        steps.append(told[-1]["steps"])
        card = (tmp_path / str(weights) / "README.md").read_text()
        assert f"ach dataset was seen {weights[0]}, {weights[1]} times an epoch" in card
    n = [len(every_window(sources_of(folder, settings.sampling)[0].places, 50)) for folder in (data, other)]
    assert steps == [-(-n[0] // 8), -(-n[1] // 8), -(-sum(n) // 8)]


def test_data_that_do_not_go_together_are_refused(data: Path, tmp_path: Path) -> None:
    genomic = write_data(tmp_path / "genomic", records=2, length=100, mask="none", flank=100)
    with pytest.raises(UsageError, match="some of the data have N outside the gene, some the genome"):
        shared_mask([data, genomic])


def test_species_may_be_unknown(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", records=2, length=100, species="", genome_build="")
    assert shared_mask([folder]) == ("gene", "", "")
    train([folder], tmp_path / "m", scratch(species=""), ONE)
    assert load_package(tmp_path / "m").spec.species == ""


# ---- what is refused


def refused(data: Path, target: Path, words: str, **more: Any) -> None:
    """Before anything is made."""
    options = {"start": scratch(), "settings": ONE} | more
    with pytest.raises(UsageError, match=words):
        train([data], target, **options)
    assert not Path(f"{target}.basecast").exists()


def test_a_target_that_is_there_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    refused(data, tmp_path / "m", "is there already: choose another name or remove it")


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,), (1 << 31,)])
def test_seeds_that_make_no_networks_are_refused(seeds: tuple[int, ...], data: Path, tmp_path: Path) -> None:
    refused(data, tmp_path / "m", "each seed makes one network: give different ones", seeds=seeds)


def test_each_dataset_has_one_weight(data: Path, tmp_path: Path) -> None:
    settings = settings_of(data_weights=(1, 2))
    refused(data, tmp_path / "m", "there are 1 datasets and 2 weights", settings=settings)


def test_a_model_for_other_classes_is_refused(data: Path, tmp_path: Path) -> None:
    output = Output(name=SPLICE, tracks=(Track(name="no"), Track(name="yes")), link="softmax")
    spec = described().model_copy(update={"outputs": (output,)})
    refused(data, tmp_path / "m", "they do not go together", start=from_scratch(spec))


def test_a_model_that_sees_another_context_is_refused(data: Path, tmp_path: Path) -> None:
    refused(data, tmp_path / "m", "is to see the genome around it: make it again", start=scratch(mask="none"))


def test_a_dataset_with_too_little_around_its_genes_is_refused(tmp_path: Path) -> None:
    few = write_data(tmp_path / "data", records=2, length=100, mask="none", flank=CONTEXT // 2 - 1)
    refused(few, tmp_path / "m", f"needs {CONTEXT // 2}: make it again", start=scratch(mask="none"))
    enough = write_data(tmp_path / "enough", records=2, length=100, mask="none", flank=CONTEXT // 2)
    train([enough], tmp_path / "m", scratch(mask="none"), ONE)


def test_a_graph_of_packages_is_not_trained() -> None:
    graph = described().model_copy(update={"architecture": None, "nodes": (Node(name="a", package="a"),)})
    with pytest.raises(UsageError, match="is a graph of packages"):
        from_scratch(graph)


def test_a_missing_split_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "train.h5").write_bytes((data / "train.h5").read_bytes())
    with pytest.raises(InputError, match=r"half has no validation\.h5"):
        train([tmp_path / "half"], tmp_path / "m", scratch(), ONE)


def test_a_damaged_dataset_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    content = (data / "train.h5").read_bytes()
    (tmp_path / "bad" / "train.h5").write_bytes(content[: len(content) // 2])
    (tmp_path / "bad" / "validation.h5").write_bytes((data / "validation.h5").read_bytes())
    with pytest.raises(InputError, match=r"train\.h5 is damaged"):
        train([tmp_path / "bad"], tmp_path / "m", scratch(), ONE)


# ---- goes on where it stood


class Stop(Exception):
    """An accident."""


def stopped(data: Path, target: Path, step: int, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """A run that has ended after so many steps, of all its networks together."""
    own, calls = Loop._step, itertools.count(1)

    def dying(loop: Loop, batch: Any) -> None:
        if next(calls) > step:
            raise Stop
        own(loop, batch)

    options = {"start": scratch(), "settings": settings_of()} | more
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", dying)
        with pytest.raises(Stop):
            train([data], target, every=0, **options)
    assert not target.exists()


def model_bytes(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.glob("*.safetensors")}


def test_an_ensemble_goes_on_with_the_network_it_was_at(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, target = tmp_path / "whole", tmp_path / "m"
    told: list[dict[str, Any]] = []
    train([data], whole, scratch(), settings_of(), seeds=(1, 2), tell=told.append)
    per_network = told[-1]["steps"]
    stopped(data, target, per_network + 1, monkeypatch, seeds=(1, 2))
    assert {path.name for path in Path(f"{target}.basecast").glob("part-*")} == {
        "part-000000.checkpoint",
        "part-000000.metrics.jsonl",
        "part-000001.checkpoint",
        "part-000001.metrics.jsonl",
    }
    told.clear()
    train([data], target, scratch(), settings_of(), seeds=(1, 2), tell=told.append)
    assert {line["seed"] for line in told} == {2}
    assert model_bytes(target) == model_bytes(whole)
    assert not Path(f"{target}.basecast").exists()


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "rate": ({"settings": settings_of(schedule={"rate": 0.5})}, "schedule.rate was 0.001 and is 0.5 now"),
    "epochs": ({"settings": settings_of(epochs=1)}, "epochs was 2 and is 1 now"),
    "sampling": ({"settings": settings_of(sampling={"window": 99})}, "sampling.window was 100 and is 99 now"),
    "seeds": ({"seeds": (7,)}, r"seeds was \[1\] and is \[7\] now"),
    "model": ({"channels": 9}, "architecture.config.channels was 8 and is 9 now"),
    "data": ({"records": 3}, "data"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_only_the_same_run_goes_on(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, words = dict(OTHERS[name][0]), OTHERS[name][1]
    target = tmp_path / "m"
    stopped(data, target, 2, monkeypatch)
    checkpoint = Path(f"{target}.basecast") / "part-000000.checkpoint"
    before = checkpoint.read_bytes()
    folder = data
    if changed.pop("records", None):
        folder = write_data(tmp_path / "data", records=2, length=200)
    if channels := changed.pop("channels", None):
        spec = described()
        assert spec.architecture is not None
        config = {**spec.architecture.config, "channels": channels}
        architecture = spec.architecture.model_copy(update={"config": config})
        changed["start"] = from_scratch(spec.model_copy(update={"architecture": architecture}))
    options: dict[str, Any] = {"start": scratch(), "settings": settings_of()} | changed
    with pytest.raises(UsageError, match=rf"holds a part of another run: .*{words}.*--restart to begin anew"):
        train([folder], target, **options)
    assert checkpoint.read_bytes() == before


def test_a_restarted_run_knows_nothing_of_the_one_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(data, tmp_path / "m", 2, monkeypatch)
    for name, is_new in (("m", True), ("fresh", False)):
        train([data], tmp_path / name, scratch(), ONE, run=RunSettings(restart=is_new))
    assert model_bytes(tmp_path / "m") == model_bytes(tmp_path / "fresh")


def test_a_model_that_could_not_be_written_is_not_trained_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, draft: Draft) -> None:
        raise BasecastError("the disk is full")

    with pytest.raises(BasecastError, match="full"):
        train([data], tmp_path / "m", scratch(), ONE, write=full)
    monkeypatch.setattr(Loop, "_step", lambda *_: pytest.fail("it was trained"))
    trained = train([data], tmp_path / "m", scratch(), ONE)
    assert trained.best[0]["epoch"] == 1
    assert (tmp_path / "m" / "model.safetensors").exists()


def test_a_work_folder_of_ones_own_may_hold_other_files(data: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine")
    (tmp_path / "work" / "part-1.checkpoint").write_text("mine")
    train([data], tmp_path / "m", scratch(), ONE, run=RunSettings(work_dir=tmp_path / "work"))
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["notes.txt", "part-1.checkpoint"]


def test_lines_are_told_with_their_seed(data: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    train([data], tmp_path / "m", scratch(), ONE, seeds=(4, 2), tell=told.append)
    assert [line["seed"] for line in told if line["kind"] == "epoch"] == [4, 2]
    assert json.loads(json.dumps(told)) == told
