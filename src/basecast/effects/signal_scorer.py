"""Variants to scores of signals: a ``SignalScorer`` is a model of signals on a genome, with genes where asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, field_validator

from basecast import __version__
from basecast.effects.alleles import placements
from basecast.effects.cut import Cut
from basecast.effects.frame import Frame, Pair, bins_of, first_base
from basecast.effects.rules import REF_MISMATCH, Skipped, edits, misplaced, unscorable
from basecast.effects.signal import Bins, scores, statistic
from basecast.effects.signal_tracks import chosen_of
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import encode
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine
from basecast.inference.ensemble import Values
from basecast.inference.shards import RunSettings
from basecast.inference.tuning import Tuning
from basecast.inference.views import Views, evaluate
from basecast.spec import Provenance, Track
from basecast.spec.model import Frozen
from basecast.zoo.catalogue import load_model
from basecast.zoo.package import Package

SCORED = "scored"
FLIPPED = "scored_genome_has_alt"
_REQUESTS = 3  # of an allele at most
_HELD = 1 << 28
"""Bytes of values of alleles that are asked together."""
_PART = 1 << 26
"""Bytes of scores of a shard."""


class SignalSettings(Frozen):
    """What is asked of the scores of a signal."""

    rules: Literal["basecast", "baskerville"] = Field(
        "basecast", description="baskerville: transforms undone but for their scale, strands merged after the statistic"
    )
    statistics: tuple[str, ...] = Field((), description="by default SAD and logSAD, with genes SED and logSED")
    tracks: tuple[str, ...] = Field((), description="names; by default all")
    span: int | None = Field(None, ge=1, description="bases around a variant whose bins are compared")
    genes: Literal["tss", "exons"] | None = Field(None, description="a row for each gene, of its bins only")
    merge_strands: bool = Field(False, description="add up the two strands of a track")
    untransform: bool = Field(False, description="score what was measured, not what the model was taught")
    views: Views = Views()
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    memory: int | None = Field(None, description="bytes")
    tuning: Tuning | None = Field(None, description="kernels; by default the fastest that are found")

    @field_validator("statistics")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            statistic(name)
        return tuple(dict.fromkeys(names))

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics that are computed."""
        return self.statistics or (("SED", "logSED") if self.genes else ("SAD", "logSAD"))

    def on(self, run: RunSettings) -> Self:
        """The same for the machines of ``run``."""
        return self.model_copy(update=run.engine_settings(self.device, self.memory))


@dataclass(frozen=True, slots=True, eq=False)
class SignalRow:
    """One allele of one record, and one gene where genes are asked for; ``allele`` None: every one.

    ``values`` has a row for each statistic, then the sums of REF and of ALT; it is None where ``status`` says why.
    """

    allele: int | None
    status: str
    gene_id: str = ""
    values: Float[np.ndarray, "rows tracks"] | None = None

    is_precomputed = False

    @property
    def is_scored(self) -> bool:
        """Whether there are values."""
        return self.values is not None

    def to_json(self) -> list[Any]:
        """Plain values; ``from_json`` makes an equal row of them."""
        if self.values is None:
            return [self.allele, self.status, self.gene_id, None]
        packed = base64.b64encode(self.values.astype("<f4").tobytes()).decode()
        return [self.allele, self.status, self.gene_id, packed]

    @classmethod
    def from_json(cls, values: list[Any], n_tracks: int) -> SignalRow:
        """The row that ``to_json`` was asked of."""
        allele, status, gene_id, packed = values
        if packed is None:
            return cls(allele, status, gene_id)
        return cls(allele, status, gene_id, np.frombuffer(base64.b64decode(packed), "<f4").reshape(-1, n_tracks))


