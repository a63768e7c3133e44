"""``zoo get``: from a hub, a web server, a folder or the catalogue to a model that loads without a network."""

from __future__ import annotations

import hashlib
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import write_openspliceai
from package_server import (  # noqa: F401  # fixtures
    COMMITS,
    Served,
    left_overs,
    no_network_fixture,
    on_the_hub,
    package_fixture,
    served_fixture,
    url_fixture,
)
from toys import graph_package, package_of

from basecast.errors import BasecastError, InputError, UsageError
from basecast.files import cache_folder
from basecast.zoo import store
from basecast.zoo.catalogue import describe, find_model, listing, load_model
from basecast.zoo.download import TRIES
from basecast.zoo.fetch import get
from basecast.zoo.known import Known
from basecast.zoo.package import CARD, CONFIG, SUMS, Package, save_package

WEIGHTS = "model.safetensors"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def entry(served: Served, monkeypatch: pytest.MonkeyPatch) -> Known:
    """A catalogue of one model: two checkpoints, of one of which the checksum is known."""
    folder = served.root / "theirs" / "v1"
    folder.mkdir(parents=True)
    for i in range(2):
        write_openspliceai(folder / f"m{i}.pt", 80, salt=f"{i}")
    entry = Known(
        name="theirs-80",
        url=f"{served.url}/theirs/{{revision}}/",
        revision="v1",
        sums={"m0.pt": hashlib.sha256((folder / "m0.pt").read_bytes()).hexdigest(), "m1.pt": ""},
        licence="GPL-3.0-only",
        species="Apis mellifera",
        context=80,
        citation="Them 2025",
        homepage="https://example.org",
    )
    know(entry, monkeypatch)
    return entry


