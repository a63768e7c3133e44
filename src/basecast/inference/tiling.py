"""Which windows give the outputs of a stretch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from basecast.errors import InputError
from basecast.spec import LocalReach, ModelSpec, WindowReach


@dataclass(frozen=True, slots=True)
class Tile:
    """Outputs [start, end) come from the window [window_start, window_end); it sees [seen_start, seen_end)."""

    start: int
    end: int
    window_start: int
    window_end: int
    seen_start: int
    seen_end: int


def grain(spec: ModelSpec) -> int:
    """Bases by which a stretch may be cut: whole bins of every output, whole strides."""
    stride = spec.reach.stride if isinstance(spec.reach, LocalReach) else 1
    return math.lcm(stride, *(output.resolution for output in spec.outputs))


def margin(spec: ModelSpec) -> int:
    """Bases at each side, whole grains, that heads leave out beyond the reach or that a shift would wrap around."""
    bases = max((output.crop + abs(output.reverse_complement.shift)) * output.resolution for output in spec.outputs)
    return -(-bases // grain(spec)) * grain(spec)


def whole_window(spec: ModelSpec) -> int | None:
    """Bases of output of the longest window that the model takes; None where there is no such window.

    Raises:
        InputError: as `tiles`.
    """
    if not isinstance(spec.reach, WindowReach) or not spec.reach.lengths:
        return None
    return _usable(spec, spec.reach.lengths[-1])


def _usable(spec: ModelSpec, length: int) -> int:
    """Bases of output of a whole window."""
    assert isinstance(spec.reach, WindowReach)
    usable = length - 2 * (spec.reach.crop + margin(spec))
    if usable < grain(spec):
        raise InputError(f"{spec.name}: its windows of {length} bases leave nothing within what is cropped")
    return usable


def preferred_tile(spec: ModelSpec, device: str) -> int:
    """Bases of output of a tile: context is about a tenth more, and a CPU's caches have their say."""
    context = spec.reach.left + spec.reach.right if isinstance(spec.reach, LocalReach) else 0
    return 200_000 if device == "cuda" else max(5 * context, 10_000)


def usual_window(spec: ModelSpec, device: str) -> int:
    """Bases that a network is shown at once where memory sets no limit."""
    if isinstance(spec.reach, LocalReach):
        return preferred_tile(spec, device) + spec.reach.left + spec.reach.right
    return spec.reach.lengths[-1] if spec.reach.lengths else preferred_tile(spec, device) + 2 * spec.reach.crop


def tiles(spec: ModelSpec, start: int, end: int, longest: int, strand: str = "+") -> list[Tile]:
    """Tiles that cover [start, end) once, in order, of at most ``longest`` bases of output where the reach is local.

    Raises:
        ValueError: the stretch is empty or no whole number of bins.
        InputError: the model's windows are too short to give anything.
    """
    step = grain(spec)
    if end <= start or (end - start) % step:
        raise ValueError(f"{spec.name} gives bins of {step} bp: [{start}, {end}) is no whole number of them")
    reach, extra = spec.reach, margin(spec)
    if isinstance(reach, LocalReach):
        left, right = (reach.left, reach.right) if strand == "+" else (reach.right, reach.left)
        span = max(longest // step, 1) * step
        return [
            Tile(a, b, a - extra - left, b + extra + right, a - extra, b + extra)
            for a in range(start, end, span)
            for b in [min(a + span, end)]
        ]
    length = reach.length_for(end - start + 2 * extra)
    usable = _usable(spec, length)
    lead = max(usable - (end - start), 0) // 2 // step * step
    return [
        Tile(
            max(a, start),
            min(a + usable, end),
            a - extra - reach.crop,
            a - extra - reach.crop + length,
            a - extra,
            a + usable + extra,
        )
        for a in range(start - lead, end, usable)
    ]
