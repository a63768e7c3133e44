"""How the benchmarks run programs, Basecast and a peer in an environment of its own, and what a run takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PEER = "openspliceai==0.0.7"


class Ran(NamedTuple):
    """What a program and its descendants took."""

    wall: float  # seconds
    cpu: float  # seconds
    memory: int  # bytes, the most held at once
    disk: int  # bytes, the most in the folder that was watched


# --- watching: memory and disk are sampled from /proc, so on Linux only


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from tree(int(child))


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes that the process holds now, and the most that it ever held."""
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if "VmRSS" in fields:
            return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    return 0, 0


def disk_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def watch(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ran:
    """Run a program to its end; ``folder`` is the one whose disk is watched. Ends this program where it fails."""
    memory = disk = 0
    ended = threading.Event()

    def sample() -> None:
        nonlocal memory, disk
        while not ended.wait(0.1):
            held = [memory_of(pid) for pid in tree(process.pid)]
            memory = max(memory, sum(now for now, _ in held), *(most for _, most in held))
            disk = max(disk, disk_of(folder)) if folder else 0

    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(log.open("w")) if log else None
        start = time.perf_counter()
        given = os.environ | dict(environment or {})
        process = subprocess.Popen(command, cwd=cwd, stdout=lines, stderr=lines, env=given)
        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        finally:
            ended.set()
        wall = time.perf_counter() - start
        sampler.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "".join(f"\n    {line}" for line in log.read_text().splitlines()[-10:]) if log else ""
        sys.exit(f"{' '.join(command)}\nended with exit code {process.returncode}{last}")
    return Ran(wall, usage.ru_utime + usage.ru_stime, memory, max(disk, disk_of(folder)) if folder else 0)


# --- Basecast


def basecast_program() -> str:
    """``basecast`` of this environment."""
    beside = Path(sys.executable).with_name("basecast")
    program = str(beside) if beside.exists() else shutil.which("basecast")
    if program is None:
        sys.exit("basecast is not installed here: pip install -e .")
    return program


def has_verb(verb: str) -> bool:
    return subprocess.run([basecast_program(), verb, "--help"], capture_output=True, check=False).returncode == 0


def run_basecast(*arguments: object, log: Path | None = None, environment: Mapping[str, str] | None = None) -> Ran:
    """Run ``basecast`` of this environment. The program ends where it fails."""
    command = [basecast_program(), *map(str, arguments)]
    print("$ basecast", *command[1:], flush=True)
    return watch(command, log=log, environment=environment)


# --- the peer


def make_peer(folder: Path) -> Path:
    """The python of an environment that holds the peer; made on first use from PyPI."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torch==2.13.0", PEER], check=True)
    return python


def run_openspliceai(python: Path, *arguments: object, log: Path, environment: Mapping[str, str] | None = None) -> Ran:
    """Run ``openspliceai`` as from a shell, its messages into ``log``. The program ends where it fails."""
    command = [str(python), "-c", "from openspliceai.openspliceai import main; main()", *map(str, arguments)]
    print("$ openspliceai", *command[3:], flush=True)
    # matplotlib and the like write settings to the home folder; keep them beside the log
    return watch(command, log=log, environment={"MPLCONFIGDIR": str(log.parent)} | dict(environment or {}))
