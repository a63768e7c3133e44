"""A genome and tracks over it in, bins of signal in three splits out."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from basecast import __version__
from basecast.data.folder import Progress, digests, require_free, written
from basecast.data.peak_windows import Peaks, background, centred
from basecast.data.signal_bins import Column, columns_of, contig_names
from basecast.data.signal_regions import (
    Cover,
    Piece,
    by_contig,
    drawn,
    folded,
    kept_apart,
    mappable,
    pieces_of,
    split_table,
    stretches_of,
)
from basecast.data.signal_report import SignalReport, SignalSplitReport, Tally, notes_on
from basecast.data.signal_settings import SignalSettings
from basecast.data.signal_targets import SIGNAL, read_targets, signal_output, write_resolved
from basecast.data.splits import TEST, TRAIN, VALIDATION
from basecast.data.store import SPLITS, Header, Record
from basecast.data.writer import Writer
from basecast.errors import InputError, UsageError
from basecast.genome.intervals import read_regions
from basecast.genome.reference import Genome

Stretches = Mapping[str, list[tuple[int, int]]]


class Example(NamedTuple):
    """A record to be: where it lies, and the peak it is centred on, if any."""

    piece: Piece
    peak: str = ""


def create_signal_data(
    reference: str | os.PathLike[str],
    targets: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    settings: SignalSettings | None = None,
    gaps: str | os.PathLike[str] | None = None,
    blacklist: str | os.PathLike[str] | None = None,
    unmappable: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | None = None,
    contig_aliases: str | os.PathLike[str] | None = None,
    threads: int = 1,
    command: str = "",
    progress: Progress | None = None,
) -> SignalReport:
    """Write ``train.h5``, ``validation.h5``, ``test.h5``, ``splits.tsv``, ``targets.resolved.tsv``, ``report.json``.

    Args:
        reference: FASTA or 2bit.
        targets: a table for `read_targets`.
        output: the folder; it is made.
        gaps: BED of stretches that are no sequence; long runs of N are gaps without it.
        blacklist: BED of stretches without a label.
        unmappable: BED of stretches to which reads cannot be told to belong.
        regions: BED or narrowPeak of peaks, each the centre of a record; without, records are long stretches.
        contig_aliases: a table of contig names that mean the same.
        threads: processes that read.
        progress: called with bases written, and of how many.

    Raises:
        InputError: the files do not belong together, or have nothing to learn from.
        UsageError: settings that do not go together, or a folder that holds a dataset already.
    """
    began = time.monotonic()
    settings = settings or SignalSettings()
    settings.check()
    folder, left_out = Path(output), Counter[str]()
    require_free(folder, overwrite=settings.overwrite)
    rows = read_targets(targets, assay=settings.assay, scaled_last=settings.scaled_last)
    genome = Genome(reference, aliases=contig_aliases)
    closed, black, unmapped = (
        {} if path is None else by_contig(read_regions(Path(path), genome)) for path in (gaps, blacklist, unmappable)
    )
    pieces = _pieces(genome, settings, closed, unmapped, left_out)
    names = [contig_names(row, genome, list(dict.fromkeys(piece.contig for piece in pieces))) for row in rows]
    examples = [Example(piece) for piece in pieces]
    notes: tuple[str, ...] = ()
    if regions is not None:
        peaks = Peaks.read(regions, genome, summit=settings.summit)
        examples, notes = _around_peaks(peaks, pieces, genome, settings, left_out)
    present = [i for i in range(len(SPLITS)) if any(example.piece.split == i for example in examples)]
    if TRAIN not in present:
        raise InputError(
            "nothing is left to train on: give smaller --validation-share and --test-share, fewer contigs to test on, "
            "a smaller --piece or a shorter --flank"
        )
    header = Header(
        basecast=__version__,
        command=command,
        species=settings.species,
        genome_build=settings.genome_build,
        mask="none",
        flank=settings.flank,
        outputs=(signal_output(rows, settings.resolution, settings.assay),),
        dense=(SIGNAL,),
        sources=digests(
            reference, targets, gaps, blacklist, unmappable, regions, contig_aliases, *(row.path for row in rows)
        ),
        settings=settings.model_dump(mode="json", exclude={"overwrite"}) | {"stride": settings.window},
    )
    tables = ("splits.tsv", "targets.resolved.tsv", "report.json")
    with written(folder, [*(f"{SPLITS[i]}.h5" for i in present), *tables]) as paths:
        tally = Tally(rows, settings.resolution)
        _write(
            {i: paths[f"{SPLITS[i]}.h5"] for i in present},
            header,
            examples,
            columns_of(rows, names, [e.piece.interval for e in examples], settings.resolution, threads),
            tally,
            genome,
            black,
            unmapped if settings.umap_clip is not None else {},
            progress,
        )
        split_table(pieces).write_csv(paths["splits.tsv"], separator="\t")
        write_resolved(rows, paths["targets.resolved.tsv"])
        tracks = tally.reports()
        report = SignalReport(
            genome=genome.path.name,
            targets=Path(targets).name,
            resolution=settings.resolution,
            window=settings.window,
            flank=settings.flank,
            seed=settings.seed,
            tracks=tracks,
            left_out=dict(+left_out),
            splits=_split_reports(examples, black, settings.window, with_peaks=regions is not None),
            notes=(*notes, *notes_on(rows, tracks, present)),
            seconds=time.monotonic() - began,
        )
        paths["report.json"].write_text(report.model_dump_json(indent=2) + "\n")
    return report


def _pieces(
    genome: Genome, settings: SignalSettings, gaps: Stretches, unmapped: Stretches, left_out: Counter[str]
) -> list[Piece]:
    """What is learnt from, each piece with its split."""
    used = _resolved(genome, settings.contigs) or list(genome.lengths)
    named: dict[str, int] = {}
    for split, contigs in ((TEST, settings.test_contigs), (VALIDATION, settings.validation_contigs)):
        for contig in _resolved(genome, contigs):
            if named.setdefault(contig, split) != split:
                raise UsageError(f"contig {contig!r} cannot be test and validation: name it once")
            if contig not in used:
                raise UsageError(f"contig {contig!r} is to be {SPLITS[split]}, but --contigs does not name it")
    size = {"window": settings.window, "resolution": settings.resolution}
    cut = pieces_of(stretches_of(genome, used, gaps, **size, left_out=left_out), settings.piece, settings.window)
    if settings.folds:
        folds = folded(cut, settings.folds, settings.seed)
        of = np.where(folds == settings.test_fold, TEST, np.where(folds == settings.validation_fold, VALIDATION, TRAIN))
    else:
        shares = (1 - settings.validation_share - settings.test_share, settings.validation_share, settings.test_share)
        folds, of = np.full(len(cut), -1), drawn(cut, named, shares, settings.seed)
    pieces = [
        Piece(*interval, split, fold) for interval, split, fold in zip(cut, of.tolist(), folds.tolist(), strict=True)
    ]
    pieces = kept_apart(pieces, settings.flank, **size, left_out=left_out)
    if unmapped:
        pieces = mappable(pieces, unmapped, settings.max_unmappable, window=settings.window, left_out=left_out)
    return pieces


def _resolved(genome: Genome, contigs: Sequence[str]) -> list[str]:
    found = []
    for contig in contigs:
        name = genome.resolve(contig)
        if name is None:
            raise InputError(genome.contigs.describe_unknown(contig))
        found.append(name)
    return found


def _around_peaks(
    peaks: Peaks, pieces: Sequence[Piece], genome: Genome, settings: SignalSettings, left_out: Counter[str]
) -> tuple[list[Example], tuple[str, ...]]:
    """Records centred on peaks, and on background like them."""
    size = {"window": settings.window, "resolution": settings.resolution}
    found = centred(peaks, pieces, **size, jitter=settings.jitter, seed=settings.seed, left_out=left_out)
    if not found:
        raise InputError(f"no peak of {peaks.path} lies in a stretch that is learnt from: is it of this genome?")
    examples = [Example(piece, name) for piece, name in found]
    if not settings.negatives:
        return examples, ()
    chosen, note = background(
        peaks, found, pieces, genome, window=settings.window, share=settings.negatives, seed=settings.seed
    )
    return examples + [Example(piece) for piece in chosen], note


def _write(
    paths: Mapping[int, Path],
    header: Header,
    examples: Sequence[Example],
    columns: Generator[list[Column]],
    tally: Tally,
    genome: Genome,
    blacklist: Stretches,
    unmapped: Stretches,
    progress: Progress | None,
) -> None:
    """Write the records of each split to its path; ``columns`` has those of each example in turn."""
    done, total = 0, sum(example.piece.end - example.piece.start for example in examples)
    clip, resolution = header.settings["umap_clip"], header.outputs[0].resolution
    with contextlib.ExitStack() as writers, contextlib.closing(columns):
        writer_of = {
            i: writers.enter_context(Writer(path, header.model_copy(update={"split": SPLITS[i]})))
            for i, path in paths.items()
        }
        for (piece, peak), found in zip(examples, columns, strict=True):
            tally.add(piece.interval, found)
            values = np.stack([column.values for column in found], axis=1)
            if stretches := unmapped.get(piece.contig):
                _cut_unmappable(values, Cover(stretches), piece, resolution, clip)
            fold = "" if piece.fold < 0 else f"fold{piece.fold}"
            record = Record(piece.contig, piece.start, piece.end, "+", fold, piece.contig, piece.start, peak)
            tokens = genome.tokens(piece.contig, piece.start - header.flank, piece.end + header.flank)
            writer_of[piece.split].add(record, tokens, {SIGNAL: values}, {SIGNAL: _unlabelled(piece, blacklist)})
            done += piece.end - piece.start
            if progress:
                progress(done, total)


def _unlabelled(piece: Piece, blacklist: Stretches) -> NDArray[np.int64]:
    """Stretches of the blacklist in a piece, from its start."""
    within = [
        (max(start, piece.start) - piece.start, min(end, piece.end) - piece.start)
        for start, end in blacklist.get(piece.contig, ())
        if start < piece.end and end > piece.start
    ]
    return np.array(within, dtype=np.int64).reshape(-1, 2)


def _cut_unmappable(
    values: Float32[np.ndarray, "bins tracks"], unmapped: Cover, piece: Piece, resolution: int, quantile: float
) -> None:
    """Cut bins of which half or more is unmappable at a quantile of their track in this record."""
    starts = np.arange(piece.start, piece.end, resolution)
    chosen = 2 * unmapped.bases(starts, starts + resolution) >= resolution
    values[chosen] = np.minimum(values[chosen], np.quantile(values, quantile, axis=0).astype(np.float32))


def _split_reports(
    examples: Sequence[Example], blacklist: Stretches, window: int, *, with_peaks: bool
) -> dict[str, SignalSplitReport]:
    reports = {}
    for i, name in enumerate(SPLITS):
        own = [example for example in examples if example.piece.split == i]
        lengths = [piece.end - piece.start for piece, _ in own]
        unknown = [_unlabelled(piece, blacklist) for piece, _ in own]
        peaks = sum(bool(peak) for _, peak in own)
        if own:
            reports[name] = SignalSplitReport(
                records=len(own),
                bases=sum(lengths),
                windows=sum(-(-length // window) for length in lengths),
                unknown_bases=int(sum(np.diff(stretches, axis=1).sum() for stretches in unknown)),
                peaks=peaks,
                background=len(own) - peaks if with_peaks else 0,
            )
    return reports
