"""``basecast predict``: a genome in, its splice sites or signal tracks out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    from basecast.prediction.task import Summary

_SITES, _SIGNAL = {"bed", "bigwig", "parquet", "spsc", "hints"}, {"bigwig", "h5", "parquet"}


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
    head: Annotated[str | None, Parameter(group=MODEL, metavar="NAME")] = None,
    tracks: Annotated[
        tuple[str, ...], Parameter(group=MODEL, negative="", consume_multiple=True, show_default=False, metavar="NAME")
    ] = (),
    rc: Annotated[bool, Parameter(group=MODEL, negative="")] = False,
    shifts: Annotated[str, Parameter(group=MODEL, allow_leading_hyphen=True, metavar="N,N")] = "0",
    untransform: Annotated[bool, Parameter(name=["-u", "--untransform"], group=OUTPUT, negative="")] = False,
    length: Annotated[
        int | None, Parameter(name=["-l", "--length"], group=INPUT, metavar="N", validator=Number(gte=1))
    ] = None,
    format_: Annotated[
        tuple[Literal["bed", "bigwig", "parquet", "spsc", "hints", "h5"], ...],
        Parameter(name="--format", group=OUTPUT, negative="", consume_multiple=True, show_default=False),
    ] = (),
    tile_size: Annotated[int | None, Parameter(group=MODEL, metavar="N", validator=Number(gte=1))] = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    run: RunOptions = DEFAULT_RUN,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Predict the splice sites or signal tracks of a genome, or of parts of it.

    What a model gives decides: sites where a base has classes, a donor being the last base of an exon and an acceptor
    the first; else a signal for each of its tracks. An interrupted run goes on where it stood when the same command is
    given again.

    Example: basecast predict -R genome.fa -O sites -m human-400

    Example (genes only, for AUGUSTUS too): basecast predict -R genome.fa -A genes.gtf -O sites -m human-400
    --format bed bigwig hints

    Example (signal of some tracks): basecast predict -R genome.fa -O signal -m MODEL --tracks heart liver --rc
    --regions loci.bed

    Parameters
    ----------
    reference:
        FASTA (plain, gzip, bgzip) or 2bit.
    output:
        Prefix of the files: OUT.donor.bed.gz, OUT.acceptor.plus.bw, OUT.TRACK.bw, OUT.stats.json ...
    model:
        A name of `basecast zoo list`, a package folder, or a file or folder that another program has written.
    regions:
        BED file; only these stretches are predicted.
    length:
        Signal: so many bases about the middle of each region, each for itself; with h5 by default what a window of the
        model gives, if it has a length.
    annotation:
        Sites: GFF3, GTF, BED12 or a SpliceAI gene table; only its gene bodies are predicted.
    transcripts:
        Which transcripts make up a gene's body.
    canonical_tag:
        A tag that makes a transcript canonical where none is MANE Select or Ensembl_canonical.
    contig_aliases:
        Table of contig names that mean the same, a line a contig.
    strand:
        Sites: which strand is read; gene: that of the gene.
    context:
        Sites: what the model sees outside a gene's body: N (gene) or the genome; by default as it was trained, genomic
        without genes.
    head:
        Which output of a model that has several along the sequence.
    tracks:
        Signal: names of tracks, or a file with a name a line; by default all.
    rc:
        Signal: the mean over both strands.
    shifts:
        Signal: the mean over windows moved by so many bases, such as 1,0,-1.
    threshold:
        Sites of at least this probability get a row.
    untransform:
        Signal: what was measured, such as the sum of a bin; by default values are as the model was taught.
    format_:
        Sites: bed (a file a kind, with index), bigwig (a file a kind and strand, all of 0.001 or more), parquet, spsc
        (what miniprot and minimap2 read), hints (what AUGUSTUS reads); by default bed and bigwig. Signal: bigwig (a
        file a track; the default), h5 (regions x bins x tracks, or bins x tracks), parquet. Again for more.
    tile_size:
        Bases that are computed at once; it changes speed and memory, not what is predicted.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.inference.views import Views
    from basecast.prediction.predict import SiteSettings, TrackSettings, predict_signal, predict_sites
    from basecast.prediction.predictor import PredictSettings
    from basecast.prediction.settings import output_of
    from basecast.prediction.signal import SignalSettings
    from basecast.zoo.catalogue import load_model

    if annotation is None and (transcripts != "canonical" or canonical_tag is not None):
        raise UsageError("--transcripts and --canonical-tag need genes: give an annotation with -A")
    console, run_settings = Console(log_format), run.settings(engine)
    package = load_model(model)
    has_classes = output_of(package.spec, head).has_classes
    of_sites = {"-A": annotation, "--strand": strand != "both", "--context": context, "--threshold": threshold != 0.1}
    of_signal = {"--tracks": tracks, "--rc": rc, "--shifts": shifts != "0", "-u": untransform, "--length": length}
    _refuse(package.spec.name, has_classes, of_signal if has_classes else of_sites, format_)
    device: dict[str, Any] = {
        "device": engine.device,
        "precision": engine.precision,
        "threads": engine.threads,
        "memory": engine.memory_bytes,
        "tile": tile_size,
        "tuning": engine.kernels(package, run_settings),
    }
    written: dict[str, Any] = {"command": shlex.join(settled(command))} | ({"formats": format_} if format_ else {})
    make: Callable[..., Summary]
    if has_classes:
        genes = None
        if annotation is not None:
            genes = Annotation.read(annotation, transcripts=transcripts, canonical_tag=canonical_tag)
        sites = PredictSettings(strand=strand, context=context, **device)
        as_sites = SiteSettings(threshold=threshold, **written)
        make = partial(predict_sites, annotation=genes, settings=sites, output=as_sites)
    else:
        views = Views(reverse_complement=rc, shifts=_numbers(shifts))
        signal = SignalSettings(head=head, tracks=tracks, views=views, untransform=untransform, length=length, **device)
        make = partial(predict_signal, settings=signal, output=TrackSettings(**written))
    engine.announce(console, package, run.cluster, device["tuning"])
    with console.progress("bases") as progress:
        summary = make(
            Genome(reference, aliases=contig_aliases),
            output,
            model=package,
            regions=regions,
            run=run_settings,
            progress=progress,
        )
    if run.shard:
        run.say_done(console, output, summary.seconds)
        return 0
    return report(console, summary)


def report(console: Console, summary: Summary) -> int:
    """Say what was done; the exit code."""
    from basecast.prediction.predict import SignalSummary, SiteSummary

    for warning in summary.warnings:
        console.say(warning, level="warning")
    found = ""
    if isinstance(summary, SiteSummary):
        found = " and ".join(counted(n, f"{kind} site") for kind, n in summary.sites.items())
    if isinstance(summary, SignalSummary):
        bins = f"{counted(summary.bins, 'bin')} of {summary.resolution} bp"
        found = f"{counted(len(summary.tracks), 'track')} of {summary.output}, {bins}"
    console.say(
        f"{found} in {counted(summary.bases, 'base')} of {counted(summary.contigs, 'contig')} by {summary.model} "
        f"on {summary.device} in {summary.seconds:.1f} s",
        **vars(summary),
    )
    return 0


def _refuse(model: str, has_classes: bool, given: Mapping[str, object], formats: Sequence[str]) -> None:
    """Stop where an option or a format is of the other kind of prediction."""
    kind, known = ("sites", _SITES) if has_classes else ("signal tracks", _SIGNAL)
    wrong = [name for name, value in given.items() if value]
    wrong += [f"--format {name}" for name in formats if name not in known]
    if wrong:
        raise UsageError(f"{model} predicts {kind}: {wrong[0]} is not for them, leave it out")


def _numbers(shifts: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in shifts.split(","))
    except ValueError:
        raise UsageError(f"--shifts {shifts!r} is no list of whole numbers such as 1,0,-1") from None
