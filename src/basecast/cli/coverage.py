"""``basecast coverage``: alignments in, their coverage out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.cli.options import INPUT, OUTPUT, RUN, Messages, settled
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.coverage.build import CoverageSummary

_COUNTED, _SHARED = Group("What is counted", sort_key=0.5), Group("Reads with several places", sort_key=0.6)
_Size = Annotated[int | None, Parameter(group=_COUNTED, validator=Number(gte=1), metavar="N")]
_Flag = Annotated[bool | None, Parameter(group=_COUNTED)]


def coverage(
    reads: Annotated[Path, Parameter(group=INPUT, metavar="BAM")],
    /,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], group=OUTPUT, metavar="OUT.bw")],
    reference: Annotated[Path | None, Parameter(name=["-R", "--reference"], group=INPUT, metavar="FASTA")] = None,
    assay: Annotated[
        Literal["cage", "dnase", "atac", "chip", "rna", "histone"] | None, Parameter(group=_COUNTED)
    ] = None,
    event: Annotated[Literal["ends", "centres", "reads"] | None, Parameter(group=_COUNTED)] = None,
    strands: Annotated[Literal["both", "forward", "reverse"] | None, Parameter(group=_COUNTED)] = None,
    mates: Annotated[Literal["both", "first"] | None, Parameter(group=_COUNTED)] = None,
    shift_forward: Annotated[int | None, Parameter(group=_COUNTED, allow_leading_hyphen=True, metavar="N")] = None,
    shift_reverse: Annotated[int | None, Parameter(group=_COUNTED, allow_leading_hyphen=True, metavar="N")] = None,
    fragment_length: _Size = None,
    mapq: Annotated[int | None, Parameter(group=_COUNTED, validator=Number(gte=0, lte=254), metavar="N")] = None,
    keep_duplicates: _Flag = None,
    max_places: Annotated[int | None, Parameter(group=_SHARED, validator=Number(gte=1, lte=200), metavar="N")] = None,
    sigma: Annotated[float | None, Parameter(group=_SHARED, validator=Number(gt=0, lte=1000), metavar="BASES")] = None,
    iterations: Annotated[int | None, Parameter(group=_SHARED, validator=Number(gte=0), metavar="N")] = None,
    gc: Annotated[bool | None, Parameter(group=OUTPUT)] = None,
    clip: Annotated[int | None, Parameter(group=OUTPUT, validator=Number(gte=0), metavar="N")] = None,
    smooth: Annotated[float | None, Parameter(group=OUTPUT, validator=Number(gte=0, lte=1000), metavar="BASES")] = None,
    threads: Annotated[int | None, Parameter(group=RUN, validator=Number(gte=1), metavar="N")] = None,
    shard: Annotated[str | None, Parameter(group=RUN, metavar="I/N")] = None,
    work_dir: Annotated[Path | None, Parameter(group=RUN, metavar="FOLDER")] = None,
    restart: Annotated[bool, Parameter(group=RUN, negative="")] = False,
    log_format: Messages = "text",
    command: Annotated[tuple[str, ...], Parameter(parse=False)] = ("basecast",),
) -> int:
    """Turn alignments into coverage, as bigWig.

    A report and a page of figures come with it. Reads with several places in the genome are shared among them as the
    coverage around each tells. An interrupted run goes on where it stood when the same command is given again.

    Example: basecast coverage chip.bam -o chip.bw -R genome.fa --assay chip

    Parameters
    ----------
    reads:
        BAM, CRAM or SAM. A sorted BAM with its index is read by several processes.
    output:
        The bigWig; of two strands OUT.plus.bw and OUT.minus.bw. OUT.report.json and OUT.png come with it.
    reference:
        The genome that the reads were aligned to: FASTA or 2bit. --gc takes it.
    assay:
        Settings for it; what is given beside wins.
    event:
        What a read counts as: its 5' end, the centre of its fragment, or its aligned bases. By default ends.
    strands:
        One track of both strands (by default), or two: read 1 has the strand of the molecule (forward) or the other
        one (reverse, as of dUTP libraries).
    mates:
        Whether both reads of a pair have 5' ends that count, or the first.
    shift_forward:
        Bases to the right that 5' ends of forward reads are moved; 4 for Tn5.
    shift_reverse:
        The same of reverse reads; -5 for Tn5.
    fragment_length:
        Of reads that are in no proper pair, for their centres; by default it is learnt.
    mapq:
        Alignments of a lower mapping quality are left out.
    keep_duplicates:
        Alignments that are flagged as duplicates count.
    max_places:
        Reads with more places are left out; by default 10.
    sigma:
        Of the Gaussian window in which coverage tells where a read belongs; by default 32.
    iterations:
        At most so many rounds of sharing (100); 0 shares evenly.
    gc:
        Take out the effect of the GC content of fragments.
    clip:
        Cut likely duplicates: a position to what its surroundings make likely, at most to N; 0 for none.
    smooth:
        Smooth what is written with a Gaussian of this standard deviation.
    threads:
        Processes; by default as many as CPUs may be used.
    shard:
        Read only the I-th of N shares of the genome and leave its parts; `basecast merge OUT.bw` joins all N.
    work_dir:
        Folder for the plan and the finished parts; by default OUT.bw.basecast.
    restart:
        Discard what an interrupted run of this output has left.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from pydantic import ValidationError

    from basecast.coverage import build
    from basecast.coverage.settings import CoverageSettings, preset
    from basecast.inference.shards import RunSettings, Split

    given = {
        "event": event,
        "strands": strands,
        "mates": mates,
        "shift_forward": shift_forward,
        "shift_reverse": shift_reverse,
        "fragment_length": fragment_length,
        "mapq": mapq,
        "keep_duplicates": keep_duplicates,
        "max_places": max_places,
        "sigma": sigma,
        "iterations": iterations,
        "gc": gc,
        "clip": clip,
        "smooth": smooth,
    }
    chosen = preset(assay).model_dump() | {name: value for name, value in given.items() if value is not None}
    try:
        settings = CoverageSettings.model_validate(chosen | {"clip": chosen["clip"] or None})
    except ValidationError as error:
        raise UsageError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error
    console = Console(log_format)
    run = RunSettings(restart=restart, work_dir=work_dir, split=Split.parse(shard) if shard is not None else None)
    with console.progress("bases") as progress:
        summary = build.coverage(
            reads,
            output,
            reference=reference,
            settings=settings,
            threads=threads,
            run=run,
            command=shlex.join(settled(command)),
            progress=progress,
        )
    if summary is None:
        folder = ["--work-dir", str(work_dir)] if work_dir else []
        merging = shlex.join(["basecast", "merge", str(output), *folder])
        console.say(f"shard {shard} is done; when all are: {merging}", shard=shard)
        return 0
    return report(console, summary)


def report(console: Console, summary: CoverageSummary) -> int:
    """Say what was done; the exit code."""
    for warning in summary.warnings:
        console.say(warning, level="warning")
    console.say(
        f"{counted(summary.reads, 'read')} of {counted(summary.alignments, 'alignment')}, of which "
        f"{summary.shared:,} are shared among several places, in {summary.seconds:.1f} s: {', '.join(summary.outputs)}",
        **vars(summary),
    )
    return 0 if summary.reads else 3
