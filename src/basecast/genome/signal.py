"""bigWig files: a value for each position that has one, in the form that genome browsers read."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.genome.bigwig_format import (
    BLOCK,
    CONTIG_TREE_HEADER,
    FIXED_STEPS,
    HEADER,
    INTERVALS,
    ITEMS,
    NODE,
    REGION,
    REGION_TREE_HEADER,
    SECTION,
    SIGNATURE,
    Kinds,
    contig_kinds,
)
from basecast.genome.bigwig_writer import BigWigWriter, write_bigwig

__all__ = ["BigWig", "BigWigWriter", "write_bigwig"]


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
        if self._bytes[:4] != SIGNATURE.to_bytes(4, "little"):
            raise InputError(f"{path} is not a bigWig file: it does not start with bigWig's signature")
        with self._damage():
            _, _, _, contigs_at, _, self._regions_at, *_, plain_size, _ = HEADER.unpack_from(self._bytes)
            self._is_compressed = plain_size > 0
            key_size = CONTIG_TREE_HEADER.unpack_from(self._bytes, contigs_at)[2]
            leaves = self._leaves(contigs_at + CONTIG_TREE_HEADER.size, contig_kinds(key_size))
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
        root = self._regions_at + REGION_TREE_HEADER.size
        with self._damage():
            for *_, at, size in self._leaves(root, (BLOCK, REGION), (number, start, end)):
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
            is_leaf, _, count = NODE.unpack_from(self._bytes, at)
            node = np.frombuffer(self._bytes, kinds[0 if is_leaf else 1], count, at + NODE.size)
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
        _, start, _, step, span, kind, _, count = SECTION.unpack_from(plain)
        items = np.frombuffer(plain, ITEMS[kind], count, SECTION.size)
        starts = start + step * np.arange(count) if kind == FIXED_STEPS else items["start"].astype(np.int64)
        return starts, items["end"].astype(np.int64) if kind == INTERVALS else starts + span, items["value"]

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, struct.error, zlib.error) as error:
            raise InputError(f"{self.path} is truncated or damaged ({error}): fetch or make it again") from error
