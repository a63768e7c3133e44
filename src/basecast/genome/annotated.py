"""Annotated variant files: what a VCF's lines were, with our INFO keys appended; nothing else of them is touched."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from basecast.errors import UsageError
from basecast.files import close_anyhow, named_errors, whole_file
from basecast.genome.bcf import BcfSink, bgzip_writer, quiet_htslib
from basecast.genome.tabix import remove_indexes, write_index
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.genome.vcf_header import COLUMNS, declared

_SECTIONS = ("INFO", "basecast_run", "basecast_annotation", "basecast_reference")  # where a key of ours has lines
_SUFFIXES = {".vcf": "vcf", ".vcf.gz": "vcf.gz", ".vcf.bgz": "vcf.gz", ".bcf": "bcf"}
_RESERVED = re.compile(r"[\x00-\x20\x7f:;=%,|&\s]")
_LEVEL = 4  # half the time of 6 for 6 % more bytes
_BUFFER = 1 << 18


def percent_encode(text: str) -> str:
    """``text`` as part of an INFO value: what VCF 4.3 reserves (1.2), and ``|``, ``&`` and white space, as %XX."""
    return _RESERVED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def check_target(path: str | Path, reader_path: str | Path | None, others: Iterable[str | Path] = ()) -> None:
    """Stop before any work where the output could not be put down.

    Args:
        others: that are read besides the reader's file.

    Raises:
        UsageError: the folder is missing, ``path`` is a folder, or it is the input itself or one of the others.
    """
    if str(path) == "-":
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(f"the folder of the output {path} does not exist: make it with 'mkdir -p {target.parent}'")
    if target.is_dir():
        raise UsageError(f"the output {path} is a folder: give a file in it")
    if reader_path is not None and target.exists() and target.samefile(reader_path):
        raise UsageError(f"the output {path} is the input itself: give another name")
    if target.exists() and any(Path(other).exists() and target.samefile(other) for other in others):
        raise UsageError(f"the output {path} is one of the inputs: give another name")


@dataclass(frozen=True)
class Generated:
    """Stands for a reader where records come from no file; ``contigs`` have their lengths in bases."""

    contigs: Mapping[str, int]
    name: ClassVar[str] = "what was generated"
    kind: ClassVar[Literal["tsv"]] = "tsv"  # a VCF line is made for each record
    path: ClassVar[None] = None
    header: ClassVar[tuple[bytes, ...]] = ()
    columns: ClassVar[Mapping[str, int]] = {}

    @property
    def contig_lines(self) -> list[str]:
        """Header lines of the contigs."""
        return [f"##contig=<ID={name},length={length}>" for name, length in self.contigs.items()]


class AnnotatedWriter:
    """Write a reader's records with additions to INFO; the file takes its name only when the block ends well.

    The suffix says what is written: ``.vcf``; ``.vcf.gz`` or ``.vcf.bgz`` (bgzip, with a .tbi index, or .csi where a
    contig has 2^29 bases or more); ``.bcf`` (with a .csi index); ``-`` is VCF on standard output. A table becomes
    VCF 4.2.

    Attributes:
        not_sorted: after the block, why the file has no index and what to do; None where it has one or needs none.

    Raises:
        UsageError: before anything is written: unknown suffix, missing folder, the output is the input.
        InputError: a record cannot be put in BCF.
        BasecastError: the disk is full or the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        reader: VariantReader | Generated,
        *,
        header_lines: Sequence[str],
        remove_keys: frozenset[str] = frozenset(),
    ) -> None:
        self.path = str(path)
        self.not_sorted: str | None = None
        self._kind = kind_of(self.path)
        check_target(path, reader.path)
        self._reader = reader
        self._removed = {key.encode() for key in remove_keys}
        self._header = _header(reader, [line.rstrip("\n").encode() for line in header_lines], remove_keys)
        self._pending = bytearray()
        self._order = _Order(reader)

    def __enter__(self) -> AnnotatedWriter:
        with named_errors(self.path), quiet_htslib(), contextlib.ExitStack() as opening:
            if self._kind == "-":
                self._sink: Any = sys.stdout.buffer
            else:
                self._partial = opening.enter_context(whole_file(self.path))
                if self._kind == "bcf":
                    self._sink = BcfSink(self._partial, self._header, self._reader.name)
                    opening.callback(self._sink.discard)
                else:
                    is_bgzip = self._kind == "vcf.gz"
                    self._sink = bgzip_writer(str(self._partial), _LEVEL) if is_bgzip else self._partial.open("wb")
                    opening.callback(close_anyhow, self._sink)
            self._opened = opening.pop_all()
        if self._kind != "bcf":
            self._pending += b"".join(line + b"\n" for line in self._header)
        return self

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> None:
        if exception is not None:
            with quiet_htslib():
                self._opened.__exit__(kind, exception, traceback)
            return
        # left from right to left: the index takes its name after the data, so that it is never older
        with named_errors(self.path), quiet_htslib(), contextlib.ExitStack() as index, self._opened:
            self._flush()
            if self._kind == "-":
                self._sink.flush()
                return
            self._sink.close()
            if self._kind != "vcf":
                self._index(index)

    def write(self, record: VariantRecord, additions: Sequence[tuple[str, str]]) -> None:
        """Write one record with ``key=value`` of each addition at the end of its INFO."""
        added = ";".join([f"{key}={value}" for key, value in additions]).encode()
        self._pending += self._made(record, added) if self._reader.kind == "tsv" else self._appended(record.line, added)
        self._pending += b"\n"
        self._order.note(record)
        if len(self._pending) >= _BUFFER:
            with named_errors(self.path), quiet_htslib():
                self._flush()

    def _flush(self) -> None:
        self._sink.write(bytes(self._pending))
        self._pending.clear()

    def _appended(self, line: bytes, added: bytes) -> bytes:
        fields = line.split(b"\t", 8)
        info = fields[7]
        end = b""
        if info.endswith(b"\r"):  # no column follows: the Windows line end stays last
            info, end = info[:-1], b"\r"
        if self._removed:
            kept = [entry for entry in info.split(b";") if entry.split(b"=", 1)[0] not in self._removed]
            info = b";".join(kept) or b"."
        if added:
            info = added if info in (b"", b".") else info + b";" + added
        fields[7] = info + end
        return b"\t".join(fields)

    def _made(self, record: VariantRecord, added: bytes) -> bytes:
        """A VCF line for a table's row."""
        fields = record.line.split(b"\t")
        column = self._reader.columns.get("ID", len(fields))
        name = fields[column] if column < len(fields) else b""
        alts = ",".join(record.alts) or "."
        start, end = f"{record.contig}\t{record.position}\t", f"\t{record.ref}\t{alts}\t.\t.\t"
        return start.encode() + (name or b".") + end.encode() + (added or b".")

    def _index(self, later: contextlib.ExitStack) -> None:
        """Build the index; ``later`` gives it its name. A file of an earlier run's is removed either way."""
        remove_indexes(self.path)
        problem = self._order.broken
        if problem is None:
            preset: Any = "bcf" if self._kind == "bcf" else "vcf"
            try:
                write_index(self._partial, self.path, preset, self._order.largest, later)
                return
            except OSError as error:  # the scores are worth keeping without it
                problem = str(error)
        self.not_sorted = (
            f"{self.path} has no index ({problem}): 'bcftools sort --write-index -o SORTED {self.path}' makes both"
        )


