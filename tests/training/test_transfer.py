"""Training that goes on from another model: what stays, what moves, and under which licence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from basecast.errors import UsageError
from basecast.models.layers import Norm
from basecast.models.registry import build
from basecast.models.spliceai import spec, tiny
from basecast.spec import ModelSpec
from basecast.spec.splice import CLASSES, splice_output
from basecast.training.lineage import inherited
from basecast.training.loop import LoopSettings
from basecast.training.train import train
from basecast.training.transfer import TransferSettings, distance, from_parent, groups
from basecast.zoo.package import Package, load_package
from lifecycle import LICENCE, folder_of, parent_of


def child_of(parent: Package, classes: tuple[str, ...] = CLASSES, licence: str = "") -> ModelSpec:
    outputs = (splice_output(classes),)
    return parent.spec.model_copy(update={"name": "child", "members": (), "outputs": outputs, "licence": licence})


SETTINGS = LoopSettings.model_validate({"epochs": 2, "batch_size": 4, "sampling": {"kind": "grid", "window": 100}})


def moved(parent: Package, child: Package, member: int = 0) -> set[str]:
    """Names of weights and statistics that are not the parent's any more."""
    before, after = parent.networks[member].state_dict(), child.networks[0].state_dict()
    return {name for name, x in after.items() if not torch.equal(x, before[name])}


def test_all_of_it_is_trained_by_default(tmp_path: Path) -> None:
    parent, data = parent_of(), folder_of(tmp_path / "data")
    start = from_parent(parent, child_of(parent), TransferSettings())
    train([data], tmp_path / "child", start, SETTINGS)
    child = load_package(tmp_path / "child")
    assert moved(parent, child) == set(child.networks[0].state_dict())
    assert child.spec.parents == ("parent",)
    assert child.spec.licence == LICENCE
    assert "goes on from parent" in (tmp_path / "child" / "README.md").read_text()


@pytest.mark.parametrize("last_units", [0, 1])
def test_frozen_units_and_their_norms_stay(tmp_path: Path, last_units: int) -> None:
    parent, data = parent_of(), folder_of(tmp_path / "data")
    start = from_parent(parent, child_of(parent), TransferSettings(last_units=last_units))
    train([data], tmp_path / "child", start, SETTINGS)
    changed = moved(parent, load_package(tmp_path / "child"))
    assert {name.split(".")[0] for name in changed} == {"head"} | ({"units"} if last_units else set())
    assert {name for name in changed if name.startswith("units")} == {
        name for name in parent.networks[0].state_dict() if last_units and name.startswith("units.1.")
    }


def test_a_frozen_norm_is_in_use_as_it_was() -> None:
    parent = parent_of()
    network = from_parent(parent, child_of(parent), TransferSettings(last_units=1)).network(5).train()
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    assert [norm.training for norm in norms] == [False, False, True, True]


def test_more_units_than_there_are() -> None:
    parent = parent_of()
    start = from_parent(parent, child_of(parent), TransferSettings(last_units=9))
    with pytest.raises(UsageError, match="3 units"):
        start.network(1)


def test_each_seed_goes_on_from_another_member() -> None:
    parent = parent_of(members=2)
    start = from_parent(parent, child_of(parent), TransferSettings())
    for seed, member in ((7, 0), (3, 1), (4, 0), (7, 0)):
        made, wanted = start.network(seed).state_dict(), parent.networks[member].state_dict()
        assert all(torch.equal(made[name], wanted[name]) for name in wanted)


def test_another_head_begins_anew(tmp_path: Path) -> None:
    classes = (*CLASSES, "branch point")
    parent, data = parent_of(), folder_of(tmp_path / "data", classes)
    start = from_parent(parent, child_of(parent, classes), TransferSettings(last_units=0))
    first, second = start.network(1), start.network(2)
    assert first.state_dict()["head.weight"].shape[0] == 4
    assert not torch.equal(first.state_dict()["head.weight"], second.state_dict()["head.weight"])
    train([data], tmp_path / "child", start, SETTINGS)
    child = load_package(tmp_path / "child")
    assert [track.name for track in child.spec.outputs[0].tracks] == list(classes)
    assert not any(name.startswith("units") for name in moved(parent, child))


