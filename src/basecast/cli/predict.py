"""``basecast predict``: a genome in, its splice sites out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import (
    DEFAULT_ENGINE,
    DEFAULT_MODEL,
    DEFAULT_RUN,
    INPUT,
    MODEL,
    OUTPUT,
    CanonicalTag,
    ContigAliases,
    EngineOptions,
    Genes,
    Messages,
    Model,
    Reference,
    RunOptions,
    Transcripts,
    settled,
)
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.prediction.predict import SiteSummary


def predict(
    *,
    reference: Reference,
    output: Annotated[str, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="OUT")],
    model: Model = DEFAULT_MODEL,
    regions: Annotated[Path | None, Parameter(group=INPUT, metavar="BED")] = None,
    annotation: Genes | None = None,
    transcripts: Transcripts = "canonical",
    canonical_tag: CanonicalTag = None,
    contig_aliases: ContigAliases = None,
    strand: Annotated[Literal["both", "+", "-", "gene"], Parameter(group=MODEL, allow_leading_hyphen=True)] = "both",
    context: Annotated[Literal["gene", "genomic"] | None, Parameter(group=MODEL)] = None,
    threshold: Annotated[float, Parameter(group=OUTPUT, metavar="P", validator=Number(gte=0, lte=1))] = 0.1,
    format_: Annotated[
        tuple[Literal["bed", "bigwig", "parquet", "spsc", "hints"], ...],
        Parameter(name="--format", group=OUTPUT, negative="", consume_multiple=True, show_default=" ".join),
    ] = ("bed", "bigwig"),
    tile_size: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    run: RunOptions = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Predict the splice sites of a genome, of regions, or of gene bodies.

    A donor is the last base of an exon, an acceptor the first. An interrupted run goes on where it stood when the
    same command is given again.

    Example: basecast predict -R genome.fa -O sites -m human-400

    Example (genes only, for AUGUSTUS too): basecast predict -R genome.fa -A genes.gtf -O sites -m human-400
    --format bed bigwig hints

    Parameters
    ----------
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    output:
        Prefix of the files: OUT.donor.bed.gz, OUT.acceptor.plus.bw, OUT.stats.json ...
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these.
    regions:
        BED file; only these stretches are predicted.
    annotation:
        GFF3, GTF, BED12 or a SpliceAI gene table; only its gene bodies are predicted.
    transcripts:
        Which transcripts make up a gene's body.
    canonical_tag:
        A tag that makes a transcript canonical where none is MANE Select or Ensembl_canonical.
    contig_aliases:
        Table of contig names that mean the same, a line a contig.
    strand:
        Which strand is read; gene: that of the gene.
    context:
        What the model sees outside a gene's body: N (gene) or the genome; by default as it was trained, genomic
        without genes.
    threshold:
        Sites of at least this probability get a row.
    format_:
        bed (a file a kind, with index), bigwig (a file a kind and strand, all of 0.001 or more), parquet, spsc (what
        miniprot and minimap2 read), hints (what AUGUSTUS reads). May be given more than once.
    tile_size:
        Bases that are computed at once; it changes speed and memory, not sites.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.prediction.predict import SiteSettings, predict_sites
    from basecast.prediction.predictor import PredictSettings
    from basecast.zoo.catalogue import load_model

    if annotation is None and (transcripts != "canonical" or canonical_tag is not None):
        raise UsageError("--transcripts and --canonical-tag need genes: give an annotation with -A")
    console, run_settings = Console(log_format), run.settings(engine)
    package = load_model(model)
    genes = (
        Annotation.read(annotation, transcripts=transcripts, canonical_tag=canonical_tag)
        if annotation is not None
        else None
    )
    settings = PredictSettings(
        strand=strand,
        context=context,
        device=engine.device,
        precision=engine.precision,
        threads=engine.threads,
        memory=engine.memory_bytes,
        tile=tile_size,
        tuning=engine.kernels(package, run_settings),
    )
    engine.announce(console, package, run.cluster, settings.tuning)
    with console.progress("bases") as progress:
        summary = predict_sites(
            Genome(reference, aliases=contig_aliases),
            output,
            model=package,
            annotation=genes,
            regions=regions,
            settings=settings,
            output=SiteSettings(threshold=threshold, formats=format_, command=shlex.join(settled(command))),
            run=run_settings,
            progress=progress,
        )
    if run.shard:
        run.say_done(console, output, summary.seconds)
        return 0
    return report(console, summary)


def report(console: Console, summary: SiteSummary) -> int:
    """Say what was done; the exit code."""
    for warning in summary.warnings:
        console.say(warning, level="warning")
    sites = " and ".join(counted(n, f"{kind} site") for kind, n in summary.sites.items())
    console.say(
        f"{sites} in {counted(summary.bases, 'base')} of {counted(summary.contigs, 'contig')} by {summary.model} "
        f"on {summary.device} in {summary.seconds:.1f} s",
        **vars(summary),
    )
    return 0
