"""A transcript, and many of them as columns: the one table every annotation format is read into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

Positions = NDArray[np.int64]

# One row a transcript. ``gene`` numbers the genes of the file from 0: names alone do not tell the X and Y copies apart.
SCHEMA: dict[str, pl.DataType] = {
    "gene": pl.Int64(),
    "id": pl.String(),
    "version": pl.String(),
    "gene_id": pl.String(),
    "gene_name": pl.String(),
    "contig": pl.String(),
    "strand": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "cds_length": pl.Int64(),
    "biotype": pl.String(),
    "tags": pl.List(pl.String()),
    "exon_start": pl.List(pl.Int64()),
    "exon_end": pl.List(pl.Int64()),
}


class Parsed(NamedTuple):
    """What a parser hands over: rows of `SCHEMA` in file order of genes, and the transcripts left out, by reason."""

    table: pl.DataFrame
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One transcript of a gene; coordinates are 0-based half-open, exons sorted by start."""

    id: str
    version: str
    gene_id: str
    gene_name: str
    contig: str
    strand: str
    start: int
    end: int
    exons: tuple[tuple[int, int], ...]
    cds_length: int
    biotype: str
    tags: frozenset[str]

    @property
    def versioned(self) -> str:
        """``id.version`` where the file gives a version apart, else the id."""
        return f"{self.id}.{self.version}" if self.version else self.id

    @property
    def introns(self) -> tuple[tuple[int, int], ...]:
        """The gaps between consecutive exons, ascending."""
        return tuple((left, right) for (_, left), (right, _) in zip(self.exons, self.exons[1:], strict=False))

    @property
    def donors(self) -> Positions:
        """The last exonic base before each intron, as the transcript is read; ascending. Its end is no donor."""
        return self._left_of_introns() if self.strand == "+" else self._right_of_introns()

    @property
    def acceptors(self) -> Positions:
        """The first exonic base after each intron, as the transcript is read; ascending. Its start is no acceptor."""
        return self._right_of_introns() if self.strand == "+" else self._left_of_introns()

    def _left_of_introns(self) -> Positions:
        return np.array([end - 1 for _, end in self.exons[:-1]], dtype=np.int64)

    def _right_of_introns(self) -> Positions:
        return np.array([start for start, _ in self.exons[1:]], dtype=np.int64)


class Transcripts(Sequence[Transcript]):
    """Transcripts kept as columns (`SCHEMA`); a `Transcript` is made when it is first asked for."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table
        self._made: dict[int, Transcript] = {}

    def __len__(self) -> int:
        return self.table.height

    @overload
    def __getitem__(self, index: int) -> Transcript: ...
    @overload
    def __getitem__(self, index: slice) -> list[Transcript]: ...
    def __getitem__(self, index: int | slice) -> Transcript | list[Transcript]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        if row not in self._made:
            values = self.table.row(row, named=True)
            del values["gene"]
            exons = tuple(zip(values.pop("exon_start"), values.pop("exon_end"), strict=True))
            self._made[row] = Transcript(**values | {"exons": exons, "tags": frozenset(values["tags"])})
        return self._made[row]
