"""One answer from several views of a sequence: both strands, and windows moved by some bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from basecast.genome.source import Shifted
from basecast.inference.engine import Engine
from basecast.inference.ensemble import Values
from basecast.inference.request import Request
from basecast.spec.model import Frozen


class Views(Frozen):
    """From where a sequence is looked at; values are the mean over all views."""

    reverse_complement: bool = Field(False, description="from the other strand as well")
    shifts: tuple[int, ...] = Field((0,), min_length=1, description="bases by which the sequence is moved")

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
    """As `Engine.evaluate`, the mean over ``views`` of each request.

    Tracks that swap on the other strand are chosen with their pairs where both strands are looked at.
    """
    seen = [views.of(request) for request in requests]
    values = iter(engine.evaluate([view for found in seen for view in found], outputs, tracks))
    return [_mean([next(values) for _ in found]) for found in seen]


def _mean(each: Sequence[Values]) -> Values:
    if len(each) == 1:
        return each[0]
    together = {name: np.stack([values[name] for values in each]) for name in each[0]}
    return {name: x.mean(axis=0, dtype=np.float64).astype(x.dtype) for name, x in together.items()}
