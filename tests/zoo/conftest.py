"""A server for each test, a cache of its own, and no waiting between tries."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from package_server import Served, serving


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of an empty folder, which ``HF_ENDPOINT`` names; the cache is empty too."""
    monkeypatch.setattr("basecast.zoo.download._PAUSE", 0)
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BASECAST_OFFLINE", raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and BASECAST_OFFLINE is set and whoever opens a socket fails."""

    def forbid() -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setenv("BASECAST_OFFLINE", "1")
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return forbid
