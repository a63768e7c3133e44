"""Devices, threads and memory: what is asked for is there, or an error says so."""

from __future__ import annotations

import os

import pytest
import torch

from basecast.errors import UsageError
from basecast.inference import device
from basecast.inference.device import available_memory, available_threads, choose_device, parse_memory


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="torch sees 2 GPUs"):
        choose_device("cuda:2")


def test_limits_of_a_nested_group_of_either_version(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = {"/proc/meminfo": "MemAvailable: 16777216 kB"}
    _pretend(
        monkeypatch,
        memory
        | {
            "/proc/self/cgroup": "4:memory:/job/step\n1:cpu,cpuacct:/job",
            "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2**32),
            "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(2**31),
            "/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "100000",
            "/sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
        },
    )
    assert (available_memory(), available_threads()) == (2**31, 1)
    _pretend(
        monkeypatch,
        memory | {"/proc/self/cgroup": "0::/slurm/job", "/sys/fs/cgroup/slurm/memory.max": str(2**30)},
    )
    assert available_memory() == 2**30


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_asked_for_but_absent_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match=f"device {name} is not there") as caught:
        choose_device(name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU", ""])
def test_no_device_of_that_name(name: str) -> None:
    with pytest.raises(UsageError, match="none of auto, cpu, cuda"):
        choose_device(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8G", 2**33), ("512M", 2**29), ("1.5GiB", 3 * 2**29), ("64 kb", 2**16), ("2t", 2**41), ("1000", 1000)],
)
def test_memory(text: str, expected: int) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["", "G", "0", "0G", "-1G", "8X", "8 G B", "1e9", "nan"])
def test_no_such_amount(text: str) -> None:
    with pytest.raises(UsageError, match="no amount"):
        parse_memory(text)


def _pretend(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(device, "_lines", lambda path: files.get(path, "").splitlines())


@pytest.mark.parametrize(
    ("quota", "told", "threads"),
    [
        ("", "", 6),
        ("max 100000", "", 6),
        ("250000 100000", "", 2),
        ("50000 100000", "", 1),
        ("900000 100000", "", 6),
        ("", "4", 4),
        ("", "9", 6),
        ("", "0", 6),
        ("250000 100000", "4,2", 2),
    ],
)
def test_threads_by_affinity_quota_and_environment(
    quota: str, told: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    _pretend(monkeypatch, {"/sys/fs/cgroup/cpu.max": quota})
    assert available_threads() == threads


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("", "", 2**32), ("max", "5", 2**32), (str(2**31), str(2**30), 2**30), (str(2**30), str(2**30), 2**28)],
)
def test_memory_within_the_limit(limit: str, used: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {2**22} kB\n",
        "/sys/fs/cgroup/memory.max": limit,
        "/sys/fs/cgroup/memory.current": used,
    }
    _pretend(monkeypatch, files)
    assert available_memory() == expected


def test_this_machine() -> None:
    assert 1 <= available_threads() <= (os.cpu_count() or 1)
    assert 2**28 <= available_memory() < 2**50
