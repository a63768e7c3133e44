"""``basecast data``: what a dataset holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from basecast.cli.console import Console
from basecast.cli.options import OUTPUT, Messages
from basecast.errors import counted

if TYPE_CHECKING:
    from basecast.data.check import CheckReport

data = App(name="data", help="Look at a dataset before it is trained on.", help_format="plaintext", sort_key=0.15)


@data.command
def check(
    dataset: Annotated[Path, Parameter(metavar="DIR")],
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("-O", "--output"), group=OUTPUT, metavar="JSON")] = None,
    log_format: Messages = "text",
) -> int:
    """Look for what is wrong with a dataset of tracks.

    It looks for NaN, infinite, negative and missing signal, for clips, and for replicates that disagree. Standard
    output has a line for each split and track: bins, NaN, infinite, below 0, share of zeros, share that the soft clip
    changed, share at the clip, mean, largest, and the mean correlation with tracks of the same description and strand.
    The exit code is 1 where something must be mended.

    Example: basecast data check data

    Parameters
    ----------
    dataset:
        Folder that `basecast create-data --targets` wrote.
    output:
        The same and every pair of replicates as JSON.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.data.check import check as look
    from basecast.files import named_errors, whole_file

    console, found = Console(log_format), look(dataset)
    if output is not None:
        with named_errors(output), whole_file(output) as partial:
            partial.write_text(found.model_dump_json(indent=2) + "\n")
    _print(found)
    for note in found.notes:
        console.say(note, level="warning")
    for wrong in found.wrong:
        console.say(wrong, level="error")
    n_tracks = len({track.track for track in found.tracks})
    verdict = f"{counted(len(found.wrong), 'thing')} to be mended" if found.wrong else "nothing is wrong"
    console.say(f"{counted(n_tracks, 'track')} of {dataset}: {verdict}", wrong=len(found.wrong))
    return 1 if found.wrong else 0


_HEADER = (
    *("split", "track", "bins", "nan", "infinite", "negative", "zero", "soft_clipped", "clipped", "mean", "largest"),
    "replicates",
)


def _print(found: CheckReport) -> None:
    """A table, aligned for a person."""
    alike: dict[tuple[str, str], list[float]] = {}
    for pair in found.replicates:
        for name in (pair.a, pair.b):
            if pair.pearson is not None:
                alike.setdefault((pair.split, name), []).append(pair.pearson)
    rows: list[tuple[str, ...]] = [_HEADER]
    for track in found.tracks:
        counts = (track.bins, track.nan, track.infinite, track.negative)
        shares = (_short(x) for x in (track.zero, track.soft_clipped, track.clipped, track.mean, track.largest))
        r = alike.get((track.split, track.track))
        rows.append((track.split, track.track, *map(str, counts), *shares, _short(sum(r) / len(r) if r else None)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if sys.stdout.isatty() else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] if widths else row
        print(("  " if widths else "\t").join(cells).rstrip())


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
