"""Tallies of models on the same signals to numbers: by track, by assay, across genes, and beside replicates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import Field

from basecast.errors import counted
from basecast.evaluation.replicates import Agreement, Pair
from basecast.evaluation.signal_answers import SignalRecords
from basecast.evaluation.signal_genes import GeneAccuracy, Genes, Sense, read_in_sense, senses
from basecast.evaluation.signal_measures import mean_of, spearman
from basecast.evaluation.signal_peaks import EVERY, PeaksRule, peaks_of
from basecast.evaluation.signal_tally import SignalTally
from basecast.genome.annotation import Annotation
from basecast.inference.views import Views
from basecast.spec import Track
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

ALL = "all"
_NAMED = 5
_MEASURES = ("pearson", "spearman", "r2", "pearson_measured", "pearson_log", "peaks_auroc", "peaks_auprc")
_GENE_MEASURES = ("pearson", "spearman", "pearson_nonzero", "spearman_nonzero", "pearson_specific")

Cells = dict[str, Any]
"""One row of a table, by column."""


class SignalEvaluateSettings(Frozen):
    """What is measured of models of signals, besides accuracy by track."""

    views: Views = Views()
    tracks: tuple[str, ...] | None = Field(None, description="names of those that are compared; by default all")
    annotation: Path | None = Field(None, description="genes, at whose start sites signal is summed")
    radius: int = Field(500, ge=0, description="bases on either side of a start site")
    peaks_rule: PeaksRule = Field("bh", description="by which bins are called peaks")
    replicates: Path | None = Field(None, description="table of tracks and groups; by default by their descriptions")
    locus: str | None = Field(None, description="CONTIG:START-END, 1-based, that is drawn")

    def read_annotation(self) -> Annotation | None:
        """All transcripts, where there is one."""
        return None if self.annotation is None else Annotation.read(self.annotation, transcripts="all")


class Locus(NamedTuple):
    """A stretch as it was measured and as it was predicted, in model space."""

    contig: str
    start: int
    end: int
    predictions: Float[np.ndarray, "bins tracks"]
    targets: Float[np.ndarray, "bins tracks"]
    valid: Bool[np.ndarray, " bins"]


@dataclass(frozen=True, eq=False)
class SignalEvaluated:
    """One model's answers: its name, what it is, what is kept of them, and a stretch of them."""

    name: str
    package: Package
    tally: SignalTally
    locus: Locus | None = None


@dataclass(frozen=True, eq=False)
class SignalEvaluation:
    """What several models gave on the same records.

    Attributes:
        records, tracks: on which, and which tracks of the data's output.
        models: in the order asked for.
        tables: ``tracks``, ``means``, ``genes`` and ``replicates``, each a list of rows.
        warnings: sentences on what is not as it might be thought.
    """

    records: SignalRecords
    tracks: tuple[int, ...]
    models: tuple[SignalEvaluated, ...]
    tables: dict[str, list[Cells]]
    warnings: list[str]
    seconds: float = 0.0
    split: str = "test"
    left_out: tuple[str, ...] = ()
    settings: SignalEvaluateSettings = field(default_factory=SignalEvaluateSettings)

    def mean(self, model: str, metric: str, assay: str = ALL) -> float:
        """Over the tracks of an assay, or all; nan where none has a number."""
        rows = (row for row in self.tables["means"] if (row["model"], row["assay"]) == (model, assay))
        return float(next(rows)[metric])

    def track(self, model: str, name: str) -> Cells:
        """The row of one track."""
        return next(row for row in self.tables["tracks"] if (row["model"], row["track"]) == (model, name))

    def told(self) -> Iterator[tuple[str, Cells]]:
        """A sentence for each model, and one on the data, each with its facts."""
        for model in self.models:
            facts = {name: self.mean(model.name, name) for name in ("pearson", "r2", "pearson_log")}
            said = ", ".join(f"{name.replace('_', ' of ')} {value:.4f}" for name, value in facts.items())
            yield f"{model.name}: mean {said}", {"model": model.name, **facts}
        n = self.models[0].tally.taught.n
        yield (
            f"{counted(len(self.tracks), 'track')} in {counted(n, 'bin')} of {counted(len(self.records), 'record')} "
            f"in {self.seconds:.1f} s",
            {"tracks": len(self.tracks), "bins": n},
        )


def assay_of(track: Track) -> str:
    """Its assay, else what its description has before a colon, as Basenji's tables name it."""
    head, colon, _ = track.description.partition(":")
    return track.assay or (head if colon else "")


