"""Small datasets and untrained models, for tests of what is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from basecast.data.store import Header, Record, Sites
from basecast.data.writer import Writer
from basecast.models.registry import build
from basecast.models.spliceai import spec, tiny
from basecast.spec.splice import CLASSES, splice_output
from basecast.zoo.package import Package

LICENCE = "GPL-3.0-only"


def folder_of(at: Path, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Path:
    """Datasets of three records a split: random bases, with sites at random places."""
    at.mkdir()
    rng = np.random.default_rng(seed)
    for split in ("train", "validation"):
        header = Header(outputs=(splice_output(classes),), split=split, species="Testudo")
        with Writer(at / f"{split}.h5", header) as writer:
            for number in range(3):
                position = np.sort(rng.choice(300, 12, replace=False)).astype(np.int64)
                label = (1 + np.arange(12) % (len(classes) - 1)).astype(np.uint8)
                nothing = np.zeros(12, dtype=np.uint8)
                sites = Sites(
                    position, label, np.full(12, np.nan, np.float32), nothing, nothing.astype(np.int32), nothing
                )
                bases = rng.integers(0, 4, 300, dtype=np.uint8)
                writer.add(Record("c", 0, 300, "+", genes=f"g{number}"), bases, {"splice": sites})
    return at


def parent_of(members: int = 1) -> Package:
    config = tiny()
    described = spec(config, members=members, name="parent", licence=LICENCE)
    networks = []
    for seed in range(members):
        torch.manual_seed(seed)
        assert described.architecture is not None
        networks.append(build(described.architecture).eval().requires_grad_(False))
    return Package(described, tuple(networks))
