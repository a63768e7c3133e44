"""How splice scores are written, as a run's parts keep it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

from basecast.effects.header import run_lines, with_command
from basecast.effects.info import InfoFormat, source_key
from basecast.effects.output import OutputSettings, ScoreWriter, open_writer, writes_info
from basecast.effects.precomputed import PrecomputedSettings
from basecast.effects.scorer import Scorer
from basecast.effects.scores import Row
from basecast.errors import InputError
from basecast.files import sha256_of
from basecast.genome.variants import VariantReader, VariantRecord, info_keys_in
from basecast.spec.model import Frozen


class SpliceLayout(Frozen):
    """INFO fields of a variant file, or a table."""

    kind: Literal["splice"] = "splice"
    info: InfoFormat
    header: list[str]
    overwrite_info: bool

    @classmethod
    def of(
        cls, scorer: Scorer, output: OutputSettings, device: str, precomputed: PrecomputedSettings | None
    ) -> SpliceLayout:
        """For what a scorer gives on a kind of device, and what is taken from files."""
        info, files = output.info(scorer.settings), []
        if precomputed:
            info = replace(info, source_key=source_key(info.status_key))
            files = [f"{path} (sha256 {sha256_of(path)})" for path in precomputed.files]
        key = next(iter(info.keys.values()))
        about = info.header(scorer.package.spec.name, scorer.is_published, files)
        header = [*about, *run_lines(scorer, key, device)]
        return cls(info=info, header=header, overwrite_info=output.overwrite_info)

    @property
    def takes_precomputed(self) -> bool:
        """Whether scores are taken from files too."""
        return self.info.source_key is not None

    def check(self, reader: VariantReader, target: str) -> None:
        """Stop where the input's header declares a key of ours.

        Raises:
            InputError: it does, and keys are not to be replaced.
        """
        if not self.overwrite_info and writes_info(target):
            _refuse_keys(reader.info_keys & self.info.all_keys, reader.name)

    def checked(self, records: Iterator[VariantRecord], reader: VariantReader) -> Iterator[VariantRecord]:
        """The records, unless one has an INFO key of ours that its header does not declare."""
        for record in records:
            if reader.kind != "tsv" and not self.overwrite_info:
                _refuse_keys(info_keys_in(record) & self.info.all_keys, f"{reader.name}, record {record.number}")
            yield record

    def row(self, values: list[Any]) -> Row:
        """A row as ``to_json`` gave it."""
        return Row.from_json(values)

    def open(self, target: str, reader: VariantReader, command: str) -> ScoreWriter:
        """What takes records with their rows."""
        return open_writer(target, reader, self.info, with_command(self.header, command), self.overwrite_info)


def _refuse_keys(present: Iterable[str], where: str) -> None:
    if found := sorted(present):
        raise InputError(
            f"{where} has the INFO key {found[0]} already: pass --overwrite-info to replace it, or --info-key NAME"
        )
