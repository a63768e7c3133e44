"""A variant file in, the same file with splice scores out: whole, resumable, and with a reason where there is none."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from basecast import __version__
from basecast.effects.build import on_this_build
from basecast.effects.info import InfoFormat
from basecast.effects.output import open_writer, writes_info
from basecast.effects.rules import REF_MISMATCH
from basecast.effects.scorer import SHARD, Scorer, VariantSettings
from basecast.effects.scores import Row
from basecast.errors import InputError, UsageError, counted
from basecast.files import remove_left_overs, sha256_of, whole_file
from basecast.genome.annotated import check_target
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord, info_keys_in
from basecast.inference.shards import Parts
from basecast.spec.model import Frozen
from basecast.zoo.importers.spliceai_keras import is_published
from basecast.zoo.package import Package


class OutputSettings(Frozen):
    """How scores are written."""

    decimals: int = Field(2, ge=1, le=8)
    probabilities: bool = Field(False, description="REF and ALT probabilities at the reported places as well")
    info_key: str | None = None
    overwrite_info: bool = False
    force: bool = Field(False, description="go on although the file seems to be of another genome build")
    restart: bool = Field(False, description="discard what an interrupted run has left")
    command: str = ""


@dataclass
class Summary:
    """What a run did. ``statuses`` counts the alleles without a score by reason: with ``scored`` they are all.

    A record without an ALT counts as one allele.
    """

    records: int = 0
    alleles: int = 0
    scored: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""
    output: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def nothing_scored(self) -> bool:
        """There were records, and not one allele of them could be scored."""
        return self.records > 0 and self.scored == 0


def annotate_variants(
    source: str | Path,
    target: str | Path,
    *,
    model: Package | str | Path,
    genome: Genome | str | Path,
    annotation: Annotation | str | Path,
    settings: VariantSettings | None = None,
    output: OutputSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Score ``source`` (VCF, BCF, TSV; ``-`` = standard input) and write it to ``target`` by its suffix.

    Beside a file target, ``TARGET.stats.json`` has the summary; while the run lasts, ``TARGET.basecast`` holds what is
    done, and the same call goes on from there.

    Raises:
        InputError: a file or record is not what it must be; a key is in the input already; the build seems another.
        UsageError: settings that do not fit the model or the run begun.
    """
    settings, output = settings or VariantSettings(), output or OutputSettings()
    began = time.monotonic()
    source, target = str(source), str(target)
    check_target(target, None if source == "-" else source)
    with contextlib.ExitStack() as opened:
        reader = opened.enter_context(VariantReader(source))
        scorer = Scorer(model, genome, annotation, settings)
        info = info_format(settings, output)
        refuses = not output.overwrite_info and writes_info(target)
        if refuses:
            _refuse_keys(reader.info_keys & info.all_keys, reader.name)
        records = on_this_build(reader, scorer.genome, output.force)
        header = [*info.header(scorer.package.spec.name, _is_theirs(scorer)), *_run_lines(scorer, info, output)]
        summary = Summary(device=str(scorer.engine.device), output=target)
        summary.warnings += _annotation_warnings(scorer.annotation)
        unknown: Counter[str] = Counter()
        writer = open_writer(target, reader, info, header, output.overwrite_info)
        parts = _parts(source, target, scorer, output)
        if parts:
            opened.callback(parts.close)
            remove_left_overs(target)
        with writer:
            for record, rows in _scored(records, scorer, parts):
                if refuses and reader.kind != "tsv":
                    _refuse_keys(info_keys_in(record) & info.all_keys, f"{reader.name}, record {record.number}")
                writer.write(record, rows)
                _count(summary, record, rows)
                if rows[0].status == "unknown_contig":
                    unknown[record.contig] += 1
                if progress:
                    progress(summary.records)
        if unknown:
            said = scorer.genome.contigs.describe_unknown(next(iter(unknown)), reader.name)
            summary.warnings.append(
                f"{counted(unknown.total(), 'record')} on {counted(len(unknown), 'unknown contig')}: {said}"
            )
        if writer.not_sorted:
            summary.warnings.append(writer.not_sorted)
        summary.seconds = round(time.monotonic() - began, 3)
        if target != "-":
            with whole_file(f"{target}.stats.json") as partial:
                partial.write_text(json.dumps(asdict(summary), indent=1) + "\n")
        if parts:
            parts.remove()
    return summary


