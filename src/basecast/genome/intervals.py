"""Stretches of a genome that a BED file names."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from basecast.errors import InputError
from basecast.genome import bgzip
from basecast.genome.reference import Genome


class Interval(NamedTuple):
    """[start, end) of a contig, 0-based."""

    contig: str
    start: int
    end: int


def read_each(path: str | Path, genome: Genome) -> list[Interval]:
    """The stretches of a BED file (plain or gzipped) as they stand there, one a line; only three columns are read.

    Raises:
        InputError: the file cannot be read or has no stretch; a line is no BED, or lies off its contig.
    """
    found = []
    for number, line in _lines(Path(path)):
        contig, start, end = _parse(line, f"line {number} of {path}")
        name = genome.resolve(contig)
        if name is None:
            raise InputError(f"line {number}: {genome.contigs.describe_unknown(contig, str(path), 'a text editor')}")
        if end > genome.lengths[name]:
            raise InputError(
                f"line {number} of {path}: {contig}:{start}-{end} ends past the contig, which has "
                f"{genome.lengths[name]:,} bases in {genome.path}: is it of another genome build?"
            )
        found.append(Interval(name, start, end))
    if not found:
        raise InputError(f"{path} names no region: a line is CONTIG, START, END, separated by tabs")
    return found


def read_regions(path: str | Path, genome: Genome) -> list[Interval]:
    """As `read_each`, in the order of the genome's contigs; stretches that overlap or touch are one."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, start, end in read_each(path, genome):
        found.setdefault(name, []).append((start, end))
    return [Interval(name, *stretch) for name in genome.lengths if name in found for stretch in merged(found[name])]


def merged(stretches: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bases as ascending stretches that neither overlap nor touch."""
    low = high = -1
    for start, end in sorted(stretches):
        if start > high:
            if high >= 0:
                yield low, high
            low, high = start, end
        high = max(high, end)
    if high >= 0:
        yield low, high


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold a stretch, with their numbers."""
    if path.is_fifo():
        raise InputError(f"the regions {path} are a pipe, and they are read more than once: give a file")
    try:
        with path.open("rb") as raw:
            head = raw.read(bgzip.HEADER_SIZE)
        if bgzip.is_bgzip(head):
            bgzip.require_end(path)
        with (gzip.open if bgzip.is_gzip(head) else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and not line.startswith("#") and line.split()[0] not in ("track", "browser"):
                    yield number, line
    except OSError as error:
        raise InputError(f"the regions {path} cannot be read ({error.strerror or error}): check the path") from error
    except (UnicodeDecodeError, *bgzip.DAMAGES) as error:
        raise InputError(f"the regions {path} are no BED file ({error}): give plain or gzipped BED") from error


def _parse(line: str, where: str) -> tuple[str, int, int]:
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) < 3 or not all(field.strip().isdecimal() for field in fields[1:3]):
        raise InputError(f"{where} is no BED ({line.strip()[:60]!r}): a line is CONTIG, START, END, separated by tabs")
    start, end = int(fields[1]), int(fields[2])
    if start >= end:
        raise InputError(f"{where}: the region {start}-{end} is empty: BED counts from 0, the end is not included")
    return fields[0], start, end
