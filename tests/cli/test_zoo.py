"""``basecast zoo``: what is here, what a model is, another's checkpoint as a package, whether it is whole and works."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import write_keras, write_openspliceai

from basecast.zoo.catalogue import embedded, load_model
from basecast.zoo.known import known
from basecast.zoo.package import load_package
from conftest import Run, World, command, read_vcf, write_vcf

sys.path.append(str(Path(__file__).parents[1] / "zoo"))

from package_server import serving  # the tests of the zoo's own rooms share it


def test_list_names_every_model_that_ships_or_is_known(run: Run) -> None:
    ran = run("zoo", "list")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == [*embedded(), *known()]
    for name, state, species, context, licence, outputs in rows:
        assert (int(context) > 0, outputs) == (True, "splice")
        if state == "ships":
            spec = load_model(name).spec
            assert (species, licence) == (spec.species, spec.licence)


def test_info_of_a_model_that_is_only_known(run: Run) -> None:
    said = json.loads(run("zoo", "info", "openspliceai-mouse-400").out)
    assert (said["licence"], said["species"], said["context"]) == ("GPL-3.0-only", "Mus musculus", 400)
    assert (said["state"], said["get"]) == ("not fetched", "basecast zoo get openspliceai-mouse-400")


def test_get_publish_and_use(
    run: Run, score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a checkpoint to a hub to somebody else's machine, and the same scores there."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "token"))  # not the user's own token
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    write_openspliceai(tmp_path / "m.pt", 80)
    assert run("zoo", "import", tmp_path / "m.pt", tmp_path / "mine").code == 0
    commit = "a" * 40
    ran = run(
        "zoo", "publish", tmp_path / "mine", tmp_path / "hub" / "lab" / "mine" / commit, "--repository", "lab/mine"
    )
    assert ran.code == 0, ran.err
    assert "mine, GPL-3.0-only, 3 acceptance results" in ran.out
    card = (tmp_path / "hub" / "lab" / "mine" / commit / "README.md").read_text()
    fetch, use = (line.split()[1:] for line in card.splitlines() if line.startswith("basecast "))
    with serving(tmp_path / "hub") as served:
        served.commits["lab/mine"] = {"main": commit}
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        ran = run(*fetch)
        assert ran.code == 0, ran.err
        assert "hf:lab/mine: 7 files" in ran.out
        assert "licence: GPL-3.0-only (what you distribute" in ran.out
        assert ran.out.endswith("use it with: -m hf:lab/mine\n")
    monkeypatch.setenv("BASECAST_OFFLINE", "1")
    assert "here already" in run("zoo", "get", "hf:lab/mine").out
    assert run("zoo", "verify", "--run", "hf:lab/mine", "--device", "cpu").code == 0
    assert "hf:lab/mine\tfetched" in run("zoo", "list").out
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", p, 1, "{other}") for p in range(220, 300, 10)])
    found = []
    for model in (tmp_path / "m.pt", use[-1]):
        assert score(source, tmp_path / "out.vcf", "-m", model, "-D", "40", "--decimals", "6").code == 0
        found.append(read_vcf(tmp_path / "out.vcf")[1])
    assert found[0] == found[1]
    ran = run("zoo", "get", "openspliceai-mane-80")
    assert ran.code == 2
    assert "BASECAST_OFFLINE forbids" in ran.err


def test_get_of_what_no_checksums_are_published(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "openspliceai-mouse-80"
    folder.mkdir()
    for seed in range(10, 15):
        write_openspliceai(folder / f"model_80nt_rs{seed}.pt", 80, salt=f"{seed}")
    ran = run("zoo", "get", folder)
    assert ran.code == 0, ran.err
    assert json.loads(run("zoo", "info", "openspliceai-mouse-80").out)["species"] == "Mus musculus"
    assert run("zoo", "verify", "openspliceai-mouse-80").code == 0
    ran = run("zoo", "verify", "--run", "openspliceai-mouse-80")
    assert ran.code == 1
    assert "carries no test vectors" in ran.err
    ran = run("zoo", "get", "spliceai-illumina-10000")
    assert ran.code == 2
    assert "CC-BY-NC-4.0 (it forbids use for commercial advantage" in ran.err
    assert "see https://github.com/Illumina/SpliceAI." in ran.err
    assert "zoo get spliceai-illumina-10000 --accept-licence" in ran.err


def test_verify_runs_a_package(run: Run) -> None:
    ran = run("zoo", "verify", "--run", "human-400", "--device", "cpu")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "plus strand, splice", "minus strand, splice", "variants, delta scores"
    ]  # fmt: skip
    assert all("max |diff|" in line and "tolerance" in line for line in lines[1:4])
    assert lines[-1] == "human-400 computes what its authors saw"


def test_verify_names_the_vector_that_fails(run: Run, tmp_path: Path) -> None:
    from basecast.zoo.package import save_package

    shutil.copytree(embedded()["human-400"], tmp_path / "model")
    package = load_package(tmp_path / "model")
    package.networks[0].head.weight[[1, 2]] = package.networks[0].head.weight[[2, 1]]
    files = {f"acceptance/{path.name}": path.read_bytes() for path in (tmp_path / "model" / "acceptance").iterdir()}
    save_package(tmp_path / "wrong", package, files=files)
    assert run("zoo", "verify", tmp_path / "wrong").code == 0, "its checksums are right"
    ran = run("zoo", "verify", "--run", tmp_path / "wrong", "--device", "cpu")
    assert ran.code == 1
    assert "human-400 fails its test vector 'plus strand': in splice, " in ran.err
    assert "plus strand, splice: max |diff|" in ran.out


def test_what_cannot_be_published(run: Run, world: World, tmp_path: Path) -> None:
    ran = run("zoo", "publish", world.model, tmp_path / "out")
    assert ran.code == 1
    assert "its provenance is empty" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_fetch_that_is_killed_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    shutil.copytree(embedded()["human-400"], tmp_path / "hub" / "copy")
    with serving(tmp_path / "hub") as served:
        served.breaks["/copy/model.safetensors"] = [100_000, *[0] * 9]
        process = subprocess.Popen(command("zoo", "get", f"{served.url}/copy"), stderr=subprocess.PIPE)
        while len(served.asked("model.safetensors")) < 2 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        served.breaks.clear()
        served.requests.clear()
        assert "no model 'copy'" in run("zoo", "verify", "copy").err
        assert run("zoo", "get", f"{served.url}/copy").code == 0
        assert served.asked("model.safetensors") == ["bytes=100000-"]
    assert run("zoo", "verify", "copy").code == 0


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
    assert "2 files" in ran.out
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
    assert run("zoo", "verify", "no-such-model").code == 2
