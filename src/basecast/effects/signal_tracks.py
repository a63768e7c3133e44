"""Which tracks of a model are scored, and which of its own each is made of."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from basecast.effects.signal import Bins
from basecast.errors import UsageError
from basecast.inference.untransform import untransformed
from basecast.spec import ModelSpec, Output, Track


@dataclass(frozen=True, slots=True)
class Chosen:
    """Tracks of one output.

    Attributes:
        output: its tracks have the transforms that are undone.
        tracks: what there is a score of.
        asked: the output's own tracks that the model computes for them.
        parts: for each of ``tracks`` the positions in ``asked`` of the one or two that it is the sum of.
    """

    output: Output
    tracks: tuple[Track, ...]
    asked: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]

    def measured(self, values: Bins) -> Bins:
        """Values of ``asked`` as they were measured, in float64: of small ones the inverse of a power needs it."""
        return untransformed(values.astype(np.float64), self.output, self.asked)

    def summed(self, values: Bins, is_norm: bool = False) -> Bins:
        """Rows of ``asked`` as rows of ``tracks``: strands are added up, norms as the sides of a right angle."""
        found = values[:, [part[0] for part in self.parts]]
        for to, part in enumerate(self.parts):
            for more in part[1:]:
                found[:, to] = np.hypot(found[:, to], values[:, more]) if is_norm else found[:, to] + values[:, more]
        return found


def chosen_of(spec: ModelSpec, names: Sequence[str], *, merged: bool, unscaled: bool = True) -> list[Chosen]:
    """The tracks of those names, all where there are none, of every output that gives signals by position.

    Args:
        merged: the two strands of a track are one, under the name of the forward one.
        unscaled: a scale that came before the power is undone too, with the rest of a track's transform.

    Raises:
        UsageError: the model gives no signal, or a track is not the model's.
    """
    outputs = [output for output in spec.outputs if not output.has_classes and output.axes == "position"]
    if not outputs:
        raise UsageError(
            f"{spec.name} gives no signal along the sequence, only {', '.join(o.name for o in spec.outputs)}"
        )
    known = dict.fromkeys(track.name for output in outputs for track in output.tracks)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or list(known)[:3]
            raise UsageError(f"{spec.name} has no track {name!r} among its {len(known):,}, such as {', '.join(near)}")
    found = [_of(output if unscaled else _kept_scaled(output), set(names or known), merged) for output in outputs]
    return [chosen for chosen in found if chosen.tracks]


def _kept_scaled(output: Output) -> Output:
    def kept(track: Track) -> Track:
        if track.transform is None or track.transform.scaled_last:
            return track
        return track.model_copy(update={"transform": track.transform.model_copy(update={"scale": 1.0})})

    return output.model_copy(update={"tracks": tuple(map(kept, output.tracks))})


def _of(output: Output, names: set[str], merged: bool) -> Chosen:
    partner = output.reverse_complement.permutation if merged else ()
    tracks: list[Track] = []
    groups: list[tuple[int, ...]] = []
    for i in range(len(output.tracks)):
        group = tuple(sorted({i, partner[i]})) if partner else (i,)
        if i != group[0] or not names & {output.tracks[k].name for k in group}:
            continue
        first = min(group, key=lambda k: (output.tracks[k].strand != "+", k))
        groups.append(group)
        tracks.append(output.tracks[first].model_copy(update={"strand": "."} if len(group) > 1 else {}))
    asked = sorted(k for group in groups for k in group)
    place = {k: i for i, k in enumerate(asked)}
    return Chosen(output, tuple(tracks), tuple(asked), tuple(tuple(place[k] for k in group) for group in groups))
