"""Annotations with a transcript on each line: SpliceAI's gene table and BED12. Every row is a gene of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from basecast.errors import InputError
from basecast.genome.transcripts import SCHEMA, Parsed

COLUMNS = ("NAME", "CHROM", "STRAND", "TX_START", "TX_END", "EXON_START", "EXON_END")


def parse_gene_table(lines: Iterable[str], path: Path) -> Parsed:
    """The rows of a SpliceAI gene table: starts 0-based, ends 1-based, comma lists with or without the last comma.

    Raises:
        InputError: a column is missing, or a row is malformed.
    """
    columns: tuple[str, ...] = COLUMNS
    rows = _Rows(path)
    for number, line in enumerate(lines, 1):
        fields = line.rstrip("\n").split("\t")
        if line.startswith("#"):
            if number == 1:
                columns = tuple(name.strip() for name in line[1:].split("\t"))
                if missing := [name for name in COLUMNS if name not in columns]:
                    raise InputError(f"the gene table {path} lacks {', '.join(missing)} in its header line")
        elif not line.isspace():
            if len(fields) < len(columns):
                raise rows.bad(number, f"{len(fields)} tab-separated columns, not {len(columns)}")
            row = dict(zip(columns, fields, strict=False))
            start, end = rows.integers(number, f"{row['TX_START']},{row['TX_END']}")
            starts, ends = (rows.integers(number, row[name]) for name in ("EXON_START", "EXON_END"))
            rows.add(number, row["NAME"], row["CHROM"], row["STRAND"], start, end, starts, ends, 0)
    return rows.parsed()


def parse_bed12(lines: Iterable[str], path: Path) -> Parsed:
    """The rows of a BED12 file: blocks are exons, the thick part is the CDS, the name is that of transcript and gene.

    Raises:
        InputError: a row is malformed.
    """
    rows = _Rows(path)
    for number, line in enumerate(lines, 1):
        if line.startswith(("#", "track", "browser")) or line.isspace():
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) < 12:
            raise rows.bad(number, f"{len(fields)} tab-separated columns, BED12 has 12")
        contig, _, _, name, _, strand = fields[:6]
        start, end, thick_start, thick_end, n_blocks = rows.integers(
            number, ",".join([*fields[1:3], *fields[6:8], fields[9]])
        )
        sizes, offsets = rows.integers(number, fields[10]), rows.integers(number, fields[11])
        if not n_blocks == len(sizes) == len(offsets):
            raise rows.bad(number, f"{len(sizes)} block sizes and {len(offsets)} block starts for {n_blocks} blocks")
        starts = [start + offset for offset in offsets]
        ends = [left + size for left, size in zip(starts, sizes, strict=True)]
        cds = sum(max(0, min(b, thick_end) - max(a, thick_start)) for a, b in zip(starts, ends, strict=True))
        rows.add(number, name, contig, strand, start, end, starts, ends, cds)
    return rows.parsed()


class _Rows:
    """Checks rows and gathers them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[object, ...]] = []
        self._left_out: Counter[str] = Counter()

    def bad(self, number: int, problem: str) -> InputError:
        return InputError(f"line {number} of {self._path} has {problem}: mend or remove it")

    def integers(self, number: int, text: str) -> list[int]:
        try:
            return [int(value) for value in text.strip().removesuffix(",").split(",")]
        except ValueError:
            raise self.bad(number, f"{text!r} where whole numbers belong") from None

    def add(
        self,
        number: int,
        name: str,
        contig: str,
        strand: str,
        start: int,
        end: int,
        starts: list[int],
        ends: list[int],
        cds: int,
    ) -> None:
        if len(starts) != len(ends):
            raise self.bad(number, f"{len(starts)} exon starts and {len(ends)} exon ends")
        exons = sorted(zip(starts, ends, strict=True))
        if not 0 <= start < end or any(a >= b for a, b in exons):
            raise self.bad(number, "a start that is not below its end")
        if exons[0][0] < start or max(ends) > end:
            raise self.bad(number, f"exons ({exons[0][0]}-{max(ends)}) outside of the transcript ({start}-{end})")
        if strand not in ("+", "-"):
            self._left_out["no strand"] += 1
            return
        exon_starts, exon_ends = zip(*exons, strict=True)
        name = name or f"{contig}:{start + 1}-{end}"
        gene = len(self._rows)
        self._rows.append((gene, name, "", name, name, contig, strand, start, end, cds, "", [], exon_starts, exon_ends))

    def parsed(self) -> Parsed:
        if not self._rows:
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self._left_out.items()) or "no rows"
            raise InputError(f"{self._path} has no transcript that can be used: {reasons}")
        return Parsed(pl.DataFrame(self._rows, schema=SCHEMA, orient="row"), dict(self._left_out))
