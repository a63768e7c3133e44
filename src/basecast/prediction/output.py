"""Sites of finished parts, in order and each once, and the files that they are written to."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.files import remove_left_overs
from basecast.genome.signal import write_bigwig
from basecast.genome.sites import SITE_SCHEMA, write_bed, write_hints, write_parquet, write_spsc
from basecast.inference.shards import Parts
from basecast.prediction.predictor import ORDER

Format = Literal["bed", "bigwig", "parquet", "spsc", "hints"]
FLOORS: dict[Format, float] = {"bigwig": 0.001, "spsc": 0.0001}
"""Formats that go below the threshold: to an aligner 0.01 is likely, and a site that is missing is not."""
KINDS = ("donor", "acceptor")
STRANDS = {"+": "plus", "-": "minus"}
_SITE = ("contig", "position", "strand", "kind", "gene")


class Sites:
    """The sites of all parts, as often as they are asked for, a part's worth of them in memory.

    Args:
        threshold: of rows; bigWigs have every site of at least ``FLOORS["bigwig"]``.
        lengths: of each contig of the genome, in its order.
    """

    def __init__(self, parts: Parts, n_shards: int, threshold: float, lengths: Mapping[str, int]) -> None:
        self._parts, self._n_shards, self._threshold = parts, n_shards, threshold
        self.lengths = lengths

    def rows(self, kind: str | None = None, threshold: float | None = None) -> Iterator[pl.DataFrame]:
        """Sites of at least the threshold by contig, position, strand, kind and gene."""
        for table in self._merged():
            chosen = table.filter(pl.col("probability") >= (self._threshold if threshold is None else threshold))
            yield chosen if kind is None else chosen.filter(kind=kind)

    def counts(self) -> dict[str, int]:
        """How many rows each kind has."""
        counts = dict.fromkeys(KINDS, 0)
        for table in self.rows():
            for kind, n in table["kind"].value_counts().iter_rows():
                counts[kind] += n
        return counts

    def signal(self, kind: str, strand: str) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """(contig, positions, probabilities) of sites, lower ones too; of genes that overlap the larger one."""
        for table in self._merged():
            chosen = table.filter(pl.col("probability") >= FLOORS["bigwig"], kind=kind, strand=strand)
            highest = chosen.group_by("contig", "position", maintain_order=True).agg(pl.max("probability"))
            for (contig,), part in highest.partition_by("contig", as_dict=True, maintain_order=True).items():
                yield str(contig), part["position"].to_numpy(), part["probability"].to_numpy()

    def _merged(self) -> Iterator[pl.DataFrame]:
        """Every site once, in order. Stretches of later parts begin where the last of this one does, or after."""
        held = pl.DataFrame(schema=SITE_SCHEMA)
        for number in range(self._n_shards):
            content = self._parts.load(number)
            table = pl.read_parquet(io.BytesIO(content))
            contig, start = json.loads(pl.read_parquet_metadata(io.BytesIO(content))["last"])
            if held.height:
                same = table["contig"] == held["contig"][0]
                table = pl.concat([pl.concat([held, table.filter(same)]).sort(ORDER), table.filter(~same)])
            final = (table["contig"] != contig) | (table["position"] < start)
            yield _once(table.filter(final))
            held = table.filter(~final)
        yield _once(held)


def _once(table: pl.DataFrame) -> pl.DataFrame:
    """Genes of one name that overlap give one row, the larger one."""
    if not table.height:
        return table
    return table.group_by(_SITE, maintain_order=True).agg(pl.max("probability")).select(list(SITE_SCHEMA))


def _bed(kind: str) -> Callable[[str, Sites], None]:
    return lambda path, sites: write_bed(path, sites.rows(kind), sites.lengths)


def _bigwig(kind: str, strand: str) -> Callable[[str, Sites], None]:
    return lambda path, sites: write_bigwig(path, sites.lengths, sites.signal(kind, strand))


FORMATS: dict[Format, dict[str, Callable[[str, Sites], None]]] = {
    "bed": {f"{kind}.bed.gz": _bed(kind) for kind in KINDS},
    "bigwig": {f"{kind}.{name}.bw": _bigwig(kind, strand) for kind in KINDS for strand, name in STRANDS.items()},
    "parquet": {"parquet": lambda path, sites: write_parquet(path, sites.rows())},
    "spsc": {"spsc.tsv.gz": lambda path, sites: write_spsc(path, sites.rows(threshold=FLOORS["spsc"]))},
    "hints": {"hints.gff": lambda path, sites: write_hints(path, sites.rows(), sites.lengths)},
}
"""The files of each format, by the end of their names."""


def write(name: Format, prefix: str, sites: Sites) -> list[str]:
    """Write one format over what a killed run may have left; the paths of its files."""
    paths = {f"{prefix}.{end}": writer for end, writer in FORMATS[name].items()}
    for path, writer in paths.items():
        for index in ("", ".tbi", ".csi"):
            remove_left_overs(path + index)
        writer(path, sites)
    return list(paths)
