"""How scores of signals are written: a long table, or arrays of variants by tracks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from basecast.effects.output import ScoreWriter
from basecast.effects.signal_arrays import ArrayWriter, alt_of, variant_id
from basecast.effects.signal_scorer import SignalRow, SignalScorer
from basecast.effects.table import TableWriter
from basecast.errors import UsageError
from basecast.genome.annotated import check_target
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.spec import Provenance, Track
from basecast.spec.model import Frozen

Format = Literal["parquet", "tsv", "h5", "h5ad"]
_FORMATS: tuple[Format, ...] = ("parquet", "tsv", "h5", "h5ad")
_HELD = 1 << 20
"""Rows of a table that are held in memory."""


class SignalOutput(Frozen):
    """How scores are written; what the suffix of the output says where ``format`` does not."""

    format: Format | None = None
    force: bool = False
    command: str = ""

    def check(self, target: str, source: str | None, others: Iterable[Genome | Annotation | str | Path] = ()) -> None:
        """Stop before any work where ``target`` could not be written.

        Raises:
            UsageError: there is no format, its folder is missing, it is a folder, or it is the input or one of the
                ``others``.
        """
        self.of(target)
        check_target(target, source, [given if isinstance(given, str | Path) else given.path for given in others])

    def of(self, target: str) -> Format:
        """The format that ``target`` is written in."""
        suffix = Path(target).suffix.lower().removeprefix(".")
        found = self.format or next((name for name in _FORMATS if name == suffix), None)
        if found is None or target == "-":
            raise UsageError(
                f"scores of signals are no INFO of a VCF: end the output {target} with .parquet, .tsv, .h5 or .h5ad, "
                "or say --format"
            )
        return found


class SignalLayout(Frozen):
    """What it takes to write rows of signals."""

    kind: Literal["signal"] = "signal"
    format: Format
    statistics: tuple[str, ...]
    tracks: tuple[Track, ...]
    has_genes: bool
    provenance: Provenance
    takes_precomputed: Literal[False] = False

    @classmethod
    def of(cls, scorer: SignalScorer, output: SignalOutput, target: str) -> SignalLayout:
        """For what a scorer gives."""
        return cls(
            format=output.of(target),
            statistics=scorer.settings.names,
            tracks=scorer.tracks,
            has_genes=scorer.settings.genes is not None,
            provenance=scorer.provenance,
        )

    def check(self, reader: VariantReader, target: str) -> None:
        """Nothing of an input is in the way."""

    def checked(self, records: Iterator[VariantRecord], reader: VariantReader) -> Iterator[VariantRecord]:
        """All records."""
        return records

    def row(self, values: list[Any]) -> SignalRow:
        """A row as ``to_json`` gave it."""
        return SignalRow.from_json(values, len(self.tracks))

    def open(self, target: str, reader: VariantReader, command: str) -> ScoreWriter:
        """What takes records with their rows."""
        about = self.provenance.model_copy(update={"command": command}).model_dump_json()
        if self.format in ("parquet", "tsv"):
            return TableWriter(
                target,
                partial(_frame, reader=reader, layout=self, tracks=_track_columns(self.tracks)),
                batch=max(_HELD // (len(self.statistics) * len(self.tracks)), 1),
                is_parquet=self.format == "parquet",
                metadata={"basecast": about},
            )
        return ArrayWriter(
            target,
            self.statistics,
            self.tracks,
            partial(name_of, reader),
            has_genes=self.has_genes,
            is_anndata=self.format == "h5ad",
            about=about,
        )


def name_of(reader: VariantReader, record: VariantRecord) -> str | None:
    """The ID of a record, if its file gives one."""
    column = reader.columns.get("ID") if reader.kind == "tsv" else 2
    fields = record.line.split(b"\t", column + 1) if column is not None else []
    found = fields[column].decode(errors="replace").strip() if column is not None and column < len(fields) else ""
    return found if found not in ("", ".") else None


def _track_columns(tracks: Sequence[Track]) -> pl.DataFrame:
    """The tracks, and after them one without a name for rows without a score."""
    names = ("name", "strand", "assay", "biosample")
    return pl.DataFrame(
        {
            "track" if name == "name" else name: pl.Series(
                [*(getattr(x, name) or None for x in tracks), None], dtype=pl.String
            )
            for name in names
        }
    )


def _frame(
    pending: Sequence[tuple[VariantRecord, Sequence[SignalRow]]],
    reader: VariantReader,
    layout: SignalLayout,
    tracks: pl.DataFrame,
) -> pl.DataFrame:
    """A row a variant, gene, statistic and track; one for what has no score."""
    heads: dict[str, list[Any]] = {name: [] for name in _HEAD}
    sizes, scores, refs, alts, which_track, which_statistic = [], [], [], [], [], []
    n_statistics, n_tracks = len(layout.statistics), len(layout.tracks)
    nothing = np.full(1, np.nan, np.float32)
    for record, rows in pending:
        rsid = name_of(reader, record)
        for row in rows:
            place = (record.contig, record.position, record.ref, alt_of(record, row))
            head = (variant_id(record, row), *place, rsid)
            for name, value in zip(_HEAD, (*head, row.gene_id or None, row.status), strict=True):
                heads[name].append(value)
            values = row.values
            sizes.append(1 if values is None else n_statistics * n_tracks)
            scores.append(nothing if values is None else values[:-2].ravel())
            refs.append(nothing if values is None else np.tile(values[-2], n_statistics))
            alts.append(nothing if values is None else np.tile(values[-1], n_statistics))
            which_track.append([n_tracks] if values is None else np.tile(np.arange(n_tracks), n_statistics))
            which_statistic.append([n_statistics] if values is None else np.repeat(np.arange(n_statistics), n_tracks))
    repeated = pl.DataFrame(heads, schema=_HEAD)[np.repeat(np.arange(len(sizes)), sizes)]
    statistics = pl.Series("statistic", [*layout.statistics, None], dtype=pl.String)
    made = {"raw_score": scores, "ref_sum": refs, "alt_sum": alts}
    return (
        repeated.hstack(tracks[_joined(which_track)])
        .with_columns(statistics[_joined(which_statistic)])
        .with_columns(pl.Series(name, np.concatenate([nothing[:0], *x])).fill_nan(None) for name, x in made.items())
        .select(*_COLUMNS)
    )


def _joined(indices: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *indices]).astype(np.int64)


_HEAD: dict[str, pl.DataType] = {
    "variant_id": pl.String(),
    "contig": pl.String(),
    "pos": pl.Int64(),
    "ref": pl.String(),
    "alt": pl.String(),
    "rsid": pl.String(),
    "gene_id": pl.String(),
    "status": pl.String(),
}
_COLUMNS = (
    *("variant_id", "contig", "pos", "ref", "alt", "rsid", "gene_id", "track", "strand", "assay", "biosample"),
    *("statistic", "raw_score", "ref_sum", "alt_sum", "status"),
)
