"""Every allele of a stretch of a genome, scored: whole, resumable, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from basecast.effects.every import every_allele, unknown_bases
from basecast.effects.header import run_lines, with_command
from basecast.effects.info import InfoFormat
from basecast.effects.output import OutputSettings, ScoreWriter, Summary, check_output, open_writer
from basecast.effects.places import stretches_of
from basecast.effects.scorer import Scorer, VariantSettings
from basecast.effects.scores import Row
from basecast.effects.vep import KEY, VepWriter, check_vep, vep_files, vep_info_line
from basecast.errors import InputError, UsageError, counted
from basecast.files import remove_left_overs
from basecast.genome.annotated import Generated
from basecast.genome.annotation import Annotation
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantRecord
from basecast.inference.jobs import Job, Shard, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

_VALUES = 10_000_000
"""What a shard's REF and ALT values may be in memory."""

_LEAST = 200


class Wanted(Frozen):
    """Which alleles: of what bases, and of what kinds."""

    regions: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    beds: tuple[Path, ...] = ()
    indels: bool = False


@dataclass
class SaturationSummary(Summary):
    """What a run did. ``unknown`` of the ``bases`` are N and have no allele; a record is an allele."""

    bases: int = 0
    unknown: int = 0


def saturate(
    target: str | Path,
    wanted: Wanted,
    *,
    model: Package | str | Path,
    genome: Genome | str | Path,
    annotation: Annotation | str | Path,
    vep: bool = False,
    settings: VariantSettings | None = None,
    output: OutputSettings | None = None,
    run: RunSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SaturationSummary:
    """Score every small allele of some stretches and write them to ``target`` by its suffix.

    Beside it, ``TARGET.stats.json`` has the summary; while the run lasts, ``TARGET.basecast`` (or ``run.work_dir``)
    holds what is done, and the same call goes on from there.

    Args:
        vep: ``target`` is a prefix; two files are written that Ensembl VEP's SpliceAI plugin reads.
        progress: is told alleles done and alleles in all.

    Returns:
        What was done. Where ``run.split`` is set, that is its share of the parts, and ``merge_saturation`` writes the
        output of all: ``Summary.output`` is empty.

    Raises:
        InputError: a file is not what it must be, or there is no allele.
        UsageError: what is named is no place, or settings do not fit the model, the output or the run begun.
    """
    settings, output, run = settings or VariantSettings(), output or OutputSettings(), run or RunSettings()
    began, target = time.monotonic(), str(target)
    genome = genome if isinstance(genome, Genome) else Genome(genome)
    if vep:
        _check_vep(target, genome, settings, output)
    else:
        _check_file(target, (genome, annotation, *wanted.beds))
    scorer = Scorer(model, genome, annotation, settings.on(run))
    assembly = _assembly(scorer, wanted, vep, output, run.device(scorer.engine.device))
    job = Job(
        plan=scorer.plan
        | {"--region, --gene, --bed": _named(assembly.stretches), "indels": assembly.indels}
        | {"verb": assembly.verb, "device": assembly.device, "shards": {"alleles": assembly.size}},
        assembly=assembly.model_dump(mode="json"),
        shards=lambda: _shards(assembly, scorer.genome),
        worker=scorer.payload,
        files={str(scorer.genome.path): scorer.genome.digest},
        threads=settings.threads,
        engine=scorer.engine,
    )
    own = assembly.alleles // (run.split.count if run.split else 1)
    told = (lambda done: progress(done, own)) if progress else None
    with parts_of(job, target, run) as parts:
        n_alleles = carry_out(job, parts, run, told)
        if run.split:
            seconds = round(time.monotonic() - began, 3)
            return SaturationSummary(n_alleles, model=assembly.model, device=assembly.device, seconds=seconds)
        return merge_saturation(parts, target, began, scorer.genome)


def merge_saturation(
    parts: Parts, target: str, began: float | None = None, genome: Genome | None = None
) -> SaturationSummary:
    """Write the output of parts that are all there; then they are removed. ``genome`` is theirs, if it is open.

    Raises:
        InputError: parts are missing or damaged, or the genome is not there as it was.
    """
    began = began or time.monotonic()
    assembly = _Assembly.model_validate(parts.assembly)
    parts.require(assembly.n_shards)
    genome = genome or Genome(assembly.reference)
    if genome.digest != assembly.reference_sha256:
        raise InputError(f"{assembly.reference} is not what it was when it was scored: put it back, then merge")
    summary = _write(parts, target, assembly, genome)
    summary.seconds = round(time.monotonic() - began, 3)
    summary.write(target)
    parts.remove()
    return summary


class _Assembly(Frozen):
    """What it takes, besides the rows, to write the output."""

    verb: Literal["saturate"] = "saturate"
    command: str
    reference: str
    reference_sha256: str
    model: str
    device: str
    stretches: tuple[Interval, ...]
    indels: bool
    vep: bool
    info: InfoFormat
    header: list[str]
    size: int
    """Alleles of a shard."""
    n_shards: int
    alleles: int
    unknown: int
    warnings: list[str]


def _assembly(scorer: Scorer, wanted: Wanted, vep: bool, output: OutputSettings, device: str) -> _Assembly:
    genome, annotation = scorer.genome, scorer.annotation
    stretches = stretches_of(genome, annotation, regions=wanted.regions, genes=wanted.genes, beds=wanted.beds)
    n_alleles = sum(1 for _ in every_allele(genome, stretches, wanted.indels))
    if not n_alleles:
        raise InputError(f"every base that is named is N in {genome.path}: there is no allele to score")
    size = _size(scorer, every_allele(genome, stretches, wanted.indels), device)
    model, rules, masks = scorer.package.spec.name, scorer.settings.rules, scorer.settings.masks
    info, theirs = output.info(scorer.settings), scorer.is_published
    about = [vep_info_line(model, rules, masks[0], theirs)] if vep else info.header(model, theirs)
    key = KEY if vep else next(iter(info.keys.values()))
    return _Assembly(
        command=output.command,
        reference=str(genome.path),
        reference_sha256=genome.digest,
        model=model,
        device=device,
        stretches=tuple(stretches),
        indels=wanted.indels,
        vep=vep,
        info=info,
        header=[*about, *run_lines(scorer, key, device)],
        size=size,
        n_shards=-(-n_alleles // size),
        alleles=n_alleles,
        unknown=unknown_bases(genome, stretches),
        warnings=annotation.warnings,
    )


def _size(scorer: Scorer, alleles: Iterator[VariantRecord], device: str) -> int:
    """Alleles of a shard: as many as ``variant`` would put in the first, for their neighbours are like them."""
    _, first = next(scorer.cut(device).shards(alleles))
    return min(len(first), max(_VALUES // (6 * (2 * scorer.settings.distance + 1)), _LEAST))


def _shards(assembly: _Assembly, genome: Genome) -> Iterator[Shard]:
    alleles = every_allele(genome, assembly.stretches, assembly.indels)
    for number in range(assembly.n_shards):
        yield number, list(islice(alleles, assembly.size))


def _named(stretches: Sequence[Interval]) -> str:
    """Stretches as a plan has them."""
    digest = hashlib.sha256(json.dumps(stretches).encode()).hexdigest()
    named = f"{len(stretches):,} stretch{'' if len(stretches) == 1 else 'es'}"
    bases = counted(sum(end - start for _, start, end in stretches), "base")
    return f"{named}, {bases}, sha256 {digest}"


def _write(parts: Parts, target: str, assembly: _Assembly, genome: Genome) -> SaturationSummary:
    """The output, and what is in it."""
    summary = SaturationSummary(
        model=assembly.model,
        device=assembly.device,
        output=list(vep_files(target)) if assembly.vep else target,
        warnings=list(assembly.warnings),
        bases=sum(end - start for _, start, end in assembly.stretches),
        unknown=assembly.unknown,
    )
    with _writer(target, assembly, genome) as writer:
        for number, records in _shards(assembly, genome):
            for record, found in zip(records, json.loads(parts.load(number)), strict=True):
                rows = [Row.from_json(values) for values in found]
                writer.write(record, rows)
                _count(summary, rows)
    if assembly.unknown:
        said = f"{counted(assembly.unknown, 'base')} of {summary.bases:,} are N in {assembly.reference}"
        summary.warnings.append(f"{said}: no allele is made there")
    if assembly.vep and summary.statuses:
        summary.warnings.append("alleles without a score are in neither file: the plugin has no place for a reason")
    if assembly.vep and not assembly.indels:
        summary.warnings.append(f"{vep_files(target)[1]} has no record without --indels; the plugin wants both files")
    return summary


def _writer(target: str, assembly: _Assembly, genome: Genome) -> ScoreWriter:
    origin = Generated(genome.lengths)
    header = [*origin.contig_lines, *with_command(assembly.header, assembly.command)]
    for path in vep_files(target) if assembly.vep else (target,):
        remove_left_overs(path)
    if assembly.vep:
        return VepWriter(target, origin, header, assembly.info.decimals)
    return open_writer(target, origin, assembly.info, header, overwrite=False)


def _count(summary: SaturationSummary, rows: Sequence[Row]) -> None:
    """One allele."""
    summary.records += 1
    summary.alleles += 1
    if any(row.delta is not None for row in rows):
        summary.scored += 1
    else:
        summary.statuses[rows[0].status] = summary.statuses.get(rows[0].status, 0) + 1


def _check_file(target: str, inputs: Sequence[Genome | Annotation | str | Path]) -> None:
    """Stop before any work where there could be no such file."""
    check_output(target, None, inputs)
    if target == "-":
        raise UsageError("standard output cannot be gone on with: give a file with -O")


def _check_vep(target: str, genome: Genome, settings: VariantSettings, output: OutputSettings) -> None:
    """Stop before any work where there could be no such files, or not of what is asked for."""
    check_vep(target, genome)
    if settings.mask == "both" or output.probabilities:
        option = "-M both" if settings.mask == "both" else "--probabilities"
        raise UsageError(f"the vep format has one score of an allele and gene and nothing else: leave {option} away")
