"""A model on a genome: the splice sites of stretches, as a table."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sites import SITE_SCHEMA
from basecast.genome.source import Masked
from basecast.inference.request import Request
from basecast.prediction.settings import DeviceSettings
from basecast.prediction.stretches import Strands, Stretch, few_lengths, gene_name
from basecast.spec.splice import SPLICE, splice_columns
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package

ORDER = ("position", "strand", "kind", "gene")
"""Within a contig."""


class PredictSettings(DeviceSettings):
    """Which splice sites are predicted, and how."""

    strand: Strands = "both"
    context: Literal["gene", "genomic"] | None = Field(
        None,
        description="outside a gene's body N or the genome; by default as the model was trained, if there are genes",
    )
    floor: float = Field(0.001, ge=0, le=1, description="smaller probabilities are not kept")


class Predictor:
    """A model on a genome, with or without its genes, ready to predict stretches.

    Raises:
        UsageError: the model gives no splice sites, or the context is the gene and there is no annotation.
        InputError: the annotation does not fit the genome.
    """

    def __init__(
        self,
        model: Package | str | Path,
        genome: Genome | str | Path,
        annotation: Annotation | None,
        settings: PredictSettings,
    ) -> None:
        self.settings = settings
        self.package = model if isinstance(model, Package) else load_model(model)
        self.genome = genome if isinstance(genome, Genome) else Genome(genome)
        self._columns = list(splice_columns(self.package.spec))
        if settings.context == "gene" and annotation is None:
            raise UsageError("--context gene needs genes: give an annotation with -A")
        self.annotation = None if annotation is None else annotation.fitted_to(self.genome)
        by_default = "gene" if self.package.spec.mask == "gene" and annotation is not None else "genomic"
        self.context = settings.context or by_default
        if settings.strand == "gene" and annotation is None:
            raise UsageError("--strand gene needs genes: give an annotation with -A")
        self.engine = settings.engine(self.package)

    def sites(self, items: Sequence[Stretch]) -> pl.DataFrame:
        """Sites of at least ``settings.floor``: contig, position, strand, kind, probability and gene, in that order.

        A donor is the last base of an exon, an acceptor the first. Contigs stand in the order of ``items``.
        """
        answers = self.engine.evaluate([self._request(item) for item in items], [SPLICE], {SPLICE: self._columns})
        values = [answer[SPLICE][: item.end - item.start] for item, answer in zip(items, answers, strict=True)]
        places = [np.nonzero(p >= self.settings.floor) for p in values]
        positions = [at + item.start for item, (at, _) in zip(items, places, strict=True)]
        rows = np.repeat(np.arange(len(items)), [len(at) for at in positions])
        table = pl.DataFrame(  # one for all: a table costs as much as a scaffold
            {
                "contig": pl.Series([item.contig for item in items]).gather(rows),
                "position": np.concatenate(positions),
                "strand": pl.Series([item.strand for item in items]).gather(rows),
                "kind": pl.Series(["acceptor", "donor"]).gather(np.concatenate([kinds for _, kinds in places])),
                "probability": np.concatenate([p[place] for p, place in zip(values, places, strict=True)]),
                "gene": [name for item, at in zip(items, positions, strict=True) for name in self._genes(item, at)],
            },
            schema=SITE_SCHEMA,
        )
        order = {contig: i for i, contig in enumerate(dict.fromkeys(item.contig for item in items))}
        by_contig = pl.col("contig").replace_strict(order, return_dtype=pl.Int64)
        return table.sort(by_contig, *ORDER, maintain_order=True)

    def payload(self, items: Sequence[Stretch]) -> bytes:
        """The sites of a shard as a Parquet file; the same values whatever was predicted before.

        Its metadata ``last`` is contig and start of the last stretch: later shards have nothing before that.
        """
        self.engine.forget()
        content = io.BytesIO()
        last = json.dumps([items[-1].contig, items[-1].start])
        self.sites(items).write_parquet(content, metadata={"last": last})
        return content.getvalue()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere opens the genome there; the model and the genes travel."""
        settings = self.settings.model_copy(update={"tuning": self.engine.tuning})
        return Predictor, (self.package, self.genome, self.annotation, settings)

    def _request(self, item: Stretch) -> Request:
        source = self.genome if self.context == "genomic" else Masked(self.genome, item.contig, item.low, item.high)
        size = few_lengths(item.end - item.start, self.engine.longest_tile)
        return Request(source, item.contig, item.start, item.start + size, item.strand)

    def _genes(self, item: Stretch, positions: NDArray[np.int64]) -> list[str]:
        """The gene whose body was read; in genomic context those that lie there on the strand, joined by commas."""
        if self.context == "gene" or self.annotation is None:
            return [item.gene] * len(positions)
        names: list[dict[str, None]] = [{} for _ in positions]
        for transcript in self.annotation.overlapping(item.contig, item.start, item.end):
            if transcript.strand == item.strand:
                name = gene_name(transcript.gene_name, transcript.gene_id)
                for i in range(*np.searchsorted(positions, (transcript.start, transcript.end)).tolist()):
                    names[i][name] = None
        return [",".join(found) for found in names]