class _Order:
    """Whether records come sorted and each contig in one stretch, as an index needs them."""

    def __init__(self, reader: VariantReader | Generated) -> None:
        self.broken: str | None = None
        self.largest = max((length or 0 for length in reader.contigs.values()), default=0)
        self._seen: set[str] = set()
        self._contig, self._start = "", 0

    def note(self, record: VariantRecord) -> None:
        if record.contig != self._contig:
            if record.contig in self._seen:
                self._break(record, "after other contigs")
            self._seen.add(record.contig)
        elif record.start < self._start:
            self._break(record, f"after {self._contig}:{self._start + 1}")
        self._contig, self._start = record.contig, record.start
        if (end := record.start + len(record.ref)) > self.largest:
            self.largest = end

    def _break(self, record: VariantRecord, after: str) -> None:
        self.broken = self.broken or f"record {record.number}, {record.contig}:{record.position}, comes {after}"


def kind_of(path: str, *others: str) -> str:
    """What is written there, by the suffix; ``others`` are named too where it is none that is known.

    Raises:
        UsageError: it is none that is known.
    """
    if path == "-":
        return path
    for suffix, kind in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            return kind
    raise UsageError(
        f"what to write to {path} is not clear from its name: end it with {', '.join((*_SUFFIXES, *others))}"
    )


def _header(reader: VariantReader | Generated, added: Sequence[bytes], remove_keys: frozenset[str]) -> list[bytes]:
    if reader.kind == "tsv":
        return [b"##fileformat=VCFv4.2", *added, b"\t".join(COLUMNS)]
    kept = [
        line
        for line in reader.header
        if not any(declared([line], section).keys() & remove_keys for section in _SECTIONS)
    ]
    end = b"\r" if kept[-1].endswith(b"\r") else b""
    return [*kept[:-1], *(line + end for line in added), kept[-1]]
