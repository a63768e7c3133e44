"""An evaluation of signals as files: numbers for programs, tables for people, and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import basecast
from basecast.evaluation.signal_evaluation import Cells, SignalEvaluated, SignalEvaluation, plain
from basecast.evaluation.signal_measures import log2_of
from basecast.figures.canvas import png
from basecast.figures.signal_evaluation import distribution, scatter, stretch

_SHOWN = 6  # tracks of a figure
_POINTS = 50_000  # of a scatter


def files_of(evaluation: SignalEvaluation, command: str) -> dict[str, bytes]:
    """``evaluation.json``, a table for each kind of number that there is, and figures, by file name."""
    files = {"evaluation.json": (json.dumps(_document(evaluation, command), indent=1) + "\n").encode()}
    for name, rows in evaluation.tables.items():
        if rows:
            files[f"{name}.tsv"] = _table(rows).encode()
    return files | figures_of(evaluation)


def _document(evaluation: SignalEvaluation, command: str) -> dict[str, Any]:
    records = evaluation.records
    return {
        "basecast": basecast.__version__,
        "command": command,
        "output": records.output.name,
        "resolution": records.output.resolution,
        "split": evaluation.split,
        "left_out": list(evaluation.left_out),
        **evaluation.settings.model_dump(mode="json"),
        "models": [_model(model) for model in evaluation.models],
        "data": [
            {
                "name": name,
                "path": str(dataset.path),
                "sha256": dataset.digest,
                "records": int((records.of == i).sum()),
                "bins": int(records.lengths[records.of == i].sum()) // records.output.resolution,
            }
            for i, (name, dataset) in enumerate(zip(records.names, records.datasets, strict=True))
        ],
        "bins": evaluation.models[0].tally.taught.n,
        "bins for ranks": len(evaluation.models[0].tally.kept()[0]),
        "warnings": evaluation.warnings,
        "seconds": round(evaluation.seconds, 3),
        **{name: [plain(row) for row in rows] for name, rows in evaluation.tables.items()},
    }


def _model(model: SignalEvaluated) -> dict[str, Any]:
    spec = model.package.spec
    return {
        "name": model.name,
        "package": spec.name,
        "source": model.package.source,
        "digest": model.package.digest,
        "members": max(len(model.package.networks), 1),
        "licence": spec.licence,
    }


def _table(rows: list[Cells]) -> str:
    lines = ["\t".join(rows[0])]
    lines += ["\t".join(_cell(value) for value in plain(row).values()) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value).replace("\t", " ")


def figures_of(evaluation: SignalEvaluation) -> dict[str, bytes]:
    """PNG by file name."""
    by_assay: dict[str, dict[str, list[float]]] = {model.name: {} for model in evaluation.models}
    for row in evaluation.tables["tracks"]:
        by_assay[row["model"]].setdefault(row["assay"], []).append(row["pearson_log"])
    chosen = _spread(evaluation)
    figures = {"by_assay.png": distribution(by_assay, "correlation of log2(1 + x)")}
    if chosen:
        for number, model in enumerate(evaluation.models):
            name = f"scatter-{number + 1}.png" if len(evaluation.models) > 1 else "scatter.png"
            figures[name] = scatter(_scatter(evaluation, model, chosen))
    if evaluation.models[0].locus is not None:
        where = evaluation.models[0].locus
        drawn = {_name(evaluation, i): _locus(evaluation, i) for i in chosen or range(min(_SHOWN, 1))}
        figures["locus.png"] = stretch(drawn, where.contig, where.start, evaluation.records.output.resolution)
    return {name: png(figure) for name, figure in figures.items()}


def _spread(evaluation: SignalEvaluation) -> list[int]:
    """A few tracks, from the best predicted to the worst."""
    r = evaluation.models[0].tally.measured.log.pearson
    order = [i for i in np.argsort(-np.nan_to_num(r, nan=-2), kind="stable").tolist() if np.isfinite(r[i])]
    at = np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)
    return [order[i] for i in np.unique(at)]


def _name(evaluation: SignalEvaluation, i: int) -> str:
    return evaluation.records.output.tracks[evaluation.tracks[i]].name


def _scatter(evaluation: SignalEvaluation, model: SignalEvaluated, chosen: list[int]) -> Mapping[str, Any]:
    _, predictions, targets = model.tally.kept()
    step = max(len(predictions) // _POINTS, 1)
    said, seen = (log2_of(model.tally.as_measured(x[::step])) for x in (predictions, targets))
    r = model.tally.measured.log.pearson
    return {_name(evaluation, i): (seen[:, i], said[:, i], float(r[i])) for i in chosen}


def _locus(evaluation: SignalEvaluation, i: int) -> Mapping[str, Any]:
    """log2(1 + x) of what was measured and of what each model predicts, of one track; nan where there is no label."""
    series: dict[str, Any] = {}
    for model in evaluation.models:
        where = model.locus
        if where is not None:
            said, seen = (log2_of(model.tally.as_measured(x)[:, i]) for x in (where.predictions, where.targets))
            series.setdefault("measured", np.where(where.valid, seen, np.nan))
            series[model.name] = said
    return series
