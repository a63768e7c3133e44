"""A folder of TFRecords, as basenji or baskerville wrote it, to the same store as any other dataset of tracks."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from basecast import __version__
from basecast.data.contig_groups import text_lines
from basecast.data.folder import Progress, digests, require_free, written
from basecast.data.signal_bins import Column
from basecast.data.signal_regions import Cover, by_contig
from basecast.data.signal_report import SignalReport, SignalSplitReport, Tally, notes_on
from basecast.data.signal_settings import SignalSettings
from basecast.data.signal_targets import SIGNAL, TargetRow, read_targets, signal_output, write_resolved
from basecast.data.splits import TRAIN
from basecast.data.store import SPLITS, Header, Record
from basecast.data.tfrecords import examples, tfrecord_files, tokens_of, values_of
from basecast.data.writer import Writer
from basecast.errors import InputError, UsageError, counted
from basecast.genome.intervals import Interval, merged

_OWN = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
_FOLD = re.compile(r"fold(\d+)$")


class Statistics(BaseModel):
    """``statistics.json``: the shapes of all records; what else it tells is passed over."""

    model_config = ConfigDict(frozen=True)

    num_targets: int = Field(ge=1)
    seq_length: int = Field(ge=1)
    pool_width: int = Field(ge=1)
    crop_bp: int = Field(0, ge=0)
    target_length: int = Field(ge=1)

    @classmethod
    def read(cls, path: Path) -> Statistics:
        """The file of a folder.

        Raises:
            InputError: it is missing, no such file, or its lengths contradict each other.
        """
        try:
            told = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): give the folder that holds it") from error
        except ValidationError as error:
            what = error.errors()[0]
            raise InputError(
                f"{path} is no statistics.json of basenji or baskerville ({'.'.join(map(str, what['loc']))}: "
                f"{what['msg']}): mend it"
            ) from None
        if told.target_length * told.pool_width != told.seq_length - 2 * told.crop_bp:
            raise InputError(
                f"{path}: {told.target_length:,} bins of {told.pool_width} are not {told.seq_length:,} bases without "
                f"{told.crop_bp:,} at each end: mend it"
            )
        return told


class _Part(NamedTuple):
    """The records of one split or fold of the folder."""

    files: list[Path]
    split: int
    fold: str
    places: list[Interval]


def create_from_tfrecords(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    settings: SignalSettings | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> SignalReport:
    """Write ``train.h5``, ``validation.h5``, ``test.h5``, ``targets.resolved.tsv`` and ``report.json`` into a folder.

    A record is what has targets, its flanks are what was cropped. It has its place where ``sequences.bed`` has a line
    for each record; else it is known by its number.

    Args:
        folder: it holds ``statistics.json``, ``targets.txt`` and, itself or in ``tfrecords``, the record files.
        output: the folder; it is made.
        settings: of these the folds, ``scaled_last``, species, build and ``overwrite`` count.
        progress: called with records written, and of how many, where that is known.

    Raises:
        InputError: a file is missing or damaged, or they do not fit each other.
        UsageError: folds that are not there, or a folder that holds a dataset already.
    """
    began = time.monotonic()
    settings = settings or SignalSettings()
    source, target = Path(folder), Path(output)
    require_free(target, overwrite=settings.overwrite)
    told = Statistics.read(source / "statistics.json")
    rows = read_targets(source / "targets.txt", scaled_last=settings.scaled_last, files_exist=False)
    if len(rows) != told.num_targets:
        raise InputError(
            f"{source / 'targets.txt'} has {counted(len(rows), 'track')}, and {source / 'statistics.json'} tells "
            f"{told.num_targets:,}: give the table that the records were made with"
        )
    records = source / "tfrecords" if (source / "tfrecords").is_dir() else source
    parts = _parts(tfrecord_files(records), settings, source, told)
    present = sorted({part.split for part in parts})
    if TRAIN not in present:
        raise InputError(f"{records} has nothing to train on: it needs train-0.tfr, or folds beside those held out")
    window = told.target_length * told.pool_width
    header = Header(
        basecast=__version__,
        command=command,
        species=settings.species,
        genome_build=settings.genome_build,
        mask="none",
        flank=told.crop_bp,
        outputs=(signal_output(rows, told.pool_width),),
        dense=(SIGNAL,),
        sources=digests(source / "statistics.json", source / "targets.txt", *(f for p in parts for f in p.files)),
        settings={"window": window, "stride": window, "scaled_last": settings.scaled_last},
    )
    tally, counts, notes = Tally(rows, told.pool_width), dict.fromkeys(present, 0), _sights(parts, told.crop_bp)
    with written(target, [*(f"{SPLITS[i]}.h5" for i in present), "targets.resolved.tsv", "report.json"]) as paths:
        with contextlib.ExitStack() as writers:
            writer_of = {
                i: writers.enter_context(
                    Writer(paths[f"{SPLITS[i]}.h5"], header.model_copy(update={"split": SPLITS[i]}))
                )
                for i in present
            }
            total = sum(len(part.places) for part in parts)
            for part in parts:
                for record, tokens, values in _records(part, told, rows):
                    writer_of[part.split].add(record, tokens, {SIGNAL: values})
                    stretch = Interval(record.contig, record.start, record.end)
                    tally.add(stretch, [_column(values[:, i], row, told) for i, row in enumerate(rows)])
                    counts[part.split] += 1
                    if progress:
                        progress(sum(counts.values()), total)
        if not counts[TRAIN]:
            raise InputError(f"the record files of {records} are empty: there is nothing to train on")
        write_resolved(rows, paths["targets.resolved.tsv"])
        tracks = tally.reports()
        report = SignalReport(
            genome=source.name,
            targets="targets.txt",
            resolution=told.pool_width,
            window=window,
            flank=told.crop_bp,
            seed=settings.seed,
            tracks=tracks,
            left_out={},
            splits={SPLITS[i]: SignalSplitReport(records=n, bases=n * window, windows=n) for i, n in counts.items()},
            notes=(*notes, *notes_on(rows, tracks, [i for i, n in counts.items() if n])),
            seconds=time.monotonic() - began,
        )
        paths["report.json"].write_text(report.model_dump_json(indent=2) + "\n")
    return report


def _parts(files: Mapping[str, list[Path]], settings: SignalSettings, source: Path, told: Statistics) -> list[_Part]:
    """Which files are of which split, and where their records lie, if that is told."""
    held_out = (settings.test_fold, settings.validation_fold)
    numbers = sorted(int(fold[1]) for name in files if (fold := _FOLD.match(name)))
    if numbers and (len(set(held_out)) < 2 or set(held_out) - set(numbers)):
        raise UsageError(
            f"the folds of {source} are {', '.join(map(str, numbers))}: give two of them with --test-fold and "
            "--validation-fold"
        )
    if not numbers and held_out != (0, 1):
        raise UsageError(f"the splits of {source} are no folds: leave --test-fold and --validation-fold out")
    folds = {settings.test_fold: "test", settings.validation_fold: "validation"}
    places = _places(source / "sequences.bed", told)
    parts = []
    for name, own in files.items():
        fold = _FOLD.match(name)
        split = folds.get(int(fold[1]), "train") if fold else _OWN.get(name)
        if split is None:
            raise InputError(f"{own[0]} is of a split {name!r}: there are train, valid, test and fold0, fold1 ... only")
        parts.append(_Part(own, SPLITS.index(split), name if fold else "", places.get(name, [])))
    return sorted(parts, key=lambda part: part.split)


def _places(path: Path, told: Statistics) -> dict[str, list[Interval]]:
    """For each split of ``sequences.bed`` where its records' targets lie; nothing where there is no such file."""
    found: dict[str, list[Interval]] = {}
    if not path.is_file():
        return found
    window = told.seq_length - 2 * told.crop_bp
    for number, line in enumerate(text_lines(path, "the places of records"), 1):
        cells = line.split("\t")
        if len(cells) < 4 or not (cells[1].isdecimal() and cells[2].isdecimal()):
            raise InputError(f"line {number} of {path} is no CONTIG, START, END, SPLIT: mend it or take the file away")
        start, end = int(cells[1]), int(cells[2])
        if end - start == told.seq_length and told.crop_bp:
            start, end = start + told.crop_bp, end - told.crop_bp
        if end - start != window:
            raise InputError(
                f"line {number} of {path} has {end - start:,} bases, and a record {window:,} with targets: mend it or "
                "take the file away"
            )
        found.setdefault(cells[3].strip(), []).append(Interval(cells[0], start, end))
    return found


