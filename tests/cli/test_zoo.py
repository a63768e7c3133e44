"""``basecast zoo``: what is here, what a model is, another's checkpoint as a package, whether a package is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checkpoints import write_keras, write_openspliceai

from basecast.zoo.catalogue import embedded, load_model
from conftest import Run, World, read_vcf, write_vcf


def test_list_names_every_model_that_ships(run: Run) -> None:
    ran = run("zoo", "list")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == list(embedded())
    for name, species, licence, outputs in rows:
        spec = load_model(name).spec
        assert (species, licence, outputs) == (spec.species, spec.licence, "splice")


def test_info_is_json(run: Run, world: World, tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "model_80nt.pt", 80)
    for model, licence, left in ((world.model, "CC0-1.0", 50), (tmp_path / "model_80nt.pt", "GPL-3.0-only", 40)):
        known = json.loads(run("zoo", "info", model).out)
        assert known["licence"] == licence
        assert known["reach"]["left"] == left
        assert len(known["sha256"]) == 64
    assert known["name"] == "model_80nt"


def test_an_imported_checkpoint_scores_as_the_checkpoint(run: Run, score: Run, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for i in range(2):
        write_openspliceai(folder / f"model_{i}.pt", 80, salt=f"{i}")
    ran = run("zoo", "import", folder, tmp_path / "ours", "--name", "mine", "--licence", "CC0-1.0")
    assert ran.code == 0, ran.err
    assert "2 members" in ran.out
    assert run("zoo", "verify", tmp_path / "ours").code == 0
    known = json.loads(run("zoo", "info", tmp_path / "ours").out)
    assert (known["name"], known["licence"]) == ("mine", "CC0-1.0")
    assert set(known["provenance"]["sources"]) == {"model_0.pt", "model_1.pt"}
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", p, 1, "{other}") for p in range(220, 300, 10)])
    found = []
    for model in (folder, tmp_path / "ours"):
        assert score(source, tmp_path / "out.vcf", "-m", model, "-D", "40", "--decimals", "6").code == 0
        found.append(read_vcf(tmp_path / "out.vcf")[1])
    assert found[0] == found[1]


def test_what_cannot_be_imported(run: Run, world: World, tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "a.pt", 80)
    (tmp_path / "there").mkdir()
    (tmp_path / "mixed").mkdir()
    write_openspliceai(tmp_path / "mixed" / "a.pt", 80)
    write_keras(tmp_path / "mixed" / "b.h5")
    (tmp_path / "text.pt").write_text("no checkpoint")
    for source, target, code, said in (
        (tmp_path / "a.pt", tmp_path / "there", 2, "is there already"),
        (tmp_path / "none.pt", tmp_path / "new", 2, "there is no model"),
        (tmp_path / "mixed", tmp_path / "new", 1, "several formats"),
        (tmp_path / "text.pt", tmp_path / "new", 1, "text.pt"),
    ):
        ran = run("zoo", "import", source, target)
        assert ran.code == code
        assert said in ran.err
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("harm", ["change", "remove", "unlist"])
def test_verify_finds_what_has_changed(harm: str, run: Run, world: World, tmp_path: Path) -> None:
    package = tmp_path / "model"
    shutil.copytree(world.model, package)
    ran = run("zoo", "verify", package)
    assert ran.code == 0
    assert "3 files" in ran.out
    weights, sums = package / "model.safetensors", package / "SHA256SUMS"
    if harm == "change":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif harm == "remove":
        weights.unlink()
    else:
        sums.write_text("".join(line for line in sums.read_text().splitlines(True) if weights.name not in line))
    ran = run("zoo", "verify", package)
    assert ran.code == 1
    assert "model.safetensors" in ran.err
    assert run("zoo", "info", package).code == 1


def test_embedded_models_are_whole(run: Run) -> None:
    for name in embedded():
        assert run("zoo", "verify", name).code == 0
    assert run("zoo", "verify", "no-such-model").code == 1
