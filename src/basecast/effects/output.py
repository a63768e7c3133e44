"""Where scores go: INFO fields of a variant file, or a table."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import polars as pl
from pydantic import Field

from basecast.effects.info import InfoFormat
from basecast.effects.scorer import VariantSettings
from basecast.effects.scores import Row, collect
from basecast.errors import BasecastError, UsageError
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
        with whole_file(f"{target}.stats.json") as partial:
            partial.write_text(json.dumps(self.facts, indent=1) + "\n")


class ScoreWriter(Protocol):
    """Takes records with their rows; the file appears whole when the block ends well."""

    @property
    def not_sorted(self) -> str | None:
        """Why the file has no index, if it should have one."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def write(self, record: VariantRecord, rows: Sequence[Row]) -> None:
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
        return TableWriter(target, with_source=info.source_key is not None)
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


class TableWriter:
    """A tab-separated or Parquet table, a row an allele and gene; memory does not grow with it."""

    not_sorted: str | None = None
    _BATCH = 20_000

    def __init__(self, target: str, with_source: bool = False) -> None:
        self._target, self._with_source = Path(target), with_source
        self._pending: list[tuple[VariantRecord, Sequence[Row]]] = []
        self._n_pieces = 0

    def __enter__(self) -> Self:
        with self._named_errors():
            folder = tempfile.mkdtemp(prefix=f".{self._target.name}.", suffix=".partial", dir=self._target.parent)
        self._pieces = Path(folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._named_errors():
                    self._flush()
                    table = pl.scan_parquet([self._pieces / f"{i}.parquet" for i in range(self._n_pieces)])
                    with whole_file(self._target) as partial:
                        if self._target.suffix.lower() == ".parquet":
                            table.sink_parquet(partial)
                        else:
                            table.sink_csv(partial, separator="\t", null_value=".")
        finally:
            shutil.rmtree(self._pieces, ignore_errors=True)

    def write(self, record: VariantRecord, rows: Sequence[Row]) -> None:
        self._pending.append((record, rows))
        if len(self._pending) >= self._BATCH:
            with self._named_errors():
                self._flush()

    def _flush(self) -> None:
        found = ((r.number, r.contig, r.position, r.ref, r.alts, rows) for r, rows in self._pending)
        collect(found, Provenance(), self._with_source).table.write_parquet(self._pieces / f"{self._n_pieces}.parquet")
        self._n_pieces += 1
        self._pending.clear()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:  # polars' word for a full disk is not always OSError
            raise BasecastError(
                f"{self._target} could not be written ({error}): make room or write elsewhere"
            ) from error
