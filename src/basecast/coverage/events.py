"""What alignments are counted as, and where: events of reads with one place, and the places of the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from basecast.coverage.layout import Layout
from basecast.coverage.positions import Positions
from basecast.coverage.settings import CoverageSettings
from basecast.errors import InputError
from basecast.genome.bam import (
    DUPLICATE,
    PAIRED,
    PROPER,
    QC_FAIL,
    REVERSE,
    SECOND,
    SUPPLEMENTARY,
    UNMAPPED,
    Bools,
    Ints,
    Records,
)
from basecast.genome.multiplicity import Multiplicity, digests, multiplicity, other_places

KINDS = 6
"""5' ends of forward and of reverse reads, of a molecule of the forward or the reverse strand; centres of fragments of
either: ``strand + 2 * lane`` and ``4 + lane``. Where strands are not told apart the lane is 0."""
PLACE = np.dtype(
    [("first", "<u8"), ("second", "<u8"), ("at", "<i8"), ("kind", "u1"), ("is_first", "?"), ("places", "u1")]
)
"""A place of a read with more than one: the read's digest, where, what kind of event, whether the record is the read's
first, and how many places the file says there are (0: it does not)."""
BLOCK = np.dtype([("place", "<i8"), ("start", "<i8"), ("end", "<i8")])
"""Aligned bases of a place, by its number."""
LONGEST = 1000
"""Bases of templates and of alignments that are told apart in histograms; longer ones count as this."""


@dataclass
class Tally:
    """What was counted in a part of the genome.

    Attributes:
        events: of reads with one place, by kind.
        edges: where such reads' aligned bases begin (1) and end (-1), by lane; where whole reads are counted.
        counts: alignments, by what became of them.
        templates, spans: lengths of fragments and of alignments.
        needs_names: whether a read's other records are told by their flags alone.
    """

    events: list[Positions] = field(default_factory=lambda: [Positions() for _ in range(KINDS)])
    edges: list[Positions] = field(default_factory=lambda: [Positions(), Positions()])
    places: list[NDArray[np.void]] = field(default_factory=list)
    blocks: list[NDArray[np.void]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    templates: Ints = field(default_factory=lambda: np.zeros(LONGEST + 1, np.int64))
    spans: Ints = field(default_factory=lambda: np.zeros(LONGEST + 1, np.int64))
    n_places: int = 0
    needs_names: bool = False


class Counting:
    """The rules.

    Args:
        settings: what is counted.
        layout: of the genome.
        source: the file, for messages.
        grouped: sorted digests of the reads that have records flagged as others, where flags alone tell of them;
            None: not known yet, and their first records count as reads with one place.
    """

    def __init__(
        self, settings: CoverageSettings, layout: Layout, source: str, grouped: NDArray[np.void] | None = None
    ) -> None:
        self.settings, self.layout, self.source, self.grouped = settings, layout, source, grouped
        self._numbers = {name: number for number, name in enumerate(layout.names)}

    def add(self, tally: Tally, records: Records) -> None:
        """Count records of one part; every one of them is in ``tally.counts`` once.

        Raises:
            InputError: a record has both NH and XA, or an XA that cannot be read.
        """
        records = self._wanted(tally, records)
        told = multiplicity(records, self.source)
        is_far = told.places > self.settings.max_places
        tally.counts["too many places"] += int(is_far.sum())
        tally.counts["reads with too many places"] += int((is_far & ~told.is_other).sum())
        is_many = ((told.places > 1) | told.is_other) & ~is_far
        tally.needs_names |= bool((told.is_other & (told.places == 0)).any())
        if self.grouped is not None:
            asked = np.flatnonzero((told.places == 0) & ~told.is_other)
            is_many[asked] |= isin(_keys(digests(records[asked], self._is_by_mate(records[asked]))), self.grouped)
        self._add_single(tally, records[~is_many & ~is_far])
        self._add_places(tally, records, told, np.flatnonzero(is_many))

    def _wanted(self, tally: Tally, records: Records) -> Records:
        fields, settings = records.fields, self.settings
        tally.counts["alignments"] += len(records)
        is_pair = records.has(PAIRED)
        if settings.event == "centres":
            is_mate = self._is_fragment(records) & (fields["template"] < 0)
        else:
            is_mate = is_pair & records.has(SECOND) & (settings.mates == "first")
        reasons = {
            "unmapped": records.has(UNMAPPED) | (fields["contig"] < 0) | (fields["n_operations"] == 0),
            "failed quality checks": records.has(QC_FAIL),
            "supplementary": records.has(SUPPLEMENTARY),
            "flagged as duplicates": records.has(DUPLICATE) & (not settings.keep_duplicates),
            "low mapping quality": fields["mapq"] < settings.mapq,
            "mates of what is counted": is_mate,
        }
        kept = np.ones(len(records), bool)
        for reason, is_out in reasons.items():
            tally.counts[reason] += int((kept & is_out).sum())
            kept &= ~is_out
        return records if kept.all() else records[kept]

    def _is_fragment(self, records: Records) -> Bools:
        """Which are of a proper pair, whose template is the fragment."""
        is_proper = (records.fields["flag"] & (PAIRED | PROPER)) == PAIRED | PROPER
        return is_proper & (records.fields["template"] != 0)

    def _is_by_mate(self, records: Records) -> Bools:
        if self.settings.event == "centres":
            return ~self._is_fragment(records)
        return np.ones(len(records), bool)

    def _turn(self, records: Records) -> Ints:
        """1 for a read whose molecule is of the other strand than its alignment."""
        is_turned = records.has(PAIRED) & records.has(SECOND) ^ (self.settings.strands == "reverse")
        return is_turned.astype(np.int64)

    def _kinds(self, strands: Ints, turn: Ints, is_fragment: Bools) -> Ints:
        lanes = strands ^ turn if self.settings.strands != "both" else np.zeros_like(strands)
        return np.where(is_fragment, 4 + lanes, strands + 2 * lanes)

    def _events(self, records: Records) -> tuple[Ints, Ints]:
        """Where on the line each record's event is, and its kind."""
        contigs = records.fields["contig"].astype(np.int64)
        strands = records.has(REVERSE).astype(np.int64)
        at = np.where(strands, records.ends - 1, records.starts)
        is_fragment = np.zeros(len(records), bool)
        if self.settings.event == "centres":
            is_fragment = self._is_fragment(records)
            half = np.abs(records.fields["template"].astype(np.int64)) // 2
            at = np.where(is_fragment, records.starts + half, at)
        at = self.layout.within(self.layout.bounds[contigs] + at, contigs)
        return at, self._kinds(strands, self._turn(records), is_fragment)

    def _add_single(self, tally: Tally, records: Records) -> None:
        tally.counts["one place"] += len(records)
        at, kinds = self._events(records)
        for kind in range(KINDS):
            tally.events[kind].add(at[kinds == kind])
        is_pair = self._is_fragment(records) & (records.fields["template"] > 0)
        templates = records.fields["template"][is_pair]
        tally.templates += np.bincount(np.minimum(templates, LONGEST), minlength=LONGEST + 1)
        spans = np.minimum(records.ends - records.starts, LONGEST)
        tally.spans += np.bincount(spans, minlength=LONGEST + 1)
        if self.settings.event == "reads":
            lanes = (kinds % KINDS) // 2
            owner, starts, ends = records.blocks()
            offset = self.layout.bounds[records.fields["contig"]][owner]
            for lane, edges in enumerate(tally.edges):
                rows = lanes[owner] == lane
                edges.add((offset + starts)[rows])
                edges.add((offset + ends)[rows], -1)

    def _add_places(self, tally: Tally, records: Records, told: Multiplicity, rows: Ints) -> None:
        chosen = records[rows]
        tally.counts["more places"] += len(rows)
        found = np.zeros(len(rows), PLACE)
        names = digests(chosen, self._is_by_mate(chosen))
        found["first"], found["second"] = names[:, 0], names[:, 1]
        found["at"], found["kind"] = self._events(chosen)
        found["is_first"], found["places"] = ~told.is_other[rows], told.places[rows]
        blocks: list[NDArray[np.void]] = []
        if self.settings.event == "reads":
            owner, starts, ends = chosen.blocks()
            offset = self.layout.bounds[chosen.fields["contig"]][owner]
            blocks.append(np.rec.fromarrays([owner, offset + starts, offset + ends], dtype=BLOCK))
        by_row = enumerate(rows.tolist()) if told.listed else ()
        listed = [(i, told.listed[row]) for i, row in by_row if row in told.listed]
        turns, fragments = self._turn(chosen), self._is_fragment(chosen) & (self.settings.event == "centres")
        others: list[tuple[int, int, int, int]] = []
        more: list[tuple[int, int, int]] = []
        for i, text in listed:
            try:
                for place in other_places(text):
                    contig = self._numbers[place.contig]
                    offset = int(self.layout.bounds[contig])
                    strand = int(place.is_reverse)
                    start, end = place.blocks[0][0], place.blocks[-1][1]
                    at = end - 1 if strand else start
                    if fragments[i]:
                        size = abs(int(chosen.fields["template"][i]))
                        at = (end - size if strand else start) + size // 2
                    more += [(len(rows) + len(others), offset + a, offset + b) for a, b in place.blocks]
                    others.append((i, contig, offset + at, strand))
            except (ValueError, KeyError, IndexError) as error:
                raise InputError(
                    f"{self.source}: the XA tag of read {chosen.name(i)!r} cannot be read ({text[:80]!r}): a place "
                    "must be contig,+start,CIGAR,edits, of a contig of the header"
                ) from error
        if others:
            owner, contigs, at, strands = np.array(others).T
            added = found[owner]
            added["at"] = self.layout.within(at, contigs)
            added["kind"] = self._kinds(strands, turns[owner], fragments[owner])
            added["is_first"] = False
            found = np.concatenate([found, added])
            if self.settings.event == "reads":
                blocks.append(np.array(more, BLOCK))
        tally.counts["other places listed"] += len(others)
        tally.places.append(found)
        for some in blocks:
            some["place"] += tally.n_places
            tally.blocks.append(some)
        tally.n_places += len(found)


def _keys(names: NDArray[np.uint64]) -> NDArray[np.void]:
    return np.ascontiguousarray(names).view([("first", "<u8"), ("second", "<u8")])[:, 0]


def isin(keys: NDArray[np.void], among: NDArray[np.void]) -> Bools:
    """Which 128-bit keys are among others, which ascend by their first half and then by their second."""
    found = np.zeros(len(keys), bool)
    if not len(among):
        return found
    at = np.searchsorted(among["first"], keys["first"])
    open_ = np.flatnonzero(at < len(among))
    while len(open_):  # hardly ever a second time
        open_ = open_[among["first"][at[open_]] == keys["first"][open_]]
        same = among["second"][at[open_]] == keys["second"][open_]
        found[open_[same]] = True
        open_ = open_[~same]
        at[open_] += 1
        open_ = open_[at[open_] < len(among)]
    return found
