"""Which transcripts of an annotation label a genome, and what is left out of it and why."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace

import polars as pl

from basecast.data.splice_labels import GENE, genes_of
from basecast.errors import InputError
from basecast.genome.annotation import Annotation, Selection, Transcripts
from basecast.genome.reference import Genome

CODING = ("protein_coding", "mRNA")
"""Biotypes of protein-coding transcripts: by name, or by the feature of a row that tells no biotype."""


@dataclass(frozen=True)
class Chosen:
    """Transcripts under the contig names of a genome.

    Attributes:
        annotation: the transcripts.
        spliced: the genes of the file that have an intron, chosen or not, as `genes_of` has them; each from the first
            to the last base of its spliced transcripts.
        biotypes: theirs, as they were asked for; empty = any.
        left_out: reason -> how many.
    """

    annotation: Annotation
    spliced: pl.DataFrame
    biotypes: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def table(self) -> pl.DataFrame:
        """The columns of `transcripts.SCHEMA`."""
        return self.annotation.transcripts.table

    def spliced_but(self, genes: pl.DataFrame) -> pl.DataFrame:
        """Those genes of ``spliced`` that no row of ``genes`` is."""
        return self.spliced.join(genes, on=GENE, how="anti", maintain_order="left")


def choose(
    path: str | os.PathLike[str],
    genome: Genome,
    *,
    transcripts: Selection = "canonical",
    canonical_tag: str | None = None,
    biotypes: tuple[str, ...] = (),
) -> Chosen:
    """The transcripts to label with.

    Args:
        transcripts: as `Annotation.read` has it, and ``canonical_tag`` too.
        biotypes: a transcript's own, or its gene's where it has none. Without, protein-coding ones where the file
            tells of such, else all; ``all``: any.

    Raises:
        InputError: the annotation shares no contig with the genome, reaches past one, or has no such biotype.
    """
    read = Annotation.read(path, transcripts=transcripts, canonical_tag=canonical_tag)
    left_out = Counter({f"transcripts: {why}": n for why, n in read.left_out.items()})
    every = read if transcripts == "all" else Annotation.read(path, transcripts="all")
    if transcripts == "mane":
        n_all, n_mane = (some.transcripts.table["gene"].n_unique() for some in (every, read))
        left_out["genes without a MANE transcript"] = n_all - n_mane
    placed = read.on(genome.contigs)
    if not len(placed.transcripts):
        raise InputError(genome.contigs.describe_unknown(next(iter(placed.unplaced), ""), str(path), "a text editor"))
    left_out["transcripts on contigs that the genome lacks"] = sum(placed.unplaced.values())
    placed.check_ends(genome)
    spliced = genes_of(every.on(genome.contigs).transcripts.table.filter(pl.col("exon_start").list.len() > 1))
    table = placed.transcripts.table
    there = table["biotype"].unique().to_list()
    wanted = tuple(biotype.replace("-", "_") for biotype in biotypes) or tuple(set(CODING) & set(there)) or ("all",)
    if "all" in wanted:
        return Chosen(placed, spliced, (), +left_out)
    kept = table.filter(pl.col("biotype").is_in(wanted))
    if kept.is_empty():
        raise InputError(
            f"no transcript of {path} has the biotype {' or '.join(wanted)}: there are {', '.join(sorted(there)[:12])}"
        )
    others = table.filter(~pl.col("biotype").is_in(wanted))["biotype"].value_counts(sort=True)
    left_out |= Counter({f"transcripts of biotype {name or 'unknown'}": n for name, n in others.iter_rows()})
    return Chosen(replace(placed, transcripts=Transcripts(kept)), spliced, tuple(sorted(wanted)), +left_out)
