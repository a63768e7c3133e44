"""Which windows an allele is scored in, or why it is not: Illumina's rules to the letter, and Basecast's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from basecast.effects.alleles import Edit, align, placements, smallest_edit
from basecast.effects.splicing import Delta, delta_scores, spliceai_delta_scores
from basecast.genome.annotation import Annotation, Transcript
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode, encode
from basecast.genome.source import Masked, Source
from basecast.genome.variants import VariantRecord
from basecast.inference.request import Request

Values = Float[np.ndarray, "bins tracks"]
_SHOWN = 20
REF_MISMATCH = "ref_mismatch"


@dataclass(frozen=True, slots=True)
class Skipped:
    """An allele (an index into ALT; None: the whole record) and why it has no score; a gene where one was met."""

    allele: int | None
    reason: str
    transcript: Transcript | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One allele in one transcript, as two requests to the engine."""

    record: VariantRecord
    allele: int
    transcript: Transcript
    edit: Edit
    reference: Request
    alternate: Request


class Rules(Protocol):
    """How records become cases, and a case's values a delta."""

    def cases(self, record: VariantRecord) -> Iterator[Case | Skipped]:
        """Every allele of a record at least once, in the order of the output."""

    def delta(self, case: Case, ref: Values, alt: Values, masked: bool) -> Delta:
        """The delta of one case from the engine's values."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What both rules stand on. ``context`` is the bases an output sees in all; ``mask`` is the spec's."""

    genome: Genome
    annotation: Annotation
    distance: int
    context: int
    mask: Literal["gene", "none"]

    def source(self, contig: str, transcript: Transcript) -> Source:
        """The bases a transcript is scored on."""
        if self.mask == "none":
            return self.genome
        return Masked(self.genome, contig, transcript.start, transcript.end)


def misplaced(genome: Genome, record: VariantRecord) -> str | None:
    """Why the record does not stand on this genome, if so."""
    contig = genome.resolve(record.contig)
    if contig is None:
        return "unknown_contig"
    if not record.alts:
        return "no_alt_allele"
    if not _is_sequence(record.ref):
        return "ref_is_no_sequence"
    end = record.start + len(record.ref)
    if record.start < 0 or end > genome.lengths[contig]:
        return "outside_contig"
    found = genome.tokens(contig, record.start, end)
    if not np.array_equal(found, encode(record.ref)):
        more = "..." if len(found) > _SHOWN else ""
        return f"{REF_MISMATCH}_genome_has_{decode(found[:_SHOWN])}{more}"
    return None


def unscorable(alt: str) -> str | None:
    """Why an ALT as written is no sequence to score, if so."""
    if alt == "*":
        return "spanning_deletion"
    if alt in ("<NON_REF>", "<*>"):
        return "non_ref_block"
    if alt.startswith("<"):
        return "symbolic_allele"
    if "[" in alt or "]" in alt or alt.startswith(".") or alt.endswith("."):
        return "breakend"
    if not _is_sequence(alt):
        return "alt_is_no_sequence"
    return None


def edits(genome: Genome, record: VariantRecord, longest: int) -> Iterator[tuple[int, str, Edit] | Skipped]:
    """Of each ALT its number, the genome's name of the contig, and the smallest edit; or why it cannot be scored.

    Args:
        longest: bases that an edit may take away or put in.
    """
    reason = misplaced(genome, record)
    if reason is None and len(record.ref) > 2 * longest:
        reason = "ref_too_long"
    if reason is not None:
        yield Skipped(None, reason)
        return
    contig = genome.resolve(record.contig)
    assert contig is not None
    for allele, alt in enumerate(record.alts):
        reason = unscorable(alt)
        if reason is None and re.search("[^ACGTacgt]", alt):
            reason = "ambiguous_allele"
        if reason is None and alt.upper() == record.ref.upper():
            reason = "alt_equals_ref"
        if reason is not None:
            yield Skipped(allele, reason)
            continue
        edit = smallest_edit(record.start, record.ref, alt)
        if max(edit.end - edit.start, edit.inserted.size) > longest:
            yield Skipped(allele, "ref_too_long" if edit.growth < 0 else "alt_too_long")
        else:
            yield allele, contig, edit


def _is_sequence(allele: str) -> bool:
    return re.fullmatch(r"[ACGTURYSWKMBDHVNacgturyswkmbdhvn]+", allele) is not None


