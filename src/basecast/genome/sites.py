"""Splice sites of a genome as files that other tools read: BED, scores for miniprot and minimap2, hints for AUGUSTUS.

Every writer takes batches, tables of ``SITE_SCHEMA`` sorted by contig (in the order of the FASTA), position and
strand; a site's rows stand in one batch. A site is a base of an exon, on its strand: a donor the last one, an acceptor
the first. Bytes do not depend on where one batch ends and the next begins, and memory not on how many there are.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from basecast.files import named_errors, whole_file
from basecast.genome.bcf import bgzip_writer, quiet_htslib
from basecast.genome.tabix import write_index

SITE_SCHEMA = {
    "contig": pl.String,
    "position": pl.Int64,  # 0-based
    "strand": pl.String,  # + or -
    "kind": pl.String,  # donor or acceptor
    "probability": pl.Float32,
    "gene": pl.String,  # empty: none
}
_LEVEL = 4  # of bgzip: twice as fast as 6 for 5 % more bytes
_ROW_GROUP = 1 << 18
_SCORES = (-7, 13)  # minisplice's own limits

_PROBABILITY = pl.col("probability").cast(pl.Float64)
_MILLIONTHS = (_PROBABILITY * 1e6 + 0.5).floor().cast(pl.Int64)
_SIX_DECIMALS = pl.format("{}.{}", _MILLIONTHS // 10**6, (_MILLIONTHS % 10**6).cast(pl.String).str.zfill(6))
# whether the intron's bases have higher coordinates than the site
_INTRON_FOLLOWS = (pl.col("kind") == "donor") == (pl.col("strand") == "+")


def write_bed(path: str | Path, batches: Iterable[pl.DataFrame], lengths: Mapping[str, int]) -> None:
    """BED6+1, bgzipped, with its index (``genome.tabix``): the site's base, and its probability in column 7.

    Name is the gene, white space in it as ``_``, or ``.``; score is 1000 p, column 7 p with six decimals, both to the
    nearest number and halves up.

    Args:
        lengths: of all contigs in bases; they decide between ``.tbi`` and ``.csi``.

    Raises:
        BasecastError: the disk is full or the file cannot be written. What ``batches`` raises comes as it is.
    """
    name = pl.col("gene").str.replace_all(r"[\s\x00-\x1f\x7f]", "_")
    columns = (
        pl.col("contig"),
        pl.col("position"),
        (pl.col("position") + 1).alias("end"),
        pl.when(pl.col("gene") == "").then(pl.lit(".")).otherwise(name).alias("name"),
        (_PROBABILITY * 1000 + 0.5).floor().cast(pl.Int64).alias("score"),
        pl.col("strand"),
        _SIX_DECIMALS.alias("p"),
    )
    with _TextFile(path, longest=max(lengths.values(), default=0)) as file:
        for batch in batches:
            file.write(batch.select(columns))


def write_spsc(path: str | Path, batches: Iterable[pl.DataFrame], base_rate: float = 0.001) -> None:
    """The splice scores that ``miniprot --spsc`` (0.16 on) and ``minimap2 --spsc`` (2.30 on) read, gzip or not.

    A line is contig, offset, strand, D or A, score, parted by tabs. The offset is that of the border between exon and
    intron: how many bases of the contig, on its plus strand, lie before it (lh3/miniprot issue 65; ``predict.c`` of
    lh3/minisplice, whose output this is like; borders put where this says are where minimap2 2.31 splices). Readers
    skip contigs that they do not have, and offsets at a contig's ends.

    The score is ``2 log2(p / base_rate)`` (Yang et al. 2025, arXiv 2506.12986, equation 1: the scale of BLOSUM62), to
    the nearest integer, halves up, within minisplice's -7 to 13. At the default rate that is p from 0.0001 to 0.09:
    all sites above that are equal, and one without a line counts, in minimap2, about as one of -7.

    Args:
        path: bgzipped if it ends with ``.gz``.
        base_rate: the share of true sites among all GT and AG of the genome; about 0.1 % in human (same paper).

    Raises:
        BasecastError: as ``write_bed``.
    """
    score = (2 * (_PROBABILITY / base_rate).log(2) + 0.5).floor().clip(*_SCORES)
    columns = (
        pl.col("contig"),
        (pl.col("position") + _INTRON_FOLLOWS.cast(pl.Int64)).alias("offset"),
        pl.col("strand"),
        pl.when(pl.col("kind") == "donor").then(pl.lit("D")).otherwise(pl.lit("A")).alias("kind"),
        score.cast(pl.Int64).alias("score"),
    )
    with _TextFile(path) as file:
        for batch in batches:
            file.write(_once(batch).select(columns))


def write_hints(
    path: str | Path, batches: Iterable[pl.DataFrame], lengths: Mapping[str, int], source: str = "E"
) -> None:
    """Hints for ``augustus --hintsfile``, which reads no gzip: GFF lines ``dss`` and ``ass``.

    A dss is the intron's first base, an ass its last, 1-based, start = end ("Using hints" in RUNNING-AUGUSTUS.md of
    AUGUSTUS 3.5). The score column is p, by whose classes a file of extrinsic configuration gives the bonus; a hint
    has no group, for a group is believed or ignored as a whole, and no ``mult``, for it is seen once. A site whose
    intron would lie before the contig's first base has no place here and is left out.

    Args:
        source: the key (letters) that hints carry as ``src=``; AUGUSTUS stops where ``[SOURCES]`` of its configuration
            does not list it.

    Raises:
        BasecastError: as ``write_bed``.
    """
    base = (pl.col("position") + 2 * _INTRON_FOLLOWS.cast(pl.Int64)).alias("start")
    columns = (
        pl.col("contig"),
        pl.lit("Basecast").alias("program"),
        pl.when(pl.col("kind") == "donor").then(pl.lit("dss")).otherwise(pl.lit("ass")).alias("kind"),
        base,
        base.alias("end"),
        _SIX_DECIMALS.alias("p"),
        pl.col("strand"),
        pl.lit(".").alias("frame"),
        pl.lit(f"src={source}").alias("source"),
    )
    with _TextFile(path) as file:
        for batch in batches:
            ends = {contig: lengths[contig] for contig in batch["contig"].unique()}
            last = pl.col("contig").replace_strict(ends, return_dtype=pl.Int64) if ends else 0
            file.write(_once(batch).filter((base > 0) & (base <= last)).select(columns))


def write_parquet(path: str | Path, batches: Iterable[pl.DataFrame]) -> None:
    """The columns of ``SITE_SCHEMA`` as Parquet.

    Raises:
        BasecastError: as ``write_bed``.
    """
    target = Path(path)
    with contextlib.ExitStack() as opened:
        with _named_polars_errors(target):
            folder = tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
            pieces = Path(opened.enter_context(folder))
        paths = []
        for number, piece in enumerate(_row_groups(batches)):
            paths.append(pieces / f"{number}.parquet")
            with _named_polars_errors(target):
                piece.write_parquet(paths[-1])
        with _named_polars_errors(target), whole_file(target) as partial:
            pl.scan_parquet(paths).sink_parquet(partial, row_group_size=_ROW_GROUP)


def _row_groups(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in tables of equal height but the last; one at least, which may have no row."""
    held = pl.DataFrame(schema=SITE_SCHEMA)
    for batch in batches:
        held = pl.concat([held, batch.select(list(SITE_SCHEMA))])
        while held.height > _ROW_GROUP:
            yield held.head(_ROW_GROUP)
            held = held.slice(_ROW_GROUP)
    yield held


