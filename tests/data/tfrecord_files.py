"""TFRecord files, written byte by byte as TensorFlow has them, without any of the code under test."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def crc32c(data: bytes) -> int:
    """Bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def bytes_feature(value: bytes) -> bytes:
    return field(1, field(1, value))


def packed_floats(values: NDArray[np.float32]) -> bytes:
    return field(2, field(1, values.astype("<f4").tobytes()))


def single_floats(values: NDArray[np.float32]) -> bytes:
    return field(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", value) for value in values.ravel()))


def example(features: Mapping[str, bytes]) -> bytes:
    entries = (field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return field(1, b"".join(entries))


def framed(payloads: Sequence[bytes]) -> bytes:
    sizes = [struct.pack("<Q", len(payload)) for payload in payloads]
    return b"".join(size + masked(size) + p + masked(p) for size, p in zip(sizes, payloads, strict=True))


def write_tfrecords(path: Path, payloads: Sequence[bytes]) -> Path:
    path.write_bytes(zlib.compress(framed(payloads)))
    return path


def one_hot(tokens: NDArray[np.uint8]) -> bytes:
    return np.concatenate([np.eye(4, dtype=np.uint8), np.zeros((1, 4), dtype=np.uint8)])[tokens].tobytes()
