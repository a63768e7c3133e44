"""Which tracks of a dataset a model learns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from basecast.errors import InputError, UsageError
from basecast.spec import Output, ReverseComplement

_COLUMN = "identifier"


def with_tracks(
    outputs: Sequence[Output], tracks: Sequence[str] | None = None, without: Collection[str] = ()
) -> tuple[Output, ...]:
    """Outputs with only some of their tracks, in the order that they have.

    Args:
        tracks: names of those to keep; None keeps all.
        without: names of those to leave out.

    Raises:
        UsageError: a name is none of theirs, no track is left, classes would be taken apart, or a track would be
            without the other strand that it swaps with.
    """
    known = {track.name for output in outputs for track in output.tracks}
    for name in (*(tracks or ()), *without):
        if name not in known:
            raise UsageError(f"the data have no track {name!r}, only {_listed(sorted(known))}")
    kept = (known if tracks is None else set(tracks)) - set(without)
    chosen = [_with(output, [i for i, t in enumerate(output.tracks) if t.name in kept]) for output in outputs]
    left = tuple(output for output in chosen if output is not None)
    if not left:
        raise UsageError("no track is left to train on: choose fewer with --leave-out-tracks")
    return left


def _with(output: Output, kept: list[int]) -> Output | None:
    if len(kept) in (0, len(output.tracks)):
        return output if kept else None
    if output.has_classes:
        raise UsageError(f"the tracks of {output.name!r} are classes, which only go together: leave --tracks out")
    order = output.reverse_complement.permutation
    for i in kept if order else []:
        if order[i] not in kept:
            raise UsageError(
                f"{output.tracks[i].name} is one strand and {output.tracks[order[i]].name} the other: keep both or none"
            )
    rule = ReverseComplement(
        permutation=tuple(kept.index(order[i]) for i in kept) if order else (), shift=output.reverse_complement.shift
    )
    return output.model_copy(update={"tracks": tuple(output.tracks[i] for i in kept), "reverse_complement": rule})


def names_in(text: str) -> list[str]:
    """Names joined by commas, or those of a table: tab-separated, with a column ``identifier``.

    Raises:
        InputError: the table has no such column, or a line is too short for it.
    """
    path = Path(text)
    if not path.is_file():
        return [name.strip() for name in text.split(",") if name.strip()]
    header, *lines = path.read_text().splitlines() or [""]
    if _COLUMN not in header.split("\t"):
        raise InputError(f"the first line of {path} names no column {_COLUMN!r}: give a table of tracks, tab-separated")
    column = header.split("\t").index(_COLUMN)
    found = []
    for number, line in enumerate(lines, 2):
        values = line.split("\t")
        if line.strip() and len(values) <= column:
            raise InputError(
                f"line {number} of {path} has {len(values)} columns, and {_COLUMN!r} is column {column + 1}"
            )
        found += [values[column]] if line.strip() else []
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
