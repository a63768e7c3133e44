"""An evaluation as files: numbers for programs, a table for people, and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import basecast
from basecast.evaluation.evaluation import Evaluated, Evaluation, reliability_of
from basecast.evaluation.measures import MEAN
from basecast.evaluation.metrics import BINS, LEAST_PROBABILITY
from basecast.figures.bars import Bar, bars
from basecast.figures.canvas import png
from basecast.figures.curves import precision_recall
from basecast.figures.reliability import reliability

_COLUMNS = ("model", "than", "by", "group", "class", "metric", "value", "low", "high", "records", "positions", "sites")
_SITE_KINDS = ("motif", "intron length", "place")


def files_of(evaluation: Evaluation, command: str) -> dict[str, bytes]:
    """``evaluation.json``, ``table.tsv`` and figures, by file name."""
    document = json.dumps(_document(evaluation, command), indent=1) + "\n"
    files = {"evaluation.json": document.encode(), "table.tsv": _table(evaluation).encode()}
    return files | figures_of(evaluation)


def _document(evaluation: Evaluation, command: str) -> dict[str, Any]:
    records, settings = evaluation.records, evaluation.settings
    return {
        "basecast": basecast.__version__,
        "command": command,
        "output": records.output,
        "classes": list(records.classes),
        **settings.model_dump(mode="json"),
        "models": [_model(model, records.classes) for model in evaluation.models],
        "data": [
            {
                "name": name,
                "path": str(dataset.path),
                "sha256": dataset.digest,
                "records": int((records.of == i).sum()),
                "positions": int(evaluation.models[0].tally.positions[records.of == i].sum()),
            }
            for i, (name, dataset) in enumerate(zip(records.names, records.datasets, strict=True))
        ],
        "calibration error": f"positions with p >= {LEAST_PROBABILITY:g} in {BINS} bins of equal mass",
        "interval": "the middle 95 % of draws of records, with replacement, within each dataset",
        "warnings": evaluation.warnings,
        "seconds": round(evaluation.seconds, 3),
        "rows": [row.as_dict() for row in evaluation.rows],
    }


def _model(model: Evaluated, classes: tuple[str, ...]) -> dict[str, Any]:
    spec = model.package.spec
    scores = dict(zip(classes[1:], model.tally.scores, strict=True))
    return {
        "name": model.name,
        "package": spec.name,
        "source": model.package.source,
        "digest": model.package.digest,
        "members": max(len(model.package.networks), 1),
        "licence": spec.licence,
        "mask": spec.mask,
        "temperature": {name: list(values) for name, values in spec.calibration.temperature.items()},
        "threshold of top-1": {label: _number(of.threshold()) for label, of in scores.items()},
        "auprc may be more by": {label: of.slack for label, of in scores.items()},
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _table(evaluation: Evaluation) -> str:
    lines = ["\t".join(_COLUMNS)]
    for row in evaluation.rows:
        cells = row.as_dict()
        lines.append("\t".join(_cell(cells[name]) for name in _COLUMNS))
    return "".join(f"{line}\n" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def figures_of(evaluation: Evaluation) -> dict[str, bytes]:
    """PNG by file name."""
    curves = {
        label: {model.name: model.tally.scores[i].ranking().curve() for model in evaluation.models}
        for i, label in enumerate(evaluation.records.classes[1:])
    }
    figures = {
        "precision_recall.png": precision_recall(curves),
        "reliability.png": reliability(reliability_of(evaluation)),
        "accuracy.png": bars(_accuracy(evaluation), "share"),
    }
    if kinds := _kinds(evaluation):
        figures["site_kinds.png"] = bars(kinds, "recall at top-1")
    return {name: png(figure) for name, figure in figures.items()}


def _accuracy(evaluation: Evaluation) -> Mapping[str, Mapping[str, Mapping[str, Bar]]]:
    """Metric -> model -> class -> bar."""
    labels = (*evaluation.records.classes[1:], MEAN)
    return {
        title: {
            model.name: {label: _bar(evaluation.row(model.name, label, metric)) for label in labels}
            for model in evaluation.models
        }
        for title, metric in (("top-1", "top-1"), ("AUPRC", "auprc"), ("F1", "f1"))
    }


def _kinds(evaluation: Evaluation) -> Mapping[str, Mapping[str, Mapping[str, Bar]]]:
    """Kind of kinds -> model and class -> kind -> bar."""
    found: dict[str, dict[str, dict[str, Bar]]] = {}
    for row in evaluation.rows:
        if row.by in _SITE_KINDS:
            series = f"{row.model}, {row.label}" if len(evaluation.models) > 1 else row.label
            found.setdefault(row.by, {}).setdefault(series, {})[row.group] = _bar(row)
    return found


def _bar(row: Any) -> Bar:
    return (row.value, row.low, row.high)
