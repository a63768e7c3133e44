"""``basecast variant``: a VCF in, the same VCF with splice scores out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

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
    Decimals,
    Distance,
    EngineOptions,
    Genes,
    Mask,
    Messages,
    Model,
    Reference,
    Rules,
    RunOptions,
    Transcripts,
    settled,
)
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.effects.output import Summary

_OLD_TABLES = {
    "grch37": ("gencode.v19.annotation.gtf.gz", "GENCODE release 19"),
    "grch38": ("MANE.GRCh38.v1.4.ensembl_genomic.gtf.gz", "MANE release 1.4 (or a current GENCODE basic GTF)"),
}


def _refuse_old_tables(type_: object, annotation: str) -> None:
    """Old pipelines give one of SpliceAI's built-in names, and no model."""
    if annotation.lower() in _OLD_TABLES:
        file, release = _OLD_TABLES[annotation.lower()]
        raise ValueError(
            "It named a table of 2016 inside SpliceAI; basecast takes the annotation you trust. "
            f"Fetch {file} of {release} and run: basecast variant -I INPUT -O OUTPUT -R FASTA -A {file} -m MODEL"
        )


def variant(
    *,
    input_: Annotated[
        str, Parameter(name=["-I", "--input"], group=INPUT, metavar="FILE", allow_leading_hyphen=True)
    ] = "-",
    output: Annotated[
        str, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="FILE", allow_leading_hyphen=True)
    ] = "-",
    reference: Reference,
    annotation: Annotated[Genes, Parameter(validator=_refuse_old_tables)],
    model: Model = DEFAULT_MODEL,
    distance: Distance = 50,
    mask: Mask = "0",
    rules: Annotated[Rules, Parameter(group=MODEL)] = "basecast",
    decimals: Decimals = 2,
    probabilities: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    transcripts: Transcripts = "canonical",
    canonical_tag: CanonicalTag = None,
    contig_aliases: ContigAliases = None,
    info_key: Annotated[str | None, Parameter(group=OUTPUT, metavar="KEY")] = None,
    overwrite_info: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    force: Annotated[bool, Parameter(group=INPUT, negative="")] = False,
    precomputed: Annotated[
        tuple[Path, ...], Parameter(group=INPUT, negative="", metavar="FILE", show_default=False)
    ] = (),
    precomputed_as: Annotated[str | None, Parameter(group=INPUT, metavar="RULES,D=N,M=N")] = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    run: RunOptions = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Score variants for their effect on splicing.

    Every record of the input is in the output: with scores, or with the reason why there are none (BasecastStatus).
    An interrupted run goes on where it stood when the same command is given again.

    Example: basecast variant -I in.vcf.gz -O out.vcf.gz -R hg38.fa -A MANE.gtf.gz -m openspliceai-mane/10000nt

    Example (SpliceAI's numbers): basecast variant -I in.vcf -O out.vcf -R hg38.fa -A genes.txt -m spliceai/ -D 500
    --rules spliceai

    Example (the third of 20 shares): basecast variant -I in.vcf.gz -O out.vcf.gz -R hg38.fa -A MANE.gtf.gz
    -m openspliceai-mane/10000nt --shard 3/20

    Parameters
    ----------
    input_:
        VCF, VCF.gz, BCF, or a table with CHROM, POS, REF, ALT; - is standard input.
    output:
        .vcf.gz or .bcf (with index), .vcf, .tsv or .parquet; - is VCF on standard output.
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    annotation:
        GFF3, GTF, BED12 or a SpliceAI gene table.
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these.
    distance:
        Bases at each side of a variant in which sites are compared, up to half the model's context.
    mask:
        1: leave out gains of annotated sites and losses of others; both: two keys from one pass.
    rules:
        spliceai: SpliceAI 1.3.1 to the letter. basecast: MNVs, delins and long deletions too, equivalent indels alike.
    decimals:
        Digits of the scores.
    probabilities:
        Also write the REF and ALT probabilities at the reported places.
    transcripts:
        Which transcripts of a gene are scored.
    canonical_tag:
        A tag that makes a transcript canonical where none is MANE Select or Ensembl_canonical.
    contig_aliases:
        Table of contig names that mean the same, a line a contig.
    info_key:
        INFO key to write instead of BasecastSplice or SpliceAI.
    overwrite_info:
        Replace keys that the input has already.
    force:
        Go on although the input seems to be of another genome build.
    precomputed:
        Take scores from this .vcf.gz with index, which the same model and settings made; may be given several times.
    precomputed_as:
        How files of Illumina's own were made, such as spliceai,D=50,M=0.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.effects.annotate import annotate_variants
    from basecast.effects.output import OutputSettings
    from basecast.effects.precomputed import PrecomputedSettings
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.zoo.catalogue import load_model

    if precomputed_as is not None and not precomputed:
        raise UsageError("--precomputed-as goes with --precomputed FILE")
    console, run_settings = Console(log_format), run.settings(engine)
    package = load_model(model)
    settings = engine.variant_settings(package, run_settings, rules=rules, distance=distance, mask=mask)
    written = OutputSettings(
        decimals=decimals,
        probabilities=probabilities,
        info_key=info_key,
        overwrite_info=overwrite_info,
        force=force,
        command=shlex.join(settled(command)),
    )
    engine.announce(console, package, run.cluster, settings.tuning)
    if "-" in (input_, output) or Path(input_).is_fifo():
        console.say("the input or the output is a pipe: if this run is interrupted it begins anew")
    with console.progress("records") as progress:
        summary = annotate_variants(
            input_,
            output,
            model=package,
            genome=Genome(reference, aliases=contig_aliases),
            annotation=Annotation.read(annotation, transcripts=transcripts, canonical_tag=canonical_tag),
            settings=settings,
            output=written,
            run=run_settings,
            precomputed=PrecomputedSettings(files=precomputed, said=precomputed_as) if precomputed else None,
            progress=progress,
        )
    if run.shard:
        run.say_done(console, output, summary.seconds)
        return 0
    return report(console, summary)


def report(console: Console, summary: Summary) -> int:
    """Say what was done; the exit code."""
    for warning in summary.warnings:
        console.say(warning, level="warning")
    without = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.statuses.items(), key=lambda x: -x[1]))
    taken = f", {summary.precomputed:,} of them precomputed" if summary.precomputed else ""
    console.say(
        f"{counted(summary.records, 'record')}, {summary.scored:,} of {summary.alleles:,} alleles scored{taken}"
        f"{f' (without score: {without})' if without else ''} by {summary.model} on {summary.device} "
        f"in {summary.seconds:.1f} s",
        **summary.facts,
    )
    return 3 if summary.nothing_scored else 0
