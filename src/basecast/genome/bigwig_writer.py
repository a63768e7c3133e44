"""Writing bigWig files."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.files import close_anyhow, named_errors, whole_file
from basecast.genome.bigwig_format import (
    BLOCK,
    CONTIG_TREE,
    CONTIG_TREE_HEADER,
    HEADER,
    INTERVAL,
    INTERVALS,
    ITEMS,
    LONGEST,
    MOMENTS,
    NODE,
    POINT,
    POINTS,
    REGION,
    REGION_TREE,
    REGION_TREE_HEADER,
    SECTION,
    SIGNATURE,
    SUMMARY,
    TOTALS,
    ZOOM,
    ZOOM_HEADER,
    Records,
    contig_kinds,
)

Places = Integer[np.ndarray, " spans"]
Values = Float32[np.ndarray, " spans"]

_GATHER = {"covered": np.add, "min": np.minimum, "max": np.maximum, "sum": np.add, "squares": np.add}
_FANOUT = 256  # children of a tree's node
_SLOT = 1024  # values or summaries of a block
_SHIFTS = np.arange(4, 24, 2)  # zoom levels of 16, 64 ... 4,194,304 bases
_LEVEL = 1  # of zlib: higher ones take longer for as many bytes


class BigWigWriter:
    """Write values of positions and of spans; the file takes its name only when the block ends well.

    Contigs come in the order of ``lengths``, which all stand in the file, with values or without. A contig's positions
    ascend and may come in any number of parts, which leave no trace. Memory does not grow with the values, but for
    32 bytes for every 1,024 of them and for every contig that has some.

    Args:
        path: the file.
        lengths: bases of each contig, in the genome's order.

    Raises:
        InputError: a contig is too long for the format.
        BasecastError: the disk is full or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], lengths: Mapping[str, int]) -> None:
        self.path = Path(path)
        self._lengths = lengths
        longest, length = max(lengths.items(), key=lambda item: item[1])
        if length > LONGEST:
            raise InputError(f"contig {longest!r} has {length:,} bases, but a bigWig counts to {LONGEST:,}: cut it")
        self._ahead = enumerate(lengths.items())
        self._contig: str | None = None
        self._number, self._length, self._last = 0, 0, -1  # of the contig; its last position that is in the file
        self._pending = np.empty(0, INTERVAL)
        self._blocks = bytearray()
        self._n_bytes = 0  # of all items, as a summary takes more than a value
        self._n, self._min, self._max, self._sum, self._squares = 0, math.inf, -math.inf, 0.0, 0.0
        self._n_bins = np.zeros(len(_SHIFTS), np.int64)

    def __enter__(self) -> BigWigWriter:
        with named_errors(self.path), contextlib.ExitStack() as opening:
            partial = opening.enter_context(whole_file(self.path))
            self._file = partial.open("w+b", buffering=1 << 18)
            opening.callback(close_anyhow, self._file)
            self._totals_at = HEADER.size + len(_SHIFTS) * ZOOM_HEADER.size
            self._contigs_at = self._totals_at + TOTALS.size
            self._file.write(bytes(self._contigs_at))
            self._write_contigs()
            self._data_at = self._file.tell()
            self._file.write(bytes(8))
            self._opened = opening.pop_all()
        return self

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> None:
        if exception is not None:
            self._opened.__exit__(kind, exception, traceback)
            return
        with named_errors(self.path), self._opened:
            self._finish()
            self._file.close()

    def write(
        self, contig: str, positions: Integer[np.ndarray, " values"], values: Float32[np.ndarray, " values"]
    ) -> None:
        """Add values, all finite, at 0-based positions of a contig.

        Raises:
            ValueError: contigs or positions out of order, a position off the contig, a value that is not finite.
            BasecastError: the disk is full or the file cannot be written.
        """
        self._add(contig, positions, np.asarray(positions, np.int64) + 1, values, "positions")

    def write_spans(
        self,
        contig: str,
        starts: Integer[np.ndarray, " spans"],
        ends: Integer[np.ndarray, " spans"],
        values: Float32[np.ndarray, " spans"],
    ) -> None:
        """Add values, all finite, of 0-based half-open spans of a contig: one item a span, however long.

        Raises:
            ValueError: contigs or spans out of order, spans that overlap, that are empty or run off the contig, a value
                that is not finite.
            BasecastError: the disk is full or the file cannot be written.
        """
        self._add(contig, starts, ends, values, "spans")

    def _add(self, contig: str, starts: Places, ends: Places, values: Values, noun: str) -> None:
        if not len(starts):
            return
        with named_errors(self.path):
            if contig != self._contig:
                self._turn_to(contig)
            first = int(self._pending["end"][-1]) if len(self._pending) else self._last + 1
            is_off = starts[0] < first or ends[-1] > self._length
            if is_off or (starts[1:] < ends[:-1]).any() or (ends <= starts).any():
                raise ValueError(f"{noun} of {contig!r} must ascend within {first:,} to {self._length - 1:,}")
            if not np.isfinite(values).all():
                raise ValueError(f"values of {contig!r} must be finite: leave out the positions that have none")
            added = np.empty(len(starts), INTERVAL)
            added["start"], added["end"], added["value"] = starts, ends, values
            pending = np.concatenate([self._pending, added])
            whole = len(pending) // _SLOT * _SLOT
            for at in range(0, whole, _SLOT):
                self._write_items(pending[at : at + _SLOT])
            self._pending = pending[whole:].copy()

    def _turn_to(self, contig: str) -> None:
        self._write_items(self._pending)
        self._pending = self._pending[:0]
        for number, (name, length) in self._ahead:
            if name == contig:
                self._contig, self._number, self._length, self._last = name, number, length, -1
                return
        raise ValueError(f"{contig!r} is no contig of {self.path}, or one that comes before {self._contig!r}")

    def _write_items(self, items: Records) -> None:
        if not len(items):
            return
        starts, lasts = items["start"].astype(np.int64), items["end"].astype(np.int64) - 1
        values, widths = items["value"].astype(np.float64), lasts - starts + 1
        kind, content = INTERVALS, items
        if (widths == 1).all():  # the same in two thirds of the bytes
            kind, content = POINTS, np.empty(len(items), POINT)
            content["start"], content["value"] = items["start"], items["value"]
        start, end = int(starts[0]), int(lasts[-1]) + 1
        head = SECTION.pack(self._number, start, end, 0, int(kind == POINTS), kind, 0, len(items))
        self._write_block(self._blocks, head + content.tobytes(), self._number, start, end)
        before = np.append(self._last, lasts[:-1]) >> _SHIFTS[:, None]
        self._n_bins += ((lasts >> _SHIFTS[:, None]) - np.maximum(before, (starts >> _SHIFTS[:, None]) - 1)).sum(axis=1)
        self._last = end - 1
        self._n_bytes += content.nbytes
        self._n += int(widths.sum())
        self._min, self._max = min(self._min, float(values.min())), max(self._max, float(values.max()))
        self._sum += float((values * widths).sum())
        self._squares += float((np.square(values) * widths).sum())

    def _write_block(self, index: bytearray, plain: bytes, contig: int, start: int, end: int) -> None:
        packed = zlib.compress(plain, _LEVEL)
        index += struct.pack("<IIIIQQ", contig, start, contig, end, self._file.tell(), len(packed))
        self._file.write(packed)

    def _finish(self) -> None:
        self._write_items(self._pending)
        blocks = np.frombuffer(self._blocks, BLOCK)
        index_at = self._write_regions(blocks)
        zoomed, n_finer = False, self._n_bytes // ZOOM.itemsize
        zooms = b""
        for shift, n_bins in zip(_SHIFTS.tolist(), self._n_bins.tolist(), strict=True):
            if 0 < 2 * n_bins <= n_finer:  # a level of more than half the bytes is not worth them
                zoom_at = self._file.tell()
                self._file.write(struct.pack("<I", n_bins))
                finer = self._summaries(blocks) if zoomed else self._values(blocks, shift)
                blocks = self._write_zoom(_binned(finer, shift))
                zooms += ZOOM_HEADER.pack(1 << shift, 0, zoom_at, self._write_regions(blocks))
                zoomed, n_finer = True, n_bins
        self._file.write(struct.pack("<I", SIGNATURE))
        self._file.seek(self._data_at)
        self._file.write(struct.pack("<Q", len(self._blocks) // BLOCK.itemsize))
        self._file.seek(0)
        places = (self._contigs_at, self._data_at, index_at, 0, 0, 0, self._totals_at)
        n_zooms = len(zooms) // ZOOM_HEADER.size
        self._file.write(HEADER.pack(SIGNATURE, 4, n_zooms, *places, _SLOT * ZOOM.itemsize, 0) + zooms)
        self._file.seek(self._totals_at)
        if self._n:
            self._file.write(TOTALS.pack(self._n, self._min, self._max, self._sum, self._squares))

    def _write_contigs(self) -> None:
        """The tree from names to numbers and lengths: keys ascend by their bytes, numbers follow the genome."""
        key_size = max(len(name.encode()) for name in self._lengths)
        names = np.fromiter((name.encode() for name in self._lengths), f"S{key_size}", len(self._lengths))
        leaf, inner = contig_kinds(key_size)
        contigs = np.empty(len(names), leaf)
        contigs["key"], contigs["number"] = names, np.arange(len(names))
        contigs["length"] = np.fromiter(self._lengths.values(), np.uint32, len(names))
        self._file.write(CONTIG_TREE_HEADER.pack(CONTIG_TREE, _FANOUT, key_size, 8, len(names), 0))
        self._write_tree(contigs[np.argsort(names)], inner)

    def _write_regions(self, blocks: Records) -> int:
        """The tree from regions to blocks, which end where it starts; that place."""
        at = self._file.tell()
        first, last = (blocks[0], blocks[-1]) if len(blocks) else (np.zeros((), BLOCK),) * 2
        bounds = [int(bound) for bound in (first["contig"], first["start"], last["last_contig"], last["end"])]
        self._file.write(REGION_TREE_HEADER.pack(REGION_TREE, _FANOUT, len(blocks), *bounds, at, 1, 0))
        self._write_tree(blocks, REGION)
        return at

    def _write_tree(self, leaves: Records, inner: np.dtype[np.void]) -> None:
        """Nodes from the root down, each level from left to right."""
        levels = [leaves]
        while len(levels[0]) > _FANOUT:
            below = levels[0]
            firsts = np.arange(0, len(below), _FANOUT)
            lasts = np.minimum(firsts + _FANOUT, len(below)) - 1
            nodes = np.empty(len(firsts), inner)
            for field in (inner.names or ())[:-1]:
                nodes[field] = below[field][lasts if field in ("last_contig", "end") else firsts]
            levels.insert(0, nodes)
        for depth, level in enumerate(levels, start=1):
            n_nodes = max(math.ceil(len(level) / _FANOUT), 1)
            if depth < len(levels):
                below_at = self._file.tell() + n_nodes * NODE.size + level.nbytes
                stride = NODE.size + _FANOUT * levels[depth].itemsize
                level["child"] = below_at + stride * np.arange(len(level))
            for at in range(0, n_nodes * _FANOUT, _FANOUT):
                node = level[at : at + _FANOUT]
                self._file.write(NODE.pack(depth == len(levels), 0, len(node)) + node.tobytes())

    def _write_zoom(self, summaries: Iterable[Records]) -> Records:
        """Blocks of summaries, none of two contigs; their index."""
        index = bytearray()
        for records in summaries:
            for run in np.split(records, np.flatnonzero(np.diff(records["contig"])) + 1):
                for at in range(0, len(run), _SLOT):
                    slot = run[at : at + _SLOT]
                    with np.errstate(over="ignore"):  # the square of a huge value
                        plain = slot.astype(ZOOM).tobytes()
                    contig, start, end = int(slot["contig"][0]), int(slot["start"][0]), int(slot["end"][-1])
                    self._write_block(index, plain, contig, start, end)
        return np.frombuffer(index, BLOCK)

    def _values(self, blocks: Records, shift: int) -> Iterator[Records]:
        """Blocks of values, each value as the summary of its span, which is cut where bins of ``2**shift`` end."""
        for contigs, contents in self._read(blocks):
            sections = [_items(content) for content in contents]
            items = np.concatenate(sections)
            starts, ends = items["start"].astype(np.int64), items["end"].astype(np.int64)
            pieces = (ends - 1 >> shift) - (starts >> shift) + 1
            firsts = np.cumsum(pieces) - pieces
            bins = np.repeat((starts >> shift) - firsts, pieces) + np.arange(pieces.sum())
            found = np.empty(len(bins), SUMMARY)
            found["contig"] = np.repeat(np.repeat(contigs, [len(section) for section in sections]), pieces)
            found["start"] = np.maximum(bins << shift, np.repeat(starts, pieces))
            found["end"] = np.minimum(bins + 1 << shift, np.repeat(ends, pieces))
            found["covered"] = found["end"] - found["start"]
            for moment in MOMENTS:
                found[moment] = np.repeat(items["value"], pieces)
            found["squares"] **= 2
            for moment in ("sum", "squares"):
                found[moment] *= found["covered"]
            yield found

    def _summaries(self, blocks: Records) -> Iterator[Records]:
        for _, contents in self._read(blocks):
            yield np.frombuffer(b"".join(contents), ZOOM).astype(SUMMARY)

    def _read(self, blocks: Records, at_once: int = 16) -> Iterator[tuple[NDArray[np.uint32], list[bytes]]]:
        """Contigs and contents of blocks that the file has, some at a time."""
        self._file.flush()
        for at in range(0, len(blocks), at_once):
            some = blocks[at : at + at_once]
            places = zip(some["size"].tolist(), some["child"].tolist(), strict=True)
            yield some["contig"], [zlib.decompress(os.pread(self._file.fileno(), *place)) for place in places]


def _items(content: bytes) -> Records:
    """The items of a block that this module wrote."""
    kind = SECTION.unpack_from(content)[5]
    items = np.frombuffer(content, ITEMS[kind], offset=SECTION.size)
    if kind == INTERVALS:
        return items
    found = np.empty(len(items), INTERVAL)
    found["start"], found["end"], found["value"] = items["start"], items["start"] + np.uint32(1), items["value"]
    return found


def _binned(source: Iterable[Records], shift: int) -> Iterator[Records]:
    """Finer summaries gathered in bins of ``2**shift`` bases; each spans what is covered of its bin."""
    held = np.empty(0, SUMMARY)  # the last bin: the next records may fall in it
    for finer in source:
        records = np.concatenate([held, finer])
        places = records["contig"].astype(np.int64) << 32 | records["start"] >> shift
        firsts = np.flatnonzero(np.diff(places, prepend=-1))
        found = records[firsts]
        found["end"] = records["end"][np.append(firsts[1:], len(records)) - 1]
        for field, gather in _GATHER.items():
            found[field] = gather.reduceat(records[field], firsts)
        held = found[-1:]
        yield found[:-1]
    yield held


def write_bigwig(
    path: str | os.PathLike[str],
    lengths: Mapping[str, int],
    stretches: Iterable[tuple[str, Integer[np.ndarray, " values"], Float32[np.ndarray, " values"]]],
) -> None:
    """Write stretches (contig, positions, values) as `BigWigWriter` does; what they raise comes out as it is."""
    with BigWigWriter(path, lengths) as writer:
        for contig, positions, values in stretches:
            writer.write(contig, positions, values)
