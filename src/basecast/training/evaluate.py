"""Models on held-out records, file to file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import basecast
from basecast.errors import UsageError
from basecast.inference.jobs import Job, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.training.answers import Answers, EngineSettings, Records, unique
from basecast.training.evaluation import Evaluated, EvaluateSettings, Evaluation, measured
from basecast.training.evaluation_files import write
from basecast.training.metrics import CAPACITY
from basecast.training.tally import Tally
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package, require_new

_LEAST_CAPACITY = 1 << 14


def evaluate(
    data: Sequence[str | Path],
    target: str | Path,
    *,
    models: Sequence[Package | str | Path],
    settings: EvaluateSettings | None = None,
    engine: EngineSettings | None = None,
    run: RunSettings | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run models over every labelled base of a split, and write what they are worth into the folder ``target``.

    While it lasts, ``TARGET.model-1.basecast`` and so on hold what is done, and the same call goes on there.

    Args:
        data: folders of datasets, each called by its folder's name.
        progress: is told bases done and bases in all, each model counted.

    Raises:
        InputError: a dataset or a model is missing or damaged.
        UsageError: data and models do not go together, or the folder is there already.
    """
    settings, began = settings or EvaluateSettings(), time.monotonic()
    target = Path(target)
    require_new(target)
    if not target.parent.is_dir():
        raise UsageError(f"the folder of the output {target} does not exist: make it with 'mkdir -p {target.parent}'")
    records = Records.open(data, settings.split, settings.left_out)
    with contextlib.ExitStack() as stack:
        tallies, parts = tallied(
            records, target, [_loaded(x) for x in models], settings, engine, run or RunSettings(), stack, progress
        )
        evaluation = measured(records, tallies, settings, time.monotonic() - began)
        write(target, evaluation, command)
        for each in parts:
            each.remove()
    return evaluation


def _loaded(model: Package | str | Path) -> Package:
    return model if isinstance(model, Package) else load_model(model)


def tallied(
    records: Records,
    target: Path,
    packages: Sequence[Package],
    settings: EvaluateSettings,
    engine: EngineSettings | None,
    run: RunSettings,
    stack: contextlib.ExitStack,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Evaluated], list[Parts]]:
    """Each model on all records; its parts are held until ``stack`` is closed."""
    names = unique([package.spec.name for package in packages])
    answers = [Answers(package, records, engine or EngineSettings()) for package in packages]
    n_bases = int(records.lengths.sum())
    found, kept = [], []
    for number, (name, each) in enumerate(zip(names, answers, strict=True)):
        n_shards = sum(1 for _ in each.shards())
        worker = _Worker(each, max(4 * CAPACITY // n_shards, _LEAST_CAPACITY))
        plan = {
            "verb": "evaluate",
            "basecast": basecast.__version__,
            **each.plan(),
            "split": settings.split,
            "left out": list(settings.left_out),
            "scores of a shard": worker.capacity,
        }
        job = Job(plan, {"verb": "evaluate"}, each.shards, worker, {}, size=each.bases, engine=each.engine)
        done = number * n_bases
        told = (lambda n, done=done: progress(done + n, len(answers) * n_bases)) if progress else None
        beside = run.model_copy(update={"work_dir": run.work_dir and run.work_dir / f"model-{number + 1}"})
        parts = stack.enter_context(parts_of(job, f"{target}.model-{number + 1}", beside))
        carry_out(job, parts, beside, told)
        tally = Tally(len(records), len(records.classes))
        for shard in range(n_shards):
            tally.add_bytes(parts.load(shard))
        found.append(Evaluated(name, each.package, tally))
        kept.append(parts)
    return found, kept


@dataclass(frozen=True)
class _Worker:
    """Records of a shard to what is kept of a model's answers; of each class so many scores of other positions."""

    answers: Answers
    capacity: int

    def __call__(self, items: list[Any]) -> bytes:
        records = self.answers.records
        tally = Tally(len(records), len(records.classes), self.capacity)
        for record, probabilities in self.answers.each(items):
            tally.add(record, probabilities, *records.labels(record))
        return tally.to_bytes(items)
