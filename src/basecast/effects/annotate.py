"""A variant file in, scores out: whole, resumable, and with a reason where there is none.

What is scored and written is the model's kind to say (``kinds``); here is what is alike for all.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from basecast.effects.build import on_this_build
from basecast.effects.cut import Cut
from basecast.effects.kinds import Layout, Output, Settings, kind_of
from basecast.effects.output import Summary
from basecast.effects.precomputed import PrecomputedSettings
from basecast.effects.rules import REF_MISMATCH
from basecast.effects.scores import entries
from basecast.errors import InputError, UsageError, counted
from basecast.files import remove_left_overs, sha256_of
from basecast.genome.annotation import Annotation
from basecast.genome.contigs import ContigNames
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.inference.jobs import Job, Shard, carry_out, parts_of
from basecast.inference.shards import Parts, RunSettings
from basecast.spec.model import Frozen
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package


def annotate_variants(
    source: str | Path,
    target: str | Path,
    *,
    model: Package | str | Path,
    genome: Genome | str | Path,
    annotation: Annotation | str | Path | None = None,
    settings: Settings | None = None,
    output: Output | None = None,
    run: RunSettings | None = None,
    precomputed: PrecomputedSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Score ``source`` (VCF, BCF, TSV; ``-`` = standard input) and write the scores to ``target`` by its suffix.

    Beside a file target, ``TARGET.stats.json`` has the summary; while the run lasts, ``TARGET.basecast`` (or
    ``run.work_dir``) holds what is done, and the same call goes on from there. What comes or goes through a pipe is
    scored as it passes and cannot go on.

    Args:
        annotation: the genes, which sites need, and signals where their settings ask for genes.
        settings, output: of the model's kind (``kind_of``); by default its own.

    Returns:
        What was done. Where ``run.split`` is set, that is its share of the parts, and ``merge_variants`` writes the
        output of all: ``Summary.output`` is empty.

    Raises:
        InputError: a file or record is not what it must be; a key is in the input already; the build seems another; a
            file of precomputed scores is of another model, genome, annotation or setting.
        UsageError: settings that do not fit the model or the run begun.
    """
    began = time.monotonic()
    package = model if isinstance(model, Package) else load_model(model)
    kind = kind_of(package.spec)
    settings, output, run = settings or kind.settings(), output or kind.output(), run or RunSettings()
    kind.check(package.spec.name, settings, output)
    source, target = str(source), str(target)
    others = (genome, *([] if annotation is None else [annotation]), *(precomputed.files if precomputed else ()))
    output.check(target, None if source == "-" else source, others)
    through_pipe = "-" in (source, target) or (Path(source).exists() and not Path(source).is_file())
    if through_pipe and run != RunSettings():
        raise UsageError(
            "what is read or written through a pipe is scored as it passes, by one process: give files with -I and -O"
        )
    with VariantReader(source) as reader:
        scorer = kind.scorer(package, genome, annotation, settings.on(run))
        device = run.device(scorer.engine.device)
        work = kind.worker(scorer, output, precomputed)
        layout = kind.layout(scorer, output, target, device, precomputed)
        assembly = _Assembly(
            command=output.command,
            source=str(Path(source).absolute()) if Path(source).is_file() else source,
            source_sha256=sha256_of(source) if Path(source).is_file() else "",
            reference=str(scorer.genome.path),
            contigs=list(scorer.genome.lengths)[:4],
            model=package.spec.name,
            device=device,
            cut=scorer.cut(device, through_pipe=through_pipe),
            layout=layout,
            warnings=scorer.warnings,
        )
        layout.check(reader, target)
        checked = on_this_build(reader, scorer.genome, output.force)
        if through_pipe:
            passing = layout.checked(checked, reader)
            done = _in_file_order(assembly, passing, lambda _, shard: work(shard))
            return _write(reader, done, target, assembly, began, progress)

    def shards() -> Iterator[Shard]:
        with VariantReader(source) as reader:
            yield from assembly.cut.shards(layout.checked(iter(reader), reader))

    job = Job(
        plan=scorer.plan
        | {"verb": assembly.verb, "input": assembly.source_sha256, "device": assembly.device}
        | {"shards": assembly.cut.model_dump(), "--precomputed": precomputed.words if precomputed else None},
        assembly=assembly.model_dump(mode="json"),
        shards=shards,
        worker=work,
        files={str(scorer.genome.path): scorer.genome.digest} | (precomputed.digests() if precomputed else {}),
        threads=settings.threads,
        engine=scorer.engine,
    )
    with parts_of(job, target, run) as parts:
        n_records = carry_out(job, parts, run, progress)
        if run.split:
            seconds = round(time.monotonic() - began, 3)
            return Summary(n_records, model=assembly.model, device=assembly.device, seconds=seconds)
        return merge_variants(parts, target, began)


