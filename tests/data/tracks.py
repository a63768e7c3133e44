"""Small genomes with bigWigs over them, and what their bins are, without any of the code under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from basecast.genome.signal import write_bigwig

Values = NDArray[np.float32]


def write_genome(
    path: Path, lengths: Mapping[str, int], *, seed: int = 0, gaps: Sequence[tuple[str, int, int]] = ()
) -> Path:
    """Random bases, N at the gaps."""
    rng = np.random.default_rng(seed)
    bases = {
        name: bytearray(rng.choice(list(b"ACGT"), length).astype(np.uint8).tobytes())
        for name, length in lengths.items()
    }
    for contig, start, end in gaps:
        bases[contig][start:end] = b"N" * (end - start)
    path.write_text("".join(f">{name}\n{text.decode()}\n" for name, text in bases.items()))
    return path


def counts(lengths: Mapping[str, int], *, seed: int = 0, rate: float = 0.3) -> dict[str, Values]:
    """Reads that begin at each base of each contig."""
    rng = np.random.default_rng(seed)
    return {name: rng.poisson(rate, length).astype(np.float32) for name, length in lengths.items()}


def write_track(path: Path, lengths: Mapping[str, int], values: Mapping[str, Values]) -> Path:
    """A bigWig of the values that are not 0; contigs that ``values`` does not have are in it without any."""
    stretches = [
        (name, np.flatnonzero(values[name]), values[name][np.flatnonzero(values[name])])
        for name in lengths
        if name in values
    ]
    write_bigwig(path, lengths, stretches)
    return path


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A targets table with the columns of the first row."""
    columns = list(rows[0])
    path.write_text("\n".join("\t".join(map(str, line)) for line in (columns, *(row.values() for row in rows))) + "\n")
    return path
