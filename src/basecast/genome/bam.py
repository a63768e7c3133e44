"""The records of BAM as arrays: thousands at once, for a Python object a record takes microseconds.

Format: the SAM/BAM specification, section 4.2 (https://samtools.github.io/hts-specs).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAGIC = b"BAM\1"
UNMAPPED, REVERSE, FIRST, SECOND, SECONDARY = 0x4, 0x10, 0x40, 0x80, 0x100
PAIRED, PROPER, QC_FAIL, DUPLICATE, SUPPLEMENTARY = 0x1, 0x2, 0x200, 0x400, 0x800

FIELDS = np.dtype(
    [
        ("size", "<i4"),
        ("contig", "<i4"),
        ("start", "<i4"),
        ("name_size", "u1"),
        ("mapq", "u1"),
        ("bin", "<u2"),
        ("n_operations", "<u2"),
        ("flag", "<u2"),
        ("n_bases", "<i4"),
        ("mate_contig", "<i4"),
        ("mate_start", "<i4"),
        ("template", "<i4"),
    ]
)
PADDING = 64  # bytes behind the records, so that words may be read beyond the last
_FEW_BLOCKS = 4  # to walk through one record at a time is as fast
_PLAIN = np.dtype((np.void, FIELDS.itemsize))  # six times as fast to pick from
_LEAST = FIELDS.itemsize - 4  # bytes of a record
_SIZE = struct.Struct("<i").unpack_from
_IN_REFERENCE = np.isin(np.arange(16), [0, 2, 3, 7, 8])  # M D N = X
_IS_INTRON = 3
_TAG_SIZES = np.zeros(256, np.int64)
_TAG_SIZES[[ord(kind) for kind in "AcCsSiIf"]] = [1, 1, 1, 2, 2, 4, 4, 4]
_INTEGERS = {ord("c"): "i1", ord("C"): "u1", ord("s"): "<i2", ord("S"): "<u2", ord("i"): "<i4", ord("I"): "<u4"}
_NULS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


class Header(NamedTuple):
    """What a BAM says first."""

    lengths: dict[str, int]
    is_sorted: bool  # by position, as it says
    size: int  # bytes


def header(content: bytes) -> Header | None:
    """The header at the start of a BAM's bytes; None where they end before it does.

    Raises:
        ValueError: these are no bytes of a BAM, or a contig stands there twice.
    """
    if len(content) < 12:
        return None
    if content[:4] != MAGIC:
        raise ValueError("it does not start with BAM's signature")
    at = 8 + _SIZE(content, 4)[0]
    if len(content) < at + 4:
        return None
    text, count = content[8:at].split(b"\n", 1)[0], _SIZE(content, at)[0]
    at += 4
    lengths: dict[str, int] = {}
    for _ in range(count):
        if len(content) < at + 4 or len(content) < (end := at + 8 + _SIZE(content, at)[0]):
            return None
        name = content[at + 4 : end - 5].decode()
        if name in lengths:
            raise ValueError(f"its header has the contig {name!r} twice")
        lengths[name] = struct.unpack_from("<I", content, end - 4)[0]
        at = end
    return Header(lengths, text.startswith(b"@HD") and b"SO:coordinate" in text, at)


def record_offsets(content: bytes, blocks: Ints) -> tuple[Ints, int]:
    """Where the whole records begin, and where the last of them ends.

    Args:
        content: records and ``PADDING`` bytes more.
        blocks: where blocks of bgzip begin in it. Most programs begin each with a record, so that all can be walked
            through at once; where that is not so, it is found out, and the walk takes one record after the other.

    Raises:
        ValueError: a record's size is impossible.
    """
    size = len(content) - PADDING
    if len(blocks) < _FEW_BLOCKS:
        return _walk(content, size)
    at, ends = blocks, np.append(blocks, size)[1:]
    words = np.ndarray((len(content) - 3,), "<i4", content, strides=(1,))
    found: list[Ints] = [np.empty(0, np.int64)]
    while len(at):
        is_open = at < ends
        if np.count_nonzero(is_open) < len(at):
            if (at > ends).any():
                return _walk(content, size)
            at, ends = at[is_open], ends[is_open]
            continue
        found.append(at)
        sizes = words[at]
        if np.count_nonzero(sizes < _LEAST):
            return _walk(content, size)
        at = at + sizes
        at += 4
    return np.sort(np.concatenate(found)), size


def _walk(content: bytes, end: int) -> tuple[Ints, int]:
    offsets: list[int] = []
    add = offsets.append
    at = 0
    while at + 4 <= end:
        size = _SIZE(content, at)[0]
        if size < _LEAST:
            raise ValueError(f"a record has {size} bytes")
        if at + 4 + size > end:
            break
        add(at)
        at += 4 + size
    return np.array(offsets, np.int64), at


class Records:
    """Some records of a BAM.

    Attributes:
        fields: the fields that every record has, shape (records,).
    """

    def __init__(self, content: bytes, offsets: Ints, fields: NDArray[np.void] | None = None) -> None:
        """``content`` has ``PADDING`` bytes more than the records, which begin at ``offsets``."""
        self._content = content
        self._offsets = offsets
        self.fields = self._at(offsets, FIELDS) if fields is None else fields

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, rows: Bools | Ints) -> Records:
        plain = self.fields.view(_PLAIN)
        return Records(self._content, self._offsets[rows], plain[rows].view(FIELDS))

    def has(self, flags: int) -> Bools:
        """Which records have any of the flags."""
        return (self.fields["flag"] & flags) != 0

    @cached_property
    def starts(self) -> Ints:
        """0-based first base of each on the reference."""
        return self.fields["start"].astype(np.int64)

    @cached_property
    def ends(self) -> Ints:
        """Where each ends on the reference: deletions and introns count, at least one base."""
        owner, operation, length = self._operations
        spans = np.bincount(owner, length * _IN_REFERENCE[operation], len(self)).astype(np.int64)
        return self.starts + np.maximum(spans, 1)

    def blocks(self) -> tuple[Ints, Ints, Ints]:
        """Stretches between introns, in order: which record, first base and end."""
        owner, operation, length = self._operations
        kept = _IN_REFERENCE[operation]
        owner, is_intron, length = owner[kept], operation[kept] == _IS_INTRON, length[kept]
        if not len(owner):
            return owner, owner, owner
        reach = np.cumsum(length)
        before = np.append(0, reach)[np.searchsorted(owner, np.arange(len(self)))]
        begins = self.starts[owner] + reach - length - before[owner]
        turns = (owner[1:] != owner[:-1]) | (is_intron[1:] != is_intron[:-1])
        opens = ~is_intron & np.append(True, turns)
        closes = ~is_intron & np.append(turns, True)
        return owner[opens], begins[opens], (begins + length)[closes]

    @cached_property
    def _operations(self) -> tuple[Ints, NDArray[np.uint8], Ints]:
        """Of each operation of the alignments: which record, the operation, how many bases."""
        counts = self.fields["n_operations"].astype(np.int64)
        owner = np.repeat(np.arange(len(self)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = (self._offsets + FIELDS.itemsize + self.fields["name_size"])[owner] + 4 * within
        words = self._at(places, np.dtype("<u4"))
        return owner, (words & 15).astype(np.uint8), (words >> 4).astype(np.int64)

    def name(self, row: int) -> str:
        at = int(self._offsets[row]) + FIELDS.itemsize
        return self._content[at : at + int(self.fields["name_size"][row]) - 1].decode(errors="replace")

    def name_digests(self) -> NDArray[np.uint64]:
        """128 bits of each record's name, shape (records, 2): equal for equal names, for others never by chance."""
        sizes = self.fields["name_size"].astype(np.int64) - 1
        first, second = sizes.astype(np.uint64), ~sizes.astype(np.uint64)
        for at in range(0, int(sizes.max(initial=0)), 8):
            rows = np.flatnonzero(sizes > at)
            words = self._at(self._offsets[rows] + FIELDS.itemsize + at, np.dtype("<u8"))
            left = np.minimum(sizes[rows] - at, 8).astype(np.uint64)
            words = words & (~np.uint64(0) >> (np.uint64(64) - np.uint64(8) * left))
            first[rows] = _mixed(first[rows] ^ words, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
            second[rows] = _mixed(second[rows] + words, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
        return np.stack([first, second], axis=1)

    def tags(self, *names: str) -> Mapping[str, tuple[Ints, Ints]]:
        """For each of these tags the records that have it, and where in the content its type and value stand."""
        codes = {int.from_bytes(name.encode(), "little"): name for name in names}
        found: dict[str, list[tuple[Ints, Ints]]] = {name: [] for name in names}
        fixed = self.fields
        at = self._offsets + FIELDS.itemsize + fixed["name_size"] + 4 * fixed["n_operations"].astype(np.int64)
        at += (fixed["n_bases"].astype(np.int64) + 1) // 2 + fixed["n_bases"]
        ends = self._offsets + 4 + fixed["size"]
        rows, missing = np.arange(len(self)), np.full(len(self), len(codes))
        while True:
            is_open = (at + 3 <= ends) & (missing > 0)
            if np.count_nonzero(is_open) < len(rows):
                rows, at, ends, missing = (each[is_open] for each in (rows, at, ends, missing))
            if not len(rows):
                break
            heads = self._at(at, np.dtype("<u4")) & 0xFFFFFF
            if (heads == heads[0]).all():  # programs write the same tags in the same order
                every: list[tuple[int, Any]] = [(int(heads[0]), slice(None))]
            else:
                every = [(head, np.flatnonzero(heads == head)) for head in np.unique(heads).tolist()]
            for head, some in every:
                here = at[some]
                if name := codes.get(head & 0xFFFF):
                    found[name].append((rows[some], here + 2))
                    missing[some] -= 1
                at[some] = here + 3 + self._tag_sizes(here + 3, head >> 16, rows[some])
        nothing = np.empty(0, np.int64)
        return {
            name: tuple(np.concatenate([nothing, *parts]) for parts in zip(*pairs, strict=True)) or (nothing, nothing)  # type: ignore[misc]
            for name, pairs in found.items()
        }

    def _tag_sizes(self, places: Ints, kind: int, rows: Ints) -> Ints | int:
        """Bytes of values of one type, of tags of these records."""
        if kind in b"ZH":
            return self._text_sizes(places)
        if kind == ord("B"):
            counts = self._at(places + 1, np.dtype("<i4")).astype(np.int64)
            return 5 + counts * _TAG_SIZES[self._at(places, np.dtype("u1"))]
        if size := int(_TAG_SIZES[kind]):
            return size
        raise ValueError(f"a tag of unknown type in record {self.name(int(rows[0]))!r}")

    def integers(self, places: Ints) -> Ints:
        """Values of tags at ``places``, as `tags` gives them; -1 where one is no integer."""
        values = np.full(len(places), -1)
        kinds = self._at(places, np.dtype("u1"))
        for kind, form in _INTEGERS.items():
            if len(rows := np.flatnonzero(kinds == kind)):
                values[rows] = self._at(places[rows] + 1, np.dtype(form))
        return values

    def text(self, place: int) -> str | None:
        """The value of the tag at ``place``, as `tags` gives it; None if it is no text."""
        if self._content[place] != ord("Z"):
            return None
        return self._content[place + 1 : self._content.index(b"\0", place)].decode(errors="replace")

    def _text_sizes(self, places: Ints) -> Ints:
        """Bytes up to and with the NUL that ends each text."""
        sizes, rows = np.zeros(len(places), np.int64), np.arange(len(places))
        while len(rows):
            words = self._at(places, np.dtype("<u8"))
            nuls = (words - _NULS[0]) & ~words & _NULS[1]  # the lowest bit that is set is exact
            has_ended = nuls != 0
            # without a NUL all 64 bits are below it
            sizes[rows] += (np.bitwise_count((nuls & -nuls) - np.uint64(1)) >> 3) + has_ended
            rows, places = rows[~has_ended], places[~has_ended] + 8
            is_inside = places + 8 <= len(self._content)
            rows, places = rows[is_inside], places[is_inside]
        return sizes

    def _at(self, places: Ints, form: np.dtype[Any]) -> NDArray[Any]:
        """What stands at these bytes."""
        plain = _PLAIN if form == FIELDS else form
        every = np.ndarray((len(self._content) - form.itemsize + 1,), plain, self._content, strides=(1,))
        return every[places].view(form)


def _mixed(words: NDArray[np.uint64], one: int, other: int) -> NDArray[np.uint64]:
    """Bits spread over all 64, one to one (the finalisers of splitmix64 and murmur3)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(one)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(other)
    return words ^ (words >> np.uint64(31))
