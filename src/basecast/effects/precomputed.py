"""Scores that a file has are taken from there; what it lacks is computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from basecast.effects.alleles import Placements, placements, smallest_edit
from basecast.effects.rules import Case, unscorable
from basecast.effects.scored_file import ROUNDED, Entry, Line, Said, ScoredFile, index_of
from basecast.effects.scorer import Scorer
from basecast.effects.scores import MaskName, Row
from basecast.files import sha256_of
from basecast.genome.variants import VariantRecord
from basecast.spec.model import Frozen


class PrecomputedSettings(Frozen):
    """Which files scores may be taken from: bgzipped VCFs with an index.

    ``said``, such as ``spliceai,D=50,M=0``, is how those were made whose header does not say it.
    """

    files: tuple[Path, ...] = ()
    said: str | None = None

    @property
    def words(self) -> str:
        """What they are, for the plan of a run."""
        files = [f"{path.name} (sha256 {sha256_of(path)})" for path in self.files]
        return ", ".join([*files, *([] if self.said is None else [self.said])])

    def digests(self) -> dict[str, str]:
        """The files and their indexes by absolute path, with their sha256."""
        paths = [path.absolute() for path in self.files]
        return {str(path): sha256_of(path) for file in paths for path in (file, index_of(file))}


class Precomputed:
    """Does what a scorer does, and leaves the model what is in no file.

    An allele is taken from a file where the rules would compare the same bases of it, in the same genes. Its scores
    have the file's decimals; probabilities that the file has not are NaN.

    Args:
        decimals: that the output has.
        probabilities: whether the output has those.

    Raises:
        InputError: a file is not what the run would compute (``ScoredFile``).
        UsageError: ``said`` cannot be read.
    """

    def __init__(self, scorer: Scorer, settings: PrecomputedSettings, decimals: int, probabilities: bool) -> None:
        self._given = (scorer, settings, decimals, probabilities)
        self.scorer = scorer
        said = Said.parse(settings.said) if settings.said is not None else None
        if scorer.settings.rules == "basecast":  # DS_MAX and Consequence need them all, and there are no more
            decimals = max(decimals, ROUNDED) if probabilities else ROUNDED
        self._files = [
            ScoredFile(path.absolute(), scorer, decimals=decimals, probabilities=probabilities, said=said)
            for path in settings.files
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere opens the files there."""
        return Precomputed, self._given

    def payload(self, records: Sequence[VariantRecord]) -> bytes:
        """The rows of a shard as JSON, as ``Scorer.payload`` gives them."""
        self.scorer.engine.forget()
        return json.dumps([[row.to_json() for row in found] for found in self.rows(records)]).encode()

    def rows(self, records: Sequence[VariantRecord]) -> list[list[Row]]:
        """The rows of each record."""
        wanted = [one for record in records for one in self._wanted(record)]
        found: dict[int, dict[int, list[Row]]] = {}
        for file in self._files:
            left = [one for one in wanted if one.allele not in found.get(id(one.record), {})]
            for one, lines in _looked_up(file, left):
                if (rows := self._taken(file, one, lines)) is not None:
                    found.setdefault(id(one.record), {})[one.allele] = rows
        remaining = {id(record): _without(record, found.get(id(record), {})) for record in records}
        asked = [record for record in remaining.values() if record is not None]
        computed = dict(zip(map(id, asked), self.scorer.rows(asked) if asked else (), strict=True))
        return [
            _together(record, found.get(id(record), {}), computed.get(id(remaining[id(record)]), []))
            for record in records
        ]

    def _wanted(self, record: VariantRecord) -> list[_Wanted]:
        """The alleles of a record that the model would be run for."""
        by_allele: dict[int, list[Case]] = {}
        for item in self.scorer.rules.cases(record):
            if isinstance(item, Case):
                by_allele.setdefault(item.allele, []).append(item)
        end, wanted = record.start + len(record.ref), []
        for allele, cases in by_allele.items():
            contig, places, span = cases[0].reference.contig, None, (record.start, end)
            if self.scorer.settings.rules == "basecast":
                edit = smallest_edit(record.start, record.ref, record.alts[allele])
                places = placements(self.scorer.genome, contig, edit)
                span = places.span
            first, last = min(span[0], record.start), max(span[1], end)
            wanted.append(_Wanted(record, allele, cases, contig, first, last, places))
        return wanted

    def _taken(self, file: ScoredFile, wanted: _Wanted, lines: Iterable[Line]) -> list[Row] | None:
        """The rows that the scorer would give, if the file has all of them."""
        masks = self.scorer.settings.masks
        entries: dict[MaskName, list[list[Entry]]] = {mask: [] for mask in masks}
        for line in lines:
            by = line.start - wanted.record.start
            for alt in line.alts:
                if wanted.is_spelled(self.scorer, line.start, line.ref, alt):
                    for mask in masks:
                        here = [_moved(entry, by) for entry in file.entries(line, alt, mask)]
                        if here not in entries[mask]:  # a record may be there twice, or one for each gene
                            entries[mask].append(here)
        rows = [_rows_of(wanted, mask, [x for one in entries[mask] for x in one]) for mask in masks]
        return [row for of_a_gene in zip(*rows, strict=True) for row in of_a_gene] if all(rows) else None


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """An allele with its cases. The rules compare bases around [first, last), and how the edit may slide if it may."""

    record: VariantRecord
    allele: int
    cases: list[Case]
    contig: str
    first: int
    last: int
    places: Placements | None

    def is_spelled(self, scorer: Scorer, start: int, ref: str, alt: str) -> bool:
        """Whether a record spells this allele so that the rules see the same in it; SpliceAI's see the spelling."""
        record, places = self.record, self.places
        if places is None:
            return (start, ref, alt.upper()) == (record.start, record.ref, record.alts[self.allele].upper())
        if len(alt) - len(ref) != places.edit.growth or unscorable(alt) or unscorable(ref):
            return False
        low, high = min(places.span[0], start), max(places.span[1], start + len(ref))
        edit = smallest_edit(start, ref, alt)
        return (low, high) == (self.first, self.last) and places.include(scorer.genome, self.contig, edit)


