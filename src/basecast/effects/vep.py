"""Scores as the SpliceAI plugin of Ensembl VEP looks them up: a file of SNVs, a file of indels, one gene a record."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from basecast.effects.info import THEIRS, InfoFormat
from basecast.effects.scores import MaskName, Row
from basecast.errors import InputError, UsageError
from basecast.genome.annotated import AnnotatedWriter, Generated, check_target, percent_encode
from basecast.genome.reference import Genome
from basecast.genome.tabix import TBI_END
from basecast.genome.variants import VariantRecord

KEY = "SpliceAI"
"""The INFO key that the plugin takes away from a line's INFO, to split the rest at ``|``."""

_FILES = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf", ".tsv", ".parquet")


def vep_files(prefix: str) -> tuple[str, str]:
    """The file of SNVs and the file of indels."""
    return f"{prefix}.snv.vcf.gz", f"{prefix}.indel.vcf.gz"


def check_vep(prefix: str, genome: Genome) -> None:
    """Stop before any work where the files could not be written, or not be read by the plugin.

    Raises:
        UsageError: the prefix is a folder, is in none, or is the name of a file.
        InputError: the plugin opens ``.tbi`` indexes only, and a contig is too long for one.
    """
    if prefix.endswith("/") or Path(prefix).is_dir() or prefix == "-":
        raise UsageError(f"the output {prefix} is no prefix of files: give one, such as {Path(prefix) / 'scores'}")
    for suffix in _FILES:
        if prefix.lower().endswith(suffix):
            files = " and ".join(vep_files(prefix[: -len(suffix)]))
            raise UsageError(f"the vep format has two files: give -O {prefix[: -len(suffix)]} for {files}")
    for path in vep_files(prefix):
        check_target(path, None)
    for contig, length in genome.lengths.items():
        if length >= TBI_END:
            raise InputError(
                f"{contig} of {genome.path} has {length:,} bases, and the plugin reads .tbi indexes, which end at "
                f"{TBI_END:,}: write .vcf.gz or .parquet without the vep format"
            )


def vep_info_line(model: str, rules: str, mask: MaskName, theirs: bool) -> str:
    """The ``##INFO`` line. ``theirs``: weights and rules are Illumina's; the plugin repeats the version named then."""
    model = model.replace("\\", "\\\\").replace('"', '\\"')
    about = f"Delta scores (DS) and delta positions (DP) by {model} under {rules} rules ({mask})."
    fields = InfoFormat({mask: KEY}, "", 2, probabilities=False, compatible=True).fields
    return f'##INFO=<ID={KEY},Number=.,Type=String,Description="{THEIRS if theirs else about} Format: {fields}">'


class VepWriter:
    """Two files, ``PREFIX.snv.vcf.gz`` and ``PREFIX.indel.vcf.gz``, each with its ``.tbi``; they appear whole.

    A record is one ALT and one gene. The plugin looks up genes by symbol, so of several entries of a symbol the
    largest is written. What has no score is not written. DP of an inserted base is that of the base before it.
    """

    not_sorted: str | None = None

    def __init__(self, prefix: str, origin: Generated, header_lines: Sequence[str], decimals: int) -> None:
        self._files = [AnnotatedWriter(path, origin, header_lines=header_lines) for path in vep_files(prefix)]
        self._decimals = decimals

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            for file in self._files:
                opening.enter_context(file)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def write(self, record: VariantRecord, rows: Sequence[Row]) -> None:
        """One record of one ALT, for each gene that it has a score in."""
        snvs, indels = self._files
        file = snvs if len(record.ref) == len(record.alts[0]) == 1 else indels
        for symbol, row in _largest(rows).items():
            assert row.delta is not None
            scores = [f"{score:.{self._decimals}f}" for score in row.delta.score]
            entry = [record.alts[0], percent_encode(symbol), *scores, *map(str, row.delta.position)]
            file.write(record, [(KEY, "|".join(entry))])


def _largest(rows: Sequence[Row]) -> dict[str, Row]:
    """Of each symbol the row with the largest score, the first of equal ones."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.delta and (row.symbol not in best or max(row.delta.score) > max(best[row.symbol].delta.score)):  # type: ignore[union-attr]
            best[row.symbol] = row
    return best
