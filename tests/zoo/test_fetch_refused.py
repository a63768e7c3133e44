"""``zoo get`` of names that are none and of places where no package is: what is here stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
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
from toys import package_of

from basecast.errors import InputError, UsageError
from basecast.zoo import store
from basecast.zoo.catalogue import load_model
from basecast.zoo.fetch import get
from basecast.zoo.package import CONFIG, SUMS, Package, save_package

WEIGHTS = "model.safetensors"


def test_names_that_lead_out(served: Served, tmp_path: Path) -> None:
    folder = served.root / "evil"
    folder.mkdir()
    for name in ("../../evil", "/tmp/evil", "a/../../evil", "a\0b", "", ".", "a/", "a//b", SUMS, "a" * 300):
        (folder / SUMS).write_text(f"{'0' * 64}  {CONFIG}\n{'0' * 64}  {name}\n")
        with pytest.raises(InputError, match="which is no file of a package: do not trust it"):
            get(f"{served.url}/evil")


@pytest.mark.parametrize("end", ["", "/", "/SHA256SUMS", "/a/..", "/..", "/.x", "/tiny-2k?a=1", "/a%00", "/#x"])
def test_a_url_without_a_name(served: Served, url: str, package: Package, end: str) -> None:
    get(url)
    with pytest.raises(UsageError, match=r"does not end in a name .*the package's own folder"):
        get(served.url + end)
    assert load_model("tiny-2k").digest == package.digest


@pytest.mark.parametrize("name", ["accepted", "records", "packages", "tiny-2k.json", "tiny-2k.lock"])
def test_no_name_is_another_s_place(served: Served, url: str, package: Package, name: str) -> None:
    get(url)
    other = package_of("spliceai", seed=3)
    save_package(served.root / name, other)
    get(f"{served.url}/{name}")
    assert load_model(name).digest == other.digest
    assert load_model("tiny-2k").digest == package.digest
    assert store.fetched().keys() == {name, "tiny-2k"}


def test_a_user_and_a_password(served: Served) -> None:
    with pytest.raises(UsageError, match="without a query, a user or a password"):
        get("https://me:secret@example.org/model")


def test_a_folder_without_a_name(served: Served) -> None:
    for path in ("/", "./a b"):
        with pytest.raises(UsageError, match="does not end in a name"):
            get(path)


def test_a_list_without_end(served: Served) -> None:
    served.other[f"/long/{SUMS}"] = f"{'0' * 64}  {CONFIG}\n".encode() * 30_000
    with pytest.raises(InputError, match=r"SHA256SUMS is longer than the 1,000,000 bytes"):
        get(f"{served.url}/long")
    assert left_overs() == []


def test_a_damaged_config(served: Served) -> None:
    folder = served.root / "broken"
    folder.mkdir()
    (folder / CONFIG).write_text("{}")
    (folder / SUMS).write_text(f"{hashlib.sha256(b'{}').hexdigest()}  {CONFIG}\n")
    with pytest.raises(InputError, match=r"config.json is not a valid model"):
        get(f"{served.url}/broken")


@pytest.mark.parametrize("name", ["nothing", "hf:owner", "hf:a/b/c", "nothing@v1", "hf:../x"])
def test_no_such_name(served: Served, name: str) -> None:
    with pytest.raises((UsageError, InputError), match=r"there is no"):
        get(name)


@pytest.mark.parametrize("name", ["human-400", "./human-400", "https://example.org/human-400"])
def test_a_name_that_ships(served: Served, name: str) -> None:
    with pytest.raises(UsageError, match="ships with basecast"):
        get(name)


def test_two_models_of_one_name(served: Served, url: str, package: Package) -> None:
    get(url)
    save_package(served.root / "others" / "tiny-2k", package_of("spliceai", seed=3))
    with pytest.raises(UsageError, match=rf"there is a tiny-2k already, from {url}/: give --output, or remove"):
        get(f"{served.url}/others/tiny-2k")
    assert load_model("tiny-2k").digest == package.digest
    served.requests.clear()
    assert get(url).was_there
    assert served.asked(SUMS) == [""], "a server may have something newer"
    assert served.asked(WEIGHTS) == []


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


def test_what_is_not_there_leaves_nothing(served: Served, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="there is no package"):
        get(f"{served.url}/none", tmp_path / "mine" / "model")
    assert list((tmp_path / "mine").iterdir()) == []