def tables_of(
    records: SignalRecords,
    tracks: Sequence[int],
    models: Sequence[SignalEvaluated],
    pairs: Sequence[Pair],
    genes: Genes | None,
    settings: SignalEvaluateSettings,
) -> tuple[dict[str, list[Cells]], list[str]]:
    """Tallies to tables, and sentences on what has no number."""
    described = [records.output.tracks[i] for i in tracks]
    tables: dict[str, list[Cells]] = {"tracks": [], "means": [], "genes": [], "replicates": []}
    warnings: list[str] = []
    for model in models:
        columns = _measures(model.tally, settings.peaks_rule)
        names = [track.name for track in described]
        for i, track in enumerate(described):
            row = {"model": model.name, "track": track.name, "strand": track.strand, "assay": assay_of(track)}
            row |= {"biosample": track.biosample, "description": track.description}
            tables["tracks"].append(row | {name: values[i] for name, values in columns.items()})
        tables["means"] += _means(model.name, columns, [assay_of(track) for track in described])
        without = mean_of(columns["pearson"], names).without
        if without:
            warnings.append(
                f"{model.name}: {counted(len(without), 'track')} without a correlation, for what was measured or "
                f"predicted is the same in all bins: {', '.join(without[:_NAMED])}{' ...' * (len(without) > _NAMED)}"
            )
        tables["replicates"] += _replicates(model, pairs, names)
        if genes is not None:
            kept = senses(records.output, tracks)
            tables["genes"] += _genes(model, genes, kept, [assay_of(described[sense.plus]) for sense in kept])
    if genes is not None:
        unlabelled = int((models[0].tally.sums.missing > 0).sum()) if models[0].tally.sums else 0
        if genes.left_out + unlabelled:
            warnings.append(
                f"{counted(genes.left_out + unlabelled, 'gene')} of {settings.annotation} on contigs of the data have "
                "no part in the numbers of genes: bins about their start sites are not in the data or have no label"
            )
    return tables, warnings


def _measures(tally: SignalTally, rule: PeaksRule) -> Mapping[str, NDArray[Any]]:
    """Column -> values of the tracks."""
    bins, predictions, targets = tally.kept()
    looked_at = bins % EVERY == 0 if rule == "basenji-compat" else np.ones(len(bins), dtype=bool)
    counts = targets[looked_at] if rule == "basenji-compat" else tally.as_counts(targets)
    peaks = [peaks_of(x, y, rule) for x, y in zip(predictions[looked_at].T, counts.T, strict=True)]
    return {
        "pearson": tally.taught.pearson,
        "spearman": spearman(predictions, targets),
        "r2": tally.taught.r2,
        "pearson_measured": tally.measured.plain.pearson,
        "pearson_log": tally.measured.log.pearson,
        "peaks": np.array([found.n for found in peaks]),
        "peaks_auroc": np.array([found.auroc for found in peaks]),
        "peaks_auprc": np.array([found.auprc for found in peaks]),
    }


def _means(model: str, columns: Mapping[str, NDArray[Any]], assays: Sequence[str]) -> Iterator[Cells]:
    for assay in [ALL, *(dict.fromkeys(assays) if len(set(assays)) > 1 else ())]:
        within = np.array([assay in (ALL, name) for name in assays])
        row: Cells = {"model": model, "assay": assay, "tracks": int(within.sum())}
        names = [""] * int(within.sum())
        for name in _MEASURES:
            row[name] = mean_of(columns[name][within], names).value
        row["tracks_with_pearson"] = int(np.isfinite(columns["pearson"][within]).sum())
        yield row


def _replicates(model: SignalEvaluated, pairs: Sequence[Pair], names: Sequence[str]) -> Iterator[Cells]:
    each = model.tally.crossed.agreements(model.tally.measured)
    for pair, scales in zip(pairs, each, strict=True):
        for scale, found in zip(("measured", "log2"), scales, strict=True):
            row = {"model": model.name, "group": pair.group, "first": names[pair.first], "second": names[pair.second]}
            yield row | {"scale": scale} | _agreement(found)


def _agreement(found: Agreement) -> Cells:
    return {
        "replicates": found.replicates,
        "prediction_first": found.own[0],
        "prediction_second": found.own[1],
        "first_prediction_second": found.other[0],
        "second_prediction_first": found.other[1],
        "corrected": found.corrected,
    }


def _genes(model: SignalEvaluated, genes: Genes, kept: Sequence[Sense], assays: Sequence[str]) -> Iterator[Cells]:
    sums = model.tally.sums
    assert sums is not None
    whole = np.flatnonzero(sums.missing == 0)
    strands = [genes.strands[i] for i in whole]
    read = [read_in_sense(x[whole], strands, kept) for x in (sums.predicted, sums.measured)]
    found = GeneAccuracy.of(read[0], read[1], assays)
    for i, sense in enumerate(kept):
        row: Cells = {"model": model.name, "track": sense.name, "assay": assays[i], "genes": len(whole)}
        row |= {"genes_nonzero": int(found.nonzero[i])}
        yield row | {name: float(getattr(found, name)[i]) for name in _GENE_MEASURES}
    if kept:
        row = {"model": model.name, "track": "mean", "assay": ALL, "genes": len(whole), "genes_nonzero": ""}
        yield row | {name: mean_of(getattr(found, name), [s.name for s in kept]).value for name in _GENE_MEASURES}


def plain(row: Cells) -> Cells:
    """Values as JSON has them; None where there is no number."""
    values = {name: x.item() if isinstance(x, np.generic) else x for name, x in row.items()}
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in values.items()}
