"""What ``create-data`` took in, left out and wrote."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from basecast.data.splice_labels import Labels, Loci
from basecast.data.store import MOTIFS, SPLITS
from basecast.errors import counted
from basecast.spec.model import Frozen
from basecast.spec.splice import ACCEPTOR, DONOR


class SplitReport(Frozen):
    """One split in numbers."""

    genes: int
    loci: int
    sites: int
    acceptors: int
    donors: int
    bases: int
    n_bases: int = Field(0, description="bases that are N")
    masked_bases: int = Field(0, description="bases in other genes, that have no label")


class CreateReport(Frozen):
    """A dataset in numbers. Counts are after everything was left out that ``left_out`` tells of."""

    genome: str
    annotation: str
    transcripts: str = Field(description="which transcripts of a gene label it")
    biotypes: tuple[str, ...] = Field(description="which transcripts were taken; empty = all")
    context: str
    split: str
    seed: int
    genes: int
    genes_without_introns: int
    loci: int
    introns: int
    motifs: dict[str, int] = Field(description="introns by motif, once for each transcript that has them")
    sites: int
    acceptors: int
    donors: int
    both: int = Field(description="bases that are acceptor and donor of different transcripts; one kind is kept")
    bases: int
    clusters: int
    largest_cluster: float = Field(description="its share of the sites, 0..1")
    left_out: dict[str, int] = Field(description="reason -> how many")
    splits: dict[str, SplitReport]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def counts_of(loci: Loci, labels: Labels, chosen: NDArray[np.bool_]) -> dict[str, int]:
    """Genes, loci, sites and bases of the chosen loci."""
    spans = (loci.table["end"] - loci.table["start"]).to_numpy()
    label = labels.sites.label[np.repeat(chosen, np.diff(labels.offsets))]
    return {
        "genes": int(chosen[loci.genes["locus"].to_numpy()].sum()),
        "loci": int(chosen.sum()),
        "sites": label.size,
        "acceptors": int((label == ACCEPTOR).sum()),
        "donors": int((label == DONOR).sum()),
        "bases": int(spans[chosen].sum()),
    }


def motif_counts(introns: pl.DataFrame) -> dict[str, int]:
    """Introns by the name of their motif."""
    counts = np.bincount(introns["motif"].to_numpy(), minlength=len(MOTIFS))
    return {name: int(n) for name, n in zip(MOTIFS, counts, strict=True)}


def split_reports(
    loci: Loci, labels: Labels, splits: NDArray[np.int64], seen: NDArray[np.int64]
) -> dict[str, SplitReport]:
    """For each split that has loci its numbers; ``seen`` has of each locus bases that are N and that are masked."""
    reports = {}
    for split in np.unique(splits).tolist():
        n_bases, masked = seen[splits == split].sum(axis=0).tolist()
        counts = counts_of(loci, labels, splits == split)
        reports[SPLITS[split]] = SplitReport(**counts, n_bases=n_bases, masked_bases=masked)
    return reports


def mostly_masked(loci: Loci, masked: NDArray[np.int64]) -> tuple[str, ...]:
    """A note where loci have no label on more than 90 % of their bases."""
    share = masked / (loci.table["end"] - loci.table["start"]).to_numpy()
    names = loci.table["genes"].filter(pl.Series(share > 0.9))
    if names.is_empty():
        return ()
    said = "; ".join(names.head(5)) + ("; ..." if len(names) > 5 else "")
    return (f"{counted(len(names), 'record')} with more than 90% of the bases masked, being in other genes ({said})",)
