"""A web server and hub on 127.0.0.1 that serves a folder, and misbehaves when it is told to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from toys import package_of

from basecast.files import cache_folder
from basecast.zoo.package import Package, save_package

COMMITS = ("0" * 39 + "1", "0" * 39 + "2")


@dataclass
class Served:
    """The folder, what the server is to do wrong with paths, and the requests it has had."""

    root: Path
    url: str = ""
    missing: set[str] = field(default_factory=set)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Answered one by one, before the file is served."""
    breaks: dict[str, list[int]] = field(default_factory=dict)
    """After how many bytes each answer breaks off."""
    other: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    ignores_range: bool = False
    ignores_if_range: bool = False
    tags: bool = True
    retry_after: str = ""
    lengths: dict[str, str] = field(default_factory=dict)
    """What is said of the length, in place of the truth."""
    commits: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of the hub: repository -> revision -> commit. The files of a commit lie in root/REPOSITORY/COMMIT."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def asked(self, name: str) -> list[str]:
        """The Range of each request for a file of that name, '' where there was none."""
        return [headers.get("Range", "") for path, headers in self.requests if path.rpartition("/")[2] == name]


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        served, path = self.served, unquote(self.path.partition("?")[0])
        served.requests.append((path, dict(self.headers)))
        if statuses := served.statuses.get(path):
            return self._say(statuses.pop(0), b"")
        if path in served.redirects:
            self.send_response(302)
            self.send_header("Location", served.redirects[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if path.startswith("/api/models/"):
            return self._describe(*path.removeprefix("/api/models/").partition("/revision/")[::2])
        file = served.root / path.replace("/resolve/", "/").lstrip("/")
        content = served.other.get(path)
        if content is None:
            if path in served.missing or not file.is_file():
                return self._say(404, b"there is no such thing")
            content = file.read_bytes()
        self._send(path, content)

    def _send(self, path: str, content: bytes) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        start, wanted = 0, self.headers.get("Range", "")
        fits = self.headers.get("If-Range") in (None, tag) or self.served.ignores_if_range
        if wanted and fits and not self.served.ignores_range:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._say(416, b"")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.served.tags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", self.served.lengths.get(path, str(len(content) - start)))
        self.end_headers()
        breaks = self.served.breaks.get(path)
        with contextlib.suppress(ConnectionError):  # who asks may have had enough
            self.wfile.write(content[start : start + breaks.pop(0)] if breaks else content[start:])
        if breaks is not None:
            self.close_connection = True

    def _describe(self, repository: str, revision: str) -> None:
        commits = self.served.commits.get(repository)
        if commits is None:
            return self._say(404, b"{}", "RepoNotFound")
        commit = commits.get(revision or "main")
        if commit is None:
            return self._say(404, b"{}", "RevisionNotFound")
        self._say(200, json.dumps({"id": repository, "sha": commit, "siblings": []}).encode())

    def _say(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        if self.served.retry_after:
            self.send_header("Retry-After", self.served.retry_after)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Served]:
    """A server on a port of its own while the block runs."""
    served = Served(root)
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(name="served")
def served_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of an empty folder, which ``HF_ENDPOINT`` names; the cache is empty too."""
    monkeypatch.setattr("basecast.zoo.download._PAUSE", 0)
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BASECAST_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # of the user's own token
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hub" / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture(name="no_network")
def no_network_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and BASECAST_OFFLINE is set and whoever opens a socket fails."""

    def forbid() -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setenv("BASECAST_OFFLINE", "1")
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return forbid


def left_overs() -> list[str]:
    """What no finished fetch leaves in the cache."""
    return [p.name for p in cache_folder("models", "packages").iterdir() if p.name.startswith(".")]


def on_the_hub(served: Served, package: Package, commit: str, repository: str = "lab/tiny") -> None:
    save_package(served.root / repository / commit, package)
    served.commits.setdefault(repository, {}).update({"main": commit, commit: commit})


@pytest.fixture(name="package")
def package_fixture(served: Served) -> Package:
    """A package that lies at URL/models/tiny-2k."""
    package = package_of("spliceai", name="tiny", species="Mus musculus")
    save_package(served.root / "models" / "tiny-2k", package, files={"acceptance/a.txt": b"more"})
    return package


@pytest.fixture(name="url")
def url_fixture(served: Served, package: Package) -> str:
    return f"{served.url}/models/tiny-2k"
