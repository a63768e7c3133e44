"""``zoo get`` from a hub: revisions, private and gated repositories, mirrors that say little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

from basecast.errors import BasecastError, InputError, UsageError
from basecast.zoo.catalogue import describe, load_model
from basecast.zoo.fetch import get
from basecast.zoo.package import SUMS, Package

WEIGHTS = "model.safetensors"


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


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_hub_that_does_not_say_why(served: Served, package: Package, status: int) -> None:
    on_the_hub(served, package, COMMITS[0])
    served.statuses["/api/models/lab/tiny"] = [status] * 9
    with pytest.raises(InputError, match=r"hf:lab/tiny.*(not given out|or it is private)"):
        get("hf:lab/tiny")


def test_terms_are_accepted_on_the_model_s_page(served: Served, package: Package) -> None:
    on_the_hub(served, package, COMMITS[0])
    served.statuses[f"/lab/tiny/resolve/{COMMITS[0]}/{SUMS}"] = [403]
    with pytest.raises(InputError, match=rf"HTTP 403\): .*accept them at {served.url}/lab/tiny$"):
        get("hf:lab/tiny")


def test_the_token_goes_along_where_the_hub_redirects_to_itself(
    served: Served, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    on_the_hub(served, package, COMMITS[0])
    path = f"/lab/tiny/resolve/{COMMITS[0]}/{WEIGHTS}"
    served.redirects[path] = f"/moved/{COMMITS[0]}/{WEIGHTS}"
    (served.root / "moved").symlink_to(served.root / "lab" / "tiny")
    get("hf:lab/tiny")
    assert load_model("hf:lab/tiny").digest == package.digest
    assert served.asked(WEIGHTS) == ["", ""]
    files = [headers.get("Authorization") for path, headers in served.requests if not path.startswith("/api/")]
    assert set(files) == {"Bearer hf_secret"}


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
