"""Which positions of every tensor a window needs, and which of them a change alters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from basecast.genome.sequence import Tokens
from basecast.inference.program import Program

Positions = Int[np.ndarray, " windows"]
Span = tuple[Positions, Positions]


@dataclass(frozen=True, slots=True)
class Change:
    """Windows of REF and ALT that differ in [start, start + lost) of REF's, [start, start + gained) of ALT's."""

    start: int
    lost: int
    gained: int
    length: int
    """Bases of ALT's window."""

    @property
    def is_inside(self) -> bool:
        """Whether a base of ALT's window sees the change."""
        return self.start + self.gained > 0 and self.start < self.length


def change_between(ref: Tokens, alt: Tokens) -> Change:
    """The smallest change from one window to the other, as far right as it goes."""
    shorter = min(ref.size, alt.size)
    start = _alike(ref[:shorter], alt[:shorter])
    end = _alike(ref[::-1][: shorter - start], alt[::-1][: shorter - start])
    return Change(start, ref.size - start - end, alt.size - start - end, alt.size)


def _alike(a: Tokens, b: Tokens) -> int:
    """Bases that both begin with."""
    differs = a != b
    return int(differs.argmax()) if differs.any() else a.size


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows that are run together: whole ones, or ones that differ from stretches of reference.

    Attributes:
        lengths: bases of each.
        tokens: the bases that differ, all of a whole one.
        starts: where these begin in each.
        stretches: which stretch each differs from.
        offsets, growths: where each window begins in it, and by how much it is longer than what it replaces.
    """

    lengths: Positions
    tokens: Sequence[Tokens]
    starts: Positions
    stretches: Positions
    offsets: Positions
    growths: Positions

    @classmethod
    def whole(cls, tokens: Sequence[Tokens]) -> Windows:
        """Windows that share nothing."""
        zeros = np.zeros(len(tokens), np.int64)
        return cls(np.array([x.size for x in tokens], np.int64), tokens, zeros, zeros, zeros, zeros)

    @classmethod
    def altered(
        cls, alts: Sequence[Tokens], changes: Sequence[Change], stretches: Sequence[int], offsets: Sequence[int]
    ) -> Windows:
        """Windows ``alts`` that differ by ``changes`` from those that begin at ``offsets`` of some ``stretches``."""
        return cls(
            np.array([x.length for x in changes], np.int64),
            [alt[x.start : x.start + x.gained] for alt, x in zip(alts, changes, strict=True)],
            np.array([x.start for x in changes], np.int64),
            np.array(stretches, np.int64),
            np.array(offsets, np.int64),
            np.array([x.gained - x.lost for x in changes], np.int64),
        )


def needed(program: Program, lengths: Positions, *, is_padded: bool = False, margin: int = 0) -> list[Span]:
    """[first, last) of every tensor, in positions of each window, that its outputs need; all of padded layers.

    ``margin`` is how many positions more are wanted at each end, where the window has bases for them: an altered window
    that is longer by so much has outputs beyond the reference's.
    """
    zeros = np.zeros_like(lengths)
    if is_padded:
        return [(zeros, lengths)] * (len(program.steps) + 1)
    spans: list[Any] = [None] * (len(program.steps) + 1)
    spans[-1] = (zeros + program.reach, lengths - program.reach)
    for number in range(len(program.steps), 0, -1):
        step, span = program.steps[number - 1], spans[number]
        for tensor, more in ((step.source, step.reach), (step.residual, 0)):
            if tensor is not None:
                spans[tensor] = _hull(spans[tensor], (span[0] - more, span[1] + more))
    return [
        (np.maximum(first - margin, lost), np.minimum(last + margin, lengths - lost))
        for (first, last), lost in zip(spans, program.least_lost, strict=True)
    ]


def altered(program: Program, windows: Windows) -> list[Span]:
    """[first, last) of every tensor, in positions of each window, that the differing bases alter."""
    ends = windows.starts + np.array([x.size for x in windows.tokens], np.int64)
    spans: list[Any] = [(windows.starts, ends)]
    for step in program.steps:
        first, last = spans[step.source]
        span = (first - step.reach, last + step.reach)
        spans.append(span if step.residual is None else _hull(span, spans[step.residual]))
    return spans


def computed(program: Program, windows: Windows, *, is_padded: bool = False, margin: int = 0) -> list[Span]:
    """[first, last) of every tensor that has to be computed: what is altered and needed. Below it the reference's
    values stand, from its end on they do, shifted."""
    spans = []
    wanted = needed(program, windows.lengths, is_padded=is_padded, margin=margin)
    for (low, high), (first, last) in zip(wanted, altered(program, windows), strict=True):
        begin = np.clip(first, low, high)
        spans.append((begin, np.maximum(np.clip(last, low, high), begin)))
    return spans


def _hull(a: Span | None, b: Span) -> Span:
    return b if a is None else (np.minimum(a[0], b[0]), np.maximum(a[1], b[1]))