def test_new_head_by_choice() -> None:
    parent = parent_of()
    made = from_parent(parent, child_of(parent), TransferSettings(new_head=True)).network(1).state_dict()
    differs = {name for name, x in parent.networks[0].state_dict().items() if not torch.equal(x, made[name])}
    assert differs == {"head.weight", "head.bias"}


def test_rates_fall_from_the_head_down() -> None:
    network = build(spec(tiny(), name="x", licence="MIT").architecture)  # type: ignore[arg-type]
    found = groups(network, 0.5)
    assert [group["factor"] for group in found] == [0.125, 0.25, 0.5, 1.0]
    counted = [p for group in found for p in group["params"]]
    assert {id(p) for p in counted} == {id(p) for p in network.parameters()}
    assert len(counted) == len(list(network.parameters()))


def test_the_penalty_is_the_squared_distance_of_all_but_the_head() -> None:
    network = build(spec(tiny(), name="x", licence="MIT").architecture)  # type: ignore[arg-type]
    penalty = distance(network, 0.5)
    assert penalty(network).item() == 0
    with torch.no_grad():
        network.get_parameter("stem.bias").add_(2.0)
        network.get_parameter("head.bias").add_(100.0)
    assert penalty(network).item() == pytest.approx(0.5 * 4 * 8)


def test_anti_forgetting_holds_weights_near_their_start(tmp_path: Path) -> None:
    parent, data = parent_of(), folder_of(tmp_path / "data")
    moves = []
    for strength in (0.0, 100.0):
        start = from_parent(parent, child_of(parent), TransferSettings(anti_forgetting=strength))
        settings = SETTINGS.model_copy(update={"epochs": 8, "weight_decay": 0.0})
        train([data], tmp_path / f"child-{strength}", start, settings)
        child = load_package(tmp_path / f"child-{strength}").networks[0]
        far = [
            (p - q).square().sum()
            for (name, p), q in zip(child.named_parameters(), parent.networks[0].parameters(), strict=True)
            if not name.startswith("head")
        ]
        moves.append(float(torch.stack(far).sum()))
    assert moves[1] < 0.6 * moves[0]


@pytest.mark.parametrize(
    ("own", "ancestors", "licence"),
    [
        ("", ["GPL-3.0-only"], "GPL-3.0-only"),
        ("", ["MIT", "CC-BY-NC-4.0"], "CC-BY-NC-4.0"),
        ("", ["CC-BY-NC-4.0", "MIT"], "CC-BY-NC-4.0"),
        ("MIT", ["Apache-2.0"], "MIT"),
        ("GPL-3.0-only", ["MIT"], "GPL-3.0-only"),
    ],
)
def test_the_strictest_licence_is_inherited(own: str, ancestors: list[str], licence: str) -> None:
    described = spec(tiny(), name="child", licence=own)
    found = inherited(described, [(f"parent {i}", name) for i, name in enumerate(ancestors)])
    assert found.licence == licence
    assert len(found.parents) == len(ancestors)


@pytest.mark.parametrize(
    ("own", "ancestors"),
    [("Apache-2.0", ["GPL-3.0-only"]), ("MIT", ["CC-BY-NC-4.0"]), ("", ["GPL-3.0-only", "CC-BY-NC-4.0"])],
)
def test_licences_that_do_not_agree(own: str, ancestors: list[str]) -> None:
    with pytest.raises(UsageError, match="cannot be under"):
        inherited(spec(tiny(), name="child", licence=own), [(f"parent {i}", name) for i, name in enumerate(ancestors)])