def _once(batch: pl.DataFrame) -> pl.DataFrame:
    """Each site once, with the highest probability that it has in a gene."""
    site = batch.group_by("contig", "position", "strand", "kind", maintain_order=True)
    return site.agg(pl.max("probability"))


class _TextFile:
    """A text file of tables' rows, parted by tabs, that appears whole; bgzipped if its name ends with ``.gz``.

    With ``longest``, bases of the longest contig, it is a BED file, and has its index.
    """

    def __init__(self, path: str | Path, longest: int | None = None) -> None:
        self._path, self._longest = Path(path), longest

    def __enter__(self) -> Self:
        with named_errors(self._path), quiet_htslib(), contextlib.ExitStack() as opening:
            self._partial = opening.enter_context(whole_file(self._path))
            is_bgzip = self._longest is not None or self._path.suffix == ".gz"
            self._sink: Any = bgzip_writer(str(self._partial), _LEVEL) if is_bgzip else self._partial.open("wb")
            self._opened = opening.pop_all()
        return self

    def write(self, rows: pl.DataFrame) -> None:
        """The rows as they stand, nothing quoted."""
        text = io.BytesIO()
        rows.write_csv(text, separator="\t", include_header=False, quote_style="never")
        with named_errors(self._path), quiet_htslib():
            self._sink.write(text.getvalue())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with contextlib.suppress(OSError), quiet_htslib():
                self._sink.close()
            self._opened.__exit__(kind, error, trace)
            return
        # left from right to left: the index takes its name after the data, so that it is never older
        with named_errors(self._path), quiet_htslib(), contextlib.ExitStack() as index, self._opened:
            self._sink.close()
            if self._longest is not None:
                write_index(self._partial, str(self._path), "bed", self._longest, index)


@contextlib.contextmanager
def _named_polars_errors(path: Path) -> Iterator[None]:
    """As ``named_errors``; polars' word for a full disk is not always OSError."""
    with named_errors(path):
        try:
            yield
        except pl.exceptions.PolarsError as error:
            raise OSError(str(error)) from error