def info_format(settings: VariantSettings, output: OutputSettings) -> InfoFormat:
    """Which INFO keys are written, and how."""
    compatible = settings.rules == "spliceai"
    key = ("SpliceAI" if compatible else "BasecastSplice") if output.info_key is None else output.info_key
    if not re.fullmatch("[A-Za-z_][0-9A-Za-z_.]*", key):
        raise UsageError(f"{key!r} is no INFO key: use letters, digits, _ and ., a letter first")
    keys = {mask: f"{key}_masked" if settings.mask == "both" and mask == "masked" else key for mask in settings.masks}
    status = f"{output.info_key}_Status" if output.info_key else "BasecastStatus"
    return InfoFormat(keys, status, output.decimals, output.probabilities, compatible)


def _refuse_keys(present: Iterable[str], where: str) -> None:
    if found := sorted(present):
        raise InputError(
            f"{where} has the INFO key {found[0]} already: pass --overwrite-info to replace it, or --info-key NAME"
        )


def _annotation_warnings(annotation: Annotation) -> list[str]:
    warnings = []
    if annotation.unplaced:
        names = ", ".join(list(annotation.unplaced)[:3])
        n = sum(annotation.unplaced.values())
        warnings.append(f"{n} transcripts of {annotation.path} lie on contigs that the FASTA has not ({names} ...)")
    for reason, n in annotation.left_out.items():
        warnings.append(f"{n} transcripts of {annotation.path} were left out: {reason}")
    return warnings


def _is_theirs(scorer: Scorer) -> bool:
    return scorer.settings.rules == "spliceai" and is_published(scorer.package)


def _run_lines(scorer: Scorer, info: InfoFormat, output: OutputSettings) -> list[str]:
    """Header lines that say what was run on what."""
    settings, spec = scorer.settings, scorer.package.spec
    key = next(iter(info.keys.values()))

    def line(kind: str, **fields: str) -> str:
        quoted = ",".join(f'{name}="{_escaped(value)}"' for name, value in fields.items())
        return f"##basecast_{kind}=<ID={key},{quoted}>"

    annotation = scorer.annotation
    return [
        line(
            "run",
            Version=__version__,
            Command=output.command,
            Model=spec.name,
            ModelSha256=scorer.package.digest,
            Licence=spec.licence,
            Rules=settings.rules,
            D=str(settings.distance),
            M={"raw": "0", "masked": "1", "both": "both"}[settings.mask],
            Mask=spec.mask,
            Precision=settings.precision,
            Device=str(scorer.engine.device),
        ),
        line("annotation", File=str(annotation.path), Sha256=annotation.digest, Transcripts=annotation.selection),
        line("reference", File=str(scorer.genome.path), Sha256=scorer.genome.digest),
    ]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _parts(source: str, target: str, scorer: Scorer, output: OutputSettings) -> Parts | None:
    """The folder of finished shards; what can be read but once has none."""
    if target == "-" or not Path(source).is_file():
        return None
    plan: dict[str, Any] = {
        "basecast": __version__,
        "input": sha256_of(source),
        "model": scorer.package.digest,
        "reference": scorer.genome.digest,
        "annotation": f"{scorer.annotation.digest} {scorer.annotation.selection}",
        **scorer.settings.model_dump(mode="json", exclude={"threads", "memory"}),
        "device": str(scorer.engine.device),
        "shard": SHARD,
        "grid": scorer.engine.grid,
    }
    return Parts(Path(f"{target}.basecast"), plan, restart=output.restart)


def _scored(
    records: Iterator[VariantRecord], scorer: Scorer, parts: Parts | None
) -> Iterator[tuple[VariantRecord, list[Row]]]:
    for number in itertools.count():
        shard = list(itertools.islice(records, SHARD))
        if not shard:
            return
        done = parts.load(number) if parts else None
        if done is None:
            rows = scorer.rows(shard)
            if parts:
                parts.save(number, [[row.to_json() for row in found] for found in rows])
        else:
            rows = [[Row.from_json(values) for values in found] for found in done]
        yield from zip(shard, rows, strict=True)


def _count(summary: Summary, record: VariantRecord, rows: list[Row]) -> None:
    n_alleles = max(len(record.alts), 1)
    summary.records += 1
    summary.alleles += n_alleles
    summary.scored += len({row.allele for row in rows if row.delta is not None})
    for allele, reason in {row.allele: _kind(row.status) for row in rows if row.delta is None}.items():
        summary.statuses[reason] = summary.statuses.get(reason, 0) + (n_alleles if allele is None else 1)


def _kind(status: str) -> str:
    return REF_MISMATCH if status.startswith(REF_MISMATCH) else status
