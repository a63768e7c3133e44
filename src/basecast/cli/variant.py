"""``basecast variant``: a VCF in; out the same VCF with splice scores, or a table of scores of signals."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    Decimals,
    Distance,
    EngineOptions,
    Genes,
    Mask,
    Messages,
    Model,
    Reference,
    RunOptions,
    Transcripts,
    settled,
)
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.effects.kinds import Output, Settings
    from basecast.effects.output import Summary
    from basecast.effects.signal_scorer import SignalSettings
    from basecast.inference.shards import RunSettings
    from basecast.zoo.package import Package

_OLD_TABLES = {
    "grch37": ("gencode.v19.annotation.gtf.gz", "GENCODE release 19"),
    "grch38": ("MANE.GRCh38.v1.4.ensembl_genomic.gtf.gz", "MANE release 1.4 (or a current GENCODE basic GTF)"),
}


def _refuse_old_tables(type_: object, annotation: str | None) -> None:
    """Old pipelines give one of SpliceAI's built-in names, and no model."""
    if annotation is not None and annotation.lower() in _OLD_TABLES:
        file, release = _OLD_TABLES[annotation.lower()]
        raise ValueError(
            "It named a table of 2016 inside SpliceAI; basecast takes the annotation you trust. "
            f"Fetch {file} of {release} and run: basecast variant -I INPUT -O OUTPUT -R FASTA -A {file} -m MODEL"
        )


@Parameter(name="*")
@dataclass(frozen=True)
class SignalOptions:
    """What is asked of scores of signals.

    Parameters
    ----------
    statistics:
        Signals: names joined by commas, such as SAD,logSAD,D2,JS; an unknown one is told with those there are. By
        default SAD,logSAD, of genes SED,logSED.
    tracks:
        Signals: score only these tracks, names joined by commas or a table with a column identifier.
    genes:
        Signals: a row for each gene near the variant, of the bins of its TSSs or exons only; needs -A.
    span:
        Signals: bases around a variant whose bins are compared; by default as far as the model sees, or its window.
    merge_strands:
        Signals: add up the two strands of a track.
    untransform:
        Signals: score what was measured, such as the sum of a bin; by default values are as the model was taught.
    rc:
        Signals: the mean over both strands.
    shifts:
        Signals: the mean over windows moved by so many bases, such as 1,0,-1.
    format_:
        Signals: by default what the output's suffix says.
    """

    statistics: Annotated[str, Parameter(group=MODEL, metavar="NAMES")] = ""
    tracks: Annotated[str | None, Parameter(group=MODEL, metavar="NAMES")] = None
    genes: Annotated[Literal["tss", "exons"] | None, Parameter(group=MODEL)] = None
    span: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = None
    merge_strands: Annotated[bool, Parameter(group=MODEL, negative="")] = False
    untransform: Annotated[bool, Parameter(name=["-u", "--untransform"], group=MODEL, negative="")] = False
    rc: Annotated[bool, Parameter(group=MODEL, negative="")] = False
    shifts: Annotated[str, Parameter(group=MODEL, allow_leading_hyphen=True, metavar="N,N")] = "0"
    format_: Annotated[Literal["parquet", "tsv", "h5", "h5ad"] | None, Parameter(name="--format", group=OUTPUT)] = None


_NO_SIGNAL = SignalOptions()


