"""Alignments to bigWig files: read part by part, put together, written whole."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from basecast import __version__
from basecast.coverage.gc import GCFit
from basecast.coverage.joining import Join, names_told
from basecast.coverage.layout import Layout
from basecast.coverage.processes import Processes, in_processes
from basecast.coverage.reading import Part, read, unpacked
from basecast.coverage.report import figure, report
from basecast.coverage.settings import CoverageSettings
from basecast.coverage.tracks import Sums, fit_gc, track
from basecast.errors import InputError, UsageError
from basecast.figures.canvas import png
from basecast.files import named_errors, remove_left_overs, whole_file
from basecast.genome.alignments import Alignments
from basecast.genome.reference import Genome
from basecast.genome.signal import BigWigWriter
from basecast.inference.shards import Parts, RunSettings
from basecast.interruption import finish_first, is_asked_to_stop

Progress = Callable[[int, int], None]


@dataclass
class CoverageSummary:
    """What was done.

    Attributes:
        reads: that count: with one place, and shared among several.
        depth: sum of what is written, over all bases and tracks.
        outputs: files.
    """

    alignments: int
    reads: int
    shared: int
    depth: float
    outputs: list[str]
    warnings: list[str]
    seconds: float = 0.0


def coverage(
    alignments: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    settings: CoverageSettings | None = None,
    threads: int | None = None,
    run: RunSettings | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> CoverageSummary | None:
    """Coverage of a genome by alignments, as bigWig, with a report and a page of figures beside it.

    The files are ``output``, or for two strands ``.plus`` and ``.minus`` before its suffix; ``.report.json`` and
    ``.png`` in its place. While the run lasts, ``OUTPUT.basecast`` (or ``run.work_dir``) holds what is done, and the
    same call goes on there.

    Args:
        alignments: BAM, CRAM or SAM.
        reference: the genome that the reads were aligned to; taking out the effect of GC takes it.
        threads: processes; all that this one may use, if left out.
        progress: is told bases done and bases in all.

    Returns:
        What was done; None where ``run.split`` is set, for then ``merge_coverage`` writes the output of all shares.

    Raises:
        InputError: a file is not what it must be, or is not of the same genome as another.
        UsageError: settings that lack something, or are not those of the run begun.
    """
    settings, run = settings or CoverageSettings(), run or RunSettings()
    began = time.monotonic()
    source = Alignments(alignments, reference)
    genome = _genome(reference, source, settings)
    if run.split and source.index is None:
        raise UsageError(
            f"--shard reads parts of {source.path}, which takes a sorted BAM with its index: make it with 'samtools "
            f"sort' and 'samtools index'"
        )
    _check_output(Path(output))
    status = source.path.stat()
    plan = {
        "basecast": __version__,
        "alignments": {"bytes": status.st_size, "modified": status.st_mtime_ns},
        "settings": settings.model_dump(mode="json"),
    }
    assembly = {
        "verb": "coverage",
        "alignments": str(source.path),
        "reference": None if genome is None else str(genome.path),
        "command": command,
    }
    parts = Parts(run.folder(output), plan, assembly, restart=run.restart, split=run.split)
    with contextlib.closing(parts), in_processes(threads) as processes:
        _read_parts(parts, 0, source, settings, None, processes, progress)
        if run.split:
            return None
        return _finish(parts, source, genome, Path(output), began, processes)


def merge_coverage(parts: Parts, output: str | Path, threads: int | None = None) -> CoverageSummary:
    """Write the output of parts that are all there; then they are removed.

    Raises:
        InputError: parts are missing or damaged, or a file is not what it was.
    """
    began = time.monotonic()
    _check_output(Path(output))
    settings = CoverageSettings.model_validate(parts.plan["settings"])
    source = Alignments(parts.assembly["alignments"], parts.assembly["reference"])
    status = source.path.stat()
    if parts.plan["alignments"] != {"bytes": status.st_size, "modified": status.st_mtime_ns}:
        raise InputError(f"{source.path} is not what it was when it was read: put it back, then merge")
    genome = _genome(parts.assembly["reference"], source, settings)
    with in_processes(threads) as processes:
        return _finish(parts, source, genome, Path(output), began, processes)


def _read_parts(
    parts: Parts,
    first: int,
    source: Alignments,
    settings: CoverageSettings,
    grouped: NDArray[np.void] | None,
    processes: Processes,
    progress: Progress | None = None,
) -> None:
    """Keep every part of the genome as part ``first`` and on, unless it is there."""
    layout = Layout(source.lengths)
    missing = [n for n in range(len(layout.parts)) if parts.owns(n) and not parts.has(first + n)]
    done = int(layout.bounds[-1])

    def found() -> Iterator[tuple[int, bytes]]:
        if source.index is None:
            yield from read(source, layout, settings, None, grouped, processes.count)
            return
        yield from processes(partial(_read_one, source, settings, n, grouped) for n in missing)

    with finish_first():
        for number, content in found() if missing else ():
            if number in missing:
                parts.save(first + number, content)
            if progress:
                done = layout.end(number)
                progress(done, int(layout.bounds[-1]))
            if is_asked_to_stop():
                break


def _read_one(
    source: Alignments, settings: CoverageSettings, number: int, grouped: NDArray[np.void] | None
) -> tuple[int, bytes]:
    return next(read(source, Layout(source.lengths), settings, [number], grouped))


def _finish(
    parts: Parts, source: Alignments, genome: Genome | None, output: Path, began: float, processes: Processes
) -> CoverageSummary:
    settings = CoverageSettings.model_validate(parts.plan["settings"])
    layout = Layout(source.lengths)
    count = len(layout.parts)
    parts.require(count)
    load = partial(_load, parts, layout, 0)
    if (names := names_told(load, count)) is not None:
        _read_parts(parts, count, source, settings, names, processes)
        load = partial(_load, parts, layout, count)
    join = Join(load, layout, settings)
    model = None
    if settings.gc and genome is not None:
        fits = processes(
            partial(fit_gc, join.lane(number, lane), number, layout, settings, genome)
            for lane in join.lanes
            for number in range(count)
        )
        model = _merged(fits, settings).model()
    paths = _paths(output, len(join.lanes))
    for path in paths:
        remove_left_overs(path)
    with _scratch(parts.folder / "tracks") as scratch:

        def calls() -> Iterator[Callable[[], Sums]]:
            for lane in join.lanes:
                for number in range(count):
                    yield partial(
                        _save_track,
                        scratch / f"{lane}-{number}.npy",
                        partial(track, join.lane(number, lane), number, layout, settings, genome, model),
                    )

        sums = Sums(*np.sum(list(processes(calls())), axis=0).tolist())
        scale = 1.0
        if model is not None and sums.corrected:
            scale, model = sums.clipped / sums.corrected, model.conserving(sums.clipped, sums.corrected)
        for lane, path in enumerate(paths):
            with BigWigWriter(path, source.lengths) as writer:
                for number in range(count):
                    spans = np.load(scratch / f"{lane}-{number}.npy")
                    for mine in np.split(spans, np.flatnonzero(np.diff(spans["contig"])) + 1):
                        if len(mine):
                            values = (mine["value"] * scale).astype(np.float32)
                            writer.write_spans(layout.names[mine["contig"][0]], mine["start"], mine["end"], values)
    told = report(join, source, model, sums)
    told |= {
        "outputs": [str(path) for path in paths],
        "command": parts.assembly["command"],
        "seconds": round(time.monotonic() - began, 3),
    }
    beside = {
        output.with_suffix(".report.json"): (json.dumps(told, indent=1) + "\n").encode(),
        output.with_suffix(".png"): png(figure(join, source, model)),
    }
    for path, content in beside.items():
        with named_errors(path), whole_file(path) as unfinished:
            unfinished.write_bytes(content)
    parts.remove()
    return CoverageSummary(
        alignments=told["alignments"]["all"],
        reads=told["reads"]["counted"],
        shared=told["reads"]["shared among places"],
        depth=sums.clipped,
        outputs=[*told["outputs"], *map(str, beside)],
        warnings=told["warnings"],
        seconds=told["seconds"],
    )


def _load(parts: Parts, layout: Layout, first: int, number: int) -> Part:
    return unpacked(parts.load(first + number), layout.start(number))


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for the block, without what a killed run has left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _save_track(path: Path, made: Callable[[], tuple[NDArray[np.void], Sums]]) -> Sums:
    spans, sums = made()
    np.save(path, spans)
    return sums


def _merged(fits: Iterable[GCFit], settings: CoverageSettings) -> GCFit:
    every = GCFit(settings.gc_sigma)
    for fit in fits:
        every.merge(fit)
    return every


def _paths(output: Path, n_lanes: int) -> list[Path]:
    if n_lanes == 1:
        return [output]
    return [output.with_name(f"{output.stem}.{strand}{output.suffix}") for strand in ("plus", "minus")]


def _check_output(output: Path) -> None:
    if output.suffix.lower() not in (".bw", ".bigwig"):
        raise UsageError(f"the output {output} is to be a bigWig: give a name that ends in .bw")
    if not output.parent.is_dir():
        raise UsageError(f"the folder of {output} does not exist: make it with 'mkdir -p {output.parent}'")


def _genome(reference: str | Path | None, source: Alignments, settings: CoverageSettings) -> Genome | None:
    """The genome, held against the contigs of the alignments."""
    if reference is None:
        if settings.gc:
            raise UsageError("taking out the effect of GC takes the genome: give it with -R, or say --no-gc")
        return None
    genome = Genome(reference)
    known = [(name, length, own) for name, length in source.lengths.items() if (own := genome.resolve(name))]
    if not known:
        raise InputError(
            f"no contig of {source.path}, such as {next(iter(source.lengths))!r}, is in {genome.path}, whose first is "
            f"{next(iter(genome.lengths))!r}: give the genome that the reads were aligned to"
        )
    for name, length, own in known:
        if genome.lengths[own] != length:
            raise InputError(
                f"contig {name!r} has {length:,} bases in {source.path} and {genome.lengths[own]:,} in {genome.path}: "
                "give the genome that the reads were aligned to"
            )
    return genome
