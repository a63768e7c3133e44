"""GFF3 and GTF as they are found: Ensembl, GENCODE, RefSeq, FlyBase, PomBase, Phytozome, AUGUSTUS, SQANTI ...

Nothing is taken for granted but parts (exon, CDS, UTR) that name an owner. Whatever owns parts is a transcript,
whatever owns a transcript is its gene; rows for either add names, bounds and tags where they exist. Attributes are
parsed once a transcript, not once a line: that is what makes a million lines a matter of seconds.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.genome.transcripts import SCHEMA, Parsed

_EXON, _CDS, _OTHER = range(3)
_UTR = (
    "UTR",
    "five_prime_UTR",
    "three_prime_UTR",
    "five_prime_utr",
    "three_prime_utr",
    "5UTR",
    "3UTR",
    "5'-UTR",
    "3'-UTR",
)
_PARTS = {"exon": _EXON, "CDS": _CDS, "stop_codon": _OTHER} | dict.fromkeys(_UTR, _OTHER)
_TRANSCRIPT = ("RNA", "transcript")  # how the features of transcript rows end
_GENE_OR_TRANSCRIPT = ("gene", *_TRANSCRIPT)
_PREFIX = re.compile(r"^(?:transcript:|rna-|gene:|gene-)")
_GTF_ATTRIBUTE = re.compile(r'[^\s;]+\s+(?:"[^"]*"|[^\s;]+)')

Attributes = dict[str, str]


class _Row(NamedTuple):
    """A row that is no part: a gene's, a transcript's, or of no concern to us."""

    feature: str
    start: int
    end: int
    attributes: str
    line: int

    def joined_to(self, other: _Row | None) -> _Row:
        """One feature on several lines is one row."""
        if other is None or other.feature != self.feature:
            return self
        return other._replace(start=min(self.start, other.start), end=max(self.end, other.end))


class _Draft(NamedTuple):
    """A transcript as its first part shows it."""

    contig: str
    key: str
    strand: str
    attributes: str
    line: int


def _find(attributes: str, start: str) -> int:
    """Where an attribute that begins so stands, or -1: ``ID=`` is not the end of ``geneID=``."""
    at = attributes.find(start)
    while at > 0 and attributes[at - 1] not in "; \t":
        at = attributes.find(start, at + 1)
    return at


class _Gff3:
    """Rows are known by ID; a part names the IDs of its owners."""

    @staticmethod
    def token(attributes: str) -> str:
        """The stretch that names the owners, with what ends it: equal tokens on one contig are equal owners."""
        at = _find(attributes, "Parent=")
        return "" if at < 0 else attributes[at : attributes.find(";", at) + 1 or None]

    @staticmethod
    def owners(attributes: str) -> list[str]:
        values = _Gff3.parse(attributes)
        return [name for name in values.get("Parent", values.get("ID", "")).split(",") if name]

    @staticmethod
    def key(feature: str, attributes: str) -> str:
        at = _find(attributes, "ID=")
        return "" if at < 0 else attributes[at + 3 :].partition(";")[0].strip()

    @staticmethod
    def parent(key: str, row: _Row | None) -> str:
        return _Gff3.owners(row.attributes)[0] if row and _find(row.attributes, "Parent=") >= 0 else ""

    @staticmethod
    def parse(attributes: str) -> Attributes:
        pairs = (field.strip().partition("=") for field in attributes.split(";"))
        encoded = "%" in attributes
        return {
            name: unquote(value) if encoded and name not in ("ID", "Parent") else value
            for name, _, value in pairs
            if value
        }


class _Gtf:
    """Rows are known by gene_id, a tab and transcript_id; a gene's by gene_id alone."""

    @staticmethod
    def token(attributes: str) -> str:
        at = _find(attributes, 'transcript_id "')
        return attributes if at < 0 else attributes[: attributes.find('"', at + 15) + 1]

    @staticmethod
    def owners(attributes: str) -> list[str]:
        gene = _Gtf.value(attributes, "gene_id")
        transcript = _Gtf.value(attributes, "transcript_id") or gene
        return [f"{gene}\t{transcript}"] if transcript else []

    @staticmethod
    def key(feature: str, attributes: str) -> str:
        if not feature.endswith(_GENE_OR_TRANSCRIPT):
            return ""
        gene = _Gtf.value(attributes, "gene_id")
        alone = attributes.strip(' ;"\n')
        bare = "" if " " in alone else alone  # AUGUSTUS: nothing but the identifier
        if feature.endswith("gene"):
            return gene or bare
        transcript = _Gtf.value(attributes, "transcript_id") or bare
        return f"{gene}\t{transcript}" if transcript else ""

    @staticmethod
    def parent(key: str, row: _Row | None) -> str:
        gene, tab, _ = key.partition("\t")
        return gene if tab else ""

    @staticmethod
    def value(attributes: str, name: str) -> str:
        """One value without the cost of parsing them all."""
        at = attributes.find(f'{name} "')
        if at < 0 or attributes[at - 1 : at] not in ("", " ", ";"):
            return _Gtf.parse(attributes).get(name, "")
        at += len(name) + 2
        return attributes[at : attributes.find('"', at)]

    @staticmethod
    def parse(attributes: str) -> Attributes:
        fields = attributes.split(";")
        if any(field.count('"') == 1 for field in fields):  # a semicolon inside of quotes
            fields = _GTF_ATTRIBUTE.findall(attributes)
        values: Attributes = {}
        for field in fields:
            name, _, value = field.strip().partition(" ")
            if value:
                value = value.strip(' "')
                values[name] = f"{values[name]},{value}" if name in values else value
        return values


