"""One file by HTTP, from servers of all manners: whole or not at all, and nothing is fetched twice that need not be."""

from __future__ import annotations

import hashlib
import resource
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from package_server import Served, no_network_fixture, served_fixture, serving  # noqa: F401  # fixtures

from basecast.errors import BasecastError, InputError, UsageError
from basecast.zoo.download import TRIES, NoSuchFileError, _Redirects, download, is_offline

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/deep/model.safetensors"


@pytest.fixture
def target(served: Served, tmp_path: Path) -> Path:
    (served.root / "deep").mkdir()
    (served.root / PATH[1:]).write_bytes(CONTENT)
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "model.safetensors"


def only(path: Path) -> bool:
    """Whether the file is there, whole, and nothing beside it."""
    return list(path.parent.iterdir()) == [path] and path.read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", ["", SHA256])
def test_a_file(served: Served, target: Path, sha256: str) -> None:
    seen: list[int] = []
    assert download(served.url + PATH, target, sha256=sha256, progress=seen.append) == SHA256
    assert only(target)
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert served.asked(target.name) == [""]


@pytest.mark.parametrize(("tags", "sha256"), [(True, ""), (True, SHA256), (False, SHA256)])
def test_a_connection_that_breaks_off_is_gone_on_with(served: Served, target: Path, tags: bool, sha256: str) -> None:
    served.tags, served.breaks[PATH] = tags, [300_000, 0, 0, 500_000]
    seen: list[int] = []
    download(served.url + PATH, target, sha256=sha256, progress=seen.append)
    assert only(target)
    assert served.asked(target.name) == ["", *["bytes=300000-"] * 3, "bytes=800000-"]
    assert seen == sorted(seen)


def test_without_a_version_or_a_checksum_nothing_can_be_gone_on_with(served: Served, target: Path) -> None:
    served.tags, served.breaks[PATH] = False, [300_000]
    download(served.url + PATH, target)
    assert only(target)
    assert served.asked(target.name) == ["", ""]


def test_a_server_that_breaks_off_again_and_again(served: Served, target: Path) -> None:
    served.breaks[PATH] = [400_000, *[0] * TRIES]
    with pytest.raises(
        BasecastError,
        match=r"model.safetensors could not be fetched \(the connection broke off after "
        r"400,000 of 1,000,000 bytes\); 400,000 bytes are kept: .* to go on",
    ):
        download(served.url + PATH, target, sha256=SHA256)
    assert not target.exists()
    assert len(served.requests) == TRIES
    served.breaks.clear()
    served.requests.clear()
    download(served.url + PATH, target, sha256=SHA256)
    assert served.asked(target.name) == ["bytes=400000-"]
    assert only(target)


def interrupted(served: Served, target: Path, at: int = 400_000) -> None:
    """Leave part of the file."""
    served.breaks[PATH] = [at, *[0] * TRIES]
    with pytest.raises(BasecastError, match="could not be fetched"):
        download(served.url + PATH, target, sha256=SHA256)
    served.breaks.clear()
    served.requests.clear()


def test_a_server_that_ignores_ranges_gives_it_all_again(served: Served, target: Path) -> None:
    interrupted(served, target)
    served.ignores_range = True
    download(served.url + PATH, target, sha256=SHA256)
    assert only(target)
    assert len(served.requests) == 1


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    served: Served, target: Path, ignores_if_range: bool
) -> None:
    served.other[PATH] = CONTENT[::-1]
    interrupted(served, target)
    served.other.clear()
    served.ignores_if_range = ignores_if_range
    download(served.url + PATH, target, sha256=SHA256)
    assert only(target)


def test_a_change_that_only_the_checksum_shows(served: Served, target: Path) -> None:
    served.tags, served.other[PATH] = False, CONTENT[::-1]
    interrupted(served, target)
    served.other.clear()
    download(served.url + PATH, target, sha256=SHA256)
    assert served.asked(target.name) == ["bytes=400000-", ""]
    assert only(target)


def test_a_part_that_is_longer_than_the_file(served: Served, target: Path) -> None:
    served.tags, served.other[PATH] = False, CONTENT * 2
    interrupted(served, target, at=1_500_000)
    served.other.clear()
    download(served.url + PATH, target, sha256=SHA256)
    assert only(target)


def test_a_part_that_is_whole_is_not_fetched_again(served: Served, target: Path) -> None:
    interrupted(served, target)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(CONTENT)
    download(served.url + PATH, target, sha256=SHA256)
    assert served.requests == []
    assert only(target)


def test_the_part_of_another_address_is_not_used(served: Served, target: Path) -> None:
    interrupted(served, target)
    (served.root / "elsewhere").write_bytes(CONTENT)
    download(f"{served.url}/elsewhere", target, sha256=SHA256)
    assert served.asked("elsewhere") == [""]
    assert only(target)


def test_other_bytes(served: Served, target: Path) -> None:
    served.other[PATH] = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match=rf"http.*model.safetensors gives other bytes .* not {SHA256[:16]}.*Try again"):
        download(served.url + PATH, target, sha256=SHA256)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [404, 410])
