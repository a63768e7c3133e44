"""A table of tracks to be learnt: which bigWig, and what is done to the bases of a bin. The columns are Basenji's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from basecast.data.contig_groups import text_lines
from basecast.errors import InputError
from basecast.spec.model import Output, ReverseComplement, TargetTransform, Track

Assay = Literal["cage", "dnase", "atac", "chip", "rna", "histone"]
SIGNAL = "signal"
"""Name of the one output of a dataset of tracks."""
COLUMNS = ("identifier", "file", "clip", "clip_soft", "scale", "sum_stat", "strand_pair", "description")
_MORE = ("genome", "group")
READ = {"index", *COLUMNS, *_MORE}
"""What a table may have; its other columns are passed over."""
_STATISTICS: dict[str, tuple[Literal["sum", "mean", "median", "max"], float]] = {
    "sum": ("sum", 1.0),
    "mean": ("mean", 1.0),
    "avg": ("mean", 1.0),
    "median": ("median", 1.0),
    "max": ("max", 1.0),
    "sum_sqrt": ("sum", 0.5),
    "mean_sqrt": ("mean", 0.5),
    "max_sqrt": ("max", 0.5),
    "sum_exp75": ("sum", 0.75),
    "mean_exp75": ("mean", 0.75),
}
_COUNTS = {"clip": "384", "clip_soft": "64", "scale": "1.0", "sum_stat": "sum_sqrt"}
_OPENNESS = {"clip": "128", "clip_soft": "32", "scale": "2.0", "sum_stat": "mean"}
PRESETS: dict[str, dict[str, str]] = {
    "cage": _COUNTS,
    "rna": _COUNTS | {"scale": "0.3"},
    "dnase": _OPENNESS,
    "atac": _OPENNESS,
    "chip": _OPENNESS,
    "histone": _OPENNESS,
}
"""What stands where a table has nothing, by assay: as Borzoi's tables have it for CAGE, RNA-seq and DNase."""
_DEFAULTS = {"clip": "", "clip_soft": "", "scale": "1.0", "sum_stat": "sum"}
_NOTHING = ("na", "nan")
_NAMES = ("identifier", "file")
_PLUS = re.compile(r"(?:\+|(?:^|[._-])(?:plus|fwd|forward|pos))$", re.IGNORECASE)
_MINUS = re.compile(r"(?:-|(?:^|[._-])(?:minus|rev|reverse|neg))$", re.IGNORECASE)


class TargetRow(NamedTuple):
    """One track of a table.

    Attributes:
        row: as the table has it, with what the preset gave.
        path: the bigWig.
        pair: which row is the other strand; its own where there is none.
        transform: from the bases of a bin to what a model is taught.
    """

    row: dict[str, str]
    path: Path
    pair: int
    transform: TargetTransform

    @property
    def identifier(self) -> str:
        return self.row["identifier"]


def read_targets(
    path: str | os.PathLike[str],
    *,
    assay: Assay | None = None,
    scaled_last: bool = False,
    files_exist: bool = True,
) -> list[TargetRow]:
    """The tracks of a table with tabs and a header line: identifier, file, and any more of Basenji's columns.

    A first column without a name, or named index, numbers the rows; a strand pair is such a number, without the column
    the row counted from 0, or an identifier. Paths are relative to the table.

    Args:
        assay: whose preset stands where the table has nothing.
        scaled_last: as in Borzoi's published tables, see `TargetTransform`.
        files_exist: whether a missing file is an error.

    Raises:
        InputError: the table cannot be read, a cell is not what it must be, or a file is missing; with its line.
    """
    path = Path(path)
    lines = [(number, line) for number, line in enumerate(text_lines(path, "the targets"), 1) if line.strip()]
    columns = _columns(path, lines[0][1] if lines else "")
    rows: list[dict[str, str]] = []
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) > len(columns):
            raise InputError(f"line {number} of {path} has {len(cells)} cells for {len(columns)} columns: mend it")
        row = dict(zip(columns, cells, strict=False))
        row = {name: "" if name not in _NAMES and cell.lower() in _NOTHING else cell for name, cell in row.items()}
        for name, value in (_DEFAULTS | (PRESETS[assay] if assay else {})).items():
            row[name] = row.get(name) or value
        rows.append(row | {"line": str(number)})
    if not rows:
        raise InputError(f"{path} has no track: add a line with an identifier and a bigWig below the header")
    numbers = {row.get("index", str(i)): i for i, row in enumerate(rows)}
    names: dict[str, int] = {}
    for i, row in enumerate(rows):
        if not row.get("identifier") or not row.get("file"):
            raise InputError(f"line {row['line']} of {path} lacks an identifier or a file: both are needed")
        if row["identifier"] in names:
            first = rows[names[row["identifier"]]]["line"]
            raise InputError(
                f"line {row['line']} of {path} repeats the identifier {row['identifier']!r} of line {first}: each "
                "track needs its own"
            )
        names[row["identifier"]] = i
    pairs = [_pair(row, i, numbers, names, path) for i, row in enumerate(rows)]
    for i, pair in enumerate(pairs):
        if pairs[pair] != i:
            raise InputError(
                f"line {rows[i]['line']} of {path}: the strand pair of {rows[i]['identifier']} is "
                f"{rows[pair]['identifier']} (line {rows[pair]['line']}), whose strand pair is "
                f"{rows[pairs[pair]]['identifier']}: two strands name each other"
            )
    found = []
    for row, pair in zip(rows, pairs, strict=True):
        file, line = path.absolute().parent / row["file"], row.pop("line")
        if files_exist and not file.is_file():
            raise InputError(f"line {line} of {path}: there is no file {file}: mend the path, which is from the table")
        found.append(TargetRow(row, file, pair, _transform(row, f"line {line} of {path}", scaled_last)))
    return found


