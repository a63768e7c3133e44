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
    from basecast.data.create import CreateSettings, create_data
    from basecast.data.create_signal import create_signal_data
    from basecast.data.opening import open_split
    from basecast.data.store import Dataset
    from basecast.data.windows import Sampling
    from basecast.effects.annotate import annotate_variants
    from basecast.effects.output import OutputSettings, Summary
    from basecast.effects.precomputed import PrecomputedSettings
    from basecast.effects.saturate import SaturationSummary, Wanted, saturate
    from basecast.effects.scorer import VariantSettings, score_variants
    from basecast.effects.scores import Scores
    from basecast.errors import BasecastError, InputError, UsageError
    from basecast.evaluation.evaluate import evaluate
    from basecast.evaluation.evaluation import EvaluateSettings, Evaluation
    from basecast.evaluation.signal_evaluation import SignalEvaluateSettings, SignalEvaluation
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.inference.engine import Engine
    from basecast.inference.request import Request
    from basecast.inference.shards import RunSettings
    from basecast.inference.tuning import Tuning
    from basecast.inference.views import Views
    from basecast.prediction.predict import (
        SignalSummary,
        SiteSettings,
        SiteSummary,
        TrackSettings,
        predict_signal,
        predict_sites,
    )
    from basecast.prediction.predictor import PredictSettings
    from basecast.prediction.signal import SignalSettings
    from basecast.training.calibration import CalibrateSettings, calibrate
    from basecast.training.distillation import TeachingSettings, teach
    from basecast.training.loop import LoopSettings
    from basecast.training.train import from_scratch, train
    from basecast.training.transfer import TransferSettings, from_parent
    from basecast.zoo.catalogue import load_model

_WHERE = {
    "Annotation": "genome.annotation",
    "BasecastError": "errors",
    "CalibrateSettings": "training.calibration",
    "CreateSettings": "data.create",
    "Dataset": "data.store",
    "Engine": "inference.engine",
    "EvaluateSettings": "evaluation.evaluation",
    "Evaluation": "evaluation.evaluation",
    "Genome": "genome.reference",
    "InputError": "errors",
    "LoopSettings": "training.loop",
    "OutputSettings": "effects.output",
    "PrecomputedSettings": "effects.precomputed",
    "PredictSettings": "prediction.predictor",
    "Request": "inference.request",
    "RunSettings": "inference.shards",
    "Sampling": "data.windows",
    "SaturationSummary": "effects.saturate",
    "Scores": "effects.scores",
    "SignalEvaluateSettings": "evaluation.signal_evaluation",
    "SignalEvaluation": "evaluation.signal_evaluation",
    "SignalSettings": "prediction.signal",
    "SignalSummary": "prediction.predict",
    "SiteSettings": "prediction.predict",
    "SiteSummary": "prediction.predict",
    "Summary": "effects.output",
    "TeachingSettings": "training.distillation",
    "TransferSettings": "training.transfer",
    "TrackSettings": "prediction.predict",
    "Tuning": "inference.tuning",
    "UsageError": "errors",
    "VariantSettings": "effects.scorer",
    "Views": "inference.views",
    "Wanted": "effects.saturate",
    "annotate_variants": "effects.annotate",
    "calibrate": "training.calibration",
    "create_data": "data.create",
    "create_signal_data": "data.create_signal",
    "evaluate": "evaluation.evaluate",
    "from_parent": "training.transfer",
    "from_scratch": "training.train",
    "load_model": "zoo.catalogue",
    "open_split": "data.opening",
    "predict_signal": "prediction.predict",
    "predict_sites": "prediction.predict",
    "saturate": "effects.saturate",
    "score_variants": "effects.scorer",
    "teach": "training.distillation",
    "train": "training.train",
}

__all__ = [
    "Annotation",
    "BasecastError",
    "CalibrateSettings",
    "CreateSettings",
    "Dataset",
    "Engine",
    "EvaluateSettings",
    "Evaluation",
    "Genome",
    "InputError",
    "LoopSettings",
    "OutputSettings",
    "PrecomputedSettings",
    "PredictSettings",
    "Request",
    "RunSettings",
    "Sampling",
    "SaturationSummary",
    "Scores",
    "SignalEvaluateSettings",
    "SignalEvaluation",
    "SignalSettings",
    "SignalSummary",
    "SiteSettings",
    "SiteSummary",
    "Summary",
    "TeachingSettings",
    "TrackSettings",
    "TransferSettings",
    "Tuning",
    "UsageError",
    "VariantSettings",
    "Views",
    "Wanted",
    "__version__",
    "annotate_variants",
    "calibrate",
    "create_data",
    "create_signal_data",
    "evaluate",
    "from_parent",
    "from_scratch",
    "load_model",
    "open_split",
    "predict_signal",
    "predict_sites",
    "saturate",
    "score_variants",
    "teach",
    "train",
]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: torch takes a second."""
    if name not in _WHERE:
        raise AttributeError(f"module 'basecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"basecast.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
