"""What may be published, and what others find there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_openspliceai
from package_server import Served, served_fixture  # noqa: F401  # a fixture
from toys import graph_package, package_of

from basecast.errors import InputError, UsageError
from basecast.spec import Provenance
from basecast.zoo.catalogue import load_model
from basecast.zoo.fetch import get
from basecast.zoo.known import known
from basecast.zoo.package import CARD, SUMS, Package, load_package, save_package, verify_package
from basecast.zoo.publish import publish, require_publishable

FILES = {"acceptance/vectors.json": b"{}"}
MADE = Provenance(note="made for a test")


def ready(**card: Any) -> Package:
    return package_of("spliceai", **{"name": "mine", "licence": "MIT", "provenance": MADE, **card})


def test_a_published_folder_comes_back_byte_for_byte(served: Served, tmp_path: Path) -> None:
    package, folder = ready(), served.root / "lab" / "mine" / ("1" * 40)
    publish(package, folder, FILES, ["all is well"], "lab/mine")
    served.commits["lab/mine"] = {"main": "1" * 40}
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", CARD, SUMS, ".gitattributes", "acceptance"}
    assert "*.safetensors filter=lfs" in (folder / ".gitattributes").read_text()
    assert "all is well" in (folder / CARD).read_text()
    assert "basecast zoo get hf:lab/mine" in (folder / CARD).read_text()
    for reference in ("hf:lab/mine", f"{served.url}/lab/mine/{'1' * 40}", str(folder)):
        found = get(reference, tmp_path / "copy")
        theirs = {
            p.relative_to(folder): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file() and p.name != ".gitattributes"
        }
        ours = {p.relative_to(found.folder): p.read_bytes() for p in found.folder.rglob("*") if p.is_file()}
        assert ours == theirs
        assert load_package(found.folder).digest == package.digest
        shutil.rmtree(found.folder)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"licence": "unknown"}, r"the licence 'unknown' is no SPDX identifier \(zoo import --licence"),
        ({"licence": ""}, "the licence '' is no SPDX"),
        ({"name": "my model"}, "the name 'my model' is none that a hub takes"),
        ({"provenance": Provenance()}, "its provenance is empty"),
        ({"parents": ("spliceai-illumina-10000",), "licence": "GPL-3.0-only"}, "it says GPL-3.0-only, but comes from "
         "spliceai-illumina-10000, which is under CC-BY-NC-4.0"),
        (
            {"provenance": Provenance(sources={"m.pt": next(iter(known()["openspliceai-mane-80"].sums.values()))})},
            "it says MIT, but comes from openspliceai-mane-80, which is under GPL-3.0-only",
        ),
    ],
)  # fmt: skip
def test_what_is_not_ready(card: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"is not ready to be published: {words}"):
        publish(ready(**card), tmp_path / "out", FILES, [])
    assert list(tmp_path.iterdir()) == []


def test_what_is_ready() -> None:
    require_publishable(ready(parents=("human-400", "something of ours")))
    require_publishable(ready(parents=("openspliceai-mane-80",), licence="GPL-3.0-only"))
    require_publishable(ready(licence="LicenseRef-Ours"))


def test_a_card_by_hand_is_kept_and_another_s_is_not(tmp_path: Path) -> None:
    package = ready()
    save_package(tmp_path / "mine", package, "# Mine\n\nMeasured on chr1: 0.9.\n")
    publish(load_package(tmp_path / "mine"), tmp_path / "out", FILES, [])
    assert "## Notes\n\nMeasured on chr1: 0.9.\n" in (tmp_path / "out" / CARD).read_text()
    assert "chr1" in (tmp_path / "out" / CARD).read_text()
    (tmp_path / "theirs").mkdir()
    write_openspliceai(tmp_path / "theirs" / "m.pt", 80)
    (tmp_path / "theirs" / CARD).write_text("Text of another project")
    theirs = load_model(tmp_path / "theirs")
    publish(theirs, tmp_path / "imported", FILES, [])
    assert "another project" not in (tmp_path / "imported" / CARD).read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    publish(ready(), tmp_path / "out", FILES, [])
    other = replace(ready(), spec=ready().spec.model_copy(update={"name": "other"}))
    with pytest.raises(UsageError, match="is there already"):
        publish(other, tmp_path / "out", FILES, [])
    assert len(verify_package(tmp_path / "out")) == 3


def with_licence(package: Package, licence: str) -> Package:
    return replace(package, spec=package.spec.model_copy(update={"licence": licence}))


def test_a_composite_is_not_milder_than_its_nodes() -> None:
    graph = graph_package()
    spec = graph.spec.model_copy(update={"name": "graph", "provenance": MADE})
    require_publishable(replace(graph, spec=spec))
    nodes = {**graph.nodes, "first": with_licence(graph.nodes["first"], "GPL-3.0-only")}
    with pytest.raises(InputError, match=r"it says MIT, but comes from spliceai, which is under GPL-3.0-only"):
        require_publishable(replace(graph, spec=spec, nodes=nodes))


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "CC-BY-ND-4.0", "LicenseRef-Theirs"])
def test_a_parent_that_was_fetched(served: Served, licence: str) -> None:
    save_package(served.root / "theirs", package_of("spliceai", licence=licence))
    get(f"{served.url}/theirs", accept_licence=True)
    with pytest.raises(InputError, match=rf"it says MIT, but comes from theirs, which is under {licence}"):
        require_publishable(ready(parents=("theirs",)))


def test_a_card_that_was_edited_where_it_lies(tmp_path: Path) -> None:
    publish(ready(), tmp_path / "out", FILES, [])
    card = tmp_path / "out" / CARD
    card.write_text(card.read_text() + "\n## Notes\n\nWritten on the hub.\n")
    (tmp_path / "out" / ".gitattributes").unlink()
    publish(load_package(tmp_path / "out"), tmp_path / "again", FILES, [])
    assert "Written on the hub." in (tmp_path / "again" / CARD).read_text()
