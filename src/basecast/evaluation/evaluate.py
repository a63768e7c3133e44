"""Models on held-out records, file to file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import basecast
from basecast.errors import UsageError
from basecast.evaluation.answers import Answers, Records
from basecast.evaluation.evaluation import Evaluated, EvaluateSettings, Evaluation, measured
from basecast.evaluation.evaluation_files import files_of
from basecast.evaluation.metrics import CAPACITY
from basecast.evaluation.passes import Progress, passes, write_folder
from basecast.evaluation.records import EngineSettings, Gathered, unique
from basecast.evaluation.signal_answers import SignalRecords
from basecast.evaluation.signal_evaluate import evaluate_signals
from basecast.evaluation.signal_evaluation import SignalEvaluateSettings, SignalEvaluation
from basecast.evaluation.signal_evaluation_files import files_of as signal_files
from basecast.evaluation.tally import Tally
from basecast.inference.jobs import Job
from basecast.inference.shards import Parts, RunSettings
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package, require_new

_LEAST_CAPACITY = 1 << 14


def evaluate(
    data: Sequence[str | Path],
    target: str | Path,
    *,
    models: Sequence[Package | str | Path],
    settings: EvaluateSettings | None = None,
    signal: SignalEvaluateSettings | None = None,
    engine: EngineSettings | None = None,
    run: RunSettings | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Evaluation | SignalEvaluation:
    """Run models over everything of a split that has a label, and write what they are worth into the folder ``target``.

    What the datasets hold, classes of bases or signals, decides what is measured. While it lasts,
    ``TARGET.model-1.basecast`` and so on hold what is done, and the same call goes on there.

    Args:
        data: folders of datasets, each called by its folder's name.
        signal: what is measured of signals; goes with data that have them.
        progress: is told bases done and bases in all, each model counted.

    Raises:
        InputError: a dataset, a model or another file is missing or damaged.
        UsageError: data, models and settings do not go together, or the folder is there already.
    """
    settings, engine, run = settings or EvaluateSettings(), engine or EngineSettings(), run or RunSettings()
    began, target = time.monotonic(), Path(target)
    require_new(target)
    if not target.parent.is_dir():
        raise UsageError(f"the folder of the output {target} does not exist: make it with 'mkdir -p {target.parent}'")
    found = Gathered.gather(data, settings.split, settings.left_out)
    if found.has_classes and signal is not None and signal != SignalEvaluateSettings():
        raise UsageError(
            "--rc, --shifts, --tracks, --annotation, --radius, --peaks-rule, --replicates and --locus go with signals, "
            "and the data have splice sites: leave them out"
        )
    packages = [model if isinstance(model, Package) else load_model(model) for model in models]
    evaluation: Evaluation | SignalEvaluation
    with contextlib.ExitStack() as stack:
        if found.has_classes:
            records = Records.among(found)
            tallies, parts = tallied(records, target, packages, settings, engine, run, stack, progress)
            evaluation = measured(records, tallies, settings, time.monotonic() - began)
            files = files_of(evaluation, command)
        else:
            signals, asked = SignalRecords.among(found), signal or SignalEvaluateSettings()
            evaluation, parts = evaluate_signals(
                signals,
                target,
                packages,
                asked,
                engine,
                run,
                stack,
                split=settings.split,
                left_out=settings.left_out,
                progress=progress,
            )
            evaluation = replace(evaluation, seconds=time.monotonic() - began)
            files = signal_files(evaluation, command)
        write_folder(target, files)
        for each in parts:
            each.remove()
    return evaluation


def tallied(
    records: Records,
    target: Path,
    packages: Sequence[Package],
    settings: EvaluateSettings,
    engine: EngineSettings | None,
    run: RunSettings,
    stack: contextlib.ExitStack,
    progress: Progress | None = None,
) -> tuple[list[Evaluated], list[Parts]]:
    """Each model on all records; its parts are held until ``stack`` is closed."""
    names = unique([package.spec.name for package in packages])
    answers = [Answers(package, records, engine or EngineSettings()) for package in packages]
    jobs = []
    for each in answers:
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
        jobs.append(Job(plan, {"verb": "evaluate"}, each.shards, worker, {}, size=each.bases, engine=each.engine))
    ran = passes(jobs, int(records.lengths.sum()), target, run, stack, progress)
    found = []
    for name, each, (parts, n_shards) in zip(names, answers, ran, strict=True):
        tally = Tally(len(records), len(records.classes))
        for shard in range(n_shards):
            tally.add_bytes(parts.load(shard))
        found.append(Evaluated(name, each.package, tally))
    return found, [parts for parts, _ in ran]


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
