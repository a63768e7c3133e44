"""Batches from windows: what a step of training is given, on any number of workers and ranks the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from basecast.data.store import Dataset
from basecast.data.windows import Places, Sampling, Windows, position_weights, share
from basecast.errors import BasecastError


@dataclass
class Batch:
    """Windows of label positions with the context that a network needs around them.

    Attributes:
        inputs: ``sequence``: tokens, shape (batch, context + window).
        targets: for each output classes ``uint8`` (batch, window), or values (batch, tracks, bins).
        valid: for each output which bins have a label, shape (batch, bins).
        weight: what each position counts, shape (batch, window).
        windows: where they lie.
    """

    inputs: dict[str, UInt8[Tensor, "batch length"]]
    targets: dict[str, Tensor]
    valid: dict[str, Bool[Tensor, "batch bins"]]
    weight: Float[Tensor, "batch window"]
    windows: Windows

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}

        weight = self.weight.to(device, non_blocking=True)
        return Batch(moved(self.inputs), moved(self.targets), moved(self.valid), weight, self.windows)

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU can read at once."""

        def pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: x.pin_memory() for name, x in tensors.items()}

        weight = self.weight.pin_memory()
        return Batch(pinned(self.inputs), pinned(self.targets), pinned(self.valid), weight, self.windows)

    def parts(self, n: int) -> Iterator[Batch]:
        """The batch in ``n`` parts, alike in size but for one window; some may be empty."""
        size = len(self.windows)
        for part in range(n):
            cut = slice(size * part // n, size * (part + 1) // n)

            def cut_out(tensors: Mapping[str, Tensor], cut: slice = cut) -> dict[str, Tensor]:
                return {name: x[cut] for name, x in tensors.items()}

            inputs, targets, valid = cut_out(self.inputs), cut_out(self.targets), cut_out(self.valid)
            yield Batch(inputs, targets, valid, self.weight[cut], self.windows[cut])


def places_of(dataset: Dataset) -> Places:
    """What sampling needs to know of a dataset: where its sites are, of whatever output."""
    found = [
        np.unique(np.concatenate([dataset.sites(record, output.name).position for output in dataset.header.outputs]))
        for record in range(len(dataset))
    ]
    offsets = np.concatenate([[0], np.cumsum([len(sites) for sites in found])]).astype(np.int64)
    sites = np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)
    return Places(dataset.lengths, offsets, sites)


@dataclass(frozen=True)
class Source:
    """Several datasets that are trained on together, and how their windows are read.

    Attributes:
        datasets: the data.
        places: of each of them.
        sampling: how windows are chosen, which says what a position counts.
        context: bases around the label positions, half at each side.
    """

    datasets: Sequence[Dataset]
    places: Sequence[Places]
    sampling: Sampling
    context: int

    @classmethod
    def of(cls, datasets: Sequence[Dataset], sampling: Sampling, context: int) -> Source:
        """With the places of the datasets, whose sequences are read here, once for all workers."""
        for dataset in datasets:
            _ = dataset.sequence
        return cls(datasets, [places_of(dataset) for dataset in datasets], sampling, context)

    def batch(self, windows: Windows, *, is_weighted: bool = True) -> Batch:
        """The examples of some windows; ``is_weighted``: as they were sampled, else every position counts alike."""
        size, left = self.sampling.window, self.context // 2
        rows = list(zip(windows.dataset.tolist(), windows.record.tolist(), windows.start.tolist(), strict=True))
        outputs = self.datasets[0].header.outputs
        tokens = np.empty((len(rows), self.context + size), dtype=np.uint8)
        weight = np.ones((len(rows), size), dtype=np.float32)
        for i, (number, record, start) in enumerate(rows):
            tokens[i] = self.datasets[number].tokens(record, start - left, start - left + self.context + size)
            if is_weighted and self.sampling.kind == "biased":
                weight[i] = position_weights(self.places[number], self.sampling, record, start)
        targets, valid = {}, {}
        for output in outputs:
            name, bins = output.name, -(-size // output.resolution)
            asked = [(self.datasets[number], record, start, start + size, name) for number, record, start in rows]
            labels = [dataset.labels(*window) for dataset, *window in asked]
            known = [dataset.valid(*window) for dataset, *window in asked]
            stacked = np.stack(labels) if labels else np.zeros((0, bins), dtype=np.uint8)
            targets[name] = torch.from_numpy(stacked if stacked.ndim == 2 else np.moveaxis(stacked, 2, 1).copy())
            valid[name] = torch.from_numpy(np.stack(known) if known else np.zeros((0, bins), dtype=bool))
        return Batch({"sequence": torch.from_numpy(tokens)}, targets, valid, torch.from_numpy(weight), windows)

    def batches(
        self,
        windows: Windows,
        size: int,
        *,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        pinned: bool = False,
        is_weighted: bool = True,
    ) -> Iterator[Batch]:
        """This rank's share of each batch of ``size`` windows, from batch ``first`` on.

        Raises:
            BasecastError: a worker was killed.
        """
        loader: DataLoader[Batch] = DataLoader(
            _Shares(self, windows, size, rank, world, is_weighted),
            batch_size=None,
            sampler=range(first, -(-len(windows) // size)),
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=pinned,
        )
        with watched_workers():
            yield from loader


@contextlib.contextmanager
def watched_workers() -> Iterator[None]:
    """Say what to do where a worker was killed; torch tells of it wherever the main process is just then."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise BasecastError(
            f"a process that reads training data was killed ({error}): the same command goes on from the last "
            "checkpoint; give --workers 0 if memory is short"
        ) from error


class _Shares(TorchDataset[Batch]):
    """One rank's share of each batch, by number."""

    def __init__(self, source: Source, windows: Windows, size: int, rank: int, world: int, is_weighted: bool) -> None:
        self._source, self._windows, self._size = source, windows, size
        self._rank, self._world, self._is_weighted = rank, world, is_weighted

    def __getitem__(self, batch: int) -> Batch:
        mine = share(self._windows, batch, self._size, self._rank, self._world)
        return self._source.batch(mine, is_weighted=self._is_weighted)


def _as_it_is(batch: Any) -> Any:
    return batch
