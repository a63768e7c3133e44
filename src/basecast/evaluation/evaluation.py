"""Tallies of models on the same records to numbers: how many sites they find, how sure that is, which finds more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from basecast.errors import counted
from basecast.evaluation import measures
from basecast.evaluation.answers import Answers, Records
from basecast.evaluation.bootstrap import draws
from basecast.evaluation.measures import Measures, Reliability, Row
from basecast.evaluation.metrics import LEAST_PROBABILITY, SiteScores
from basecast.evaluation.tally import Tally
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

_MOST_GROUPS = 50
_TOLD = 1e-4  # of AUPRC

_Group = tuple[str, str, Bool[np.ndarray, " records"]]  # by what, its name, which records


class EvaluateSettings(Frozen):
    """On what models are measured, and how often the records are drawn."""

    split: str = "test"
    left_out: tuple[str, ...] = Field((), description="genes, contigs, chromosomes or groups without a part in it")
    draws: int = Field(1000, ge=0, description="of the records, for the intervals")
    seed: int = Field(0, ge=0, description="of the draws")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One model's answers: its name, what it is, and what is kept of them."""

    name: str
    package: Package
    tally: Tally


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What several models gave on the same records.

    Attributes:
        records: on which.
        models: in the order asked for.
        weights: how often each record is counted: in the data itself (first column) and in each draw.
        rows: every number.
        warnings: sentences on what is not as it might be thought.
    """

    records: Records
    models: tuple[Evaluated, ...]
    weights: Int[np.ndarray, "records draws"]
    rows: list[Row]
    warnings: list[str]
    seconds: float = 0.0
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)

    def row(self, model: str, label: str, metric: str) -> Row:
        """The number of all records."""
        return next(
            row
            for row in self.rows
            if (row.model, row.than, row.by, row.label, row.metric) == (model, "", "all", label, metric)
        )

    def told(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """A sentence for each model, and one on the data, each with its facts."""
        for model in self.models:
            facts = {}
            for label in self.records.classes[1:]:
                for metric in ("top-1", "auprc"):
                    row = self.row(model.name, label, metric)
                    facts[f"{label} {metric}"] = f"{row.value:.4f} ({row.low:.4f}-{row.high:.4f})"
            said = ", ".join(f"{name} {value}" for name, value in facts.items())
            named = {name.replace(" ", "_"): value for name, value in facts.items()}
            yield f"{model.name}: {said}", {"model": model.name, **named}
        tally = self.models[0].tally
        n_sites, n_bases = int(tally.confusion[:, 1:].sum()), int(tally.positions.sum())
        yield (
            f"{counted(n_sites, 'site')} in {counted(n_bases, 'base')} of {counted(len(self.records), 'record')} "
            f"in {self.seconds:.1f} s",
            {},
        )


def measured(
    records: Records, models: Sequence[Evaluated], settings: EvaluateSettings, seconds: float = 0.0
) -> Evaluation:
    """Tallies to numbers."""
    sizes = np.bincount(records.of, minlength=len(records.datasets)).tolist()
    weights = draws(sizes, settings.draws, settings.seed)
    rows: list[Row] = []
    groups, warnings = _groups(records, models[0].tally)
    for by, group, within in groups:
        found = {model.name: measures.measure(model.tally, records.classes, weights, within) for model in models}
        rows += _rows(records, models, found, by, group, within)
    for model in models:
        w = weights
        for by, group, label, n, values in measures.by_site(model.tally, records.classes, w):
            where = {"model": model.name, "by": by, "group": group}
            key = (label, "recall at top-1")
            rows += measures.rows_of({key: values}, {label: n}, int(model.tally.positions.sum()), len(records), where)
        for label, scores in zip(records.classes[1:], model.tally.scores, strict=True):
            warnings += [f"{model.name}, {label}: {line}" for line in _lost(scores, groups)]
    said = [line for model in models for line in Answers.warnings_of(model.package, records)]
    return Evaluation(records, tuple(models), weights, rows, said + warnings, seconds, settings)


def _lost(scores: SiteScores, groups: Sequence[_Group]) -> Iterator[str]:
    """What the scores that were dropped leave unknown."""
    kept = f"of the {counted(scores.n_positions, 'position')} only sites and those with p > {scores.floor:.2g} are kept"
    if not scores.has_all(LEAST_PROBABILITY):
        yield f"no calibration error (ECE), which asks for all with p >= {LEAST_PROBABILITY:g}, for {kept}"
    slack = [scores.slack_in(within) for _, _, within in groups]
    worst = int(np.argmax(slack))
    if slack[worst] > _TOLD:
        by, group, _ = groups[worst]
        more = f", and that of {by} {group} up to {slack[worst]:.1e}" if worst else ""
        yield f"AUPRC may be up to {slack[0]:.1e} more{more}, for {kept}"


def _groups(records: Records, tally: Tally) -> tuple[list[_Group], list[str]]:
    """All records, those of each dataset and of each chromosome, where there are several; and a word on the rest."""
    groups = [("all", "all", np.ones(len(records), dtype=bool))]
    if len(records.datasets) > 1:
        groups += [("genome", name, records.of == i) for i, name in enumerate(records.names)]
    chromosomes = np.array(records.chromosomes)
    sites = tally.confusion[:, 1:].sum(axis=(1, 2))
    names, which = np.unique(chromosomes, return_inverse=True)
    if names.size in (1, len(records)):  # nothing to tell apart, or a name for each record
        return groups, []
    n_sites = np.bincount(which, sites, names.size)
    shown = np.argsort(-n_sites, kind="stable")[:_MOST_GROUPS]
    groups += [("chromosome", str(names[i]), which == i) for i in sorted(shown.tolist())]
    if names.size <= _MOST_GROUPS:
        return groups, []
    rest = ~np.isin(which, shown)
    groups.append(("chromosome", "others", rest))
    return groups, [f"of {names.size:,} chromosomes the {_MOST_GROUPS} with most sites have rows, others are together"]


def _rows(
    records: Records,
    models: Sequence[Evaluated],
    found: dict[str, Measures],
    by: str,
    group: str,
    within: Bool[np.ndarray, " records"],
) -> Iterator[Row]:
    """Those of one group: each model's, then what each has more than the first."""
    for model in models:
        counts = model.tally.confusion[within].sum(axis=(0, 2))
        sizes = dict(zip(records.classes[1:], counts[1:].tolist(), strict=True))
        rest = (sizes, int(counts.sum()), int(within.sum()))
        yield from measures.rows_of(found[model.name], *rest, {"model": model.name, "by": by, "group": group})
        if model is not models[0]:
            more = measures.difference(found[model.name], found[models[0].name])
            where = {"model": model.name, "than": models[0].name, "by": by, "group": group}
            yield from measures.rows_of(more, *rest, where)


def reliability_of(evaluation: Evaluation) -> dict[str, dict[str, Float[np.ndarray, "bins 4"]]]:
    """Class -> model -> points of `Reliability`."""
    everywhere = np.ones(len(evaluation.records), dtype=bool)
    return {
        label: {
            model.name: Reliability.of(model.tally.scores[i], everywhere).points(evaluation.weights)
            for model in evaluation.models
        }
        for i, label in enumerate(evaluation.records.classes[1:])
    }
