"""Shards on a Ray cluster: actors hold the worker, and what a lost one had under way is done again by another."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from basecast import __version__
from basecast.errors import BasecastError, InputError, UsageError, counted
from basecast.inference.nodes import Holder, look, versions
from basecast.inference.shards import RunSettings
from basecast.interruption import is_asked_to_stop

CONNECTING = 60
"""Seconds within which a cluster must answer; Ray itself goes on trying for a quarter of an hour."""

PATIENCE = 300
"""Seconds that a run waits for a worker while it has none."""

_NAP = 0.05
"""Seconds between two looks at what is done."""

_TRIES = 3
_SHARDS_A_WORKER = 2
_NAMED = 4

_Shard = tuple[int, list[Any]]
_Result = tuple[int, bytes]

_CONNECT = """
import logging, sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as error:
    sys.exit(" ".join(str(error.__cause__ or error).split()))
"""


def on_cluster(
    worker: Callable[[list[Any]], bytes],
    shards: Iterator[_Shard],
    run: RunSettings,
    *,
    files: Mapping[str, str],
    threads: int | None = None,
) -> Generator[_Result]:
    """Do shards on the cluster at ``run.cluster``, which is left as it was found.

    A shard is taken from ``shards`` when a worker has room for it. After a signal none is taken, and the results end
    with the last shard under way. A process that is connected to Ray already uses that cluster and stays connected.

    Args:
        worker: makes the payload of a shard of its items; it is pickled once.
        shards: number and items of what is to be done.
        run: address, how many workers (by default as many as the cluster has room for) and GPUs of each.
        files: absolute paths that the worker reads, with their sha256.
        threads: CPUs of a worker, 1 by default; they are its ``available_threads``.

    Returns:
        Number and payload of every shard, in the order in which they are done.

    Raises:
        UsageError: Ray is not installed, the address is none, a node has other versions, or none has room.
        InputError: a node has not the same files.
        BasecastError: what the worker raised, with the node's name; the cluster does not answer; one shard ends every
            worker that does it; no worker is left.
    """
    first = next(shards, None)
    if first is None:
        return
    cpus, gpus = threads or 1, float(run.gpus_per_worker)
    if gpus > 1 and gpus % 1:
        raise UsageError(f"--gpus-per-worker {gpus} is neither a whole number nor a share of one GPU")
    with contextlib.ExitStack() as stack:
        ray = stack.enter_context(_connected(str(run.cluster)))
        nodes = [node for node in ray.nodes() if node["Alive"] and room([node], cpus, gpus)]
        if not nodes:
            asked = counted(cpus, "CPU") + (f" and {gpus:g} GPU{'' if gpus == 1 else 's'}" if gpus else "")
            raise UsageError(f"no node of the cluster has the {asked} of a worker: give fewer, or add a larger node")
        _check(nodes, files)
        crew = _Crew(
            worker=ray.put(pickle.dumps(worker)),
            size=run.workers or room(nodes, cpus, gpus),
            holder=ray.remote(Holder).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0),
            threads=cpus,
            files=files,
            checked={node["NodeID"] for node in nodes},
        )
        stack.callback(crew.dismiss)
        yield from crew.results(itertools.chain([first], shards))


def room(nodes: Iterable[Mapping[str, Any]], cpus: int, gpus: float) -> int:
    """How many workers of so many CPUs and GPUs each the nodes hold; ``nodes`` are as Ray lists them."""
    n = 0
    for node in nodes:
        has = node["Resources"]
        fits = int(has.get("CPU", 0) / cpus)
        n += min(fits, int(has.get("GPU", 0) / gpus)) if gpus else fits
    return n


@dataclass(eq=False)
class _Hand:
    """An actor as seen from here; ``shards`` by number are under way there, in the order in which it does them."""

    actor: Any
    node: str = ""
    is_ready: bool = False
    shards: dict[int, _Shard] = field(default_factory=dict)


@dataclass
class _Crew:
    """The actors of a run, and who does what."""

    worker: Any
    size: int
    holder: Any
    threads: int
    files: Mapping[str, str]
    checked: set[str]
    hands: list[_Hand] = field(default_factory=list)
    awaited: dict[Any, tuple[_Hand, Callable[[Any], _Result | None]]] = field(default_factory=dict)
    again: deque[_Shard] = field(default_factory=deque)
    ended: Counter[int] = field(default_factory=Counter)
    is_drained: bool = False
    failures: int = 0
    seen: float = field(default_factory=time.monotonic)

    def results(self, shards: Iterator[_Shard]) -> Iterator[_Result]:
        """Those of every shard, each once."""
        while True:
            self._hand_out(shards)
            if not self._may_begin() and not any(hand.shards for hand in self.hands):
                return
            self._enlist()
            reference = _first_done(self.awaited)
            if reference is not None and (result := self._settle(reference)) is not None:
                yield result

    def dismiss(self) -> None:
        """End every actor."""
        for hand in self.hands:
            _ray().kill(hand.actor)

    def _may_begin(self) -> bool:
        return (bool(self.again) or not self.is_drained) and not is_asked_to_stop()

    def _hand_out(self, shards: Iterator[_Shard]) -> None:
        """Each has its first, then a second waits there; but what a lost one had is alone, to see what ends it."""
        for depth in range(_SHARDS_A_WORKER):
            for hand in self.hands:
                if not hand.is_ready or len(hand.shards) > depth or hand.shards.keys() & self.ended.keys():
                    continue
                if (shard := self._next(shards, alone=not hand.shards)) is not None:
                    hand.shards[shard[0]] = shard
                    self._await(hand, hand.actor.do.remote(shard[1]), partial(self._did, hand, shard[0]))

    def _next(self, shards: Iterator[_Shard], alone: bool) -> _Shard | None:
        if not self._may_begin():
            return None
        if self.again and alone:
            return self.again.popleft()
        shard = next(shards, None)
        self.is_drained = shard is None
        return shard

    def _enlist(self) -> None:
        """Ask for the actors that are missing; those for which there is no room wait at the cluster."""
        now = time.monotonic()
        if any(hand.is_ready for hand in self.hands):
            self.seen = now
        elif now - self.seen > PATIENCE or (self.failures >= _TRIES and not self.hands):
            why = "those that start end at once" if self.failures else "the cluster has no room for one"
            raise BasecastError(
                f"no worker is left, for {why}: see the nodes and their memory; the same command goes on where it stood"
            )
        while len(self.hands) < self.size and self.failures < _TRIES and self._may_begin():
            hand = _Hand(self.holder.remote(self.threads))
            self.hands.append(hand)
            self._await(hand, hand.actor.node_id.remote(), partial(self._arrived, hand))

    def _await(self, hand: _Hand, reference: Any, then: Callable[[Any], _Result | None]) -> None:
        self.awaited[reference] = (hand, then)

    def _settle(self, reference: Any) -> _Result | None:
        errors = _ray().exceptions
        hand, then = self.awaited.pop(reference)
        try:
            value = _ray().get(reference)
        except errors.RayTaskError as error:
            raise _own(error, hand.node) from None
        except errors.RayError:
            self._lose(hand)
            return None
        return then(value)

    def _arrived(self, hand: _Hand, node_id: str) -> None:
        (node,) = (node for node in _ray().nodes() if node["NodeID"] == node_id)
        if node_id not in self.checked:
            _check([node], self.files)
            self.checked.add(node_id)
        hand.node = _name(node)
        self._await(hand, hand.actor.take.remote(self.worker), partial(self._took, hand))

    def _took(self, hand: _Hand, _: None) -> None:
        hand.is_ready = True
        self.failures = 0

    def _did(self, hand: _Hand, number: int, payload: bytes) -> _Result:
        del hand.shards[number]
        return number, payload

    def _lose(self, hand: _Hand) -> None:
        """Its shards go to others; one of them may be why it is lost."""
        _ray().kill(hand.actor)  # it may only be out of reach
        self.hands.remove(hand)
        self.awaited = {reference: told for reference, told in self.awaited.items() if told[0] is not hand}
        self.again.extendleft(reversed(hand.shards.values()))
        if not hand.is_ready:
            self.failures += 1
        for number in hand.shards:
            self.ended[number] += 1
            if self.ended[number] == _TRIES:
                raise BasecastError(
                    f"shard {number} has ended {_TRIES} workers, the last on node {hand.node}: it may take more memory "
                    "than is free there; give a smaller --memory or larger --threads (fewer workers on a node), and "
                    "the same command goes on"
                )


def _first_done(references: Collection[Any]) -> Any:
    """One that is done, or None after a nap: Ray's own waiting would not pass on what a signal raises."""
    if references:
        done, _ = _ray().wait(list(references), num_returns=len(references), timeout=0, fetch_local=False)
        if done:
            return done[0]
    time.sleep(_NAP)
    return None


