"""What an allele changes: the smallest edit, its equivalent placements, and which bases of REF and ALT correspond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from basecast.genome.sequence import N, Tokens, encode
from basecast.genome.source import Haplotype, Source

_LOOK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """[start, end) of the contig becomes ``inserted``; one of the two lengths may be nil, not both alike in an end."""

    start: int
    end: int
    inserted: Tokens

    @property
    def growth(self) -> int:
        """Bases by which ALT is longer than REF."""
        return self.inserted.size - (self.end - self.start)

    def seen_within(self, start: int, end: int) -> Edit:
        """The edit where only [start, end) is seen: N for bases that stand outside or beside it."""
        last = max(min(self.end - self.start, self.inserted.size) - 1, 0)
        lowest = start if self.end > self.start else start + 1
        if lowest <= self.start and self.start + last < end:
            return self
        stands = self.start + np.minimum(np.arange(self.inserted.size), last)
        hidden = (stands < lowest) | (stands >= end)
        return Edit(self.start, self.end, np.where(hidden, N, self.inserted).astype(np.uint8))

    def on(self, source: Source, contig: str) -> Haplotype:
        """The source with this edit made."""
        return Haplotype(source, contig, self.start, self.end, self.inserted)


def smallest_edit(start: int, ref: str, alt: str) -> Edit:
    """REF to ALT without the bases that both end with and, after that, both start with; case does not count."""
    ref, alt = ref.upper(), alt.upper()
    common = _common_prefix(ref[::-1], alt[::-1])
    ref, alt = ref[: len(ref) - common], alt[: len(alt) - common]
    common = _common_prefix(ref, alt)
    return Edit(start + common, start + len(ref), encode(alt[common:]))


def _common_prefix(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@dataclass(frozen=True, slots=True, eq=False)
class Placements:
    """An edit that may slide: the same ALT sequence comes of it ``left`` bases earlier to ``right`` bases later."""

    edit: Edit
    left: int
    right: int

    @property
    def span(self) -> tuple[int, int]:
        """From the base before the first placement to the end of the last: what VCF's REF covers in any of them."""
        if self.edit.end > self.edit.start and self.edit.inserted.size:
            return self.edit.start, self.edit.end
        return self.edit.start - self.left - 1, self.edit.end + self.right

    def leftmost_within(self, source: Source, contig: str, start: int, end: int) -> Edit:
        """The leftmost placement that changes only bases within [start, end); if there is none, the leftmost."""
        edit = self.edit
        lowest = start if edit.end > edit.start else start + 1
        first = max(edit.start - self.left, lowest)
        if first > edit.start + self.right or first + (edit.end - edit.start) > end:
            first = edit.start - self.left
        return self._moved(source, contig, first - edit.start)

    def include(self, source: Source, contig: str, edit: Edit) -> bool:
        """Whether this edit is one of them: the same ALT sequence comes of it."""
        by = edit.start - self.edit.start
        if not -self.left <= by <= self.right or edit.end - edit.start != self.edit.end - self.edit.start:
            return False
        return np.array_equal(self._moved(source, contig, by).inserted, edit.inserted)

    def _moved(self, source: Source, contig: str, by: int) -> Edit:
        edit = self.edit
        if by == 0 or edit.end > edit.start:
            return Edit(edit.start + by, edit.end + by, edit.inserted)
        if by < 0:
            passed = np.concatenate([source.tokens(contig, edit.start + by, edit.start), edit.inserted])
            return Edit(edit.start + by, edit.end + by, passed[: edit.inserted.size])
        passed = np.concatenate([edit.inserted, source.tokens(contig, edit.start, edit.start + by)])
        return Edit(edit.start + by, edit.end + by, passed[-edit.inserted.size :])


def placements(source: Source, contig: str, edit: Edit) -> Placements:
    """How far an insertion or a deletion slides along the contig; substitutions and delins stay where they are."""
    length = edit.end - edit.start
    if (length > 0) == (edit.inserted.size > 0):
        return Placements(edit, 0, 0)
    look = _LOOK
    while True:
        before = source.tokens(contig, edit.start - look, edit.start)
        after = source.tokens(contig, edit.end, edit.end + look)
        middle = edit.inserted if length == 0 else source.tokens(contig, edit.start, edit.end)
        longer = np.concatenate([before, middle, after])
        alike = (longer[: -middle.size] == longer[middle.size :]) & (longer[: -middle.size] != N)
        left, right = _run_of_true(alike[:look][::-1]), _run_of_true(alike[look:])
        if max(left, right) < look:
            return Placements(edit, left, right)
        look *= 4


def _run_of_true(flags: np.ndarray) -> int:
    return int(flags.argmin()) if flags.size and not flags.all() else flags.size


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """REF and ALT values position by position over the reference stretch [start, end), then over inserted bases.

    ``position`` is the reference base a row stands at (for an inserted base, the one before it) and ``offset`` counts
    inserted bases from 1 (0 = a reference base). Rows have REF 0 where ALT has more bases, ALT 0 where it has fewer.
    """

    position: Int[np.ndarray, " rows"]
    offset: Int[np.ndarray, " rows"]
    ref: Float[np.ndarray, "rows tracks"]
    alt: Float[np.ndarray, "rows tracks"]


def align(
    edit: Edit,
    start: int,
    ref: Float[np.ndarray, "ref_bases tracks"],
    alt: Float[np.ndarray, "alt_bases tracks"],
) -> Aligned:
    """Pair REF values over [start, start + len(ref)) with ALT values over the same stretch of the altered contig.

    Substituted bases pair in order; of unequal delins the surplus is deleted or inserted after them.
    """
    positions = np.arange(start, start + len(ref))
    if edit.growth == 0:
        return Aligned(positions, np.zeros_like(positions), ref, alt)
    before = edit.start - start
    paired = before + min(edit.end - edit.start, edit.inserted.size)
    n_deleted, n_inserted = max(-edit.growth, 0), max(edit.growth, 0)
    kept = np.concatenate([alt[:paired], np.zeros((n_deleted, alt.shape[1]), alt.dtype), alt[paired + n_inserted :]])
    return Aligned(
        np.concatenate([positions, np.full(n_inserted, start + paired - 1)]),
        np.concatenate([np.zeros(len(ref), int), np.arange(1, n_inserted + 1)]),
        np.concatenate([ref, np.zeros((n_inserted, ref.shape[1]), ref.dtype)]),
        np.concatenate([kept, alt[paired : paired + n_inserted]]),
    )


def distance_to(edit: Edit, aligned: Aligned) -> Int[np.ndarray, " rows"]:
    """Bases from each row to the edit: 0 within it, 1 for the bases beside it; an inserted one counts as its anchor."""
    return np.maximum(np.maximum(edit.start - aligned.position, aligned.position - edit.end + 1), 0)
