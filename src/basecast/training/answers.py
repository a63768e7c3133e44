"""Whole records of datasets through the engine: what a model says of every base that has a label, once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field

from basecast.data.opening import open_split
from basecast.data.store import Dataset, Sites
from basecast.errors import InputError, UsageError, counted
from basecast.genome.sequence import Tokens
from basecast.genome.source import Masked, Source
from basecast.inference.engine import Engine
from basecast.inference.jobs import WORK, Shard
from basecast.inference.request import Request
from basecast.inference.tiling import grain
from basecast.inference.tuning import Tuning
from basecast.spec import LocalReach, ModelSpec
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

_LONGEST = 2_000_000  # bases of a shard, however quick the model is
_MOST_ITEMS = 5_000


class EngineSettings(Frozen):
    """How models are run."""

    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    memory: int | None = Field(None, description="bytes")
    tuning: Tuning | None = Field(None, description="kernels; by default the fastest that are found")

    def engine(self, package: Package) -> Engine:
        """A package, ready to be asked."""
        return Engine(package, **{name: getattr(self, name) for name in type(self).model_fields})


class _Tokens(NamedTuple):
    """The records of a dataset as contigs, named by their numbers, each as it is read."""

    dataset: Dataset

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        return self.dataset.tokens(int(contig), start, end)


@dataclass(frozen=True, eq=False)
class Records:
    """Records of one split of several datasets, numbered together.

    Attributes:
        datasets, names: the datasets, and a name for each.
        of, row: of each record, its dataset and its row there.
        output, classes: what the labels are of, and the names of the classes; the first is no site.
    """

    datasets: tuple[Dataset, ...]
    names: tuple[str, ...]
    of: Int[np.ndarray, " records"]
    row: Int[np.ndarray, " records"]
    output: str
    classes: tuple[str, ...]

    @classmethod
    def open(cls, folders: Sequence[str | Path], split: str, left_out: Collection[str] = ()) -> Records:
        """Those of a split, without records whose gene, contig, chromosome or group is ``left_out``.

        Raises:
            InputError: a dataset is missing or damaged.
            UsageError: the datasets have no classes base by base or not the same, a name to leave out is not there, or
                nothing is left.
        """
        datasets = [open_split(folder, split) for folder in folders]
        kinds = [_classes(dataset) for dataset in datasets]
        if len(set(kinds)) > 1:
            raise UsageError(f"the datasets have different classes, {kinds[0]} and {kinds[1]}: give each alone")
        kept = [_kept(dataset, left_out) for dataset in datasets]
        if unknown := set(left_out) - {name for _, met in kept for name in met}:
            raise UsageError(f"--leave-out {sorted(unknown)[0]}: no gene, contig, chromosome or group has that name")
        rows = [np.flatnonzero(chosen) for chosen, _ in kept]
        if not sum(map(len, rows)):
            raise UsageError(f"the {split} split of {', '.join(map(str, folders))} has no record left")
        names = unique([Path(folder).resolve().name for folder in folders])
        of = np.repeat(np.arange(len(rows)), [len(x) for x in rows])
        output, classes = kinds[0]
        return cls(tuple(datasets), names, of, np.concatenate(rows), output, classes)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " records"]:
        """Bases of each."""
        return np.concatenate([d.lengths[self.row[self.of == i]] for i, d in enumerate(self.datasets)])

    @cached_property
    def chromosomes(self) -> list[str]:
        """That of the source, else the contig, of each; where there are several datasets, after its name."""
        found: list[str] = []
        for i, dataset in enumerate(self.datasets):
            begin = f"{self.names[i]}:" if len(self.datasets) > 1 else ""
            table = dataset.records[self.row[self.of == i].tolist()]
            pairs = zip(table["chromosome"], table["contig"], strict=True)
            found += [begin + (chromosome or contig) for chromosome, contig in pairs]
        return found

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each dataset."""
        return [dataset.digest for dataset in self.datasets]

    def labels(self, record: int) -> tuple[NDArray[Any], Bool[np.ndarray, " positions"], Sites]:
        """Class of each position, which of them are known, and the sites."""
        dataset, row, length = self.datasets[self.of[record]], int(self.row[record]), int(self.lengths[record])
        where = (row, 0, length, self.output)
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


def _kept(dataset: Dataset, left_out: Collection[str]) -> tuple[NDArray[np.bool_], set[str]]:
    """Which records are kept, and the names that were met."""
    names, met, kept = set(left_out), set(), np.ones(len(dataset), dtype=bool)
    table = dataset.records.select("genes", "contig", "chromosome", "group")
    for i, (genes, *others) in enumerate(table.iter_rows() if names else ()):
        if hits := names.intersection([*genes.split(","), *others]):
            kept[i] = False
            met |= hits
    return kept, met


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, with a number where one comes again."""
    return tuple(f"{name}-{i + 1}" if names.index(name) != i else name for i, name in enumerate(names))


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
        networks = [*self.package.networks, *(x for node in self.package.nodes.values() for x in node.networks)]
        weights = sum(x.numel() for network in networks for x in network.parameters())
        return max(min(int(WORK[self.engine.device.type] / max(weights, 1)), _LONGEST), 1)

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
                dataset = self.records.datasets[self.records.of[item]]
                raise InputError(
                    f"{self.package.spec.name} gives values that are no numbers for "
                    f"{dataset.place(int(self.records.row[item]), 0, length)} of {dataset.path}: its weights or config "
                    "are wrong, take a model that was trained to its end"
                )
            yield item, values

    def _request(self, record: int) -> Request:
        dataset, length = self.records.datasets[self.records.of[record]], int(self.records.lengths[record])
        contig = str(self.records.row[record])
        source: Source = _Tokens(dataset)
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
