"""Splice sites of genes as labels: loci, their introns, and what each base of a locus is.

A locus is what the chosen genes on one strand cover together where they overlap. Tables are polars frames; ``locus``
is a row of the table of loci. Coordinates are 0-based half-open on the plus strand until sites are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data.store import FIRST, LAST, MOTIFS, Sites
from basecast.genome.intervals import merged
from basecast.genome.reference import Genome
from basecast.genome.sequence import Tokens, encode, reverse_complement
from basecast.genome.transcripts import Positions
from basecast.spec.splice import ACCEPTOR, DONOR

GENE = ("gene", "contig", "strand")
"""What tells a gene from every other of its file."""


class Loci(NamedTuple):
    """Genes, and the loci they form.

    ``genes``: gene (as the transcripts number it), contig, strand, start, end, id, name, locus; sorted by locus.
    ``table``: contig, strand, start, end, genes (names, joined by commas); by contig as the genome has them, and start.
    """

    genes: pl.DataFrame
    table: pl.DataFrame


class Labels(NamedTuple):
    """Sites of all loci end to end; those of locus ``i`` are ``offsets[i]:offsets[i + 1]``."""

    sites: Sites
    offsets: Positions
    n_both: int
    """Bases that are a donor of one transcript and an acceptor of another; the kind of more transcripts is kept."""


def connected(groups: NDArray[np.int64], starts: Positions, ends: Positions) -> NDArray[np.int64]:
    """For each interval the number of its component; intervals of a group that share a base are connected."""
    order = np.lexsort((starts, groups))
    group, start, end = groups[order], starts[order], ends[order]
    # each group gets a stretch of its own on one long axis, so that a single running maximum serves them all
    offset = np.concatenate([[0], np.cumsum(group[1:] != group[:-1])]) << 42 if len(order) else group
    reach = np.maximum.accumulate(end + offset)
    opens = np.append(True, start[1:] + offset[1:] >= reach[:-1])[: len(order)]
    components = np.empty(len(order), dtype=np.int64)
    components[order] = np.cumsum(opens) - 1
    return components


def genes_of(transcripts: pl.DataFrame) -> pl.DataFrame:
    """The genes of transcripts: gene, contig, strand, start, end, id, name."""
    name = pl.col("gene_name").first()
    return transcripts.group_by(*GENE, maintain_order=True).agg(
        pl.col("start").min(), pl.col("end").max(), id=pl.col("gene_id").first(), name=name
    )


def loci_of(genes: pl.DataFrame, contigs: Sequence[str]) -> Loci:
    """The loci of genes, on contigs in this order."""
    rank = {name: i for i, name in enumerate(contigs)}
    genes = genes.with_columns(rank=pl.col("contig").replace_strict(rank, return_dtype=pl.Int64))
    group = genes.select(pl.col("rank") * 2 + (pl.col("strand") == "-").cast(pl.Int64))["rank"].to_numpy()
    component = connected(group, genes["start"].to_numpy(), genes["end"].to_numpy())
    genes = genes.with_columns(component=pl.Series(component)).sort("rank", "start", "end", "strand")
    table = (
        genes.group_by("component", maintain_order=True)
        .agg(
            pl.col("rank", "contig", "strand").first(),
            pl.col("start").min(),
            pl.col("end").max(),
            genes=pl.col("name").unique(maintain_order=True).str.join(","),
        )
        .sort("rank", "start", "end", "strand")
        .with_row_index("locus")
        .with_columns(pl.col("locus").cast(pl.Int64))
    )
    genes = genes.join(table.select("component", "locus"), on="component", maintain_order="left")
    # a strand's locus may go on past the start of the other strand's: by start alone the genes of both alternate
    genes = genes.sort("locus", maintain_order=True)
    return Loci(genes.drop("rank", "component"), table.drop("rank", "component", "locus"))


def introns_of(transcripts: pl.DataFrame, genes: pl.DataFrame) -> pl.DataFrame:
    """Introns of all transcripts, by locus: locus, start, end, minus, place (bits of `store.Sites`)."""
    n = pl.col("exon_start").list.len().cast(pl.Int64)
    spliced = (
        transcripts.filter(n > 1)
        .join(genes.select(*GENE, "locus"), on=GENE, maintain_order="left")
        .select(
            "locus",
            minus=pl.col("strand") == "-",
            start=pl.col("exon_end").list.slice(0, n - 1),
            end=pl.col("exon_start").list.slice(1),
            number=pl.int_ranges(0, n - 1),
            last=n - 2,
        )
        .explode("start", "end", "number")
    )
    is_left, is_right = pl.col("number") == 0, pl.col("number") == pl.col("last")
    first = pl.when("minus").then(is_right).otherwise(is_left)
    last = pl.when("minus").then(is_left).otherwise(is_right)
    place = first.cast(pl.UInt8) * FIRST + last.cast(pl.UInt8) * LAST
    return spliced.with_columns(place=place.cast(pl.UInt8)).drop("number", "last").sort("locus", maintain_order=True)


def offsets_of(loci: pl.Series, n_loci: int) -> Positions:
    """Where the rows of each locus begin in a table sorted by locus, shape (n_loci + 1,)."""
    return np.searchsorted(loci.to_numpy(), np.arange(n_loci + 1)).astype(np.int64)


def motifs_of(introns: pl.DataFrame, loci: pl.DataFrame, genome: Genome) -> NDArray[np.uint8]:
    """The motif of each intron, an index of `store.MOTIFS`."""
    found = np.zeros(introns.height, dtype=np.uint8)
    starts, ends = introns["start"].to_numpy(), introns["end"].to_numpy()
    offsets = offsets_of(introns["locus"], loci.height)
    for locus in np.flatnonzero(np.diff(offsets)).tolist():
        contig, strand, start, end, *_ = loci.row(locus)
        rows = slice(offsets[locus], offsets[locus + 1])
        found[rows] = _motifs(genome.tokens(contig, start, end), starts[rows] - start, ends[rows] - start, strand)
    return found


def _motifs(tokens: Tokens, start: Positions, end: Positions, strand: str) -> NDArray[np.uint8]:
    """Of introns [start, end) of plus-strand tokens."""
    code = np.zeros(len(start), dtype=np.int64)
    for at in (start, start + 1, end - 2, end - 1):
        code = code * 5 + tokens[at]
    return np.where(end - start >= 4, _MOTIF_OF[strand][code], 0).astype(np.uint8)


def _motif_codes() -> dict[str, NDArray[np.uint8]]:
    codes = {strand: np.zeros(5**4, dtype=np.uint8) for strand in "+-"}
    for number, motif in enumerate(MOTIFS[1:], 1):
        tokens = encode(motif.replace("-", ""))
        for strand, read in (("+", tokens), ("-", reverse_complement(tokens))):
            codes[strand][int("".join(map(str, read)), 5)] = number
    return codes


_MOTIF_OF = _motif_codes()


def sites_of(introns: pl.DataFrame, loci: pl.DataFrame) -> Labels:
    """The sites of all loci from introns with their ``motif``, merged by position.

    A site keeps length and motif of its shortest intron, and whether any of its introns is the first or the last.
    """
    bounds = loci.select(pl.int_range(pl.len()).alias("locus"), locus_start="start", locus_end="end")
    placed = introns.join(bounds, on="locus", maintain_order="left")
    left = (
        pl.when("minus")
        .then(pl.col("locus_end") - pl.col("start"))
        .otherwise(pl.col("start") - pl.col("locus_start") - 1)
    )
    right = (
        pl.when("minus").then(pl.col("locus_end") - 1 - pl.col("end")).otherwise(pl.col("end") - pl.col("locus_start"))
    )
    kinds = {DONOR: (left, right), ACCEPTOR: (right, left)}
    both_ends = pl.concat(
        placed.select(
            "locus",
            "motif",
            "place",
            position=pl.when("minus").then(of_minus).otherwise(of_plus),
            label=pl.lit(label, dtype=pl.UInt8),
            intron=(pl.col("end") - pl.col("start")).cast(pl.Int32),
        )
        for label, (of_plus, of_minus) in kinds.items()
    )
    merged = both_ends.group_by("locus", "position", "label").agg(
        pl.col("motif").sort_by("intron", "motif").first(),
        pl.col("intron").min(),
        place=pl.col("place").bitwise_or(),
        n=pl.len(),
    )
    ordered = merged.sort("locus", "position", "n", "label", descending=[False, False, True, True])
    kept = ordered.unique(["locus", "position"], keep="first", maintain_order=True)
    columns = kept.with_columns(usage=pl.lit(np.nan, dtype=pl.Float32)).select(*Sites._fields)
    sites = Sites(*(columns[name].to_numpy() for name in Sites._fields))
    return Labels(sites, offsets_of(kept["locus"], loci.height), merged.height - kept.height)


class Bodies:
    """Gene bodies of an annotation, to be looked up by place.

    Args:
        genes: contig, strand, start, end, id, name.
    """

    def __init__(self, genes: pl.DataFrame) -> None:
        parts = genes.sort("start").partition_by("contig", "strand", as_dict=True, maintain_order=True)
        self._parts: Mapping[tuple[object, ...], pl.DataFrame] = parts
        self._reach = {key: np.maximum.accumulate(part["end"].to_numpy()) for key, part in parts.items()}

    def others(
        self, contig: str, strand: str, start: int, end: int, genes: pl.DataFrame | None = None
    ) -> list[tuple[int, int]]:
        """Ascending stretches of [start, end) in the bodies of genes that no row of ``genes`` means by id or name.

        Without ``genes``: in any body.
        """
        part = self._parts.get((contig, strand))
        if part is None:
            return []
        low = int(self._reach[contig, strand].searchsorted(start, side="right"))
        high = int(part["start"].to_numpy().searchsorted(end, side="left"))
        own = set() if genes is None else (set(genes["id"]) | set(genes["name"])) - {"", None}
        hits = [
            (max(a, start), min(b, end))
            for a, b, *names in part[low:high].select("start", "end", "id", "name").iter_rows()
            if b > start and not own & set(names)
        ]
        return list(merged(hits))


def unknown_of(stretches: list[tuple[int, int]], locus: Mapping[str, Any], sites: Sites) -> NDArray[np.int64]:
    """Stretches of the plus strand as a locus reads them, shape (stretches, 2), without its own sites."""
    bounds = np.array(stretches, dtype=np.int64).reshape(-1, 2)
    bounds = bounds - locus["start"] if locus["strand"] == "+" else (locus["end"] - bounds)[::-1, ::-1]
    pieces = []
    for start, end in bounds:
        within = sites.position[slice(*np.searchsorted(sites.position, (start, end)))]
        pieces.append(np.stack([np.append(start, within + 1), np.append(within, end)], axis=1))
    known = np.concatenate([bounds[:0], *pieces])
    return known[known[:, 0] < known[:, 1]]
