"""DNA as tokens: A, C, G, T, N = 0..4 in ``uint8``. Every IUPAC ambiguity is N; case is ignored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint8]

N = 4
_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_TOKEN_OF = np.full(256, 255, dtype=np.uint8)
for _letter in b"RYSWKMBDHVN":
    _TOKEN_OF[_letter] = _TOKEN_OF[_letter | 0x20] = N
for _token, _letter in enumerate(b"ACGT"):
    _TOKEN_OF[_letter] = _TOKEN_OF[_letter | 0x20] = _token
_TOKEN_OF[ord("U")] = _TOKEN_OF[ord("u")] = 3
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)


def encode(sequence: str | bytes) -> Tokens:
    """Tokens of a sequence's letters, shape (length,).

    Raises:
        ValueError: a character is no IUPAC nucleotide; the message names it and its offset.
    """
    letters = np.frombuffer(sequence.encode() if isinstance(sequence, str) else sequence, dtype=np.uint8)
    tokens = _TOKEN_OF[letters]
    if tokens.size and tokens.max() == 255:
        offset = int((tokens == 255).argmax())
        raise ValueError(f"{chr(letters[offset])!r} at offset {offset} is not an IUPAC nucleotide")
    return tokens


def decode(tokens: Tokens) -> str:
    """Letters of tokens, upper case."""
    return _LETTERS[tokens].tobytes().decode()


def reverse_complement(tokens: Tokens) -> Tokens:
    """The other strand, read 5' to 3'; N stays N."""
    return _COMPLEMENT[tokens[::-1]]


def unknown(length: int) -> Tokens:
    """``length`` bases of N."""
    return np.full(length, N, dtype=np.uint8)
