"""A genome and its annotation in, labelled examples in three splits out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from basecast import __version__
from basecast.data import homology, openspliceai
from basecast.data.chosen import choose
from basecast.data.contig_groups import ContigGroups
from basecast.data.create_report import CreateReport, counts_of, mostly_masked, motif_counts, split_reports
from basecast.data.create_splits import Rule, Split, paralogs, split_of, split_table, told
from basecast.data.folder import Progress, digests, require_free, written
from basecast.data.labelled import Labelled, labelled
from basecast.data.splice_labels import Bodies, genes_of, loci_of, offsets_of, unknown_of
from basecast.data.store import SPLITS, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation, Selection
from basecast.genome.intervals import merged
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, reverse_complement
from basecast.spec.model import Frozen
from basecast.spec.splice import SPLICE, splice_output

GENOMIC_FLANK = 5000


class CreateSettings(Frozen):
    """How examples are made."""

    transcripts: Selection = "canonical"
    canonical_tag: str | None = None
    biotypes: tuple[str, ...] = Field((), description="empty: protein-coding where the file tells; 'all': any")
    canonical_motifs_only: bool = Field(False, description="drop introns that are not GT-AG, GC-AG or AT-AC")
    context: Literal["gene", "genomic"] = Field("gene", description="past a locus stands N, or the genome")
    flank: int | None = Field(None, ge=0, description="bases kept on either side with genomic context")
    split: Rule = "homology"
    seed: int = 42
    min_identity: float = Field(0.8, gt=0, le=1, description="of genes that are alike")
    min_coverage: float = Field(0.5, gt=0, le=1, description="of the shorter one's exons")
    remove_paralogs: bool = Field(False, description="leave out what is held out and like a gene of train")
    layout: Literal["basecast", "openspliceai"] = "basecast"
    species: str = ""
    genome_build: str = ""
    force: bool = Field(False, description="go on where most introns have no splice motif")
    overwrite: bool = False

    @property
    def kept_flank(self) -> int:
        """Bases kept on either side of a locus."""
        if self.layout == "openspliceai" and self.context != "gene":
            raise UsageError("--layout openspliceai has N past a gene: it goes with --context gene")
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

    OpenSpliceAI's layout has ``dataset_train.h5`` and its like; what ``remove_paralogs`` leaves out is in
    ``removed_paralogs.tsv``. Bases of a locus that are also in a spliced gene that was left out have no label.

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
    if settings.remove_paralogs or (settings.split == "homology" and split_list is None):
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
    is_told = split_list is not None or settings.split == "spliceai-human"
    if is_told:
        genes = told(genes, split_list, genome, chosen.left_out)
    loci = loci_of(genes, list(genome.lengths))
    label = partial(
        labelled,
        chosen,
        groups=groups,
        genome=genome,
        canonical_motifs_only=settings.canonical_motifs_only,
        force=settings.force,
    )
    examples = label(loci)
    split = split_of(
        examples,
        genome,
        seed=settings.seed,
        by_homology=settings.split == "homology",
        find_alike=settings.remove_paralogs,
        min_identity=settings.min_identity,
        min_coverage=settings.min_coverage,
    )
    tables = {}
    if settings.remove_paralogs:
        removed = paralogs(examples, split)
        tables["removed_paralogs.tsv"] = removed.drop("locus")
        for name, n in removed.group_by("split").agg(pl.col("gene").n_unique()).sort("split").iter_rows():
            chosen.left_out[f"genes of {name} whose record is like one of train"] = n
        kept = np.delete(np.arange(loci.table.height), removed["locus"].unique())
        loci = loci_of(loci.genes.filter(pl.col("locus").is_in(kept)).drop("locus"), list(genome.lengths))
        examples, split = label(loci), split.only(kept)
    tables["splits.tsv"] = split_table(examples, split)
    header = Header(
        basecast=__version__,
        command=command,
        species=settings.species,
        genome_build=settings.genome_build,
        mask="gene" if settings.context == "gene" else "none",
        flank=flank,
        outputs=(splice_output(),),
        sources=digests(reference, annotation, mask_annotation, split_list, contig_groups, contig_aliases),
        settings=settings.model_dump(mode="json", exclude={"overwrite"}),
    )
    left_out = Bodies(chosen.spliced_but(loci.genes))
    masks = None if mask_annotation is None else _bodies(mask_annotation, genome)
    missing = [name for i, name in enumerate(SPLITS) if not (split.of_loci == i).any()]
    named = openspliceai.file_name if settings.layout == "openspliceai" else "{}.h5".format
    names = {i: named(name) for i, name in enumerate(SPLITS) if name not in missing}
    with written(folder, [*names.values(), *tables, "report.json"]) as paths:
        seen = _write(
            {i: paths[name] for i, name in names.items()}, header, examples, split, genome, left_out, masks, progress
        )
        for name, table in tables.items():
            table.write_csv(paths[name], separator="\t", float_precision=4)
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
            notes=(
                *examples.notes,
                *split.notes,
                *mostly_masked(loci, seen[:, 1]),
                *(f"there is no gene in {name}" for name in missing),
            ),
            seconds=time.monotonic() - began,
            **counts_of(loci, examples.labels, split.of_loci >= 0),
        )
        paths["report.json"].write_text(report.model_dump_json(indent=2) + "\n")
    return report


def _bodies(path: str | os.PathLike[str], genome: Genome) -> Bodies:
    """The genes of an annotation that masks."""
    every = Annotation.read(path, transcripts="all").fitted_to(genome)
    return Bodies(genes_of(every.transcripts.table))


def _write(
    paths: Mapping[int, Path],
    header: Header,
    examples: Labelled,
    split: Split,
    genome: Genome,
    left_out: Bodies,
    masks: Bodies | None,
    progress: Progress | None,
) -> NDArray[np.int64]:
    """Write the records of each split to its path; of each its bases that are N and that are masked, (records, 2)."""
    seen = np.zeros((examples.placed.height, 2), dtype=np.int64)
    labels, genes = examples.labels, examples.loci.genes
    genes_at = offsets_of(genes["locus"], examples.placed.height)
    done, total = 0, int((examples.placed["end"] - examples.placed["start"]).sum())
    kind = openspliceai.ShardWriter if header.settings["layout"] == "openspliceai" else Writer
    writer_of: dict[int, Writer | openspliceai.ShardWriter] = {}
    with contextlib.ExitStack() as writers:
        for i, path in paths.items():
            writer_of[i] = kind(path, header.model_copy(update={"split": SPLITS[i]}))
            writers.enter_context(writer_of[i])
        for locus, row in enumerate(examples.placed.iter_rows(named=True)):
            contig, strand, start, end = row["contig"], row["strand"], row["start"], row["end"]
            sites = Sites(*(column[slice(*labels.offsets[locus : locus + 2])] for column in labels.sites))
            others = left_out.others(contig, strand, start, end)
            if masks is not None:
                others += masks.others(contig, strand, start, end, genes[genes_at[locus] : genes_at[locus + 1]])
            unknown = unknown_of(list(merged(others)), row, sites)
            tokens = genome.tokens(contig, start - header.flank, end + header.flank)
            unread = (tokens[header.flank : header.flank + end - start] == N).sum()
            seen[locus] = unread, (unknown[:, 1] - unknown[:, 0]).sum()
            record = Record(
                group=str(split.clusters[locus]), **{name: row[name] for name in Record._fields if name in row}
            )
            writer_of[int(split.of_loci[locus])].add(
                record,
                tokens if strand == "+" else reverse_complement(tokens),
                {SPLICE: sites},
                {SPLICE: unknown},
            )
            done += end - start
            if progress:
                progress(done, total)
    return seen
