"""Writes a store record by record, in memory that does not grow with the genome."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from basecast.data.hdf5_output import HDF5Writer
from basecast.data.store import ATTRIBUTE, RECORD_TYPES, SITE_TYPES, Header, Record, Sites
from basecast.genome.sequence import Tokens
from basecast.spec.model import Output

_CHUNK = 1 << 18  # bytes that are read and checked at once
_KEPT = 1 << 24  # bytes that a writer gathers before it writes


class Writer(HDF5Writer):
    """Writes one split, record by record."""

    def __init__(self, path: str | os.PathLike[str], header: Header) -> None:
        super().__init__(path, libver=("v110", "latest"))
        self.header = header
        self._file.attrs[ATTRIBUTE] = header.model_dump_json()
        self._kept: dict[str, list[NDArray[Any]]] = {}
        self._size = 0
        self._counts: dict[str, int] = {}
        for name, kind in RECORD_TYPES.items():
            self._make(f"records/{name}", kind)
        self._make("inputs/sequence", "uint8")
        for output in header.outputs:
            at = f"targets/{output.name}"
            if output.name in header.dense:
                kind = "float16" if output.has_classes else "float32"  # shares of classes; signals have any size
                self._make(f"{at}/values", kind, (len(output.tracks),))
            else:
                for name, kind in SITE_TYPES.items():
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
            ValueError: a shape is wrong, a record is no whole number of bins, or a site lies outside it.
        """
        length = record.end - record.start
        if sequence.shape != (length + 2 * self.header.flank,):
            raise ValueError(f"{record}: its sequence has {sequence.size} bases, with flanks of {self.header.flank}")
        for name, value in record._asdict().items():
            self._add(f"records/{name}", np.array([value], dtype="int64" if RECORD_TYPES[name] == "int64" else object))
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
            if length % output.resolution or target.shape != (length // output.resolution, len(output.tracks)):
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
        rows = 4096
        if "sequence" in name or inner:
            rows = max(_CHUNK // (math.prod(inner) * np.dtype(kind).itemsize), 1)
        self._file.create_dataset(
            name,
            shape=(0, *inner),
            maxshape=(None, *inner),
            chunks=(rows, *inner),
            shuffle=kind == "float32",
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
            self._output.check()
        self._kept.clear()
        self._size = 0