@dataclass(frozen=True, slots=True)
class BasecastRules:
    """MNVs, delins and long deletions scored, equivalent indels alike, contig ends padded, the mask by site type."""

    ground: Ground

    def cases(self, record: VariantRecord) -> Iterator[Case | Skipped]:
        for found in edits(self.ground.genome, record, self.ground.context):
            if isinstance(found, Skipped):
                yield found
            else:
                yield from self._allele(record, *found)

    def _allele(self, record: VariantRecord, allele: int, contig: str, edit: Edit) -> Iterator[Case | Skipped]:
        ground = self.ground
        places = placements(ground.genome, contig, edit)
        first, last = min(places.span[0], record.start), max(places.span[1], record.start + len(record.ref))
        transcripts = ground.annotation.overlapping(contig, first, last)
        if not transcripts:
            yield Skipped(allele, "no_gene")
        start, end = first - ground.distance, last + ground.distance
        for transcript in transcripts:
            bounds = (transcript.start, transcript.end) if ground.mask == "gene" else places.span
            edit = places.leftmost_within(ground.genome, contig, *bounds)
            if ground.mask == "gene":
                edit = edit.seen_within(*bounds)
            reference = Request(ground.source(contig, transcript), contig, start, end, transcript.strand)
            alternate = replace(
                reference, source=edit.on(reference.source, contig), end=end + edit.growth, base=reference
            )
            yield Case(record, allele, transcript, edit, reference, alternate)

    def delta(self, case: Case, ref: Values, alt: Values, masked: bool) -> Delta:
        aligned = align(case.edit, case.reference.start, ref, alt)
        return delta_scores(aligned, case.edit, case.record.start, case.transcript if masked else None)


@dataclass(frozen=True, slots=True)
class SpliceAIRules:
    """SpliceAI 1.3.1, its skips included. Source: Jaganathan et al. 2019 and the published scores."""

    ground: Ground

    def cases(self, record: VariantRecord) -> Iterator[Case | Skipped]:
        ground = self.ground
        contig = ground.genome.resolve(record.contig)
        if contig is None or not record.alts:
            yield Skipped(None, "unknown_contig" if contig is None else "no_alt_allele")
            return
        transcripts = ground.annotation.overlapping(contig, record.start, record.start + 1)
        if not transcripts:
            yield Skipped(None, "no_gene")
            return
        reason = misplaced(ground.genome, record)
        half = ground.context // 2 + ground.distance
        if reason is None and record.ref != record.ref.upper():
            reason = "ref_lower_case"
        if reason is None and not half <= record.start < ground.genome.lengths[contig] - half:
            reason = "near_contig_end"
        if reason is None and len(record.ref) > 2 * ground.distance:
            reason = "ref_too_long"
        if reason is not None:
            yield Skipped(None, reason)
            return
        for allele, alt in enumerate(record.alts):
            reason = unscorable(alt)
            for transcript in transcripts if reason is None else ():
                if len(record.ref) > 1 and len(alt) > 1:
                    yield Skipped(allele, "mnv_not_scored_by_these_rules", transcript)
                else:
                    yield self._case(record, allele, contig, transcript)
            if reason is not None:
                yield Skipped(allele, reason)

    def _case(self, record: VariantRecord, allele: int, contig: str, transcript: Transcript) -> Case:
        edit = Edit(record.start, record.start + len(record.ref), encode(record.alts[allele]))
        start, end = record.start - self.ground.distance, record.start + self.ground.distance + 1
        reference = Request(self.ground.source(contig, transcript), contig, start, end, transcript.strand)
        alternate = replace(reference, source=edit.on(reference.source, contig), end=end + edit.growth, base=reference)
        return Case(record, allele, transcript, edit, reference, alternate)

    def delta(self, case: Case, ref: Values, alt: Values, masked: bool) -> Delta:
        boundary = nearest_boundary(case.transcript, case.record.start) if masked else None
        return spliceai_delta_scores(ref, alt, len(case.record.ref), len(case.record.alts[case.allele]), boundary)


def nearest_boundary(transcript: Transcript, position: int) -> int:
    """The first or last base of any exon nearest to ``position``, relative to it; of two, the smaller coordinate."""
    away = (boundary - position for start, end in transcript.exons for boundary in (start, end - 1))
    return min(away, key=lambda bases: (abs(bases), bases))
