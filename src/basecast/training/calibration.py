"""A model in, the same model with honest probabilities out."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import basecast
from basecast.data import openspliceai
from basecast.errors import UsageError, counted
from basecast.evaluation.answers import Answers, Records
from basecast.evaluation.evaluate import tallied
from basecast.evaluation.evaluation import EvaluateSettings, Evaluation, measured, reliability_of
from basecast.evaluation.metrics import BINS, LEAST_PROBABILITY
from basecast.evaluation.records import EngineSettings
from basecast.figures.canvas import png
from basecast.figures.reliability import reliability
from basecast.inference.jobs import Job, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.spec import Calibration, ModelSpec, Provenance
from basecast.spec.model import Frozen
from basecast.training.lineage import inherited
from basecast.training.temperature import fitted
from basecast.training.train import Draft, Write, write_plain
from basecast.zoo.card import notes_of
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import CARD, Package, require_new

BEFORE, AFTER = "before", "after"
_TEST = "test"


class CalibrateSettings(Frozen):
    """What is fitted, and how it is measured."""

    split: str = "validation"
    per_class: bool = Field(False, description="a temperature for each class, which changes the ranking of positions")
    draws: int = Field(1000, ge=0, description="of the records, for the intervals")
    seed: int = Field(0, ge=0, description="of the draws")


@dataclass(frozen=True)
class Calibrated:
    """What came out.

    Attributes:
        temperature: by class, in the order of the data; one value where it is the same for all.
        splits: how the model did ``before`` and ``after``, on the data that it was fitted to, and on the test data.
    """

    temperature: tuple[float, ...]
    splits: dict[str, Evaluation]
    seconds: float


def calibrate(
    data: Sequence[str | Path],
    target: str | Path,
    *,
    model: Package | str | Path,
    settings: CalibrateSettings | None = None,
    engine: EngineSettings | None = None,
    run: RunSettings | None = None,
    command: str = "",
    write: Write = write_plain,
    progress: Callable[[int, int], None] | None = None,
) -> Calibrated:
    """Fit the temperature of a model to held-out genes, and write it as a new package, with what it changes.

    It minimises the summed negative log-likelihood of every labelled base. Of an ensemble it divides the mean
    log-probability. A temperature that the model has is replaced. While it lasts, folders that begin with ``TARGET.``
    hold what is done, and the same call goes on there.

    Args:
        data: folders of datasets.
        target: the package to write.
        write: how the package is written.
        progress: is told bases done and bases in all.

    Raises:
        InputError: a dataset or the model is missing or damaged, or no temperature fits.
        UsageError: data and model do not go together, or the package is there already.
    """
    settings, engine, run = settings or CalibrateSettings(), engine or EngineSettings(), run or RunSettings()
    began, target = time.monotonic(), Path(target)
    require_new(target)
    package = model if isinstance(model, Package) else load_model(model)
    if not package.networks:
        raise UsageError(f"{package.spec.name} is a graph of packages: calibrate the one that gives the output")
    splits = {name: Records.open(data, name) for name in _splits(data, settings.split)}
    records = splits[settings.split]
    bases = [int(x.lengths.sum()) for x in splits.values()]
    done = _Progress(progress, bases[0] + 2 * sum(bases))
    with contextlib.ExitStack() as stack:
        temperature, kept = _fit(records, target, package, settings, engine, run, stack, done)
        done.advance(bases[0])
        after = replace(
            package, spec=_spec(package, target.name, temperature, records, settings, command), source="memory"
        )
        both = [_named(package, BEFORE), _named(after, AFTER)]
        evaluations = {}
        for (name, each), n in zip(splits.items(), bases, strict=True):
            asked = EvaluateSettings(split=name, draws=settings.draws, seed=settings.seed)
            tallies, parts = tallied(each, Path(f"{target}.{name}"), both, asked, engine, run, stack, done.tell)
            evaluations[name] = measured(each, tallies, asked)
            kept += parts
            done.advance(2 * n)
        notes = _notes(package, records, settings, evaluations)
        files = {**_carried(package), **_files(records, temperature, evaluations)}
        write(target, Draft(after, notes, files))
        for part in kept:
            part.remove()
    return Calibrated(temperature, evaluations, time.monotonic() - began)


def _splits(data: Sequence[str | Path], split: str) -> list[str]:
    """That which is fitted to, and the test data where every folder has them."""
    names = (f"{_TEST}.h5", openspliceai.file_name(_TEST))
    has_test = all(any((Path(folder) / name).is_file() for name in names) for folder in data)
    return list(dict.fromkeys([split, _TEST] if has_test else [split]))


def _named(package: Package, name: str) -> Package:
    return replace(package, spec=package.spec.model_copy(update={"name": name}))


class _Progress:
    """Bases done of all passes."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._before = progress, total, 0

    def advance(self, bases: int) -> None:
        self._before += bases

    def tell(self, done: int, _: int = 0) -> None:
        if self._progress is not None:
            self._progress(self._before + done, self._total)


def _fit(
    records: Records,
    target: Path,
    package: Package,
    settings: CalibrateSettings,
    engine: EngineSettings,
    run: RunSettings,
    stack: contextlib.ExitStack,
    done: _Progress,
) -> tuple[tuple[float, ...], list[Parts]]:
    """The model is run once; its logits stay in parts on disk, which each step of the fit reads in turn."""
    answers = Answers(_with_logits(package, records.output), records, engine)
    plan = {"verb": "calibrate", "basecast": basecast.__version__, **answers.plan(), "split": settings.split}
    assembly = {"verb": "calibrate"}
    job = Job(plan, assembly, answers.shards, _Worker(answers), {}, size=answers.bases, engine=answers.engine)
    beside = run.model_copy(update={"work_dir": run.work_dir and run.work_dir / "logits"})
    parts = stack.enter_context(parts_of(job, f"{target}.logits", beside))
    carry_out(job, parts, beside, done.tell)
    n_shards = sum(1 for _ in answers.shards())

    def batches() -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
        return (_read(parts.load(shard)) for shard in range(n_shards))

    return fitted(batches, len(records.classes), per_class=settings.per_class), [parts]