def merge_variants(parts: Parts, target: str, began: float | None = None) -> Summary:
    """Write the output of parts that are all there; then they are removed.

    Raises:
        InputError: parts are missing or damaged, or the input is not there as it was.
    """
    began = began or time.monotonic()
    assembly = _Assembly.model_validate(parts.assembly)
    if not Path(assembly.source).is_file() or sha256_of(assembly.source) != assembly.source_sha256:
        raise InputError(f"{assembly.source} is not there as it was when it was scored: put it back, then merge")
    remove_left_overs(target)
    with VariantReader(assembly.source) as reader:
        parts.require(sum(1 for _ in assembly.cut.shards(iter(reader))))
    with VariantReader(assembly.source) as reader:
        done = _in_file_order(assembly, iter(reader), lambda number, _: parts.load(number))
        summary = _write(reader, done, target, assembly, began, None)
    parts.remove()
    return summary


class _Assembly(Frozen):
    """What it takes, besides the rows, to write the output."""

    verb: Literal["variant"] = "variant"
    command: str
    source: str
    source_sha256: str
    reference: str
    contigs: list[str]
    """The first that the reference has."""
    model: str
    device: str
    cut: Cut
    layout: Layout = Field(discriminator="kind")
    warnings: list[str]


def _in_file_order(
    assembly: _Assembly, records: Iterator[VariantRecord], payload: Callable[[int, list[VariantRecord]], bytes]
) -> Iterator[Iterator[tuple[VariantRecord, list[Any]]]]:
    """The records with their rows, in stretches; ``payload`` gives those of a shard by its number and records."""
    number = 0
    for span in assembly.cut.spans(records):
        found: list[tuple[VariantRecord, str]] = []
        for shard in span:
            found += zip(shard, entries(payload(number, shard)), strict=True)
            number += 1
        found.sort(key=lambda pair: pair[0].number)
        yield ((record, [assembly.layout.row(values) for values in json.loads(text)]) for record, text in found)


def _write(
    reader: VariantReader,
    done: Iterable[Iterable[tuple[VariantRecord, list[Any]]]],
    target: str,
    assembly: _Assembly,
    began: float,
    progress: Callable[[int], None] | None,
) -> Summary:
    """The output, and beside a file its summary."""
    summary = Summary(model=assembly.model, device=assembly.device, output=target, warnings=list(assembly.warnings))
    summary.precomputed = 0 if assembly.layout.takes_precomputed else None
    unknown: Counter[str] = Counter()
    writer = assembly.layout.open(target, reader, assembly.command)
    with writer:
        for stretch in done:
            for record, rows in stretch:
                writer.write(record, rows)
                _count(summary, record, rows)
                if rows[0].status == "unknown_contig":
                    unknown[record.contig] += 1
            if progress:
                progress(summary.records)
    if unknown:
        names = ContigNames(assembly.contigs, source=assembly.reference)
        said = names.describe_unknown(next(iter(unknown)), reader.name)
        summary.warnings.append(
            f"{counted(unknown.total(), 'record')} on {counted(len(unknown), 'unknown contig')}: {said}"
        )
    if writer.not_sorted:
        summary.warnings.append(writer.not_sorted)
    summary.seconds = round(time.monotonic() - began, 3)
    if target != "-":
        summary.write(target)
    return summary


def _count(summary: Summary, record: VariantRecord, rows: list[Any]) -> None:
    n_alleles = max(len(record.alts), 1)
    summary.records += 1
    summary.alleles += n_alleles
    summary.scored += len({row.allele for row in rows if row.is_scored})
    if summary.precomputed is not None:
        summary.precomputed += len({row.allele for row in rows if row.is_precomputed})
    for allele, reason in {row.allele: _kind(row.status) for row in rows if not row.is_scored}.items():
        summary.statuses[reason] = summary.statuses.get(reason, 0) + (n_alleles if allele is None else 1)


def _kind(status: str) -> str:
    return REF_MISMATCH if status.startswith(REF_MISMATCH) else status
