"""The tool that makes a trained model one that ships."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from basecast.zoo.catalogue import embedded, load_model
from basecast.zoo.package import load_package

TOOL = Path(__file__).parents[2] / "tools" / "ship_model.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("ship_model", TOOL)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def numbers(folder: Path, digest: str) -> Path:
    """An evaluation with one number a class."""
    where = {"model": "human-400", "than": "", "by": "all", "group": "all", "metric": "top-1", "low": 0.5, "high": 0.75}
    rows = [{**where, "class": label, "value": 0.625, "sites": 7} for label in ("acceptor", "donor")]
    document = {
        "command": "basecast evaluate",
        "classes": ["neither", "acceptor", "donor"],
        "draws": 100,
        "models": [{"digest": digest}],
        "data": [{"positions": 12345, "records": 3}],
        "rows": rows,
    }
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(document))
    return folder


def test_the_card_tells_purpose_training_and_numbers(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embedded()["human-400"]
    shown = numbers(tmp_path / "numbers", load_model("human-400").digest)
    monkeypatch.setattr(sys, "argv", ["ship_model", str(folder), str(shown), str(tmp_path / "out")])
    tool.main()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "not a medical device" in card
    assert "sees 200 bases on each" in card
    assert "| top-1L | 0.625 (0.500 to 0.750) | 0.625 (0.500 to 0.750) |" in card
    assert "12,345 bases of 3 genes" in card
    made = load_package(tmp_path / "out")
    assert made.weights_digest == load_model("human-400").weights_digest
    assert made.spec.parents == ()


def test_numbers_of_another_model_are_refused(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = numbers(tmp_path / "numbers", "0" * 64)
    folder = embedded()["human-400"]
    monkeypatch.setattr(sys, "argv", ["ship_model", str(folder), str(shown), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="another model"):
        tool.main()
    assert not (tmp_path / "out").exists()