def test_no_such_file(served: Served, target: Path, status: int) -> None:
    served.statuses[PATH] = [status] * TRIES
    with pytest.raises(NoSuchFileError, match=rf"there is no http.*model.safetensors \(HTTP {status}\): check"):
        download(served.url + PATH, target)
    assert len(served.requests) == 1
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("token", "words"), [("", "needs a login"), ("secret", "your token may not")])
def test_not_for_everybody(served: Served, target: Path, token: str, words: str) -> None:
    served.statuses[PATH] = [401]
    with pytest.raises(InputError, match=rf"HTTP 401\): .*{words}"):
        download(served.url + PATH, target, token=token)


def test_a_server_that_is_busy_is_asked_again(served: Served, target: Path) -> None:
    served.statuses[PATH] = [503, 429]
    download(served.url + PATH, target)
    assert only(target)
    served.statuses[PATH] = [503] * TRIES
    with pytest.raises(BasecastError, match=r"could not be fetched \(.*\): check the network"):
        download(served.url + PATH, target.with_name("other"))


def test_an_answer_that_no_try_can_mend(served: Served, target: Path) -> None:
    served.statuses[PATH] = [451]
    with pytest.raises(InputError, match=r"is refused \(HTTP 451"):
        download(served.url + PATH, target)
    assert len(served.requests) == 1


def test_the_token_goes_nowhere_else(served: Served, target: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(CONTENT)
    with serving(tmp_path / "elsewhere") as elsewhere:
        served.redirects[PATH] = f"{elsewhere.url}/file"
        download(served.url + PATH, target, token="secret")
        assert served.requests[0][1]["Authorization"] == "Bearer secret"
        assert "Authorization" not in elsewhere.requests[0][1]
    assert only(target)


def test_no_way_leads_from_https_to_http() -> None:
    request = urllib.request.Request("https://example.org/model")
    for url in ("http://example.org/model", "ftp://example.org/model", "file:///etc/passwd"):
        with pytest.raises(InputError, match="not https"):
            _Redirects().redirect_request(request, None, 302, "Found", Message(), url)
    assert _Redirects().redirect_request(request, None, 302, "Found", Message(), "https://cdn.example.org/model")


def test_no_server(target: Path) -> None:
    with pytest.raises(
        BasecastError, match=r"http://127.0.0.1:1/x could not be fetched \(.*refused.*\): check the network"
    ):
        download("http://127.0.0.1:1/x", target)


def test_a_full_disk(served: Served, target: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, limits[1]))
    try:
        with pytest.raises(InputError, match=rf"{target.parent} cannot be written \(.*MB free\): make room.*to go on"):
            download(served.url + PATH, target, sha256=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists()
    served.requests.clear()
    download(served.url + PATH, target, sha256=SHA256)
    assert served.asked(target.name)[0].startswith("bytes=")
    assert only(target)


def test_offline(served: Served, target: Path, no_network: Callable[[], None]) -> None:
    no_network()
    with pytest.raises(UsageError, match=r"needs the network, and BASECAST_OFFLINE is set"):
        download(served.url + PATH, target)


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False), ("no", False)])
def test_what_means_offline(value: str, offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASECAST_OFFLINE", value)
    assert is_offline() == offline


def test_the_token_stays_with_its_server(served: Served, target: Path) -> None:
    served.redirects["/old"] = f"{served.url}{PATH}"
    download(f"{served.url}/old", target, token="secret")
    assert [headers.get("Authorization") for _, headers in served.requests] == ["Bearer secret"] * 2


def test_a_server_says_how_long_to_wait(served: Served, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("basecast.zoo.download.time.sleep", pauses.append)
    served.statuses[PATH], served.retry_after = [429, 503], "7"
    download(served.url + PATH, target)
    assert pauses == [7, 7]
    served.statuses[PATH], served.retry_after = [429], "86400"
    download(served.url + PATH, target)
    assert pauses[2:] == [60]


@pytest.mark.parametrize("length", ["abc", "-5"])
def test_a_length_that_is_none(served: Served, target: Path, length: str) -> None:
    served.lengths[PATH] = length
    served.breaks[PATH] = [len(CONTENT)]  # the connection ends with the file
    download(served.url + PATH, target, sha256=SHA256)
    assert only(target)


def test_more_than_it_may_be(served: Served, target: Path) -> None:
    with pytest.raises(InputError, match="longer than the 1,000 bytes"):
        download(served.url + PATH, target, longest=1000)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_may_not_be_written(served: Served, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.open

    def refuse(path: Path, mode: str = "r", *more: Any, **others: Any) -> Any:
        if mode == "ab":
            raise PermissionError(13, "Permission denied")
        return write(path, mode, *more, **others)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\): set BASECAST_CACHE"):
        download(served.url + PATH, target)
    assert len(served.requests) == 1, "that is no fault of the network"
