"""UCSC's 2bit genomes, read through a memory map (format: genome.ucsc.edu/FAQ/FAQformat.html#format7)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.genome.sequence import N, Tokens

_SIGNATURE = 0x1A412743
SIGNATURES = {_SIGNATURE.to_bytes(4, "little"): "<", _SIGNATURE.to_bytes(4, "big"): ">"}

# The tokens of the four bases in a byte, first base in the highest bits; 2bit counts T, C, A, G.
_FOUR_TOKENS = (
    np.array([3, 1, 0, 2], dtype=np.uint8)[np.arange(256)[:, None] >> np.array([6, 4, 2, 0]) & 3]
    .view(np.uint32)
    .ravel()
)


class _Contig(NamedTuple):
    length: int
    packed: int  # where its bases start in the file
    n_starts: NDArray[np.int64]
    n_ends: NDArray[np.int64]


class TwoBit:
    """A 2bit file: version 0 or 1 (64-bit offsets), either byte order. Soft masking is ignored.

    Attributes:
        lengths: bases of each contig, in the file's order.

    Raises:
        InputError: the file is no 2bit, is truncated, or has two contigs of one name.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._bytes = np.asarray(np.memmap(self.path, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as 2bit: {error}") from error
        try:
            self._contigs = self._read_contigs()
        except (IndexError, ValueError) as error:
            raise InputError(f"{path} is truncated or damaged ({error}): fetch it again") from error
        self.lengths = {name: contig.length for name, contig in self._contigs.items()}

    def __reduce__(self) -> tuple[type[TwoBit], tuple[Path]]:
        return TwoBit, (self.path,)

    def _integers(self, at: int, count: int, size: int = 4) -> NDArray[np.int64]:
        found = self._bytes[at : at + count * size]
        if found.size < count * size:
            raise IndexError(f"it ends at byte {self._bytes.size:,}, byte {at + count * size:,} is wanted")
        return found.view(f"{self._order}u{size}").astype(np.int64)

    def _read_contigs(self) -> dict[str, _Contig]:
        order = SIGNATURES.get(self._bytes[:4].tobytes())
        if order is None:
            raise InputError(f"{self.path} is not a 2bit file: it does not start with 2bit's signature")
        self._order = order
        version, count = map(int, self._integers(4, 2))
        if version > 1:
            raise InputError(f"{self.path} is 2bit version {version}: basecast reads versions 0 and 1")
        if not count:
            raise InputError(f"{self.path} holds no contig")
        offset_size = 8 if version else 4
        contigs: dict[str, _Contig] = {}
        at = 16
        for _ in range(count):
            name_end = at + 1 + int(self._bytes[at])
            name = self._bytes[at + 1 : name_end].tobytes().decode()
            if name in contigs:
                raise InputError(f"{self.path} has two contigs named {name!r}: contig names must differ")
            contigs[name] = self._read_contig(int(self._integers(name_end, 1, offset_size)[0]))
            at = name_end + offset_size
        return contigs

    def _read_contig(self, at: int) -> _Contig:
        length, n_count = map(int, self._integers(at, 2))
        n_starts, n_sizes = self._integers(at + 8, 2 * n_count).reshape(2, -1)
        at += 8 + 8 * n_count
        mask_count = int(self._integers(at, 1)[0])
        packed = at + 8 + 8 * mask_count
        end = packed + (length + 3) // 4
        if end > self._bytes.size:
            raise IndexError(f"it ends at byte {self._bytes.size:,}, byte {end:,} is wanted")
        return _Contig(length, packed, n_starts, n_starts + n_sizes)

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        """Bases [start, end) of a contig, both within it, shape (end - start,)."""
        _, packed, n_starts, n_ends = self._contigs[contig]
        fours = self._bytes[packed + start // 4 : packed + (end + 3) // 4]
        tokens = _FOUR_TOKENS.take(fours).view(np.uint8)[start % 4 :][: end - start]
        first, last = np.searchsorted(n_ends, start, "right"), np.searchsorted(n_starts, end, "left")
        for n_start, n_end in zip(n_starts[first:last].tolist(), n_ends[first:last].tolist(), strict=True):
            tokens[max(n_start - start, 0) : n_end - start] = N
        return tokens
