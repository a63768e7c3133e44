"""One answer from several views of a sequence: both strands, and windows moved by some bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from basecast.genome.source import Shifted
from basecast.inference.engine import Engine
from basecast.inference.ensemble import Values
from basecast.inference.request import Request, asked
from basecast.spec.model import Frozen


class Views(Frozen):
    """From where a sequence is looked at; values are the mean over all views."""

    reverse_complement: bool = Field(False, description="from the other strand as well")
    shifts: tuple[int, ...] = Field((0,), min_length=1, description="bases by which the sequence is moved")

    @property
    def count(self) -> int:
        """How often a sequence is looked at."""
        return len(self.shifts) * (1 + self.reverse_complement)

    @property
    def is_plain(self) -> bool:
        """Whether a sequence is looked at as it is, and no more."""
        return not self.reverse_complement and self.shifts == (0,)

    def of(self, request: Request) -> list[Request]:
        """A request for each view; all name the same stretch, and so give the same bins."""
        strands = [request.strand, "-" if request.strand == "+" else "+"][: 1 + self.reverse_complement]
        return [self._view(request, strand, shift) for shift in self.shifts for strand in strands]

    def _view(self, request: Request, strand: str, shift: int) -> Request:
        base = None if request.base is None else self._view(request.base, strand, shift)
        source = Shifted(request.source, shift) if shift else request.source
        return replace(request, source=source, strand=strand, base=base)


def evaluate(
    engine: Engine,
    requests: Sequence[Request],
    views: Views,
    outputs: Sequence[str] | None = None,
    tracks: Mapping[str, Sequence[int]] | None = None,
) -> list[Values]:
    """As `Engine.evaluate`, the mean over ``views`` of each request, taken in float64.

    Of tracks that swap on the minus strand the other one is computed too, and not given unless it was chosen.
    """
    if views.is_plain:
        return engine.evaluate(requests, outputs, tracks)
    names, chosen = asked(engine.spec, outputs, tracks)
    closed = {name: _with_partners(engine, name, indices) for name, indices in chosen.items()}
    seen = [views.of(request) for request in requests]
    values = iter(engine.evaluate([view for found in seen for view in found], names, closed))
    kept = {name: [closed[name].index(i) for i in indices] for name, indices in chosen.items()}
    return [_mean([next(values) for _ in found], kept) for found in seen]


def _with_partners(engine: Engine, name: str, indices: Sequence[int]) -> list[int]:
    """The tracks, and those that take their places on the other strand."""
    swapped = engine.spec.output(name).reverse_complement.permutation
    return list(dict.fromkeys([*indices, *(swapped[i] for i in indices if swapped)]))


def _mean(each: Sequence[Values], kept: Mapping[str, Sequence[int]]) -> Values:
    found = {}
    for name in each[0]:
        together = np.stack([values[name] for values in each])
        mean = together.mean(axis=0, dtype=np.float64).astype(together.dtype)
        found[name] = mean[..., kept[name]] if name in kept else mean
    return found
