"""Records with signals through the engine: what a model says of every bin that has a label, once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float

from basecast.data.store import Dataset
from basecast.errors import UsageError, counted
from basecast.evaluation.records import Bases, EngineSettings, Gathered, bases_of_a_shard, no_numbers
from basecast.genome.source import Source
from basecast.inference.jobs import Shard
from basecast.inference.request import Request
from basecast.inference.tiling import grain, margin
from basecast.inference.views import Views, evaluate
from basecast.spec import LocalReach, ModelSpec, Output, WindowReach
from basecast.zoo.package import Package

_MOST_VALUES = 1 << 25  # of a shard, over bins, tracks and views
_WINDOW = 131_072  # bases of target of a window, where neither model nor data say how many


class Piece(NamedTuple):
    """Bins [start, end), in bases, of a record."""

    record: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class SignalRecords(Gathered):
    """Records whose bins have a value for each track.

    Attributes:
        output: what the values are.
    """

    output: Output

    @classmethod
    def among(cls, found: Gathered) -> SignalRecords:
        """The same with their signals.

        Raises:
            UsageError: a dataset has none, or they have not the same tracks and bins.
        """
        outputs = [_signal(dataset) for dataset in found.datasets]
        kinds = [([track.name for track in output.tracks], output.resolution) for output in outputs]
        if any(kind != kinds[0] for kind in kinds):
            raise UsageError("the datasets have different tracks or bins: give each alone")
        return cls(found.datasets, found.names, found.of, found.row, outputs[0])

    def labels(self, piece: Piece) -> tuple[Float[np.ndarray, "bins tracks"], Bool[np.ndarray, " bins"]]:
        """Values of each bin, and which of them are known."""
        dataset, row = self.dataset(piece.record)
        where = (row, piece.start, piece.end, self.output.name)
        return dataset.labels(*where), dataset.valid(*where)

    @property
    def n_bins(self) -> int:
        """With a label or without."""
        return int(self.lengths.sum()) // self.output.resolution


def _signal(dataset: Dataset) -> Output:
    for output in dataset.header.outputs:
        if output.name in dataset.header.dense and not output.has_classes and output.axes == "position":
            return output
    raise UsageError(f"{dataset.path} has no signal, a value for each bin and track: there is nothing to compare with")


@dataclass(frozen=True)
class Matched:
    """Tracks that a model and a dataset both have, in the order of the data.

    Attributes:
        output: the model's.
        model, data: where each track is in the model's output, and in the data's.
    """

    output: Output
    model: tuple[int, ...]
    data: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.output.tracks[i].name for i in self.model)


def matched(spec: ModelSpec, data: Output, wanted: Collection[str] | None = None) -> Matched:
    """Tracks of the data, by name, in the output of a model that has most of them.

    Args:
        wanted: only these; all by default.

    Raises:
        UsageError: the model has none of them, or gives other bins.
    """
    chosen = [(i, track.name) for i, track in enumerate(data.tracks) if wanted is None or track.name in wanted]
    best = Matched(data, (), ())
    for output in spec.outputs:
        if output.axes == "position" and not output.has_classes:
            known = {track.name: i for i, track in enumerate(output.tracks)}
            pairs = [(known[name], i) for i, name in chosen if name in known]
            if len(pairs) > len(best.model):
                best = Matched(output, tuple(i for i, _ in pairs), tuple(j for _, j in pairs))
    if not best.model:
        has = [track.name for output in spec.outputs for track in output.tracks]
        raise UsageError(
            f"{spec.name} has none of the tracks of the data by name: it has {_some(has)}, the data "
            f"{_some([name for _, name in chosen])}; give a model that was trained on them"
        )
    if best.output.resolution != data.resolution:
        raise UsageError(
            f"{spec.name} gives bins of {best.output.resolution} bp, the data have bins of {data.resolution} bp: make "
            f"the dataset again with bins of {best.output.resolution} bp"
        )
    return best


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


class SignalAnswers:
    """A model on records.

    Args:
        tracks: those that are asked for.
        views: from where each sequence is looked at.

    Raises:
        UsageError: the model needs more context than is kept.
    """

    def __init__(
        self, package: Package, records: SignalRecords, tracks: Matched, views: Views, settings: EngineSettings
    ) -> None:
        self.package, self.records, self.tracks, self.views = package, records, tracks, views
        spec = package.spec
        if spec.conditions:
            raise UsageError(f"{spec.name} needs {spec.conditions[0].name}, which a dataset does not say")
        reach = spec.reach
        side = max(reach.left, reach.right) if isinstance(reach, LocalReach) else reach.crop
        for dataset in records.datasets:
            dataset.require_context(2 * (side + margin(spec)))
        self.engine = settings.engine(package)

    def _span(self, record: int) -> int:
        """Bases of a record that are computed at once."""
        spec, length = self.package.spec, int(self.records.lengths[record])
        if isinstance(spec.reach, WindowReach):
            return window_span(spec, length, self.records.dataset(record)[0].header.settings.get("window"))
        step = grain(spec)
        return max(min(self.engine.longest_tile, -(-length // step) * step) // step * step, step)

    def pieces(self) -> Iterator[Piece]:
        """Every record cut into pieces that are computed at once."""
        for record, length in enumerate(self.records.lengths.tolist()):
            span = self._span(record)
            yield from (Piece(record, a, min(a + span, length)) for a in range(0, length, span))

    def shards(self) -> Iterator[Shard]:
        """The pieces in shards of about the same work, in order."""
        longest = bases_of_a_shard(self.package, self.engine.device.type)
        n_views = len(self.views.shifts) * (1 + self.views.reverse_complement)
        each = len(self.tracks.model) * n_views / self.records.output.resolution  # values a base
        span = max(min(longest // n_views, int(_MOST_VALUES / each)), 1)
        number = size = 0
        items: list[Any] = []
        for piece in self.pieces():
            items.append(tuple(piece))
            size += piece.end - piece.start
            if size >= span:
                yield number, items
                number, size, items = number + 1, 0, []
        if items:
            yield number, items

    @staticmethod
    def bases(items: Sequence[tuple[int, int, int]]) -> int:
        """Of the pieces of a shard."""
        return sum(end - start for _, start, end in items)

    def each(self, items: Sequence[tuple[int, int, int]]) -> Iterator[tuple[Piece, Float[np.ndarray, "bins tracks"]]]:
        """Each piece with the values of all its bins; the same whatever was asked before.

        Raises:
            InputError: a value is nan or infinite.
        """
        self.engine.forget()
        pieces = [Piece(*item) for item in items]
        requests = [self._request(piece) for piece in pieces]
        name, resolution = self.tracks.output.name, self.tracks.output.resolution
        answers = evaluate(self.engine, requests, self.views, [name], {name: self.tracks.model})
        for piece, request, answer in zip(pieces, requests, answers, strict=True):
            first = (piece.start - request.start) // resolution
            values = answer[name][first : first + (piece.end - piece.start) // resolution]
            if not np.isfinite(values).all():
                dataset, row = self.records.dataset(piece.record)
                raise no_numbers(self.package, dataset, row, piece.start, piece.end)
            yield piece, values

    def _request(self, piece: Piece) -> Request:
        """The stretch of a piece; where windows are whole, the last of a record reaches back over the one before."""
        (dataset, row), step = self.records.dataset(piece.record), grain(self.package.spec)
        start, end = piece.start, piece.start + -(-(piece.end - piece.start) // step) * step
        if isinstance(self.package.spec.reach, WindowReach) and piece.start:
            start, end = piece.end - self._span(piece.record), piece.end
        return Request(cast(Source, Bases(dataset)), str(row), start, end)

    def plan(self) -> dict[str, Any]:
        """What decides what a shard gives."""
        return {
            "model": self.package.digest,
            "data": self.records.digests,
            "records": counted(len(self.records), "record"),
            "tracks": list(self.tracks.names),
            "views": self.views.model_dump(mode="json"),
            "precision": self.engine.precision,
            "device": self.engine.device.type,
            "tile (--memory)": self.engine.longest_tile,
        }


def window_span(spec: ModelSpec, length: int, window: int | None = None) -> int:
    """Bases that a window of a model gives, for a record of ``length``.

    Args:
        window: how many were given at a time in training, for models that take windows of any length.
    """
    reach, step = spec.reach, grain(spec)
    assert isinstance(reach, WindowReach)
    asked = length if reach.lengths else min(length, window or _WINDOW)
    lost = 2 * margin(spec)
    return max((reach.length_for(asked + lost) - 2 * reach.crop - lost) // step * step, step)
