"""Basecast turns DNA sequence into function.

>>> import basecast as bc
>>> scores = bc.score_variants("in.vcf", model="human-400", genome="hg38.fa", annotation="genes.gtf")
>>> scores.table
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from basecast.effects.annotate import annotate_variants
    from basecast.effects.output import OutputSettings, Summary
    from basecast.effects.precomputed import PrecomputedSettings
    from basecast.effects.saturate import SaturationSummary, Wanted, saturate
    from basecast.effects.scorer import VariantSettings, score_variants
    from basecast.effects.scores import Scores
    from basecast.errors import BasecastError, InputError, UsageError
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.inference.engine import Engine
    from basecast.inference.request import Request
    from basecast.inference.shards import RunSettings
    from basecast.inference.tuning import Tuning
    from basecast.prediction.predict import SiteSettings, SiteSummary, predict_sites
    from basecast.prediction.predictor import PredictSettings
    from basecast.zoo.catalogue import load_model

_WHERE = {
    "Annotation": "genome.annotation",
    "BasecastError": "errors",
    "Engine": "inference.engine",
    "Genome": "genome.reference",
    "InputError": "errors",
    "OutputSettings": "effects.output",
    "PrecomputedSettings": "effects.precomputed",
    "PredictSettings": "prediction.predictor",
    "Request": "inference.request",
    "RunSettings": "inference.shards",
    "SaturationSummary": "effects.saturate",
    "Scores": "effects.scores",
    "SiteSettings": "prediction.predict",
    "SiteSummary": "prediction.predict",
    "Summary": "effects.output",
    "Tuning": "inference.tuning",
    "UsageError": "errors",
    "VariantSettings": "effects.scorer",
    "Wanted": "effects.saturate",
    "annotate_variants": "effects.annotate",
    "load_model": "zoo.catalogue",
    "predict_sites": "prediction.predict",
    "saturate": "effects.saturate",
    "score_variants": "effects.scorer",
}

__all__ = [
    "Annotation",
    "BasecastError",
    "Engine",
    "Genome",
    "InputError",
    "OutputSettings",
    "PrecomputedSettings",
    "PredictSettings",
    "Request",
    "RunSettings",
    "SaturationSummary",
    "Scores",
    "SiteSettings",
    "SiteSummary",
    "Summary",
    "Tuning",
    "UsageError",
    "VariantSettings",
    "Wanted",
    "__version__",
    "annotate_variants",
    "load_model",
    "predict_sites",
    "saturate",
    "score_variants",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch takes a second."""
    if name not in _WHERE:
        raise AttributeError(f"module 'basecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"basecast.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
