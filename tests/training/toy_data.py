"""Small datasets whose sites a tiny network can learn, and training on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from basecast.data.loader import Source
from basecast.data.opening import open_split
from basecast.data.store import SITE_TYPES, Header, Record, Sites
from basecast.data.windows import Sampling
from basecast.data.writer import Writer
from basecast.genome.sequence import encode
from basecast.models.spliceai import spec, tiny
from basecast.spec import ModelSpec
from basecast.spec.splice import ACCEPTOR, DONOR, SPLICE, splice_output
from basecast.training.distributed import Ranks
from basecast.training.loop import Loop, LoopSettings
from basecast.training.train import Start, from_scratch

LENGTH, APART = 400, 40
CONTEXT = tiny().context
SMALL: dict[str, Any] = {"sampling": Sampling(window=100), "batch_size": 8, "epochs": 2}


def sites_at(positions: Sequence[int], labels: Sequence[int]) -> Sites:
    """Sites of which nothing more is known."""
    columns = {"position": np.array(positions), "label": np.array(labels)}
    return Sites(*(columns.get(n, np.zeros(len(positions))).astype(kind) for n, kind in SITE_TYPES.items()))


def planted(rng: np.random.Generator, length: int, flank: int = 0) -> tuple[NDArray[np.uint8], Sites]:
    """Random bases with a donor, TGGTAAGT, and an acceptor, TTTCAGGT, in turn every ``APART`` bases."""
    bases = rng.integers(0, 4, length + 2 * flank).astype(np.uint8)
    positions = np.arange(APART // 2, length - APART // 2, APART)
    labels = np.where(np.arange(len(positions)) % 2, ACCEPTOR, DONOR)
    for position, label in zip(positions + flank, labels, strict=True):
        motif, first = ("TGGTAAGT", position - 1) if label == DONOR else ("TTTCAGGT", position - 6)
        bases[first : first + 8] = encode(motif)
    return bases, sites_at(positions.tolist(), labels.tolist())


def write_data(folder: Path, *, records: int = 6, length: int = LENGTH, seed: int = 1, **header: Any) -> Path:
    """Train and validation splits of a folder, with ``records`` and half as many."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"species": "Toyus toyi", "genome_build": "toy1", "sources": {"toy.fa": f"{seed:064d}"}, **header}
    for number, (split, n) in enumerate((("train", records), ("validation", records // 2), ("test", 1))):
        rng = np.random.default_rng([seed, number])
        described = Header(split=split, outputs=(splice_output(),), **known)
        with Writer(folder / f"{split}.h5", described) as writer:
            for i in range(n):
                bases, sites = planted(rng, length + 10 * i, described.flank)
                record = Record(f"{split}{i}", 1000, 1000 + length + 10 * i, "+-"[i % 2])
                writer.add(record, bases, {SPLICE: sites})
    return folder


def described(**more: Any) -> ModelSpec:
    """The tiny network of the tests' datasets."""
    return spec(tiny(), **{"name": "toy", "licence": "CC0-1.0", "species": "Toyus toyi", **more})


def scratch(**more: Any) -> Start:
    return from_scratch(described(**more))


def settings_of(**more: Any) -> LoopSettings:
    return LoopSettings.model_validate(SMALL | more)


def sources_of(folder: Path, sampling: Sampling, context: int = CONTEXT) -> tuple[Source, Source]:
    """Training and validation data."""
    around = (context // 2, context // 2)
    training, validation = (Source.of([open_split(folder, s)], sampling, around) for s in ("train", "validation"))
    return training, validation


def loop_on(
    folder: Path, stem: Path, settings: LoopSettings, *, seed: int = 1, ranks: Ranks | None = None, **more: Any
) -> Loop:
    """A loop from new weights."""
    training, validation = sources_of(folder, settings.sampling)
    network = scratch().network(seed).to(torch.float64 if settings.precision == "fp64" else torch.float32)
    outputs = (splice_output(),)
    return Loop(network, outputs, training, validation, settings, seed=seed, stem=stem, ranks=ranks or Ranks(), **more)


def metrics_of(path: Path, kind: str = "step") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """To the bit."""
    return first.keys() == second.keys() and all(torch.equal(x, second[name]) for name, x in first.items())
