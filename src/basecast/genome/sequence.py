"""DNA as tokens: A, C, G, T, N = 0..4 in ``uint8``. Every IUPAC ambiguity is N; case is ignored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint8]

N = 4
_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_NO_LETTER = 255
_TOKEN_OF = bytearray([_NO_LETTER]) * 256
for _letters, _token in ((b"A", 0), (b"C", 1), (b"G", 2), (b"TU", 3), (b"RYSWKMBDHVN", N)):
    for _letter in _letters:
        _TOKEN_OF[_letter] = _TOKEN_OF[_letter | 0x20] = _token
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)


class LetterError(ValueError):
    """``letter``, at ``offset`` of a sequence, is no IUPAC nucleotide."""

    def __init__(self, letter: str, offset: int) -> None:
        super().__init__(letter, offset)
        self.letter = letter
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.letter!r} at offset {self.offset} is not an IUPAC nucleotide"


def encode(sequence: str | bytes) -> Tokens:
    """Tokens of a sequence's letters, shape (length,).

    Raises:
        LetterError: a character is no IUPAC nucleotide; the message names it and its offset.
    """
    letters = bytearray(sequence.encode() if isinstance(sequence, str) else sequence)
    tokens = letters.translate(_TOKEN_OF)  # three times as fast as indexing a table, and the array is writable
    offset = tokens.find(_NO_LETTER)
    if offset >= 0:
        raise LetterError(sequence[offset] if isinstance(sequence, str) else chr(sequence[offset]), offset)
    return np.frombuffer(tokens, dtype=np.uint8)


def decode(tokens: Tokens) -> str:
    """Letters of tokens, upper case."""
    return _LETTERS[tokens].tobytes().decode()


def reverse_complement(tokens: Tokens) -> Tokens:
    """The other strand, read 5' to 3'; N stays N."""
    return _COMPLEMENT[tokens[::-1]]


def unknown(length: int) -> Tokens:
    """``length`` bases of N."""
    return np.full(length, N, dtype=np.uint8)


def padded(read: Callable[[int, int], Tokens], size: int, start: int, end: int) -> Tokens:
    """``read(start, end)`` of something that has bases at 0..``size`` only, with N outside, shape (end - start,)."""
    if end < start:
        raise ValueError(f"a window cannot end before it starts, got {start}..{end}")
    inside, outside = max(start, 0), min(end, size)
    if inside == start < end == outside:
        return read(start, end)
    tokens = unknown(end - start)
    if inside < outside:
        tokens[inside - start : outside - start] = read(inside, outside)
    return tokens
