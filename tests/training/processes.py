"""Work in processes that know each other as torchrun's do, on this machine."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LIMIT = 240
"""Seconds until a process counts as stuck."""


def on_ranks(world: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work`` gave or raised in each process, by rank; None of one that was killed.

    The processes are forks, so that torch need not be imported again.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        fork = multiprocessing.get_context("fork")
        paths = [Path(folder) / str(rank) for rank in range(world)]
        children = [fork.Process(target=_run, args=(work, rank, world, port, paths[rank])) for rank in range(world)]
        for child in children:
            child.start()
        until = time.monotonic() + LIMIT
        for child in children:
            child.join(max(until - time.monotonic(), 0))
        stuck = [child for child in children if child.is_alive()]
        for child in stuck:
            child.kill()
            child.join()
        assert not stuck, f"{len(stuck)} of {world} processes did not end"
        return [torch.load(path, weights_only=False) if path.exists() else None for path in paths]


def _run(work: Callable[[int], Any], rank: int, world: int, port: int, path: Path) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, GLOO_SOCKET_IFNAME="lo")
    try:
        given = work(rank)
    except BaseException as error:
        given = error
    torch.save(given, path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)
