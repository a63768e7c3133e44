"""A small dataset of made-up records, and what a network gives for it when it is asked directly."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from toys import package_of

from basecast.data.store import Dataset, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.genome.sequence import N, Tokens, unknown
from basecast.models.layers import make_one_hot
from basecast.spec.splice import ACCEPTOR, DONOR, splice_output
from basecast.zoo.package import Package

N_RECORDS = 24
HALF = 22  # bases that the tiny network sees at each side


def write_split(
    folder: Path,
    split: str = "test",
    *,
    seed: int = 0,
    n: int = N_RECORDS,
    by: Package | None = None,
    heat: Sequence[float] = (1.0,),
    **header: Any,
) -> Path:
    """``n`` records of 200 to 900 bases on three chromosomes, each with some sites; the path of the folder.

    Sites lie where ``model()`` thinks that they are likely, more or less. With ``by`` each base is what is drawn from
    the softmax of that model's mean logits, divided by ``heat``.
    """
    rng = np.random.default_rng([seed, len(split)])
    folder.mkdir(exist_ok=True)
    told = Header(**{"split": split, "outputs": (splice_output(),), **header})
    knows = model()
    with Writer(folder / f"{split}.h5", told) as writer:
        for i in range(n):
            length = int(rng.integers(200, 900))
            sequence = rng.integers(0, 4, length + 2 * told.flank).astype(np.uint8)
            seen = np.pad(sequence[told.flank : told.flank + length], HALF, constant_values=N)
            (x,) = _logits(knows, seen)
            likely = rng.permuted(np.argsort(-softmax(x), axis=0)[:6], axis=0)[: int(rng.integers(0, 4))]
            found = {int(at): label for label in (ACCEPTOR, DONOR) for at in likely[:, label]}
            if by is not None:
                p = softmax(np.mean(_logits(by, seen), axis=0) / np.array(heat))
                drawn = (rng.random((length, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
                found = {int(at): int(drawn[at]) for at in np.flatnonzero(drawn)}
            positions = np.array(sorted(found), dtype=np.int64)
            sites = Sites(
                positions,
                np.array([found[at] for at in positions.tolist()], dtype=np.uint8),
                np.full(positions.size, np.nan, dtype=np.float32),
                rng.integers(0, 4, positions.size).astype(np.uint8),
                rng.integers(20, 900, positions.size).astype(np.int32),
                rng.integers(0, 4, positions.size).astype(np.uint8),
            )
            chromosome = f"chr{i % 3 + 1}"
            record = Record(
                f"{chromosome}_part", i * 1000, i * 1000 + length, "+-"[i % 2], f"group{i // 2}", chromosome, i * 1000,
                f"GENE{i},ALIAS{i}",
            )  # fmt: skip
            bad = np.array([[5, 15], [100, 130]]) if i % 4 == 0 else np.zeros((0, 2), dtype=np.int64)
            writer.add(record, sequence, {"splice": sites}, {"splice": bad})
    return folder


def model(members: int = 1, seed: int = 0, *, steep: float = 4.0, **card: Any) -> Package:
    """A tiny network whose logits are spread out."""
    package = package_of("spliceai", members, seed, **{"mask": "gene", "name": f"tiny-{seed}", **card})
    with torch.no_grad():
        for network in package.networks:
            network.head.weight.mul_(steep)  # type: ignore[union-attr,operator]
    return package


def logits(package: Package, dataset: Dataset, record: int, *, masked: bool = True) -> list[NDArray[np.float64]]:
    """Of each member at every position of a record, (positions, classes), in double precision."""
    length = int(dataset.lengths[record])
    if masked:
        tokens = np.concatenate([unknown(HALF), dataset.tokens(record, 0, length), unknown(HALF)])
    else:
        tokens = dataset.tokens(record, -HALF, length + HALF)
    return _logits(package, tokens)


def _logits(package: Package, tokens: Tokens) -> list[NDArray[np.float64]]:
    one_hot = make_one_hot(torch.from_numpy(tokens)[None], torch.float64)
    with torch.no_grad():
        return [copy.deepcopy(network).double()(one_hot)[0].T.numpy() for network in package.networks]


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
