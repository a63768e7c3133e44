"""What runs on the nodes of a cluster. It imports little, so that a node is soon asked."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
from collections.abc import Iterable, Mapping
from typing import Any

from basecast import __version__
from basecast.files import sha256_of


def versions() -> dict[str, str]:
    """Those that decide what a model gives."""
    return {
        "basecast": __version__,
        "torch": importlib.metadata.version("torch"),
        "python": platform.python_version(),
    }


def look(expected: Mapping[str, str], files: Iterable[str]) -> tuple[dict[str, str], dict[str, str | None]]:
    """The versions here and, if they are the expected ones, the sha256 of files; None for what cannot be read."""
    found: dict[str, str | None] = {}
    for path in files if versions() == expected else ():
        try:
            found[path] = sha256_of(path)
        except OSError:
            found[path] = None
    return versions(), found


class Holder:
    """What an actor is: the worker, on a node.

    Args:
        threads: CPUs that it may use.
    """

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for available_threads; Ray leaves a value of the node's own

    def node_id(self) -> str:
        """Where this is, as Ray names it."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def take(self, worker: bytes) -> None:
        """Hold a pickled worker from now on."""
        self.worker = pickle.loads(worker)

    def do(self, items: list[Any]) -> bytes:
        """The payload of a shard."""
        done: bytes = self.worker(items)
        return done
