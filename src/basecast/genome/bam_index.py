"""Where each contig's records begin in a sorted BAM, and how many there are, by its .bai or .csi."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import NamedTuple

from basecast.errors import InputError
from basecast.genome.bgzip import DAMAGES, is_gzip

_BAI_SUMMARY = 37450  # the bin that holds no records but what is told of all


class Place(NamedTuple):
    """Where a contig's records begin, as a virtual offset (block << 16 | byte in it), and how many there are."""

    offset: int
    records: int


class Index(NamedTuple):
    """A place for each contig, and how many records have no contig."""

    places: list[Place]
    unplaced: int


def index_of(path: Path) -> Path | None:
    """The index beside a BAM."""
    names = (f"{path.name}.bai", f"{path.stem}.bai", f"{path.name}.csi", f"{path.stem}.csi")
    return next(filter(Path.is_file, map(path.with_name, names)), None)


def read_index(index: Path, n_contigs: int) -> Index:
    """What an index tells.

    Raises:
        InputError: the file is no such index, is damaged, is too old to tell counts, or is that of other contigs.
    """
    content = index.read_bytes()
    try:
        if is_gzip(content):
            content = gzip.decompress(content)
        return _parsed(content, n_contigs)
    except (*DAMAGES, struct.error, ValueError) as error:
        raise InputError(
            f"{index} is no index of this BAM ({error}): make it anew with 'samtools index {index.with_suffix('')}'"
        ) from error


def _parsed(content: bytes, n_contigs: int) -> Index:
    if content[:4] == b"BAI\1":
        is_csi, summary, at = False, _BAI_SUMMARY, 4
    elif content[:4] == b"CSI\1":
        _, depth, extra = struct.unpack_from("<iii", content, 4)
        is_csi, summary, at = True, ((1 << (3 * depth + 3)) - 1) // 7 + 1, 16 + extra
    else:
        raise ValueError("it does not start with an index's signature")
    head = struct.Struct("<IQi" if is_csi else "<Ii")
    count = struct.Struct("<i")
    if count.unpack_from(content, at)[0] != n_contigs:
        raise ValueError(f"it has {count.unpack_from(content, at)[0]:,} contigs, and the BAM {n_contigs:,}")
    at += count.size
    found = []
    for _ in range(n_contigs):
        place = Place(0, 0)
        n_bins = count.unpack_from(content, at)[0]
        at += count.size
        for _ in range(n_bins):
            number, *_, n_chunks = head.unpack_from(content, at)
            at += head.size
            if number == summary:
                first, _, mapped, unmapped = struct.unpack_from("<QQQQ", content, at)
                place = Place(first, mapped + unmapped)
            at += 16 * n_chunks
        if n_bins and not place.records:
            raise ValueError("it does not tell how many records there are")
        found.append(place)
        if not is_csi:
            at += count.size + 8 * count.unpack_from(content, at)[0]
    return Index(found, struct.unpack_from("<Q", content, at)[0] if len(content) >= at + 8 else 0)
