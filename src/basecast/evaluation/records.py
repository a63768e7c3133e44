"""Records of one split of several datasets, whatever their targets are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from pydantic import Field

from basecast.data.opening import open_split
from basecast.data.store import Dataset
from basecast.errors import InputError, UsageError
from basecast.genome.sequence import Tokens
from basecast.inference.engine import Engine
from basecast.inference.jobs import WORK
from basecast.inference.tuning import Tuning
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

_LONGEST = 2_000_000  # bases of a shard, however quick the model is


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


class Bases(NamedTuple):
    """The records of a dataset as contigs, named by their numbers, each as it is read."""

    dataset: Dataset

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        return self.dataset.tokens(int(contig), start, end)


@dataclass(frozen=True, eq=False)
class Gathered:
    """Records of one split of several datasets, numbered together.

    Attributes:
        datasets, names: the datasets, and a name for each.
        of, row: of each record, its dataset and its row there.
    """

    datasets: tuple[Dataset, ...]
    names: tuple[str, ...]
    of: Int[np.ndarray, " records"]
    row: Int[np.ndarray, " records"]

    @classmethod
    def gather(cls, folders: Sequence[str | Path], split: str, left_out: Collection[str] = ()) -> Self:
        """Those of a split, without records whose gene, contig, chromosome or group is ``left_out``.

        Raises:
            InputError: a dataset is missing or damaged.
            UsageError: a name to leave out is not there, or nothing is left.
        """
        datasets = [open_split(folder, split) for folder in folders]
        kept = [_kept(dataset, left_out) for dataset in datasets]
        if unknown := set(left_out) - {name for _, met in kept for name in met}:
            raise UsageError(f"--leave-out {sorted(unknown)[0]}: no gene, contig, chromosome or group has that name")
        rows = [np.flatnonzero(chosen) for chosen, _ in kept]
        if not sum(map(len, rows)):
            raise UsageError(f"the {split} split of {', '.join(map(str, folders))} has no record left")
        names = unique([Path(folder).resolve().name for folder in folders])
        of = np.repeat(np.arange(len(rows)), [len(x) for x in rows])
        return cls(tuple(datasets), names, of, np.concatenate(rows))

    def __len__(self) -> int:
        return len(self.row)

    @property
    def has_classes(self) -> bool:
        """Whether the targets are classes of bases; else they are signals.

        Raises:
            UsageError: they are both.
        """
        kinds = {output.has_classes for dataset in self.datasets for output in dataset.header.outputs}
        if len(kinds) > 1:
            raise UsageError("some of the datasets have splice sites and others signals: give each kind alone")
        return kinds == {True}

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

    def dataset(self, record: int) -> tuple[Dataset, int]:
        """Where a record lies: its dataset, and its row there."""
        return self.datasets[self.of[record]], int(self.row[record])


def bases_of_a_shard(package: Package, device: str) -> int:
    """So many that a shard is of about the work that it may take."""
    networks = [*package.networks, *(x for node in package.nodes.values() for x in node.networks)]
    weights = sum(x.numel() for network in networks for x in network.parameters())
    return max(min(int(WORK[device] / max(weights, 1)), _LONGEST), 1)


def no_numbers(package: Package, dataset: Dataset, row: int, start: int, end: int) -> InputError:
    """That a model gives nan or infinite values there."""
    return InputError(
        f"{package.spec.name} gives values that are no numbers for {dataset.place(row, start, end)} of {dataset.path}: "
        "its weights or config are wrong, take a model that was trained to its end"
    )


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
