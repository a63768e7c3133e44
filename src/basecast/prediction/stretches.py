"""What of a genome is predicted, in which context, and how it is cut into shards."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from basecast.genome.annotation import Annotation
from basecast.genome.intervals import Interval, merged
from basecast.genome.reference import Genome

Strands = Literal["both", "+", "-", "gene"]

_MOST_ITEMS = 5000


class Stretch(NamedTuple):
    """[start, end) of a contig on a strand; bases outside [low, high) are read as N."""

    contig: str
    start: int
    end: int
    strand: str
    low: int
    high: int
    gene: str = ""
    """Whose body it is, where the context is the gene; on either strand."""


class Span(Protocol):
    """[start, end) of a contig."""

    @property
    def contig(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


S = TypeVar("S", bound=Span)


def gene_name(symbol: str, gene_id: str) -> str:
    """What a gene is called in an output."""
    return symbol or gene_id


def stretches(
    genome: Genome,
    regions: Sequence[Interval] | None,
    annotation: Annotation | None,
    *,
    masked: bool,
    strands: Strands,
    span: int,
) -> Iterator[Stretch]:
    """Everything to predict, at most ``span`` bases a stretch, by contig (as in the genome), start, strand and gene.

    Args:
        regions: only these; None is everywhere.
        annotation: only bodies of its genes: from the first to the last base of their chosen transcripts.
        masked: outside its body a gene has N; genes that overlap are predicted each for itself.
        strands: which to read; ``gene`` is that of the gene.
    """
    asked = _by_contig(regions) if regions is not None else None
    bodies = _bodies(annotation) if annotation is not None else None
    for contig, length in genome.lengths.items():
        within = [(0, length)] if asked is None else asked.get(contig, [])
        if not within or not length:
            continue
        if bodies is None:
            whole = [Stretch(contig, a, b, s, 0, length) for a, b in within for s in _read(strands, "+-")]
        else:
            whole = list(_of_genes(contig, within, bodies.get(contig, []), masked, strands, length))
        yield from sorted(_cut(whole, span), key=lambda x: (x.start, x.strand, x.gene, x.end))


def shards(items: Iterable[S], most: int, context: int = 0) -> Iterator[tuple[int, list[S]]]:
    """Consecutive stretches, each with ``context``, of ``most`` bases or a little more, numbered."""
    number = size = 0
    shard: list[S] = []
    for item in items:
        shard.append(item)
        size += item.end - item.start + context
        if size >= most or len(shard) >= _MOST_ITEMS:
            yield number, shard
            number, size, shard = number + 1, 0, []
    if shard:
        yield number, shard


def few_lengths(size: int, tile: int, grain: int = 1) -> int:
    """``size`` bases, or some more so that few lengths are asked for; whole grains, and no tile more.

    Tiles of one length run in one batch, and torch keeps kernels for each length.
    """
    whole, rest = divmod(-(-size // grain) * grain, tile)
    step = -(-max(1 << rest.bit_length() >> 3, 16) // grain) * grain
    return whole * tile + min(-(-rest // step) * step, tile)


def _read(strands: Strands, gene: str) -> str:
    return {"both": "+-", "gene": gene}.get(strands, strands)


def _by_contig(regions: Sequence[Interval]) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for contig, start, end in regions:
        found.setdefault(contig, []).append((start, end))
    return found


def _bodies(annotation: Annotation) -> dict[str, list[tuple[int, int, str, str]]]:
    """Contig -> (start, end, strand, name) of each gene, from its first to its last base."""
    genes: dict[tuple[int, str, str], tuple[int, int, str]] = {}
    columns = ("gene", "contig", "strand", "start", "end", "gene_name", "gene_id")
    for gene, contig, strand, start, end, symbol, gene_id in annotation.transcripts.table.select(columns).iter_rows():
        low, high, name = genes.get((gene, contig, strand), (start, end, gene_name(symbol, gene_id)))
        genes[gene, contig, strand] = (min(low, start), max(high, end), name)
    found: dict[str, list[tuple[int, int, str, str]]] = {}
    for (_, contig, strand), (start, end, name) in genes.items():
        found.setdefault(contig, []).append((start, end, strand, name))
    return found


def _of_genes(
    contig: str,
    within: Sequence[tuple[int, int]],
    bodies: Sequence[tuple[int, int, str, str]],
    masked: bool,
    strands: Strands,
    length: int,
) -> Iterator[Stretch]:
    shared: dict[str, list[tuple[int, int]]] = {}
    starts, ends = [low for low, _ in within], [high for _, high in within]
    for start, end, strand, name in bodies:
        for low, high in within[bisect.bisect_right(ends, start) : bisect.bisect_left(starts, end)]:
            a, b = max(start, low), min(end, high)
            for s in _read(strands, strand):
                if masked:
                    yield Stretch(contig, a, b, s, start, end, name)
                else:
                    shared.setdefault(s, []).append((a, b))
    for s, pieces in shared.items():
        for a, b in merged(pieces):
            yield Stretch(contig, a, b, s, 0, length)


def _cut(whole: Iterable[Stretch], span: int) -> Iterator[Stretch]:
    for item in whole:
        for start in range(item.start, item.end, span):
            yield item._replace(start=start, end=min(start + span, item.end))
