"""What is asked of an engine, and in which orientation it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from basecast.errors import UsageError
from basecast.genome.source import Source
from basecast.spec import Output


@runtime_checkable
class TrackSource(Protocol):
    """Where an input track comes from."""

    def values(self, contig: str, start: int, end: int) -> Float[np.ndarray, "channels bins"]:
        """Bins of [start, end); NaN where there is no value."""


@dataclass(frozen=True, eq=False)
class Request:
    """Outputs at [start, end) of a contig, read on ``strand``."""

    source: Source
    contig: str
    start: int
    end: int
    strand: str = "+"
    conditions: Mapping[str, str] = field(default_factory=dict)
    tracks: Mapping[str, TrackSource] = field(default_factory=dict)
    base: Request | None = None
    """The request on the unaltered source, where this one's source is altered; asked together they share work."""


def flip(values: Float[np.ndarray, ...], output: Output, chosen: Sequence[int] | None = None) -> Float[np.ndarray, ...]:
    """Values of the reverse-complemented window as those of the window; done twice it changes nothing.

    Raises:
        UsageError: the tracks chosen are not closed under the permutation.
    """
    rule = output.reverse_complement
    if rule.permutation:
        kept = list(chosen) if chosen is not None else list(range(len(output.tracks)))
        if not {rule.permutation[i] for i in kept} <= set(kept):
            raise UsageError(
                f"tracks {kept} of {output.name} swap with others on the minus strand: choose both strands"
            )
        values = values[..., [kept.index(rule.permutation[i]) for i in kept]]
    for axis in range(values.ndim - 1):
        values = np.flip(values, axis)
        if rule.shift:
            values = np.roll(values, rule.shift, axis)
    return values
