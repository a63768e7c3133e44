"""``basecast create-data``: a genome and its genes, or tracks over it, in, labelled examples out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import INPUT, OUTPUT, CanonicalTag, ContigAliases, Messages, Transcripts
from basecast.cli.signal_data import DEFAULT_SIGNAL, SignalOptions, make_signal, require_one_mode
from basecast.errors import counted

if TYPE_CHECKING:
    from basecast.data.create_report import CreateReport

_LABELS, _SPLIT = Group("Labels", sort_key=0.3), Group("Split", sort_key=0.6)
_SHARE = Number(gt=0, lte=1)


def create_data(
    *,
    reference: Annotated[
        str | None, Parameter(name=("-R", "--reference", "--genome"), group=INPUT, metavar="FASTA")
    ] = None,
    annotation: Annotated[str | None, Parameter(name=("-A", "--annotation"), group=INPUT, metavar="GENES")] = None,
    output: Annotated[Path, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="DIR")],
    contig_aliases: ContigAliases = None,
    transcripts: Transcripts = "canonical",
    canonical_tag: CanonicalTag = None,
    biotype: Annotated[
        tuple[str, ...], Parameter(group=INPUT, negative="", consume_multiple=True, metavar="NAME", show_default=False)
    ] = (),
    mask_annotation: Annotated[Path | None, Parameter(group=_LABELS, metavar="GENES")] = None,
    canonical_motifs_only: Annotated[bool, Parameter(group=_LABELS, negative="")] = False,
    context: Annotated[Literal["gene", "genomic"], Parameter(group=_LABELS)] = "gene",
    flank: Annotated[int | None, Parameter(group=_LABELS, metavar="N", validator=Number(gte=0))] = None,
    force: Annotated[bool, Parameter(group=_LABELS, negative="")] = False,
    split: Annotated[Literal["homology", "overlap", "spliceai-human"], Parameter(group=_SPLIT)] = "homology",
    split_list: Annotated[Path | None, Parameter(group=_SPLIT, metavar="TSV")] = None,
    contig_groups: Annotated[Path | None, Parameter(group=_SPLIT, metavar="TSV")] = None,
    seed: Annotated[int, Parameter(group=_SPLIT, metavar="N", validator=Number(gte=0))] = 42,
    min_identity: Annotated[float, Parameter(group=_SPLIT, metavar="P", validator=_SHARE)] = 0.8,
    min_coverage: Annotated[float, Parameter(group=_SPLIT, metavar="P", validator=_SHARE)] = 0.5,
    remove_paralogs: Annotated[bool, Parameter(group=_SPLIT, negative="")] = False,
    layout: Annotated[Literal["basecast", "openspliceai"], Parameter(group=OUTPUT)] = "basecast",
    species: Annotated[str, Parameter(group=OUTPUT, metavar="NAME", show_default=False)] = "",
    genome_build: Annotated[str, Parameter(group=OUTPUT, metavar="NAME", show_default=False)] = "",
    overwrite: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    signal: SignalOptions = DEFAULT_SIGNAL,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Make labelled examples of splice sites or signal from a genome.

    With genes (-A) each record is what those on one strand cover together, in the direction of transcription; a base is
    an acceptor, a donor or neither. Genes that overlap or are alike stay in one split. With tracks (--targets) each
    record is a stretch of a contig, with a value for each track and bin.

    Example: basecast create-data -R genome.fa -A genes.gff3 -O data

    Example (human chromosomes as published): basecast create-data -R hg38.fa -A MANE.gtf.gz -O data
    --split spliceai-human --mask-annotation gencode.gtf.gz

    Example (tracks): basecast create-data -R genome.fa --targets targets.tsv -O data --test-contigs III

    Parameters
    ----------
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    annotation:
        GFF3, GTF, BED12 or a SpliceAI gene table.
    output:
        Folder for train.h5, validation.h5, test.h5, splits.tsv, report.json and, of tracks, targets.resolved.tsv.
    contig_aliases:
        Table of contig names that mean the same, a line a contig.
    transcripts:
        Which transcripts of a gene label it; those of all are merged base by base.
    canonical_tag:
        A tag that makes a transcript canonical where none is MANE Select or Ensembl_canonical.
    biotype:
        Biotypes of the transcripts to take, or all; by default protein-coding ones where the file tells of them, else
        all. May be given more than once.
    mask_annotation:
        Annotation whose other genes have no label: their bases count neither in the loss nor in a metric.
    canonical_motifs_only:
        Leave out introns that are not GT-AG, GC-AG or AT-AC.
    context:
        What a model sees past the genes of a record: N (gene) or the genome.
    flank:
        Bases kept on either side of a record with --context genomic, by default 5000; of tracks by default 16384.
    force:
        Go on where under half of the introns have a splice motif.
    split:
        homology: genes with similar exons stay together (needs mappy); overlap: only genes that share a base;
        spliceai-human: chromosomes 1, 3, 5, 7 and 9 are test, a tenth of the others validation.
    split_list:
        Table with the columns split and gene or contig, such as splits.tsv; without validation in it a tenth of train
        is drawn.
    contig_groups:
        Table with the columns contig, chrom, start (from 1) and end: contigs that are regions of a chromosome.
    seed:
        Of what is drawn.
    min_identity:
        Share of matching bases from which exons are alike.
    min_coverage:
        Share of the shorter gene's exons that must align.
    remove_paralogs:
        Leave out what is in test or validation and like a gene of train; removed_paralogs.tsv lists it. With --split
        homology there is none.
    layout:
        basecast, or the dataset_train.h5, dataset_validation.h5 and dataset_test.h5 that openspliceai train reads.
    species:
        Kept in the dataset and in the card of a model trained on it.
    genome_build:
        Likewise.
    overwrite:
        Replace a dataset that is in the folder.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.data.create import CreateSettings
    from basecast.data.create import create_data as make

    require_one_mode(command, annotation=annotation, signal=signal, reference=reference)
    console = Console(log_format)
    if annotation is None or reference is None:
        return make_signal(
            console,
            signal,
            reference,
            output,
            contig_aliases=contig_aliases,
            command=shlex.join(command),
            **({} if flank is None else {"flank": flank}),
            seed=seed,
            species=species,
            genome_build=genome_build,
            overwrite=overwrite,
        )
    settings = CreateSettings(
        transcripts=transcripts,
        canonical_tag=canonical_tag,
        biotypes=biotype,
        canonical_motifs_only=canonical_motifs_only,
        context=context,
        flank=flank,
        split=split,
        seed=seed,
        min_identity=min_identity,
        min_coverage=min_coverage,
        remove_paralogs=remove_paralogs,
        layout=layout,
        species=species,
        genome_build=genome_build,
        force=force,
        overwrite=overwrite,
    )
    with console.progress("bases") as progress:
        made = make(
            reference,
            annotation,
            output,
            settings=settings,
            mask_annotation=mask_annotation,
            split_list=split_list,
            contig_groups=contig_groups,
            contig_aliases=contig_aliases,
            command=shlex.join(command),
            progress=progress,
        )
    return report(console, made, output)


def report(console: Console, made: CreateReport, output: Path) -> int:
    """Say what was done; the exit code."""
    for note in made.notes:
        console.say(note, level="warning")
    for why, n in made.left_out.items():
        console.say(f"left out: {n:,} {why}")
    by_count = sorted(made.motifs.items(), key=lambda item: -item[1])
    motifs = ", ".join(f"{n / made.introns:.2%} {name}" for name, n in by_count if n)
    without = f" ({made.genes_without_introns:,} without introns)" if made.genes_without_introns else ""
    console.say(f"{counted(made.introns, 'intron')} of {counted(made.genes, 'gene')}{without}: {motifs}")
    for name, split in made.splits.items():
        said = [counted(split.genes, "gene"), f"{split.acceptors:,} acceptors", f"{split.donors:,} donors"]
        share = f"{split.sites / max(made.sites, 1):.1%} of the sites"
        masked = f", {split.masked_bases:,} masked" if split.masked_bases else ""
        unread = f", {split.n_bases:,} N" if split.n_bases else ""
        console.say(f"{name}: {', '.join(said)} ({share}), {counted(split.bases, 'base')}{masked}{unread}")
    if made.both:
        console.say(f"{counted(made.both, 'base')} both acceptor and donor of different transcripts: one kind was kept")
    console.say(
        f"{counted(made.sites, 'site')} of {counted(made.loci, 'record')} in {counted(made.clusters, 'cluster')}, the "
        f"largest with {made.largest_cluster:.1%} of the sites, written to {output} in {made.seconds:.1f} s",
        **made.model_dump(mode="json"),
    )
    return 0