def is_gtf(attributes: str) -> bool | None:
    """Whether a ninth column is written the GTF way; None where it does not tell (a bare identifier, ``.``)."""
    match = re.match(r"\s*[^\s;=\"]+(=|\s+\S)", attributes)
    return None if match is None else match[1] != "="


def parse(lines: Iterable[str], path: Path, *, gtf: bool) -> Parsed:
    """The transcripts of a GFF3 or GTF file.

    Exons of a transcript without exon rows are its CDS and UTR, merged. Bounds are those of the transcript's own row
    where there is one. Genes come in file order, transcripts within a gene likewise.

    Raises:
        InputError: a line is malformed, an exon lies outside its transcript, or the file has no transcript.
    """
    return _Reading(path, _Gtf if gtf else _Gff3).read(lines).parsed()


class _Reading:
    """What the lines of one file have told."""

    def __init__(self, path: Path, dialect: type[_Gff3 | _Gtf]) -> None:
        self._path = path
        self._dialect = dialect
        self._drafts: list[_Draft] = []
        self._numbers: dict[str, dict[str, int]] = {}  # contig -> key of a transcript -> its place in the drafts
        self._rows: dict[str, dict[str, _Row]] = {}  # contig -> key -> row
        self._parts = array("q")  # draft, kind, start, end of every part
        self._on_both_strands: set[int] = set()
        self._features: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def read(self, lines: Iterable[str]) -> _Reading:
        dialect, drafts, parts, features = self._dialect, self._drafts, self._parts, self._features
        known: dict[tuple[str, str], tuple[int, ...]] = {}  # contig and token -> the drafts they stand for
        contig = token = ""
        owners: tuple[int, ...] = ()
        for number, line in enumerate(lines, 1):
            if line[0] in "#\n":
                if line.startswith("##FASTA"):
                    break
                continue
            fields = line.split("\t", 8)
            if len(fields) != 9:
                if line.isspace() or line.startswith(("track ", "browser ")):
                    continue
                raise InputError(
                    f"line {number} of {self._path} has {len(fields)} columns between tabs, GFF and GTF have 9: mend it"
                )
            name, _, feature, first, last, _, strand, _, attributes = fields
            features[feature] += 1
            kind = _PARTS.get(feature)
            if kind is None:
                if key := dialect.key(feature, attributes):
                    row = _Row(feature, *self._bounds(first, last, number), attributes, number)
                    here = self._rows.setdefault(name, {})
                    here[key] = row.joined_to(here.get(key))
                continue
            start, end = self._bounds(first, last, number)
            if name != contig or not token or not attributes.startswith(token):  # else: the owners of the line before
                contig, token = name, dialect.token(attributes)
                found = known.get((contig, token)) if token else None
                if found is None:
                    found = known[contig, token] = self._owners(contig, strand, attributes, number)
                owners = found
            for owner in owners:
                parts.extend((owner, kind, start, end))
                if strand != drafts[owner].strand:
                    self._on_both_strands.add(owner)
        return self

    def _bounds(self, first: str, last: str, number: int) -> tuple[int, int]:
        try:
            start, end = int(first) - 1, int(last)
        except ValueError:
            start = end = -1
        if 0 <= start < end:
            return start, end
        raise InputError(
            f"line {number} of {self._path}: a feature from {first!r} to {last!r} cannot be; both are whole "
            "numbers that count from 1, and start <= end: mend it"
        )

    def _owners(self, contig: str, strand: str, attributes: str, number: int) -> tuple[int, ...]:
        keys = self._dialect.owners(attributes)
        numbers = self._numbers.setdefault(contig, {})
        for key in keys:
            if key not in numbers:
                numbers[key] = len(self._drafts)
                self._drafts.append(_Draft(contig, key, strand, attributes, number))
        self._left_out["part of no transcript"] += not keys
        return tuple(numbers[key] for key in keys)

    def parsed(self) -> Parsed:
        if not self._drafts:
            features = ", ".join(f"{name} ({count:,})" for name, count in self._features.most_common(12)) or "none"
            raise InputError(
                f"{self._path} has no transcripts: none of its rows is an exon, CDS or UTR that names its transcript; "
                f"feature types seen: {features}. Export the annotation with exon rows"
            )
        for contig, rows in self._rows.items():
            keys = self._numbers.get(contig, {})
            owning = keys.keys() | {_bare(key) for key in keys}
            self._left_out["no exons"] += sum(
                row.feature.endswith(_TRANSCRIPT) and key not in owning for key, row in rows.items()
            )
        kept: list[int] = []
        records: list[tuple[object, ...]] = []
        genes: list[tuple[str, str]] = []
        lines: list[int] = []
        gene: Attributes = {}
        last_gene_row: _Row | None = None
        first_told: dict[tuple[str, str], int] = {}  # (contig, key) of a gene -> line
        for number, draft in enumerate(self._drafts):
            rows = self._rows.get(draft.contig, {})
            row = rows.get(draft.key) or rows.get(_bare(draft.key))
            own = (self._dialect.parse(row.attributes) if row else {}) or self._dialect.parse(draft.attributes)
            gene_key = (
                self._gene_key(draft.key, rows) or _first([own], "gene_id", "geneID", "gene") or _bare(draft.key)[1:]
            )
            gene_row = rows.get(gene_key)
            if gene_row is not last_gene_row:
                gene = self._dialect.parse(gene_row.attributes) if gene_row else {}
                last_gene_row = gene_row
            identity, line = (draft.contig, gene_key), row.line if row else draft.line
            first_told[identity] = min(first_told.get(identity, line), line, gene_row.line if gene_row else line)
            if number in self._on_both_strands or "trans-splicing" in own.get("exception", "") + gene.get(
                "exception", ""
            ):
                self._left_out["trans-splicing"] += 1
            elif draft.strand not in ("+", "-"):
                self._left_out["no strand"] += 1
            else:
                kept.append(number)
                genes.append(identity)
                lines.append(line)
                records.append(_record(draft, row, own, gene_key, gene))
        left_out = dict(+self._left_out)
        if not kept:
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
            raise InputError(f"{self._path} has no transcript that can be used; all were left out: {reasons}")
        parts = np.frombuffer(self._parts, dtype=np.int64).reshape(-1, 4)
        gene_numbers = np.unique([first_told[identity] for identity in genes], return_inverse=True)[1]
        table = pl.DataFrame(dict(zip(_RECORD, zip(*records, strict=True), strict=True)), schema=_RECORD)
        tags = _TAGS.list.filter(pl.element() != "")
        table = table.with_columns(_exons(parts, len(self._drafts))[kept], gene=pl.Series(gene_numbers), tags=tags)
        return Parsed(self._within_bounds(table.select(*SCHEMA))[np.lexsort((np.array(lines), gene_numbers))], left_out)

    def _gene_key(self, key: str, rows: dict[str, _Row]) -> str:
        """The key of a transcript's gene, with or without a row: the first ancestor that is a gene, else the last."""
        passed: list[str] = []
        while key and key not in passed:
            passed.append(key)
            row = rows.get(key)
            if row and row.feature.endswith("gene"):
                return key
            key = self._dialect.parent(key, row)
        return passed[-1] if len(passed) > 1 else ""

    def _within_bounds(self, table: pl.DataFrame) -> pl.DataFrame:
        """Bounds of transcripts without a row of their own from their exons; the others must hold their exons."""
        first, last = pl.col("exon_start").list.first(), pl.col("exon_end").list.last()
        table = table.with_columns(start=pl.col("start").fill_null(first), end=pl.col("end").fill_null(last))
        outside = table.filter((first < pl.col("start")) | (last > pl.col("end")))
        if outside.is_empty():
            return table
        bad = outside.row(0, named=True)
        raise InputError(
            f"{self._path}: the exons of transcript {bad['id']} ({bad['exon_start'][0] + 1}-{bad['exon_end'][-1]}) "
            f"reach outside the transcript itself ({bad['start'] + 1}-{bad['end']}) on {bad['contig']}: mend either row"
        )


