"""Short ways to ask an engine about one random sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from basecast.genome.source import Text
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.zoo.package import Package

TOKENS = np.random.default_rng(0).integers(0, 4, 4000).astype(np.uint8)
HALF = 22  # bases that the tiny SpliceAI sees at each side


def engine_of(package: Package, **options: Any) -> Engine:
    return Engine(package, **{"device": "cpu", "threads": 1, **options})


def on(start: int, end: int, strand: str = "+", tokens: np.ndarray = TOKENS, **more: Any) -> Request:
    return Request(Text(tokens), "sequence", start, end, strand, **more)


def with_spec(package: Package, **changes: Any) -> Package:
    return Package(package.spec.model_copy(update=changes), package.networks)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every batch of whole windows that an engine runs from now on."""
    batches: list[int] = []
    forward = Engine._forward

    def noted(self: Engine, batch: list[Any], *rest: Any) -> Any:
        batches.append(len(batch))
        return forward(self, batch, *rest)

    monkeypatch.setattr(Engine, "_forward", noted)
    return batches


def values(engine: Engine, request: Request, output: str = "splice") -> np.ndarray:
    return engine.evaluate([request])[0][output]
