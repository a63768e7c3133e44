"""Packages: what is on disk is what was saved, or loading stops and says which file is wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import graph_package, package_of

from basecast.errors import InputError, UsageError
from basecast.zoo.package import CARD, CONFIG, SUMS, Package, card_of, load_package, save_package, verify_package

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_package(tmp_path / "model", package_of("spliceai", name="tiny", species="Mus musculus"))
    return tmp_path / "model"


def sign(folder: Path) -> None:
    """Make the checksums agree with the files, as someone who tampers on purpose would."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder)}\n" for p in files]
    (folder / SUMS).write_text("".join(lines))


def unlist(folder: Path, name: str) -> None:
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if name not in line))


def edit(folder: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))
    sign(folder)


def test_what_a_package_holds(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted([CONFIG, CARD, SUMS, WEIGHTS])
    assert sorted(verify_package(folder)) == sorted([CONFIG, WEIGHTS])
    assert json.loads((folder / CONFIG).read_text())["spec_version"] == 1
    assert load_package(folder).source == str(folder)
    card = (folder / CARD).read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert "# tiny" in card
    assert "Mus musculus" in card
    assert "genome build" not in card.lower(), "nothing is said of what is not known"


def test_a_card_of_one_s_own(tmp_path: Path) -> None:
    package = package_of("spliceai")
    save_package(tmp_path / "model", package, "# Mine\n")
    assert (tmp_path / "model" / CARD).read_text() == "# Mine\n" != card_of(package.spec)


def test_more_files(tmp_path: Path) -> None:
    save_package(tmp_path / "model", package_of("spliceai"), files={"acceptance/bases.fa": b">a\nA\n", "NOTICE": b""})
    assert {"acceptance/bases.fa", "NOTICE"} <= set(verify_package(tmp_path / "model"))
    assert load_package(tmp_path / "model").digest == package_of("spliceai").digest


def test_networks_are_ready_to_answer(folder: Path) -> None:
    network = load_package(folder).network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_nothing_is_overwritten_and_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / SUMS).read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        save_package(folder, package_of("spliceai", seed=9))
    assert (folder / SUMS).read_bytes() == before

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("basecast.zoo.package.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save_package(folder.parent / "deep" / "other", package_of("spliceai"))
    assert list((folder.parent / "deep").iterdir()) == []


def test_the_digest_is_of_the_model_not_of_its_name(folder: Path) -> None:
    package = load_package(folder)
    renamed = Package(package.spec.model_copy(update={"name": "other"}), package.networks)
    assert renamed.digest == package.digest == package_of("spliceai", name="tiny", species="Mus musculus").digest
    assert package_of("spliceai", seed=1, species="Mus musculus").digest != package.digest
    assert Package(package.spec.model_copy(update={"mask": "none"}), package.networks).digest != package.digest


def test_the_digest_of_a_graph_holds_its_nodes() -> None:
    graph = graph_package()
    other = Package(graph.spec, nodes={**graph.nodes, "first": package_of("spliceai", seed=5)})
    assert graph.digest == graph_package().digest != other.digest


def test_the_network_of_an_ensemble_is_the_mean_of_its_members() -> None:
    package = package_of("spliceai", members=3)
    one_hot = torch.eye(4)[torch.randint(4, (2, 300), generator=torch.Generator().manual_seed(0))].mT
    members = torch.stack([torch.softmax(network(one_hot), 1) for network in package.networks])
    assert members.std(0).max() > 0.01
    torch.testing.assert_close(torch.softmax(package.network(one_hot), 1), members.mean(0))
    assert package_of("spliceai").network(one_hot).shape == members.shape[1:]


def test_a_card_that_was_edited(folder: Path) -> None:
    digest = load_package(folder).digest
    (folder / CARD).write_text("# Edited where it lies")
    assert load_package(folder).digest == digest


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_that_changed(folder: Path, name: str) -> None:
    load_package(folder)
    path = folder / name
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a decaying disk would
    for check in (verify_package, load_package):
        with pytest.raises(InputError, match=rf"{name} is not the file that SHA256SUMS was made for"):
            check(folder)


@pytest.mark.parametrize("name", [CONFIG, CARD, WEIGHTS])
def test_a_file_that_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing from the package"):
        load_package(folder)


def test_no_package(folder: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", folder / CARD):
        with pytest.raises(InputError, match="is no package: it has no SHA256SUMS"):
            verify_package(path)
    (folder / SUMS).write_text("")
    with pytest.raises(InputError, match=r"config.json is not listed"):
        load_package(folder)


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "{tmp_path}/secret"])
def test_sums_that_lead_out_of_the_package(folder: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    line = f"{hashlib.sha256(b'x').hexdigest()}  {name.format(tmp_path=tmp_path)}\n"
    (folder / SUMS).write_text((folder / SUMS).read_text() + line)
    with pytest.raises(InputError, match="which is no file of a package: do not trust it"):
        load_package(folder)


@pytest.mark.parametrize("content", [b"<html>", b"\xff\xfe", b"abc  config.json\n"])
def test_sums_that_are_none(folder: Path, content: bytes) -> None:
    (folder / SUMS).write_bytes(content)
    with pytest.raises(InputError, match=r"SHA256SUMS is no list of checksums"):
        load_package(folder)


def test_sums_as_another_tool_writes_them(folder: Path) -> None:
    (folder / SUMS).write_text((folder / SUMS).read_text().replace("  ", " *"))
    load_package(folder)


def test_sums_that_contradict_themselves_or_never_end(folder: Path) -> None:
    text = (folder / SUMS).read_text()
    (folder / SUMS).write_text(f"{text}{'0' * 64}  {CONFIG}/x\n")
    with pytest.raises(InputError, match=rf"lists '{CONFIG}' both as a file and as a folder"):
        load_package(folder)
    (folder / SUMS).write_text(text * 10_000)
    with pytest.raises(InputError, match="is longer than"):
        load_package(folder)


@pytest.mark.parametrize("channels", [100_000, 100_000_000])
def test_a_network_that_no_memory_holds(folder: Path, channels: int) -> None:
    edit(folder, lambda config: config["architecture"]["config"].update(channels=channels))
    with pytest.raises(InputError, match=r"has shape|is not a valid model"):
        load_package(folder)


def test_weights_that_are_not_listed(folder: Path) -> None:
    unlist(folder, WEIGHTS)
    with pytest.raises(InputError, match=rf"{WEIGHTS} is not listed in SHA256SUMS"):
        load_package(folder)


def test_a_file_that_nobody_lists_is_not_read(folder: Path) -> None:
    digest = load_package(folder).digest
    (folder / "extra.safetensors").write_bytes(b"anything")
    assert load_package(folder).digest == digest


def test_a_member_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    edit(folder, lambda config: config["members"][0].update(file=f"../{WEIGHTS}"))
    with pytest.raises(InputError, match=r"config.json is not a valid model"):
        load_package(folder)


def test_a_node_that_is_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    save_package(folder, graph_package())
    assert set(load_package(folder).nodes) == {"first", "second"}
    unlist(folder, "first/config.json")
    with pytest.raises(InputError, match=r"first/config.json is not listed"):
        load_package(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(spec_version=2),
        lambda config: config.update(surprise=1),
        lambda config: config.pop("licence"),
        lambda config: config["architecture"].update(family="unheard_of"),
        lambda config: config["architecture"]["config"].update(widths=[4, 4]),
        lambda config: config["architecture"]["config"].update(dilations=[1]),
        lambda config: config["architecture"]["config"].update(dilations=[0, 0]),
        lambda config: config["architecture"].update(config="builtins.exec"),
    ],
)
def test_a_config_that_is_not_valid(folder: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    edit(folder, change)
    with pytest.raises(InputError, match=r"config.json is not a valid model"):
        load_package(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_config_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / CONFIG).write_bytes(content)
    sign(folder)
    with pytest.raises(InputError, match=r"config.json is not a valid model"):
        load_package(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit(folder, lambda config: config["architecture"]["config"].update(channels=9))
    with pytest.raises(InputError, match=r"weight .* has shape \(8.*, the config asks for \(9"):
        load_package(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("head.bias"), r"missing \['head.bias'\]"),
        (lambda weights: weights.update(more=torch.zeros(1)), r"unknown \['more'\]"),
    ],
)
def test_weights_too_few_or_too_many(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], words: str
) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    sign(folder)
    with pytest.raises(InputError, match=words):
        load_package(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:keep])
    sign(folder)
    with pytest.raises(InputError, match=rf"{WEIGHTS} is not a safetensors file"):
        load_package(folder)
