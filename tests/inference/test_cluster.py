from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rays import Deadly, Rays, Refusing, Telling, Toy, Unloadable, started

from basecast import interruption
from basecast.errors import BasecastError, InputError, InterruptedRunError, UsageError
from basecast.files import identity_of, sha256_of
from basecast.inference import cluster, nodes
from basecast.inference.cluster import on_cluster, room
from basecast.inference.shards import RunSettings
from basecast.interruption import finish_first, handled

pytestmark = pytest.mark.slow

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def rays() -> Iterator[Rays]:
    with started() as rays:
        yield rays


@pytest.fixture
def near(rays: Rays, monkeypatch: pytest.MonkeyPatch) -> Rays:
    """The cluster, for tests that need not ask first whether it is there."""
    monkeypatch.setattr(cluster, "_reach", lambda address: None)
    return rays


def settings(rays: Rays, **values: Any) -> RunSettings:
    return RunSettings(cluster=rays.address, **{"workers": 2, **values})


def numbered(n: int, items: Any = None, taken: list[int] | None = None) -> Iterator[tuple[int, list[Any]]]:
    """``n`` shards; ``taken`` is told of those that were taken."""
    for number in range(n):
        if taken is not None:
            taken.append(number)
        yield number, (items or {}).get(number, [number, f"item {number}"])


def expected(n: int) -> dict[int, bytes]:
    return {number: Toy()(items) for number, items in numbered(n)}


def is_connected() -> bool:
    import ray

    return bool(ray.is_initialized())


# ---- what is done


def test_a_lost_worker_is_replaced_and_nobody_hears_of_it(
    near: Rays, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker, items = Deadly(tmp_path, times=1), {1: ["deadly"]}
    done = dict(on_cluster(worker, numbered(8, items), settings(near, workers=1), files={}))
    assert len(list(tmp_path.iterdir())) == 1
    assert done == expected(8) | {1: Toy()(["deadly"])}
    assert capfd.readouterr() == ("", "")


def test_a_worker_has_its_cpus_and_ends_with_the_run(near: Rays) -> None:
    results = on_cluster(Telling(0.1), numbered(1000), settings(near, workers=None), files={}, threads=2)
    pids: set[int] = set()
    while len(pids) < 2:  # of two CPUs each, on two nodes of two; one may start late
        said = json.loads(next(results)[1])
        assert said["threads"] == 2
        pids.add(said["pid"])
    results.close()
    until = time.monotonic() + 20
    while pids and time.monotonic() < until:
        pids = {pid for pid in pids if _is_alive(pid)}
    assert not pids
    assert not is_connected()


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_nothing_to_do_needs_no_cluster() -> None:
    assert list(on_cluster(Toy(), iter([]), RunSettings(cluster="nowhere:1"), files={})) == []


@pytest.mark.parametrize(
    ("has", "cpus", "gpus", "n"),
    [
        ([{"CPU": 8.0}, {"CPU": 3.0}], 1, 0.0, 11),
        ([{"CPU": 8.0}, {"CPU": 3.0}], 2, 0.0, 5),
        ([{"CPU": 8.0}, {"memory": 1.0}], 16, 0.0, 0),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], 1, 1.0, 2),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}], 2, 0.5, 4),
    ],
)
def test_room_is_that_of_each_node(has: list[dict[str, float]], cpus: int, gpus: float, n: int) -> None:
    assert room([{"Resources": resources} for resources in has], cpus, gpus) == n


# ---- signals


def test_after_a_signal_nothing_is_begun_and_what_is_under_way_is_given(near: Rays) -> None:
    taken: list[int] = []
    done: dict[int, bytes] = {}

    def carry_out() -> None:
        with handled(), finish_first():
            for number, payload in on_cluster(Toy(0.5), numbered(60, taken=taken), settings(near), files={}):
                done[number] = payload
                if len(done) == 3:
                    _signal_soon()

    with pytest.raises(InterruptedRunError) as caught:
        carry_out()
    assert caught.value.exit_code == 143
    assert 4 <= len(taken) <= 8
    assert done == expected(len(taken))
    assert not is_connected()