def know(entry: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fetch", "catalogue"):
        monkeypatch.setattr(f"basecast.zoo.{module}.known", lambda: {entry.name: entry})


@pytest.mark.parametrize("ending", ["", "/", "/SHA256SUMS"])
def test_a_package_from_a_web_server(
    served: Served, url: str, package: Package, ending: str, no_network: Callable[[], None]
) -> None:
    seen: list[int] = []
    found = get(url + ending, progress=seen.append)
    assert (found.name, found.was_there, found.licences) == ("tiny-2k", False, ("MIT",))
    assert contents(found.folder) == contents(served.root / "models" / "tiny-2k")
    assert seen == sorted(seen)
    assert (
        seen[-1]
        == found.n_bytes
        == sum(map(len, contents(found.folder).values())) - (found.folder / SUMS).stat().st_size
    )
    assert left_overs() == []
    no_network()
    assert load_model("tiny-2k").digest == package.digest
    assert load_model(url + ending).digest == package.digest
    assert ("tiny-2k", "fetched", "Mus musculus", "44", "MIT", "splice") in list(listing())
    assert describe("tiny-2k")["source"] == f"{url}/"


def test_a_graph_of_packages(served: Served) -> None:
    save_package(served.root / "graph", graph_package())
    get(f"{served.url}/graph")
    assert load_model("graph").digest == graph_package().digest


def test_checkpoints_of_the_catalogue(served: Served, entry: Known, no_network: Callable[[], None]) -> None:
    with pytest.raises(UsageError, match=r"theirs-80 has not been fetched yet: run `basecast zoo get theirs-80` once"):
        load_model("theirs-80")
    assert served.requests == [], "nothing is fetched by naming it"
    assert describe("theirs-80")["state"] == "not fetched"
    found = get("theirs-80")
    assert sorted(contents(found.folder)) == [SUMS, "m0.pt", "m1.pt"]
    no_network()
    package = load_model("theirs-80")
    assert len(package.networks) == 2
    known = (package.spec.name, package.spec.species, package.spec.licence)
    assert known == ("theirs-80", "Apis mellifera", "GPL-3.0-only")
    assert get("theirs-80").was_there


def test_a_revision_of_the_catalogue(served: Served, entry: Known) -> None:
    (served.root / "theirs" / "v2").mkdir()
    for i in range(2):
        write_openspliceai(served.root / "theirs" / "v2" / f"m{i}.pt", 80, salt=f"new{i}")
    get("theirs-80@v2")  # the checksums known are those of v1
    get("theirs-80")
    assert load_model("theirs-80").weights_digest != load_model("theirs-80@v2").weights_digest


def test_a_fetched_checkpoint_that_decays(entry: Known) -> None:
    path = get("theirs-80").folder / "m1.pt"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m1.pt is not the file that SHA256SUMS was made for"):
        load_model("theirs-80")
    assert not get("theirs-80").was_there
    load_model("theirs-80")


def test_an_interrupted_fetch_goes_on(served: Served, url: str, package: Package) -> None:
    path = f"/models/tiny-2k/{WEIGHTS}"
    served.breaks[path] = [3000, *[0] * TRIES]
    with pytest.raises(BasecastError, match=r"could not be fetched .* to go on"):
        get(url)
    with pytest.raises(UsageError, match="no model"):
        load_model("tiny-2k")
    served.breaks.clear()
    served.requests.clear()
    get(url)
    assert served.asked(WEIGHTS) == ["bytes=3000-"]
    assert served.asked(CONFIG) == [], "what is whole is not fetched again"
    assert load_model("tiny-2k").digest == package.digest
    assert left_overs() == []


@pytest.mark.parametrize("harm", ["missing", "other"])
def test_a_server_that_serves_something_else(served: Served, url: str, harm: str) -> None:
    path = f"/models/tiny-2k/{WEIGHTS}"
    if harm == "missing":
        served.missing.add(path)
    else:
        served.other[path] = b"other bytes"
    with pytest.raises(InputError, match={"missing": r"no http.*404", "other": "gives other bytes"}[harm]):
        get(url)
    with pytest.raises(UsageError, match="no model"):
        find_model("tiny-2k")
    assert not store.fetched()


def test_a_folder(served: Served, package: Package, tmp_path: Path, no_network: Callable[[], None]) -> None:
    no_network()
    found = get(str(served.root / "models" / "tiny-2k"))
    assert contents(found.folder) == contents(served.root / "models" / "tiny-2k")
    assert load_model("tiny-2k").digest == package.digest
    with pytest.raises(UsageError, match="there is no folder"):
        get("./nowhere")
    with pytest.raises(InputError, match=r"is no package .*make one of it with basecast zoo import"):
        get(str(tmp_path))


@pytest.mark.parametrize("harm", ["missing", "other"])
def test_a_folder_that_is_not_whole(served: Served, package: Package, harm: str) -> None:
    weights = served.root / "models" / "tiny-2k" / WEIGHTS
    weights.unlink() if harm == "missing" else weights.write_bytes(b"other")
    with pytest.raises(InputError, match={"missing": "is missing", "other": "not what its checksum says"}[harm]):
        get(str(weights.parent))
    assert not store.fetched()


def test_to_a_machine_without_a_network(
    served: Served, entry: Known, tmp_path: Path, no_network: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    get("theirs-80", tmp_path / "theirs-80")
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "elsewhere"))
    no_network()
    with pytest.raises(
        UsageError,
        match=r"theirs-80 is not in .*elsewhere.*run `basecast zoo get theirs-80 -o theirs-80` "
        r"where there is a network, .* `basecast zoo get ./theirs-80`",
    ):
        get("theirs-80")
    monkeypatch.chdir(tmp_path)
    get("./theirs-80")
    monkeypatch.chdir(tmp_path.parent)
    assert load_model("theirs-80").spec.species == "Apis mellifera"
    (tmp_path / "theirs-80" / "m0.pt").write_bytes(b"other")
    shutil.rmtree(store.folder_of("theirs-80"))
    with pytest.raises(InputError, match=r"m0.pt is not the file that SHA256SUMS was made for"):
        get(str(tmp_path / "theirs-80"))


def test_a_folder_of_one_s_own(served: Served, url: str, package: Package, tmp_path: Path) -> None:
    found = get(url, tmp_path / "deep" / "mine")
    assert found.folder == tmp_path / "deep" / "mine"
    assert [p.name for p in found.folder.parent.iterdir()] == ["mine"]
    assert load_model(found.folder).digest == package.digest
    assert not store.fetched()
    with pytest.raises(UsageError, match="mine is there already: choose another"):
        get(url, tmp_path / "deep" / "mine")
    assert load_model(found.folder).digest == package.digest


