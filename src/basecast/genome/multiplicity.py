"""In how many places a read lies, as its alignments tell it.

Aligners tell it in three ways. NH is the number of records that the read has (STAR, HISAT2, TopHat). XA lists the other
places in the read's only record (BWA). Without either the read's records are all there is: one is primary, the others
are flagged secondary or count on in HI (Bowtie2 -k, bwa mem -a).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.genome.bam import SECONDARY, Bools, Ints, Records

_OPERATION = re.compile(r"(\d+)([MIDNSHP=X])")


@dataclass(frozen=True)
class Multiplicity:
    """Of some records.

    Attributes:
        places: of the read in the genome, as NH or XA tell; 0 where neither is there.
        listed: records that list other places, and the lists.
        is_other: which are not the read's first record.
    """

    places: Ints
    listed: Mapping[int, str]
    is_other: Bools


class OtherPlace(NamedTuple):
    """A place in a list: contig, strand, and stretches of aligned bases."""

    contig: str
    is_reverse: bool
    blocks: tuple[tuple[int, int], ...]


def multiplicity(records: Records, source: str) -> Multiplicity:
    """What the tags and flags of records tell; ``source`` is the file, for messages.

    Raises:
        InputError: a record has both NH and XA.
    """
    counts = np.zeros(len(records), np.int64)
    is_other = records.has(SECONDARY)
    listed: dict[int, str] = {}
    tags = records.tags("NH", "HI", "XA")
    rows, at = tags["NH"]
    counts[rows] = np.maximum(records.integers(at), 0)
    rows, at = tags["HI"]
    is_other[rows[(records.integers(at) > 1) & (counts[rows] == 0)]] = True
    for row, place in zip(*(each.tolist() for each in tags["XA"]), strict=True):
        if (text := records.text(place)) is None or is_other[row]:  # in Bowtie's files XA is a number of another kind
            continue
        if counts[row]:
            raise InputError(
                f"{source}: read {records.name(row)!r} has both NH and XA, which count its places in two ways: take "
                "one out with 'samtools view -b -x XA' or '-x NH'"
            )
        listed[row] = text
    for row, text in listed.items():
        counts[row] = 1 + len(text.rstrip(";").split(";"))
    return Multiplicity(counts, listed, is_other)


def other_places(text: str) -> list[OtherPlace]:
    """The places of an XA tag: ``contig,+start,CIGAR,edits;`` each, starts from 1.

    Raises:
        ValueError: it is none.
    """
    found = []
    for entry in text.rstrip(";").split(";"):
        contig, start, cigar, _ = entry.rsplit(",", 3)
        if start[0] not in "+-":
            raise ValueError(entry)
        first = int(start[1:]) - 1
        blocks = tuple((first + begin, first + end) for begin, end in _blocks(cigar))
        found.append(OtherPlace(contig, start[0] == "-", blocks))
    return found


@lru_cache(4096)
def _blocks(cigar: str) -> tuple[tuple[int, int], ...]:
    """Stretches between introns, from the first base on."""
    blocks, begin, at = [], 0, 0
    for length, operation in _OPERATION.findall(cigar):
        if operation == "N":
            blocks.append((begin, at))
            begin = at = at + int(length)
        elif operation in "MD=X":
            at += int(length)
    return (*blocks, (begin, at))


def digests(records: Records, is_by_mate: Bools) -> NDArray[np.uint64]:
    """128 bits that reads have in common with their other records alone, shape (records, 2).

    ``is_by_mate``: of which records the mates are reads of their own.
    """
    found = records.name_digests()
    mate = np.where(is_by_mate, (records.fields["flag"] >> 6) & 3, 0).astype(np.uint64)
    found[:, 1] ^= (mate + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return found
