"""Made-up signals and small networks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from signal_toys import signal_output, write_signal_dataset

from basecast.data.loader import Source
from basecast.data.opening import open_split
from basecast.spec import ModelSpec
from basecast.training.design import designed
from basecast.training.distributed import Ranks
from basecast.training.fitting import context_of
from basecast.training.loop import Loop, LoopSettings
from basecast.training.recipes import signal
from basecast.training.train import from_scratch

__all__ = ["signal_output", "write_signal_dataset"]  # for those who import them from here

BIN, WINDOW = 8, 512
WIDE = {"tower": [{"filters": 24, "width": 15, "pool": 2}, {"filters": 24, "width": 5, "pool": 4}]}
"""As much as it takes to see the motif."""


def signals(folder: Path, **more: Any) -> Path:
    """Datasets of 8-bp bins."""
    options = {"length": 2048, "flank": 256, "window": WINDOW, "records": {"train": 6, "validation": 2, "test": 1}}
    return write_signal_dataset(folder, resolution=BIN, **(options | more))


def basenji_of(config: dict[str, Any] | None = None, **card: Any) -> ModelSpec:
    """A network of a thousand weights for these signals."""
    card = {"name": "toy", "licence": "CC0-1.0", **card}
    return designed((signal_output(BIN),), family="basenji", size="tiny", config=config, **card)


def settings_of(**more: Any) -> LoopSettings:
    """The recipe for signals, on few windows."""
    return LoopSettings.model_validate(signal().model_dump() | {"sampling": {"window": WINDOW}, "epochs": 1} | more)


def loop_on(
    folder: Path,
    stem: Path,
    settings: LoopSettings,
    *,
    spec: ModelSpec | None = None,
    seed: int = 1,
    ranks: Ranks | None = None,
    checkpointed: bool = False,
    **more: Any,
) -> Loop:
    """A loop from new weights."""
    import torch

    spec = spec or basenji_of()
    training, validation = (
        Source.of([open_split(folder, split)], settings.sampling, context_of(spec), spec.outputs)
        for split in ("train", "validation")
    )
    network = from_scratch(spec).network(seed).to(torch.float64 if settings.precision == "fp64" else torch.float32)
    network.checkpointed = checkpointed
    return Loop(
        network, spec.outputs, training, validation, settings, seed=seed, stem=stem, ranks=ranks or Ranks(), **more
    )
