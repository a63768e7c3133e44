"""``basecast saturate``: every small allele of some bases, scored."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from basecast.errors import counted

if TYPE_CHECKING:
    from basecast.effects.saturate import SaturationSummary

_SEVERAL = Parameter(group=INPUT, negative="", consume_multiple=1, show_default=False)


def saturate(
    *,
    output: Annotated[str, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="OUT", allow_leading_hyphen=True)],
    reference: Reference,
    annotation: Genes,
    model: Model = DEFAULT_MODEL,
    region: Annotated[tuple[str, ...], Parameter(metavar="CONTIG:START-END"), _SEVERAL] = (),
    gene: Annotated[tuple[str, ...], Parameter(metavar="NAME"), _SEVERAL] = (),
    bed: Annotated[tuple[Path, ...], Parameter(metavar="FILE"), _SEVERAL] = (),
    indels: Annotated[bool, Parameter(group=INPUT, negative="")] = False,
    distance: Distance = 50,
    mask: Mask = "0",
    rules: Annotated[Rules, Parameter(group=MODEL)] = "basecast",
    format_: Annotated[Literal["suffix", "vep"], Parameter(name="--format", group=OUTPUT)] = "suffix",
    decimals: Decimals = 2,
    probabilities: Annotated[bool, Parameter(group=OUTPUT, negative="")] = False,
    transcripts: Transcripts = "canonical",
    canonical_tag: CanonicalTag = None,
    contig_aliases: ContigAliases = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    run: RunOptions = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Score every substitution of regions or genes, and small indels too.

    The output has the scores that `basecast variant` gives the same alleles, one ALT a record, sorted and indexed.
    An interrupted run goes on where it stood when the same command is given again.

    Example: basecast saturate -R hg38.fa -A MANE.gtf.gz -m openspliceai-mane/10000nt -D 500 --gene BRCA1
    -O brca1.vcf.gz

    Example (for the SpliceAI plugin of VEP): basecast saturate -R hg38.fa -A MANE.gtf.gz -m spliceai/ -D 500
    --bed panel.bed --indels --rules spliceai --format vep -O panel

    Example (a stretch as IGV prints it): basecast saturate -R hg38.fa -A MANE.gtf.gz -m openspliceai-mane/10000nt
    --region chr17:43,044,295-43,045,802 -O stretch.parquet

    Parameters
    ----------
    output:
        .vcf.gz or .bcf (with index), .vcf, .tsv or .parquet; with --format vep a prefix.
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    annotation:
        GFF3, GTF, BED12 or a SpliceAI gene table.
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these.
    region:
        First and last base, counted from 1, or a whole contig. May be given more than once, as may --gene and --bed.
    gene:
        Symbol or gene id: from the first to the last base of its chosen transcripts.
    bed:
        BED file.
    indels:
        Also all insertions of one base and all deletions of 1 to 4 bases.
    distance:
        Bases at each side of a variant in which sites are compared, up to half the model's context.
    mask:
        1: leave out gains of annotated sites and losses of others; both: two keys from one pass.
    rules:
        spliceai: SpliceAI 1.3.1 to the letter. basecast: equivalent indels alike, contig ends too.
    format_:
        vep: OUT.snv.vcf.gz and OUT.indel.vcf.gz, as the SpliceAI plugin of Ensembl VEP reads them.
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
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.effects.output import OutputSettings
    from basecast.effects.saturate import Wanted
    from basecast.effects.saturate import saturate as score_all
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.zoo.catalogue import load_model

    console, run_settings = Console(log_format), run.settings(engine)
    package = load_model(model)
    settings = engine.variant_settings(package, run_settings, rules=rules, distance=distance, mask=mask)
    written = OutputSettings(decimals=decimals, probabilities=probabilities, command=shlex.join(settled(command)))
    engine.announce(console, package, run.cluster, settings.tuning)
    with console.progress("alleles") as progress:
        summary = score_all(
            output,
            Wanted(regions=region, genes=gene, beds=bed, indels=indels),
            model=package,
            genome=Genome(reference, aliases=contig_aliases),
            annotation=Annotation.read(annotation, transcripts=transcripts, canonical_tag=canonical_tag),
            vep=format_ == "vep",
            settings=settings,
            output=written,
            run=run_settings,
            progress=progress,
        )
    if run.shard:
        run.say_done(console, output, summary.seconds)
        return 0
    return report(console, summary)


def report(console: Console, summary: SaturationSummary) -> int:
    """Say what was done; the exit code."""
    for warning in summary.warnings:
        console.say(warning, level="warning")
    without = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.statuses.items(), key=lambda x: -x[1]))
    console.say(
        f"{summary.scored:,} of {counted(summary.alleles, 'allele')} of {counted(summary.bases, 'base')} scored"
        f"{f' (without score: {without})' if without else ''} by {summary.model} on {summary.device} "
        f"in {summary.seconds:.1f} s",
        **summary.facts,
    )
    return 3 if summary.nothing_scored else 0
