"""How records are cut into shards: by the work they are, neighbours together, which the records alone decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from basecast.genome.variants import VariantRecord
from basecast.inference.jobs import WORK, Shard
from basecast.spec.model import Frozen
from basecast.zoo.package import Package

SHARD = 4000
"""Records of a shard at most: those of a small model are soon done, and a part is a file."""

SPAN = 50_000
"""Records of a file that is not sorted among which neighbours are looked for."""

_IN_A_PIPE = 200
_HELD = 1 << 26  # bytes of records at once
_RECORD, _ALLELE = 500, 500  # bytes, less the line
_SHARE_OF_CHANGE = 5
"""What an allele changes is about this part of its window (an SNV in a network of 10,000 bases of context)."""

_TIMES_WORK = {"cpu": 5, "cuda": 1}
"""So much more is done in the time, for of each layer only what is needed is computed."""


class Cut(Frozen):
    """Bases that a shard may take: a record's window, less what it shares with the one before, and its alleles'.

    A file that is sorted is cut as it comes. Where a record stands before an earlier one, the next ``span`` records
    are put in order before they are cut, so that neighbours share what they have in common wherever the file has them.
    """

    bases: int
    window: int
    records: int
    span: int
    """0: never put in order."""
    change: int = _SHARE_OF_CHANGE
    """An allele is this part of a window's work."""

    @classmethod
    def of(cls, package: Package, window: int, device: str, *, through_pipe: bool = False) -> Cut:
        """For a model and the bases of a record's window, on a kind of device; a pipe is not kept waiting."""
        weights = sum(x.numel() for network in package.networks for x in network.parameters())
        return cls(
            bases=int(WORK[device] / max(weights, 1)),
            window=window,
            records=min(SHARD, _IN_A_PIPE) if through_pipe else SHARD,
            span=0 if through_pipe else SPAN,
        )

    def shards(self, records: Iterator[VariantRecord]) -> Iterator[Shard]:
        """The shards, numbered, of records without their lines: what travels is small."""
        number = 0
        for span in self.spans(records):
            for shard in span:
                yield number, [VariantRecord(x.number, x.contig, x.start, x.ref, x.alts, b"") for x in shard]
                number += 1

    def spans(self, records: Iterator[VariantRecord]) -> Iterator[list[list[VariantRecord]]]:
        """The shards in lists of those that together are consecutive records of the file."""
        order = _Order()
        span: list[VariantRecord] = []
        size, held, is_mixed = 0, 0, False
        for record in records:
            is_mixed = order.is_behind(record) or is_mixed
            size += self._work(span[-1] if span else None, record)
            held += len(record.line) + len(record.ref) + sum(map(len, record.alts))
            held += _RECORD + _ALLELE * len(record.alts)
            span.append(record)
            is_whole = len(span) >= self.span if is_mixed and self.span else self._is_whole(size, len(span))
            if is_whole or held >= _HELD:
                yield list(self._cut(span, is_mixed))
                span, size, held, is_mixed = [], 0, 0, False
        if span:
            yield list(self._cut(span, is_mixed))

    def _cut(self, span: Sequence[VariantRecord], is_mixed: bool) -> Iterator[list[VariantRecord]]:
        if is_mixed and self.span:
            span = sorted(span, key=lambda record: (record.contig, record.start, record.number))
        shard: list[VariantRecord] = []
        size = 0
        for record in span:
            size += self._work(shard[-1] if shard else None, record)
            shard.append(record)
            if self._is_whole(size, len(shard)):
                yield shard
                shard, size = [], 0
        if shard:
            yield shard

    def _is_whole(self, size: int, n_records: int) -> bool:
        return size >= self.bases or n_records >= self.records

    def _work(self, before: VariantRecord | None, record: VariantRecord) -> int:
        apart = self.window
        if before is not None and before.contig == record.contig and record.start >= before.start:
            apart = min(record.start - before.start, self.window)
        return apart + len(record.alts) * self.window // self.change


class _Order:
    """Which records come after one that stands behind them, or after another contig's."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._contig, self._start = "", 0

    def is_behind(self, record: VariantRecord) -> bool:
        is_new = record.contig != self._contig
        behind = record.contig in self._seen if is_new else record.start < self._start
        self._seen.add(record.contig)
        self._contig, self._start = record.contig, record.start
        return behind
