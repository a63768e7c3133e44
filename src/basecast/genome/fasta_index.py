"""The index of a FASTA (`.fai`): made, read, and held against the FASTA before it is trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from basecast.errors import InputError

_CHUNK = 1 << 22
_LONGEST_HEADER = 1 << 14
_HEADERS_LOOKED_AT = 25


class Entry(NamedTuple):
    """One contig: its bases, the byte its sequence starts at, bases and bytes of its full lines."""

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    @property
    def end(self) -> int:
        """The byte after its last base."""
        if not self.length:
            return self.offset
        lines, column = divmod(self.length - 1, self.line_bases)
        return self.offset + lines * self.line_bytes + column + 1


def read_entries(index: Path) -> list[Entry]:
    """The entries of a `.fai`; ValueError where it is none."""
    entries = []
    for line in index.read_text(encoding="utf-8").splitlines():
        name, *numbers = line.split("\t")
        length, offset, line_bases, line_bytes = map(int, numbers)
        if min(length, offset) < 0 or not 0 <= line_bases <= line_bytes or (length and not line_bases):
            raise ValueError(f"{index} is not a FASTA index: {line!r}")
        entries.append(Entry(name, length, offset, line_bases, line_bytes))
    return entries


def write_entries(entries: Sequence[Entry], index: Path) -> None:
    index.write_text("".join("\t".join(map(str, entry)) + "\n" for entry in entries), encoding="utf-8")


def fits(entries: Sequence[Entry], size: int, read: Callable[[int, int], bytes]) -> bool:
    """Whether entries are those of a text of ``size`` bytes that ``read(start, end)`` shows parts of.

    Contigs and headers must fill the text from its first byte to its last; a few of them are looked at.
    """
    if not entries or not 0 <= size - entries[-1].end <= _LONGEST_HEADER:
        return False
    gaps = list(zip([0, *(entry.end for entry in entries[:-1])], entries, strict=True))
    if any(not len(entry.name) + 2 <= entry.offset - end <= _LONGEST_HEADER for end, entry in gaps):
        return False
    for end, entry in {*gaps[:: -(-len(gaps) // _HEADERS_LOOKED_AT)], gaps[-1]}:
        header = read(end, entry.offset)
        one_line = header.endswith(b"\n") and b"\n" not in header.strip()
        if not one_line or header.split(maxsplit=1)[0] != b">" + entry.name.encode():
            return False
        if (
            entry.length > entry.line_bases
            and read(entry.offset + entry.line_bases, entry.offset + entry.line_bytes).strip()
        ):
            return False
    return not read(entries[-1].end, size).strip()


class _Record:
    """A contig while its lines go by."""

    def __init__(self, name: str, offset: int) -> None:
        self.name = name
        self.offset = offset
        self.length = 0
        self.line_bytes = 0
        self._ended = False

    def add(self, widths: NDArray[np.int64], newline: int) -> int | None:
        """Takes lines of so many bytes; returns the first that may not follow those before it."""
        if not widths.size:
            return None
        self.line_bytes = self.line_bytes or int(widths[0])
        self.length += int(widths.sum()) - newline * widths.size
        limits = np.full(widths.size, newline if self._ended else self.line_bytes)
        not_full = np.flatnonzero(widths != self.line_bytes)
        if not_full.size:  # such a line is the contig's last; blank ones may follow
            limits[not_full[0] + 1 :] = newline
            self._ended = True
        wrong = np.flatnonzero(widths > limits)
        return int(wrong[0]) if wrong.size else None

    def entry(self, newline: int) -> Entry:
        return Entry(self.name, self.length, self.offset, max(self.line_bytes - newline, 0), self.line_bytes)


def require_fasta(start: bytes, path: Path) -> None:
    """Raises InputError unless a text that starts so may be a FASTA."""
    if start and not start.startswith(b">"):
        raise InputError(f"{path} is no FASTA (nor 2bit): it starts with {start[:20]!r} instead of '>'")


def scan(text: BinaryIO, path: Path) -> list[Entry]:
    """The entries of a FASTA, read through once; ``path`` is its name in messages.

    Raises:
        InputError: it is empty or no FASTA, two contigs share a name, or a contig's lines differ in length.
    """
    records: dict[str, _Record] = {}
    record: _Record | None = None
    position = line_start = n_lines = newline = 0

    def add(widths: NDArray[np.int64], first_line: int) -> None:
        wrong = record.add(widths, newline) if record else None
        if record and wrong is not None:
            raise InputError(
                f"line {first_line + wrong + 1} of {path}: the lines of contig {record.name!r} differ in length, so it "
                "cannot be read at random; wrap it anew, for example with seqkit seq -w 60"
            )

    while chunk := _whole_headers(text, line_start == position, path):
        if not position:
            require_fasta(chunk, path)
        codes = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(codes == ord("\n")) + (position + 1)
        returns = chunk.count(b"\r")
        if ends.size:
            if returns not in (0, ends.size) or newline not in (0, 1 + bool(returns)):
                raise InputError(f"{path} mixes line ends of Windows and Unix: convert it with dos2unix")
            newline = 1 + bool(returns)
            starts = np.concatenate(([line_start], ends[:-1]))
            is_header = (starts >= position) & (codes[np.maximum(starts - position, 0)] == ord(">"))
            headers = np.flatnonzero(is_header).tolist()
            add((ends - starts)[: headers[0] if headers else None], n_lines)
            for header, following in pairwise([*headers, ends.size]):
                line = chunk[starts[header] - position : ends[header] - position]
                record = _Record(_name(line, n_lines + header + 1, path), int(ends[header]))
                if record.name in records:
                    where = f"line {n_lines + header + 1} of {path}"
                    raise InputError(f"{where}: a second contig named {record.name!r}; the names must differ")
                records[record.name] = record
                add((ends - starts)[header + 1 : following], n_lines + header + 1)
            line_start = int(ends[-1])
            n_lines += ends.size
        position += len(chunk)
    if line_start < position:
        add(np.array([position - line_start + newline]), n_lines)
    if not any(record.length for record in records.values()):
        raise InputError(f"{path} is empty: it holds no sequence")
    return [record.entry(newline) for record in records.values()]


def _whole_headers(text: BinaryIO, at_line_start: bool, path: Path) -> bytes:
    """The next bytes, which end neither within a header nor between a carriage return and its newline."""
    chunk = text.read(_CHUNK)
    last_line = chunk.rfind(b"\n") + 1
    if (last_line or at_line_start) and chunk.startswith(b">", last_line):
        chunk += text.readline()
        if not chunk.endswith(b"\n"):
            raise InputError(
                f"{path} ends within a header: it is truncated or its lines do not end in newlines; fetch it again or "
                "convert it with mac2unix"
            )
    elif chunk.endswith(b"\r"):
        chunk += text.read(1)
    return chunk


def _name(header: bytes, line: int, path: Path) -> str:
    words = header[1:].split(maxsplit=1)
    if not words or not header.startswith(words[0], 1):
        raise InputError(f"line {line} of {path}: '>' without a name right behind it; give the contig a name")
    try:
        return words[0].decode()
    except UnicodeDecodeError as error:
        raise InputError(f"line {line} of {path}: the contig's name is not UTF-8; rename it") from error
