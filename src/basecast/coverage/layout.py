"""A genome's contigs one after the other on one line, cut into parts that are worked on by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_PART = 64_000_000  # bases; a longer contig is a part by itself


class Layout:
    """Where each contig lies on the line.

    Args:
        lengths: bases of each contig.

    Attributes:
        names: of the contigs.
        bounds: where each contig begins and the last ends, shape (contigs + 1,).
        parts: contigs of each part, by their numbers.
    """

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.lengths = dict(lengths)
        self.names = tuple(lengths)
        self.bounds = np.cumsum([0, *lengths.values()], dtype=np.int64)
        self.parts = [range(first, last) for first, last in pairwise(_cuts(list(lengths.values())))]

    def start(self, part: int) -> int:
        return int(self.bounds[self.parts[part].start])

    def end(self, part: int) -> int:
        return int(self.bounds[self.parts[part].stop])

    def part_of(self, contigs: Ints) -> Ints:
        """The part of each contig number."""
        return np.searchsorted([part.start for part in self.parts], contigs, "right") - 1

    def within(self, places: Ints, contigs: Ints) -> Ints:
        """Places of the line moved into their contigs where they lie beyond."""
        return np.clip(places, self.bounds[contigs], self.bounds[contigs + 1] - 1)

    def contig_of(self, places: Ints) -> Ints:
        """The number of the contig of each place."""
        return np.searchsorted(self.bounds, places, "right") - 1

    def stretches(self, part: int, longest: int) -> Iterator[tuple[int, int, int]]:
        """The part's contigs, cut where they are longer: contig number, first base in it and end."""
        for contig in self.parts[part]:
            length = int(self.bounds[contig + 1] - self.bounds[contig])
            for start in range(0, length, longest):
                yield contig, start, min(start + longest, length)


def _cuts(lengths: list[int]) -> list[int]:
    cuts, size = [0], 0
    for contig, length in enumerate(lengths):
        if size and size + length > _PART:
            cuts.append(contig)
            size = 0
        size += length
    return [*cuts, len(lengths)]