def _own(error: Any, node: str) -> Exception:
    """What a worker raised, as it was; what is no sentence for a person keeps its traceback."""
    if isinstance(error.cause, BasecastError):
        return type(error.cause)(f"{error.cause} (on node {node})")
    return error


def _name(node: Mapping[str, Any]) -> str:
    """What its owner calls a node: the name it was started with, or that of its machine."""
    is_named = node["NodeName"] != node["NodeManagerAddress"]
    return str(node["NodeName" if is_named else "NodeManagerHostname"])


def _check(nodes: Iterable[Mapping[str, Any]], files: Mapping[str, str]) -> None:
    """Hold the versions and files of nodes against those here; a node that is lost meanwhile is not one to check."""
    ray, here = _ray(), versions()
    pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = {}
    for node in nodes:
        task = ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=pinned(node["NodeID"], False))
        asked[task.remote(here, list(files))] = _name(node)
    off: list[str] = []
    lacking: list[str] = []
    while asked and not is_asked_to_stop():
        reference = _first_done(asked)
        if reference is None:
            continue
        name = asked.pop(reference)
        try:
            there, digests = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BasecastError):
                raise _own(error, name) from None
            off.append(f"node {name} cannot import basecast {__version__}")
            continue
        except ray.exceptions.RayError:
            continue
        off += [f"node {name} has {key} {there[key]}, not {here[key]}" for key in here if there[key] != here[key]]
        lacking += [
            f"node {name} has {'no' if digest is None else 'another'} {path}"
            for path, digest in digests.items()
            if digest != files[path]
        ]
    if off:
        raise UsageError(f"{_listed(off)}: install on every node what this process runs with")
    if lacking:
        raise InputError(f"{_listed(lacking)}: put the same file at the same path of every node, or on a shared disk")


