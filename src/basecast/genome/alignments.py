"""Alignments of reads, in BAM, CRAM or SAM: in the file's order, thousands of records at once."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.genome.bam import MAGIC, PADDING, Header, Records, header, record_offsets
from basecast.genome.bam_index import Index, index_of, read_index
from basecast.genome.bgzip import HEADER_SIZE, is_bgzip, require_end

Chunk = tuple[bytes, NDArray[np.int64]]
"""Text of some blocks of bgzip, and where each begins in it."""

_AT_ONCE = 1 << 22  # compressed bytes
_BATCH = 1 << 14  # records: what they hold stays in a processor's cache
_BLOCK = 1 << 16  # the most that a block of bgzip takes
# all but bases, qualities and read groups
_CRAM = ("--input-fmt-option", "required_fields=0x9ff")
_NOTHING: Chunk = (b"", np.empty(0, np.int64))
_GZIP = 31  # window bits of zlib that mean gzip, whose checksum it then holds against the text
_FOREIGN = "import pysam, sys; pysam.view(*sys.argv[1:], catch_stdout=False)"


class Alignments:
    """The records of a file of alignments.

    BAM is read here; all else htslib turns into BAM, in a process beside ours. Processes may share an instance,
    which pickles with what it has read of the header and the index.

    Args:
        path: the file.
        reference: FASTA that a CRAM was made with; many need it, though no base is read.

    Attributes:
        lengths: bases of each contig, in the header's order, which is that of the records' contig numbers.
        is_sorted: whether the header says that records come in the order of their positions.
        index: a sorted BAM's index, by which it can be read in parts; None without.

    Raises:
        InputError: the file is missing, truncated, of another kind, or names no contigs.
    """

    def __init__(self, path: str | os.PathLike[str], reference: str | os.PathLike[str] | None = None) -> None:
        self.path, self._reference = Path(path).absolute(), reference
        if not self.path.is_file():
            raise InputError(f"there is no file of alignments {path}: give a BAM or a CRAM")
        with self.path.open("rb") as handle:
            head = handle.read(1 << 16)
        self._is_bam = is_bgzip(head[:HEADER_SIZE]) and self._starts_as_bam()
        self._is_cram = head[:4] == b"CRAM"
        if self._is_bam:
            require_end(self.path)
        with self._chunks() as chunks:
            found, _ = self._read_header(chunks)
        self.lengths, self.is_sorted = found.lengths, found.is_sorted
        self.index = index_of(self.path) if self._is_bam and self.is_sorted else None
        self._told = None if self.index is None else read_index(self.index, len(self.lengths))
        if not self.lengths:
            raise InputError(f"{self.path} names no contigs (no @SQ lines): align its reads to a genome first")

    @property
    def unplaced(self) -> int:
        """Records that have no contig, by the index."""
        return self._by_index.unplaced

    @property
    def _by_index(self) -> Index:
        assert self._told is not None
        return self._told

    def batches(self, contigs: range | None = None, *, threads: int = 1) -> Iterator[Records]:
        """The records, some thousands at a time.

        Args:
            contigs: only what is aligned to contigs of these numbers; this takes the index.
            threads: that decompress.

        Raises:
            InputError: the file is truncated or damaged, its order is not what its header says, or its index is that
                of another file.
        """
        if contigs is None:
            with self._chunks(threads=threads) as chunks:
                _, rest = self._read_header(chunks)
                yield from self._records(itertools.chain([rest], chunks))
            return
        told = [place for place in self._by_index.places[contigs.start : contigs.stop] if place.records]
        missing = sum(place.records for place in told)
        if not missing:
            return
        first = min(place.offset for place in told)
        after = [place.offset >> 16 for place in self._by_index.places[contigs.stop :] if place.records]
        with self._chunks(first >> 16, threads, min(after) + _BLOCK if after else None) as chunks:
            rest = _without(next(chunks, _NOTHING), first & 0xFFFF)
            for records in self._records(itertools.chain([rest], chunks)):
                numbers = records.fields["contig"]
                inside = (numbers >= contigs.start) & (numbers < contigs.stop)
                missing -= int(np.count_nonzero(inside))
                yield records if inside.all() else records[inside]
                if missing <= 0 or not inside[-1]:
                    break
        if missing:
            raise InputError(
                f"{self.index} is not the index of {self.path.name} as it is now: make it anew with 'samtools index "
                f"{self.path}'"
            )

    def _read_header(self, chunks: Iterator[Chunk]) -> tuple[Header, Chunk]:
        chunk = _NOTHING
        with self._damage():
            while (found := header(chunk[0])) is None:
                content, blocks = next(chunks, _NOTHING)
                if not content:
                    raise ValueError("it ends within its header")
                chunk = chunk[0] + content, np.append(chunk[1], len(chunk[0]) + blocks)
        return found, _without(chunk, found.size)

    def _records(self, chunks: Iterable[Chunk]) -> Iterator[Records]:
        rest, last = b"", 0
        is_even = True  # no record lies in two blocks
        for more, blocks in chunks:
            content = b"".join([rest, more, bytes(PADDING)])
            with self._damage():
                offsets, end = record_offsets(content, blocks if is_even else blocks[:0])
            rest = content[end:-PADDING]
            is_even &= not rest
            for first in range(0, len(offsets), _BATCH):
                with self._damage():
                    records = Records(content, offsets[first : first + _BATCH])
                if self.is_sorted:
                    last = self._in_order(records, last)
                yield records
        if rest:
            raise InputError(f"{self.path} is truncated: it ends within a record; fetch or make it again")

    def _in_order(self, records: Records, last: int) -> int:
        """Where the last of the records lies, if none lies before the one that it follows."""
        keys = records.fields["contig"].astype(np.uint32).astype(np.uint64) << np.uint64(32)
        keys |= records.fields["start"].astype(np.uint32).astype(np.uint64)
        back = np.flatnonzero(np.append(np.uint64(last), keys[:-1]) > keys)
        if len(back):
            raise InputError(
                f"{self.path} is not sorted, though its header says so (record {records.name(int(back[0]))!r} "
                "lies before the one that it follows): sort it anew with samtools sort"
            )
        return int(keys[-1])

    def _starts_as_bam(self) -> bool:
        with self._inflated(0, 1, _BLOCK) as chunks:
            return next(chunks, _NOTHING)[0].startswith(MAGIC)

    def _chunks(
        self, start: int = 0, threads: int = 1, end: int | None = None
    ) -> AbstractContextManager[Iterator[Chunk]]:
        """The bytes of the BAM that the file is, or can be turned into: from a block on, of blocks up to a byte."""
        return self._inflated(start, threads, end) if self._is_bam else self._foreign(threads)

    @contextlib.contextmanager
    def _inflated(self, start: int, threads: int, end: int | None = None) -> Iterator[Iterator[Chunk]]:
        with self.path.open("rb") as handle, ThreadPoolExecutor(threads) as pool:
            handle.seek(start)
            chunks = self._guarded(inflated(handle, pool, threads, None if end is None else end - start))
            try:
                yield chunks
            finally:
                chunks.close()

    @contextlib.contextmanager
    def _foreign(self, threads: int) -> Iterator[Iterator[Chunk]]:
        options = ["-u", "-@", str(threads - 1), str(self.path)]
        if self._is_cram:
            options = [*_CRAM, *(["-T", str(self._reference)] if self._reference else []), *options]
        command = [sys.executable, "-c", _FOREIGN, *options]
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process,
            ThreadPoolExecutor(1) as pool,
        ):
            assert process.stdout is not None
            source: IO[bytes] = process.stdout

            def chunks() -> Generator[Chunk]:
                yield from self._guarded(inflated(source, pool, 1))
                if process.wait():
                    said.seek(0)
                    words = said.read().decode(errors="replace").strip() or "no reason given"
                    remedy = "fetch or make it again"
                    if self._is_cram and not self._reference:
                        remedy = f"give the FASTA that it was made with (-R), or {remedy}"
                    raise InputError(
                        f"{self.path} cannot be read as BAM, CRAM or SAM ({words.splitlines()[-1]}): {remedy}"
                    )

            found = chunks()
            try:
                yield found
            finally:
                found.close()
                process.kill()

    def _guarded(self, chunks: Generator[Chunk]) -> Generator[Chunk]:
        with self._damage(), contextlib.closing(chunks):
            yield from chunks

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, struct.error, UnicodeDecodeError, zlib.error) as error:
            raise InputError(f"{self.path} is truncated or damaged ({error}): fetch or make it again") from error


def inflated(source: IO[bytes], pool: ThreadPoolExecutor, ahead: int, size: int | None = None) -> Generator[Chunk]:
    """The text of a bgzip file, some blocks at a time, of which ``ahead`` are worked on in advance.

    ``size``: bytes of the file that are enough.

    Raises:
        ValueError, zlib.error: the file is damaged.
    """
    tasks: deque[Future[Chunk]] = deque()
    rest, left = b"", math.inf if size is None else size
    try:
        while left > 0 and (content := source.read(int(min(_AT_ONCE, left)))):
            left -= len(content)
            content = rest + content
            ends = _block_ends(content)
            rest = content[ends[-1] :]
            tasks.append(pool.submit(_inflate, content, ends))
            if len(tasks) > ahead:
                yield tasks.popleft().result()
        while tasks:
            yield tasks.popleft().result()
    finally:
        for task in tasks:
            task.cancel()
    if rest and left > 0:
        raise ValueError("it ends within a block of bgzip")


def _block_ends(content: bytes) -> list[int]:
    """Where each whole block begins, and the last ends."""
    ends = [0]
    while len(head := content[ends[-1] : ends[-1] + HEADER_SIZE]) == HEADER_SIZE:
        if not is_bgzip(head):
            raise ValueError("no block of bgzip where one should be")
        end = ends[-1] + int.from_bytes(head[16:18], "little") + 1
        if end > len(content):
            break
        ends.append(end)
    return ends


def _inflate(content: bytes, ends: list[int]) -> Chunk:
    texts = [zlib.decompress(content[at:end], _GZIP, 1 << 16) for at, end in itertools.pairwise(ends)]
    return b"".join(texts), np.cumsum([0, *map(len, texts)])[:-1]


def _without(chunk: Chunk, size: int) -> Chunk:
    """A chunk less its first bytes."""
    content, blocks = chunk
    return content[size:], np.append(0, blocks[blocks > size] - size)
