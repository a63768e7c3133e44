"""Small files of alignments, made by pysam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pysam

LENGTHS = {"chr1": 100_000, "chr2": 50_000, "empty": 1_000, "chr3": 20_000}


def header(lengths: Mapping[str, int] = LENGTHS, order: str | None = "coordinate") -> pysam.AlignmentHeader:
    first = {"HD": {"VN": "1.6", **({"SO": order} if order else {})}}
    return pysam.AlignmentHeader.from_dict({**first, "SQ": [{"SN": n, "LN": size} for n, size in lengths.items()]})


def line(
    name: str = "r",
    flag: int = 0,
    contig: str = "chr1",
    start: int = 100,
    cigar: str = "50M",
    mapq: int = 40,
    template: int = 0,
    mate: int | None = None,
    tags: Sequence[str] = (),
) -> str:
    """A SAM line; ``start`` and ``mate`` from 0."""
    place = ["*", "0"] if mate is None else ["=", str(mate + 1)]
    position = "0" if contig == "*" else str(start + 1)
    return "\t".join([name, str(flag), contig, position, str(mapq), cigar, *place, str(template), "*", "*", *tags])


def write(
    path: Path,
    lines: Sequence[str],
    *,
    lengths: Mapping[str, int] = LENGTHS,
    order: str | None = "coordinate",
    index: bool = True,
    mode: str = "wb",
    **options: Any,
) -> Path:
    """A file of these alignments, which are sorted where ``order`` is "coordinate"."""
    told = header(lengths, order)
    records = [pysam.AlignedSegment.fromstring(each, told) for each in lines]
    if order == "coordinate":
        records.sort(key=lambda r: (r.reference_id < 0, r.reference_id, r.reference_start))
    with pysam.AlignmentFile(str(path), mode, header=told, **options) as out:
        for record in records:
            out.write(record)
    if index and mode == "wb":
        pysam.index(*(["-c"] if max(lengths.values()) >= 1 << 29 else []), str(path))
    return path
