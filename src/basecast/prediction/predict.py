"""A genome in, its splice sites or signal tracks out, as files that other tools read: whole, resumable, in shards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from basecast.errors import InputError
from basecast.files import whole_file
from basecast.genome.annotation import Annotation
from basecast.genome.intervals import read_regions
from basecast.genome.reference import Genome
from basecast.inference.jobs import WORK, Shard, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.inference.tiling import preferred_tile
from basecast.prediction.output import FLOORS, FORMATS, Format, Sites, write
from basecast.prediction.predictor import Predictor, PredictSettings
from basecast.prediction.signal import SignalPredictor, SignalSettings
from basecast.prediction.signal_output import SIGNAL_FORMATS, Described, SignalFormat, Signals
from basecast.prediction.signal_places import Places
from basecast.prediction.stretches import shards, stretches
from basecast.prediction.task import Assembly, Predicts, Summary, Task, check_prefix
from basecast.spec import LocalReach
from basecast.spec.model import Frozen
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package

_LONGEST = 4_000_000
"""Bases of a shard, however quick the model is: all of its values are in memory."""
_MOST_VALUES = 8_000_000
"""Numbers of a shard, for the same reason."""

Progress = Callable[[int, int], None]


class SiteSettings(Frozen):
    """How sites are written."""

    threshold: float = Field(0.1, ge=0, le=1, description="sites of at least this probability get a row")
    formats: tuple[Format, ...] = Field(("bed", "bigwig"), min_length=1)
    command: str = ""


class TrackSettings(Frozen):
    """How signal tracks are written."""

    formats: tuple[SignalFormat, ...] = Field(("bigwig",), min_length=1)
    command: str = ""


@dataclass
class SiteSummary(Summary):
    """What a run did. ``sites`` counts rows by kind."""

    sites: dict[str, int] = field(default_factory=dict)
    context: str = ""


@dataclass
class SignalSummary(Summary):
    """What a run did: ``bins`` of so many bases, each with a value of every track."""

    bins: int = 0
    resolution: int = 0
    output: str = ""
    tracks: list[str] = field(default_factory=list)
    is_untransformed: bool = False


class _SiteAssembly(Assembly):
    context: str
    threshold: float
    formats: tuple[Format, ...]


class _SignalAssembly(Assembly):
    described: Described
    formats: tuple[SignalFormat, ...]


def predict_sites(
    genome: Genome | str | Path,
    target: str | Path,
    *,
    model: Package | str | Path,
    annotation: Annotation | str | Path | None = None,
    regions: str | Path | None = None,
    settings: PredictSettings | None = None,
    output: SiteSettings | None = None,
    run: RunSettings | None = None,
    progress: Progress | None = None,
) -> SiteSummary:
    """Splice sites of a genome, of the ``regions`` of a BED file, or of the gene bodies of an annotation.

    Files begin with ``target``: ``TARGET.donor.bed.gz``, ``TARGET.acceptor.plus.bw`` ... and ``TARGET.stats.json``.
    While the run lasts, ``TARGET.basecast`` (or ``run.work_dir``) holds what is done, and the same call goes on there.

    Args:
        annotation: its gene bodies are predicted, and sites carry their names.
        progress: is told bases done and bases in all, each strand counted.

    Returns:
        What was done. Where ``run.split`` is set, that is its share of the parts, and `merge_predictions` writes
        the output of all: ``SiteSummary.outputs`` is empty.

    Raises:
        InputError: a file is not what it must be.
        UsageError: settings that do not fit the model or the run begun.
    """
    settings, output, run = settings or PredictSettings(), output or SiteSettings(), run or RunSettings()
    began = time.monotonic()
    check_prefix(str(target))
    floor = min([output.threshold, *(FLOORS[name] for name in output.formats if name in FLOORS)])
    genes = annotation if annotation is None or isinstance(annotation, Annotation) else Annotation.read(annotation)
    package = model if isinstance(model, Package) else load_model(model)
    given = _settled(settings, package, run).model_copy(update={"floor": floor})
    predictor = Predictor(package, genome, genes, given)
    within = read_regions(regions, predictor.genome) if regions is not None else None
    span = _span(predictor, run.device(predictor.engine.device))
    reach = package.spec.reach
    assert isinstance(reach, LocalReach)  # as all that give splice sites

    def planned() -> Iterator[Shard]:
        masked = predictor.context == "gene"
        found = stretches(
            predictor.genome, within, predictor.annotation, masked=masked, strands=given.strand, span=span
        )
        return shards(found, span, reach.left + reach.right)

    task = Task(
        kind="sites",
        predictor=predictor,
        shards=planned,
        span=span,
        regions=regions,
        command=output.command,
        plan={
            "annotation": predictor.annotation.words if predictor.annotation else None,
            "strand": given.strand,
            "context": predictor.context,
            "least probability kept (--threshold, --format)": floor,
        },
        assembly=partial(
            _SiteAssembly,
            context=predictor.context,
            threshold=output.threshold,
            formats=tuple(name for name in FORMATS if name in output.formats),
        ),
        warnings=predictor.annotation.warnings if predictor.annotation else [],
    )
    summary = _made(task, str(target), run, progress, began)
    assert isinstance(summary, SiteSummary)
    return summary


def predict_signal(
    genome: Genome | str | Path,
    target: str | Path,
    *,
    model: Package | str | Path,
    regions: str | Path | None = None,
    settings: SignalSettings | None = None,
    output: TrackSettings | None = None,
    run: RunSettings | None = None,
    progress: Progress | None = None,
) -> SignalSummary:
    """Signal tracks of a genome, or of the ``regions`` of a BED file, bin by bin.

    Files begin with ``target``: ``TARGET.TRACK.bw`` ..., ``TARGET.h5``, ``TARGET.parquet`` and ``TARGET.stats.json``.
    Parts are kept, gone on with and merged as those of `predict_sites`.

    Args:
        progress: is told bases done and bases in all.

    Raises:
        InputError: a file is not what it must be.
        UsageError: settings that do not fit the model, the regions or the run begun.
    """
    settings, output, run = settings or SignalSettings(), output or TrackSettings(), run or RunSettings()
    began = time.monotonic()
    check_prefix(str(target))
    package = model if isinstance(model, Package) else load_model(model)
    genome = genome if isinstance(genome, Genome) else Genome(genome)
    predictor = SignalPredictor(package, genome, _settled(settings, package, run))
    places = Places.of(predictor, regions, rows="h5" in output.formats)
    if "bigwig" in output.formats or "parquet" in output.formats:
        places.check_once()
    most = _MOST_VALUES // len(predictor.tracks) * predictor.output.resolution
    tile = predictor.engine.longest_tile
    seen_once = min(_span(predictor, run.device(predictor.engine.device)), most)
    span = max(seen_once // settings.views.count // tile, 1) * tile
    tracks = tuple(predictor.output.tracks[i] for i in predictor.tracks)
    task = Task(
        kind="signal",
        predictor=predictor,
        shards=lambda: shards(places.cut(span), span, places.context),
        span=span,
        regions=regions,
        command=output.command,
        plan={
            "output (--head)": predictor.output.name,
            "tracks": [track.name for track in tracks],
            "length": places.length,
            "views (--rc, --shifts)": settings.views.model_dump(mode="json"),
            "untransform": settings.untransform,
        },
        assembly=partial(
            _SignalAssembly,
            described=Described(
                output=predictor.output.name,
                resolution=predictor.output.resolution,
                tracks=tracks,
                is_untransformed=settings.untransform,
                rows=places.rows,
            ),
            formats=tuple(name for name in SIGNAL_FORMATS if name in output.formats),
        ),
        warnings=[*predictor.warnings, *places.warnings()],
    )
    summary = _made(task, str(target), run, progress, began)
    assert isinstance(summary, SignalSummary)
    return summary


def merge_predictions(parts: Parts, target: str, began: float | None = None, genome: Genome | None = None) -> Summary:
    """Write the outputs of parts that are all there; then they are removed. ``genome`` is theirs, if it is open.

    Raises:
        InputError: parts are missing or damaged, or the genome is not there as it was.
    """
    began = began or time.monotonic()
    check_prefix(target)
    kind = _KINDS[parts.assembly["kind"]]
    assembly = kind.assembly.model_validate(parts.assembly)
    parts.require(assembly.n_shards)
    genome = genome or Genome(assembly.reference)
    if genome.digest != assembly.reference_sha256:
        raise InputError(f"{assembly.reference} is not what it was when it was predicted: put it back, then merge")
    summary = kind.summary(
        contigs=assembly.contigs,
        bases=assembly.bases,
        model=assembly.model,
        device=assembly.device,
        warnings=assembly.warnings,
        **kind.write(parts, assembly, genome.lengths, target),
    )
    summary.seconds = round(time.monotonic() - began, 3)
    with whole_file(f"{target}.stats.json") as partial_file:
        partial_file.write_text(json.dumps(asdict(summary) | {"command": assembly.command}, indent=1) + "\n")
    parts.remove()
    return summary


def _write_sites(parts: Parts, assembly: Assembly, lengths: Mapping[str, int], target: str) -> dict[str, Any]:
    assert isinstance(assembly, _SiteAssembly)
    sites = Sites(parts, assembly.n_shards, assembly.threshold, lengths)
    return {
        "sites": sites.counts(),
        "context": assembly.context,
        "outputs": [path for name in assembly.formats for path in write(name, target, sites)],
    }


def _write_signal(parts: Parts, assembly: Assembly, lengths: Mapping[str, int], target: str) -> dict[str, Any]:
    assert isinstance(assembly, _SignalAssembly)
    told = assembly.described
    signals = Signals(parts, assembly.n_shards, told, lengths)
    return {
        "bins": assembly.read // told.resolution,
        "resolution": told.resolution,
        "output": told.output,
        "tracks": [track.name for track in told.tracks],
        "is_untransformed": told.is_untransformed,
        "outputs": [path for name in assembly.formats for path in SIGNAL_FORMATS[name](target, signals)],
    }


@dataclass(frozen=True)
class _Kind:
    """What one kind of prediction makes of its parts; ``write`` gives what its summary says beside the common."""

    assembly: type[Assembly]
    summary: type[Summary]
    write: Callable[[Parts, Assembly, Mapping[str, int], str], dict[str, Any]]


_KINDS = {
    "sites": _Kind(_SiteAssembly, SiteSummary, _write_sites),
    "signal": _Kind(_SignalAssembly, SignalSummary, _write_signal),
}


def _made(task: Task, target: str, run: RunSettings, progress: Progress | None, began: float) -> Summary:
    """Carry out a task, or this process's share of it, and write its outputs."""
    job, assembly = task.job(run)
    own = assembly.read // (run.split.count if run.split else 1)
    told = (lambda done: progress(done, own)) if progress else None
    with parts_of(job, target, run) as parts:
        read = carry_out(job, parts, run, told)
        if run.split:
            seconds = round(time.monotonic() - began, 3)
            summary = _KINDS[task.kind].summary
            return summary(bases=read, model=assembly.model, device=assembly.device, seconds=seconds)
        return merge_predictions(parts, target, began, task.predictor.genome)


def _settled(settings: Any, package: Package, run: RunSettings) -> Any:
    """Settings for the machines of a run; workers of a cluster are to agree on the tile."""
    tile = settings.tile or (preferred_tile(package.spec, run.device("cpu")) if run.cluster else None)
    return settings.on(run).model_copy(update={"tile": tile})


def _span(predictor: Predicts, device: str) -> int:
    """Bases of a shard: whole tiles, of about the work that a shard may take."""
    weights = sum(x.numel() for network in predictor.package.networks for x in network.parameters())
    tile = predictor.engine.longest_tile
    return max(min(int(WORK[device] / max(weights, 1)), _LONGEST) // tile, 1) * tile