def _looked_up(file: ScoredFile, wanted: Sequence[_Wanted]) -> Iterable[tuple[_Wanted, list[Line]]]:
    """Each with the records that begin where it may be."""
    by_contig: dict[str, list[_Wanted]] = {}
    for one in wanted:
        by_contig.setdefault(one.contig, []).append(one)
    for contig, here in by_contig.items():
        lines = file.lines(contig, {start for one in here for start in range(one.first, one.last)})
        for one in here:
            yield one, [line for start in range(one.first, one.last) for line in lines.get(start, ())]


def _moved(entry: Entry, by: int) -> Entry:
    """The entry with its positions relative to a POS that is ``by`` before."""
    a, b, c, d = entry.delta.position
    return replace(entry, delta=replace(entry.delta, position=(a + by, b + by, c + by, d + by)))


def _rows_of(wanted: _Wanted, mask: MaskName, entries: list[Entry]) -> list[Row] | None:
    """The entries as rows in the order of the cases; None where they are not of the very same genes."""
    if not entries:
        return None
    rows = []
    if entries[0].names is not None:  # one a gene
        transcripts = [case.transcript for case in wanted.cases]
        genes = dict.fromkeys((t.gene_name, t.gene_id, t.strand) for t in transcripts)
        there = {(entry.symbol, entry.names[0], entry.names[2]): entry for entry in entries if entry.names}
        if len(there) != len(entries) or there.keys() != genes.keys():
            return None
        for gene in genes:
            entry = there[gene]
            assert entry.names is not None
            if entry.names[1] not in {t.versioned for t in transcripts}:
                return None
            names = (entry.symbol, *entry.names)
            rows.append(Row(wanted.allele, "scored", mask, *names, entry.delta, is_precomputed=True))
        return rows
    if wanted.places is not None and wanted.places.edit.growth > 0:  # such a file does not tell inserted bases apart
        return None
    left = list(entries)
    for case in wanted.cases:
        symbols = [entry.symbol for entry in left]
        if case.transcript.gene_name not in symbols:
            return None
        delta = left.pop(symbols.index(case.transcript.gene_name)).delta
        rows.append(replace(Row.of(wanted.allele, "scored", mask, case.transcript, delta), is_precomputed=True))
    return None if left else rows


def _without(record: VariantRecord, found: dict[int, list[Row]]) -> VariantRecord | None:
    """The record with the ALTs that were not found; None where all were."""
    if not found:
        return record
    alts = tuple(alt for allele, alt in enumerate(record.alts) if allele not in found)
    return VariantRecord(record.number, record.contig, record.start, record.ref, alts, b"") if alts else None


def _together(record: VariantRecord, found: dict[int, list[Row]], computed: Sequence[Row]) -> list[Row]:
    """The rows of a record in the order of its ALTs."""
    if not found:
        return list(computed)
    others = [allele for allele in range(len(record.alts)) if allele not in found]
    rows = [row if row.allele is None else replace(row, allele=others[row.allele]) for row in computed]
    rows += [row for taken in found.values() for row in taken]
    return sorted(rows, key=lambda row: -1 if row.allele is None else row.allele)
