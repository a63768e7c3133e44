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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import h5py
import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from basecast.errors import InputError, UsageError
from basecast.files import sha256_of
from basecast.genome.sequence import Tokens, padded
from basecast.spec.model import Frozen, Output

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
_ATTRIBUTE = "basecast"
_CHUNK = 1 << 18
_KEPT = 1 << 24  # bytes that a writer gathers before it writes


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
        return cls(*(np.zeros(0, dtype=_SITE_TYPES[name]) for name in cls._fields))


MOTIFS = ("other", "GT-AG", "GC-AG", "AT-AC")
"""Names of the values of ``Sites.motif``: the ends of the shortest intron at the site."""
FIRST, LAST = 1, 2
"""Bits of ``Sites.place``: the first or last intron of a transcript."""
_SITE_TYPES: dict[str, str] = {
    "position": "int64",
    "label": "uint8",
    "usage": "float32",
    "motif": "uint8",
    "intron": "int32",
    "place": "uint8",
}
_RECORD_TYPES: dict[str, Any] = {
    "contig": h5py.string_dtype(),
    "start": "int64",
    "end": "int64",
    "strand": h5py.string_dtype(),
    "group": h5py.string_dtype(),
    "chromosome": h5py.string_dtype(),
    "source_start": "int64",
    "genes": h5py.string_dtype(),
}


