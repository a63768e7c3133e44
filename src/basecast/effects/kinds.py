"""What a model's outputs are decides how variants are scored with it: sites, which are classes, or signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from basecast.effects.cut import Cut
from basecast.effects.layout import SpliceLayout
from basecast.effects.output import OutputSettings
from basecast.effects.precomputed import Precomputed, PrecomputedSettings
from basecast.effects.scorer import Scorer, VariantSettings
from basecast.effects.signal_output import SignalLayout, SignalOutput
from basecast.effects.signal_scorer import SignalScorer, SignalSettings
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine
from basecast.inference.jobs import Worker
from basecast.spec import ModelSpec, Provenance
from basecast.zoo.package import Package

Settings = VariantSettings | SignalSettings
Output = OutputSettings | SignalOutput
Layout = SpliceLayout | SignalLayout


class VariantScorer(Protocol):
    """A model on a genome, ready to score records."""

    package: Package
    genome: Genome
    engine: Engine

    @property
    def plan(self) -> dict[str, Any]:
        """What of a run's plan decides its scores."""

    @property
    def provenance(self) -> Provenance:
        """All that is read, by digests."""

    @property
    def warnings(self) -> list[str]:
        """What of the annotation is not used, and why."""

    def cut(self, device: str, *, through_pipe: bool = False) -> Cut:
        """How records are cut into shards for a kind of device."""

    def payload(self, records: Sequence[VariantRecord]) -> bytes:
        """A JSON array of the rows of each record; the same bytes whatever was scored before."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to score variants.

    Attributes:
        gives: what such models give, as words.
        settings, output: what is asked of the scores, and of the file; each with its defaults.
        scorer: makes one of a model, a genome, an annotation (or None) and settings.
        worker: of a scorer, an output and files of scores (or None) what gives the rows of a shard.
        layout: of these, the output's target and a kind of device.
    """

    gives: str
    settings: type[Settings]
    output: type[Output]
    scorer: Callable[[Package, Genome | str | Path, Annotation | str | Path | None, Any], VariantScorer]
    worker: Callable[[Any, Any, PrecomputedSettings | None], Worker]
    layout: Callable[[Any, Any, str, str, PrecomputedSettings | None], Layout]

    def check(self, model: str, settings: Settings, output: Output) -> None:
        """Stop where something was asked that is not for such a model.

        Raises:
            UsageError: it was.
        """
        for given, wanted in ((settings, self.settings), (output, self.output)):
            if not isinstance(given, wanted):
                raise UsageError(f"{model} gives {self.gives}: give {wanted.__name__}, not {type(given).__name__}")


def _splice_scorer(
    model: Package, genome: Genome | str | Path, annotation: Annotation | str | Path | None, settings: VariantSettings
) -> Scorer:
    if annotation is None:
        raise UsageError(f"{model.spec.name} gives splice sites, which are scored in genes: give an annotation with -A")
    return Scorer(model, genome, annotation, settings)


def _splice_worker(scorer: Scorer, output: OutputSettings, precomputed: PrecomputedSettings | None) -> Worker:
    if not precomputed:
        return scorer.payload
    return Precomputed(scorer, precomputed, output.decimals, output.probabilities).payload


def _splice_layout(
    scorer: Scorer, output: OutputSettings, target: str, device: str, precomputed: PrecomputedSettings | None
) -> SpliceLayout:
    return SpliceLayout.of(scorer, output, device, precomputed)


def _signal_worker(scorer: SignalScorer, output: SignalOutput, precomputed: PrecomputedSettings | None) -> Worker:
    if precomputed:
        raise UsageError(f"{scorer.package.spec.name} gives signals: --precomputed takes scores of splice sites")
    return scorer.payload


def _signal_layout(
    scorer: SignalScorer, output: SignalOutput, target: str, device: str, precomputed: PrecomputedSettings | None
) -> SignalLayout:
    return SignalLayout.of(scorer, output, target)


SPLICE = Kind("splice sites", VariantSettings, OutputSettings, _splice_scorer, _splice_worker, _splice_layout)
SIGNAL = Kind("signals", SignalSettings, SignalOutput, SignalScorer, _signal_worker, _signal_layout)


def kind_of(spec: ModelSpec) -> Kind:
    """How variants are scored with a model: by its sites where an output has classes, else by its signals."""
    return SPLICE if any(output.has_classes for output in spec.outputs) else SIGNAL
