"""Which genes are alike: their exons aligned all against all with minimap2."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from basecast.data.splice_labels import GENE, connected
from basecast.errors import BasecastError, UsageError
from basecast.genome.reference import Genome
from basecast.genome.sequence import Tokens, decode, reverse_complement


class Alike(NamedTuple):
    """Two sequences, by number, and how alike they are, 0..1."""

    a: int
    b: int
    identity: float
    coverage: float


_NO_DIAGONAL, _NO_DUAL, _ALL_CHAINS = 0x001, 0x002, 0x800000  # minimap.h: no gene with itself, no pair twice, every hit
_PRESET = "map-ont"  # short minimizers of a noisy read's mapping: genes of 80 % identity are still seeded


def require_mappy() -> Any:
    """The module ``mappy``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import mappy
    except ImportError:
        raise UsageError(
            "to find similar genes minimap2 is needed: pip install 'basecast[paralogs]'; or split without it, with "
            "--split overlap, --split spliceai-human or --split-list FILE"
        ) from None
    return mappy


def exons_of(transcripts: pl.DataFrame, genes: pl.DataFrame, genome: Genome) -> Iterator[Tokens]:
    """For each gene the bases that are exonic in any of its transcripts, as they are read."""
    rows = genes.select(GENE).with_row_index("row")
    parts = (
        transcripts.join(rows, on=GENE)
        .select("row", start="exon_start", end="exon_end")
        .explode("start", "end")
    )
    row = parts["row"].cast(pl.Int64).to_numpy()
    piece = connected(row, parts["start"].to_numpy(), parts["end"].to_numpy())
    exons = (
        parts.with_columns(piece=pl.Series(piece))
        .group_by("row", "piece")
        .agg(pl.col("start").min(), pl.col("end").max())
        .sort("row", "start")
        .group_by("row", maintain_order=True)
        .agg("start", "end")
    )
    for (contig, strand, start, end), (_, starts, ends) in zip(
        genes.select("contig", "strand", "start", "end").iter_rows(), exons.iter_rows(), strict=True
    ):
        body = genome.tokens(contig, start, end)
        tokens = np.concatenate([body[a - start : b - start] for a, b in zip(starts, ends, strict=True)])
        yield tokens if strand == "+" else reverse_complement(tokens)


def similar(sequences: Iterable[Tokens], *, min_identity: float = 0.8, min_coverage: float = 0.5) -> list[Alike]:
    """Pairs of sequences, on either strand, that are alike.

    Identity is matching bases by bases of the alignment, gaps included; coverage is the aligned stretch by the length
    of the shorter sequence.

    Raises:
        UsageError: mappy is not installed.
        BasecastError: minimap2 could not index the sequences.
    """
    mappy = require_mappy()
    with tempfile.TemporaryDirectory(prefix="basecast-") as folder:
        fasta = Path(folder) / "exons.fa"
        with fasta.open("w") as out:
            out.writelines(f">{i}\n{decode(tokens)}\n" for i, tokens in enumerate(sequences))
        flags = _NO_DIAGONAL | _NO_DUAL | _ALL_CHAINS
        index = mappy.Aligner(str(fasta), preset=_PRESET, extra_flags=flags, n_threads=1)
        if not index:
            raise BasecastError(f"minimap2 could not index the exons of the genes ({fasta}): is the disk full?")
        pairs: dict[tuple[int, int], Alike] = {}
        for name, sequence, _ in mappy.fastx_read(str(fasta)):
            for hit in index.map(sequence, name=name):
                stretch = max((hit.q_en - hit.q_st) / len(sequence), (hit.r_en - hit.r_st) / hit.ctg_len)
                found = Alike(int(name), int(hit.ctg), hit.mlen / hit.blen, min(stretch, 1.0))
                if stretch >= min_coverage and found.identity >= min_identity:
                    pairs[found[:2]] = max(found, pairs.get(found[:2], found))
    return sorted(pairs.values())
