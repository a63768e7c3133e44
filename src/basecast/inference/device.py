"""What a run may use: device, threads, memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
from pathlib import Path

import torch

from basecast.errors import UsageError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: the name is none of these, or that GPU is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"device {name!r} is none of auto, cpu, cuda, cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name} is not there: torch sees {torch.cuda.device_count()} GPUs; use auto or cpu")
    return device


def available_threads() -> int:
    """CPUs that this process may run on: by affinity, the cgroup's quota and ``OMP_NUM_THREADS``."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroups("cpu"):
        quota = _first_line(f"{folder}/cpu.max").split()
        quota = quota or [_first_line(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period")]
        if len(quota) == 2 and quota[0].isdigit():
            allowed = min(allowed, max(int(quota[0]) // int(quota[1]), 1))
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(told)) if told.isdigit() and int(told) else allowed


def processor(device: torch.device | None = None) -> str:
    """What computes: the name of a GPU, or of the CPU."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kinds = ("model name", "CPU implementer", "CPU part")
    said = dict.fromkeys(line.replace("\t", "") for line in _lines("/proc/cpuinfo") if line.startswith(kinds))
    return ", ".join(said) or platform.processor() or platform.machine()


def without_tf32(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Within the block a GPU's convolutions keep single precision, in the whole process: not from several threads."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def available_memory(device: torch.device | None = None) -> int:
    """Bytes this process may still use: a GPU's free memory, or the machine's within the cgroup's limit."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = 2**32
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for folder in _cgroups("memory"):
        for most, now in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _first_line(f"{folder}/{most}"), _first_line(f"{folder}/{now}")
            if limit.isdigit():
                free = min(free, int(limit) - max(int(used or 0) - _cached(folder), 0))
    return max(free, 2**28)


def _cached(folder: str) -> int:
    """Bytes of files that the kernel keeps there: they give way."""
    found = dict(line.split() for line in _lines(f"{folder}/memory.stat"))
    prefix = "" if "active_file" in found else "total_"
    return sum(int(found.get(f"{prefix}{name}", 0)) for name in ("active_file", "inactive_file"))


def parse_memory(text: str) -> int:
    """Bytes of ``8G``, ``512M``, ``1.5GiB`` ...

    Raises:
        UsageError: it is no such amount.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UsageError(f"memory {text!r} is no amount such as 8G or 512M")
    return int(float(found[1]) * _UNITS[found[2]])


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next tensor of that size: glibc else asks the system each time.

    A training on a CPU is a fifth faster so. For programs, not for libraries: it holds for the whole process.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device ran out; torch has a class of its own for CUDA's allocator only."""
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in str(error) for sign in signs)


def _cgroups(controller: str) -> list[str]:
    """Folders whose limits hold for this process, its own first and the root last: cgroup v2, or v1 by controller."""
    folders = []
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = "/sys/fs/cgroup" + (f"/{controller}" if controllers else "")
            parts = [part for part in path.split("/") if part]
            folders += ["/".join([root, *parts[:n]]) for n in range(len(parts), -1, -1)]
    return folders or ["/sys/fs/cgroup"]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _first_line(path: str) -> str:
    return next(iter(_lines(path)), "").strip()