def _columns(path: Path, header: str) -> list[str]:
    columns = [name.strip().lstrip("#") for name in header.split("\t")]
    columns[0] = columns[0] or "index"
    if missing := [name for name in ("identifier", "file") if name not in columns]:
        raise InputError(
            f"the targets {path} lack the column {' and '.join(missing)}: begin with a header line such as "
            f"{', '.join(COLUMNS)}, separated by tabs, of which identifier and file are needed"
        )
    return columns


def _pair(row: dict[str, str], own: int, numbers: dict[str, int], names: dict[str, int], path: Path) -> int:
    said = row.get("strand_pair", "")
    found = own if not said else numbers.get(said, names.get(said))
    if found is None:
        raise InputError(
            f"line {row['line']} of {path}: the strand pair {said!r} is neither the number of a row nor an identifier"
        )
    return found


def _transform(row: dict[str, str], where: str, scaled_last: bool) -> TargetTransform:
    if row["sum_stat"] not in _STATISTICS:
        raise InputError(
            f"{where}: sum_stat {row['sum_stat']!r} is not known here: give one of {', '.join(_STATISTICS)}"
        )
    numbers: dict[str, float | None] = {}
    for name in ("scale", "clip", "clip_soft"):
        try:
            numbers[name] = float(row[name]) if row[name] else None
        except ValueError:
            numbers[name] = -1.0
        value = numbers[name]
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{where}: {name} {row[name]!r} is no number above 0: mend it or leave it empty")
    statistic, power = _STATISTICS[row["sum_stat"]]
    return TargetTransform(
        statistic=statistic,
        power=power,
        scale=numbers["scale"] or 1.0,
        clip=numbers["clip"],
        soft_clip=numbers["clip_soft"],
        scaled_last=scaled_last,
    )


def signal_output(targets: Sequence[TargetRow], resolution: int, assay: str | None = None) -> Output:
    """The output that a dataset of these tracks has.

    A description such as ``CAGE:liver`` gives assay and biosample; the strand of a track with a pair is that which the
    end of its identifier or file names (``+``, ``_plus``, ``.rev`` ...).
    """
    tracks = []
    for i, target in enumerate(targets):
        description = target.row.get("description", "")
        prefix, colon, rest = description.partition(":")
        tracks.append(
            Track(
                name=target.identifier,
                strand=_strand(target) if target.pair != i else ".",
                assay=prefix if colon else (assay or "").upper(),
                biosample=rest.strip() if colon else "",
                description=description,
                transform=target.transform,
            )
        )
    pairs = tuple(target.pair for target in targets)
    return Output(
        name=SIGNAL,
        tracks=tuple(tracks),
        resolution=resolution,
        link="softplus",
        reverse_complement=ReverseComplement(permutation=() if pairs == tuple(range(len(pairs))) else pairs),
    )


def _strand(target: TargetRow) -> Literal["+", "-", "."]:
    for name in (target.identifier, target.path.name.split(".")[0], target.path.stem):
        if _PLUS.search(name):
            return "+"
        if _MINUS.search(name):
            return "-"
    return "."


def write_resolved(targets: Sequence[TargetRow], path: str | os.PathLike[str]) -> None:
    """``targets.resolved.tsv``: the table as it was used, with an index, absolute paths and pairs as numbers."""
    rows = [
        {"": i, **{name: target.row.get(name, "") for name in (*COLUMNS, *_MORE)}}
        | {"file": str(target.path), "strand_pair": target.pair}
        for i, target in enumerate(targets)
    ]
    table = pl.DataFrame(rows)
    table = table.drop(name for name in _MORE if (table[name] == "").all())
    table.write_csv(Path(path), separator="\t", quote_style="never")
