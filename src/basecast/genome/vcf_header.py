"""The header of a VCF: what it declares."""

from __future__ import annotations

import re
from collections.abc import Iterable

COLUMNS = (b"#CHROM", b"POS", b"ID", b"REF", b"ALT", b"QUAL", b"FILTER", b"INFO")

_DECLARATION = re.compile(rb"##(\w+)=<(?:.*?,)??ID=([^,>]+)")
_LENGTH = re.compile(rb"[<,]length=(\d+)")


def declared(header: Iterable[bytes], section: str) -> dict[str, bytes]:
    """IDs of the ``##section=<ID=...>`` lines, with their lines."""
    found = ((_DECLARATION.match(line), line) for line in header)
    return {text(match[2]): line for match, line in found if match and match[1] == section.encode()}


def contig_lengths(header: Iterable[bytes]) -> dict[str, int | None]:
    """Contigs of the ``##contig`` lines, with their lengths in bases where they are given."""
    lengths = {contig: _LENGTH.search(line) for contig, line in declared(header, "contig").items()}
    return {contig: int(length[1]) if length else None for contig, length in lengths.items()}


def text(field: bytes) -> str:
    """A field of a VCF, which may hold bytes that are no UTF-8."""
    try:
        return field.decode()
    except UnicodeDecodeError:
        return field.decode(errors="backslashreplace")
