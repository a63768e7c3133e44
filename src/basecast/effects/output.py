"""Where scores go: INFO fields of a variant file, or a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import polars as pl
from pydantic import Field

from basecast.effects.info import InfoFormat
from basecast.effects.scorer import VariantSettings
from basecast.effects.scores import Row, collect
from basecast.effects.table import TableWriter
from basecast.errors import UsageError
from basecast.files import whole_file
from basecast.genome.annotated import AnnotatedWriter, Generated, check_target, kind_of
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.spec import Provenance
from basecast.spec.model import Frozen

_TABLES = (".tsv", ".parquet")


class OutputSettings(Frozen):
    """How scores are written."""

    decimals: int = Field(2, ge=1, le=8)
    probabilities: bool = Field(False, description="REF and ALT probabilities at the reported places as well")
    info_key: str | None = None
    overwrite_info: bool = False
    force: bool = Field(False, description="go on although the file seems to be of another genome build")
    command: str = ""

    def check(self, target: str, source: str | None, others: Iterable[Genome | Annotation | str | Path] = ()) -> None:
        """As ``check_output``."""
        check_output(target, source, others)

    def info(self, settings: VariantSettings) -> InfoFormat:
        """Which INFO keys are written, and how.

        Raises:
            UsageError: ``info_key`` is none.
        """
        compatible = settings.rules == "spliceai"
        key = ("SpliceAI" if compatible else "BasecastSplice") if self.info_key is None else self.info_key
        if not re.fullmatch("[A-Za-z_][0-9A-Za-z_.]*", key):
            raise UsageError(f"{key!r} is no INFO key: use letters, digits, _ and ., a letter first")
        masked = f"{key}_masked" if settings.mask == "both" else key
        keys = {mask: masked if mask == "masked" else key for mask in settings.masks}
        status = f"{self.info_key}_Status" if self.info_key else "BasecastStatus"
        return InfoFormat(keys, status, self.decimals, self.probabilities, compatible)


@dataclass
class Summary:
    """What a run did. ``statuses`` counts the alleles without a score by reason: with ``scored`` they are all.

    ``precomputed`` of the scored were taken from files; None where there are none. A record without an ALT counts as
    one allele.
    """

    records: int = 0
    alleles: int = 0
    scored: int = 0
    precomputed: int | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    model: str = ""
    device: str = ""
    output: str | list[str] = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def nothing_scored(self) -> bool:
        """There were records, and not one allele of them could be scored."""
        return self.records > 0 and self.scored == 0

    @property
    def facts(self) -> dict[str, Any]:
        """What ``stats.json`` says."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def write(self, target: str) -> None:
        """Put it beside the output."""
        with whole_file(f"{target}.stats.json") as file:
            file.write_text(json.dumps(self.facts, indent=1) + "\n")


class ScoreWriter(Protocol):
    """Takes records with their rows; the file appears whole when the block ends well."""

    @property
    def not_sorted(self) -> str | None:
        """Why the file has no index, if it should have one."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def write(self, record: VariantRecord, rows: Sequence[Any]) -> None:
        """One record and its rows."""


def writes_info(target: str) -> bool:
    """Whether scores go into INFO of a variant file there, not into a table."""
    return not target.lower().endswith(_TABLES)


def check_output(target: str, source: str | None, others: Iterable[Genome | Annotation | str | Path] = ()) -> None:
    """Stop before any work where ``target`` could not be written.

    Raises:
        UsageError: its suffix says nothing, its folder is missing, it is a folder, or it is the input or one of
            the ``others``.
    """
    check_target(target, source, [given if isinstance(given, str | Path) else given.path for given in others])
    if writes_info(target):
        kind_of(target, *_TABLES)


def open_writer(
    target: str, reader: VariantReader | Generated, info: InfoFormat, header_lines: Sequence[str], overwrite: bool
) -> ScoreWriter:
    """A writer by the target's suffix: ``.vcf``, ``.vcf.gz``, ``.bcf``, ``.tsv``, ``.parquet``; ``-`` is VCF."""
    if not writes_info(target):
        check_target(target, reader.path)
        return TableWriter(target, partial(_frame, with_source=info.source_key is not None))
    removed = info.replaced_keys if overwrite else frozenset()
    return InfoWriter(AnnotatedWriter(target, reader, header_lines=header_lines, remove_keys=removed), info)


class InfoWriter:
    """A variant file with the scores in INFO."""

    def __init__(self, writer: AnnotatedWriter, info: InfoFormat) -> None:
        self._writer, self._info = writer, info

    @property
    def not_sorted(self) -> str | None:
        """Why the file has no index, if it has none."""
        return self._writer.not_sorted

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def write(self, record: VariantRecord, rows: Sequence[Row]) -> None:
        self._writer.write(record, self._info.additions(record.alts, rows))


def _frame(pending: Sequence[tuple[VariantRecord, Sequence[Row]]], with_source: bool) -> pl.DataFrame:
    """A row an allele and gene."""
    found = ((r.number, r.contig, r.position, r.ref, r.alts, rows) for r, rows in pending)
    return collect(found, Provenance(), with_source).table
