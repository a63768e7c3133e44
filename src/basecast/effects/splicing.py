"""Delta scores of splicing: how much likelier an acceptor or a donor becomes, or ceases to be, and where.

A delta has four values, in the order of ``EVENTS``. Two sets of rules turn probabilities into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from basecast.effects.alleles import Aligned, Edit, distance_to
from basecast.genome.annotation import Transcript

EVENTS = ("acceptor_gain", "acceptor_loss", "donor_gain", "donor_loss")
LABELS = ("AG", "AL", "DG", "DL")
ACCEPTOR, DONOR = 1, 2
"""Tracks of the model's output; 0 is neither."""

TRACKS = (ACCEPTOR, DONOR)
_OF_EVENT = [ACCEPTOR, ACCEPTOR, DONOR, DONOR]

Four = tuple[float, float, float, float]
Places = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Delta:
    """The strongest of each event: scores, places relative to the record's POS, and what REF and ALT have there.

    ``offset`` is not 0 where the place is within inserted bases: the n-th of them after the base at ``position``.
    """

    score: Four
    position: Places
    offset: Places
    ref: Four
    alt: Four

    def consequences(self, threshold: float = 0.2) -> tuple[str, ...]:
        """The events whose score reaches the threshold."""
        return tuple(event for event, score in zip(EVENTS, self.score, strict=True) if score >= threshold)


def delta_scores(aligned: Aligned, edit: Edit, origin: int, transcript: Transcript | None) -> Delta:
    """Basecast's own rules.

    Deltas are rounded to 1e-4 and are at least 0; of equal ones the place nearest the edit counts, then the smaller
    coordinate. With a ``transcript`` (the mask), gains of its annotated sites and losses elsewhere are nil, by site
    type and before the maximum is taken.
    """
    gain = np.round(aligned.alt[:, TRACKS].astype(np.float64) - aligned.ref[:, TRACKS], 4)
    order = _order(edit, aligned)
    annotated = [_annotated(sites, aligned) for sites in _sites(transcript)] if transcript is not None else []
    scores, rows = [], []
    for event in range(4):
        column, is_gain = event // 2, event % 2 == 0
        delta = np.maximum(gain[:, column] if is_gain else -gain[:, column], 0)
        if annotated:
            delta *= ~annotated[column] if is_gain else annotated[column]
        best = delta.max()
        equal = np.flatnonzero(delta == best)
        rows.append(int(equal[order[equal].argmin()]))
        scores.append(float(best) + 0.0)  # a loss of 0.0 is none of -0.0
    return _delta(scores, rows, aligned, origin)


@lru_cache(maxsize=256)
def _sites(transcript: Transcript) -> tuple[Int[np.ndarray, " acceptors"], Int[np.ndarray, " donors"]]:
    return transcript.acceptors, transcript.donors


def _order(edit: Edit, aligned: Aligned) -> Int[np.ndarray, " rows"]:
    """A number a row: smaller nearer the edit, then at a smaller coordinate, then at an earlier inserted base."""
    places = distance_to(edit, aligned) * len(aligned.position) + aligned.position - aligned.position[0]
    return places * len(aligned.position) + aligned.offset


def _annotated(sites: Int[np.ndarray, " sites"], aligned: Aligned) -> Bool[np.ndarray, " rows"]:
    """Which rows are bases of the reference that are sites; ``sites`` ascend."""
    first, found = aligned.position[0], np.zeros(len(aligned.position), bool)
    low, high = sites.searchsorted([first, first + np.count_nonzero(aligned.offset == 0)])
    found[sites[low:high] - first] = True
    return found


def spliceai_delta_scores(
    ref: Float[np.ndarray, "window tracks"],
    alt: Float[np.ndarray, "alt_window tracks"],
    ref_length: int,
    alt_length: int,
    nearest_boundary: int | None,
) -> Delta:
    """Illumina's rules (SpliceAI 1.3.1): values of windows of 2D + 1 bases around POS, ALT's as long as it came out.

    A deletion's lost rows are zeros after the anchor base; an insertion's rows and its anchor become their maximum.
    With ``nearest_boundary`` (the mask: the exon boundary nearest to POS, relative to it), after the place is chosen a
    gain there and a loss elsewhere are multiplied by zero; the place stays.
    """
    half = len(ref) // 2
    if ref_length > 1 and alt_length == 1:
        lost = np.zeros((ref_length - 1, ref.shape[1]))  # fp64, as theirs: fp32 could round a tie into being
        alt = np.concatenate([alt[: half + 1], lost, alt[half + 1 :]])
    elif ref_length == 1 and alt_length > 1:
        most = alt[half : half + alt_length].max(axis=0, keepdims=True)
        alt = np.concatenate([alt[:half], most, alt[half + alt_length :]])
    rows, scores = [], []
    for event in range(4):
        track, gain = _OF_EVENT[event], event % 2 == 0
        delta = alt[:, track] - ref[:, track] if gain else ref[:, track] - alt[:, track]
        row = int(delta.argmax())
        masked = nearest_boundary is not None and (row - half == nearest_boundary) == gain
        rows.append(row)
        scores.append(delta[row] * (0 if masked else 1))
    positions = np.arange(-half, half + 1)
    return _delta(scores, rows, Aligned(positions, np.zeros_like(positions), ref, alt), 0)


def _delta(scores: list[float], rows: list[int], aligned: Aligned, origin: int) -> Delta:
    def four(values: list[Any]) -> Any:
        a, b, c, d = values
        return a, b, c, d

    return Delta(
        four([float(score) for score in scores]),
        four((aligned.position[rows] - origin).tolist()),
        four(aligned.offset[rows].tolist()),
        four(aligned.ref[rows, _OF_EVENT].tolist()),
        four(aligned.alt[rows, _OF_EVENT].tolist()),
    )
