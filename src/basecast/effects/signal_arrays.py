"""Arrays of variants by tracks in HDF5: as Basenji's users read them, or as AnnData does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from basecast.effects.signal_scorer import SignalRow
from basecast.files import named_errors, whole_file
from basecast.genome.variants import VariantRecord
from basecast.spec import Track

_TEXT = h5py.string_dtype()
_CHUNK = 1 << 18
"""Values of a chunk."""

_COPIED = 10_000
"""Names that are copied at once."""


def alt_of(record: VariantRecord, row: SignalRow) -> str:
    """The ALT that a row is of, all of them where it is of every one."""
    return (",".join(record.alts) or ".") if row.allele is None else record.alts[row.allele]


def variant_id(record: VariantRecord, row: SignalRow) -> str:
    """``chr1:1000:A>G`` with POS as written."""
    return f"{record.contig}:{record.position}:{record.ref}>{alt_of(record, row)}"


class ArrayWriter:
    """A row an allele (and gene), a column a track, an array a statistic; NaN where there is no score.

    For Basenji's users: ``snp``, ``chr``, ``pos`` (1-based), ``ref_allele``, ``alt_allele``, ``target_ids``,
    ``target_labels`` and an array by the name of each statistic, with ``ref_sum``, ``alt_sum``, ``status`` and, where
    genes were asked for, ``gene_id`` beside. For AnnData: variants in ``obs``, tracks in ``var``, an array a layer, the
    first of which is ``X`` too. The file appears whole when the block ends well; memory does not grow with it.

    Args:
        name_of: the ID of a record, or None.
        about: what was run on what, kept as the attribute ``basecast``.
    """

    not_sorted: str | None = None

    def __init__(
        self,
        target: str,
        statistics: Sequence[str],
        tracks: Sequence[Track],
        name_of: Callable[[VariantRecord], str | None],
        *,
        has_genes: bool,
        is_anndata: bool,
        about: str,
    ) -> None:
        self._target, self._tracks, self._name_of, self._about = Path(target), tracks, name_of, about
        self._is_anndata = is_anndata
        folder = "layers/" if is_anndata else ""
        self._arrays = [folder + name for name in (*statistics, "ref_sum", "alt_sum")]
        self._columns = dict(_OBS if is_anndata else _BASENJI)
        if not has_genes:
            del self._columns["gene_id"]
        self._rows: list[tuple[dict[str, Any], np.ndarray | None]] = []
        self._n_rows = 0
        self._at_once = max(_CHUNK // max(len(tracks), 1), 1)
        self._widths: dict[str, int] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(named_errors(self._target))
            partial = opening.enter_context(whole_file(self._target))
            self._file = opening.enter_context(h5py.File(partial, "w", locking=False))
            self._begin()
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened as opened:
            if error is not None:
                opened.pop_all().__exit__(kind, error, trace)
                return
            self._flush()
            if self._is_anndata:
                self._file["X"] = self._file[self._arrays[0]]
            else:
                self._fix_widths()

    def write(self, record: VariantRecord, rows: Sequence[SignalRow]) -> None:
        """One record and its rows."""
        rsid = self._name_of(record)
        for row in rows:
            alt, made = alt_of(record, row), variant_id(record, row)
            place = {"contig": record.contig, "pos": record.position, "ref": record.ref, "alt": alt}
            about = {"snp": rsid or made, "variant_id": made, "rsid": rsid or "", "gene_id": row.gene_id}
            self._rows.append((place | about | {"status": row.status}, row.values))
        if len(self._rows) >= self._at_once:
            self._flush()

    def _begin(self) -> None:
        """Everything that is known before the first variant, and room for the rest."""
        file, n_tracks = self._file, len(self._tracks)
        file.attrs["basecast"] = self._about
        described = {
            "target_ids": [track.name for track in self._tracks],
            "target_labels": [track.description for track in self._tracks],
        }
        if self._is_anndata:
            _say(file, "anndata", "0.1.0")
            for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
                _say(file.create_group(name), "dict", "0.1.0")
            described = {"var/track": described["target_ids"], "var/description": described["target_labels"]}
            for name in ("strand", "assay", "biosample"):
                described[f"var/{name}"] = [getattr(track, name) for track in self._tracks]
            for axis, names in (("obs", self._columns.values()), ("var", described)):
                _frame(file.create_group(axis), [name.partition("/")[2] for name in names])
        for name, words in described.items():
            data = words if self._is_anndata else np.array([word.encode() for word in words], "S")
            _as_array(file.create_dataset(name, data=data, dtype=_TEXT if self._is_anndata else None), self._is_anndata)
        for key, name in self._columns.items():
            kind = (np.int64 if self._is_anndata else np.uint32) if key == "pos" else _TEXT
            _as_array(file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(4096,)), self._is_anndata)
        for name in self._arrays:
            chunks = (max(min(_CHUNK // n_tracks, 1024), 1), n_tracks)
            made = file.create_dataset(
                name, (0, n_tracks), np.float32, maxshape=(None, n_tracks), chunks=chunks, compression=1, shuffle=True
            )
            _as_array(made, self._is_anndata)

    def _flush(self) -> None:
        first, n = self._n_rows, len(self._rows)
        empty = np.full((len(self._arrays), len(self._tracks)), np.nan, np.float32)
        values = np.stack([empty if found is None else found for _, found in self._rows] or [empty])[:n]
        for i, name in enumerate(self._arrays):
            self._append(name, first, values[:, i])
        for key, name in self._columns.items():
            column = [about[key] for about, _ in self._rows]
            if key != "pos":
                longest = max((len(word.encode()) for word in column), default=0)
                self._widths[name] = max(self._widths.get(name, 1), longest)
            self._append(name, first, column)
        self._n_rows += n
        self._rows.clear()

    def _append(self, name: str, first: int, values: Sequence[Any] | np.ndarray) -> None:
        dataset = self._file[name]
        dataset.resize(first + len(values), axis=0)
        dataset[first:] = values

    def _fix_widths(self) -> None:
        """Words of one width, as Basenji's own files have them."""
        for name, width in self._widths.items():
            words = self._file[name]
            del self._file[name]
            fixed = self._file.create_dataset(
                name, words.shape, f"S{width}", maxshape=(None,), chunks=words.chunks, compression=1
            )
            for first in range(0, len(words), _COPIED):
                fixed[first : first + _COPIED] = words[first : first + _COPIED].astype(f"S{width}")


def _say(item: Any, kind: str, version: str) -> None:
    item.attrs["encoding-type"], item.attrs["encoding-version"] = kind, version


def _frame(group: Any, names: Sequence[str]) -> None:
    """A data frame as AnnData stores it; the first column is the index."""
    _say(group, "dataframe", "0.2.0")
    group.attrs["_index"] = names[0]
    group.attrs["column-order"] = np.array(names[1:], dtype=_TEXT)


def _as_array(dataset: Any, is_anndata: bool) -> None:
    if is_anndata:
        _say(dataset, "string-array" if h5py.check_string_dtype(dataset.dtype) else "array", "0.2.0")


_BASENJI = {
    "snp": "snp",
    "contig": "chr",
    "pos": "pos",
    "ref": "ref_allele",
    "alt": "alt_allele",
    "gene_id": "gene_id",
    "status": "status",
}
_OBS = {name: f"obs/{name}" for name in ("variant_id", "contig", "pos", "ref", "alt", "rsid", "gene_id", "status")}
