"""A new model by the name of its family, a size, and what differs from that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toy_signals import signal_output, signals

from basecast.errors import InputError, UsageError
from basecast.models.spliceai import published
from basecast.spec import LocalReach, ModelSpec, WindowReach
from basecast.spec.splice import CLASSES, splice_output
from basecast.training.design import designed, fields_of
from basecast.training.recipes import RECIPES, windows_of

CARD = {"name": "new", "licence": "MIT"}


def config_of(spec: ModelSpec) -> dict[str, Any]:
    assert spec.architecture is not None
    return spec.architecture.config


def test_what_suits_the_data_is_the_default() -> None:
    sites = designed((splice_output(),), **CARD)
    assert sites.architecture is not None
    assert sites.architecture.family == "spliceai"
    assert config_of(sites) == published(400).model_dump(mode="json")
    signal = designed((signal_output(128),), **CARD)
    assert signal.architecture is not None
    assert signal.architecture.family == "basenji"
    assert (signal.name, signal.licence, signal.mask) == ("new", "MIT", "none")
    assert signal.outputs == (signal_output(128),)


def test_sizes_and_what_differs_from_them() -> None:
    wide = designed((splice_output((*CLASSES, "branch point")),), size="80", config={"channels": 5}, **CARD)
    assert config_of(wide)["channels"] == 5
    assert config_of(wide)["classes"] == [*CLASSES, "branch point"]
    assert wide.reach == LocalReach(left=40, right=40)
    short, whole = (
        designed((signal_output(128),), size="small", config=config, **CARD) for config in ({"dilations": [2]}, {})
    )
    assert short.reach.left < whole.reach.left / 10  # type: ignore[union-attr]
    assert config_of(short)["dilations"] == [2]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a family that there is not": ({"family": "basset"}, "there is no family 'basset', only basenji"),
    "a size that there is not": ({"size": "huge"}, "there is no basenji of the size 'huge', only tiny, small"),
    "a field that there is not": ({"config": {"depth": 3}}, "config of basenji has no field 'depth', only heads, link"),
    "a value that cannot be": ({"config": {"dilated_filters": 0}}, "basenji cannot be so: dilated_filters: Input"),
    "other bins": ({"size": "tiny"}, "basenji: 'signal' has bins of 128 bp, a model of this size has bins of 8 bp"),
    "a family of sites of no size": ({"family": "spliceai"}, "spliceai: this family gives splice sites"),
    "a family of sites": ({"family": "spliceai", "size": "80"}, "spliceai: this family gives splice sites"),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        designed((signal_output(128),), **given, **CARD)


def test_a_family_of_signals_gives_no_sites() -> None:
    with pytest.raises(UsageError, match="basenji: this family gives signal tracks"):
        designed((splice_output(),), family="basenji", **CARD)


def test_fields_are_typed_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text(json.dumps({"channels": 7, "link": "exp"}))
    given = ["dilations=[2, 4]", "crop=null", "link=softplus", str(tmp_path / "more.json"), "channels=9"]
    assert fields_of(given) == {"dilations": [2, 4], "crop": None, "link": "exp", "channels": 9}
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match="holds no JSON object"):
        fields_of([str(tmp_path / "list.json")])
    with pytest.raises(InputError, match="--config nowhere is neither KEY=VALUE nor a file of JSON"):
        fields_of(["nowhere"])


# ---- recipes


def test_windows_are_as_long_as_the_data_were_made_for(tmp_path: Path) -> None:
    many = signals(tmp_path / "many", length=2048, window=512, records={"train": 2})
    single = signals(tmp_path / "single", length=512, window=512, records={"train": 2})
    spec = designed((signal_output(8),), size="tiny", **CARD)
    assert windows_of([many], spec) == {"window": 512, "kind": "random-phase"}
    assert windows_of([many], spec, 4096) == {"window": 4096, "kind": "grid"}
    assert windows_of([single], spec) == {"window": 512, "kind": "grid"}
    assert windows_of([single, many], spec)["kind"] == "random-phase"
    whole = spec.model_copy(update={"reach": WindowReach(lengths=(1024,), crop=128)})
    assert windows_of([many], whole)["window"] == 768
    assert windows_of([many], designed((splice_output(),), **CARD)) == {}


def test_published_recipes() -> None:
    settings = {name: recipe() for name, recipe in RECIPES.items()}
    assert settings["splicing"].loss.kind == "cross-entropy"
    assert all(x.loss.kind.startswith("poisson") for name, x in settings.items() if name != "splicing")
    first, second, third = (settings[name] for name in ("basenji", "basenji2", "borzoi"))
    assert (first.optimiser.kind, first.optimiser.betas, first.schedule.rate) == ("adam", (0.97, 0.98), 2.063e-3)
    assert (second.optimiser.kind, second.optimiser.momentum, second.schedule.rate) == ("sgd", 0.99, 0.15)
    assert (second.optimiser.clip_each, second.optimiser.clip, second.batch_size, second.patience) == (2, None, 4, 16)
    assert (third.optimiser.clip, third.schedule.rate, third.schedule.warm_up) == (0.15, 6e-5, 20_000)
    assert (third.loss.kind, third.loss.total_weight, third.batch_size) == ("poisson-multinomial", 0.2, 2)
