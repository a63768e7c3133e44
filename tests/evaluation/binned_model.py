"""Small datasets of signals, two toys that predict them, and what their networks give when asked directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from toys import Binned, ToyConfig, package_of

from basecast.data.store import Dataset, Header, Record
from basecast.data.writer import Writer
from basecast.models.layers import make_one_hot
from basecast.models.network import pick
from basecast.spec import Architecture, Member, ModelSpec, Output, ReverseComplement, Track, WindowReach
from basecast.zoo.package import Package

BIN, FLANK = 4, 64
TRACKS = (
    Track(name="plus", strand="+", assay="PRO", description="run-on"),
    Track(name="minus", strand="-", assay="PRO", description="run-on"),
    Track(name="both", assay="ATAC", description="open"),
)
SIGNAL = Output(
    name="signal",
    tracks=TRACKS,
    resolution=BIN,
    link="softplus",
    reverse_complement=ReverseComplement(permutation=(1, 0, 2)),
)
RECORDS = (("chr1", 1000, 1600), ("chr1", 2000, 2400), ("chr2", 400, 512))


def local_model(seed: int = 0, **card: Any) -> Package:
    """Bins of 4 bases, each of which sees a few."""
    package = package_of("toy_binned", seed=seed, **card)
    strengthen(package.networks[0])
    return package


def strengthen(network: nn.Module) -> None:
    """New weights give nearly the same everywhere; these do not."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            module.weight.mul_(3)


class Windowed(Binned):
    """The same network over whole windows of 160 bases, of which 20 at each end are left out, with two tracks."""

    output_names = ("signal",)

    def embed(self, one_hot: torch.Tensor, conditions: Any = None) -> torch.Tensor:
        assert one_hot.shape[-1] == 160
        return super().embed(one_hot)[..., 4:-4]

    def heads(self, embedding: torch.Tensor, names: Any, tracks: Any, auxiliary: Any) -> dict[str, torch.Tensor]:
        whole = embedding + embedding.mean(-1, keepdim=True)
        return {"signal": pick(self.head, tracks.get("signal"), whole)}


def window_model(seed: int = 0) -> Package:
    """Everything sees everything: windows of 160 bases give 120."""
    torch.manual_seed(seed)
    network = Windowed(ToyConfig()).eval().requires_grad_(False)
    strengthen(network)
    spec = ModelSpec(
        name="windowed",
        licence="MIT",
        architecture=Architecture(family="toy_binned", config={}),
        reach=WindowReach(lengths=(160,), crop=20),
        outputs=(SIGNAL,),
        members=(Member(file="m", outputs=("signal",)),),
    )
    return Package(spec, (network,))


def write_signals(
    folder: Path,
    split: str = "test",
    *,
    seed: int = 0,
    output: Output = SIGNAL,
    flank: int = FLANK,
    records: Any = RECORDS,
    by: Package | None = None,
    **header: Any,
) -> Path:
    """Records with a value for each bin and track: of ``by``, what it predicts with noise; else noise."""
    rng = np.random.default_rng([seed, len(split)])
    folder.mkdir(parents=True, exist_ok=True)
    told = Header(split=split, outputs=(output,), dense=(output.name,), mask="none", flank=flank, **header)
    with Writer(folder / f"{split}.h5", told) as writer:
        for contig, start, end in records:
            bases = rng.integers(0, 4, end - start + 2 * flank).astype(np.uint8)
            n = (end - start) // output.resolution
            values = rng.gamma(0.5, 2.0, (n, len(output.tracks)))
            if by is not None:
                values = predicted(by, bases, flank, n) * rng.gamma(20, 0.05, values.shape)
            unknown = np.array([[40, 80]]) if contig == "chr1" else np.zeros((0, 2), dtype=np.int64)
            writer.add(
                Record(contig, start, end, "+"),
                bases,
                {output.name: values.astype(np.float32)},
                {output.name: unknown.astype(np.int64)},
            )
    return folder


def predicted(package: Package, bases: NDArray[np.uint8], flank: int, n: int) -> NDArray[np.float64]:
    """What the local toy gives for ``n`` bins that begin ``flank`` bases into ``bases``; the head leaves out a bin."""
    seen = bases[flank - 3 - BIN : flank + n * BIN + 4 + BIN]
    x = make_one_hot(torch.from_numpy(seen)[None])
    (network,) = package.networks
    with torch.no_grad():
        logits = network(x)[0]
    return nn.functional.softplus(logits.double()).numpy().T


def everything(package: Package, data: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], list[NDArray[Any]]]:
    """Predictions and targets of every bin with a label, and of each record which bins have one."""
    dataset = Dataset(data / "test.h5")
    said, seen, known = [], [], []
    for row in range(len(dataset)):
        length = int(dataset.lengths[row])
        flank = dataset.flank
        bases = dataset.tokens(row, -flank, length + flank)
        valid = dataset.valid(row, 0, length, "signal")
        said.append(predicted(package, bases, flank, length // BIN)[valid])
        seen.append(dataset.labels(row, 0, length, "signal")[valid])
        known.append(valid)
    return np.concatenate(said), np.concatenate(seen).astype(np.float64), known
