"""From tallies to numbers with intervals: by class, by group of records, by kind of site, and between models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from basecast.data.store import MOTIFS
from basecast.evaluation.bootstrap import interval
from basecast.evaluation.metrics import BINS, LEAST_PROBABILITY, TOP, SiteScores, equal_mass_bins, precision_recall_f1
from basecast.evaluation.tally import Tally

MEAN, ALL = "mean", "all"
"""Names that stand for a class: the mean over the classes of sites; all classes together."""
INTRONS = (0, 80, 200, 1_000, 10_000, 100_000)
"""Shortest intron of each bin of lengths, in bases."""
PLACES = ("inner", "first", "last", "first and last")
"""Names of the values of ``Sites.place``."""

Measures = dict[tuple[str, str], Float[np.ndarray, " draws"]]
"""(class, metric) -> what each column of the weights gives."""


@dataclass(frozen=True)
class Row:
    """One number.

    ``than`` names the model whose number was taken off. ``by`` and ``group`` say of which records or sites it is.
    """

    model: str
    than: str
    by: str
    group: str
    label: str
    metric: str
    value: float
    low: float
    high: float
    records: int
    positions: int
    sites: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values by column; None where there is no number."""
        row = {"class" if name == "label" else name: value for name, value in vars(self).items()}
        return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equal mass, from the least probability up, by record.

    Attributes:
        n, said, seen: positions, summed probabilities and sites, each (records, bins).
    """

    n: Float[np.ndarray, "records bins"]
    said: Float[np.ndarray, "records bins"]
    seen: Float[np.ndarray, "records bins"]

    @classmethod
    def of(cls, scores: SiteScores, within: Bool[np.ndarray, " records"], n_bins: int = BINS) -> Reliability:
        """Of the positions with a probability of ``LEAST_PROBABILITY`` or more; no bins where not all were kept."""
        if not scores.has_all(LEAST_PROBABILITY):
            return cls(*(np.zeros((within.size, 0)) for _ in range(3)))
        p, is_site, record = scores.likely(LEAST_PROBABILITY)
        here = within[record]
        p, is_site, record = p[here], is_site[here], record[here]
        at, shape = record.astype(np.int64) * n_bins + equal_mass_bins(p, n_bins), (within.size, n_bins)
        sums = [np.bincount(at, x, within.size * n_bins).reshape(shape) for x in (None, p, is_site)]
        return cls(*(x.astype(np.float64) for x in sums))

    def error(self, weights: Int[np.ndarray, "records draws"]) -> Float[np.ndarray, " draws"]:
        """Expected calibration error, nan without a bin; the bins are those of the data itself."""
        w = weights.T.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.abs(w @ self.said - w @ self.seen).sum(axis=1) / (w @ self.n).sum(axis=1)

    def points(self, weights: Int[np.ndarray, "records draws"]) -> NDArray[np.float64]:
        """For each bin that has a position: mean probability, share of sites, and its interval; shape (bins, 4)."""
        w = weights.T.astype(np.float64)
        n, said, seen = w @ self.n, w @ self.said, w @ self.seen
        with np.errstate(invalid="ignore", divide="ignore"):
            share = seen / n
        rows = [(said[0, i] / n[0, i], share[0, i], *interval(share[1:, i])) for i in np.flatnonzero(n[0])]
        return np.array(rows).reshape(-1, 4)


def measure(
    tally: Tally,
    classes: Sequence[str],
    weights: Int[np.ndarray, "records draws"],
    within: Bool[np.ndarray, " records"] | None = None,
) -> Measures:
    """Everything that is measured of some records, or of all.

    Args:
        classes: names of the classes; the first is no site.
        weights: how often each record counts; the first column is the data itself.
    """
    within = np.ones(len(weights), dtype=bool) if within is None else within
    w = weights[within].T.astype(np.float64)
    counts = np.einsum("dr,rij->dij", w, tally.confusion[within], optimize=True)
    by_class = precision_recall_f1(counts)
    found: Measures = {}
    for number, (label, scores) in enumerate(zip(classes[1:], tally.scores, strict=True), 1):
        auprc, *top = scores.ranking(within).measured(TOP, weights)
        found |= {(label, f"top-{k:g}"): x for k, x in zip(TOP, top, strict=True)}
        found[label, "auprc"] = auprc
        found |= {(label, n): by_class[:, i, number] for i, n in enumerate(("precision", "recall", "f1"))}
        found[label, "ece"] = Reliability.of(scores, within).error(weights)
    for metric in dict.fromkeys(metric for _, metric in found):
        found[MEAN, metric] = np.mean([found[label, metric] for label in classes[1:]], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = w @ tally.positions[within]
        found[ALL, "nll"], found[ALL, "brier"] = (w @ x[within] / n for x in (tally.likelihood, tally.brier))
    return found


def rows_of(
    found: Measures, sizes: Mapping[str, int], positions: int, records: int, where: Mapping[str, str]
) -> Iterator[Row]:
    """Each measure with its interval.

    Args:
        sizes: sites of each class.
        where: the row's ``model``, ``than``, ``by`` and ``group``.
    """
    for (label, metric), values in found.items():
        low, high = interval(values[1:])
        n_sites = sizes.get(label, sum(sizes.values()))
        yield Row(
            where["model"],
            where.get("than", ""),
            where["by"],
            where["group"],
            label,
            metric,
            float(values[0]),
            low,
            high,
            records,
            positions,
            n_sites,
        )


def difference(found: Measures, other: Measures) -> Measures:
    """``found`` less ``other``, draw by draw."""
    return {key: values - other[key] for key, values in found.items()}


def by_site(
    tally: Tally, classes: Sequence[str], weights: Int[np.ndarray, "records draws"]
) -> Iterator[tuple[str, str, str, int, Float[np.ndarray, " draws"]]]:
    """The share of each kind of site among the best ``n_sites`` positions of its class.

    Other positions have no kind, so there is no precision by kind. The threshold is that of the data itself. A site
    whose intron has no length is one of which nothing is known; it is left out.

    Yields:
        what the kinds are, the kind, the class, sites of the kind, and the share in each draw.
    """
    sites = tally.found
    bins = np.searchsorted(INTRONS, sites.intron, side="right") - 1
    edges = [f"{low:,}-{high - 1:,} bp" for low, high in itertools.pairwise(INTRONS)]
    kinds = (
        ("motif", sites.motif, MOTIFS),
        ("intron length", bins, (*edges, f"from {INTRONS[-1]:,} bp")),
        ("place", sites.place, PLACES),
    )
    w = weights.T.astype(np.float64)
    for number, (label, scores) in enumerate(zip(classes[1:], tally.scores, strict=True), 1):
        is_found = sites.probability >= scores.threshold()
        for by, kind, names in kinds:
            for i, name in enumerate(names):
                chosen = (sites.label == number) & (kind == i) & (sites.intron > 0)
                if not chosen.any():
                    continue
                record = sites.record[chosen]
                total, hits = (np.bincount(record, x, len(weights)) for x in (None, is_found[chosen]))
                with np.errstate(invalid="ignore", divide="ignore"):
                    yield by, name, label, int(chosen.sum()), (w @ hits) / (w @ total)
