"""Which bases are meant: regions as browsers print them, genes by name, BED files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from basecast.errors import UsageError, counted
from basecast.genome.annotation import Annotation
from basecast.genome.intervals import Interval, merged, read_regions
from basecast.genome.reference import Genome

_REGION = re.compile(r"(.+):([\d,]+)-([\d,]+)")
_LISTED = 4


def stretches_of(
    genome: Genome,
    annotation: Annotation,
    *,
    regions: Sequence[str] = (),
    genes: Sequence[str] = (),
    beds: Sequence[str | Path] = (),
) -> list[Interval]:
    """All that is named, in the order of the genome's contigs; each base is in one stretch.

    Args:
        annotation: as ``Annotation.fitted_to`` the genome.
        regions: ``CONTIG:START-END``, counted from 1, END included, with or without commas; or a whole ``CONTIG``.
        genes: symbols or gene ids; of a gene, from the first to the last base of its chosen transcripts.
        beds: BED files.

    Raises:
        UsageError: nothing is named, or what is typed names nothing, or more than one gene.
        InputError: a BED file is not what it must be.
    """
    named = [parse_region(text, genome) for text in regions]
    named += [gene_body(name, annotation) for name in genes]
    named += [stretch for path in beds for stretch in read_regions(path, genome)]
    if not named:
        raise UsageError("no bases are named: give --region CONTIG:START-END, --gene NAME or --bed FILE")
    found: dict[str, list[tuple[int, int]]] = {}
    for contig, start, end in named:
        found.setdefault(contig, []).append((start, end))
    return [Interval(name, *stretch) for name in genome.lengths if name in found for stretch in merged(found[name])]


def parse_region(text: str, genome: Genome) -> Interval:
    """``chr1:1,000-2,000``, counted from 1 with both ends, or a contig as a whole.

    Raises:
        UsageError: it is neither, or lies off the genome.
    """
    whole = genome.resolve(text)
    if whole is not None:
        return Interval(whole, 0, genome.lengths[whole])
    match = _REGION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--region {text!r} is neither a contig nor CONTIG:START-END, such as chr1:1,000-2,000")
    contig = genome.resolve(match[1])
    if contig is None:
        raise UsageError(f"--region {text!r}: {genome.contigs.describe_unknown(match[1])}")
    start, end = (int(digits.replace(",", "") or 0) for digits in match.groups()[1:])
    if not 1 <= start <= end <= genome.lengths[contig]:
        raise UsageError(
            f"--region {text!r} is not within {contig}:1-{genome.lengths[contig]:,} of {genome.path} from a first to "
            "a last base: bases count from 1"
        )
    return Interval(contig, start - 1, end)


def gene_body(name: str, annotation: Annotation) -> Interval:
    """From the first to the last base of the chosen transcripts of a gene; ``name`` is its symbol or id.

    Raises:
        UsageError: no gene is called so, or several are that lie apart.
    """
    table = annotation.transcripts.table
    hits = table.filter(pl.col("gene_name") == name)
    if hits.is_empty():
        ids = pl.col("gene_id")
        hits = table.filter((ids == name) | (ids.str.replace(r"\.\d+$", "") == name))
    if hits.is_empty():
        raise UsageError(_unknown(name, annotation))
    bodies = hits.group_by("contig", "gene", maintain_order=True).agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("gene_id").first()
    )
    first, last = bodies["start"].min(), bodies["end"].max()
    found: dict[str, list[tuple[int, int]]] = {}
    for contig, _, start, end, _ in bodies.iter_rows():
        found.setdefault(contig, []).append((start, end))
    if len(found) > 1 or len(list(merged(next(iter(found.values()))))) > 1:
        places = [f"{key} at {contig}:{start + 1:,}-{end:,}" for contig, _, start, end, key in bodies.iter_rows()]
        more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
        raise UsageError(
            f"--gene {name} means {counted(len(places), 'gene')} of {annotation.path}: {', '.join(places[:_LISTED])}"
            f"{more}: give the id of one, or --region"
        )
    return Interval(next(iter(found)), int(first), int(last))  # type: ignore[arg-type]


def _unknown(name: str, annotation: Annotation) -> str:
    names = annotation.transcripts.table.select("gene_name", "gene_id").unique()
    known = {key.upper(): key for column in names.get_columns() for key in column if key}
    near = difflib.get_close_matches(name.upper(), known, n=3)
    hint = f": did you mean {', '.join(known[key] for key in near)}?" if near else ": give its symbol or gene id"
    return f"--gene {name} is not among the genes of {annotation.path} ({annotation.selection} transcripts){hint}"
