"""How records are cut into shards: by the work they are, which the records alone decide."""

from __future__ import annotations

from collections.abc import Iterator

from basecast.effects.scorer import SHARD, Scorer
from basecast.genome.variants import VariantRecord
from basecast.inference.jobs import WORK, Shard
from basecast.spec import LocalReach
from basecast.spec.model import Frozen

_SHARE_OF_CHANGE = 6
"""What an allele changes is about this part of its window (an SNV in a network of 10,000 bases of context)."""


class Cut(Frozen):
    """Bases that a shard may take: a record's window, less what it shares with the one before, and its alleles'."""

    bases: int
    window: int
    records: int

    @classmethod
    def of(cls, scorer: Scorer, device: str) -> Cut:
        """For a scorer's model and distance, on a kind of device."""
        reach = scorer.package.spec.reach
        assert isinstance(reach, LocalReach)  # as all that give splice sites
        weights = sum(x.numel() for network in scorer.package.networks for x in network.parameters())
        window = reach.left + reach.right + 2 * scorer.settings.distance + 1
        return cls(bases=int(WORK[device] / max(weights, 1)), window=window, records=SHARD)

    def shards(self, records: Iterator[VariantRecord]) -> Iterator[Shard]:
        """Consecutive records, numbered; at least one a shard."""
        number, size, shard = 0, 0, list[VariantRecord]()
        for record in records:
            apart = self.window
            if shard and shard[-1].contig == record.contig and record.start >= shard[-1].start:
                apart = min(record.start - shard[-1].start, self.window)
            size += apart + len(record.alts) * self.window // _SHARE_OF_CHANGE
            shard.append(record)
            if size >= self.bases or len(shard) >= self.records:
                yield number, shard
                number, size, shard = number + 1, 0, []
        if shard:
            yield number, shard
