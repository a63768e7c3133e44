"""Variants to splice scores: a ``Scorer`` is a model on a genome with its genes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from basecast import __version__
from basecast.effects.cut import Cut
from basecast.effects.rules import BasecastRules, Case, Ground, Rules, Skipped, SpliceAIRules
from basecast.effects.scores import MaskName, Row, Scores, collect
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord
from basecast.inference.engine import Engine
from basecast.inference.shards import RunSettings
from basecast.inference.tuning import Tuning
from basecast.spec import LocalReach, Provenance
from basecast.spec.model import Frozen
from basecast.spec.splice import SPLICE, splice_columns
from basecast.zoo.catalogue import load_model
from basecast.zoo.importers.spliceai_keras import is_published
from basecast.zoo.package import Package

SHARD = 200
"""Records that are scored together, and again if a run is killed among them."""


class VariantSettings(Frozen):
    """What is asked of a splice score."""

    rules: Literal["basecast", "spliceai"] = "basecast"
    distance: int = Field(50, ge=0, description="bases at each side of a variant in which sites are compared")
    mask: Literal["raw", "masked", "both"] = "raw"
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    memory: int | None = Field(None, description="bytes")
    tuning: Tuning | None = Field(None, description="kernels; by default the fastest that are found")

    def on(self, run: RunSettings) -> Self:
        """The same for the machines of ``run``."""
        return self.model_copy(update=run.engine_settings(self.device, self.memory))

    @property
    def masks(self) -> tuple[MaskName, ...]:
        """The masks that are scored."""
        return ("raw", "masked") if self.mask == "both" else (self.mask,)


class Scorer:
    """A model on a genome with its genes, ready to score records.

    Raises:
        UsageError: the model gives no splice sites, or ``distance`` exceeds half its context.
        InputError: the annotation does not fit the genome.
    """

    def __init__(
        self,
        model: Package | str | Path,
        genome: Genome | str | Path,
        annotation: Annotation | str | Path,
        settings: VariantSettings,
    ) -> None:
        self.settings = settings
        self.package = model if isinstance(model, Package) else load_model(model)
        self.genome = genome if isinstance(genome, Genome) else Genome(genome)
        genes = annotation if isinstance(annotation, Annotation) else Annotation.read(annotation)
        spec = self.package.spec
        splice_columns(spec)
        assert isinstance(spec.reach, LocalReach)  # as all that give splice sites
        if settings.distance > spec.reach.left:
            raise UsageError(
                f"a distance of {settings.distance} is more than model {spec.name} sees: {spec.reach.left} at most "
                f"(-D {spec.reach.left})"
            )
        self.annotation = genes.fitted_to(self.genome)
        self._window = spec.reach.left + spec.reach.right + 2 * settings.distance + 1
        self.engine = Engine(
            self.package,
            device=settings.device,
            precision=settings.precision,
            memory=settings.memory,
            threads=settings.threads,
            calibrated=settings.rules == "basecast",
            tuning=settings.tuning,
        )
        context = spec.reach.left + spec.reach.right
        ground = Ground(self.genome, self.annotation, settings.distance, context, spec.mask)
        self.rules: Rules = SpliceAIRules(ground) if settings.rules == "spliceai" else BasecastRules(ground)

    def rows(self, records: Sequence[VariantRecord]) -> list[list[Row]]:
        """The rows of each record; records that share windows are cheaper together."""
        planned = [list(self.rules.cases(record)) for record in records]
        cases = [case for items in planned for case in items if isinstance(case, Case)]
        requests = [request for case in cases for request in (case.reference, case.alternate)]
        values = iter(self.engine.evaluate(requests, [SPLICE]))
        rows: list[list[Row]] = []
        for items in planned:
            found: list[Row] = []
            for item in items:
                if isinstance(item, Skipped):
                    found += [Row.of(item.allele, item.reason, mask, item.transcript) for mask in self.settings.masks]
                    continue
                ref, alt = next(values)[SPLICE], next(values)[SPLICE]
                for mask in self.settings.masks:
                    delta = self.rules.delta(item, ref, alt, mask == "masked")
                    found.append(Row.of(item.allele, "scored", mask, item.transcript, delta))
            rows.append(found if self.settings.rules == "spliceai" else _largest_per_gene(found))
        return rows

    def payload(self, records: Sequence[VariantRecord]) -> bytes:
        """The rows of a shard as JSON; the same bytes whatever was scored before."""
        self.engine.forget()
        return json.dumps([[row.to_json() for row in found] for found in self.rows(records)]).encode()

    def cut(self, device: str, *, through_pipe: bool = False) -> Cut:
        """How records are cut into shards for a kind of device."""
        return Cut.of(self.package, self._window, device, through_pipe=through_pipe)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere opens the genome there; the model and the genes travel."""
        settings = self.settings.model_copy(update={"tuning": self.engine.tuning})
        return Scorer, (self.package, self.genome, self.annotation, settings)

    @property
    def warnings(self) -> list[str]:
        """What of the annotation is not used, and why."""
        return self.annotation.warnings

    @property
    def is_published(self) -> bool:
        """Whether weights and rules are Illumina's."""
        return self.settings.rules == "spliceai" and is_published(self.package)

    @property
    def plan(self) -> dict[str, Any]:
        """What of a run's plan decides its scores."""
        return {
            "basecast": __version__,
            "model": self.package.digest,
            "reference": self.genome.digest,
            "aliases": self.genome.aliases_digest,
            "annotation": self.annotation.words,
            **self.settings.model_dump(mode="json", exclude={"threads", "memory", "tuning"}),
            "tile (--memory)": self.engine.longest_tile,
            "stretch (--memory)": self.engine.longest_stretch,
        }

    @property
    def provenance(self) -> Provenance:
        """Model, genome and annotation by their digests."""
        sources = {
            f"model {self.package.spec.name}": self.package.digest,
            f"reference {self.genome.path}": self.genome.digest,
            f"annotation {self.annotation.path}": self.annotation.digest,
        }
        return Provenance(basecast=__version__, sources=sources, note=self.settings.model_dump_json(exclude={"tuning"}))


