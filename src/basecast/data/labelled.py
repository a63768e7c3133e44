"""The sites of chosen genes, held against the genome before anything is written."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from basecast.data.chosen import Chosen
from basecast.data.contig_groups import ContigGroups
from basecast.data.create_report import motif_counts
from basecast.data.splice_labels import GENE, Labels, Loci, introns_of, motifs_of, sites_of
from basecast.errors import InputError, counted
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome


class Labelled(NamedTuple):
    """Loci and their sites."""

    loci: Loci
    placed: pl.DataFrame
    """The table of loci, with their places in the source."""
    transcripts: pl.DataFrame
    introns: pl.DataFrame
    labels: Labels
    genes_without_introns: int
    notes: tuple[str, ...]


def labelled(
    chosen: Chosen,
    loci: Loci,
    groups: ContigGroups,
    genome: Genome,
    *,
    canonical_motifs_only: bool = False,
    force: bool = False,
) -> Labelled:
    """The sites of all loci; what is left out of them is added to ``chosen.left_out``.

    Args:
        canonical_motifs_only: without introns that are not GT-AG, GC-AG or AT-AC.
        force: that under half of the introns have such a motif is a note.

    Raises:
        InputError: there is no intron, or under half of them have a splice motif.
    """
    transcripts = chosen.table.join(loci.genes, on=GENE, how="semi", maintain_order="left")
    introns = introns_of(transcripts, loci.genes)
    if introns.is_empty():
        raise InputError(
            f"none of {counted(loci.genes.height, 'gene')} taken from {chosen.annotation.path} has an intron, so there "
            "is no splice site to learn: give an annotation with exon rows, or another --biotype"
        )
    introns = introns.with_columns(motif=pl.Series(motifs_of(introns, loci.table, genome)))
    notes = _require_motifs(introns, chosen.annotation, genome, force=force)
    if canonical_motifs_only:
        chosen.left_out["introns without a splice motif"] = int((introns["motif"] == 0).sum())
        introns = introns.filter(pl.col("motif") > 0)
    spliced = transcripts.filter(pl.col("exon_start").list.len() > 1).select(GENE).unique().height
    labels = sites_of(introns, loci.table)
    without = loci.genes.height - spliced
    return Labelled(loci, groups.placed(loci.table), transcripts, introns, labels, without, notes)


def _require_motifs(introns: pl.DataFrame, annotation: Annotation, genome: Genome, *, force: bool) -> tuple[str, ...]:
    """Stop where under half of the introns have a splice motif; with ``force`` that is a note."""
    counts = motif_counts(introns.unique(["locus", "start", "end"]))
    total = sum(counts.values())
    share = 1 - counts["other"] / total
    if share >= 0.5:
        return ()
    said = (
        f"{share:.1%} of {counted(total, 'intron')} of {annotation.path} have a splice motif (GT-AG, GC-AG, AT-AC) in "
        f"{genome.path}, {counts['GT-AG'] / total:.1%} GT-AG"
    )
    moved = annotation.motif_shares(genome)
    if moved is not None and moved.best > share and moved.move:
        said += f"; after moving {moved.move} it is {moved.best:.1%}: its coordinates look shifted by 1"
    if force:
        return (said,)
    raise InputError(
        f"{said}. Give the annotation of this assembly, or --force if the species splices without these motifs"
    )
