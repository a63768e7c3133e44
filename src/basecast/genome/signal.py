"""bigWig files: a value for each position that has one, in the form that genome browsers read.

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement. A tree leads from contig names to numbers, another from
regions to blocks of values; a few coarser resolutions ("zoom levels") have blocks of summaries and a tree each.
"""

from __future__ import annotations

import contextlib
import math
import mmap
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

_SIGNATURE, _CONTIG_TREE, _REGION_TREE = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_LONGEST = 2**32 - 1  # bases of a contig

_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_ZOOM_HEADER = struct.Struct("<IIQQ")
_TOTALS = struct.Struct("<Qdddd")
_CONTIG_TREE_HEADER = struct.Struct("<IIIIQQ")
_REGION_TREE_HEADER = struct.Struct("<IIQIIIIQII")
_NODE = struct.Struct("<BBH")
_SECTION = struct.Struct("<IIIIIBBH")
_POINT = np.dtype([("start", "<u4"), ("value", "<f4")])
_INTERVAL = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_ITEMS = {1: _INTERVAL, 2: _POINT, 3: np.dtype([("value", "<f4")])}  # by kind of section
_REGION = np.dtype([("contig", "<u4"), ("start", "<u4"), ("last_contig", "<u4"), ("end", "<u4"), ("child", "<u8")])
_BLOCK = np.dtype([*_REGION.descr, ("size", "<u8")])
_GATHER = {"covered": np.add, "min": np.minimum, "max": np.maximum, "sum": np.add, "squares": np.add}
_PLACE = [("contig", "<u4"), ("start", "<u4"), ("end", "<u4"), ("covered", "<u4")]
_MOMENTS = ("min", "max", "sum", "squares")
_ZOOM, _SUMMARY = (np.dtype([*_PLACE, *((moment, kind) for moment in _MOMENTS)]) for kind in ("<f4", "<f8"))

_FANOUT = 256  # children of a tree's node
_SLOT = 1024  # values or summaries of a block
_SHIFTS = np.arange(4, 24, 2)  # zoom levels of 16, 64 ... 4,194,304 bases
_LEVEL = 1  # of zlib: higher ones take longer for as many bytes

Records = NDArray[np.void]
Kinds = tuple[np.dtype[np.void], np.dtype[np.void]]