def _largest_per_gene(rows: Sequence[Row]) -> list[Row]:
    """Of a gene's transcripts the one with the largest score, the first of equal ones, where the first stood."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row.allele, row.mask, row.gene_id, row.symbol, row.strand, row.status)
        if key not in best or (row.delta and max(row.delta.score) > max(best[key].delta.score)):  # type: ignore[union-attr]
            best[key] = row
    return list(best.values())


def score_variants(
    variants: str | Path | Iterable[tuple[str, int, str, str]],
    *,
    model: Package | str | Path,
    genome: Genome | str | Path,
    annotation: Annotation | str | Path,
    settings: VariantSettings | None = None,
    **options: Any,
) -> Scores:
    """Splice scores of a VCF, BCF or TSV, or of (contig, POS, REF, ALT) with POS 1-based and ALT comma-separated.

    Args:
        model: what ``load_model`` takes, or gave.
        settings: or its fields as keywords: ``rules``, ``distance``, ``mask``, ``device`` ...

    Raises:
        InputError, UsageError: as ``Scorer`` and ``VariantReader`` say.
    """
    if settings is not None and options:
        raise UsageError(f"{', '.join(options)} are settings too: give them in settings or as keywords, not both")
    try:
        settings = settings or VariantSettings(**options)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    scorer = Scorer(model, genome, annotation, settings)

    def found() -> Iterator[tuple[int, str, int, str, Sequence[str], Sequence[Row]]]:
        with _records(variants) as records:
            while shard := list(islice(records, SHARD)):
                for record, rows in zip(shard, scorer.rows(shard), strict=True):
                    yield record.number, record.contig, record.position, record.ref, record.alts, rows

    return collect(found(), scorer.provenance)


@contextlib.contextmanager
def _records(variants: str | Path | Iterable[tuple[str, int, str, str]]) -> Iterator[Iterator[VariantRecord]]:
    if isinstance(variants, str | Path):
        with VariantReader(variants) as reader:
            yield iter(reader)
    else:
        yield _from_tuples(variants)


def _from_tuples(variants: Iterable[tuple[str, int, str, str]]) -> Iterator[VariantRecord]:
    for number, (contig, position, ref, alt) in enumerate(variants, start=1):
        yield VariantRecord(number, contig, position - 1, ref, () if alt in (".", "") else tuple(alt.split(",")), b"")
