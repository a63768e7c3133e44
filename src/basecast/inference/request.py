"""What is asked of an engine, and in which orientation it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from basecast.errors import UsageError
from basecast.genome.sequence import Tokens
from basecast.genome.source import Source
from basecast.inference.tiling import Tile
from basecast.spec import ModelSpec, Output


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


@dataclass(frozen=True, eq=False)
class Window:
    """What a network is shown, in the orientation of the request's strand; ``key`` is equal where all of it is."""

    request: Request
    tile: Tile
    tokens: Tokens
    inputs: Mapping[str, Float[np.ndarray, "channels bins"]]
    key: bytes


def asked(
    spec: ModelSpec, outputs: Sequence[str] | None, tracks: Mapping[str, Sequence[int]] | None
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """The outputs asked for, all where None, and the tracks chosen of some.

    Raises:
        UsageError: an output or a track is not the model's.
    """
    known = {output.name: len(output.tracks) for output in spec.outputs}
    names = tuple(outputs) if outputs is not None else tuple(known)
    chosen = {name: list(indices) for name, indices in (tracks or {}).items()}
    for name in (*names, *chosen):
        if name not in known:
            raise UsageError(f"{spec.name} has no output {name!r}, only {list(known)}")
        if not set(chosen.get(name, [])) <= set(range(known[name])):
            raise UsageError(f"{name} of {spec.name} has tracks 0 to {known[name] - 1}, not {chosen[name]}")
    return names, chosen


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
