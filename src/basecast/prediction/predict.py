"""A genome in, its splice sites out, as files that other tools read: whole, resumable, shard by shard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from basecast import __version__
from basecast.errors import InputError, UsageError
from basecast.files import sha256_of, whole_file
from basecast.genome.annotation import Annotation
from basecast.genome.intervals import Interval, read_regions
from basecast.genome.reference import Genome
from basecast.inference.jobs import WORK, Job, Shard, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.inference.tiling import preferred_tile
from basecast.prediction.output import FLOORS, FORMATS, Format, Sites, write
from basecast.prediction.predictor import Predictor, PredictSettings
from basecast.prediction.stretches import Stretch, shards, stretches
from basecast.spec import LocalReach
from basecast.spec.model import Frozen
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package

_LONGEST = 4_000_000
"""Bases of a shard, however quick the model is: all of its values are in memory."""


class SiteSettings(Frozen):
    """How sites are written."""

    threshold: float = Field(0.1, ge=0, le=1, description="sites of at least this probability get a row")
    formats: tuple[Format, ...] = Field(("bed", "bigwig"), min_length=1)
    command: str = ""


@dataclass
class SiteSummary:
    """What a run did. ``sites`` counts rows by kind."""

    contigs: int = 0
    bases: int = 0
    sites: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    model: str = ""
    context: str = ""
    device: str = ""
    outputs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


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
    progress: Callable[[int, int], None] | None = None,
) -> SiteSummary:
    """Splice sites of a genome, of the ``regions`` of a BED file, or of the gene bodies of an annotation.

    Files begin with ``target``: ``TARGET.donor.bed.gz``, ``TARGET.acceptor.plus.bw`` ... and ``TARGET.stats.json``.
    While the run lasts, ``TARGET.basecast`` (or ``run.work_dir``) holds what is done, and the same call goes on there.

    Args:
        annotation: its gene bodies are predicted, and sites carry their names.
        progress: is told bases done and bases in all, each strand counted.

    Returns:
        What was done. Where ``run.split`` is set, that is its share of the parts, and ``merge_sites`` writes the
        output of all: ``SiteSummary.outputs`` is empty.

    Raises:
        InputError: a file is not what it must be.
        UsageError: settings that do not fit the model or the run begun.
    """
    settings, output, run = settings or PredictSettings(), output or SiteSettings(), run or RunSettings()
    began, target = time.monotonic(), str(target)
    _check_prefix(target)
    floor = min([output.threshold, *(FLOORS[name] for name in output.formats if name in FLOORS)])
    genes = annotation if annotation is None or isinstance(annotation, Annotation) else Annotation.read(annotation)
    package = model if isinstance(model, Package) else load_model(model)
    tile = settings.tile or (preferred_tile(package.spec, run.device("cpu")) if run.cluster else None)
    given = settings.on(run).model_copy(update={"floor": floor, "tile": tile})
    predictor = Predictor(package, genome, genes, given)
    within = read_regions(regions, predictor.genome) if regions is not None else None
    device = run.device(predictor.engine.device)
    span = _span(predictor, device)

    def planned() -> Iterator[Shard]:
        return shards(_stretches(predictor, within, span), span, _context(predictor))

    plan = {
        "verb": "predict",
        "basecast": __version__,
        "model": predictor.package.digest,
        "reference": predictor.genome.digest,
        "aliases": predictor.genome.aliases_digest,
        "annotation": predictor.annotation.words if predictor.annotation else None,
        "regions": sha256_of(regions) if regions is not None else None,
        **predictor.settings.model_dump(
            mode="json", exclude={"threads", "memory", "context", "device", "floor", "tile", "tuning"}
        ),
        "least probability kept (--threshold, --format)": floor,
        "tile (--tile-size, --memory)": predictor.engine.longest_tile,
        "context": predictor.context,
        "device": device,
        "work of a shard": span,
    }
    assembly = _assembly(predictor, planned(), output, device)
    files = {str(predictor.genome.path): predictor.genome.digest}
    job = Job(
        plan=plan,
        assembly=assembly.model_dump(mode="json"),
        shards=planned,
        worker=predictor.payload,
        files=files,
        threads=settings.threads,
        size=_bases,
        engine=predictor.engine,
    )
    own = assembly.read // (run.split.count if run.split else 1)
    told = (lambda done: progress(done, own)) if progress else None
    with parts_of(job, target, run) as parts:
        read = carry_out(job, parts, run, told)
        if run.split:
            seconds = round(time.monotonic() - began, 3)
            return SiteSummary(bases=read, model=assembly.model, device=device, seconds=seconds)
        return merge_sites(parts, target, began, predictor.genome)


def merge_sites(parts: Parts, target: str, began: float | None = None, genome: Genome | None = None) -> SiteSummary:
    """Write the outputs of parts that are all there; then they are removed. ``genome`` is theirs, if it is open.

    Raises:
        InputError: parts are missing or damaged, or the genome is not there as it was.
    """
    began = began or time.monotonic()
    _check_prefix(target)
    assembly = _Assembly.model_validate(parts.assembly)
    parts.require(assembly.n_shards)
    genome = genome or Genome(assembly.reference)
    if genome.digest != assembly.reference_sha256:
        raise InputError(f"{assembly.reference} is not what it was when it was predicted: put it back, then merge")
    sites = Sites(parts, assembly.n_shards, assembly.threshold, genome.lengths)
    summary = SiteSummary(
        contigs=assembly.contigs,
        bases=assembly.bases,
        sites=sites.counts(),
        model=assembly.model,
        context=assembly.context,
        device=assembly.device,
        outputs=[path for name in assembly.formats for path in write(name, target, sites)],
        warnings=assembly.warnings,
    )
    summary.seconds = round(time.monotonic() - began, 3)
    with whole_file(f"{target}.stats.json") as partial:
        partial.write_text(json.dumps(asdict(summary) | {"command": assembly.command}, indent=1) + "\n")
    parts.remove()
    return summary


class _Assembly(Frozen):
    """What it takes, besides the parts, to write the outputs."""

    verb: Literal["predict"] = "predict"
    command: str
    reference: str
    reference_sha256: str
    model: str
    context: str
    device: str
    threshold: float
    formats: tuple[Format, ...]
    n_shards: int
    contigs: int
    bases: int
    read: int
    """Bases of both strands."""
    warnings: list[str]


def _assembly(predictor: Predictor, planned: Iterator[Shard], output: SiteSettings, device: str) -> _Assembly:
    n_shards = read = bases = contigs = 0
    contig, end = "", 0
    for _, items in planned:
        n_shards += 1
        read += _bases(items)
        for item in items:
            if item.contig != contig:
                contig, end, contigs = item.contig, 0, contigs + 1
            bases += max(item.end - max(item.start, end), 0)
            end = max(end, item.end)
    if not read:
        raise InputError(f"{predictor.genome.path}: no base of it was asked for; do regions and annotation overlap?")
    return _Assembly(
        command=output.command,
        reference=str(predictor.genome.path),
        reference_sha256=predictor.genome.digest,
        model=predictor.package.spec.name,
        context=predictor.context,
        device=device,
        threshold=output.threshold,
        formats=tuple(name for name in FORMATS if name in output.formats),
        n_shards=n_shards,
        contigs=contigs,
        bases=bases,
        read=read,
        warnings=predictor.annotation.warnings if predictor.annotation else [],
    )


def _stretches(predictor: Predictor, within: Sequence[Interval] | None, span: int) -> Iterator[Stretch]:
    masked = predictor.context == "gene"
    return stretches(
        predictor.genome,
        within,
        predictor.annotation,
        masked=masked,
        strands=predictor.settings.strand,
        span=span,
    )


def _span(predictor: Predictor, device: str) -> int:
    """Bases of a shard: whole tiles, of about the work that a shard may take."""
    weights = sum(x.numel() for network in predictor.package.networks for x in network.parameters())
    tile = predictor.engine.longest_tile
    return max(min(int(WORK[device] / max(weights, 1)), _LONGEST) // tile, 1) * tile


def _context(predictor: Predictor) -> int:
    reach = predictor.package.spec.reach
    assert isinstance(reach, LocalReach)  # as all that give splice sites
    return reach.left + reach.right


def _bases(items: Sequence[Any]) -> int:
    return sum(item.end - item.start for item in items)


def _check_prefix(target: str) -> None:
    path = Path(target)
    if target.endswith("/") or path.is_dir() or not path.name:
        raise UsageError(f"the output {target} is a folder: give a prefix in it, such as {path / 'sites'}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder of the output {target} does not exist: make it with 'mkdir -p {path.parent}'")
