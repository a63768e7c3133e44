"""Delta scores of splicing: how much likelier an acceptor or a donor becomes, or ceases to be, and where.

A delta has four values, in the order of ``EVENTS``. Two sets of rules turn probabilities into them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from basecast.effects.alleles import Aligned, Edit, distance_to
from basecast.genome.annotation import Transcript

EVENTS = ("acceptor_gain", "acceptor_loss", "donor_gain", "donor_loss")
LABELS = ("AG", "AL", "DG", "DL")
ACCEPTOR, DONOR = 1, 2
"""Tracks of the model's output; 0 is neither."""

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
    scores, rows = [], []
    away = distance_to(edit, aligned)
    for event in range(4):
        track, sign = (ACCEPTOR, DONOR)[event // 2], (1, -1)[event % 2]
        delta = sign * (aligned.alt[:, track].astype(np.float64) - aligned.ref[:, track])
        delta = np.maximum(np.round(delta, 4), 0)
        if transcript is not None:
            sites = transcript.acceptors if track == ACCEPTOR else transcript.donors
            annotated = np.isin(aligned.position, sites) & (aligned.offset == 0)
            delta[annotated if sign > 0 else ~annotated] = 0
        row = np.lexsort((aligned.offset, aligned.position, away, -delta))[0]
        rows.append(row)
        scores.append(delta[row])
    return _delta(scores, rows, aligned, origin)


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
        track, gain = (ACCEPTOR, DONOR)[event // 2], event % 2 == 0
        delta = alt[:, track] - ref[:, track] if gain else ref[:, track] - alt[:, track]
        row = int(delta.argmax())
        masked = nearest_boundary is not None and (row - half == nearest_boundary) == gain
        rows.append(row)
        scores.append(delta[row] * (0 if masked else 1))
    positions = np.arange(-half, half + 1)
    return _delta(scores, rows, Aligned(positions, np.zeros_like(positions), ref, alt), 0)


def _delta(scores: list[float], rows: list[int], aligned: Aligned, origin: int) -> Delta:
    def at(values: Float[np.ndarray, "rows tracks"]) -> Four:
        a, b, c, d = (float(values[row, (ACCEPTOR, DONOR)[event // 2]]) for event, row in enumerate(rows))
        return a, b, c, d

    def places(values: np.ndarray) -> Places:
        a, b, c, d = (int(values[row]) for row in rows)
        return a, b, c, d

    a, b, c, d = (float(score) for score in scores)
    return Delta(
        (a, b, c, d), places(aligned.position - origin), places(aligned.offset), at(aligned.ref), at(aligned.alt)
    )
