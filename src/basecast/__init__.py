"""Basecast turns DNA sequence into function.

>>> import basecast as bc
>>> scores = bc.score_variants("in.vcf", model="human-400-demo", genome="hg38.fa", annotation="genes.gtf")
>>> scores.table
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from basecast.effects.annotate import OutputSettings, annotate_variants
    from basecast.effects.scorer import VariantSettings, score_variants
    from basecast.effects.scores import Scores
    from basecast.errors import BasecastError, InputError, UsageError
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.inference.engine import Engine
    from basecast.inference.request import Request
    from basecast.inference.shards import RunSettings
    from basecast.prediction.predict import SiteSettings, SiteSummary, predict_sites
    from basecast.prediction.predictor import PredictSettings
    from basecast.zoo.catalogue import load_model

_WHERE = {
    "Annotation": "genome.annotation",
    "BasecastError": "errors",
    "Engine": "inference.engine",
    "Genome": "genome.reference",
    "InputError": "errors",
    "OutputSettings": "effects.annotate",
    "PredictSettings": "prediction.predictor",
    "Request": "inference.request",
    "RunSettings": "inference.shards",
    "Scores": "effects.scores",
    "SiteSettings": "prediction.predict",
    "SiteSummary": "prediction.predict",
    "UsageError": "errors",
    "VariantSettings": "effects.scorer",
    "annotate_variants": "effects.annotate",
    "load_model": "zoo.catalogue",
    "predict_sites": "prediction.predict",
    "score_variants": "effects.scorer",
}

__all__ = [
    "Annotation",
    "BasecastError",
    "Engine",
    "Genome",
    "InputError",
    "OutputSettings",
    "PredictSettings",
    "Request",
    "RunSettings",
    "Scores",
    "SiteSettings",
    "SiteSummary",
    "UsageError",
    "VariantSettings",
    "__version__",
    "annotate_variants",
    "load_model",
    "predict_sites",
    "score_variants",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch takes a second."""
    if name not in _WHERE:
        raise AttributeError(f"module 'basecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"basecast.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
