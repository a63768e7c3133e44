"""Labelled examples on disk: one HDF5 file a split, that users can open, and that any model's training reads.

    /                       attribute ``basecast``: the header as JSON
    /records/NAME           one value a record: contig, start, end, strand, group, chromosome, source_start, genes
    /inputs/sequence        tokens of all records end to end, each with ``flank`` bases on either side, as it is read
    /targets/OUTPUT/        sparse: position, class and more of each site; dense: values (bins, tracks); offsets[n + 1]
    /targets/OUTPUT/unknown start, end of stretches without a label; offsets[n + 1]

Positions count from the 5' end of a record, on its strand. What a record does not cover is context, never a label.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import h5py
import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from basecast.data.on_disk import Values, ValuesOnDisk
from basecast.errors import InputError, UsageError
from basecast.files import sha256_of
from basecast.genome.sequence import Tokens, padded
from basecast.spec.model import Frozen, Output

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
ATTRIBUTE = "basecast"
_WHOLE = 1 << 30  # bytes up to which dense targets are held in memory


class Header(Frozen):
    """What is true of every record of a file."""

    schema_version: Literal[1] = 1
    basecast: str = Field("", description="version that wrote it")
    command: str = ""
    split: str = ""
    species: str = ""
    genome_build: str = ""
    mask: Literal["gene", "none"] = Field("gene", description="gene: bases outside a record are N")
    flank: int = Field(0, ge=0, description="bases kept on either side of a record")
    outputs: tuple[Output, ...] = Field(min_length=1, description="what the targets are, as a model's spec says it")
    dense: tuple[str, ...] = Field((), description="outputs with a value for each bin and track, not sites")
    sources: dict[str, str] = Field(default_factory=dict, description="name of each input file -> sha256")
    settings: dict[str, Any] = Field(default_factory=dict)
    licence: str = Field("", description="of the labels, where they come from a model")
    parents: tuple[str, ...] = Field((), description="models that the labels come from")

    def output(self, name: str) -> Output:
        """The output of that name."""
        return next(output for output in self.outputs if output.name == name)


class Record(NamedTuple):
    """A stretch of a genome on one strand; coordinates are 0-based half-open on the plus strand."""

    contig: str
    start: int
    end: int
    strand: str
    group: str = ""
    """Records of a group stay in one split."""
    chromosome: str = ""
    """Of the source, where contigs are regions of one."""
    source_start: int = 0
    """Where ``start`` lies there."""
    genes: str = ""
    """Names, joined by commas."""


class Sites(NamedTuple):
    """Sparse targets of one record or of many, by position; every other position is class 0.

    ``motif``, ``intron`` and ``place`` describe a site for evaluation, ``usage`` is nan where nothing is known.
    """

    position: NDArray[np.int64]
    label: UInt8[np.ndarray, " sites"]
    usage: Float[np.ndarray, " sites"]
    motif: UInt8[np.ndarray, " sites"]
    intron: Int[np.ndarray, " sites"]
    place: UInt8[np.ndarray, " sites"]

    @classmethod
    def none(cls) -> Self:
        """No site at all."""
        return cls(*(np.zeros(0, dtype=SITE_TYPES[name]) for name in cls._fields))


MOTIFS = ("other", "GT-AG", "GC-AG", "AT-AC")
"""Names of the values of ``Sites.motif``: the ends of the shortest intron at the site."""
FIRST, LAST = 1, 2
"""Bits of ``Sites.place``: the first or last intron of a transcript."""
SITE_TYPES: dict[str, str] = {
    "position": "int64",
    "label": "uint8",
    "usage": "float32",
    "motif": "uint8",
    "intron": "int32",
    "place": "uint8",
}
RECORD_TYPES: dict[str, Any] = {
    "contig": h5py.string_dtype(),
    "start": "int64",
    "end": "int64",
    "strand": h5py.string_dtype(),
    "group": h5py.string_dtype(),
    "chromosome": h5py.string_dtype(),
    "source_start": "int64",
    "genes": h5py.string_dtype(),
}


@dataclass(frozen=True, eq=False)
class Target:
    """The targets of one output for all records, end to end; ``offsets`` (records + 1) says where each begins."""

    offsets: NDArray[np.int64]
    sites: Sites | None
    values: Values | None
    unknown_offsets: NDArray[np.int64]
    unknown: NDArray[np.int64]


class Dataset:
    """One split, opened; its sequence and targets are read when they are first asked for, and stay in memory.

    Dense targets of more than a gigabyte stay on disk, and are read as they are asked for.

    Attributes:
        path: the file.
        header: what is true of every record.

    Raises:
        InputError: the file is missing, damaged, or of another schema.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._opened() as file:
            self.header = self._read_header(file)
        _ = self.records  # so that what is damaged is found here

    def __len__(self) -> int:
        return self.records.height

    @cached_property
    def records(self) -> pl.DataFrame:
        """The columns of `Record`, one row a record."""
        with self._opened() as file:
            columns = {name: file[f"records/{name}"][:] for name in RECORD_TYPES}
        texts = {name for name, kind in RECORD_TYPES.items() if kind != "int64"}
        return pl.DataFrame(
            {name: [x.decode() for x in values] if name in texts else values for name, values in columns.items()},
            schema={name: pl.String() if name in texts else pl.Int64() for name in columns},
        )

    @property
    def flank(self) -> int:
        """Bases that ``sequence`` has on either side of a record."""
        return self.header.flank

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Bases of each record, shape (records,)."""
        return (self.records["end"] - self.records["start"]).to_numpy()

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Where each record begins in ``sequence``, and the end of the last."""
        return np.concatenate([[0], np.cumsum(self.lengths + 2 * self.flank)]).astype(np.int64)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_of(self.path)

    @cached_property
    def sequence(self) -> Tokens:
        """Tokens of all records with their flanks, end to end."""
        with self._opened() as file:
            return file["inputs/sequence"][:]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """For each output its targets."""
        with self._opened() as file:
            return {output.name: self._target(file[f"targets/{output.name}"]) for output in self.header.outputs}

    def _target(self, group: h5py.Group) -> Target:
        is_sparse = "values" not in group
        unknown = np.stack([group["unknown/start"][:], group["unknown/end"][:]], axis=1)
        return Target(
            offsets=group["offsets"][:],
            sites=Sites(*(group[name][:] for name in Sites._fields)) if is_sparse else None,
            values=None if is_sparse else self._values(group["values"]),
            unknown_offsets=group["unknown/offsets"][:],
            unknown=unknown,
        )

    def _values(self, stored: h5py.Dataset) -> Values:
        return (
            stored[:] if stored.nbytes <= _WHOLE else ValuesOnDisk(self.path, stored.name, stored.shape, stored.dtype)
        )

    def record(self, index: int) -> Record:
        """One record."""
        return Record(*self.records.row(index))

    def tokens(self, record: int, start: int, end: int) -> Tokens:
        """Bases [start, end) of a record as it is read; N where the file has none."""
        flank, first = self.flank, int(self._starts[record])
        size = int(self._starts[record + 1]) - first
        return padded(lambda low, high: self.sequence[first + low : first + high], size, start + flank, end + flank)

    def sites(self, record: int, output: str) -> Sites:
        """The sites of one record; of dense classes those positions where one of the others is likelier than none."""
        target = self.targets[output]
        low, high = target.offsets[record : record + 2]
        if target.sites is not None:
            return Sites(*(column[low:high] for column in target.sites))
        if target.values is None or not self.header.output(output).has_classes:
            return Sites.none()
        values = target.values[low:high]
        position = np.flatnonzero(values[:, 0] < 0.5)
        columns = {"position": position, "label": 1 + values[position, 1:].argmax(axis=1)}
        return Sites(*(columns.get(n, np.zeros(position.size)).astype(kind) for n, kind in SITE_TYPES.items()))

    def labels(self, record: int, start: int, end: int, output: str) -> NDArray[Any]:
        """Targets of positions [start, end): a class each, ``uint8`` (positions,), or values (bins, tracks).

        Raises:
            ValueError: ``start`` or ``end`` lies inside a bin.
        """
        target, resolution = self.targets[output], self._resolution(output, start, end)
        low, high = (int(x) for x in target.offsets[record : record + 2])
        if target.values is not None:
            first, last = start // resolution, end // resolution
            values = np.zeros((last - first, target.values.shape[1]), dtype=target.values.dtype)
            a, b = max(first, 0), min(last, high - low)
            if a < b:
                values[a - first : b - first] = target.values[low + a : low + b]
            return values
        assert target.sites is not None
        positions = target.sites.position[low:high]
        i, j = np.searchsorted(positions, (start, end))
        classes = np.zeros(end - start, dtype=np.uint8)
        classes[positions[i:j] - start] = target.sites.label[low + i : low + j]
        return classes

    def valid(self, record: int, start: int, end: int, output: str) -> Bool[np.ndarray, " bins"]:
        """Which bins of [start, end) have a label: those of the record that are not unknown.

        Raises:
            ValueError: ``start`` or ``end`` lies inside a bin.
        """
        target, resolution = self.targets[output], self._resolution(output, start, end)
        bins = np.arange(start, end, resolution)
        known = (bins >= 0) & (bins + resolution <= self.lengths[record])
        low, high = target.unknown_offsets[record : record + 2]
        for first, last in target.unknown[low:high]:
            known[max(first - start, 0) // resolution : max(-(-(last - start) // resolution), 0)] = False
        return known

    def _resolution(self, output: str, start: int, end: int) -> int:
        """Bases of a bin of an output, where a window is of whole bins."""
        resolution = self.header.output(output).resolution
        if start % resolution or end % resolution:
            raise ValueError(f"windows of {output} begin and end on bins of {resolution} bases, got {start} to {end}")
        return resolution

    def place(self, record: int, start: int, end: int) -> str:
        """``contig:start-end(strand)``, 1-based, of positions [start, end) of a record."""
        r = self.record(record)
        a, b = (r.start + start, r.start + end) if r.strand == "+" else (r.end - end, r.end - start)
        return f"{r.contig}:{max(a, 0) + 1}-{b}({r.strand})"

    def require_context(self, context: int) -> None:
        """Stop where windows with ``context`` bases around their outputs cannot be had from the file.

        Raises:
            UsageError: the flanks kept are shorter than half of it.
        """
        if self.header.mask == "none" and self.header.flank < context - context // 2:
            raise UsageError(
                f"{self.path} keeps {self.header.flank:,} bases on either side of a record, and a context of "
                f"{context:,} needs {context - context // 2:,}: make it again with create-data --flank "
                f"{context - context // 2}"
            )

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        if not self.path.is_file():
            raise InputError(f"there is no dataset {self.path}: make one with 'basecast create-data'")
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except (OSError, KeyError) as error:
            raise InputError(
                f"{self.path} is damaged or no dataset of basecast ({error}): make it again with 'basecast create-data'"
            ) from error

    def _read_header(self, file: h5py.File) -> Header:
        if ATTRIBUTE not in file.attrs:
            raise InputError(f"{self.path} is HDF5, but no dataset of basecast: make one with 'basecast create-data'")
        try:
            return Header.model_validate_json(file.attrs[ATTRIBUTE])
        except ValidationError as error:
            what = error.errors()[0]
            raise InputError(
                f"{self.path} is a dataset of another schema than version {SCHEMA_VERSION}, which this basecast reads "
                f"({'.'.join(map(str, what['loc']))}: {what['msg']}): make it again with 'basecast create-data'"
            ) from None
