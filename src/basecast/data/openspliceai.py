"""Datasets in the layout of OpenSpliceAI (https://github.com/Kuanhao-Chao/OpenSpliceAI): written, and read to train on.

    /X0, X1 ...     one-hot windows, int8 (windows, 15000, 4): 5,000 positions with 5,000 bases on either side
    /Y0, Y1 ...     their classes, one-hot, int8 (1, windows, 5000, 3); a position without a label has none

A record is cut into windows from its 5' end; past it stands N, which no channel has. A shard is a hundred records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data.hdf5_output import HDF5Writer
from basecast.data.store import ATTRIBUTE, RECORD_TYPES, Dataset, Header, Record, Sites, Target
from basecast.errors import InputError, UsageError
from basecast.genome.sequence import N, Tokens, padded
from basecast.spec.splice import CLASSES, SPLICE, splice_output

WINDOW = 5000
FLANK = 5000
RECORDS = 100
"""Of a shard."""
_SPAN = WINDOW + 2 * FLANK
_BLOCK = 64  # windows that are one-hot at a time
_UNKNOWN, _SEVERAL = 255, 254
_CHANNEL = np.full(256, _SEVERAL, dtype=np.uint8)  # of a byte with a bit for each
_CHANNEL[[0, 1, 2, 4, 8]] = _UNKNOWN, 0, 1, 2, 3


def file_name(split: str) -> str:
    """``dataset_train.h5`` and its like."""
    return f"dataset_{split}.h5"


class ShardWriter(HDF5Writer):
    """Writes one split, record by record; of the sequence a shard is kept in memory, a byte a base."""

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        super().__init__(path)
        self._file.attrs[ATTRIBUTE] = header.model_dump_json()
        self._kept: list[tuple[Tokens, NDArray[np.uint8]]] = []
        self._shards = 0

    def add(
        self,
        record: Record,
        sequence: Tokens,
        targets: Mapping[str, Sites],
        unknown: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> None:
        """One record: its bases as it is read, its sites, and stretches without a label, shape (stretches, 2)."""
        length = record.end - record.start
        size = -(-length // WINDOW) * WINDOW
        classes = np.full(size, _UNKNOWN, dtype=np.uint8)
        classes[:length] = 0
        for start, end in (unknown or {}).get(SPLICE, ()):
            classes[start:end] = _UNKNOWN
        classes[targets[SPLICE].position] = targets[SPLICE].label
        self._kept.append((padded(lambda a, b: sequence[a:b], length, -FLANK, size + FLANK), classes))
        if len(self._kept) == RECORDS:
            self._flush()

    def _flush(self) -> None:
        if not self._kept:
            return
        n = sum(len(classes) // WINDOW for _, classes in self._kept)
        x, y = (
            self._file.create_dataset(name, shape, "int8", chunks=chunk, compression="gzip", compression_opts=1)
            for name, shape, chunk in (
                (f"X{self._shards}", (n, _SPAN, 4), (1, _SPAN, 4)),
                (f"Y{self._shards}", (1, n, WINDOW, len(CLASSES)), (1, 1, WINDOW, len(CLASSES))),
            )
        )
        at = 0
        for tokens, classes in self._kept:
            windows = np.lib.stride_tricks.sliding_window_view(tokens, _SPAN)[::WINDOW]
            for first in range(0, len(windows), _BLOCK):
                block = slice(first, min(first + _BLOCK, len(windows)))
                rows = slice(at + block.start, at + block.stop)
                x[rows] = _one_hot(windows[block], 4)
                y[0, rows] = _one_hot(classes.reshape(-1, WINDOW)[block], len(CLASSES))
                self._output.check()
            at += len(windows)
        self._kept.clear()
        self._shards += 1


def _one_hot(values: NDArray[np.uint8], channels: int) -> NDArray[np.int8]:
    return (values[..., None] == np.arange(channels, dtype=np.uint8)).view(np.int8)


class _Run(NamedTuple):
    """Windows of a shard that follow each other in a gene."""

    name: str
    tokens: Tokens
    classes: NDArray[np.uint8]


class _Held(NamedTuple):
    """What a file holds, as `Dataset` keeps it."""

    names: list[str]
    lengths: NDArray[np.int64]
    sequence: Tokens
    target: Target


class OpenSpliceAIShards(Dataset):
    """One split in OpenSpliceAI's layout, opened; all of it is read when its records are first asked for.

    Windows that follow each other in a gene are joined again, so that a record is a gene as it was cut; positions
    without a label at its end are left off. There are no coordinates, nor what a site's intron is: a record is known by
    its first window.

    Raises:
        InputError: the file is missing, damaged, or in another layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._opened() as file:
            self._check(file)
            if ATTRIBUTE in file.attrs:
                self.header = self._read_header(file)
            else:
                split = self.path.stem.removeprefix("dataset_")
                self.header = Header(split=split, mask="gene", outputs=(splice_output(),))

    @property
    def flank(self) -> int:
        """Bases that ``sequence`` has on either side of a record."""
        return FLANK

    @cached_property
    def records(self) -> pl.DataFrame:
        """The columns of `Record`; ``contig`` is the first window, such as ``X3[17]``."""
        names, n = self._held.names, len(self._held.names)
        ends = self._held.lengths.tolist()
        told = {"contig": names, "end": ends, "strand": ["+"] * n, "group": names}
        empty: dict[str, list[Any]] = {"int64": [0] * n, "object": [""] * n}
        return pl.DataFrame(
            {name: told.get(name, empty[str(np.dtype(kind))]) for name, kind in RECORD_TYPES.items()},
            schema={name: pl.Int64() if kind == "int64" else pl.String() for name, kind in RECORD_TYPES.items()},
        )

    @cached_property
    def sequence(self) -> Tokens:
        """Tokens of all records with their flanks, end to end."""
        return self._held.sequence

    @cached_property
    def targets(self) -> dict[str, Target]:
        """For each output its targets."""
        return {SPLICE: self._held.target}

    def place(self, record: int, start: int, end: int) -> str:
        """``dataset_train.h5:X3[17]``, the windows that positions [start, end) of a record were in."""
        shard, _, first = self._held.names[record].rstrip("]").partition("[")
        last = max(int(self._held.lengths[record]) - 1, 0)
        a, b = (int(first) + min(max(at, 0), last) // WINDOW for at in (start, end - 1))
        return f"{self.path.name}:{shard}[{a}]" + (f" to [{b}]" if b > a else "")

    def require_context(self, context: int) -> None:
        """Stop where windows with ``context`` bases around their outputs cannot be had from the file.

        Raises:
            UsageError: it is more than 10,000.
        """
        if context > 2 * FLANK:
            raise UsageError(
                f"{self.path} is in OpenSpliceAI's layout, which keeps {FLANK:,} bases on either side, too few for a "
                f"context of {context:,}: make it again with create-data --layout basecast"
            )

    @cached_property
    def _held(self) -> _Held:
        names, tokens, sites, unknown = [], [], [], []
        lengths, n_sites, n_unknown = [0], [0], [0]
        with self._opened() as file:
            for run in self._runs(file):
                position = np.flatnonzero((run.classes > 0) & (run.classes != _UNKNOWN))
                edges = np.diff(np.pad(run.classes == _UNKNOWN, 1).view(np.int8))
                names.append(run.name)
                tokens.append(run.tokens)
                sites.append(_sites(position, run.classes[position]))
                unknown.append(np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1))
                lengths.append(len(run.classes))
                n_sites.append(len(position))
                n_unknown.append(len(unknown[-1]))
        return _Held(
            names,
            np.array(lengths[1:], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.uint8), *tokens]),
            Target(
                np.cumsum(n_sites),
                Sites(*(np.concatenate(column) for column in zip(Sites.none(), *sites, strict=True))),
                None,
                np.cumsum(n_unknown),
                np.concatenate([np.zeros((0, 2), dtype=np.int64), *unknown]),
            ),
        )

    def _runs(self, file: h5py.File) -> Iterator[_Run]:
        for shard in range(len(file) // 2):
            tokens, classes = self._decoded(file[f"X{shard}"]), self._decoded(file[f"Y{shard}"])
            tokens[tokens == _UNKNOWN] = N
            first = 0
            for last in range(len(tokens)):
                if last + 1 == len(tokens) or not _follows(tokens, last):
                    run = slice(first, last + 1)
                    core, known = tokens[run, FLANK : FLANK + WINDOW], np.flatnonzero(classes[run] != _UNKNOWN)
                    end = int(known[-1]) + 1 if len(known) else core.size
                    whole = np.concatenate([tokens[first, :FLANK], core.ravel(), tokens[last, -FLANK:]])
                    yield _Run(f"X{shard}[{first}]", whole[: end + 2 * FLANK], classes[run].ravel()[:end])
                    first = last + 1

    def _decoded(self, one_hot: h5py.Dataset) -> NDArray[np.uint8]:
        """The channel of each position, shape (windows, positions); 255 where it has none."""
        is_label = one_hot.ndim == 4
        n = one_hot.shape[1 if is_label else 0]
        decoded = np.empty((n, one_hot.shape[-2]), dtype=np.uint8)
        for at in range(0, n, _BLOCK):
            block = (one_hot[0, at : at + _BLOCK] if is_label else one_hot[at : at + _BLOCK]).view(np.uint8)
            bits = sum(block[..., channel] << channel for channel in range(block.shape[-1]))
            decoded[at : at + _BLOCK] = _CHANNEL[bits]
            if block.max() > 1 or (decoded[at : at + _BLOCK] == _SEVERAL).any():
                raise InputError(f"{one_hot.name} of {self.path} is not one-hot: make the file again with create-data")
        return decoded

    def _check(self, file: h5py.File) -> None:
        """Stop where the file does not hold X0, Y0, X1, Y1 ... of the right shapes."""
        names = [f"{letter}{i}" for i in range(max(len(file) // 2, 1)) for letter in "XY"]
        for name in (*names, *sorted(set(file) - set(names))):
            n = file[f"X{name[1:]}"].shape[:1] if isinstance(file.get(f"X{name[1:]}"), h5py.Dataset) else ()
            shape = file[name].shape if isinstance(file.get(name), h5py.Dataset) else ()
            wanted = (*n, _SPAN, 4) if name[0] == "X" else (1, *n, WINDOW, len(CLASSES))
            if name not in names or not n or shape != wanted or file[name].dtype.itemsize != 1:
                raise InputError(
                    f"{self.path} is not in OpenSpliceAI's layout, X0, Y0, X1, Y1 ... with windows of {_SPAN:,} bases "
                    f"and {WINDOW:,} labels, a byte each ({name} has shape {shape or 'none'}): give the folder that "
                    "its create-data wrote, or one of basecast create-data"
                )


def _follows(tokens: NDArray[np.uint8], window: int) -> bool:
    """Whether the next window goes on where this one ends: a gene's first has N on its left, its last on its right."""
    overlap = tokens[window, WINDOW:]
    return np.array_equal(overlap, tokens[window + 1, : 2 * FLANK]) and bool((overlap != N).any())


def _sites(position: NDArray[np.int64], label: NDArray[np.uint8]) -> Sites:
    n = len(position)
    none = np.zeros(n, dtype=np.uint8)
    return Sites(position, label, np.full(n, np.nan, dtype=np.float32), none, none.astype(np.int32), none)
