"""Variant files: VCF (plain, gzip, bgzip), BCF and tables, told apart by their content, read as a stream of records."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from basecast.errors import InputError
from basecast.genome import bcf, bgzip
from basecast.genome.vcf_header import COLUMNS, contig_lengths, declared, text

_TABLE_COLUMNS = {4: ("CHROM", "POS", "REF", "ALT"), 5: ("CHROM", "POS", "ID", "REF", "ALT")}
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """One record as its file has it; ``start`` is 0-based, all else is as written.

    ``line`` is everything before the newline: in a VCF with Windows line ends its last byte is the carriage return.
    """

    number: int
    contig: str
    start: int
    ref: str
    alts: tuple[str, ...]
    line: bytes

    @property
    def position(self) -> int:
        """POS as written, 1-based."""
        return self.start + 1


class VariantReader:
    """The records of a variant file, once, in constant memory; ``-`` is standard input.

    What a file is, its content says: VCF, gzip or bgzip of it, BCF, or a tab-separated table with the columns CHROM,
    POS, REF and ALT named in its first line (in any case), or with no names and exactly ``chrom pos [id] ref alt``.
    A VCF without its #CHROM line is read as such a table.

    Attributes:
        kind: what the records came as.
        name: the file in messages.
        path: the file, or None for standard input.
        header: the lines before the first record, each without its newline.
        contigs: contigs the header declares, with their lengths in bases where it gives them.
        info_keys: INFO keys the header declares.
        samples: names of the sample columns.
        columns: where a table's columns are, by upper-case name; empty for VCF and BCF.

    Raises:
        InputError: on opening: no such file, empty, none of the above, no #CHROM line, a bgzip file without its end.
            While iterating: a line that is no record, or an end that comes too early.
    """

    kind: Literal["vcf", "bcf", "tsv"] = "vcf"

    def __init__(self, path: str | Path) -> None:
        self.path = None if str(path) == "-" else Path(path)
        self.name = "<stdin>" if self.path is None else str(path)
        self.header: list[bytes] = []
        self.columns: dict[str, int] = {}
        self.samples: tuple[str, ...] = ()
        self._n_lines = 0
        with contextlib.ExitStack() as opening:
            lines = self._read_header(self._open(opening))
            self._opened = opening.pop_all()
        self.contigs = contig_lengths(self.header)
        self.info_keys = set(declared(self.header, "INFO"))
        self._records = self._table_records(lines) if self.kind == "tsv" else self._vcf_records(lines)

    def __enter__(self) -> VariantReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def __iter__(self) -> Iterator[VariantRecord]:
        """The same iterator each time: who has taken some records gets the rest."""
        return self._records

    def _open(self, opening: contextlib.ExitStack) -> Iterator[bytes]:
        """Lines without newlines, whatever they come packed in."""
        try:
            if self.path is None:
                source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # no lock that a thread could die with
            else:
                source = opening.enter_context(self.path.open("rb", buffering=0))
            tail = _Tail(source)
            packed = io.BufferedReader(tail, _CHUNK)
            head = packed.peek()
        except OSError as error:
            raise InputError(f"{self.name} cannot be read ({error.strerror}): check the path and the rights") from error
        is_gzip, is_bgzip = bgzip.is_gzip(head), bgzip.is_bgzip(head)
        if is_bgzip and self.path is not None and self.path.is_file():
            bgzip.require_end(self.path)
        try:
            start = zlib.decompressobj(wbits=31).decompress(head, 3) if is_gzip else head[:3]
        except zlib.error:
            self._fail_cut_off()
        lines: Iterator[bytes]
        if start == b"BCF":
            self.kind = "bcf"
            chunks = iter(lambda: packed.read1(_CHUNK), b"")
            lines = opening.enter_context(contextlib.closing(bcf.lines(chunks)))
        elif is_gzip:
            lines = io.BufferedReader(gzip.GzipFile(fileobj=packed), 16 * _CHUNK)
        else:
            lines = packed
        return self._whole_lines(lines, tail if is_bgzip else None)

    def _whole_lines(self, lines: Iterator[bytes], tail: _Tail | None) -> Iterator[bytes]:
        try:
            for self._n_lines, line in enumerate(lines, 1):
                yield line.rstrip(b"\n")
        except (OSError, EOFError, zlib.error):
            self._fail_cut_off()
        if tail is not None and tail.last != bgzip.END:
            self._fail_cut_off()

    def _fail_cut_off(self) -> NoReturn:
        after = f" somewhere after {self._place()}" if self._n_lines else ""
        raise InputError(
            f"{self.name} is cut off or damaged{after} (compressed data without their end): "
            "copy it again, or make it again with bgzip or bcftools"
        )

    def _fail(self, problem: str, remedy: str) -> NoReturn:
        raise InputError(f"{self.name}, {self._place()}: {problem}: {remedy}")

    def _place(self) -> str:
        return f"record {self._n_lines - len(self.header)}" if self.kind == "bcf" else f"line {self._n_lines}"

    def _read_header(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Take the header off and settle what the file is; the first record of a nameless table is put back."""
        line = next(lines, None)
        while line is not None and line.startswith(b"##"):
            self.header.append(line)
            line = next(lines, None)
        if line is None and not self.header:
            raise InputError(f"{self.name} is empty: give a VCF, a BCF or a table with CHROM, POS, REF and ALT")
        line = line or b""
        fields = line.rstrip(b"\r").split(b"\t")
        has_place = len(fields) > 1 and fields[1].isdigit()
        is_headless = bool(self.header) and self.header[0].startswith(b"##fileformat=VCF")
        if tuple(fields[:8]) == COLUMNS:
            self.samples = tuple(text(name) for name in fields[9:])
        elif is_headless and not (has_place and len(fields) >= 5):
            columns = text(b"\t".join(COLUMNS)).replace("\t", "<tab>")
            self._fail("the header does not end with a #CHROM line", f"put one before the records: {columns}")
        else:
            self.kind = "tsv"
            names = [text(name).lstrip("#").strip().upper() for name in fields]
            if not {"CHROM", "POS", "REF", "ALT"}.issubset(names):
                known = 5 if is_headless else len(fields)
                if known not in _TABLE_COLUMNS or not has_place:
                    self._fail_unknown()
                self.columns = {name: column for column, name in enumerate(_TABLE_COLUMNS[known])}
                return itertools.chain([line], lines)
            self.columns = {name: column for column, name in reversed(list(enumerate(names)))}
        self.header.append(line)
        return lines

    def _fail_unknown(self) -> NoReturn:
        raise InputError(
            f"{self.name} is not a VCF or BCF, nor a table of variants (line {self._n_lines} has neither the names "
            "CHROM, POS, REF and ALT nor 4 or 5 columns chrom, pos, [id,] ref, alt): give one of these, parted by tabs"
        )

    def _vcf_records(self, lines: Iterator[bytes]) -> Iterator[VariantRecord]:
        numbers = itertools.count(1)
        for line in lines:
            fields = line.split(b"\t", 7)
            if len(fields) < 8:
                if not line.strip():
                    continue
                self._fail(f"{len(fields)} of the 8 columns a VCF has (parted by tabs)", "mend or remove the line")
            yield self._record(next(numbers), fields[0], fields[1], fields[3], fields[4], line)

    def _table_records(self, lines: Iterator[bytes]) -> Iterator[VariantRecord]:
        numbers = itertools.count(1)
        contig, position, ref, alt = (self.columns[name] for name in ("CHROM", "POS", "REF", "ALT"))
        n_columns = 1 + max(contig, position, ref, alt)
        for ended in lines:
            line = ended.rstrip(b"\r")
            fields = line.split(b"\t")
            if len(fields) < n_columns:
                if not line.strip():
                    continue
                self._fail(f"{len(fields)} of at least {n_columns} columns (parted by tabs)", "mend or remove the line")
            yield self._record(next(numbers), fields[contig], fields[position], fields[ref], fields[alt], line)

    def _record(self, number: int, contig: bytes, pos: bytes, ref: bytes, alt: bytes, line: bytes) -> VariantRecord:
        if not pos.isdigit():
            self._fail(f"POS is {text(pos)!r}, not a whole number", "mend or remove the line")
        alts = () if alt in (b".", b"") else tuple(text(alt).split(","))
        return VariantRecord(number, text(contig), int(pos) - 1, text(ref), alts, line)


def info_keys_in(record: VariantRecord) -> set[str]:
    """INFO keys that a record of a VCF or BCF uses, declared or not."""
    info = record.line.split(b"\t", 8)[7].rstrip(b"\r")
    return {text(entry.split(b"=", 1)[0]) for entry in info.split(b";") if entry not in (b"", b".")}


class _Tail(io.RawIOBase):
    """A binary source that remembers its last bytes, where a bgzip stream has its end marker."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.last = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        total = 0
        while total < len(buffer) and (n_read := self._source.readinto(buffer[total:])):
            total += n_read
        self.last = (self.last + bytes(buffer[max(0, total - len(bgzip.END)) : total]))[-len(bgzip.END) :]
        return total
