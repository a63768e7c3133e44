"""Signal tracks of finished parts, and the files that they are written to."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import h5py
import numpy as np
import polars as pl
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from basecast.files import named_errors, remove_left_overs, whole_file
from basecast.genome.signal import BigWigWriter
from basecast.inference.shards import Parts
from basecast.prediction.signal import Place
from basecast.spec import Track
from basecast.spec.model import Frozen

SignalFormat = Literal["bigwig", "h5", "parquet"]
_FILES = 128  # bigWigs that are written at once: parts are read once for so many
_ROWS = 1 << 20  # of a table in memory
_ROW_GROUP = 1 << 18
_CHUNK = 1 << 16  # numbers that HDF5 reads at once
_SCHEMA = {"contig": pl.String, "start": pl.Int64, "end": pl.Int64, "track": pl.String, "value": pl.Float32}


class Described(Frozen):
    """What the values of parts are of."""

    output: str
    resolution: int
    tracks: tuple[Track, ...]
    is_untransformed: bool
    rows: int | None = None
    """Regions of one length, each for itself; None where a bin is there once."""


class Bins(NamedTuple):
    """Bins that a contig has, the last as long as it reaches."""

    starts: Int[np.ndarray, " bins"]
    ends: Int[np.ndarray, " bins"]
    values: Float32[np.ndarray, "bins tracks"]


class Signals:
    """The values of all parts, as often as they are asked for, one part's in memory.

    Args:
        lengths: of each contig of the genome, in its order, in which the places are too.
    """

    def __init__(self, parts: Parts, n_shards: int, described: Described, lengths: Mapping[str, int]) -> None:
        self._parts, self._n_shards = parts, n_shards
        self.described, self.lengths = described, lengths

    def places(self) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Each place with its values, (bins, tracks)."""
        for number in range(self._n_shards):
            yield from self._part(number)

    def bins(self) -> Iterator[tuple[str, Bins]]:
        """Contigs with their bins, a part's at a time, without what lies beyond the contig."""
        for number in range(self._n_shards):
            for contig, places in groupby(self._part(number), lambda found: found[0].contig):
                each = [self._within(place, values) for place, values in places]
                yield contig, Bins(*(np.concatenate(column) for column in zip(*each, strict=True)))

    def _part(self, number: int) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        n, at = len(self.described.tracks), 0
        head, _, content = self._parts.load(number).partition(b"\n")
        for place in (Place(*given) for given in json.loads(head)):
            bins = (place.end - place.start) // self.described.resolution
            yield place, np.frombuffer(content, "<f4", bins * n, at).reshape(bins, n)
            at += 4 * bins * n

    def _within(self, place: Place, values: NDArray[np.float32]) -> Bins:
        edges = np.arange(place.start, place.end + 1, self.described.resolution)
        edges = np.clip(edges, 0, self.lengths[place.contig])
        there = edges[:-1] < edges[1:]
        return Bins(edges[:-1][there], edges[1:][there], values[there])


def file_names(tracks: Sequence[Track]) -> list[str]:
    """A name for the file of each track: its own as far as a file may have it, with a number where it comes again."""
    plain = [re.sub(r"[^\w.+-]", "_", track.name) or "_" for track in tracks]
    lower = [name.lower() for name in plain]  # some file systems know no case
    return [name if lower.count(name.lower()) == 1 else f"{name}.{i}" for i, name in enumerate(plain)]


def _bigwigs(prefix: str, signals: Signals) -> list[str]:
    """A file a track."""
    paths = [f"{prefix}.{name}.bw" for name in file_names(signals.described.tracks)]
    for path in paths:
        remove_left_overs(path)
    for first in range(0, len(paths), _FILES):
        with contextlib.ExitStack() as opened:
            writers = [
                opened.enter_context(BigWigWriter(path, signals.lengths)) for path in paths[first : first + _FILES]
            ]
            for contig, bins in signals.bins():
                columns = np.ascontiguousarray(bins.values[:, first : first + _FILES].T)
                for writer, column in zip(writers, columns, strict=True):
                    writer.write_spans(contig, bins.starts, bins.ends, column)
    return paths


