"""``zoo get``: from a hub, a web server, a folder or the catalogue to a model that loads without a network."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import write_openspliceai
from package_server import Served, no_network_fixture, served_fixture  # noqa: F401  # fixtures
from toys import graph_package, package_of

from basecast.errors import BasecastError, InputError, UsageError
from basecast.files import cache_folder
from basecast.zoo import store
from basecast.zoo.catalogue import describe, find_model, listing, load_model
from basecast.zoo.download import TRIES
from basecast.zoo.fetch import get
from basecast.zoo.known import Known
from basecast.zoo.package import CONFIG, SUMS, Package, save_package

WEIGHTS = "model.safetensors"
COMMITS = ("0" * 39 + "1", "0" * 39 + "2")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def left_overs() -> list[str]:
    """What no finished fetch leaves in the cache."""
    return [p.name for p in cache_folder("models").iterdir() if p.name.startswith(".")]


@pytest.fixture
def package(served: Served) -> Package:
    """A package that lies at URL/models/tiny-2k."""
    package = package_of("spliceai", name="tiny", species="Mus musculus")
    save_package(served.root / "models" / "tiny-2k", package, files={"acceptance/a.txt": b"more"})
    return package


@pytest.fixture
def url(served: Served, package: Package) -> str:
    return f"{served.url}/models/tiny-2k"


def on_the_hub(served: Served, package: Package, commit: str, repository: str = "lab/tiny") -> None:
    save_package(served.root / repository / commit, package)
    served.commits.setdefault(repository, {}).update({"main": commit, commit: commit})


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
    assert (found.name, found.was_there, found.first_seen, found.licence) == ("tiny-2k", False, (), "MIT")
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


def test_a_package_from_the_hub(served: Served, package: Package, no_network: Callable[[], None]) -> None:
    on_the_hub(served, package, COMMITS[0])
    found = get("hf:lab/tiny")
    assert found.name == "hf:lab/tiny"
    assert describe("hf:lab/tiny")["commit"] == COMMITS[0]
    files = [path for path, _ in served.requests if path.startswith("/lab/")]
    assert all(path.startswith(f"/lab/tiny/resolve/{COMMITS[0]}/") for path in files), "files are those of the commit"
    assert not any("agent" in path for path, _ in served.requests), "nothing is asked but what is needed"
    no_network()
    assert load_model("hf:lab/tiny").digest == package.digest
    with pytest.raises(
        UsageError, match=r"hf:lab/tiny@v1 has not been fetched yet: run `basecast zoo get hf:lab/tiny@v1`"
    ):
        load_model("hf:lab/tiny@v1")


def test_a_hub_that_moves_on(served: Served, package: Package, no_network: Callable[[], None]) -> None:
    on_the_hub(served, package, COMMITS[0])
    get("hf:lab/tiny")
    pinned = f"hf:lab/tiny@{COMMITS[0]}"
    get(pinned)
    newer = replace(package, spec=package.spec.model_copy(update={"species": "Rattus norvegicus"}))
    on_the_hub(served, newer, COMMITS[1])
    served.requests.clear()
    found = get("hf:lab/tiny")
    assert not found.was_there
    assert load_model("hf:lab/tiny").spec.species == "Rattus norvegicus"
    assert served.asked(WEIGHTS) == [], "what has not changed is not fetched again"
    assert load_model(pinned).spec.species == "Mus musculus"
    assert left_overs() == []
    no_network()
    assert get(pinned).was_there
    assert get("hf:lab/tiny").was_there, "without a network nothing newer can be looked for"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf:lab/none", r"there is no hf:lab/none at http.*, or it is private"),
        ("hf:lab/tiny@v9", r"hf:lab/tiny@v9: the repository has no such revision"),
    ],
)
def test_what_the_hub_does_not_have(served: Served, package: Package, reference: str, words: str) -> None:
    on_the_hub(served, package, COMMITS[0])
    with pytest.raises(InputError, match=words):
        get(reference)


def test_no_hub(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(BasecastError, match=r"hf:lab/tiny: http://127.0.0.1:1 could not be asked .*HF_ENDPOINT"):
        get("hf:lab/tiny")


def test_a_repository_that_is_no_package(served: Served) -> None:
    served.commits["lab/other"] = {"main": COMMITS[0]}
    with pytest.raises(InputError, match=r"there is no package at http.*it has no SHA256SUMS"):
        get("hf:lab/other")
    (served.root / "list").mkdir()
    (served.root / "list" / SUMS).write_text(f"{'0' * 64}  model.bin\n")
    with pytest.raises(InputError, match=rf"is no package: its SHA256SUMS lists no {CONFIG}"):
        get(f"{served.url}/list")
    (served.root / "list" / SUMS).write_text("<html>")
    with pytest.raises(InputError, match=r"is no list of checksums"):
        get(f"{served.url}/list")


def test_checkpoints_of_the_catalogue(served: Served, entry: Known, no_network: Callable[[], None]) -> None:
    with pytest.raises(UsageError, match=r"theirs-80 has not been fetched yet: run `basecast zoo get theirs-80` once"):
        load_model("theirs-80")
    assert served.requests == [], "nothing is fetched by naming it"
    assert describe("theirs-80")["state"] == "not fetched"
    found = get("theirs-80")
    assert found.first_seen == ("m1.pt",)
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
    found = get("theirs-80@v2")
    assert found.first_seen == ("m0.pt", "m1.pt"), "the checksums known are those of v1"
    get("theirs-80")
    assert load_model("theirs-80").weights_digest != load_model("theirs-80@v2").weights_digest


def test_what_was_seen_first_must_be_seen_again(served: Served, entry: Known) -> None:
    shutil.rmtree(get("theirs-80").folder)
    write_openspliceai(served.root / "theirs" / "v1" / "m1.pt", 80, salt="changed")
    with pytest.raises(InputError, match=r"m1.pt gives other bytes"):
        get("theirs-80")
    with pytest.raises(UsageError, match="has not been fetched"):
        load_model("theirs-80")


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


def test_names_that_lead_out(served: Served, tmp_path: Path) -> None:
    folder = served.root / "evil"
    folder.mkdir()
    for name in ("../../evil", "/tmp/evil", "a/../../evil"):
        (folder / SUMS).write_text(f"{'0' * 64}  {CONFIG}\n{'0' * 64}  {name}\n")
        with pytest.raises(InputError, match="lies outside the package: do not trust it"):
            get(f"{served.url}/evil")


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
    with pytest.raises(InputError, match=r"m0.pt is not what its checksum says"):
        get(str(tmp_path / "theirs-80"))


def test_from_the_hub_to_a_machine_without_a_network(
    served: Served, package: Package, tmp_path: Path, no_network: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(served, package, COMMITS[0])
    monkeypatch.chdir(tmp_path)
    get("hf:lab/tiny", Path("hf%3Alab%2Ftiny"))
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "elsewhere"))
    no_network()
    with pytest.raises(UsageError, match=r"-o hf%3Alab%2Ftiny"):
        get("hf:lab/tiny")
    get("./hf%3Alab%2Ftiny")
    assert load_model("hf:lab/tiny").digest == package.digest


def test_a_folder_of_one_s_own(served: Served, url: str, package: Package, tmp_path: Path) -> None:
    found = get(url, tmp_path / "deep" / "mine")
    assert found.folder == tmp_path / "deep" / "mine"
    assert [p.name for p in found.folder.parent.iterdir()] == ["mine"]
    assert load_model(found.folder).digest == package.digest
    assert not store.fetched()
    with pytest.raises(UsageError, match="mine is there already: choose another"):
        get(url, tmp_path / "deep" / "mine")
    assert load_model(found.folder).digest == package.digest


def test_two_models_of_one_name(served: Served, url: str, package: Package) -> None:
    get(url)
    save_package(served.root / "others" / "tiny-2k", package_of("spliceai", seed=3))
    with pytest.raises(UsageError, match=rf"there is a tiny-2k already, from {url}/: give --output, or remove"):
        get(f"{served.url}/others/tiny-2k")
    assert load_model("tiny-2k").digest == package.digest
    assert not get(url).was_there, "a server may have something newer"


@pytest.mark.parametrize("name", ["human-400-demo", "./human-400-demo", "https://example.org/human-400-demo"])
def test_a_name_that_ships(served: Served, name: str) -> None:
    with pytest.raises(UsageError, match="ships with basecast"):
        get(name)


@pytest.mark.parametrize("name", ["nothing", "hf:owner", "hf:a/b/c", "nothing@v1", "hf:../x"])
def test_no_such_name(served: Served, name: str) -> None:
    with pytest.raises((UsageError, InputError), match=r"there is no"):
        get(name)


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


def test_a_damaged_config(served: Served) -> None:
    folder = served.root / "broken"
    folder.mkdir()
    (folder / CONFIG).write_text("{}")
    (folder / SUMS).write_text(f"{hashlib.sha256(b'{}').hexdigest()}  {CONFIG}\n")
    with pytest.raises(InputError, match=r"config.json is not a valid model"):
        get(f"{served.url}/broken")
