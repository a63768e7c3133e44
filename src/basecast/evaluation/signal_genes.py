"""Signal at genes: bins about their transcription start sites, summed, and compared across genes and across tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from basecast.errors import InputError
from basecast.evaluation.signal_answers import Piece, SignalRecords
from basecast.evaluation.signal_measures import correlation, log2_of, ranks, spearman
from basecast.genome.annotation import Annotation
from basecast.genome.contigs import ContigNames
from basecast.spec import Output


@dataclass(frozen=True, eq=False)
class Genes:
    """Genes whose start sites lie in the records, with the bins about them; a bin counts once a gene.

    Attributes:
        ids, names, strands: of each gene.
        gene, record, bin: of each entry, a gene and a bin of a record; by record and bin.
        left_out: genes on contigs of the records of which a bin about a start site is in no record.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    strands: tuple[str, ...]
    gene: Int[np.ndarray, " entries"]
    record: Int[np.ndarray, " entries"]
    bin: Int[np.ndarray, " entries"]
    left_out: int

    @classmethod
    def of(cls, annotation: Annotation, records: SignalRecords, radius: int) -> Genes:
        """Genes of an annotation, each with the bins that share a base with ``radius`` bases about a start site.

        Raises:
            InputError: none lies in the records.
        """
        resolution = records.output.resolution
        places = _places(records)
        fitted = annotation.on(ContigNames(places, source="the dataset"))
        table = fitted.transcripts.table.select("gene", "gene_id", "gene_name", "contig", "strand", "start", "end")
        found: dict[int, set[tuple[int, int]] | None] = {}
        known: dict[int, tuple[str, str, str]] = {}
        for gene, gene_id, name, contig, strand, start, end in table.iter_rows():
            site = start if strand == "+" else end - 1
            known.setdefault(gene, (gene_id, name, strand))
            bins = _bins(places[contig], site - radius, site + radius + 1, resolution)
            before = found.get(gene, set())
            found[gene] = None if bins is None or before is None else before | bins
        whole = [(gene, bins) for gene, bins in found.items() if bins is not None]
        if not whole:
            raise InputError(
                f"no gene of {annotation.path} has all its start sites in the records: is it of another genome, or do "
                "its contigs have other names?"
            )
        entries = np.array([(i, *at) for i, (_, bins) in enumerate(whole) for at in bins], dtype=np.int64)
        entries = entries[np.lexsort((entries[:, 2], entries[:, 1]))]
        ids, names, strands = zip(*(known[gene] for gene, _ in whole), strict=True)
        return cls(ids, names, strands, entries[:, 0], entries[:, 1], entries[:, 2], len(found) - len(whole))

    def __len__(self) -> int:
        return len(self.ids)

    def within(self, piece: Piece, resolution: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries in a piece: their genes, and their bins counted from its start."""
        low, high = np.searchsorted(self.record, [piece.record, piece.record + 1])
        first = piece.start // resolution
        a, b = low + np.searchsorted(self.bin[low:high], [first, piece.end // resolution])
        return self.gene[a:b], self.bin[a:b] - first


def _places(records: SignalRecords) -> dict[str, list[tuple[int, int, int]]]:
    """Contig of the genome -> start, end and number of each record on it."""
    places: dict[str, list[tuple[int, int, int]]] = {}
    for number in range(len(records)):
        dataset, row = records.dataset(number)
        record = dataset.record(row)
        contig, start = (record.chromosome, record.source_start) if record.chromosome else (record.contig, record.start)
        places.setdefault(contig, []).append((start, start + record.end - record.start, number))
    return places


def _bins(places: Sequence[tuple[int, int, int]], start: int, end: int, resolution: int) -> set[tuple[int, int]] | None:
    """Record and bin of each base of [start, end); None where one is in no record."""
    start, bins, covered = max(start, 0), set(), 0
    for a, b, record in places:
        low, high = max(start, a), min(end, b)
        if low < high:
            covered += high - low
            bins |= {(record, i) for i in range((low - a) // resolution, -(-(high - a) // resolution))}
    return bins if covered >= end - start else None


class GeneSums:
    """Sums over the bins of each gene, of what was predicted and of what was measured.

    Attributes:
        predicted, measured: shape (genes, tracks).
        missing: bins of each gene that have no label.
    """

    def __init__(self, n_genes: int, n_tracks: int) -> None:
        self.predicted, self.measured = np.zeros((n_genes, n_tracks)), np.zeros((n_genes, n_tracks))
        self.missing = np.zeros(n_genes, dtype=np.int64)

    def add(
        self,
        genes: Int[np.ndarray, " entries"],
        predicted: Float[np.ndarray, "entries tracks"],
        measured: Float[np.ndarray, "entries tracks"],
        known: Bool[np.ndarray, " entries"],
    ) -> None:
        """A bin for each of ``genes``."""
        np.add.at(self.predicted, genes, predicted)
        np.add.at(self.measured, genes, measured)
        np.add.at(self.missing, genes, ~known)


class Sense(NamedTuple):
    """A track of genes: one without a strand, or two, of which each gene is read on its own."""

    name: str
    plus: int
    minus: int


def senses(output: Output, chosen: Sequence[int]) -> list[Sense]:
    """Tracks of an output as genes are read on them, by their places among ``chosen``.

    Two tracks that swap on the other strand are one; a track of a strand whose mate is not among them is left out.
    """
    at = {track: i for i, track in enumerate(chosen)}
    mates = output.reverse_complement.permutation
    found = []
    for track, i in at.items():
        strand, mate = output.tracks[track].strand, mates[track] if mates else track
        if mate == track or strand == ".":
            found.append(Sense(output.tracks[track].name, i, i))
        elif strand == "+" and mate in at:
            found.append(Sense(f"{output.tracks[track].name}/{output.tracks[mate].name}", i, at[mate]))
    return found


def read_in_sense(
    sums: Float[np.ndarray, "genes tracks"], strands: Sequence[str], tracks: Sequence[Sense]
) -> Float[np.ndarray, "genes senses"]:
    """Each gene on its own strand."""
    is_minus = np.array([strand == "-" for strand in strands])[:, None]
    return np.where(is_minus, sums[:, [t.minus for t in tracks]], sums[:, [t.plus for t in tracks]])


@dataclass(frozen=True, eq=False)
class GeneAccuracy:
    """Across genes, of each track, on log2(1 + sum); nan where there is nothing to compare.

    ``nonzero`` are genes with some signal. ``specific`` compares what is left of a track when all tracks of its assay
    have been given one distribution and each gene its mean of them has been taken off.
    """

    pearson: Float[np.ndarray, " tracks"]
    spearman: Float[np.ndarray, " tracks"]
    nonzero: Int[np.ndarray, " tracks"]
    pearson_nonzero: Float[np.ndarray, " tracks"]
    spearman_nonzero: Float[np.ndarray, " tracks"]
    pearson_specific: Float[np.ndarray, " tracks"]

    @classmethod
    def of(
        cls,
        predicted: Float[np.ndarray, "genes tracks"],
        measured: Float[np.ndarray, "genes tracks"],
        assays: Sequence[str],
    ) -> GeneAccuracy:
        """Sums to correlations; ``assays`` are those of the tracks."""
        x, y, some = log2_of(predicted), log2_of(measured), measured > 0
        within = [(x[kept, i, None], y[kept, i, None]) for i, kept in enumerate(some.T)]
        specific = np.full(len(assays), math.nan)
        for assay in dict.fromkeys(assays):
            alike = [i for i, name in enumerate(assays) if name == assay]
            if len(alike) > 1:
                specific[alike] = correlation(_specific(x[:, alike]), _specific(y[:, alike]))
        return cls(
            correlation(x, y),
            spearman(x, y),
            some.sum(axis=0),
            np.array([correlation(a, b)[0] for a, b in within]),
            np.array([spearman(a, b)[0] for a, b in within]),
            specific,
        )


def _specific(values: NDArray[np.float64]) -> NDArray[np.float64]:
    normal = quantile_normalised(values)
    return normal - normal.mean(axis=1, keepdims=True)


def quantile_normalised(values: Float[np.ndarray, "genes tracks"]) -> Float[np.ndarray, "genes tracks"]:
    """Every track with the distribution that is the mean of theirs; equal values stay equal (Bolstad et al. 2003)."""
    shared = np.sort(values, axis=0).mean(axis=1)
    steps = np.arange(1, len(values) + 1)
    return np.stack([np.interp(ranks(column), steps, shared) for column in values.T], axis=1)
