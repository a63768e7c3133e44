"""Which windows share a stretch of reference, whatever the order they are asked in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from basecast.genome.sequence import Tokens, reverse_complement
from basecast.genome.source import Source
from basecast.inference.request import Request, Window
from basecast.inference.windows import Change, Windows, change_between
from basecast.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Altered:
    """A window, another that it is altered from, and where they differ."""

    ref: Window
    alt: Window
    change: Change


@dataclass(frozen=True, slots=True)
class Stretch:
    """Reference that altered windows share, in the orientation that is read.

    Attributes:
        tokens: its bases.
        pairs: windows and where the reference of each begins in it.
    """

    tokens: Tokens
    pairs: Sequence[tuple[Altered, int]]

    @property
    def growth(self) -> int:
        """By how many bases an altered window is longer than what it replaces, at most."""
        return max(pair.change.gained - pair.change.lost for pair, _ in self.pairs)


Placed = tuple[Altered, int, int]
"""An altered window, which of several stretches its reference is in, and where that begins there."""


def together(found: Sequence[Stretch], most: int) -> list[list[Stretch]]:
    """Neighbouring stretches of up to ``most`` bases in all: they are run at once."""
    groups: list[list[Stretch]] = []
    size = 0
    for stretch in found:
        if not groups or size + stretch.tokens.size > most:
            groups.append([])
            size = 0
        groups[-1].append(stretch)
        size += stretch.tokens.size
    return groups


def batches(group: Sequence[Stretch], largest: int, *, alike_only: bool) -> list[list[Placed]]:
    """The altered windows in batches of one length, or, with ``alike_only``, of one change."""
    alike: dict[tuple[Change, int] | int, list[Placed]] = {}
    for which, stretch in enumerate(group):
        for pair, offset in stretch.pairs:
            key = (pair.change, pair.ref.tokens.size) if alike_only else pair.change.length
            alike.setdefault(key, []).append((pair, which, offset))
    return [same[i : i + largest] for same in alike.values() for i in range(0, len(same), largest)]


def windows_of(batch: Sequence[Placed]) -> Windows:
    """A batch as the runner takes it."""
    pairs, stretches, offsets = zip(*batch, strict=True)
    return Windows.altered([pair.alt.tokens for pair in pairs], [pair.change for pair in pairs], stretches, offsets)


def is_one_stretch(spec: ModelSpec) -> bool:
    """Whether every output is a position of the sequence's own: what can be cut and joined here."""
    simple = all(output.axes == "position" and output.resolution == 1 and not output.crop for output in spec.outputs)
    return simple and len(spec.inputs) == 1 and not spec.conditions


def shared(
    requests: Sequence[Request],
    plan: Sequence[Sequence[Window]],
    missing: Mapping[bytes, Window],
    grid: int,
    gap: int,
) -> list[Stretch]:
    """The stretches of the missing windows that alter others, in the order of their contigs.

    Args:
        plan: windows of each request.
        missing: windows that have no values yet, by their keys.
        grid, gap: as ``stretches`` takes them.
    """
    index = {id(request): i for i, request in enumerate(requests)}
    groups: dict[tuple[Source, str, str], dict[bytes, Altered]] = {}
    for request, windows in zip(requests, plan, strict=True):
        base = request.base
        if base is None or id(base) not in index or windows[0].key not in missing:
            continue
        references = plan[index[id(base)]]
        if len(windows) == len(references) == 1:
            ref, alt = references[0], windows[0]
            if alt.key not in groups.setdefault((base.source, base.contig, base.strand), {}):
                change = change_between(ref.tokens, alt.tokens)
                if change.is_inside:
                    groups[base.source, base.contig, base.strand][alt.key] = Altered(ref, alt, change)
    found: list[Stretch] = []
    for (source, contig, strand), group in groups.items():
        pairs = list(group.values())
        spans = [(pair.ref.tile.window_start, pair.ref.tile.window_end) for pair in pairs]
        for start, end, members in stretches(spans, grid, gap):
            tokens = source.tokens(contig, start, end)
            if strand == "-":
                tokens = reverse_complement(tokens)
            ends = [end - spans[i][1] if strand == "-" else spans[i][0] - start for i in members]
            found.append(Stretch(tokens, [(pairs[i], at) for i, at in zip(members, ends, strict=True)]))
    return found


def stretches(windows: Sequence[tuple[int, int]], grid: int, gap: int) -> Iterator[tuple[int, int, list[int]]]:
    """(start, end) windows as stretches that cover them, with the indices of the windows that each covers.

    A window joins a stretch that it overlaps if it adds ``gap`` bases at most and begins in the same cell of a grid
    over the contig, ``grid`` bases each: which windows share does not depend on their order.
    """
    members: list[int] = []
    start = end = 0
    for i in sorted(range(len(windows)), key=windows.__getitem__):
        low, high = windows[i]
        if members and (low >= end or high - end > gap or low // grid != start // grid):
            yield start, end, members
            members = []
        if not members:
            start = end = low
        members.append(i)
        end = max(end, high)
    if members:
        yield start, end, members
