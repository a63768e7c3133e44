"""Two models of signal, what they must give of whole contigs by their plain networks, and their files read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import torch
from direct import arguments
from torch import Tensor, nn
from toys import ToyConfig, make_spec, package_of

from basecast.cli.main import main
from basecast.genome.signal import BigWig
from basecast.models.layers import crop
from basecast.models.network import NO_CONDITIONS, Network, pick
from basecast.models.registry import Family, register
from basecast.spec import LocalReach, ModelSpec, Output, ReverseComplement, TargetTransform, Track, WindowReach
from basecast.zoo.package import Package

_CODES = dict(zip("ACGTN", range(5), strict=True))
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


class Windowed(Network):
    """Bins of 8 bases, each of which sees its whole window of 128 bases; 24 at each end are cropped."""

    output_names = ("signal",)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, config.channels, 9, padding="same")
        self.head = nn.Conv1d(config.channels, 3, 1)

    def embed(self, one_hot: Tensor, conditions: Mapping[str, Tensor] = NO_CONDITIONS) -> Tensor:
        x = nn.functional.avg_pool1d(nn.functional.gelu(self.stem(one_hot)), 8)
        place = torch.linspace(0, 3, x.shape[-1], dtype=x.dtype)
        return crop(x + (x * place.cos()).mean(-1, keepdim=True) + 0.3 * place.sin(), x.shape[-1] - 6)

    def heads(
        self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"signal": pick(self.head, tracks.get("signal"), embedding)}


def windowed_spec(config: ToyConfig, *, members: int = 1, **card: object) -> ModelSpec:
    tracks = (
        Track(name="CAGE+", strand="+", description="one strand", transform=TargetTransform(power=0.5)),
        Track(name="CAGE-", strand="-", description="the other"),
        Track(name="DNASE/x y", transform=TargetTransform(scale=0.1, soft_clip=0.05)),
    )
    signal = Output(
        name="signal",
        tracks=tracks,
        resolution=8,
        link="softplus",
        reverse_complement=ReverseComplement(permutation=(1, 0, 2)),
    )
    return make_spec("toy_whole_windows", config, WindowReach(lengths=(96, 128), crop=24), [signal], members, **card)


register(Family("toy_whole_windows", ToyConfig, Windowed, {"tiny": ToyConfig}, windowed_spec))


# ---- what must be


def forward(package: Package, bases: str, strand: str) -> np.ndarray:
    """Values of a window's bins, (bins, tracks), in the order of the contig; the mean over the networks."""
    seen = bases.translate(_COMPLEMENT)[::-1] if strand == "-" else bases
    one_hot = torch.eye(5)[torch.tensor([_CODES[base] for base in seen])][:, :4].T[None]
    with torch.inference_mode():
        values = torch.stack([nn.functional.softplus(network(one_hot)) for network in package.networks]).mean(0)
    found = values[0].T.numpy()
    rule = package.spec.outputs[0].reverse_complement
    return np.roll(found[:, list(rule.permutation)][::-1], rule.shift, axis=0) if strand == "-" else found


def slice_of(bases: str, start: int, end: int) -> str:
    """N where there is no base."""
    inside = bases[max(start, 0) : max(end, 0)]
    return "N" * min(max(-start, 0), end - start) + inside + "N" * max(end - max(start, len(bases)), 0)


Sides = Mapping[str, tuple[int, int]]
"""Strand -> bases beside what is asked for that are shown before and after it."""


@dataclass(frozen=True)
class Views:
    strands: str = "+"
    shifts: Sequence[int] = (0,)

    def mean(
        self, package: Package, bases: str, start: int, end: int, sides: Mapping[str, tuple[int, int]]
    ) -> np.ndarray:
        """Of what [start, end) and so many bases beside it give."""
        each = []
        for shift in self.shifts:
            for strand in self.strands:
                left, right = sides[strand]
                each.append(forward(package, slice_of(bases, start - left - shift, end + right - shift), strand))
        return np.mean(each, axis=0, dtype=np.float64)


def local_bins(package: Package, bases: str, start: int, end: int, views: Views = Views()) -> np.ndarray:
    """Bins of [start, end), which all see what they can."""
    (output,), reach = package.spec.outputs, package.spec.reach
    assert isinstance(reach, LocalReach)
    edge = (output.crop + 1) * output.resolution  # one bin for what the rule of the minus strand moves
    sides = {"+": (edge + reach.left, edge + reach.right), "-": (edge + reach.right, edge + reach.left)}
    return views.mean(package, bases, start, end, sides)[1:-1]


def window_bins(package: Package, bases: str, start: int, views: Views = Views()) -> np.ndarray:
    """The bins of the window whose first one begins at ``start``."""
    sides = dict.fromkeys("+-", (24, 24))
    return views.mean(package, bases, start, start + 80, sides)


def by_windows(package: Package, bases: str, start: int, end: int, views: Views = Views()) -> np.ndarray:
    """Bins of [start, end) from windows that begin with it and follow on each other."""
    found = [window_bins(package, bases, at, views) for at in range(start, end, 80)]
    return np.concatenate(found)[: (end - start) // 8]


def binned(**card: object) -> Package:
    return package_of("toy_binned", seed=3, **card)


def windowed(members: int = 1, **card: object) -> Package:
    return package_of("toy_whole_windows", members, seed=4, **card)


# ---- what was written


def predict(*given: object) -> int:
    """The command in this process; its exit code."""
    return main(arguments(*given))


def read_bigwig(path: Path | str) -> dict[str, np.ndarray]:
    """Contig -> value of each base."""
    bigwig = BigWig(path)
    return {contig: bigwig.values(contig, 0, length) for contig, length in bigwig.lengths.items()}


def read_h5(path: Path | str) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def table_rows(path: Path | str) -> Iterator[tuple[str, int, int, str, float]]:
    table = pl.read_parquet(path)
    assert table.columns == ["contig", "start", "end", "track", "value"]
    yield from table.iter_rows()
