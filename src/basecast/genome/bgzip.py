"""bgzip: gzip in blocks of up to 64 kB, so that a reader can jump (SAM specification, section 4.1)."""

from __future__ import annotations

import gzip
import logging
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pysam

from basecast.errors import InputError
from basecast.files import built_once, cache_folder, sha256_of

END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
HEADER_SIZE = 18
DAMAGES = (EOFError, gzip.BadGzipFile, zlib.error)  # what reading a damaged file through gzip raises

_GZIP = b"\x1f\x8b"
_log = logging.getLogger(__name__)


def is_gzip(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is gzip, bgzip included."""
    return head.startswith(_GZIP)


def is_bgzip(head: bytes) -> bool:
    """Whether a file that starts with ``head`` (``HEADER_SIZE`` bytes) is bgzip."""
    return head.startswith(_GZIP + b"\x08\x04") and head[12:16] == b"BC\x02\x00"


def require_end(path: Path) -> None:
    """Raises InputError unless the bgzip file ends with the block that says so."""
    with path.open("rb") as handle:
        handle.seek(-min(path.stat().st_size, len(END)), os.SEEK_END)
        if handle.read() != END:
            raise InputError(f"{path} is truncated: bgzip's end marker is missing; fetch it again or compress it anew")


def _blocks(path: Path, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where each block from byte ``start`` on lies in the file, and how many bytes of text it holds."""
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while start < len(content):
            head = content[start : start + HEADER_SIZE]
            end = start + struct.unpack_from("<H", head, 16)[0] + 1 if is_bgzip(head) else len(content) + 1
            if end > len(content):
                raise InputError(f"{path} is damaged: no whole bgzip block at byte {start:,}; fetch it again")
            yield start, struct.unpack_from("<I", content, end - 4)[0]
            start = end


def write_index(path: Path, index: Path) -> None:
    """Writes the `.gzi` of a bgzip file: count, (byte in the file, byte in the text) of each block but the first."""
    entries, text_offset = [], 0
    for offset, size in _blocks(path):
        if size and offset:
            entries.append((offset, text_offset))
        text_offset += size
    index.write_bytes(struct.pack("<Q", len(entries)) + np.array(entries, dtype="<u8").tobytes())


class IndexedText:
    """The text of a bgzip file by its `.gzi`, for a look here and there.

    Attributes:
        size: bytes of text.

    Raises:
        InputError: the index is not that of the file.
    """

    def __init__(self, path: Path, index: Path) -> None:
        self._path = path
        content = index.read_bytes()
        if len(content) < 8 or len(content) != 8 + 16 * struct.unpack_from("<Q", content)[0]:
            raise InputError(f"{index} is not a bgzip index: make it anew with bgzip -r")
        self._starts = np.vstack([[[0, 0]], np.frombuffer(content, "<u8", offset=8).reshape(-1, 2).astype(np.int64)])
        last, text_offset = map(int, self._starts[-1])
        self.size = text_offset + sum(size for _, size in _blocks(path, last))

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of the text."""
        block, text_offset = map(int, self._starts[np.searchsorted(self._starts[:, 1], start, "right") - 1])
        with self._path.open("rb") as handle:
            handle.seek(block)
            with gzip.GzipFile(fileobj=handle) as text:
                text.read(start - text_offset)
                return text.read(end - start)


def recompressed(path: Path) -> Path:
    """A bgzip copy of a gzip file, in the cache under the digest of the original; made once."""

    def compress(partial: Path) -> None:
        _log.info("%s is plain gzip, which cannot be read at random: making a bgzip copy in the cache", path)
        fast: Any = "w1"  # a level htslib takes and pysam's types do not know: eight times as fast, 14 % larger
        try:
            with gzip.open(path) as text, pysam.BGZFile(str(partial), fast, index=None) as copy:
                shutil.copyfileobj(text, copy, 1 << 20)
        except DAMAGES as error:
            raise InputError(f"{path} cannot be decompressed ({error}): fetch it again") from error

    return built_once(cache_folder("bgzip") / f"{sha256_of(path)}.gz", compress)
