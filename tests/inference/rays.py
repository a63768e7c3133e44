"""A Ray cluster on this machine, and workers for it that need no model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from basecast.errors import InputError

HOST = "127.0.0.2"
"""Of the loopback too, but not the address that Ray replaces by the machine's outer one."""


class Rays:
    """A head without CPUs and two nodes of two CPUs each, ``one`` and ``two``.

    Attributes:
        address: for ``--cluster``.
        nodes: those added, by name.
    """

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        self._options: dict[str, Any] = {
            "node_ip_address": HOST,
            "object_store_memory": 80 * 2**20,
            "include_dashboard": False,
            "temp_dir": folder,
        }
        head = {"num_cpus": 0, "no_monitor": True, "include_log_monitor": False, **self._options}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        self.nodes: dict[str, Any] = {}
        for name in ("one", "two"):
            self.add(name)

    def add(self, name: str, n_cpus: int = 2, **environment: str) -> None:
        """Start a node, with ``environment`` besides this process's."""
        with _environment(**environment):
            self.nodes[name] = self._cluster.add_node(node_name=name, num_cpus=n_cpus, **self._options)

    def lose(self, name: str) -> None:
        """Kill a node with all of its processes; for some seconds the head still counts on it."""
        self._cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def stop(self, name: str) -> None:
        """Let a node take its leave."""
        self._cluster.remove_node(self.nodes.pop(name), allow_graceful=True)

    def close(self) -> None:
        """Stop every node."""
        self._cluster.shutdown()


@contextlib.contextmanager
def started() -> Iterator[Rays]:
    """The cluster, while the block lasts; its nodes can import what lies in this folder."""
    folder = tempfile.mkdtemp(prefix="ray")  # short, for sockets lie in it
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    with _environment(PYTHONPATH=path, RAY_USAGE_STATS_ENABLED="0"):
        rays = Rays(folder)
        try:
            yield rays
        finally:
            rays.close()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


class Toy:
    """Takes its time but where told ``at once``, and gives half a megabyte that depends on all of the items."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self, items: list[Any]) -> bytes:
        if items != ["at once"]:
            time.sleep(self.seconds)
        return hashlib.sha256(json.dumps(items).encode()).digest() * 2**14


class Refusing(Toy):
    """Meets items that are wrong."""

    def __call__(self, items: list[Any]) -> bytes:
        if items == ["bad record"]:
            raise InputError("record 7 of in.vcf has no position: mend it")
        if items == ["bug"]:
            raise ZeroDivisionError("a fault of ours")
        return super().__call__(items)


class Deadly(Toy):
    """The item ``deadly`` ends its process until that has happened ``times`` times, counted in ``folder``."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.times = folder, times

    def __call__(self, items: list[Any]) -> bytes:
        so_far = len(list(self.folder.iterdir()))
        if items == ["deadly"] and so_far < self.times:
            (self.folder / str(so_far)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(items)


class Unloadable(Toy):
    """Ends the process that unpickles it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        os._exit(1)


class Telling(Toy):
    """Says where it runs."""

    def __call__(self, items: list[Any]) -> bytes:
        from basecast.inference.device import available_threads  # which takes torch along

        super().__call__(items)
        return json.dumps({"pid": os.getpid(), "threads": available_threads()}).encode()
