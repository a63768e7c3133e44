"""Training that goes on from another model: what stays, what moves, and under which licence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lifecycle import LICENCE, folder_of, parent_of
from pydantic import ValidationError
from toy_signals import basenji_of, settings_of, signal_output, signals

from basecast.errors import UsageError
from basecast.models.layers import Norm
from basecast.models.network import Network
from basecast.models.registry import build, families
from basecast.models.spliceai import spec, tiny
from basecast.spec import ModelSpec
from basecast.spec.splice import CLASSES, splice_output
from basecast.training.fitting import context_of
from basecast.training.lineage import inherited
from basecast.training.loop import LoopSettings
from basecast.training.lora import LowRank, adapt, merged
from basecast.training.train import train
from basecast.training.transfer import TransferSettings, distance, from_parent, groups
from basecast.zoo.package import Package, load_package


def child_of(parent: Package, classes: tuple[str, ...] = CLASSES, licence: str = "") -> ModelSpec:
    outputs = (splice_output(classes),)
    return parent.spec.model_copy(update={"name": "child", "members": (), "outputs": outputs, "licence": licence})


SETTINGS = LoopSettings.model_validate({"epochs": 2, "batch_size": 4, "sampling": {"kind": "grid", "window": 100}})


def for_tracks(**more: object) -> LoopSettings:
    return settings_of(batch_size=8, **more)


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


# ---- a head, or adapters


@pytest.fixture(scope="module")
def basenji(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Of random weights, and random statistics of its norms."""
    described = basenji_of(name="parent", licence=LICENCE)
    torch.manual_seed(3)
    network = build(described.architecture).eval()  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, Norm):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return Package(described, (network.requires_grad_(False),))


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signals(tmp_path_factory.mktemp("signals"))


def for_signals(parent: Package, names: tuple[str, ...] = ("reads+", "reads-")) -> ModelSpec:
    """Of a child with tracks of these names."""
    output = signal_output(8)
    renamed = tuple(t.model_copy(update={"name": n}) for t, n in zip(output.tracks, names, strict=True))
    outputs = (output.model_copy(update={"tracks": renamed}),)
    return parent.spec.model_copy(update={"name": "child", "members": (), "outputs": outputs, "licence": ""})


def logits_of(network: Network, seed: int = 0) -> torch.Tensor:
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (2, 400))), 4)
    with torch.no_grad():
        found = network(one_hot.mT.float()[..., : 400 - (400 - sum(context_of(basenji_of()))) % 8])
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("family", ["basenji", "spliceai"])
def test_only_the_head_moves_and_the_statistics_of_the_rest_stay(
    family: str, basenji: Package, tracks: Path, tmp_path: Path
) -> None:
    if family == "basenji":
        parent, data, child, settings = basenji, tracks, for_signals(basenji), for_tracks()
    else:
        parent, data, settings = parent_of(), folder_of(tmp_path / "data"), SETTINGS
        child = child_of(parent)
    start = from_parent(parent, child, TransferSettings(mode="head"))
    train([data], tmp_path / "child", start, settings)
    changed = moved(parent, load_package(tmp_path / "child"))
    assert {name.split(".")[0] for name in changed} == {"head"}
    assert "its head trained" in (tmp_path / "child" / "README.md").read_text()


@pytest.mark.parametrize("seed", [1, 2])
def test_adapters_change_nothing_at_the_start(seed: int, basenji: Package) -> None:
    start = from_parent(basenji, for_signals(basenji), TransferSettings(mode="lora", rank=2))
    network = start.network(seed).eval()
    assert torch.equal(logits_of(network), logits_of(basenji.networks[0]))
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[-1] for name in trained if not name.startswith("head")} == {"down", "up"}
    assert sum(name.endswith(".up") for name in trained) >= 4
    norms = [module for module in network.train().modules() if isinstance(module, Norm)]
    assert norms
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("family", ["basenji2", "borzoi"])
def test_adapters_of_every_kind_of_layer(family: str) -> None:
    known = families()[family]
    spec = known.spec(known.sizes["tiny"](), name=family, licence="MIT")
    assert spec.architecture is not None
    network = build(spec.architecture).eval()
    x = torch.nn.functional.one_hot(torch.from_numpy(np.random.default_rng(1).integers(0, 4, (1, 1024))), 4).mT.float()
    before = network(x)
    assert adapt(network, 1, 2.0, besides=network.head_modules) > 3
    assert torch.equal(network(x), before)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith(".up"):
                p.normal_(0, 0.1)
    adapted = network(x)
    assert (adapted - before).abs().max() > 1e-3
    torch.testing.assert_close(merged(network)(x), adapted, rtol=1e-4, atol=1e-5)


