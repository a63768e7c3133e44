"""A made-up signal dataset, in a moment: wherever a motif lies there are reads on its strand, elsewhere hardly any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from basecast.data.store import Header, Record
from basecast.data.writer import Writer
from basecast.genome.sequence import Tokens, encode, reverse_complement
from basecast.spec.model import Output, ReverseComplement, Track

MOTIF = "TGACTCAA"
RECORDS = {"train": 12, "validation": 3, "test": 3}


def signal_output(resolution: int = 32) -> Output:
    """Two tracks that are the strands of one experiment."""
    tracks = tuple(
        Track(name=f"reads{strand}", strand=strand, assay="CAGE", description="CAGE:made up") for strand in "+-"
    )
    swapped = ReverseComplement(permutation=(1, 0))
    return Output(name="signal", tracks=tracks, resolution=resolution, link="softplus", reverse_complement=swapped)


def planted(rng: np.random.Generator, length: int, every: int = 400) -> Tokens:
    """Random bases with a motif on either strand every so many bases, about."""
    tokens = rng.integers(4, size=length).astype(np.uint8)
    motif = encode(MOTIF)
    for at in rng.integers(0, length - len(MOTIF), length // every):
        tokens[at : at + len(MOTIF)] = motif if rng.random() < 0.5 else reverse_complement(motif)
    return tokens


def rates(tokens: Tokens, resolution: int) -> NDArray[np.float32]:
    """Expected reads of each bin, shape (bins, 2): 10 where a motif begins and 4 in the bins beside it, else 0.2."""
    found = []
    for motif in (encode(MOTIF), reverse_complement(encode(MOTIF))):
        windows = np.lib.stride_tricks.sliding_window_view(tokens, len(MOTIF))
        starts = np.flatnonzero((windows == motif).all(axis=1))
        counts = np.bincount(starts // resolution, minlength=len(tokens) // resolution)[: len(tokens) // resolution]
        found.append(0.2 + np.convolve(counts, (4, 10, 4), mode="same"))
    return np.stack(found, axis=1).astype(np.float32)


def write_signal_dataset(
    folder: Path,
    *,
    resolution: int = 32,
    length: int = 8192,
    flank: int = 1024,
    window: int = 2048,
    records: Mapping[str, int] = RECORDS,
    seed: int = 0,
) -> Path:
    """``train.h5``, ``validation.h5`` and ``test.h5``, with as many records of ``length`` bases as ``records`` says."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    output = signal_output(resolution)
    for split, n in records.items():
        settings = {"window": window, "stride": window}
        header = Header(
            split=split, mask="none", flank=flank, outputs=(output,), dense=(output.name,), settings=settings
        )
        with Writer(folder / f"{split}.h5", header) as writer:
            for i in range(n):
                tokens = planted(rng, length + 2 * flank)
                values = rng.poisson(rates(tokens[flank : flank + length], resolution)).astype(np.float32)
                record = Record(f"{split}{i}", flank, flank + length, "+", chromosome=f"{split}{i}", source_start=flank)
                writer.add(record, tokens, {output.name: values})
    return folder
