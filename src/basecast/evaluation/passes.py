"""Models over the same records, one after the other, each in shards whose parts lie beside what is to be written."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from basecast.inference.jobs import Job, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings

Progress = Callable[[int, int], None]
"""Is told bases done and bases in all, each model counted."""


def passes(
    jobs: Sequence[Job],
    n_bases: int,
    target: Path,
    run: RunSettings,
    stack: contextlib.ExitStack,
    progress: Progress | None = None,
) -> list[tuple[Parts, int]]:
    """Carry out a job for each model.

    Args:
        n_bases: of one model's job.
        stack: closes the parts.

    Returns:
        Of each job its parts, held until ``stack`` is closed, and how many there are.
    """
    found = []
    for number, job in enumerate(jobs):
        done = number * n_bases
        told = (lambda n, done=done: progress(done + n, len(jobs) * n_bases)) if progress else None
        beside = run.model_copy(update={"work_dir": run.work_dir and run.work_dir / f"model-{number + 1}"})
        parts = stack.enter_context(parts_of(job, f"{target}.model-{number + 1}", beside))
        carry_out(job, parts, beside, told)
        found.append((parts, sum(1 for _ in job.shards())))
    return found


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Files in a new folder, which appears whole or not at all."""
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            (staging / name).write_bytes(content)
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
