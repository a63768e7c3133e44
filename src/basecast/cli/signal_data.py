"""The options of ``basecast create-data`` that go with tracks, and what is said of what was made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import Console
from basecast.errors import UsageError, counted

if TYPE_CHECKING:
    from basecast.data.signal_report import SignalReport

_SIGNAL, _PEAKS = Group("Tracks", sort_key=0.7), Group("Peaks", sort_key=0.8)
_SHARE, _WHOLE, _POSITIVE = Number(gte=0, lte=1), Number(gte=0), Number(gte=1)
_SPLICE_ONLY = (
    *("--transcripts", "--canonical-tag", "--biotype", "--mask-annotation", "--canonical-motifs-only", "--context"),
    *("--force", "--split", "--split-list", "--contig-groups", "--min-identity", "--min-coverage"),
    *("--remove-paralogs", "--layout"),
)
_NOT_OF_RECORDS = (
    *("resolution", "window", "piece", "contigs", "test_contigs", "validation_contigs", "validation_share"),
    *("test_share", "folds", "gaps", "blacklist", "unmappable", "max_unmappable", "umap_clip", "assay", "threads"),
    *("regions", "summit", "jitter", "negatives"),
)


@Parameter(name="*", group=_SIGNAL)
@dataclass(frozen=True)
class SignalOptions:
    """Tracks, and which stretches of the genome are learnt from.

    Parameters
    ----------
    targets:
        Table of tracks with tabs and a header: identifier and file (bigWig), and Basenji's clip, clip_soft, scale,
        sum_stat, strand_pair and description as far as they are wanted.
    tfrecords:
        Folder of TFRecords that basenji or baskerville wrote, with statistics.json, instead of a genome and tracks.
    assay:
        What stands where the table has nothing; without, the sum of a bin.
    scaled_last:
        The order of steps of Borzoi's published tables: scale last.
    resolution:
        Bases of a bin.
    window:
        Bases of a training window that have targets.
    contigs:
        Contigs to use, by default all that are as long as a window. May be given more than once.
    gaps:
        BED of stretches that are no sequence; long runs of N are left out without it.
    blacklist:
        BED of stretches without a label.
    unmappable:
        BED of stretches that reads cannot be placed in.
    max_unmappable:
        Windows with a larger share of it are left out.
    umap_clip:
        Cut unmappable bins at this quantile of their track in the record.
    piece:
        Bases that go to a split together, about.
    test_contigs:
        Contigs to test on. May be given more than once.
    validation_contigs:
        Contigs that choose the model. May be given more than once.
    validation_share:
        Share of the other bases, in whole pieces, for validation where no contig is named for it.
    test_share:
        Likewise for test.
    folds:
        Divide the pieces into so many folds instead.
    test_fold:
        The fold to test on, from 0.
    validation_fold:
        The fold that chooses the model.
    threads:
        Processes that read the tracks, by default as many as CPUs may be used.
    regions:
        BED or narrowPeak: one record for each peak, centred on it, a window long.
    summit:
        Centre on the summit that the tenth column tells.
    jitter:
        Move the windows of train off their peaks by up to so many bases.
    negatives:
        Windows of background for each peak, with its GC.
    """

    targets: Annotated[Path | None, Parameter(metavar="TSV")] = None
    tfrecords: Annotated[Path | None, Parameter(metavar="DIR")] = None
    assay: Literal["cage", "dnase", "atac", "chip", "rna", "histone"] | None = None
    scaled_last: Annotated[bool, Parameter(negative="")] = False
    resolution: Annotated[int, Parameter(validator=_POSITIVE, metavar="N")] = 128
    window: Annotated[int, Parameter(validator=_POSITIVE, metavar="N")] = 32768
    contigs: Annotated[
        tuple[str, ...], Parameter(negative="", consume_multiple=True, metavar="NAME", show_default=False)
    ] = ()
    gaps: Annotated[Path | None, Parameter(metavar="BED")] = None
    blacklist: Annotated[Path | None, Parameter(metavar="BED")] = None
    unmappable: Annotated[Path | None, Parameter(metavar="BED")] = None
    max_unmappable: Annotated[float, Parameter(validator=_SHARE, metavar="P")] = 0.5
    umap_clip: Annotated[float | None, Parameter(validator=_SHARE, metavar="P")] = None
    piece: Annotated[int, Parameter(validator=_POSITIVE, metavar="N")] = 524288
    test_contigs: Annotated[
        tuple[str, ...], Parameter(negative="", consume_multiple=True, metavar="NAME", show_default=False)
    ] = ()
    validation_contigs: Annotated[
        tuple[str, ...], Parameter(negative="", consume_multiple=True, metavar="NAME", show_default=False)
    ] = ()
    validation_share: Annotated[float, Parameter(validator=_SHARE, metavar="P")] = 0.1
    test_share: Annotated[float, Parameter(validator=_SHARE, metavar="P")] = 0.1
    folds: Annotated[int | None, Parameter(validator=Number(gte=3), metavar="N")] = None
    test_fold: Annotated[int, Parameter(validator=_WHOLE, metavar="N")] = 0
    validation_fold: Annotated[int, Parameter(validator=_WHOLE, metavar="N")] = 1
    threads: Annotated[int | None, Parameter(validator=_POSITIVE, metavar="N")] = None
    regions: Annotated[Path | None, Parameter(group=_PEAKS, metavar="BED")] = None
    summit: Annotated[bool, Parameter(group=_PEAKS, negative="")] = False
    jitter: Annotated[int, Parameter(group=_PEAKS, validator=_WHOLE, metavar="N")] = 0
    negatives: Annotated[float, Parameter(group=_PEAKS, validator=_WHOLE, metavar="X")] = 1.0


DEFAULT_SIGNAL = SignalOptions()


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _typed(command: Sequence[str], options: Sequence[str]) -> list[str]:
    """Which of some options stand in a command."""
    words = {word.partition("=")[0] for word in command}
    return [option for option in options if option in words]


def require_one_mode(
    command: Sequence[str], *, annotation: str | None, signal: SignalOptions, reference: str | None
) -> None:
    """Stop where options of genes, of tracks and of TFRecords are mixed.

    Raises:
        UsageError: they are, or what they need is missing.
    """
    given = [name for name, value in (("-A", annotation), ("--targets", signal.targets)) if value is not None]
    given += ["--tfrecords"] if signal.tfrecords is not None else []
    if len(given) != 1:
        raise UsageError(
            f"{' and '.join(given) or 'neither -A, --targets nor --tfrecords'} given: examples come from genes (-A), "
            "from tracks (--targets) or from TFRecords (--tfrecords), give one of them"
        )
    if annotation is not None:
        others, what = _typed(command, [_option(field.name) for field in fields(signal)]), "tracks (--targets)"
    else:
        others, what = _typed(command, _SPLICE_ONLY), "genes (-A)"
    if signal.tfrecords is not None and not others:
        others = _typed(command, [*map(_option, _NOT_OF_RECORDS), "-R", "--reference", "--genome", "--flank"])
        what = "a genome and tracks (-R, --targets): in TFRecords that is settled"
    if others:
        raise UsageError(f"{others[0]} goes with {what}, not with {given[0]}: leave it out")
    if reference is None and signal.tfrecords is None:
        raise UsageError("the genome is missing: give it with -R")
    if signal.regions is None and (others := _typed(command, ("--summit", "--jitter", "--negatives"))):
        raise UsageError(f"{others[0]} goes with peaks (--regions): give them, or leave it out")
    if (
        signal.folds is None
        and signal.tfrecords is None
        and (others := _typed(command, ("--test-fold", "--validation-fold")))
    ):
        raise UsageError(f"{others[0]} goes with --folds: give it, or leave this out")
    if signal.unmappable is None and (others := _typed(command, ("--max-unmappable", "--umap-clip"))):
        raise UsageError(f"{others[0]} goes with --unmappable: give it, or leave this out")


def make_signal(
    console: Console,
    signal: SignalOptions,
    reference: str | None,
    output: Path,
    *,
    contig_aliases: str | None,
    command: str,
    **settings: Any,
) -> int:
    """Make a dataset of tracks; the exit code."""
    from basecast.data.create_signal import create_signal_data
    from basecast.data.from_tfrecords import create_from_tfrecords
    from basecast.data.signal_settings import SignalSettings

    own = {name: getattr(signal, name) for name in SignalSettings.model_fields if hasattr(signal, name)}
    made_with = SignalSettings(**own, **settings)
    if reference is None or signal.targets is None:
        assert signal.tfrecords is not None
        with console.progress("records") as progress:
            made = create_from_tfrecords(
                signal.tfrecords, output, settings=made_with, command=command, progress=progress
            )
        return report(console, made, output)
    with console.progress("bases") as progress:
        made = create_signal_data(
            reference,
            signal.targets,
            output,
            settings=made_with,
            gaps=signal.gaps,
            blacklist=signal.blacklist,
            unmappable=signal.unmappable,
            regions=signal.regions,
            contig_aliases=contig_aliases,
            threads=signal.threads or _cpus(),
            command=command,
            progress=progress,
        )
    return report(console, made, output)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(console: Console, made: SignalReport, output: Path) -> int:
    """Say what was done; the exit code."""
    for note in made.notes:
        console.say(note, level="warning")
    for why, n in made.left_out.items():
        console.say(f"left out: {n:,} {why}")
    for name, split in made.splits.items():
        said = [counted(split.records, "record"), counted(split.bases, "base"), counted(split.windows, "window")]
        said += [f"{split.peaks:,} on peaks, {split.background:,} of background"] if split.peaks else []
        said += [f"{split.unknown_bases:,} bases without a label"] if split.unknown_bases else []
        console.say(f"{name}: {', '.join(said)}")
    console.say(
        f"{counted(len(made.tracks), 'track')} in bins of {counted(made.resolution, 'base')}, written to {output} in "
        f"{made.seconds:.1f} s",
        **made.model_dump(mode="json"),
    )
    return 0
