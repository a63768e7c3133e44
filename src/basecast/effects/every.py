"""Every small allele of a stretch of a genome, as a VCF would write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, decode
from basecast.genome.variants import VariantRecord

LONGEST = 4
"""Bases of the longest deletion."""

_LETTERS = "ACGT"
_OTHERS = {base: [(base, alt) for alt in _LETTERS if alt != base] for base in _LETTERS}
_CHUNK = 1 << 16


def every_allele(genome: Genome, stretches: Iterable[Interval], indels: bool) -> Iterator[VariantRecord]:
    """The alleles of all bases, one a record, by contig, POS, REF and ALT; numbered from 1.

    A base has its three substitutions; with ``indels`` also the insertions of one base before it and the deletions of
    1 to 4 bases that begin with it. These have POS at the base before, or at the base itself where the contig begins.
    No allele is made at an N, nor one whose REF would have an N.

    Args:
        stretches: by contig and start; they neither overlap nor touch.
    """
    number = 0
    for stretch in stretches:
        for start, ref, alt in _alleles(genome, stretch, indels):
            number += 1
            yield VariantRecord(number, stretch.contig, start, ref, (alt,), b"")


def unknown_bases(genome: Genome, stretches: Iterable[Interval]) -> int:
    """How many bases of the stretches are N."""
    return sum(
        int((genome.tokens(contig, low, min(low + _CHUNK, end)) == N).sum())
        for contig, start, end in stretches
        for low in range(start, end, _CHUNK)
    )


def _alleles(genome: Genome, stretch: Interval, indels: bool) -> Iterator[tuple[int, str, str]]:
    contig, start, end = stretch
    for low in range(max(start - indels, 0), end, _CHUNK):
        high = min(low + _CHUNK, end)
        text = decode(genome.tokens(contig, low, high + LONGEST))  # N past the end of the contig
        for at in range(high - low):
            base, position = text[at], low + at
            if base == "N":
                continue
            if not indels:
                found: Iterable[tuple[str, str]] = _OTHERS[base]
            else:
                both = set(_OTHERS[base] if position >= start else ())
                if position + 1 < end:
                    both |= _after(text[at : at + LONGEST + 1])
                if position == start == 0:
                    both |= _at_first(text[: LONGEST + 1])
                found = sorted(both)
            for ref, alt in found:
                yield position, ref, alt


def _after(bases: str) -> set[tuple[str, str]]:
    """Indels at the second of these bases, anchored at the first."""
    known = bases.partition("N")[0]
    if len(known) < 2:
        return set()
    return {(known[0], known[0] + base) for base in _LETTERS} | {
        (known[: n + 1], known[0]) for n in range(1, len(known))
    }


def _at_first(bases: str) -> set[tuple[str, str]]:
    """Indels at the first base of a contig, anchored at the base after (VCF 4.3, 1.6.1.4)."""
    known = bases.partition("N")[0]
    return {(known[0], base + known[0]) for base in _LETTERS} | {
        (known[: n + 1], known[n]) for n in range(1, len(known))
    }