def _records(part: _Part, told: Statistics, rows: list[TargetRow]) -> Iterator[tuple[Record, np.ndarray, np.ndarray]]:
    """Each record of a part, with its tokens and values."""
    read = ((path, i, found) for path in part.files for i, found in enumerate(examples(path), 1))
    window, n = told.target_length * told.pool_width, 0
    for n, (path, number, features) in enumerate(read, 1):
        try:
            tokens = tokens_of(features, told.seq_length)
            values = values_of(features, told.target_length, told.num_targets)
        except ValueError as error:
            raise InputError(f"record {number} of {path} is no example of this folder: {error}") from error
        if not np.isfinite(values).all():
            track = rows[int(np.argwhere(~np.isfinite(values))[0, 1])].identifier
            raise InputError(
                f"record {number} of {path} has values of {track} that are not finite, as half precision ends at "
                "65,504: make the records again with a smaller scale, or a dataset from the bigWigs"
            )
        if n <= len(part.places):
            contig, start, end = part.places[n - 1]
        elif part.places:
            raise InputError(
                f"{path.parent} has more records than sequences.bed has lines of their split ({len(part.places):,}): "
                "give the folder as it was written, or take the file away"
            )
        else:
            contig, start, end = f"{path.stem}[{number - 1}]", told.crop_bp, told.crop_bp + window
        yield Record(contig, start, end, "+", part.fold, contig, start), tokens, values
    if n < len(part.places):
        raise InputError(
            f"{part.files[0].parent} has {n:,} records of a split of which sequences.bed has {len(part.places):,} "
            "lines: a file is missing or empty, or the lines are of other data; mend that or take sequences.bed away"
        )


def _column(values: np.ndarray, row: TargetRow, told: Statistics) -> Column:
    total = float(row.transform.invert(values.astype(np.float64)).sum())
    return Column(values, int((values > 0).sum()) * told.pool_width, total, 0, 0)


def _sights(parts: list[_Part], flank: int) -> tuple[str, ...]:
    """A note where records that are held out lie in what a record of train shows."""
    train = by_contig(place for part in parts if part.split == TRAIN for place in part.places)
    covers = {contig: Cover(merged(own)) for contig, own in train.items()}
    seen = 0
    for contig, start, end in (place for part in parts if part.split != TRAIN for place in part.places):
        if contig in covers:
            around = covers[contig].bases(np.array([start - flank]), np.array([end + flank]))
            seen += bool(around[0])
    return (f"{counted(seen, 'record')} held out within sight of one of train",) if seen else ()
