"""Which genes are alike: their exons aligned all against all with minimap2."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data.splice_labels import GENE, connected
from basecast.errors import BasecastError, UsageError
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, Tokens, decode, reverse_complement


class Alike(NamedTuple):
    """Two sequences, by number, and how alike they are, 0..1."""

    a: int
    b: int
    identity: float
    coverage: float


_NO_DIAGONAL, _NO_DUAL, _ALL_CHAINS = 0x001, 0x002, 0x800000  # minimap.h: no gene with itself, no pair twice, every hit
_PRESET = "map-ont"  # short minimizers of a noisy read's mapping: genes of 80 % identity are still seeded
_K, _MANY = 21, 8  # minimap2 passes over minimizers that occur more than about ten times


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
    parts = transcripts.join(rows, on=GENE).select("row", start="exon_start", end="exon_end").explode("start", "end")
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


def similar(
    sequences: Iterable[Tokens],
    first: NDArray[np.bool_] | None = None,
    *,
    min_identity: float = 0.8,
    min_coverage: float = 0.5,
) -> list[Alike]:
    """Pairs of sequences, on either strand, that are alike.

    Identity is matching bases by bases of the alignment, gaps included; coverage is the aligned stretch by the length
    of the shorter sequence. Of a large family not all pairs are found, but those that tie it: minimap2 passes over what
    many sequences share, so that their alignments are each to one that stands for it.

    Args:
        first: sequences that stand for a family rather than others.

    Raises:
        UsageError: mappy is not installed.
        BasecastError: minimap2 could not index the sequences.
    """
    mappy = require_mappy()
    with tempfile.TemporaryDirectory(prefix="basecast-") as folder:
        fasta = Path(folder) / "exons.fa"
        with fasta.open("w") as out:
            families = _Families()
            for i, tokens in enumerate(sequences):
                out.write(f">{i}\n{decode(tokens)}\n")
                families.add(tokens)
        flags = _NO_DIAGONAL | _NO_DUAL | _ALL_CHAINS
        index = mappy.Aligner(str(fasta), preset=_PRESET, extra_flags=flags, n_threads=1)
        if not index:
            raise BasecastError(f"minimap2 could not index the exons of the genes ({fasta}): is the disk full?")
        pairs: dict[tuple[int, int], Alike] = {}

        def keep(a: int, b: int, length: int, hits: Iterable[Any]) -> None:
            a, b = min(a, b), max(a, b)
            for hit in hits:
                stretch = max((hit.q_en - hit.q_st) / length, (hit.r_en - hit.r_st) / hit.ctg_len)
                found = Alike(a, b, hit.mlen / hit.blen, min(stretch, 1.0))
                if stretch >= min_coverage and found.identity >= min_identity:
                    pairs[a, b] = max(found, pairs.get((a, b), found))

        tied = families.tied(first)
        wanted = set(tied) | {member for members in tied.values() for member in members}
        texts: dict[int, str] = {}
        for name, sequence, _ in mappy.fastx_read(str(fasta)):
            for hit in index.map(sequence, name=name):
                keep(int(name), int(hit.ctg), len(sequence), [hit])
            if int(name) in wanted:
                texts[int(name)] = sequence
        for one, members in tied.items():
            alone = mappy.Aligner(seq=texts[one], preset=_PRESET, n_threads=1)
            for member in members:
                if (min(one, member), max(one, member)) not in pairs:
                    keep(one, member, len(texts[member]), alone.map(texts[member]))
    return sorted(pairs.values())


class _Families:
    """K-mers that many sequences share. Every eighth is looked at, by its hash: the same ones in all sequences."""

    def __init__(self) -> None:
        self._kmers: list[NDArray[np.uint64]] = []

    def add(self, tokens: Tokens) -> None:
        self._kmers.append(_sampled(tokens))

    def tied(self, first: NDArray[np.bool_] | None) -> dict[int, list[int]]:
        """Sequences that stand for the k-mers of more than `_MANY`, and for each the others that have one of these."""
        if not self._kmers:
            return {}
        owner = np.repeat(np.arange(len(self._kmers)), [kmers.size for kmers in self._kmers])
        _, kmer, counts = np.unique(np.concatenate(self._kmers), return_inverse=True, return_counts=True)
        many = counts[kmer] > _MANY
        owner, kmer = owner[many], kmer[many]
        last = np.zeros(owner.size, dtype=bool) if first is None else ~first[owner]
        order = np.lexsort((owner, last, kmer))
        owner, kmer = owner[order], kmer[order]
        one = owner[np.searchsorted(kmer, kmer)]
        members: dict[int, list[int]] = {}
        for a, b in np.unique(np.stack([one, owner], axis=1)[one != owner], axis=0).tolist():
            members.setdefault(a, []).append(b)
        return members


def _sampled(tokens: Tokens) -> NDArray[np.uint64]:
    """Numbers of the sampled k-mers of a sequence, each once; a k-mer and its reverse complement are the same."""
    if tokens.size < _K:
        return np.zeros(0, dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, _K)
    windows = windows[(windows < N).all(axis=1)]
    plus = np.zeros(len(windows), dtype=np.uint64)
    minus = plus.copy()
    for i in range(_K):
        plus = plus << np.uint64(2) | windows[:, i]
        minus = minus << np.uint64(2) | 3 - windows[:, _K - 1 - i]
    kmers = np.unique(np.minimum(plus, minus))
    mixed = kmers * np.uint64(0x9E3779B97F4A7C15)
    return kmers[mixed >> np.uint64(61) == 0]
