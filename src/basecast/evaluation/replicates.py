"""Tracks that measure the same thing twice: how far they agree, and how far a model agrees with either."""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from basecast.errors import InputError
from basecast.evaluation.signal_measures import Accuracy, Moments
from basecast.spec import Track

_COLUMNS = ("track", "group")
_MOST = 8  # tracks of one description that are taken for replicates; more have been told apart by something else


class Pair(NamedTuple):
    """Two tracks of a group, by their numbers."""

    group: str
    first: int
    second: int


class Agreement(NamedTuple):
    """Correlations of a pair of replicates, on one scale.

    ``corrected`` is the mean of ``own`` by the square root of ``replicates``: what would be seen were the replicates
    without noise. Where they do not correlate at all it is nan.
    """

    replicates: float
    """Of the first with the second."""
    own: tuple[float, float]
    """Of the prediction of each with itself as it was measured."""
    other: tuple[float, float]
    """Of the prediction of the first with the second as it was measured, and the other way round."""

    @property
    def corrected(self) -> float:
        return sum(self.own) / 2 / math.sqrt(self.replicates) if self.replicates > 0 else math.nan


def by_description(tracks: Sequence[Track]) -> list[Pair]:
    """Tracks of one assay, strand and description, which is not empty and has no more than eight of them."""
    keys = [(track.description, track.strand, track.assay) for track in tracks]
    often = Counter(keys)
    taken = [key if key[0] and often[key] <= _MOST else None for key in keys]
    return list(_pairs(taken, [track.description for track in tracks]))


def by_table(path: str | Path, tracks: Sequence[Track]) -> list[Pair]:
    """Pairs of a tab-separated table with columns ``track`` and ``group``; tracks of others are passed over.

    Raises:
        InputError: the file cannot be read, a column is missing, a track stands twice, or no two tracks are replicates.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table of replicates {path} cannot be read ({error}): check the path") from error
    group_of: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if any(not row.get(name) for name in _COLUMNS):
            raise InputError(f"line {number} of {path} has no track and group: give a table with these two columns")
        if row["track"] in group_of:
            raise InputError(f"line {number} of {path} names the track {row['track']} again: give each one group")
        group_of[row["track"]] = row["group"]
    groups = [group_of.get(track.name) for track in tracks]
    pairs = list(_pairs(groups, [group or "" for group in groups]))
    if not pairs:
        raise InputError(
            f"{path} has no two tracks of one group that both the model and the data have: check the names"
        )
    return pairs


def _pairs(keys: Sequence[object], names: Sequence[str]) -> Iterator[Pair]:
    members: dict[object, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(i)
    for found in members.values():
        for a, b in itertools.combinations(found, 2):
            yield Pair(names[a], a, b)


class Crossed:
    """Streamed correlations of pairs: first with second as measured, then either's prediction with the other's."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._first, self._second = [pair.first for pair in pairs], [pair.second for pair in pairs]
        self.accuracy = Accuracy(3 * len(pairs))

    def add(self, predictions: Float[np.ndarray, "bins tracks"], targets: Float[np.ndarray, "bins tracks"]) -> None:
        """More bins, on the scale that was measured."""
        a, b = self._first, self._second
        self.accuracy.add(
            np.concatenate([targets[:, a], predictions[:, a], predictions[:, b]], axis=1),
            np.concatenate([targets[:, b], targets[:, b], targets[:, a]], axis=1),
        )

    def agreements(self, own: Accuracy) -> Iterator[tuple[Agreement, Agreement]]:
        """Of each pair: as measured, and as log2(1 + x).

        Args:
            own: of each track, prediction and target.
        """
        both = (self.accuracy.plain, own.plain), (self.accuracy.log, own.log)
        columns = [_agreements(crossed, each, self._first, self._second) for crossed, each in both]
        return zip(*columns, strict=True)


def _agreements(crossed: Moments, own: Moments, first: Sequence[int], second: Sequence[int]) -> Iterator[Agreement]:
    replicates, one, other = crossed.pearson.reshape(3, -1)
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        yield Agreement(
            float(replicates[i]), (float(own.pearson[a]), float(own.pearson[b])), (float(one[i]), float(other[i]))
        )