class BigWigWriter:
    """Write values at single positions; the file takes its name only when the block ends well.

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
        if length > _LONGEST:
            raise InputError(f"contig {longest!r} has {length:,} bases, but a bigWig counts to {_LONGEST:,}: cut it")
        self._ahead = enumerate(lengths.items())
        self._contig: str | None = None
        self._number, self._length, self._last = 0, 0, -1  # of the contig; its last position that is in the file
        self._pending = np.empty(0, _POINT)
        self._blocks = bytearray()
        self._n, self._min, self._max, self._sum, self._squares = 0, math.inf, -math.inf, 0.0, 0.0
        self._n_bins = np.zeros(len(_SHIFTS), np.int64)

    def __enter__(self) -> BigWigWriter:
        with named_errors(self.path), contextlib.ExitStack() as opening:
            partial = opening.enter_context(whole_file(self.path))
            self._file = partial.open("w+b", buffering=1 << 18)
            opening.callback(close_anyhow, self._file)
            self._totals_at = _HEADER.size + len(_SHIFTS) * _ZOOM_HEADER.size
            self._contigs_at = self._totals_at + _TOTALS.size
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
        if not len(positions):
            return
        with named_errors(self.path):
            if contig != self._contig:
                self._turn_to(contig)
            first = int(self._pending["start"][-1] if len(self._pending) else self._last) + 1
            if positions[0] < first or positions[-1] >= self._length or (positions[1:] <= positions[:-1]).any():
                raise ValueError(f"positions of {contig!r} must ascend within {first:,} to {self._length - 1:,}")
            if not np.isfinite(values).all():
                raise ValueError(f"values of {contig!r} must be finite: leave out the positions that have none")
            added = np.empty(len(positions), _POINT)
            added["start"], added["value"] = positions, values
            pending = np.concatenate([self._pending, added])
            whole = len(pending) // _SLOT * _SLOT
            for at in range(0, whole, _SLOT):
                self._write_points(pending[at : at + _SLOT])
            self._pending = pending[whole:].copy()

    def _turn_to(self, contig: str) -> None:
        self._write_points(self._pending)
        self._pending = self._pending[:0]
        for number, (name, length) in self._ahead:
            if name == contig:
                self._contig, self._number, self._length, self._last = name, number, length, -1
                return
        raise ValueError(f"{contig!r} is no contig of {self.path}, or one that comes before {self._contig!r}")

    def _write_points(self, points: Records) -> None:
        if not len(points):
            return
        starts, values = points["start"].astype(np.int64), points["value"].astype(np.float64)
        start, end = int(starts[0]), int(starts[-1]) + 1
        head = _SECTION.pack(self._number, start, end, 0, 1, 2, 0, len(points))
        self._write_block(self._blocks, head + points.tobytes(), self._number, start, end)
        bins = np.append(self._last, starts) >> _SHIFTS[:, None]
        self._n_bins += np.count_nonzero(np.diff(bins), axis=1)
        self._last = end - 1
        self._n += len(points)
        self._min, self._max = min(self._min, float(values.min())), max(self._max, float(values.max()))
        self._sum += float(values.sum())
        self._squares += float(np.square(values).sum())

    def _write_block(self, index: bytearray, plain: bytes, contig: int, start: int, end: int) -> None:
        packed = zlib.compress(plain, _LEVEL)
        index += struct.pack("<IIIIQQ", contig, start, contig, end, self._file.tell(), len(packed))
        self._file.write(packed)

    def _finish(self) -> None:
        self._write_points(self._pending)
        blocks = np.frombuffer(self._blocks, _BLOCK)
        index_at = self._write_regions(blocks)
        finer, n_finer = self._values, self._n * _POINT.itemsize // _ZOOM.itemsize
        zooms = b""
        for shift, n_bins in zip(_SHIFTS.tolist(), self._n_bins.tolist(), strict=True):
            if 0 < 2 * n_bins <= n_finer:  # a level of more than half the bytes is not worth them
                zoom_at = self._file.tell()
                self._file.write(struct.pack("<I", n_bins))
                blocks = self._write_zoom(_binned(finer(blocks), shift))
                zooms += _ZOOM_HEADER.pack(1 << shift, 0, zoom_at, self._write_regions(blocks))
                finer, n_finer = self._summaries, n_bins
        self._file.write(struct.pack("<I", _SIGNATURE))
        self._file.seek(self._data_at)
        self._file.write(struct.pack("<Q", len(self._blocks) // _BLOCK.itemsize))
        self._file.seek(0)
        places = (self._contigs_at, self._data_at, index_at, 0, 0, 0, self._totals_at)
        n_zooms = len(zooms) // _ZOOM_HEADER.size
        self._file.write(_HEADER.pack(_SIGNATURE, 4, n_zooms, *places, _SLOT * _ZOOM.itemsize, 0) + zooms)
        self._file.seek(self._totals_at)
        if self._n:
            self._file.write(_TOTALS.pack(self._n, self._min, self._max, self._sum, self._squares))

    def _write_contigs(self) -> None:
        """The tree from names to numbers and lengths: keys ascend by their bytes, numbers follow the genome."""
        key_size = max(len(name.encode()) for name in self._lengths)
        names = np.fromiter((name.encode() for name in self._lengths), f"S{key_size}", len(self._lengths))
        leaf, inner = _contig_kinds(key_size)
        contigs = np.empty(len(names), leaf)
        contigs["key"], contigs["number"] = names, np.arange(len(names))
        contigs["length"] = np.fromiter(self._lengths.values(), np.uint32, len(names))
        self._file.write(_CONTIG_TREE_HEADER.pack(_CONTIG_TREE, _FANOUT, key_size, 8, len(names), 0))
        self._write_tree(contigs[np.argsort(names)], inner)

    def _write_regions(self, blocks: Records) -> int:
        """The tree from regions to blocks, which end where it starts; that place."""
        at = self._file.tell()
        first, last = (blocks[0], blocks[-1]) if len(blocks) else (np.zeros((), _BLOCK),) * 2
        bounds = [int(bound) for bound in (first["contig"], first["start"], last["last_contig"], last["end"])]
        self._file.write(_REGION_TREE_HEADER.pack(_REGION_TREE, _FANOUT, len(blocks), *bounds, at, 1, 0))
        self._write_tree(blocks, _REGION)
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
                below_at = self._file.tell() + n_nodes * _NODE.size + level.nbytes
                stride = _NODE.size + _FANOUT * levels[depth].itemsize
                level["child"] = below_at + stride * np.arange(len(level))
            for at in range(0, n_nodes * _FANOUT, _FANOUT):
                node = level[at : at + _FANOUT]
                self._file.write(_NODE.pack(depth == len(levels), 0, len(node)) + node.tobytes())

    def _write_zoom(self, summaries: Iterable[Records]) -> Records:
        """Blocks of summaries, none of two contigs; their index."""
        index = bytearray()
        for records in summaries:
            for run in np.split(records, np.flatnonzero(np.diff(records["contig"])) + 1):
                for at in range(0, len(run), _SLOT):
                    slot = run[at : at + _SLOT]
                    with np.errstate(over="ignore"):  # the square of a huge value
                        plain = slot.astype(_ZOOM).tobytes()
                    contig, start, end = int(slot["contig"][0]), int(slot["start"][0]), int(slot["end"][-1])
                    self._write_block(index, plain, contig, start, end)
        return np.frombuffer(index, _BLOCK)

    def _values(self, blocks: Records) -> Iterator[Records]:
        """Blocks of values, each value as the summary of its position."""
        for contigs, contents in self._read(blocks):
            sections = [np.frombuffer(content, _POINT, offset=_SECTION.size) for content in contents]
            points = np.concatenate(sections)
            found = np.empty(len(points), _SUMMARY)
            found["contig"] = np.repeat(contigs, [len(section) for section in sections])
            found["start"], found["end"], found["covered"] = points["start"], points["start"] + np.uint32(1), 1
            for moment in _MOMENTS:
                found[moment] = points["value"]
            found["squares"] **= 2
            yield found

    def _summaries(self, blocks: Records) -> Iterator[Records]:
        for _, contents in self._read(blocks):
            yield np.frombuffer(b"".join(contents), _ZOOM).astype(_SUMMARY)

    def _read(self, blocks: Records, at_once: int = 16) -> Iterator[tuple[NDArray[np.uint32], list[bytes]]]:
        """Contigs and contents of blocks that the file has, some at a time."""
        self._file.flush()
        for at in range(0, len(blocks), at_once):
            some = blocks[at : at + at_once]
            places = zip(some["size"].tolist(), some["child"].tolist(), strict=True)
            yield some["contig"], [zlib.decompress(os.pread(self._file.fileno(), *place)) for place in places]


def _binned(source: Iterable[Records], shift: int) -> Iterator[Records]:
    """Finer summaries gathered in bins of ``2**shift`` bases; each spans what is covered of its bin."""
    held = np.empty(0, _SUMMARY)  # the last bin: the next records may fall in it
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


class BigWig:
    """A bigWig file, whoever wrote it, if in the usual byte order, little-endian.

    Threads and processes, forked or spawned, may share it; it pickles as its path.

    Attributes:
        lengths: bases of each contig, in the order of their numbers in the file.

    Raises:
        InputError: the file is missing, is no bigWig, or is truncated or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        try:
            with open(self.path, "rb") as handle:
                self._bytes = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as bigWig: {error}") from error
        if self._bytes[:4] != _SIGNATURE.to_bytes(4, "little"):
            raise InputError(f"{path} is not a bigWig file: it does not start with bigWig's signature")
        with self._damage():
            _, _, _, contigs_at, _, self._regions_at, *_, plain_size, _ = _HEADER.unpack_from(self._bytes)
            self._is_compressed = plain_size > 0
            key_size = _CONTIG_TREE_HEADER.unpack_from(self._bytes, contigs_at)[2]
            leaves = self._leaves(contigs_at + _CONTIG_TREE_HEADER.size, _contig_kinds(key_size))
            contigs = sorted((number, name.decode(), length) for name, number, length in leaves)
        self.lengths = {name: length for _, name, length in contigs}
        self._numbers = {name: number for number, name, _ in contigs}

    def __reduce__(self) -> tuple[type[BigWig], tuple[Path]]:
        return BigWig, (self.path,)

    def values(self, contig: str, start: int, end: int) -> Float32[np.ndarray, " positions"]:
        """Values at [start, end) of a contig, shape (end - start,); NaN where there is none, as off the contig.

        Raises:
            InputError: there is no such contig, or the file is damaged there.
        """
        number = self._numbers.get(contig)
        if number is None:
            raise InputError(f"{self.path} has no contig {contig!r}; its first is {next(iter(self.lengths), None)!r}")
        found = np.full(end - start, np.nan, np.float32)
        root = self._regions_at + _REGION_TREE_HEADER.size
        with self._damage():
            for *_, at, size in self._leaves(root, (_BLOCK, _REGION), (number, start, end)):
                starts, ends, values = self._section(at, size)
                starts, ends = np.maximum(starts, start) - start, np.minimum(ends, end) - start
                widths = np.maximum(ends - starts, 0)
                within = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
                found[np.repeat(starts, widths) + within] = np.repeat(values, widths)
        return found

    def _leaves(self, root: int, kinds: Kinds, region: tuple[int, int, int] | None = None) -> Iterator[Any]:
        """Items of a tree's leaves from left to right; those of a tree of regions that overlap ``region``."""
        ahead = [root]
        while ahead:
            at = ahead.pop()
            is_leaf, _, count = _NODE.unpack_from(self._bytes, at)
            node = np.frombuffer(self._bytes, kinds[0 if is_leaf else 1], count, at + _NODE.size)
            if region is not None:
                contig, start, end = region
                begins = (node["contig"] < contig) | ((node["contig"] == contig) & (node["start"] < end))
                ends = (node["last_contig"] > contig) | ((node["last_contig"] == contig) & (node["end"] > start))
                node = node[begins & ends]
            if is_leaf:
                yield from node.tolist()
            else:
                ahead += node["child"][::-1].tolist()

    def _section(self, at: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Starts, ends and values of a block's items."""
        content = self._bytes[at : at + size]
        plain = zlib.decompress(content) if self._is_compressed else content
        _, start, _, step, span, kind, _, count = _SECTION.unpack_from(plain)
        items = np.frombuffer(plain, _ITEMS[kind], count, _SECTION.size)
        starts = start + step * np.arange(count) if kind == 3 else items["start"].astype(np.int64)
        return starts, items["end"].astype(np.int64) if kind == 1 else starts + span, items["value"]

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, struct.error, zlib.error) as error:
            raise InputError(f"{self.path} is truncated or damaged ({error}): fetch or make it again") from error


def _contig_kinds(key_size: int) -> Kinds:
    """Items of the leaves and of the other nodes of the contig tree."""
    key = ("key", f"S{key_size}")
    return np.dtype([key, ("number", "<u4"), ("length", "<u4")]), np.dtype([key, ("child", "<u8")])