def _with_logits(package: Package, output: str) -> Package:
    """The same networks, whose output is the mean of their logits."""
    outputs = tuple(x.model_copy(update={"link": "identity"}) if x.name == output else x for x in package.spec.outputs)
    return replace(
        package,
        spec=package.spec.model_copy(update={"outputs": outputs, "calibration": Calibration()}),
        source="memory",
    )


@dataclass(frozen=True)
class _Worker:
    """Records of a shard to logits and labels of their known positions."""

    answers: Answers

    def __call__(self, items: list[Any]) -> bytes:
        logits, labels = [], []
        for record, x in self.answers.each(items):
            label, is_known, _ = self.answers.records.labels(record)
            logits.append(x[is_known].astype(np.float32))
            labels.append(label[is_known])
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, logits=np.concatenate(logits), labels=np.concatenate(labels))
        return content.getvalue()


def _read(payload: bytes) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return arrays["logits"], arrays["labels"]


def _spec(
    package: Package,
    name: str,
    temperature: tuple[float, ...],
    records: Records,
    settings: CalibrateSettings,
    command: str,
) -> ModelSpec:
    """That of the parent, with the temperature in the order of the model's tracks."""
    parent, known = package.spec, package.spec.provenance
    if len(temperature) > 1:
        by_class = dict(zip(records.classes, temperature, strict=True))
        temperature = tuple(by_class[track.name] for track in parent.output(records.output).tracks)
    files = {f"{d.path.parent.name}/{d.path.name}": d.digest for d in records.datasets}
    told = f"the temperature was fitted to {', '.join(files)}"
    provenance = Provenance(
        basecast=basecast.__version__,
        command=command,
        sources={**known.sources, **files, f"{parent.name} (package)": package.digest},
        note="; ".join(filter(None, (known.note, told))),
    )
    calibration = Calibration(temperature={**parent.calibration.temperature, records.output: temperature})
    changed = parent.model_copy(update={"name": name, "calibration": calibration, "provenance": provenance})
    return inherited(changed, [(parent.name, parent.licence)])


def _carried(package: Package) -> dict[str, bytes]:
    """Files of the parent's training, which go where it goes."""
    folder = Path(package.source) / "training"
    if not folder.is_dir():
        return {}
    return {f"training/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _files(records: Records, temperature: tuple[float, ...], evaluations: dict[str, Evaluation]) -> dict[str, bytes]:
    document = {
        "basecast": basecast.__version__,
        "output": records.output,
        "classes": list(records.classes),
        "temperature": list(temperature),
        "calibration error": f"positions with p >= {LEAST_PROBABILITY:g} in {BINS} bins of equal mass",
        "warnings": {name: found.warnings for name, found in evaluations.items()},
        "splits": {
            name: [row.as_dict() for row in found.rows if row.by == "all"] for name, found in evaluations.items()
        },
    }
    files = {"calibration/calibration.json": (json.dumps(document, indent=1) + "\n").encode()}
    for name, found in evaluations.items():
        files[f"calibration/reliability-{name}.png"] = png(reliability(reliability_of(found)))
    return files


def _notes(package: Package, records: Records, settings: CalibrateSettings, evaluations: dict[str, Evaluation]) -> str:
    """The parent's notes, then what was fitted to what, and what it changed."""
    card = Path(package.source) / CARD
    before = notes_of(card.read_text()) if card.is_file() else ""
    positions = int(evaluations[settings.split].models[0].tally.positions.sum())
    by_class = "A temperature for each class, which changes the ranking of positions,"
    lines = [
        "### Calibration",
        "",
        f"{by_class if settings.per_class else 'One temperature'} was fitted to the negative log-likelihood of "
        f"{counted(positions, 'base')} of {counted(len(records), 'record')} ({settings.split})."
        + (" It divides the members' mean log-probability." if len(package.networks) > 1 else ""),
        f"The calibration error (ECE) is over positions with p >= {LEAST_PROBABILITY:g} in {BINS} bins of equal mass;",
        "intervals are 95 % over records. `calibration/` holds the numbers and the reliability diagrams.",
        "",
        "| data | what | before | after |",
        "|---|---|---|---|",
        *(line for name, found in evaluations.items() for line in table_of(name, found)),
    ]
    return "\n".join([*([before, ""] if before else []), *lines])


def table_of(name: str, found: Evaluation) -> Iterator[str]:
    """Rows of a table in Markdown: calibration errors, likelihood and Brier score before and after."""
    measures = [(label, "ece") for label in found.records.classes[1:]] + [("all", "nll"), ("all", "brier")]
    for label, metric in measures:
        cells = []
        for model in (BEFORE, AFTER):
            row = found.row(model, label, metric)
            known = np.isfinite(row.value)
            cells.append(f"{row.value:.3g} ({row.low:.3g} to {row.high:.3g})" if known else "not known")
        what = {"ece": f"ECE, {label}", "nll": "NLL a base", "brier": "Brier score a base"}[metric]
        yield f"| {name} | {what} | {cells[0]} | {cells[1]} |"