_RECORD = {
    name: SCHEMA[name]
    for name in ("id", "version", "gene_id", "gene_name", "contig", "strand", "start", "end", "biotype")
} | {"tags": pl.String()}
_TAGS = pl.col("tags").str.split(",").list.eval(pl.element().str.strip_chars().str.replace_all(" ", "_", literal=True))


def _record(draft: _Draft, row: _Row | None, own: Attributes, gene_key: str, gene: Attributes) -> tuple[object, ...]:
    """The values of `_RECORD` for one transcript; bounds are None where it has no row."""
    gene_id = _PREFIX.sub("", gene_key)
    return (
        _PREFIX.sub("", _bare(draft.key)[1:]),
        _first([own], "transcript_version", "version"),
        gene_id,
        _first([own, gene], "gene_name", "gene_symbol", "gene") or _first([gene], "Name") or gene_id,
        draft.contig,
        draft.strand,
        row.start if row else None,
        row.end if row else None,
        _first([own], "transcript_biotype", "transcript_type", "biotype")
        or _first([own, gene], "gene_biotype", "gene_type", "biotype")
        or (row.feature if row else ""),
        own.get("tag", "") + (",longest" if own.get("longest") == "1" else ""),
    )


def _first(sources: list[Attributes], *names: str) -> str:
    return next((source[name] for name in names for source in sources if source.get(name)), "")