def _listed(parts: list[str]) -> str:
    parts = sorted(parts)
    return "; ".join(parts[:_NAMED]) + (f"; and {len(parts) - _NAMED} more" if len(parts) > _NAMED else "")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected; without its words on standard output and error, and with the signal handlers as they were."""
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address != "auto" and not re.fullmatch(r"(ray://)?\S+:\d+", address):
        raise UsageError(f"--cluster {address!r} is none of auto, HOST:PORT and ray://HOST:PORT")
    _reach(address)
    internals, logger, handler = ray._private.worker, logging.getLogger("ray"), signal.getsignal(signal.SIGTERM)
    level = logger.level
    internals._worker_logs_enabled = False  # else Ray prints the log of a lost node to standard output
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        with contextlib.suppress(ValueError, TypeError):  # not the main thread; a handler that is not Python's
            signal.signal(signal.SIGTERM, handler)
        yield ray
    finally:
        ray.shutdown()
        logger.setLevel(level)
        internals._worker_logs_enabled = True


def _reach(address: str) -> None:
    """Another process tries first: Ray can be told neither to give up in time nor to be quiet about it."""
    try:
        tried = subprocess.run(
            [sys.executable, "-P", "-c", _CONNECT, address],
            capture_output=True,
            text=True,
            timeout=CONNECTING,
            check=False,
            env=os.environ | {"RAY_gcs_server_request_timeout_seconds": str(CONNECTING // 4)},
        )
        if not tried.returncode:
            return
        said = (tried.stderr.strip() or "no word from Ray").splitlines()[-1]
    except subprocess.TimeoutExpired:
        said = f"no answer in {CONNECTING} s"
    raise BasecastError(
        f"no Ray cluster can be used at {address} ({said}): on one of its machines give auto or the HOST:PORT that "
        "'ray start --head' printed, elsewhere ray://HOST:10001 (with pip install 'ray[client]')"
    )


def _ray() -> Any:
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):  # reports; uploads of this folder
        os.environ.setdefault(name, "0")
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError("--cluster needs Ray: pip install 'basecast[ray]'") from None
    return ray
