"""TFRecord files of basenji and baskerville, read without TensorFlow.

A file is a zlib stream of records: length (u64), its checksum, a ``tf.train.Example``, its checksum. Of an example
``sequence`` is bytes, an index a base (0 to 3, 4 = N) or one-hot; ``target`` is bytes of float16, or floats.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from basecast.data.crc32c import crc32c
from basecast.errors import InputError
from basecast.genome.sequence import N, Tokens

_FILE = re.compile(r"(?P<split>.+)-(?P<number>\d+)\.tfr$")
_READ = 1 << 20
_MOST = 1 << 31  # bytes of a record
_MASK = 0xA282EAD8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Features = dict[str, "bytes | NDArray[np.float32]"]


def tfrecord_files(folder: Path) -> dict[str, list[Path]]:
    """For each split (or fold) its files, ``SPLIT-NUMBER.tfr``, by number.

    Raises:
        InputError: there is none.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*.tfr")):
        if match := _FILE.match(path.name):
            found.setdefault(match["split"], []).append((int(match["number"]), path))
    if not found:
        raise InputError(f"{folder} has no file such as train-0.tfr: give the folder that holds statistics.json")
    return {split: [path for _, path in sorted(files)] for split, files in found.items()}


def examples(path: str | os.PathLike[str]) -> Iterator[Features]:
    """The features of each record of a file; a file may have none.

    Raises:
        InputError: the file cannot be read, is truncated or damaged, or a record is no example; with its number.
    """
    path, number = Path(path), 0
    try:
        with path.open("rb") as raw:
            stream = _Stream(raw)
            while head := stream.read(12):
                number += 1
                if len(head) < 12:
                    raise _DamageError("it ends within a record")
                (size,) = struct.unpack_from("<Q", head)
                _require_checksum(head[:8], head[8:])
                if size > _MOST:
                    raise _DamageError(f"it would have {size:,} bytes")
                body = stream.read(size + 4)
                if len(body) < size + 4:
                    raise _DamageError("it ends within a record")
                payload = memoryview(body)[:size]
                _require_checksum(payload, body[size:])
                yield _example(payload)
            stream.require_end()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path") from error
    except (zlib.error, _DamageError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise InputError(
            f"record {max(number, 1)} of {path} is truncated or damaged ({error}): fetch or make the file again"
        ) from error


class _DamageError(Exception):
    pass


class _Stream:
    """The bytes of a file, inflated where it is a zlib or gzip stream."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._held = raw, bytearray()
        head = raw.peek(2)[:2] if hasattr(raw, "peek") else b""
        is_packed = head[:1] == b"\x78" or head == b"\x1f\x8b"
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if is_packed else None

    def read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        while len(self._held) < size and (packed := self._raw.read(_READ)):
            self._held += self._inflate.decompress(packed) if self._inflate else packed
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def require_end(self) -> None:
        """Stop where the stream has no end."""
        if self._inflate and not self._inflate.eof:
            raise _DamageError("the compressed stream has no end")


def _require_checksum(data: bytes | memoryview, stored: bytes) -> None:
    crc = crc32c(data)
    masked = ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
    if masked != int.from_bytes(stored, "little"):
        raise _DamageError("its checksum does not fit")


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind, size = key & 7, 0
        if kind == _VARINT:
            _, end = _varint(message, at)
            size = end - at
        elif kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _DamageError(f"it has a field of kind {kind}")
        if at + size > len(message):
            raise _DamageError("a field is longer than the record")
        yield key >> 3, kind, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _example(message: memoryview) -> Features:
    found: Features = {}
    for _, _, features in _fields(message):
        for _, _, entry in _fields(features):
            parts = {number: content for number, _, content in _fields(entry)}
            if 1 in parts and 2 in parts:
                found[bytes(parts[1]).decode()] = _feature(parts[2])
    return found


def _feature(message: memoryview) -> bytes | NDArray[np.float32]:
    """What a feature holds: the bytes of a list of them, or floats, packed or one by one."""
    for number, _, content in _fields(message):
        if number == 1:
            return b"".join(bytes(value) for _, _, value in _fields(content))
        if number == 2:
            floats = b"".join(bytes(value) for _, _, value in _fields(content))
            return np.frombuffer(floats, dtype="<f4")
    return b""


def tokens_of(features: Features, length: int) -> Tokens:
    """The bases of an example, shape (length,), from an index a base or one-hot.

    Raises:
        ValueError: they are not there, or not as many.
    """
    stored = features.get("sequence")
    if not isinstance(stored, bytes) or len(stored) not in (length, 4 * length):
        size = len(stored) if stored is not None else 0
        raise ValueError(f"its sequence has {size:,} values, and {length:,} bases are told")
    values = np.frombuffer(stored, dtype=np.uint8)
    if len(stored) == 4 * length:
        one_hot = values.reshape(length, 4)
        return np.where(one_hot.sum(axis=1) == 1, one_hot.argmax(axis=1), N).astype(np.uint8)
    if values.max(initial=0) > N:
        raise ValueError(f"its sequence has a base of index {values.max()}")
    return values.copy()


def values_of(features: Features, bins: int, tracks: int) -> Float32[np.ndarray, "bins tracks"]:
    """The targets of an example, from half, single or listed floats.

    Raises:
        ValueError: they are not there, or not as many.
    """
    stored = features.get("target", b"")
    values = stored if isinstance(stored, np.ndarray) else None
    if isinstance(stored, bytes) and len(stored) in (2 * bins * tracks, 4 * bins * tracks):
        values = np.frombuffer(stored, dtype="<f2" if len(stored) == 2 * bins * tracks else "<f4")
    if values is None or values.size != bins * tracks:
        size = len(stored) // 2 if isinstance(stored, bytes) else stored.size
        raise ValueError(f"it has {size:,} targets, and {bins:,} bins of {tracks:,} tracks are told")
    return values.astype(np.float32).reshape(bins, tracks)
