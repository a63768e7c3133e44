"""An altered window at the price of what changes.

Of a window that differs from a reference window in one place, a stage of a stride-1 convolutional stretch can differ
only inside the change's cone, and only what lies inside the outputs' cone is needed. The rest is the reference's,
shifted where the allele changes the length. References that overlap are run once, as one stretch.

The idea for convolutional networks: Nair et al. 2022 (fastISM). Indels and dilated residual stacks are exact too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from basecast.genome.sequence import Tokens
from basecast.models.layers import crop
from basecast.models.network import Network
from basecast.spec import ModelSpec


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


def is_one_stretch(spec: ModelSpec) -> bool:
    """Whether every output is a position of the sequence's own: what can be cut and joined here."""
    simple = all(output.axes == "position" and output.resolution == 1 and not output.crop for output in spec.outputs)
    return simple and len(spec.inputs) == 1 and not spec.conditions


def reaches(network: Network) -> list[int]:
    """Bases that are lost at each end before the first stage and after each."""
    return [0, *accumulate(int(stage.reach) for stage in network.stages())]


def levels_of(network: Network, one_hot: Float[Tensor, "1 4 length"]) -> list[Tensor]:
    """The stretch's input and what each stage makes of it."""
    levels = [one_hot]
    for stage in network.stages():
        levels.append(stage(levels[-1]))
    return levels


def reference_embedding(network: Network, levels: Sequence[Tensor]) -> Tensor:
    """The embedding of the whole stretch."""
    return network.join([crop(level, levels[-1].shape[-1]) for level in levels[1:]])


def altered_embedding(
    network: Network,
    levels: Sequence[Tensor],
    offsets: Sequence[int],
    gained: Float[Tensor, "batch 4 gained"],
    change: Change,
) -> Tensor:
    """The embeddings of windows that differ alike from the stretch.

    Args:
        network: the network of ``levels``.
        levels: of the stretch.
        offsets: where each window's reference begins in the stretch.
        gained: the bases that each window has in place of those that it lost.
        change: the same for all, and inside.
    """
    reach = reaches(network)
    half, length = reach[-1], change.length
    growth = change.gained - change.lost
    low, high, patch = change.start, change.start + change.gained, gained

    def reference(level: int, start: int, end: int, shift: int) -> Tensor:
        """The stretch's values at [start, end) of the windows, which are ``shift`` further right there."""
        move = -shift - reach[level]
        return torch.stack([levels[level][0, :, o + start + move : o + end + move] for o in offsets])

    def assembled(level: int, start: int, end: int) -> Tensor:
        """[start, end) of the windows at a level: reference, patch, reference."""
        a, b = min(max(low, start), end), max(min(high, end), start)
        pieces = [patch[:, :, a - low : b - low]] if a < b else []
        if start < a:
            pieces.insert(0, reference(level, start, a, 0))
        if max(a, b) < end:
            pieces.append(reference(level, max(a, b), end, growth))
        return torch.cat(pieces, dim=2) if len(pieces) > 1 else pieces[0]

    joined = []
    for level, stage in enumerate(network.stages()):
        start = max(change.start - reach[level + 1], reach[level + 1])
        end = min(change.start + change.gained + reach[level + 1], length - reach[level + 1])
        if start < end:
            patch = stage(assembled(level, start - stage.reach, end + stage.reach))
        else:  # bases were lost, none gained, and the stage sees one base: nothing has changed yet
            patch = levels[level + 1][:, :, :0].expand(len(offsets), -1, -1)
        low, high = start, end
        joined.append(assembled(level + 1, half, length - half))
    return network.join(joined)


def stretches(windows: Sequence[tuple[int, int]], longest: int) -> Iterator[tuple[int, int, list[int]]]:
    """(start, end) windows as stretches that cover them, with the indices of the windows that each covers.

    A window joins a stretch that it overlaps by half or more, up to ``longest`` bases; alone it may be longer.
    """
    members: list[int] = []
    start = end = 0
    for i in sorted(range(len(windows)), key=windows.__getitem__):
        low, high = windows[i]
        if members and (end - low < (high - low) // 2 or max(end, high) - start > longest):
            yield start, end, members
            members = []
        if not members:
            start = end = low
        members.append(i)
        end = max(end, high)
    if members:
        yield start, end, members


def batches(changes: Sequence[Change], ref_lengths: Sequence[int], largest: int) -> Iterator[list[int]]:
    """Indices of windows that change alike, ``largest`` at a time."""
    alike: dict[tuple[Change, int], list[int]] = {}
    for i, (change, length) in enumerate(zip(changes, ref_lengths, strict=True)):
        alike.setdefault((change, length), []).append(i)
    for indices in alike.values():
        for i in range(0, len(indices), largest):
            yield indices[i : i + largest]
