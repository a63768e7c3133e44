"""Where the bins of a variant lie, and what is asked of a model for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from basecast.effects.alleles import Edit
from basecast.effects.signal import Bins, joined
from basecast.errors import UsageError
from basecast.genome.annotation import Transcript
from basecast.genome.reference import Genome
from basecast.inference.request import Request
from basecast.inference.tiling import grain, margin
from basecast.spec import LocalReach, ModelSpec


@dataclass(frozen=True, slots=True)
class Frame:
    """The bins that a variant is compared in, around its first base (of an indel the base before it).

    Attributes:
        window: bases that the model is shown of each allele.
        before: bases from the first bin to that base, where ``step`` is 0.
        bases: of all bins together.
        step: bases to whose multiples the first bin is moved; 0: it is not.
    """

    window: int
    before: int
    bases: int
    step: int

    @classmethod
    def of(cls, spec: ModelSpec, span: int | None) -> Frame:
        """For a model whose bins see all of a window, its whole longest window, or the shortest that holds ``span``.

        For others, ``span`` bases rounded up to bins at each side of the variant's own, by default as far as the
        variant is seen.

        Raises:
            UsageError: ``span`` is more than the model's longest window gives, or must be said.
        """
        reach, step = spec.reach, grain(spec)
        if isinstance(reach, LocalReach):
            side = -(-(max(reach.left, reach.right) if span is None else span // 2) // step)
            bases = (2 * side + 1) * step
            return cls(bases + reach.left + reach.right, side * step, bases, step)
        lost = 2 * (reach.crop + margin(spec))
        if span is None and not reach.lengths:
            raise UsageError(f"{spec.name} takes windows of any length: say with --span how many bases are compared")
        length = reach.lengths[-1] if span is None else reach.length_for(span + lost - 2 * reach.crop)
        bases = length - lost
        if span is not None and bases < span:
            raise UsageError(f"a span of {span:,} is more than {spec.name} gives: {bases:,} at most (--span {bases})")
        # the variant's base is the last of the window's first half, as in Basenji's own scores
        return cls(length, bases // 2 - 1, bases, 0)

    def start(self, edit: Edit) -> int:
        """Where the first bin begins."""
        is_indel = edit.end == edit.start or not edit.inserted.size
        centre = edit.start - is_indel
        if self.step:
            centre -= centre % self.step
        return centre - self.before


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """REF and ALT of one allele in a frame, as requests to an engine.

    The bins lie on the longer of the two alleles. The shorter one is asked twice, with the bins before the edit at
    their places and with those after it, so that both are compared over the same bases on either side. Where
    ``is_flipped`` the genome has ALT, and REF is what is altered.
    """

    allele: int
    edit: Edit
    start: int
    requests: tuple[Request, ...]
    is_flipped: bool = False

    @classmethod
    def of(
        cls, genome: Genome, contig: str, allele: int, edit: Edit, frame: Frame, *, is_flipped: bool = False
    ) -> Pair:
        """The pair of an edit of the genome."""
        start = frame.start(edit)
        reference = Request(genome, contig, start, start + frame.bases)
        alternate = replace(reference, source=edit.on(genome, contig))
        if edit.growth == 0:
            return cls(allele, edit, start, (reference, replace(alternate, base=reference)), is_flipped)
        longer, shorter = (alternate, reference) if edit.growth > 0 else (reference, alternate)
        extra = abs(edit.growth)
        after = replace(shorter, start=shorter.start - extra, end=shorter.end - extra)
        return cls(allele, edit, start, (longer, shorter, after))

    def aligned(self, values: Sequence[Bins], resolution: int) -> tuple[Bins, Bins]:
        """REF and ALT on the same bins, of what the requests gave."""
        if self.edit.growth == 0:
            ref, alt = values
        else:
            longer, left, right = values
            first = self._first_extra - self.start
            shorter = joined(left, right, first, first + abs(self.edit.growth), resolution)
            ref, alt = (shorter, longer) if self.edit.growth > 0 else (longer, shorter)
        return (alt, ref) if self.is_flipped else (ref, alt)

    @property
    def _first_extra(self) -> int:
        """Where the bases begin that only the longer allele has."""
        return self.edit.start + min(self.edit.end - self.edit.start, self.edit.inserted.size)

    def places(self, position: int) -> int:
        """A base of the reference as counted from the first bin's beginning."""
        moved = max(self.edit.growth, 0) if position >= self.edit.end else 0
        return position + moved - self.start


def bins_of(pair: Pair, stretches: Sequence[tuple[int, int]], n_bins: int, resolution: int) -> np.ndarray:
    """The bins that share a base with stretches [start, end) of the reference, ascending; those in the frame."""
    found = np.zeros(n_bins, bool)
    for start, end in stretches:
        first, last = pair.places(start) // resolution, pair.places(end - 1) // resolution
        if last >= 0:
            found[max(first, 0) : last + 1] = True
    return np.flatnonzero(found)


def first_base(transcript: Transcript) -> tuple[int, int]:
    """Where it begins to be read, as a stretch of one base."""
    at = transcript.start if transcript.strand == "+" else transcript.end - 1
    return at, at + 1