class Writer:
    """Writes one split, record by record, in memory that does not grow with the genome.

    Write to a partial path: the file is whole only after ``close``.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        self.header = header
        self._file = h5py.File(path, "w", libver=("v110", "latest"))
        self._file.attrs[_ATTRIBUTE] = header.model_dump_json()
        self._kept: dict[str, list[NDArray[Any]]] = {}
        self._size = 0
        self._counts: dict[str, int] = {}
        for name, kind in _RECORD_TYPES.items():
            self._make(f"records/{name}", kind)
        self._make("inputs/sequence", "uint8")
        for output in header.outputs:
            at = f"targets/{output.name}"
            if output.name in header.dense:
                self._make(f"{at}/values", "float16", (len(output.tracks),))
            else:
                for name, kind in _SITE_TYPES.items():
                    self._make(f"{at}/{name}", kind)
            for name in ("start", "end"):
                self._make(f"{at}/unknown/{name}", "int64")
            for offsets in (f"{at}/offsets", f"{at}/unknown/offsets"):
                self._make(offsets, "int64")
                self._add(offsets, np.zeros(1, dtype=np.int64))

    def add(
        self,
        record: Record,
        sequence: Tokens,
        targets: Mapping[str, Sites | Float[np.ndarray, "bins tracks"]],
        unknown: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        """One record.

        Args:
            sequence: its bases as it is read, with ``flank`` more on either side.
            targets: for each output its sites, or a value for each bin and track.
            unknown: for each output stretches without a label, shape (stretches, 2), start and end.

        Raises:
            ValueError: a shape is wrong, or a site lies outside the record.
        """
        length = record.end - record.start
        if sequence.shape != (length + 2 * self.header.flank,):
            raise ValueError(f"{record}: its sequence has {sequence.size} bases, with flanks of {self.header.flank}")
        for name, value in record._asdict().items():
            self._add(f"records/{name}", np.array([value], dtype="int64" if _RECORD_TYPES[name] == "int64" else object))
        self._add("inputs/sequence", sequence)
        for output in self.header.outputs:
            self._add_target(output, length, targets[output.name], (unknown or {}).get(output.name))
        if self._size > _KEPT:
            self._flush()

    def _add_target(
        self, output: Output, length: int, target: Sites | NDArray[Any], unknown: NDArray[np.int64] | None
    ) -> None:
        at = f"targets/{output.name}"
        if isinstance(target, Sites):
            if target.position.size and not 0 <= target.position.min() <= target.position.max() < length:
                raise ValueError(f"a site of {output.name} lies outside its record of {length} bases")
            for name, values in target._asdict().items():
                self._add(f"{at}/{name}", values)
            n = target.position.size
        else:
            if target.shape != (length // output.resolution, len(output.tracks)):
                raise ValueError(f"targets of {output.name} have shape {target.shape} for {length} bases")
            self._add(f"{at}/values", target)
            n = len(target)
        self._count(f"{at}/offsets", n)
        stretches = np.zeros((0, 2), dtype=np.int64) if unknown is None else unknown
        self._add(f"{at}/unknown/start", stretches[:, 0])
        self._add(f"{at}/unknown/end", stretches[:, 1])
        self._count(f"{at}/unknown/offsets", len(stretches))

    def _count(self, name: str, n: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + n
        self._add(name, np.array([self._counts[name]]))

    def _make(self, name: str, kind: Any, inner: tuple[int, ...] = ()) -> None:
        is_text = kind == h5py.string_dtype()
        self._file.create_dataset(
            name,
            shape=(0, *inner),
            maxshape=(None, *inner),
            chunks=(_CHUNK // max(int(np.prod(inner)), 1) if "sequence" in name or inner else 4096, *inner),
            dtype=kind,
            compression=None if is_text else "gzip",
            compression_opts=None if is_text else 4,
            fletcher32=not is_text,
        )

    def _add(self, name: str, values: NDArray[Any]) -> None:
        self._kept.setdefault(name, []).append(values)
        self._size += values.nbytes

    def _flush(self) -> None:
        for name, arrays in self._kept.items():
            dataset, values = self._file[name], np.concatenate(arrays)
            if len(values):
                dataset.resize(len(dataset) + len(values), axis=0)
                dataset[-len(values) :] = values
        self._kept.clear()
        self._size = 0

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()


@dataclass(frozen=True, eq=False)
class Target:
    """The targets of one output for all records, end to end; ``offsets`` (records + 1) says where each begins."""

    offsets: NDArray[np.int64]
    sites: Sites | None
    values: NDArray[np.float16] | None
    unknown_offsets: NDArray[np.int64]
    unknown: NDArray[np.int64]


class Dataset:
    """One split, opened; its sequence and targets are read when they are first asked for, and stay in memory.

    Attributes:
        path: the file.
        header: what is true of every record.
        records: the columns of `Record`, one row a record.
        lengths: bases of each record, shape (records,).

    Raises:
        InputError: the file is missing, damaged, or of another schema.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._opened() as file:
            self.header = self._read_header(file)
            columns = {name: file[f"records/{name}"][:] for name in _RECORD_TYPES}
        texts = {name for name, kind in _RECORD_TYPES.items() if kind != "int64"}
        self.records = pl.DataFrame(
            {name: [x.decode() for x in values] if name in texts else values for name, values in columns.items()},
            schema={name: pl.String() if name in texts else pl.Int64() for name in columns},
        )
        self.lengths: NDArray[np.int64] = columns["end"] - columns["start"]
        starts = np.concatenate([[0], np.cumsum(self.lengths + 2 * self.header.flank)])
        self._starts: NDArray[np.int64] = starts.astype(np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

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
            values=None if is_sparse else group["values"][:],
            unknown_offsets=group["unknown/offsets"][:],
            unknown=unknown,
        )

    def record(self, index: int) -> Record:
        """One record."""
        return Record(*self.records.row(index))

    def tokens(self, record: int, start: int, end: int) -> Tokens:
        """Bases [start, end) of a record as it is read; N where the file has none."""
        flank, first = self.header.flank, int(self._starts[record])
        size = int(self._starts[record + 1]) - first
        return padded(
            lambda low, high: self.sequence[first + low : first + high], size, start + flank, end + flank
        )

    def sites(self, record: int, output: str) -> Sites:
        """The sites of one record; none where the targets are dense."""
        target = self.targets[output]
        if target.sites is None:
            return Sites.none()
        low, high = target.offsets[record : record + 2]
        return Sites(*(column[low:high] for column in target.sites))

    def labels(self, record: int, start: int, end: int, output: str) -> NDArray[Any]:
        """Targets of positions [start, end): a class each, ``uint8`` (positions,), or values (bins, tracks)."""
        target = self.targets[output]
        resolution = self.header.output(output).resolution
        low, high = (int(x) for x in target.offsets[record : record + 2])
        if target.values is not None:
            first, last = start // resolution, end // resolution
            values = np.zeros((last - first, target.values.shape[1]), dtype=np.float16)
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
        """Which bins of [start, end) have a label: those of the record that are not unknown."""
        target, resolution = self.targets[output], self.header.output(output).resolution
        bins = np.arange(start, end, resolution)
        known = (bins >= 0) & (bins + resolution <= self.lengths[record])
        low, high = target.unknown_offsets[record : record + 2]
        for first, last in target.unknown[low:high]:
            known[max(first - start, 0) // resolution : max(-(-(last - start) // resolution), 0)] = False
        return known

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
                f"{self.path} keeps {self.header.flank:,} bases on either side of a gene, and a context of {context:,} "
                f"needs {context - context // 2:,}: make it again with create-data --flank {context - context // 2}"
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
        if _ATTRIBUTE not in file.attrs:
            raise InputError(f"{self.path} is HDF5, but no dataset of basecast: make one with 'basecast create-data'")
        try:
            return Header.model_validate_json(file.attrs[_ATTRIBUTE])
        except ValidationError as error:
            what = error.errors()[0]
            raise InputError(
                f"{self.path} is a dataset of another schema than version {SCHEMA_VERSION}, which this basecast reads "
                f"({'.'.join(map(str, what['loc']))}: {what['msg']}): make it again with 'basecast create-data'"
            ) from None


def open_split(folder: str | os.PathLike[str], split: str) -> Dataset:
    """The dataset of one split of a folder that ``create-data`` wrote.

    Raises:
        InputError: there is no such folder, or it lacks the split.
    """
    path = Path(folder) / f"{split}.h5"
    if not path.is_file():
        raise InputError(f"{folder} has no {path.name}: give the folder that 'basecast create-data' wrote")
    return Dataset(path)


def digests(datasets: Sequence[Dataset]) -> list[str]:
    """SHA-256 of each file."""
    return [dataset.digest for dataset in datasets]