def variant(
    *,
    input_: Annotated[
        str, Parameter(name=["-I", "--input"], group=INPUT, metavar="FILE", allow_leading_hyphen=True)
    ] = "-",
    output: Annotated[
        str, Parameter(name=["-O", "--output"], group=OUTPUT, metavar="FILE", allow_leading_hyphen=True)
    ] = "-",
    reference: Reference,
    annotation: Annotated[Genes | None, Parameter(validator=_refuse_old_tables)] = None,
    model: Model = DEFAULT_MODEL,
    distance: Distance = 50,
    mask: Mask = "0",
    rules: Annotated[Literal["basecast", "baskerville", "spliceai"], Parameter(group=MODEL)] = "basecast",
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
    signal: SignalOptions = _NO_SIGNAL,
    engine: EngineOptions = DEFAULT_ENGINE,
    run: RunOptions = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Score variants for their effect on splicing or on signals.

    Every record of the input is in the output: with scores, or with the reason why there are none (BasecastStatus, or
    the column status). An interrupted run goes on where it stood when the same command is given again.

    Example: basecast variant -I in.vcf.gz -O out.vcf.gz -R hg38.fa -A MANE.gtf.gz -m openspliceai-mane/10000nt

    Example (SpliceAI's numbers): basecast variant -I in.vcf -O out.vcf -R hg38.fa -A genes.txt -m spliceai/ -D 500
    --rules spliceai

    Example (signals): basecast variant -I in.vcf.gz -O out.parquet -R hg38.fa -m my-basenji --statistics SAD,D2

    Example (signals, of genes): basecast variant -I in.vcf.gz -O out.h5 -R hg38.fa -A genes.gtf.gz -m my-basenji
    --genes tss

    Example (the third of 20 shares): basecast variant -I in.vcf.gz -O out.vcf.gz -R hg38.fa -A MANE.gtf.gz
    -m openspliceai-mane/10000nt --shard 3/20

    Parameters
    ----------
    input_:
        VCF, VCF.gz, BCF, or a table with CHROM, POS, REF, ALT; - is standard input.
    output:
        .vcf.gz or .bcf (with index), .vcf, .tsv or .parquet; - is VCF on standard output. Signals: .parquet, .tsv, .h5
        (as Basenji's users read it) or .h5ad (AnnData).
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    annotation:
        GFF3, GTF, BED12 or a SpliceAI gene table; models of splice sites need it.
    model:
        A name of `basecast zoo list`, a package folder, OpenSpliceAI .pt, Illumina .h5, or a folder of these.
    distance:
        Bases at each side of a variant in which sites are compared, up to half the model's context.
    mask:
        1: leave out gains of annotated sites and losses of others; both: two keys from one pass.
    rules:
        spliceai: SpliceAI 1.3.1 to the letter. basecast: MNVs, delins and long deletions too, equivalent indels alike.
        baskerville (signals): its numbers for SNVs, where strands are merged after the statistic.
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
    from basecast.effects.kinds import SIGNAL, kind_of
    from basecast.effects.output import OutputSettings
    from basecast.effects.precomputed import PrecomputedSettings
    from basecast.effects.signal_output import SignalOutput
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.zoo.catalogue import load_model

    if precomputed_as is not None and not precomputed:
        raise UsageError("--precomputed-as goes with --precomputed FILE")
    console, run_settings = Console(log_format), run.settings(engine)
    package = load_model(model)
    told = shlex.join(settled(command))
    settings: Settings
    written: Output
    if kind_of(package.spec) is SIGNAL:
        of_splicing = {"-D": distance != 50, "-M": mask != "0", "--rules spliceai": rules == "spliceai"}
        of_splicing |= {"--decimals": decimals != 2, "--probabilities": probabilities, "--info-key": bool(info_key)}
        of_splicing |= {"--overwrite-info": overwrite_info, "--precomputed": bool(precomputed)}
        _refuse(package, "signals", of_splicing)
        settings = _settings_of(signal, engine, package, run_settings, is_theirs=rules == "baskerville")
        written = SignalOutput(format=signal.format_, force=force, command=told)
    else:
        defaults = {x.name: getattr(_NO_SIGNAL, x.name) for x in fields(SignalOptions)}
        of_signals = {
            f"--{name.strip('_').replace('_', '-')}": getattr(signal, name) != x for name, x in defaults.items()
        }
        _refuse(package, "splice sites", of_signals)
        if rules == "baskerville":
            raise UsageError(f"{package.spec.name} gives splice sites, which have no --rules baskerville: leave it out")
        if annotation is None:
            raise UsageError(f"{package.spec.name} scores splice sites of genes: give an annotation with -A")
        settings = engine.variant_settings(package, run_settings, rules=rules, distance=distance, mask=mask)
        written = OutputSettings(
            decimals=decimals,
            probabilities=probabilities,
            info_key=info_key,
            overwrite_info=overwrite_info,
            force=force,
            command=told,
        )
    engine.announce(console, package, run.cluster, settings.tuning)
    if "-" in (input_, output) or Path(input_).is_fifo():
        console.say("the input or the output is a pipe: if this run is interrupted it begins anew")
    genes = None
    if annotation is not None:
        genes = Annotation.read(annotation, transcripts=transcripts, canonical_tag=canonical_tag)
    with console.progress("records") as progress:
        summary = annotate_variants(
            input_,
            output,
            model=package,
            genome=Genome(reference, aliases=contig_aliases),
            annotation=genes,
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


def _settings_of(
    options: SignalOptions, engine: EngineOptions, package: Package, run: RunSettings, *, is_theirs: bool
) -> SignalSettings:
    """What is asked of scores of signals."""
    from basecast.effects.signal_scorer import SignalSettings
    from basecast.inference.views import Views
    from basecast.training.tracks import names_in

    try:
        shifts = tuple(int(word) for word in options.shifts.split(","))
    except ValueError:
        raise UsageError(f"--shifts {options.shifts!r} is no list of whole numbers such as 1,0,-1") from None
    return SignalSettings(
        rules="baskerville" if is_theirs else "basecast",
        statistics=tuple(name.strip() for name in options.statistics.split(",") if name.strip()),
        tracks=tuple(names_in(options.tracks or "")),
        span=options.span,
        genes=options.genes,
        merge_strands=options.merge_strands,
        untransform=options.untransform,
        views=Views(reverse_complement=options.rc, shifts=shifts),
        device=engine.device,
        precision=engine.precision,
        threads=engine.threads,
        memory=engine.memory_bytes,
        tuning=engine.kernels(package, run),
    )


def _refuse(package: Package, gives: str, given: dict[str, Any]) -> None:
    """Stop where an option is not for such a model."""
    for option, is_given in given.items():
        if is_given:
            raise UsageError(f"{package.spec.name} gives {gives}, which have no {option}: leave it out")


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
