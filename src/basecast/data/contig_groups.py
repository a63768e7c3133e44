"""Where contigs that are regions of a larger genome lie in it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import polars as pl

from basecast.errors import InputError
from basecast.genome import bgzip
from basecast.genome.reference import Genome

_NAMES = {"contig": "contig", "chrom": "chromosome", "chromosome": "chromosome", "start": "start", "end": "end"}


class Source(NamedTuple):
    """The chromosome that a contig is part of, and where its first base lies there, 0-based."""

    chromosome: str
    start: int


class ContigGroups:
    """The source of each contig; a contig of which nothing is known is its own."""

    def __init__(self, sources: Mapping[str, Source] | None = None) -> None:
        self._sources = dict(sources or {})

    @classmethod
    def read(cls, path: str | os.PathLike[str], genome: Genome) -> Self:
        """A table with tabs and a header line: contig, chrom (or chromosome), start and, if it is told, end.

        Other columns are passed over. A start counts from 1; with an end it is known to count from 0 where that alone
        gives the contig's length.

        Raises:
            InputError: the file cannot be read, lacks a column, has a malformed line, names no contig of the genome,
                or a stretch is not as long as its contig.
        """
        lines = text_lines(Path(path), "the contig groups")
        columns = [_NAMES.get(name.strip().lstrip("#"), "") for name in lines[0].split("\t")] if lines else []
        if missing := [name for name in ("contig", "chromosome", "start") if name not in columns]:
            raise InputError(
                f"the contig groups {path} lack the column {' and '.join(missing)}: begin with a header line such as "
                "contig, chrom, start, end, separated by tabs"
            )
        sources = {}
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            row = dict(zip(columns, line.split("\t"), strict=False))
            where = f"line {number} of {path}"
            if not {"contig", "chromosome", "start"} <= row.keys() or not _whole(row["start"], row.get("end", "0")):
                raise InputError(f"{where} ({line[:60]!r}) has no contig, chromosome and whole-number start: mend it")
            if contig := genome.resolve(row["contig"]):
                first = _first(int(row["start"]), int(row["end"]) if "end" in row else None, genome.lengths[contig])
                if first is None:
                    raise InputError(
                        f"{where} places {contig} at {row['start']}-{row['end']} of {row['chromosome']}, but it has "
                        f"{genome.lengths[contig]:,} bases in {genome.path}: is the table of another genome?"
                    )
                sources[contig] = Source(row["chromosome"], first)
        if not sources:
            raise InputError(f"the contig groups {path} name no contig of {genome.path}: check its column contig")
        return cls(sources)

    def of(self, contig: str) -> Source:
        """The source of a contig of the genome."""
        return self._sources.get(contig, Source(contig, 0))

    def placed(self, table: pl.DataFrame) -> pl.DataFrame:
        """``table`` with ``chromosome`` and ``source_start``, where its ``contig`` and ``start`` lie in the source."""
        contigs = table["contig"].unique()
        chromosome = {name: self.of(name).chromosome for name in contigs}
        first = {name: self.of(name).start for name in contigs}
        return table.with_columns(
            chromosome=pl.col("contig").replace_strict(chromosome, return_dtype=pl.String),
            source_start=pl.col("start") + pl.col("contig").replace_strict(first, return_dtype=pl.Int64),
        )


def text_lines(path: Path, what: str) -> list[str]:
    """The lines of a table, plain or gzipped.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as raw:
            opened = gzip.open if bgzip.is_gzip(raw.read(bgzip.HEADER_SIZE)) else open
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            return [line.rstrip("\r\n") for line in lines]
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror or error}): check the path") from error
    except (UnicodeDecodeError, *bgzip.DAMAGES) as error:
        raise InputError(f"{what} {path} are no text ({error}): give a plain or gzipped table with tabs") from error


def _whole(*texts: str) -> bool:
    return all(text.strip().isdecimal() for text in texts)


def _first(start: int, end: int | None, length: int) -> int | None:
    """The 0-based start of a contig of ``length`` bases; None where the end does not fit."""
    if end is None or end - start + 1 == length:
        return start - 1
    return start if end - start == length else None
