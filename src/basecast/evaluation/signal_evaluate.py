"""Models of signals over the records of a dataset."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import basecast
from basecast.errors import UsageError, counted
from basecast.evaluation.passes import Progress, passes
from basecast.evaluation.records import EngineSettings, unique
from basecast.evaluation.replicates import Pair, by_description, by_table
from basecast.evaluation.signal_answers import Matched, Piece, SignalAnswers, SignalRecords, matched
from basecast.evaluation.signal_evaluation import (
    Locus,
    SignalEvaluated,
    SignalEvaluateSettings,
    SignalEvaluation,
    tables_of,
)
from basecast.evaluation.signal_genes import Genes
from basecast.evaluation.signal_measures import log2_of
from basecast.evaluation.signal_tally import SignalTally, apart
from basecast.inference.jobs import Job
from basecast.inference.shards import Parts, RunSettings
from basecast.spec import ModelSpec, Output
from basecast.zoo.package import Package

_LOCUS = 400  # bins that are drawn
_RANK = 0.9  # of a piece that is drawn, among all by signal: neither empty nor the highest there is


def evaluate_signals(
    records: SignalRecords,
    target: Path,
    packages: Sequence[Package],
    settings: SignalEvaluateSettings,
    engine: EngineSettings,
    run: RunSettings,
    stack: contextlib.ExitStack,
    *,
    split: str,
    left_out: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> tuple[SignalEvaluation, list[Parts]]:
    """Each model on all records; its parts are held until ``stack`` is closed.

    Raises:
        InputError: the annotation or the table of replicates is not what it must be.
        UsageError: data and models do not go together, or a track or the locus is not in the data.
    """
    common, warnings = _common([package.spec for package in packages], records.output, settings.tracks)
    names = unique([package.spec.name for package in packages])
    tracks = common[0].data
    described = [records.output.tracks[i] for i in tracks]
    pairs = by_table(settings.replicates, described) if settings.replicates else by_description(described)
    annotation = settings.read_annotation()
    genes = None if annotation is None else Genes.of(annotation, records, settings.radius)
    every = apart(records.n_bins, len(tracks))
    drawn = None if settings.locus is None else _named_locus(settings.locus, records)
    answers = [
        SignalAnswers(package, records, found, settings.views, engine)
        for package, found in zip(packages, common, strict=True)
    ]
    asked = {
        "radius": settings.radius,
        "genes": None if annotation is None else annotation.words,
        "replicates": [list(pair) for pair in pairs],
        "one bin of": every,
        "left out": list(left_out),
        "split": split,
    }
    jobs = []
    for each in answers:
        worker = _Worker(each, pairs, genes, every)
        plan = {"verb": "evaluate", "basecast": basecast.__version__, **each.plan(), **asked}
        jobs.append(Job(plan, {"verb": "evaluate"}, each.shards, worker, {}, size=each.bases, engine=each.engine))
    ran = passes(jobs, int(records.lengths.sum()), target, run, stack, progress)
    models = []
    for name, each, (parts, n_shards) in zip(names, answers, ran, strict=True):
        tally = SignalTally(records.output, tracks, pairs, genes, every)
        for shard in range(n_shards):
            tally.add_bytes(parts.load(shard))
        drawn = drawn or _telling_locus(tally, records, tracks)
        models.append(SignalEvaluated(name, each.package, tally, _locus(each, drawn)))
    tables, more = tables_of(records, tracks, models, pairs, genes, settings)
    if every > 1:
        more.append(f"ranks (spearman, peaks) and the scatter are of one bin in {every}, to fit memory")
    found = SignalEvaluation(
        records, tracks, tuple(models), tables, warnings + more, split=split, left_out=left_out, settings=settings
    )
    return found, [parts for parts, _ in ran]


@dataclass(frozen=True)
class _Worker:
    """Pieces of a shard to what is kept of a model's answers."""

    answers: SignalAnswers
    pairs: Sequence[Pair]
    genes: Genes | None
    every: int

    def __call__(self, items: list[Any]) -> bytes:
        records, tracks = self.answers.records, self.answers.tracks.data
        tally = SignalTally(records.output, tracks, self.pairs, self.genes, self.every)
        for piece, predictions in self.answers.each(items):
            targets, valid = records.labels(piece)
            tally.add(piece, predictions, targets[:, tracks], valid)
        return tally.to_bytes()


