"""Genes as a file tells them: any annotation format in, the transcripts a person means out, looked up by place."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.errors import InputError, UsageError
from basecast.files import built_once, cache_folder, named_errors, sha256_of
from basecast.genome import bgzip, gene_tables, gff
from basecast.genome.sequence import Tokens, encode, reverse_complement
from basecast.genome.transcripts import Parsed, Positions, Transcript, Transcripts

__all__ = ["Annotation", "Selection", "Transcript", "Transcripts"]

Selection = Literal["canonical", "mane", "all"]

PARSER_VERSION = 2  # part of the cache's file names: raise it whenever a parser's answer changes
_MANE = ("MANE_Select", "MANE_Plus_Clinical")
_CANONICAL = ("MANE_Select", "Ensembl_canonical", "longest")


class _Names(Protocol):
    def resolve(self, name: str) -> str | None: ...
    def describe_unknown(self, name: str, file: str = "", rename_with: str = ...) -> str: ...


class _Genome(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def lengths(self) -> Mapping[str, int]: ...
    @property
    def contigs(self) -> _Names: ...
    def tokens(self, contig: str, start: int, end: int) -> Tokens: ...


@dataclass(frozen=True)
class Annotation:
    """The chosen transcripts of one file, in file order of genes.

    Attributes:
        path: the file.
        digest: its SHA-256, as it lies on disk.
        selection: which transcripts were chosen, as words.
        transcripts: the chosen ones; each is made when asked for.
        left_out: transcripts of the file that could not be used, counted by reason, whatever the selection.
        unplaced: after `on`, transcripts dropped because the genome lacks their contig, counted by contig.
    """

    path: Path
    digest: str
    selection: str
    transcripts: Transcripts
    left_out: dict[str, int]
    unplaced: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(
        cls, path: str | PathLike[str], *, transcripts: Selection = "canonical", canonical_tag: str | None = None
    ) -> Annotation:
        """Read GFF3, GTF, BED12 or a SpliceAI gene table, plain or gzipped, told apart by content.

        Args:
            transcripts: ``canonical``: one a gene, the first that there is of MANE Select, Ensembl_canonical,
                ``canonical_tag``, Phytozome's ``longest=1``, longest CDS, most exonic bases, first in the file.
                ``mane``: MANE Select and MANE Plus Clinical; other genes have none. ``all``: every transcript.
                Each row of a gene table or BED12 counts as a gene.
            canonical_tag: a tag of the file for genes without MANE Select and Ensembl_canonical.

        Raises:
            InputError: the file is missing, damaged, no annotation, or has no transcript of the kind asked for.
            UsageError: an unknown selection, or a tag without ``canonical``.
        """
        if transcripts not in ("canonical", "mane", "all"):
            raise UsageError(f"transcripts must be canonical, mane or all, got {transcripts!r}")
        if canonical_tag is not None and transcripts != "canonical":
            raise UsageError(f"a canonical tag ({canonical_tag!r}) only has a meaning with transcripts=canonical")
        path = Path(path)
        if not path.is_file():
            raise InputError(f"the annotation {path} is not a file that can be read: check the path")
        digest = sha256_of(path)
        cached = built_once(
            cache_folder("annotation") / f"{digest}.{PARSER_VERSION}.parquet",
            lambda partial: _store(_parse(path), partial),
        )
        table = pl.read_parquet(cached)
        if transcripts == "canonical":
            table = _canonical(table, canonical_tag, path)
        elif transcripts == "mane":
            table = _mane(table, path)
        left_out = json.loads(pl.read_parquet_metadata(cached)["left_out"])
        selection = f"{transcripts} (then {canonical_tag})" if canonical_tag else transcripts
        return cls(path, digest, selection, Transcripts(table), left_out)

    def on(self, contigs: _Names) -> Annotation:
        """The same under the genome's contig names; transcripts elsewhere are dropped and counted in ``unplaced``."""
        table = self.transcripts.table
        names = {name: contigs.resolve(name) for name in table["contig"].unique(maintain_order=True)}
        unplaced = table["contig"].filter(
            table["contig"].is_in([name for name, known in names.items() if known is None])
        )
        table = table.with_columns(pl.col("contig").replace_strict(names, return_dtype=pl.String)).drop_nulls("contig")
        counts = dict(unplaced.value_counts(sort=True).iter_rows())
        return replace(self, transcripts=Transcripts(table), unplaced=counts)

    def fitted_to(self, genome: _Genome) -> Annotation:
        """The same under the genome's contig names, checked against its bases.

        Raises:
            InputError: the genome has none of its contigs, or it is of another assembly.
        """
        fitted = self.on(genome.contigs)
        if not len(fitted.transcripts):
            unknown = next(iter(fitted.unplaced), "")
            raise InputError(genome.contigs.describe_unknown(unknown, str(self.path), "a text editor"))
        fitted.check_against(genome)
        return fitted

    @property
    def words(self) -> str:
        """What tells it from others: the file, and which transcripts of it."""
        return f"{self.digest} {self.selection}"

    @property
    def warnings(self) -> list[str]:
        """What of the file is not used, and why."""
        said = []
        if self.unplaced:
            names = ", ".join(list(self.unplaced)[:3])
            n = sum(self.unplaced.values())
            said.append(f"{n} transcripts of {self.path} lie on contigs that the FASTA has not ({names} ...)")
        return said + [f"{n} transcripts of {self.path} were left out: {why}" for why, n in self.left_out.items()]

    def overlapping(self, contig: str, start: int, end: int) -> list[Transcript]:
        """Transcripts that share a base with ``start:end`` of ``contig``, in file order."""
        if contig not in self._by_start:
            return []
        starts, ends, reach, rows = self._by_start[contig]
        # `reach` is the largest end so far, so nothing before `low` gets to `start`, however the genes are nested.
        low, high = reach.searchsorted(start, side="right"), starts.searchsorted(end, side="left")
        hits = rows[low:high][ends[low:high] > start]
        hits.sort()
        return [self.transcripts[row] for row in hits.tolist()]

    @cached_property
    def _by_start(self) -> dict[str, tuple[Positions, Positions, Positions, Positions]]:
        """For each contig: starts (ascending), their ends, the running maximum of ends, their rows."""
        columns = (
            self.transcripts.table.select("contig", "start", "end")
            .with_row_index("row")
            .sort("start", maintain_order=True)
        )
        index = {}
        for (contig,), part in columns.partition_by("contig", as_dict=True, maintain_order=True).items():
            starts, ends, rows = (part[name].to_numpy().astype(np.int64) for name in ("start", "end", "row"))
            index[contig] = (starts, ends, np.maximum.accumulate(ends), rows)
        return index

    def check_against(self, genome: _Genome) -> None:
        """Stop where the annotation cannot belong to the genome; contigs that the genome lacks are passed over.

        Raises:
            InputError: a transcript ends past its contig, or coordinates are off by one.
        """
        self.check_ends(genome)
        found = self.motif_shares(genome)
        if found is not None and found.as_written < 0.5 and found.best > 0.8:
            raise InputError(
                f"coordinates look shifted by 1 in {self.path}: {found.as_written:.0%} of its introns have a splice "
                f"motif in {genome.path} as written, {found.best:.0%} after moving {found.move}. GFF and GTF count "
                "from 1, the starts of gene tables and BED from 0: convert the file accordingly"
            )

    def check_ends(self, genome: _Genome) -> None:
        """Stop where a transcript ends past its contig; contigs that the genome lacks are passed over.

        Raises:
            InputError: one does.
        """
        table = self.transcripts.table
        table = table.with_columns(
            length=pl.col("contig").replace_strict(dict(genome.lengths), default=None, return_dtype=pl.Int64)
        )
        past = table.filter(pl.col("end") > pl.col("length"))
        if past.height:
            bad = past.row(0, named=True)
            raise InputError(
                f"transcript {bad['id']} of {self.path} ends at {bad['end']:,}, past the end of contig "
                f"{bad['contig']!r}, which has {bad['length']:,} bases in {genome.path} ({past.height - 1:,} more "
                "transcripts do likewise): use the annotation of this assembly"
            )

    def motif_shares(self, genome: _Genome, *, most: int = 2000) -> MotifShares | None:
        """Over the introns of ``most`` evenly chosen transcripts, the share with a splice motif (GT-AG, GC-AG, AT-AC).

        None where there are under 20 introns, which tell nothing.
        """
        table = self.transcripts.table
        usable = pl.col("contig").is_in(list(genome.lengths)) & (pl.col("exon_start").list.len() > 1)
        rows = np.flatnonzero(table.select(usable).to_series().to_numpy())
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))] if len(rows) > most else rows
        shares = _motif_shares(genome, (self.transcripts[row] for row in rows.tolist()))
        return None if shares is None else MotifShares.of(shares)


