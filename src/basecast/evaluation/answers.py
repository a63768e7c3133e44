"""Whole records of datasets through the engine: what a model says of every base that has a label, once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from basecast.data.store import Dataset, Sites
from basecast.errors import UsageError, counted
from basecast.evaluation.records import Bases, EngineSettings, Gathered, bases_of_a_shard, no_numbers
from basecast.genome.source import Masked, Source
from basecast.inference.jobs import Shard
from basecast.inference.request import Request
from basecast.inference.tiling import grain
from basecast.spec import LocalReach, ModelSpec
from basecast.zoo.package import Package

_MOST_ITEMS = 5_000


@dataclass(frozen=True, eq=False)
class Records(Gathered):
    """Records whose bases have classes, some of which are sites.

    Attributes:
        output, classes: what the labels are of, and the names of the classes; the first is no site.
    """

    output: str
    classes: tuple[str, ...]

    @classmethod
    def open(cls, folders: Sequence[str | Path], split: str, left_out: Collection[str] = ()) -> Records:
        """As `Gathered.gather`.

        Raises:
            InputError: a dataset is missing or damaged.
            UsageError: the datasets have no classes base by base or not the same, a name to leave out is not there, or
                nothing is left.
        """
        return cls.among(Gathered.gather(folders, split, left_out))

    @classmethod
    def among(cls, found: Gathered) -> Records:
        """The same with their classes.

        Raises:
            UsageError: the datasets have no classes base by base, or not the same.
        """
        kinds = [_classes(dataset) for dataset in found.datasets]
        if len(set(kinds)) > 1:
            raise UsageError(f"the datasets have different classes, {kinds[0]} and {kinds[1]}: give each alone")
        return cls(found.datasets, found.names, found.of, found.row, *kinds[0])

    def labels(self, record: int) -> tuple[NDArray[Any], Bool[np.ndarray, " positions"], Sites]:
        """Class of each position, which of them are known, and the sites."""
        dataset, row = self.dataset(record)
        where = (row, 0, int(self.lengths[record]), self.output)
        return dataset.labels(*where), dataset.valid(*where), dataset.sites(row, self.output)

    def shards(self, span: int) -> Iterator[Shard]:
        """Consecutive records of ``span`` bases or a little more, numbered."""
        number = size = 0
        items: list[int] = []
        for record, length in enumerate(self.lengths.tolist()):
            items.append(record)
            size += length
            if size >= span or len(items) >= _MOST_ITEMS:
                yield number, items
                number, size, items = number + 1, 0, []
        if items:
            yield number, items


def _classes(dataset: Dataset) -> tuple[str, tuple[str, ...]]:
    """Output and class names of the sites of a dataset."""
    for output in dataset.header.outputs:
        if output.name not in dataset.header.dense and output.has_classes and output.resolution == 1:
            return output.name, tuple(track.name for track in output.tracks)
    raise UsageError(f"{dataset.path} has no output with one class a base: there are no sites to be found in it")


class Answers:
    """A model on records.

    Raises:
        UsageError: the model does not give the classes of the records, or needs more context than is kept.
    """

    def __init__(self, package: Package, records: Records, settings: EngineSettings) -> None:
        self.records, self.package = records, package
        spec = package.spec
        self._columns = _columns(spec, records)
        if spec.mask == "none" and isinstance(spec.reach, LocalReach):
            for dataset in records.datasets:
                dataset.require_context(2 * max(spec.reach.left, spec.reach.right))
        self.engine = settings.engine(package)

    @property
    def span(self) -> int:
        """Bases of a shard, of about the work that it may take."""
        return bases_of_a_shard(self.package, self.engine.device.type)

    def shards(self) -> Iterator[Shard]:
        """The records in shards of ``span`` bases."""
        return self.records.shards(self.span)

    def bases(self, items: Sequence[int]) -> int:
        """Of the records of a shard."""
        return int(self.records.lengths[list(items)].sum())

    def each(self, items: Sequence[int]) -> Iterator[tuple[int, Float[np.ndarray, "positions classes"]]]:
        """Each record with the values of all its positions; the same whatever was asked before.

        Raises:
            InputError: a value is nan or infinite.
        """
        self.engine.forget()
        name = self.records.output
        answers = self.engine.evaluate([self._request(item) for item in items], [name])
        for item, answer in zip(items, answers, strict=True):
            length = int(self.records.lengths[item])
            values = answer[name][:length][:, self._columns]
            if not np.isfinite(values).all():
                raise no_numbers(self.package, *self.records.dataset(item), 0, length)
            yield item, values

    def _request(self, record: int) -> Request:
        (dataset, row), length = self.records.dataset(record), int(self.records.lengths[record])
        contig, source = str(row), cast(Source, Bases(dataset))
        if self.package.spec.mask == "gene":
            source = Masked(source, contig, 0, length)
        # few lengths of windows: those of one length run together
        whole, rest = divmod(length, self.engine.longest_tile)
        step = max(1 << rest.bit_length() >> 3, 16)
        size = whole * self.engine.longest_tile + min(-(-rest // step) * step, self.engine.longest_tile)
        unit = grain(self.package.spec)
        return Request(source, contig, 0, -(-size // unit) * unit)

    @staticmethod
    def warnings_of(package: Package, records: Records) -> list[str]:
        """What of the data is not as a model was trained."""
        return [
            f"{dataset.path} has N outside the genes, and {package.spec.name} was trained with the genome around them: "
            "its numbers are those of genes cut out"
            for dataset in records.datasets
            if dataset.header.mask == "gene" and package.spec.mask == "none"
        ]

    def plan(self) -> dict[str, Any]:
        """What decides what a shard gives."""
        return {
            "model": self.package.digest,
            "data": self.records.digests,
            "records": counted(len(self.records), "record"),
            "precision": self.engine.precision,
            "device": self.engine.device.type,
            "tile (--memory)": self.engine.longest_tile,
            "work of a shard": self.span,
        }


def _columns(spec: ModelSpec, records: Records) -> list[int]:
    """Where the model has the classes of the records."""
    for output in spec.outputs:
        names = [track.name for track in output.tracks]
        if output.name == records.output and output.axes == "position" and output.resolution == 1:
            if sorted(names) == sorted(records.classes):
                return [names.index(name) for name in records.classes]
            raise UsageError(
                f"{spec.name} tells apart {', '.join(names)} in {output.name}, the data {', '.join(records.classes)}: "
                "they do not go together"
            )
    raise UsageError(f"{spec.name} has no output {records.output!r} base by base, which the data have")
