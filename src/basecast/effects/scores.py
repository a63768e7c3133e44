"""What scoring gives: a row for each allele and gene, and for each that has no score, the reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float

from basecast.effects.splicing import EVENTS, LABELS, Delta
from basecast.genome.annotation import Transcript
from basecast.spec import Provenance

MaskName = Literal["raw", "masked"]
COMPUTED, PRECOMPUTED = "computed", "precomputed"


@dataclass(frozen=True, slots=True)
class Row:
    """One allele of one record in one gene; ``delta`` is None where ``status`` says why. ``allele`` None: every one.

    ``is_precomputed``: the delta was taken from a file.
    """

    allele: int | None
    status: str
    mask: MaskName = "raw"
    symbol: str = ""
    gene_id: str = ""
    transcript: str = ""
    strand: str = ""
    delta: Delta | None = None
    is_precomputed: bool = False

    @classmethod
    def of(
        cls, allele: int | None, status: str, mask: MaskName, transcript: Transcript | None, delta: Delta | None = None
    ) -> Row:
        """A row with a transcript's names."""
        if transcript is None:
            return cls(allele, status, mask)
        names = (transcript.gene_name, transcript.gene_id, transcript.versioned, transcript.strand)
        return cls(allele, status, mask, *names, delta)

    @property
    def is_scored(self) -> bool:
        """Whether there is a delta."""
        return self.delta is not None

    @property
    def source(self) -> str:
        """Where the delta is from; empty where there is none."""
        return "" if self.delta is None else PRECOMPUTED if self.is_precomputed else COMPUTED

    def to_json(self) -> list[Any]:
        """Plain values; ``from_json`` makes an equal row of them."""
        d = self.delta
        delta = d and [d.score, d.position, d.offset, d.ref, d.alt]
        names = [self.symbol, self.gene_id, self.transcript, self.strand]
        return [self.allele, self.status, self.mask, *names, delta, self.is_precomputed]

    @classmethod
    def from_json(cls, values: list[Any]) -> Row:
        """The row that ``to_json`` was asked of."""
        allele, status, mask, symbol, gene_id, transcript, strand, delta, is_precomputed = values
        made = delta and Delta(*map(tuple, delta))
        return cls(allele, status, mask, symbol, gene_id, transcript, strand, made, is_precomputed)


def entries(array: bytes) -> Iterator[str]:
    """The entries of an array as ``json.dumps`` writes it, each as its text, which is smaller than its values."""
    text, decoder, start = array.decode(), json.JSONDecoder(), 1
    while start < len(text) - 1:
        _, end = decoder.raw_decode(text, start)
        yield text[start:end]
        start = end + len(", ")


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores as arrays.

    Attributes:
        rows: record, contig, position (POS), ref, alt, symbol, gene_id, transcript, strand, mask, status.
        tracks: one row a track: name and unit.
        values: delta scores, shape (rows, tracks); NaN where a row has none.
        layers: of the same shape: ``REF`` and ``ALT`` (probabilities at the reported place), ``position`` (relative to
            POS) and ``offset`` (n-th inserted base there, 0 = a base of the reference).
        provenance: what was run on what.
    """

    rows: pl.DataFrame
    tracks: pl.DataFrame
    values: Float[np.ndarray, "rows tracks"]
    layers: dict[str, Float[np.ndarray, "rows tracks"]]
    provenance: Provenance

    @property
    def table(self) -> pl.DataFrame:
        """One flat table: the rows with DS_*, DP_*, OFFSET_*, REF_* and ALT_* columns; null where there is no score."""
        columns = {"DS": self.values, "DP": self.layers["position"], "OFFSET": self.layers["offset"]}
        columns |= {"REF": self.layers["REF"], "ALT": self.layers["ALT"]}
        flat = [
            pl.Series(f"{kind}_{label}", values[:, i]).fill_nan(None).cast(pl.Int64 if kind in _WHOLE else pl.Float64)
            for kind, values in columns.items()
            for i, label in enumerate(LABELS)
        ]
        return self.rows.hstack(flat)


_LAYERS = {"REF": "ref", "ALT": "alt", "position": "position", "offset": "offset"}
_WHOLE = ("DP", "OFFSET")
_TEXT = ("contig", "ref", "alt", "symbol", "gene_id", "transcript", "strand", "mask", "status")
ROW_SCHEMA: dict[str, pl.DataType] = {
    "record": pl.Int64(),
    "contig": pl.String(),
    "position": pl.Int64(),
    **{name: pl.String() for name in _TEXT[1:]},
}


def collect(
    found: Iterable[tuple[int, str, int, str, Sequence[str], Sequence[Row]]],
    provenance: Provenance,
    with_source: bool = False,
) -> Scores:
    """Scores of (record number, contig, POS, REF, ALTs, rows), record by record.

    ``with_source``: a column more in ``rows`` says whether a score was computed.
    """
    lines: list[tuple[Any, ...]] = []
    deltas: list[Delta | None] = []
    for number, contig, position, ref, alts, rows in found:
        for row in rows:
            alt = ",".join(alts) if row.allele is None else alts[row.allele]
            names = (row.symbol, row.gene_id, row.transcript, row.strand, row.mask, row.status)
            source = (row.source or None,) if with_source else ()
            lines.append((number, contig, position, ref, alt, *names, *source))
            deltas.append(row.delta)

    def stacked(name: str) -> Float[np.ndarray, "rows tracks"]:
        return np.array([[np.nan] * 4 if d is None else getattr(d, name) for d in deltas], dtype=float).reshape(-1, 4)

    return Scores(
        rows=pl.DataFrame(lines, schema=ROW_SCHEMA | ({"source": pl.String()} if with_source else {}), orient="row"),
        tracks=pl.DataFrame({"name": EVENTS, "unit": ["delta of probability"] * len(EVENTS)}),
        values=stacked("score"),
        layers={name: stacked(attribute) for name, attribute in _LAYERS.items()},
        provenance=provenance,
    )