@pytest.mark.parametrize("kind", ["catalogue", "package"])
def test_non_commercial_weights_are_agreed_to_once(
    kind: str, served: Served, entry: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "catalogue":
        know(entry.model_copy(update={"licence": "CC-BY-NC-4.0"}), monkeypatch)
        name = reference = "theirs-80"
    else:
        save_package(served.root / "nc", package_of("spliceai", licence="CC-BY-NC-4.0"))
        name, reference = "nc", f"{served.url}/nc"
    with pytest.raises(UsageError, match=rf"CC-BY-NC-4.0 \(it forbids .*basecast zoo get {reference} --accept-licence"):
        get(reference)
    assert served.asked("m0.pt") == served.asked(WEIGHTS) == []
    get(reference, accept_licence=True)
    load_model(name)
    shutil.rmtree(store.folder_of(name))
    get(reference)
    shutil.rmtree(cache_folder("models", "accepted"))
    with pytest.raises(UsageError, match="--accept-licence"):
        load_model(name)
    with pytest.raises(UsageError, match="--accept-licence"):
        get(reference)
    get(reference, accept_licence=True)
    load_model(name)


def test_left_overs_of_another_try_do_not_stay(served: Served, url: str) -> None:
    staging = store.folder_of("tiny-2k").with_name(".tiny-2k.partial")
    (staging / "old").mkdir(parents=True)
    (staging / "old" / "file").write_text("of another version")
    (staging / CONFIG).write_text("{}")
    found = get(url)
    assert contents(found.folder) == contents(served.root / "models" / "tiny-2k")


def test_garbage_never_becomes_a_model(served: Served, entry: Known) -> None:
    path = "/theirs/v1/m1.pt"
    served.other[path] = b"<html>please log in</html>"
    with pytest.raises(InputError, match=r"does not give the model's files, none was kept: .*m1.pt is not a PyTorch"):
        get("theirs-80")
    with pytest.raises(UsageError, match="has not been fetched"):
        load_model("theirs-80")
    assert left_overs() == []
    served.other.clear()
    get("theirs-80")
    assert load_model("theirs-80").spec.name == "theirs-80"


def test_a_package_that_is_called_as_the_catalogue_s(served: Served, entry: Known, package: Package) -> None:
    folder = served.root / "models" / "theirs-80"
    save_package(folder, package)
    url = f"{served.url}/models/theirs-80"
    get(url)
    assert load_model("theirs-80").digest == package.digest
    get("theirs-80")
    assert load_model("theirs-80").spec.species == "Apis mellifera", "the catalogue's name is the catalogue's"
    for reference in (url, str(folder)):
        with pytest.raises(UsageError, match="there is a theirs-80 already"):
            get(reference)
    (folder / CONFIG).unlink()
    (folder / SUMS).unlink()
    with pytest.raises(UsageError, match="there is a theirs-80 already"):
        get(url)
    assert load_model("theirs-80").spec.species == "Apis mellifera"


def test_an_edited_card_and_what_a_hub_keeps_for_itself(served: Served, url: str, package: Package) -> None:
    (served.root / "models" / "tiny-2k" / CARD).write_text("# edited on the hub")
    (served.root / "models" / "tiny-2k" / ".gitattributes").write_text("*.bin filter=lfs")
    folder = get(url).folder
    assert (folder / CARD).read_text() == "# edited on the hub"
    assert load_model("tiny-2k").digest == package.digest


def test_the_folder_stays_where_nothing_is_new(served: Served, url: str) -> None:
    folder = get(url).folder
    inode = folder.stat().st_ino
    assert get(url).was_there
    assert folder.stat().st_ino == inode
    assert left_overs() == []


def test_a_full_disk_while_a_folder_is_copied(served: Served, package: Package) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(.*MB free\): make room"):
            get(str(served.root / "models" / "tiny-2k"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not store.fetched()
    get(str(served.root / "models" / "tiny-2k"))
    assert load_model("tiny-2k").digest == package.digest


def test_the_licence_of_a_node_is_accepted_too(served: Served) -> None:
    graph = graph_package()
    first = replace(graph.nodes["first"], spec=graph.nodes["first"].spec.model_copy(update={"licence": "CC-BY-NC-4.0"}))
    save_package(served.root / "graph", replace(graph, nodes={**graph.nodes, "first": first}))
    with pytest.raises(UsageError, match=rf"CC-BY-NC-4.0 .*; see {served.url}/graph/. .*--accept-licence"):
        get(f"{served.url}/graph")
    assert served.asked(WEIGHTS) == []
    assert get(f"{served.url}/graph", accept_licence=True).licences == ("MIT", "CC-BY-NC-4.0")
    load_model("graph")
    shutil.rmtree(cache_folder("models", "accepted"))
    with pytest.raises(UsageError, match="--accept-licence"):
        load_model("graph")
