"""The split of each locus: by a list, by chromosome, or in clusters of genes that stay together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data import homology, splits
from basecast.data.labelled import Labelled
from basecast.data.store import SPLITS
from basecast.genome.reference import Genome

Rule = Literal["homology", "overlap", "spliceai-human"]


DRAWN = "validation is a tenth of train by genes that overlap; paralogs may stand on both sides"


class Split(NamedTuple):
    """Where loci go."""

    clusters: splits.Clusters
    of_loci: splits.Splits
    largest: float
    """The share of sites that the largest cluster has."""
    alike: Sequence[homology.Alike]
    """Pairs of genes, by row; empty where they were not asked for."""
    notes: tuple[str, ...] = ()

    def only(self, loci: NDArray[np.int64]) -> Split:
        """Of some loci, in their order; the pairs are gone."""
        return Split(splits.renumbered(self.clusters[loci]), self.of_loci[loci], self.largest, (), self.notes)


def told(
    genes: pl.DataFrame, split_list: str | os.PathLike[str] | None, genome: Genome, left_out: Counter[str]
) -> pl.DataFrame:
    """The genes whose split a list or, without one, the human rule tells, with ``split``.

    Raises:
        InputError: it tells of none, or puts genes that overlap into more than one.
    """
    if split_list is not None:
        found, why = splits.SplitList.read(split_list).of(genes, genome), "genes that the split list does not name"
    else:
        found, why = splits.spliceai_human(genes), "genes on contigs that are no human chromosome"
    left_out[why] = int((found < 0).sum())
    genes = genes.with_columns(split=pl.Series(found)).filter(pl.col("split") >= 0)
    clusters = splits.overlapping(genes)
    splits.require_whole(clusters, genes["split"].to_numpy(), genes["name"].to_list(), str(split_list))
    return genes


def split_of(
    examples: Labelled,
    genome: Genome,
    *,
    seed: int,
    by_homology: bool,
    find_alike: bool,
    min_identity: float,
    min_coverage: float,
) -> Split:
    """Where loci go: as their genes' column ``split`` has it, else in clusters.

    Args:
        by_homology: loci with genes that are alike are of one cluster, not only those that overlap.
        find_alike: find these genes even so.
    """
    loci, n_sites = examples.loci, np.diff(examples.labels.offsets)
    locus = loci.genes["locus"].to_numpy()
    weights = n_sites + np.bincount(locus, minlength=loci.table.height)
    clusters = splits.overlapping(examples.placed)
    is_told = "split" in loci.genes.columns
    by_homology = by_homology and not is_told
    alike: Sequence[homology.Alike] = ()
    notes: tuple[str, ...] = ()

    def find(first: NDArray[np.bool_] | None = None) -> list[homology.Alike]:
        exons = homology.exons_of(examples.transcripts, loci.genes, genome)
        return homology.similar(exons, first, min_identity=min_identity, min_coverage=min_coverage)

    if by_homology:
        alike = find()
        clusters = splits.tied(clusters, ((locus[pair.a], locus[pair.b]) for pair in alike))
    if is_told:
        of_loci = loci.genes.unique("locus", keep="first").sort("locus")["split"].to_numpy()
        if not (of_loci == splits.VALIDATION).any():
            of_loci = splits.with_validation(of_loci, clusters, weights, seed)
            notes = (DRAWN,)
    else:
        of_loci = splits.by_size(clusters, weights, splits.SHARES, seed)
    if find_alike and not by_homology:
        alike = find(of_loci[locus] == splits.TRAIN)
    sizes = np.bincount(clusters, weights=n_sites)
    return Split(clusters, of_loci, float(sizes.max() / max(sizes.sum(), 1)), alike, notes)


def paralogs(examples: Labelled, split: Split) -> pl.DataFrame:
    """Genes of loci that are held out and have a gene like one of train: locus, and the columns of the table.

    One row for each gene of train that a gene is like; a gene that only shares such a locus has no ``similar_to``.
    """
    genes = split_table(examples, split)
    locus, of = examples.loci.genes["locus"].to_numpy(), split.of_loci
    like: dict[int, list[tuple[int, float, float]]] = {}
    for pair in split.alike:
        for gene, other in ((pair.a, pair.b), (pair.b, pair.a)):
            if of[locus[gene]] != splits.TRAIN and of[locus[other]] == splits.TRAIN:
                like.setdefault(gene, []).append((other, pair.identity, pair.coverage))
    hit = set(locus[list(like)].tolist()) if like else set()
    names = genes["gene"].to_list()
    rows = [
        (int(locus[gene]), gene, None if other is None else names[other], identity, coverage)
        for gene in range(genes.height)
        if locus[gene] in hit
        for other, identity, coverage in like.get(gene, [(None, None, None)])
    ]
    kinds = {
        "locus": pl.Int64,
        "row": pl.Int64,
        "similar_to": pl.String,
        "identity": pl.Float64,
        "coverage": pl.Float64,
    }
    found = pl.DataFrame(rows, schema=kinds, orient="row")
    columns = ("locus", "gene", "contig", "start", "end", "split", "similar_to", "identity", "coverage")
    numbered = genes.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    return found.join(numbered, on="row", maintain_order="left").select(columns)


def split_table(examples: Labelled, split: Split) -> pl.DataFrame:
    """``splits.tsv``: a row a gene."""
    genes = examples.loci.genes
    locus = genes["locus"].to_numpy()
    return genes.select(
        pl.when(pl.col("id") != "").then("id").otherwise("name").alias("gene"),
        "contig",
        "start",
        "end",
        cluster=pl.Series(split.clusters[locus]),
        split=pl.Series([SPLITS[i] for i in split.of_loci[locus]]),
    )
