"""How good answers are while a model is trained: streams of windows, by output, that merge over processes."""

from __future__ import annotations

import math
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from basecast.evaluation.metrics import SiteScores
from basecast.evaluation.signal_measures import Moments
from basecast.models.network import LINKS
from basecast.spec.model import Output


class Score(Protocol):
    """Of one output.

    Attributes:
        name: of the number that ``brief`` gives.
    """

    name: str

    def add(
        self, logits: Float[Tensor, "batch tracks bins"], target: Tensor, known: Bool[Tensor, "batch bins"]
    ) -> None:
        """More windows, of which the bins count that are ``known``."""
        ...

    def merge(self, other: Self) -> None:
        """All windows of another of its kind."""
        ...

    def brief(self) -> float:
        """One number for all; nan where nothing can be said."""
        ...

    def found(self) -> dict[str, float]:
        """Every number by its name."""
        ...


def score_of(output: Output) -> Score:
    """A score without a window."""
    return ClassScore(output) if output.has_classes else SignalScore(output)


class ClassScore:
    """Top-1 accuracy and average precision of each class but the first, which is none of them."""

    name = "top1"

    def __init__(self, output: Output) -> None:
        self._output = output
        self._scores = {c: SiteScores() for c in range(1, len(output.tracks))}

    def add(
        self, logits: Float[Tensor, "batch tracks bins"], target: Tensor, known: Bool[Tensor, "batch bins"]
    ) -> None:
        which = known.cpu().numpy()
        labels = (target if target.ndim == 2 else target.argmax(1)).cpu().numpy()[which]
        p = LINKS[self._output.link](logits, 1).float().cpu().numpy()
        for c, scores in self._scores.items():
            scores.add(p[:, c][which], labels == c)

    def merge(self, other: Self) -> None:
        for c, scores in self._scores.items():
            scores.merge(other._scores[c])

    def brief(self) -> float:
        each = [scores.ranking().top_k() for scores in self._scores.values() if scores.n_sites]
        return float(np.mean(each)) if each else math.nan

    def found(self) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for c, scores in self._scores.items():
            track, ranking = self._output.tracks[c].name, scores.ranking()
            numbers |= {f"top1_{track}": ranking.top_k(), f"auprc_{track}": ranking.average_precision()}
        return numbers


class SignalScore:
    """Correlation and explained variance over bins, the mean over the tracks where they are numbers; in float64."""

    name = "pearson"

    def __init__(self, output: Output) -> None:
        self._output, self._moments = output, Moments(len(output.tracks))

    def add(
        self, logits: Float[Tensor, "batch tracks bins"], target: Tensor, known: Bool[Tensor, "batch bins"]
    ) -> None:
        values = LINKS[self._output.link](logits, 1)
        rows = [torch.movedim(x, 1, 2)[known].cpu().numpy() for x in (values, target)]
        self._moments.add(rows[0], rows[1])

    def merge(self, other: Self) -> None:
        self._moments.merge(other._moments)

    def brief(self) -> float:
        return _mean(self._moments.pearson)

    def found(self) -> dict[str, float]:
        name = self._output.name
        return {f"pearson_{name}": _mean(self._moments.pearson), f"r2_{name}": _mean(self._moments.r2)}


def _mean(values: Float[np.ndarray, " tracks"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
