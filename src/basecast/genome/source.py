"""Where bases come from: a genome, a stretch of it, an altered one, a literal sequence, all asked in one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from basecast.genome.sequence import Tokens, encode, padded


@runtime_checkable
class Source(Protocol):
    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        """Bases [start, end) of a contig, shape (end - start,); N where there are none. ``start`` may be negative."""
        ...


@dataclass(frozen=True, slots=True)
class Masked:
    """``source`` within [start, end) of ``contig``; N outside it and on other contigs."""

    source: Source
    contig: str
    start: int
    end: int

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        size = max(self.end - self.start, 0) if contig == self.contig else 0

        def read(first: int, last: int) -> Tokens:
            return self.source.tokens(contig, first + self.start, last + self.start)

        return padded(read, size, start - self.start, end - self.start)


@dataclass(frozen=True, slots=True)
class Shifted:
    """``source`` with every base ``shift`` to the right of where it lies."""

    source: Source
    shift: int

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        return self.source.tokens(contig, start - self.shift, end - self.shift)


@dataclass(frozen=True, slots=True, eq=False)
class Haplotype:
    """``source`` with ``replacement`` in place of [start, end) of ``contig``.

    Positions are the haplotype's: those before ``start`` are the source's, those after the replacement are shifted by
    ``len(replacement) - (end - start)``. To mask and edit, mask first: ``Haplotype(Masked(...), ...)``.

    Raises:
        ValueError: ``end`` is before ``start``.
    """

    source: Source
    contig: str
    start: int
    end: int
    replacement: Tokens

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a replaced stretch cannot end before it starts, got {self.start}..{self.end}")

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        if contig != self.contig or end <= self.start:
            return self.source.tokens(contig, start, end)
        altered_end = self.start + self.replacement.size
        shift = self.end - altered_end
        if start >= altered_end:
            return self.source.tokens(contig, start + shift, end + shift)
        parts = [self.replacement[max(start - self.start, 0) : max(end - self.start, 0)]]
        if start < self.start:
            parts.insert(0, self.source.tokens(contig, start, self.start))
        if end > altered_end:
            parts.append(self.source.tokens(contig, self.end, end + shift))
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A literal sequence, letters or tokens, whose first base is at ``start`` of ``contig``; N outside it.

    Raises:
        LetterError: a letter is no IUPAC nucleotide.
    """

    sequence: Tokens | str
    contig: str = "sequence"
    start: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.sequence, str):
            object.__setattr__(self, "sequence", encode(self.sequence))

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        bases: Tokens = self.sequence  # type: ignore[assignment]  # __post_init__ made it tokens
        size = bases.size if contig == self.contig else 0
        return padded(lambda first, last: bases[first:last].copy(), size, start - self.start, end - self.start)