class MotifShares(NamedTuple):
    """The share of introns with a splice motif as the annotation has them, and where it is highest within a base."""

    as_written: float
    best: float
    move: str
    """What must be moved for the best share; empty where nothing."""

    @classmethod
    def of(cls, shares: NDArray[np.float64]) -> MotifShares:
        """From the shares after moving exon ends by -1, 0, 1 (rows) and exon starts (columns)."""
        by_end, by_start = (int(i) - 1 for i in np.unravel_index(shares.argmax(), shares.shape))
        if by_end == by_start:
            move = f"all coordinates by {by_end:+d}" if by_end else ""
        else:
            move = " and ".join(
                f"exon {what} by {by:+d}" for what, by in (("starts", by_start), ("ends", by_end)) if by
            )
        return cls(float(shares[1, 1]), float(shares.max()), move)


def _motif_shares(genome: _Genome, transcripts: Iterable[Transcript]) -> NDArray[np.float64] | None:
    """Share of introns with a splice motif after moving exon ends by -1, 0, 1 (rows) and exon starts (columns)."""
    introns = list(dict.fromkeys((t.contig, start, end, t.strand) for t in transcripts for start, end in t.introns))
    if len(introns) < 20:
        return None
    introns = introns[:: len(introns) // 4000 + 1]  # plenty for a share, and quick from a compressed FASTA too
    left = np.stack([genome.tokens(contig, start - 1, start + 3) for contig, start, _, _ in introns])
    right = np.stack([genome.tokens(contig, end - 3, end + 1) for contig, _, end, _ in introns])
    minus = np.array([strand == "-" for *_, strand in introns])
    motifs = [encode(motif) for motif in ("GTAG", "GCAG", "ATAC")]
    shares = np.zeros((3, 3))
    for by_end, by_start in itertools.product(range(3), repeat=2):
        found = np.hstack([left[:, by_end : by_end + 2], right[:, by_start : by_start + 2]])
        plus_like, minus_like = (
            np.any([(found == motif).all(axis=1) for motif in wanted], axis=0)
            for wanted in (motifs, [reverse_complement(motif) for motif in motifs])
        )
        shares[by_end, by_start] = np.where(minus, minus_like, plus_like).mean()
    return shares


def _canonical(table: pl.DataFrame, named: str | None, path: Path) -> pl.DataFrame:
    """One transcript a gene."""
    order: tuple[str, ...] = _CANONICAL
    if named is not None:
        named = named.strip().replace(" ", "_")
        order = tuple(dict.fromkeys((*_CANONICAL[:-1], named, _CANONICAL[-1])))
        if not table["tags"].list.contains(named).any():
            tags = ", ".join(table["tags"].explode().drop_nulls().unique().sort().head(12)) or "none at all"
            raise InputError(f"no transcript of {path} has the tag {named!r}; tags there: {tags}")
    ranked = table.select(
        "gene",
        *(~pl.col("tags").list.contains(tag).alias(tag) for tag in order),
        cds=-pl.col("cds_length"),
        exonic=pl.col("exon_start").list.sum() - pl.col("exon_end").list.sum(),
    ).with_row_index("row")
    best = ranked.sort("gene", *order, "cds", "exonic", "row").unique("gene", keep="first", maintain_order=True)
    return table[best["row"].sort()]


def _mane(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    chosen = table.filter(pl.any_horizontal(pl.col("tags").list.contains(tag) for tag in _MANE))
    if chosen.is_empty():
        raise InputError(
            f"{path} marks no transcript as MANE Select or MANE Plus Clinical: take a GRCh38 file of MANE, Ensembl or "
            "GENCODE that does, or choose --transcripts canonical"
        )
    return chosen


def _store(parsed: Parsed, partial: Path) -> None:
    content = io.BytesIO()  # a full disk is then told in one way: polars' own word for it is no OSError
    parsed.table.write_parquet(content, metadata={"left_out": json.dumps(parsed.left_out)})
    with named_errors(partial.parent):
        partial.write_bytes(content.getbuffer())


def _parse(path: Path) -> Parsed:
    try:
        with _open(path) as lines:
            parser = _parser_for(lines, path)
        with _open(path) as lines:
            return parser(lines, path)
    except bgzip.DAMAGES as error:
        raise InputError(f"{path} is a damaged or truncated gzip file ({error}): fetch or compress it again") from error


@contextmanager
def _open(path: Path) -> Iterator[Iterator[str]]:
    """Lines of a plain or gzipped text file; bgzip must have its end marker, for without it lines may be missing."""
    with path.open("rb") as raw:
        head = raw.read(bgzip.HEADER_SIZE)
    if bgzip.is_bgzip(head):
        bgzip.require_end(path)
    opened = gzip.open if bgzip.is_gzip(head) else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
        yield lines


def _parser_for(lines: Iterable[str], path: Path) -> Callable[[Iterable[str], Path], Parsed]:
    """The parser for a file that begins like this."""
    hint = "give GFF3, GTF, BED12 or a SpliceAI gene table"
    for number, line in enumerate(lines, 1):
        fields = line.rstrip("\n").split("\t")
        if number == 1 and (line.startswith(("##fileformat=VCF", "#CHROM\tPOS", "BCF", ">", "BAM")) or "\0" in line):
            raise InputError(f"{path} is no annotation (it begins with {line[:20].rstrip()!r}): {hint}")
        if fields[0] == "#NAME":
            return gene_tables.parse_gene_table
        if line[0] in "#\n" or line.startswith(("track ", "browser ")):
            continue
        if len(fields) == 9 and _whole(fields[3:5]):
            if (is_gtf := gff.is_gtf(fields[8])) is not None:
                return lambda lines, path: gff.parse(lines, path, gtf=is_gtf)
        elif len(fields) >= 12 and _whole(fields[1:3]):
            return gene_tables.parse_bed12
        elif len(fields) >= 7 and _whole(fields[3:5]) and fields[2] in ("+", "-"):
            return gene_tables.parse_gene_table
        elif len(fields) >= 3 and _whole(fields[1:3]):
            raise InputError(
                f"{path} looks like BED with {len(fields)} columns, which has no exons: give BED12, GFF3 or GTF"
            )
        else:
            raise InputError(f"line {number} of {path} is of no annotation format ({line[:60].rstrip()!r}): {hint}")
    raise InputError(f"{path} is empty or has no annotation rows: {hint}")


def _whole(fields: list[str]) -> bool:
    return all(value.strip().isdecimal() for value in fields)