def _common(
    specs: Sequence[ModelSpec], data: Output, wanted: Collection[str] | None
) -> tuple[list[Matched], list[str]]:
    """Of each model the tracks that the data and all models have; and a sentence on those that are left out."""
    known = [track.name for track in data.tracks]
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"--tracks {name}: the data have no track of that name, but {', '.join(known[:5])} ...")
    names = set.intersection(*(set(matched(spec, data, wanted).names) for spec in specs))
    if not names:
        raise UsageError("the models have no track in common: evaluate each alone")
    found = [matched(spec, data, names) for spec in specs]
    warnings = []
    if missing := [name for name in known if name not in names and (wanted is None or name in wanted)]:
        warnings.append(
            f"{counted(len(missing), 'track')} of the data without a prediction: {', '.join(missing[:5])}"
            + " ..." * (len(missing) > 5)
        )
    for spec, each in zip(specs, found, strict=True):
        pairs = [(each.output.tracks[i], data.tracks[j]) for i, j in zip(each.model, each.data, strict=True)]
        if other := [b.name for a, b in pairs if a.transform is not None and a.transform != b.transform]:
            warnings.append(
                f"{spec.name} was taught other transforms of {counted(len(other), 'track')} ({other[0]} ...) than the "
                "data have: its numbers are of values on two scales"
            )
    return found, warnings


def _named_locus(text: str, records: SignalRecords) -> Piece:
    """Whole bins about CONTIG:START-END."""
    parts = re.fullmatch(r"(.+):([\d,]+)-([\d,]+)", text)
    if not parts:
        raise UsageError(f"--locus {text!r} is not CONTIG:START-END, such as chr1:1,000-90,000")
    start, end = int(parts[2].replace(",", "")) - 1, int(parts[3].replace(",", ""))
    resolution = records.output.resolution
    for number in range(len(records)):
        dataset, row = records.dataset(number)
        record = dataset.record(row)
        a, b = max(start, record.start) - record.start, min(end, record.end) - record.start
        if record.contig == parts[1] and a < b:
            return Piece(number, a // resolution * resolution, -(-b // resolution) * resolution)
    raise UsageError(f"--locus {text}: no record of the data covers it")


def _telling_locus(tally: SignalTally, records: SignalRecords, tracks: Sequence[int]) -> Piece:
    """At a piece with more signal than most the stretch with most, every track counting alike."""
    longest = max(end - start for _, start, end, _ in tally.levels)
    long = sorted((level, Piece(record, a, b)) for record, a, b, level in tally.levels if 2 * (b - a) >= longest)
    _, piece = long[int(_RANK * (len(long) - 1))]
    around = _LOCUS * records.output.resolution
    length = int(records.lengths[piece.record])
    piece = Piece(piece.record, max(piece.start - around, 0), min(piece.end + around, length))
    targets, valid = records.labels(piece)
    signal = log2_of(targets[:, tracks]) * valid[:, None]
    each = (signal / np.maximum(signal.mean(axis=0), np.finfo(float).tiny)).sum(axis=1)
    summed = np.concatenate([[0], np.cumsum(each)])
    n = min(_LOCUS, len(each))
    first = int(np.argmax(summed[n:] - summed[:-n]))
    start = piece.start + first * records.output.resolution
    return Piece(piece.record, start, start + n * records.output.resolution)


def _locus(answers: SignalAnswers, where: Piece) -> Locus:
    """What a model says of a stretch of a record."""
    resolution = answers.records.output.resolution
    pieces = [p for p in answers.pieces() if p.record == where.record and p.start < where.end and where.start < p.end]
    values = np.concatenate([x for _, x in answers.each(pieces)])
    first = (where.start - pieces[0].start) // resolution
    targets, valid = answers.records.labels(where)
    dataset, row = answers.records.dataset(where.record)
    record = dataset.record(row)
    return Locus(
        record.contig,
        record.start + where.start,
        record.start + where.end,
        values[first : first + len(valid)],
        targets[:, answers.tracks.data],
        valid,
    )
