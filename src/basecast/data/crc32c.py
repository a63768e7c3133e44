"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes, in arrays: lanes of 64 bytes side by side, joined in pairs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_LANE = 64
_ONES = 0xFFFFFFFF

Register = NDArray[np.uint32]


def _byte_table() -> Register:
    table: Register = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1 ^ (table & 1) * np.uint32(_POLYNOMIAL)).astype(np.uint32)
    return table


_TABLE = _byte_table()


@lru_cache(maxsize=64)
def _zeros(shift: int) -> Register:
    """What ``2**shift`` zero bytes make of a register, as it is linear: for each of its four bytes a table of 256."""
    basis = np.uint32(1) << np.arange(32, dtype=np.uint32)
    after = _TABLE[basis & 255] ^ basis >> 8 if shift == 0 else _after(_after(basis, shift - 1), shift - 1)
    tables = np.zeros((4, 256), dtype=np.uint32)
    for bit in range(32):
        has_bit = np.arange(256) >> (bit % 8) & 1
        tables[bit // 8] ^= np.where(has_bit, after[bit], np.uint32(0)).astype(np.uint32)
    return tables


def _after(registers: Register, shift: int) -> Register:
    """Registers after ``2**shift`` zero bytes."""
    tables = _zeros(shift)
    return (
        tables[0][registers & 255]
        ^ tables[1][registers >> 8 & 255]
        ^ tables[2][registers >> 16 & 255]
        ^ tables[3][registers >> 24]
    )


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of some bytes."""
    n_lanes = 1 << max(-(-len(data) // _LANE) - 1, 0).bit_length()
    padded = np.zeros(n_lanes * _LANE, dtype=np.uint8)  # zeros before the data leave an empty register empty
    padded[len(padded) - len(data) :] = np.frombuffer(data, dtype=np.uint8)
    lanes = padded.reshape(n_lanes, _LANE)
    registers = np.zeros(n_lanes, dtype=np.uint32)
    for at in range(_LANE):
        registers = _TABLE[(registers ^ lanes[:, at]) & 255] ^ registers >> 8
    shift = _LANE.bit_length() - 1
    while len(registers) > 1:
        registers = _after(registers[::2], shift) ^ registers[1::2]
        shift += 1
    start = np.array([_ONES], dtype=np.uint32)
    for bit in range(len(data).bit_length()):
        if len(data) >> bit & 1:
            start = _after(start, bit)
    return int(registers[0] ^ start[0]) ^ _ONES