class SignalScorer:
    """A model of signals on a genome, ready to score records.

    Args:
        annotation: the genes, where ``settings.genes`` asks for them.

    Raises:
        UsageError: the model gives no signal, has no such track, or settings do not go together.
        InputError: the annotation does not fit the genome.
    """

    def __init__(
        self,
        model: Package | str | Path,
        genome: Genome | str | Path,
        annotation: Annotation | str | Path | None,
        settings: SignalSettings,
    ) -> None:
        self.settings = settings
        self.package = model if isinstance(model, Package) else load_model(model)
        self.genome = genome if isinstance(genome, Genome) else Genome(genome)
        spec = self.package.spec
        if settings.genes and annotation is None:
            raise UsageError(f"--genes {settings.genes} needs genes: give an annotation with -A")
        if annotation is not None and not settings.genes:
            raise UsageError(
                "an annotation (-A) is for scores of genes: say with --genes tss or exons which bins, or leave it out"
            )
        for name in settings.names:
            if statistic(name).is_of_genes and not settings.genes:
                raise UsageError(
                    f"{name} is of genes: give --genes tss or exons and -A, or take SAD, which is the same of a window"
                )
        self.annotation: Annotation | None = None
        if annotation is not None:
            genes = annotation if isinstance(annotation, Annotation) else Annotation.read(annotation)
            self.annotation = genes.fitted_to(self.genome)
        self.frame = Frame.of(spec, settings.span)
        is_theirs = settings.rules == "baskerville"
        self._untransforms = settings.untransform or is_theirs
        self.chosen = chosen_of(
            spec, settings.tracks, merged=settings.merge_strands or is_theirs, unscaled=not is_theirs
        )
        self.engine = Engine(
            self.package,
            device=settings.device,
            precision=settings.precision,
            memory=settings.memory,
            threads=settings.threads,
            tuning=settings.tuning,
        )
        views = len(settings.views.shifts) * (1 + settings.views.reverse_complement)
        floats = views * sum(self.frame.bases // x.output.resolution * len(x.asked) for x in self.chosen)
        self._together = max(_HELD // (4 * floats * _REQUESTS), 1)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """What there are scores of."""
        return tuple(track for chosen in self.chosen for track in chosen.tracks)

    @property
    def warnings(self) -> list[str]:
        """What of the annotation is not used, and why."""
        return self.annotation.warnings if self.annotation else []

    def rows(self, records: Sequence[VariantRecord]) -> list[list[SignalRow]]:
        """The rows of each record; those of one place are cheaper together."""
        planned = [list(self._cases(record)) for record in records]
        scored = self._scored([item for items in planned for item in items if isinstance(item, Pair)])
        return [
            [
                row
                for item in items
                for row in ([SignalRow(item.allele, item.reason)] if isinstance(item, Skipped) else next(scored))
            ]
            for items in planned
        ]

    def payload(self, records: Sequence[VariantRecord]) -> bytes:
        """The rows of a shard as JSON; the same bytes whatever was scored before."""
        self.engine.forget()
        return json.dumps([[row.to_json() for row in found] for found in self.rows(records)]).encode()

    def _cases(self, record: VariantRecord) -> Iterator[Pair | Skipped]:
        """Every allele of a record, in order; of one whose REF is not the genome's, those that the genome has."""
        reason = misplaced(self.genome, record)
        if reason is None or not reason.startswith(REF_MISMATCH):
            yield from self._pairs(record)
            return
        here = [_stands(self.genome, record, alt) for alt in record.alts]
        if not any(here):
            yield Skipped(None, reason)
        for allele, alt in enumerate(record.alts) if any(here) else ():
            if not here[allele]:
                yield Skipped(allele, reason)
                continue
            turned = VariantRecord(record.number, record.contig, record.start, alt, (record.ref,), b"")
            for found in self._pairs(turned, is_flipped=True):
                yield replace(found, allele=allele)

    def _pairs(self, record: VariantRecord, is_flipped: bool = False) -> Iterator[Pair | Skipped]:
        for found in edits(self.genome, record, self.frame.bases // 2):
            if isinstance(found, Skipped):
                yield found
                continue
            allele, contig, edit = found
            whole = (0, self.genome.lengths[contig])
            edit = placements(self.genome, contig, edit).leftmost_within(self.genome, contig, *whole)
            yield Pair.of(self.genome, contig, allele, edit, self.frame, is_flipped=is_flipped)

    def _scored(self, pairs: Sequence[Pair]) -> Iterator[list[SignalRow]]:
        """The rows of each pair; values of a few of them are held at once."""
        asked = {x.output.name: x.asked for x in self.chosen}
        for first in range(0, len(pairs), self._together):
            part = pairs[first : first + self._together]
            requests = [request for pair in part for request in pair.requests]
            values = iter(evaluate(self.engine, requests, self.settings.views, list(asked), asked))
            for pair in part:
                yield self._rows_of(pair, [next(values) for _ in pair.requests])

    def _rows_of(self, pair: Pair, given: Sequence[Values]) -> list[SignalRow]:
        aligned = []
        for x in self.chosen:
            each = [values[x.output.name] for values in given]
            if self._untransforms:
                each = [x.measured(values) for values in each]
            if self.settings.rules == "basecast":
                each = [x.summed(values) for values in each]
            aligned.append(pair.aligned(each, x.output.resolution))
        status = FLIPPED if pair.is_flipped else SCORED
        if self.annotation is None:
            return [SignalRow(pair.allele, status, "", self._scores_of(aligned, [slice(None)] * len(aligned)))]
        rows = []
        for gene, stretches in self._genes(pair).items():
            bins = [
                bins_of(pair, stretches, len(ref), x.output.resolution)
                for x, (ref, _) in zip(self.chosen, aligned, strict=True)
            ]
            if any(found.size for found in bins):
                rows.append(SignalRow(pair.allele, status, gene, self._scores_of(aligned, bins)))
        return rows or [SignalRow(pair.allele, "no_gene")]

    def _scores_of(self, aligned: Sequence[tuple[Bins, Bins]], bins: Sequence[Any]) -> Float[np.ndarray, "rows tracks"]:
        """Of the tracks of all outputs, the scores over some bins of each."""
        names, found = self.settings.names, []
        for x, (ref, alt), chosen in zip(self.chosen, aligned, bins, strict=True):
            here = scores(names, ref[chosen], alt[chosen])
            if self.settings.rules == "baskerville":
                norms = [statistic(name).is_norm for name in names] + [False, False]
                here = np.concatenate([x.summed(here[i : i + 1], is_norm) for i, is_norm in enumerate(norms)])
            found.append(here)
        return np.concatenate(found, axis=1)

    def _genes(self, pair: Pair) -> dict[str, list[tuple[int, int]]]:
        """Of each gene near a pair the stretches whose bins are its own, in file order."""
        assert self.annotation is not None
        found: dict[str, list[tuple[int, int]]] = {}
        reference = pair.requests[0]
        around = abs(pair.edit.growth)
        for transcript in self.annotation.overlapping(reference.contig, pair.start - around, reference.end + around):
            own = transcript.exons if self.settings.genes == "exons" else [first_base(transcript)]
            found.setdefault(transcript.gene_id or transcript.gene_name, []).extend(own)
        return found

    def cut(self, device: str, *, through_pipe: bool = False) -> Cut:
        """How records are cut into shards for a kind of device: by windows, and by what their scores take."""
        views = len(self.settings.views.shifts) * (1 + self.settings.views.reverse_complement)
        cut = Cut.of(self.package, self.frame.window * views, device, through_pipe=through_pipe)
        most = _PART // (4 * (len(self.settings.names) + 2) * len(self.tracks))
        return cut.model_copy(update={"records": max(min(cut.records, most), 1), "span": 0, "change": 1})

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere opens the genome there; the model and the genes travel."""
        settings = self.settings.model_copy(update={"tuning": self.engine.tuning})
        return SignalScorer, (self.package, self.genome, self.annotation, settings)

    @property
    def plan(self) -> dict[str, Any]:
        """What of a run's plan decides its scores."""
        return {
            "basecast": __version__,
            "model": self.package.digest,
            "reference": self.genome.digest,
            "aliases": self.genome.aliases_digest,
            "annotation": self.annotation.words if self.annotation else None,
            **self.settings.model_dump(mode="json", exclude={"threads", "memory", "tuning"}),
            "tile (--memory)": self.engine.longest_tile,
        }

    @property
    def provenance(self) -> Provenance:
        """Model, genome and annotation by their digests."""
        sources = {
            f"model {self.package.spec.name}": self.package.digest,
            f"reference {self.genome.path}": self.genome.digest,
        }
        if self.annotation:
            sources[f"annotation {self.annotation.path}"] = self.annotation.digest
        return Provenance(basecast=__version__, sources=sources, note=self.settings.model_dump_json(exclude={"tuning"}))


def _stands(genome: Genome, record: VariantRecord, alt: str) -> bool:
    """Whether the genome has this ALT, of as many bases as REF, where the record is."""
    if len(alt) != len(record.ref) or unscorable(alt) is not None:
        return False
    return np.array_equal(genome.tokens(record.contig, record.start, record.start + len(alt)), encode(alt))
