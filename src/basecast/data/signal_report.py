"""What ``create-data`` made of tracks, in numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from pydantic import Field

from basecast.data.signal_bins import Column, clipped
from basecast.data.signal_targets import READ, TargetRow
from basecast.data.store import SPLITS
from basecast.errors import InputError, counted
from basecast.genome.intervals import Interval
from basecast.spec.model import Frozen


class TrackReport(Frozen):
    """One track in all splits."""

    name: str
    file: str
    covered: float = Field(description="share of the bases with a value in the file, 0..1; the others are 0")
    total: float = Field(description="sum of all values, before any transform")
    soft_clipped: float = Field(description="share of the bins that the soft clip made smaller, 0..1")
    clipped: float = Field(description="share of the bins at the clip, 0..1")
    absolute: bool = Field(False, description="all values are below 0, and were read without the sign")


class SignalSplitReport(Frozen):
    """One split in numbers."""

    records: int
    bases: int
    windows: int
    unknown_bases: int = Field(0, description="bases without a label")
    peaks: int = 0
    background: int = 0


class SignalReport(Frozen):
    """A dataset of tracks in numbers."""

    genome: str
    targets: str
    resolution: int
    window: int
    flank: int
    seed: int
    tracks: tuple[TrackReport, ...]
    left_out: dict[str, int] = Field(description="reason -> how many")
    splits: dict[str, SignalSplitReport]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Tally:
    """What is met in each track, stretch by stretch."""

    def __init__(self, targets: Sequence[TargetRow], resolution: int) -> None:
        self._targets, self._resolution = targets, resolution
        self._bases = 0
        self._counts = np.zeros((len(targets), 4))
        self._above: list[str] = [""] * len(targets)
        self._below: list[str] = [""] * len(targets)

    def add(self, stretch: Interval, columns: Sequence[Column]) -> None:
        """All tracks in one stretch.

        Raises:
            InputError: a track has values above and below 0.
        """
        self._bases += stretch.end - stretch.start
        for i, (target, found) in enumerate(zip(self._targets, columns, strict=True)):
            self._counts[i] += found.covered, found.total, *clipped(found.values, target.transform)
            if found.above:
                self._above[i] = self._above[i] or f"{stretch.contig}:{found.above:,}"
            if found.below:
                self._below[i] = self._below[i] or f"{stretch.contig}:{found.below:,}"
            if self._above[i] and self._below[i]:
                raise InputError(
                    f"{target.path} has values above 0 (at {self._above[i]}) and below 0 (at {self._below[i]}), so it "
                    f"is no coverage: give {target.identifier} as two tracks, or without a control taken off"
                )

    def reports(self) -> tuple[TrackReport, ...]:
        """One of each track."""
        bins = self._bases / self._resolution
        return tuple(
            TrackReport(
                name=target.identifier,
                file=target.path.name,
                covered=covered / self._bases,
                total=total,
                soft_clipped=soft / bins,
                clipped=hard / bins,
                absolute=bool(below),
            )
            for target, (covered, total, soft, hard), below in zip(
                self._targets, self._counts.tolist(), self._below, strict=True
            )
        )


def notes_on(rows: Sequence[TargetRow], tracks: Sequence[TrackReport], splits: Collection[int]) -> tuple[str, ...]:
    """What a person should know of the table, of the tracks and of the ``splits`` that have a record."""

    def names(chosen: Sequence[TrackReport]) -> str:
        said = ", ".join(track.name for track in chosen[:5])
        return said + (", ..." if len(chosen) > 5 else "")

    notes = []
    if unread := sorted({column for row in rows for column in row.row} - READ):
        notes.append(f"columns of the table that are not read: {', '.join(unread)}")
    if absolute := [track for track in tracks if track.absolute]:
        notes.append(
            f"all values of {counted(len(absolute), 'track')} are below 0: read without sign ({names(absolute)})"
        )
    if empty := [track for track in tracks if not track.total]:
        notes.append(f"{counted(len(empty), 'track')} without any signal in these stretches ({names(empty)})")
    if much := [track for track in tracks if track.clipped > 0.01]:
        notes.append(f"more than 1% of the bins at the clip in {counted(len(much), 'track')} ({names(much)})")
    notes += [f"there is nothing in {name}" for i, name in enumerate(SPLITS) if i not in splits]
    return tuple(notes)
