"""Jobs: what is to be done, cut into shards, and who does them: this process, a share of them, or a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from basecast.errors import UsageError
from basecast.inference.engine import Engine
from basecast.inference.shards import Parts, RunSettings
from basecast.inference.tuning import Tuning
from basecast.interruption import finish_first, is_asked_to_stop

WORK = {"cpu": 1e12, "cuda": 1e14}
"""Multiplications of a shard by device, as the direct method counts them: some 5 s, for a shard must be done before a
scheduler's patience ends."""

Shard = tuple[int, list[Any]]
"""Number and items; the items pickle."""

Worker = Callable[[list[Any]], bytes]
"""Items of a shard to what its part holds: the same bytes whoever does it, and whatever was done before."""


@dataclass(frozen=True)
class Job:
    """A plan with what it takes to carry it out.

    Attributes:
        plan, assembly: as ``Parts`` takes them.
        shards: gives every shard of the plan in order, as often as it is called.
        worker: does a shard. It pickles, with the model but without the files that it reads.
        files: the files that the worker reads, by path, with their sha256.
        threads: CPU threads of a worker, where that was asked for.
        size: how much of what is counted (records, bases) a shard's items are.
        engine: what the worker computes with, if anything: its kernels are part of the plan.
    """

    plan: dict[str, Any]
    assembly: dict[str, Any]
    shards: Callable[[], Iterable[Shard]]
    worker: Worker
    files: dict[str, str]
    threads: int | None = None
    size: Callable[[list[Any]], int] = len
    engine: Engine | None = None


@contextlib.contextmanager
def parts_of(job: Job, target: str, run: RunSettings) -> Iterator[Parts]:
    """The parts of a job whose output is ``target``, held while the block lasts; its engine takes on their kernels.

    Raises:
        UsageError: as ``Parts`` says; the parts there were begun with kernels that this machine does not have.
    """
    tuning = None if job.engine is None else _tuning(job.engine, run)
    chosen = {} if tuning is None else {"kernels": tuning.model_dump(mode="json")}
    parts = Parts(run.folder(target), job.plan, job.assembly, chosen, restart=run.restart, split=run.split)
    with contextlib.closing(parts):
        if job.engine is not None:
            begun = Tuning.model_validate(parts.chosen["kernels"])
            if job.engine.is_pinned and begun != tuning:
                raise UsageError(
                    f"{parts.folder} was begun with another kernel table than --tuning names: give none or the one it "
                    "was begun with to go on, or --restart to begin anew"
                )
            job.engine.use(begun)
            job.engine.largest_batch = parts.notes.get("largest batch", job.engine.largest_batch)
        yield parts


def _tuning(engine: Engine, run: RunSettings) -> Tuning:
    """The kernels found or given here, where the shards run on such a device; else torch's own choice."""
    return engine.tuning if run.device(engine.device) == engine.device.type else Tuning()


def carry_out(job: Job, parts: Parts, run: RunSettings, progress: Callable[[int], None] | None = None) -> int:
    """Do every shard that is this process's and has no part yet; a signal lets the one under way be finished.

    Args:
        progress: is told how many records or bases are done.

    Returns:
        How many are this process's.

    Raises:
        InterruptedRunError: a signal came; what is done stays.
    """
    done = 0
    sizes: dict[int, int] = {}

    def left() -> Iterator[Shard]:
        nonlocal done
        for number, items in job.shards():
            if is_asked_to_stop():
                return
            if parts.owns(number) and parts.has(number):
                done += job.size(items)
            elif parts.owns(number):
                sizes[number] = job.size(items)
                yield number, items

    with finish_first(), contextlib.closing(_runner(job, run)(left())) as results:
        for number, payload in results:
            parts.save(number, payload)
            done += sizes.pop(number)
            if job.engine is not None and job.engine.batch_was_halved:
                parts.note("largest batch", job.engine.largest_batch)
            if progress:
                progress(done)
    return done


def _runner(job: Job, run: RunSettings) -> Callable[[Iterator[Shard]], Generator[tuple[int, bytes]]]:
    if run.cluster is not None:
        from basecast.inference.cluster import on_cluster

        return lambda shards: on_cluster(job.worker, shards, run, files=job.files, threads=job.threads)
    return lambda shards: ((number, job.worker(items)) for number, items in shards)