def test_a_shard_that_outlasts_the_grace_is_left(near: Rays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE", 1)
    seen: list[float] = []

    def carry_out() -> None:
        with handled(), finish_first():
            for _ in on_cluster(Toy(30), numbered(3, {0: ["at once"]}), settings(near), files={}):
                seen.append(time.monotonic())
                _signal_soon()

    with pytest.raises(InterruptedRunError):
        carry_out()
    assert len(seen) == 1
    assert time.monotonic() - seen[0] < 10
    assert not is_connected()


def _signal_soon() -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()


# ---- what goes wrong in a worker


def test_a_worker_s_sentence_comes_back_with_the_node(near: Rays) -> None:
    with pytest.raises(InputError, match=r"^record 7 of in.vcf has no position: mend it \(on node (one|two)\)$"):
        list(on_cluster(Refusing(), numbered(9, {4: ["bad record"]}), settings(near), files={}))
    assert not is_connected()


def test_a_fault_of_ours_keeps_its_kind_and_traceback(near: Rays) -> None:
    with pytest.raises(ZeroDivisionError, match=r"(?s)rays\.py.*a fault of ours"):
        list(on_cluster(Refusing(), numbered(9, {4: ["bug"]}), settings(near), files={}))


def test_a_shard_that_ends_every_worker_is_named(near: Rays, tmp_path: Path) -> None:
    with pytest.raises(BasecastError, match=r"shard 4 has ended 3 workers, the last on node (one|two).*memory"):
        list(on_cluster(Deadly(tmp_path, times=99), numbered(9, {4: ["deadly"]}), settings(near), files={}))
    assert len(list(tmp_path.iterdir())) == 3


def test_workers_that_end_while_they_start(near: Rays) -> None:
    with pytest.raises(BasecastError, match="no worker is left, for those that start end at once"):
        list(on_cluster(Unloadable(), numbered(3), settings(near), files={}))


def test_a_cluster_that_others_fill(near: Rays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is connected already stays so."""
    import ray

    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with started_ray(near.address):
        theirs = [ray.remote(nodes.Holder).options(num_cpus=2).remote(1) for _ in range(2)]
        ray.get([holder.node_id.remote() for holder in theirs])
        with pytest.raises(BasecastError, match="no worker is left, for the cluster has no room for one"):
            list(on_cluster(Toy(), numbered(3), settings(near), files={}))
        assert is_connected()
        assert ray.get([holder.node_id.remote() for holder in theirs])


@contextlib.contextmanager
def started_ray(address: str) -> Iterator[None]:
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address, log_to_driver=False, logging_level=50)
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


# ---- nodes that are not as they must be


def test_files_are_the_same_on_every_node(near: Rays, tmp_path: Path) -> None:
    """A node whose memory of digests says otherwise stands for one that has another file."""
    genome = tmp_path / "genome.fa"
    genome.write_text(">a\nACGT\n")
    files = {str(genome): sha256_of(genome)}
    assert len(list(on_cluster(Toy(), numbered(2), settings(near), files=files))) == 2
    lies = tmp_path / "cache" / "digests"
    lies.mkdir(parents=True)
    (lies / identity_of(genome)).write_text("0" * 64)
    near.add("odd", BASECAST_CACHE=str(lies.parent))
    try:
        with pytest.raises(InputError, match=rf"^node odd has another {genome}: put the same file at the same path"):
            list(on_cluster(Toy(), numbered(2), settings(near), files=files))
    finally:
        near.stop("odd")


def test_a_missing_file_is_named_with_the_nodes(near: Rays, tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    with pytest.raises(InputError, match=rf"^node one has no {path}; node two has no {path}: put the same"):
        list(on_cluster(Toy(), numbered(2), settings(near), files={str(path): "0" * 64}))


def test_versions_must_be_these(near: Rays, monkeypatch: pytest.MonkeyPatch) -> None:
    there = nodes.versions()
    monkeypatch.setattr(cluster, "versions", lambda: there | {"torch": "1.0"})
    said = f"node one has torch {there['torch']}, not 1.0; node two has torch {there['torch']}, not 1.0: install"
    with pytest.raises(UsageError) as caught:
        list(on_cluster(Toy(), numbered(2), settings(near), files={"/nowhere": "0" * 64}))
    assert str(caught.value).startswith(said)


def test_a_node_without_this_basecast(near: Rays, tmp_path: Path) -> None:
    (tmp_path / "basecast").mkdir()
    (tmp_path / "basecast" / "__init__.py").write_text("")
    near.add("bare", PYTHONPATH=str(tmp_path))
    try:
        with pytest.raises(UsageError, match=r"^node bare cannot import basecast \d.*: install on every node"):
            list(on_cluster(Toy(), numbered(2), settings(near), files={}))
    finally:
        near.stop("bare")


@pytest.mark.parametrize(
    ("values", "threads", "said"),
    [
        ({}, 64, "no node of the cluster has the 64 CPUs of a worker"),
        ({"gpus_per_worker": 1}, None, "has the 1 CPU and 1 GPU of a worker"),
        ({"gpus_per_worker": 1.5}, None, "--gpus-per-worker 1.5 is neither a whole number nor a share of one GPU"),
    ],
)
def test_a_worker_that_fits_nowhere(near: Rays, values: dict[str, Any], threads: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list(on_cluster(Toy(), numbered(2), settings(near, **values), files={}, threads=threads))


# ---- a node is lost (last, for the others would wait for it)


def test_a_killed_node_s_shards_are_done_again(rays: Rays, capfd: pytest.CaptureFixture[str]) -> None:
    """Each shard comes once, with what one process gives; the cluster is left as it was, and so is this process.

    Ray may say on standard error that it looks for what the node held, but what is printed may be a table.
    """
    rays.add("third")
    capfd.readouterr()
    handler = signal.getsignal(signal.SIGTERM)
    taken: list[int] = []
    done: list[tuple[int, bytes]] = []
    for result in on_cluster(Toy(0.2), numbered(40, taken=taken), settings(rays, workers=6), files={}):
        done.append(result)
        assert len(taken) - len(done) <= 12
        if len(done) == 15:
            rays.lose("third")
    assert sorted(number for number, _ in done) == list(range(40))
    assert dict(done) == expected(40)
    assert capfd.readouterr().out == ""
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not is_connected()


# ---- no cluster


@pytest.mark.parametrize("address", ["local", "host", "http://host:8265/x", ""])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, environment in ((address, ""), ("auto", address)):
        if given == "auto" and not address:
            continue
        monkeypatch.setenv("RAY_ADDRESS", environment)
        with pytest.raises(UsageError, match=f"'{address}' is none of auto, HOST:PORT and ray://HOST:PORT"):
            list(on_cluster(Toy(), numbered(2), RunSettings(cluster=given), files={}))


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Something listens there, but not Ray."""
    monkeypatch.setattr(cluster, "CONNECTING", 5)
    began = time.monotonic()
    with socket.create_server(("127.0.0.2", 0)) as other:
        address = f"127.0.0.2:{other.getsockname()[1]}"
        with pytest.raises(BasecastError, match=rf"no Ray cluster can be used at {address} \(no answer in 5 s\)"):
            list(on_cluster(Toy(), numbered(2), RunSettings(cluster=address), files={}))
    assert time.monotonic() - began < 15
    assert capfd.readouterr() == ("", "")


def test_ray_s_reason_is_told() -> None:
    with pytest.raises(BasecastError, match=r"at ray://127\.0\.0\.2:1 \(.*ray\[client\].*\)"):
        list(on_cluster(Toy(), numbered(2), RunSettings(cluster="ray://127.0.0.2:1"), files={}))


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--cluster needs Ray: pip install 'basecast\[ray\]'"):
        list(on_cluster(Toy(), numbered(2), RunSettings(cluster="auto"), files={}))