def _bare(key: str) -> str:
    """The key of a GTF transcript's row that does not name its gene: a tab and the transcript's identifier."""
    return "\t" + key.rpartition("\t")[2]


def _exons(parts: NDArray[np.int64], n_transcripts: int) -> pl.DataFrame:
    """Exons of each transcript as lists, touching ones merged, and the summed length of its CDS."""
    owner, kind, start, end = parts.T
    cds = kind == _CDS
    cds_length = np.bincount(owner[cds], (end - start)[cds], n_transcripts).astype(np.int64)
    has_exons = np.bincount(owner[kind == _EXON], minlength=n_transcripts) > 0
    used = parts[(kind == _EXON) | ~has_exons[owner]]
    owner, _, start, end = used[np.lexsort((used[:, 2], used[:, 0]))].T
    # Each transcript gets a stretch of its own on one long axis, so that a single running maximum serves them all.
    offset = owner << 40
    covered_to = np.maximum.accumulate(end + offset)
    opens = np.append(True, start[1:] + offset[1:] > covered_to[:-1])
    closes = np.append(opens[1:], True)
    exons = pl.DataFrame({"owner": owner[opens], "exon_start": start[opens], "exon_end": (covered_to - offset)[closes]})
    lists = exons.group_by("owner", maintain_order=True).agg("exon_start", "exon_end").drop("owner")
    return lists.with_columns(cds_length=pl.Series(cds_length))