def _h5(prefix: str, signals: Signals) -> list[str]:
    """As Basenji's ``predict.h5`` is read, in float32: preds, chrom, start, end of each region, or else of each bin."""
    path, told = f"{prefix}.h5", signals.described
    remove_left_overs(path)
    with named_errors(path), whole_file(path) as partial, h5py.File(partial, "w", locking=False) as file:
        names = f"S{max(len(contig.encode()) for contig in signals.lengths)}"
        if told.rows is None:
            _each_bin(file, signals, names)
        else:
            _each_region(file, signals, names, told.rows)
        file["target_ids"] = [track.name.encode() for track in told.tracks]
        file["target_labels"] = [track.description.encode() for track in told.tracks]
        file.attrs["resolution"] = told.resolution
        file.attrs["untransformed"] = told.is_untransformed
    return [path]


def _each_region(file: h5py.File, signals: Signals, names: str, rows: int) -> None:
    """preds[regions, bins, tracks], in the order of the regions."""
    preds, starts, ends = None, np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    contigs = np.zeros(rows, names)
    for place, values in signals.places():
        if preds is None:
            preds = file.create_dataset("preds", (rows, *values.shape), np.float32)
        preds[place.row] = values
        contigs[place.row], starts[place.row], ends[place.row] = place.contig.encode(), place.start, place.end
    for name, column in (("chrom", contigs), ("start", starts), ("end", ends)):
        file[name] = column


def _each_bin(file: h5py.File, signals: Signals, names: str) -> None:
    """preds[bins, tracks], in the order of the genome."""
    n = len(signals.described.tracks)
    preds = file.create_dataset("preds", (0, n), "f4", maxshape=(None, n), chunks=(max(_CHUNK // n, 1), n))
    kinds = {"chrom": names, "start": "i8", "end": "i8"}
    columns = [
        file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(_CHUNK,), compression="gzip", shuffle=True)
        for name, kind in kinds.items()
    ]
    for contig, bins in signals.bins():
        last = len(preds) + len(bins.values)
        contigs = np.full(len(bins.values), contig.encode(), names)
        for column, values in zip((preds, *columns), (bins.values, contigs, bins.starts, bins.ends), strict=True):
            column.resize(last, 0)
            column[last - len(values) :] = values


def _parquet(prefix: str, signals: Signals) -> list[str]:
    """A row for each bin and track."""
    path = Path(f"{prefix}.parquet")
    remove_left_overs(path)
    with contextlib.ExitStack() as opened, _named_polars_errors(path):
        folder = tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        pieces = Path(opened.enter_context(folder))
        paths = []
        for number, table in enumerate(_tables(signals)):
            paths.append(pieces / f"{number}.parquet")
            table.write_parquet(paths[-1])
        with whole_file(path) as partial:
            pl.scan_parquet(paths).sink_parquet(partial, row_group_size=_ROW_GROUP)
    return [str(path)]


def _tables(signals: Signals) -> Iterator[pl.DataFrame]:
    names = pl.Series([track.name for track in signals.described.tracks], dtype=pl.String)
    at_once = max(_ROWS // len(names), 1)
    for contig, bins in signals.bins():
        for first in range(0, len(bins.starts), at_once):
            starts, ends, values = (column[first : first + at_once] for column in bins)
            yield pl.DataFrame(
                {
                    "contig": pl.repeat(contig, values.size, dtype=pl.String, eager=True),
                    "start": np.repeat(starts, len(names)),
                    "end": np.repeat(ends, len(names)),
                    "track": names.gather(np.tile(np.arange(len(names)), len(values))),
                    "value": values.ravel(),
                },
                schema=_SCHEMA,
            )


@contextlib.contextmanager
def _named_polars_errors(path: Path) -> Iterator[None]:
    """As ``named_errors``; polars' word for a full disk is not always OSError."""
    with named_errors(path):
        try:
            yield
        except pl.exceptions.PolarsError as error:
            raise OSError(str(error)) from error


SIGNAL_FORMATS: dict[SignalFormat, Callable[[str, Signals], list[str]]] = {
    "bigwig": _bigwigs,
    "h5": _h5,
    "parquet": _parquet,
}
"""What writes each format, and gives the paths of its files."""