def test_adapters_train_and_end_as_plain_weights(basenji: Package, tracks: Path, tmp_path: Path) -> None:
    start = from_parent(basenji, for_signals(basenji), TransferSettings(mode="lora", rank=2, alpha=4.0))
    train([tracks], tmp_path / "child", start, for_tracks(epochs=2, schedule={"rate": 0.01}))
    child = load_package(tmp_path / "child")
    own = child.networks[0]
    assert own.state_dict().keys() == basenji.networks[0].state_dict().keys()
    changed = moved(basenji, child)
    assert any(name.startswith("blocks") for name in changed)
    assert all(name.startswith("head") or name.endswith("conv.weight") for name in changed)
    for name in changed:
        difference = own.state_dict()[name] - basenji.networks[0].state_dict()[name]
        if not name.startswith("head"):
            assert int(torch.linalg.matrix_rank(difference.flatten(1), rtol=1e-4)) <= 2
    assert "its head and adapters of rank 2 trained" in (tmp_path / "child" / "README.md").read_text()


def test_what_is_merged_answers_as_what_was_trained(basenji: Package) -> None:
    network = from_parent(basenji, for_signals(basenji), TransferSettings(mode="lora", rank=2)).network(1).eval()
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith(".up"):
                p.normal_()
    before = logits_of(network)
    assert (before - logits_of(basenji.networks[0])).abs().max() > 0.1
    merged(network)
    torch.testing.assert_close(logits_of(network), before, rtol=1e-5, atol=1e-6)
    assert not any("parametrizations" in name for name in network.state_dict())


def test_an_adapter_is_the_product_of_its_matrices_times_alpha_over_rank() -> None:
    layer = torch.nn.Conv1d(6, 8, 5)
    adapter = LowRank(layer.weight, rank=3, alpha=6.0)
    torch.nn.init.normal_(adapter.up)
    by_hand = torch.einsum("or,ri->oi", adapter.up, adapter.down).reshape(8, 6, 5) * 2
    torch.testing.assert_close(adapter(layer.weight), layer.weight + by_hand)


def test_layers_that_an_adapter_would_not_make_smaller_have_none() -> None:
    class Small(Network):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = torch.nn.Linear(4, 4), torch.nn.Linear(64, 64)
            self.depthwise = torch.nn.Conv1d(64, 64, 9, groups=64)
            self.head = torch.nn.Linear(64, 64)

    network = Small()
    assert adapt(network, 4, 8.0, besides=network.head_modules) == 1
    assert {name for name in network.state_dict() if "parametrizations" in name} == {
        f"wide.parametrizations.weight.{part}" for part in ("original", "0.down", "0.up")
    }


def test_other_tracks_have_a_new_head_and_the_parents_trunk(basenji: Package) -> None:
    start = from_parent(basenji, for_signals(basenji, ("a", "b")), TransferSettings(mode="lora"))
    made, wanted = merged(start.network(1)).state_dict(), basenji.networks[0].state_dict()
    differs = {name for name, x in wanted.items() if not torch.equal(x, made[name])}
    assert {name.split(".")[0] for name in differs} == {"head"}
    assert [track.name for track in start.spec.outputs[0].tracks] == ["a", "b"]
    assert start.spec.outputs[0].reverse_complement.permutation == (1, 0)


def test_bins_that_the_family_does_not_give(basenji: Package) -> None:
    child = for_signals(basenji)
    wider = (child.outputs[0].model_copy(update={"resolution": 32}),)
    with pytest.raises(UsageError, match="parent cannot have these outputs: 'signal' has bins of 32 bp"):
        from_parent(basenji, child.model_copy(update={"outputs": wider}), TransferSettings())
    with pytest.raises(UsageError, match="parent cannot have these outputs"):
        from_parent(parent_of(), for_signals(basenji), TransferSettings())


def test_units_are_asked_of_what_has_some(basenji: Package) -> None:
    for given in ({"last_units": 1}, {"layer_decay": 0.5}):
        start = from_parent(basenji, for_signals(basenji), TransferSettings.model_validate(given))
        with pytest.raises(UsageError, match="is not made of units: leave --last-units and --layer-decay out"):
            start.network(1)


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "head", "last_units": 1},
        {"mode": "lora", "layer_decay": 0.5},
        {"mode": "head", "anti_forgetting": 1.0},
        {"mode": "full", "rank": 4},
        {"mode": "head", "alpha": 4.0},
    ],
)
def test_settings_go_with_their_mode(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="go with the mode"):
        TransferSettings.model_validate(given)


# ---- rates and penalties


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
        still = SETTINGS.optimiser.model_copy(update={"weight_decay": 0.0})
        settings = SETTINGS.model_copy(update={"epochs": 8, "optimiser": still})
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
