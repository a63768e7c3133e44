"""Which bins of a genome are predicted: along contigs, or about the middle of each region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from basecast.errors import UsageError, counted
from basecast.genome.intervals import Interval, merged, read_each, read_regions
from basecast.genome.reference import Genome
from basecast.inference.tiling import grain, tiles, whole_window
from basecast.prediction.signal import Place, SignalPredictor
from basecast.spec import LocalReach, ModelSpec


@dataclass(frozen=True)
class Places:
    """What is predicted of a genome.

    Attributes:
        regions: where bins lie; None is everywhere.
        length: bases about the middle of each region, each for itself; None: every bin that a region touches, once, of
            a grid that begins with each contig.
    """

    genome: Genome
    spec: ModelSpec
    bin_: int
    tile: int
    regions: Sequence[Interval] | None
    length: int | None

    @classmethod
    def of(cls, predictor: SignalPredictor, regions: str | Path | None, *, rows: bool) -> Self:
        """Those of the settings; with ``rows`` regions by default have the length that a whole window gives, if any.

        Raises:
            UsageError: a length without regions or of broken bins.
            InputError: the regions cannot be read or do not fit the genome.
        """
        genome, spec, bin_ = predictor.genome, predictor.package.spec, predictor.output.resolution
        length = predictor.settings.length
        if length is None and rows and regions is not None:
            length = whole_window(spec)
        if length is not None and length % bin_:
            raise UsageError(f"{spec.name} has bins of {bin_} bp: a --length of {length} is no whole number of them")
        if length is not None and regions is None:
            raise UsageError("--length is of regions: give a BED file with --regions")
        found = None
        if regions is not None:
            found = read_regions(regions, genome) if length is None else read_each(regions, genome)
        return cls(genome, spec, bin_, predictor.engine.longest_tile, found, length)

    @property
    def rows(self) -> int | None:
        """How many regions there are, where each is for itself."""
        return len(self.regions or ()) if self.length is not None else None

    @property
    def context(self) -> int:
        """Bases that a place takes beside its own, about."""
        reach = self.spec.reach
        return reach.left + reach.right if isinstance(reach, LocalReach) else max(reach.lengths, default=2 * reach.crop)

    def cut(self, span: int) -> Iterator[Place]:
        """All places in the genome's order; those along contigs of ``span`` bases at most."""
        if self.length is not None:
            return iter(about_middles(self.genome.lengths, self.regions or (), self.length))
        return along(self.genome.lengths, self.regions, self.bin_, span)

    def check_once(self) -> None:
        """Hold that no base is in two places.

        Raises:
            UsageError: one is.
        """
        if self.length is None:
            return
        for one, other in pairwise(self.cut(0)):
            if one.contig == other.contig and other.start < one.end:
                raise UsageError(
                    f"{self.length:,} bases about the middle of regions {one.row + 1} and {other.row + 1} overlap on "
                    f"{one.contig}, and a bigWig or table has each base once: leave --length out, or take --format h5 "
                    "alone"
                )

    def warnings(self) -> list[str]:
        """What is predicted from a sequence that is not all there."""
        if self.length is not None:
            n = sum(self._is_padded(place) for place in self.cut(0))
            where = f"{counted(n, 'region')} of {self.rows:,} lie so near an end of their contig"
        else:
            reach = self.spec.reach
            window = 0 if isinstance(reach, LocalReach) else max(reach.lengths, default=0)
            n = sum(self.genome.lengths[contig] < window for contig in {place.contig for place in self.cut(1 << 40)})
            where = f"{counted(n, 'contig')} are shorter than a window of {window:,} bases, so"
        return [f"{where} that the model is shown N beyond it"] if n else []

    def _is_padded(self, place: Place) -> bool:
        step = grain(self.spec)
        size = -(-(place.end - place.start) // step) * step
        shown = tiles(self.spec, place.start, place.start + size, self.tile)
        return shown[0].window_start < 0 or shown[-1].window_end > self.genome.lengths[place.contig]


def along(lengths: Mapping[str, int], regions: Sequence[Interval] | None, bin_: int, span: int) -> Iterator[Place]:
    """The bins that ``regions`` (all contigs where None) touch, of a grid that begins with each contig, in order.

    Places have ``span`` bases at most. A contig's last bin may reach beyond it.
    """
    within: dict[str, list[tuple[int, int]]] = {}
    whole = [Interval(contig, 0, length) for contig, length in lengths.items()]
    for contig, start, end in whole if regions is None else regions:
        if start < end:
            within.setdefault(contig, []).append((start // bin_ * bin_, -(-end // bin_) * bin_))
    for contig in lengths:
        for start, end in merged(within.get(contig, [])):
            for at in range(start, end, span):
                yield Place(contig, at, min(at + span, end))


def about_middles(lengths: Mapping[str, int], regions: Sequence[Interval], length: int) -> list[Place]:
    """``length`` bases about the middle of each region, in the genome's order; ``row`` is the region's number."""
    order = {contig: i for i, contig in enumerate(lengths)}
    found = []
    for row, (contig, start, end) in enumerate(regions):
        low = (start + end) // 2 - length // 2
        found.append(Place(contig, low, low + length, row))
    return sorted(found, key=lambda place: (order[place.contig], place.start, place.row))
