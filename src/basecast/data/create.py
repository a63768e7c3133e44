"""A genome and its annotation in, labelled examples in three splits out."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from basecast import __version__
from basecast.data import homology, splits
from basecast.data.chosen import Chosen, choose
from basecast.data.contig_groups import ContigGroups
from basecast.data.create_report import CreateReport, counts_of, motif_counts, split_reports
from basecast.data.splice_labels import (
    Bodies,
    Labels,
    Loci,
    genes_of,
    introns_of,
    loci_of,
    motifs_of,
    offsets_of,
    sites_of,
    unknown_of,
)
from basecast.data.store import SPLITS, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.errors import InputError, UsageError, counted
from basecast.files import named_errors, sha256_of, whole_file
from basecast.genome.annotation import Annotation, Selection
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, reverse_complement
from basecast.spec.model import Frozen
from basecast.spec.splice import SPLICE, splice_output

GENOMIC_FLANK = 5000
Progress = Callable[[int, int], None]


class CreateSettings(Frozen):
    """How examples are made."""

    transcripts: Selection = "canonical"
    canonical_tag: str | None = None
    biotypes: tuple[str, ...] = Field((), description="empty: protein-coding where the file tells; 'all': any")
    canonical_motifs_only: bool = Field(False, description="drop introns that are not GT-AG, GC-AG or AT-AC")
    context: Literal["gene", "genomic"] = Field("gene", description="past a locus stands N, or the genome")
    flank: int | None = Field(None, ge=0, description="bases kept on either side with genomic context")
    split: Literal["homology", "overlap", "spliceai-human"] = "homology"
    seed: int = 42
    min_identity: float = Field(0.8, gt=0, le=1, description="of genes that are alike")
    min_coverage: float = Field(0.5, gt=0, le=1, description="of the shorter one's exons")
    species: str = ""
    genome_build: str = ""
    force: bool = Field(False, description="go on where most introns have no splice motif")
    overwrite: bool = False

    @property
    def kept_flank(self) -> int:
        """Bases kept on either side of a locus."""
        if self.context == "gene":
            if self.flank:
                raise UsageError("--flank keeps bases of the genome: it goes with --context genomic")
            return 0
        return GENOMIC_FLANK if self.flank is None else self.flank


def create_data(
    reference: str | os.PathLike[str],
    annotation: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    settings: CreateSettings | None = None,
    mask_annotation: str | os.PathLike[str] | None = None,
    split_list: str | os.PathLike[str] | None = None,
    contig_groups: str | os.PathLike[str] | None = None,
    contig_aliases: str | os.PathLike[str] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> CreateReport:
    """Write ``train.h5``, ``validation.h5``, ``test.h5``, ``splits.tsv`` and ``report.json`` into a folder.

    Args:
        reference: FASTA or 2bit.
        annotation: GFF3, GTF, BED12 or a gene table, whose genes are the examples.
        output: the folder; it is made.
        mask_annotation: bases of its genes that are not among those of a locus have no label there.
        split_list: a table like ``splits.tsv`` that says the split of each gene or contig, instead of a rule.
        contig_groups: a table of where contigs lie in a larger genome; overlaps and chromosomes are judged there.
        contig_aliases: a table of contig names that mean the same.
        progress: called with bases written, and of how many.

    Raises:
        InputError: the files do not belong together, or have nothing to learn from.
        UsageError: settings that do not go together, or a folder that holds a dataset already.
    """
    began = time.monotonic()
    settings = settings or CreateSettings()
    folder, flank = Path(output), settings.kept_flank
    require_free(folder, overwrite=settings.overwrite)
    if settings.split == "homology" and split_list is None:
        homology.require_mappy()
    genome = Genome(reference, aliases=contig_aliases)
    groups = ContigGroups.read(contig_groups, genome) if contig_groups is not None else ContigGroups()
    chosen = choose(
        annotation,
        genome,
        transcripts=settings.transcripts,
        canonical_tag=settings.canonical_tag,
        biotypes=settings.biotypes,
    )
    genes = groups.placed(genes_of(chosen.table))
    if split_list is not None or settings.split == "spliceai-human":
        genes = _told(genes, split_list, genome, chosen.left_out)
    loci = loci_of(genes, list(genome.lengths))
    examples = _labelled(chosen, loci, groups, genome, settings)
    split = _split(examples, genome, settings)
    header = Header(
        basecast=__version__,
        command=command,
        species=settings.species,
        genome_build=settings.genome_build,
        mask="gene" if settings.context == "gene" else "none",
        flank=flank,
        outputs=(splice_output(),),
        sources={
            Path(path).name: sha256_of(path)
            for path in (reference, annotation, mask_annotation, split_list, contig_groups, contig_aliases)
            if path is not None
        },
        settings=settings.model_dump(mode="json"),
    )
    bodies = None if mask_annotation is None else _bodies(mask_annotation, genome)
    missing = [name for i, name in enumerate(SPLITS) if not (split.of_loci == i).any()]
    names = [f"{name}.h5" for name in SPLITS if name not in missing]
    with named_errors(folder), contextlib.ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        partial = {
            name: files.enter_context(whole_file(folder / name)) for name in (*names, "splits.tsv", "report.json")
        }
        seen = _write(partial, header, examples, split, genome, bodies, progress)
        _split_table(examples, split).write_csv(partial["splits.tsv"], separator="\t")
        report = CreateReport(
            genome=genome.path.name,
            annotation=Path(annotation).name,
            transcripts=chosen.annotation.selection,
            biotypes=chosen.biotypes,
            context="N" if header.mask == "gene" else f"genomic, {flank:,} bases",
            split="list" if split_list is not None else settings.split,
            seed=settings.seed,
            genes_without_introns=examples.genes_without_introns,
            introns=examples.introns.height,
            motifs=motif_counts(examples.introns),
            both=examples.labels.n_both,
            clusters=int(split.clusters.max()) + 1,
            largest_cluster=split.largest,
            left_out=dict(+chosen.left_out),
            splits=split_reports(loci, examples.labels, split.of_loci, seen),
            notes=(*examples.notes, *(f"there is no gene in {name}" for name in missing)),
            seconds=time.monotonic() - began,
            **counts_of(loci, examples.labels, split.of_loci >= 0),
        )
        partial["report.json"].write_text(report.model_dump_json(indent=2) + "\n")
    for name in missing:  # of an earlier dataset
        (folder / f"{name}.h5").unlink(missing_ok=True)
    return report


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Stop where a folder holds a dataset already.

    Raises:
        UsageError: it does, and ``overwrite`` is not set; or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"the output {folder} is a file: give a folder")
    there = [path.name for path in sorted(folder.glob("*.h5"))] if folder.is_dir() else []
    if there and not overwrite:
        raise UsageError(
            f"{folder} holds a dataset already ({', '.join(there[:3])}): give another folder, or --overwrite to "
            "replace it"
        )


class _Examples(NamedTuple):
    """What is to be written."""

    loci: Loci
    placed: pl.DataFrame
    """The table of loci, with their places in the source."""
    transcripts: pl.DataFrame
    introns: pl.DataFrame
    labels: Labels
    genes_without_introns: int
    notes: tuple[str, ...]


class _Split(NamedTuple):
    """Where loci go."""

    clusters: splits.Clusters
    of_loci: splits.Splits
    largest: float
    """The share of sites that the largest cluster has."""


def _told(
    genes: pl.DataFrame, split_list: str | os.PathLike[str] | None, genome: Genome, left_out: Counter[str]
) -> pl.DataFrame:
    """The genes whose split a list or the human rule tells, with ``split``."""
    if split_list is not None:
        told, why = splits.SplitList.read(split_list).of(genes, genome), "genes that the split list does not name"
    else:
        told, why = splits.spliceai_human(genes), "genes on contigs that are no human chromosome"
    left_out[why] = int((told < 0).sum())
    genes = genes.with_columns(split=pl.Series(told)).filter(pl.col("split") >= 0)
    clusters = splits.overlapping(genes)
    splits.require_whole(clusters, genes["split"].to_numpy(), genes["name"].to_list(), str(split_list))
    return genes


def _labelled(chosen: Chosen, loci: Loci, groups: ContigGroups, genome: Genome, settings: CreateSettings) -> _Examples:
    """The sites of all loci."""
    key = ["gene", "contig", "strand"]
    transcripts = chosen.table.join(loci.genes, on=key, how="semi", maintain_order="left")
    introns = introns_of(transcripts, loci.genes)
    if introns.is_empty():
        raise InputError(
            f"none of {counted(loci.genes.height, 'gene')} taken from {chosen.annotation.path} has an intron, so there "
            "is no splice site to learn: give an annotation with exon rows, or another --biotype"
        )
    introns = introns.with_columns(motif=pl.Series(motifs_of(introns, loci.table, genome)))
    notes = _require_motifs(introns, chosen.annotation, genome, force=settings.force)
    if settings.canonical_motifs_only:
        chosen.left_out["introns without a splice motif"] = int((introns["motif"] == 0).sum())
        introns = introns.filter(pl.col("motif") > 0)
    spliced = transcripts.filter(pl.col("exon_start").list.len() > 1).select(key).unique().height
    labels = sites_of(introns, loci.table)
    without = loci.genes.height - spliced
    return _Examples(loci, groups.placed(loci.table), transcripts, introns, labels, without, notes)


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


def _split(examples: _Examples, genome: Genome, settings: CreateSettings) -> _Split:
    """Where loci go."""
    loci, n_sites = examples.loci, np.diff(examples.labels.offsets)
    weights = n_sites + np.bincount(loci.genes["locus"].to_numpy(), minlength=loci.table.height)
    clusters = splits.overlapping(examples.placed)
    if "split" in loci.genes.columns:
        first = loci.genes.unique("locus", keep="first").sort("locus")
        of_loci = first["split"].to_numpy()
        if not (of_loci == splits.VALIDATION).any():
            of_loci = splits.with_validation(of_loci, clusters, weights, settings.seed)
    else:
        if settings.split == "homology":
            exons = homology.exons_of(examples.transcripts, loci.genes, genome)
            pairs = homology.similar(exons, min_identity=settings.min_identity, min_coverage=settings.min_coverage)
            locus = loci.genes["locus"].to_numpy()
            clusters = splits.tied(clusters, ((locus[a], locus[b]) for a, b in pairs))
        of_loci = splits.by_size(clusters, weights, splits.SHARES, settings.seed)
    sizes = np.bincount(clusters, weights=n_sites)
    return _Split(clusters, of_loci, float(sizes.max() / max(sizes.sum(), 1)))


def _split_table(examples: _Examples, split: _Split) -> pl.DataFrame:
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


def _bodies(path: str | os.PathLike[str], genome: Genome) -> Bodies:
    """The genes of an annotation that masks."""
    every = Annotation.read(path, transcripts="all").fitted_to(genome)
    return Bodies(genes_of(every.transcripts.table))


def _write(
    partial: Mapping[str, Path],
    header: Header,
    examples: _Examples,
    split: _Split,
    genome: Genome,
    bodies: Bodies | None,
    progress: Progress | None,
) -> dict[int, tuple[int, int]]:
    """Write all records; for each split its bases that are N and that are masked."""
    seen = {i: np.zeros(2, dtype=np.int64) for i in range(len(SPLITS))}
    labels, genes = examples.labels, examples.loci.genes
    genes_at = offsets_of(genes["locus"], examples.placed.height)
    done, total = 0, int((examples.placed["end"] - examples.placed["start"]).sum())
    with contextlib.ExitStack() as writers:
        writer_of = {
            i: writers.enter_context(Writer(partial[f"{name}.h5"], header.model_copy(update={"split": name})))
            for i, name in enumerate(SPLITS)
            if f"{name}.h5" in partial
        }
        for locus, row in enumerate(examples.placed.iter_rows(named=True)):
            contig, strand, start, end = row["contig"], row["strand"], row["start"], row["end"]
            index = int(split.of_loci[locus])
            sites = Sites(*(column[slice(*labels.offsets[locus : locus + 2])] for column in labels.sites))
            unknown = None
            if bodies is not None:
                own = genes[genes_at[locus] : genes_at[locus + 1]]
                unknown = unknown_of(bodies.others(contig, strand, start, end, own), row, sites)
                seen[index][1] += (unknown[:, 1] - unknown[:, 0]).sum()
            tokens = genome.tokens(contig, start - header.flank, end + header.flank)
            seen[index][0] += (tokens[header.flank : header.flank + end - start] == N).sum()
            record = Record(
                group=str(split.clusters[locus]), **{name: row[name] for name in Record._fields if name in row}
            )
            writer_of[index].add(
                record,
                tokens if strand == "+" else reverse_complement(tokens),
                {SPLICE: sites},
                None if unknown is None else {SPLICE: unknown},
            )
            done += end - start
            if progress:
                progress(done, total)
    return {i: (int(n), int(masked)) for i, (n, masked) in seen.items()}
