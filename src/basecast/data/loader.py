"""Batches from windows: what a step of training is given, on any number of workers and ranks the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from basecast.data.store import Dataset
from basecast.data.windows import Places, Sampling, Windows, position_weights, share
from basecast.errors import BasecastError
from basecast.genome.sequence import reverse_complement
from basecast.spec.model import Output


@dataclass
class Batch:
    """Windows of label positions with the context that a network needs around them.

    Attributes:
        inputs: ``sequence``: tokens, shape (batch, context + window).
        targets: for each output classes ``uint8`` (batch, window), or values (batch, tracks, bins); of a window that is
            read from the other strand as a network is to give them for that.
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


def tracks_in(output: Output, held: Output) -> NDArray[np.int64]:
    """Where the tracks of an output are among those of another, by name.

    Raises:
        KeyError: one is not among them.
    """
    numbers = {track.name: number for number, track in enumerate(held.tracks)}
    return np.array([numbers[track.name] for track in output.tracks], dtype=np.int64)


def places_of(dataset: Dataset) -> Places:
    """What sampling needs to know of a dataset: where its sites are, of whatever output of classes, and its bins."""
    outputs = dataset.header.outputs
    sites_of = [output.name for output in outputs if output.has_classes]
    none = np.zeros(0, dtype=np.int64)
    found = [
        np.unique(np.concatenate([none, *(dataset.sites(record, name).position for name in sites_of)]))
        for record in range(len(dataset))
    ]
    offsets = np.concatenate([[0], np.cumsum([len(sites) for sites in found])]).astype(np.int64)
    sites = np.concatenate([none, *found]).astype(np.int64)
    return Places(dataset.lengths, offsets, sites, max(output.resolution for output in outputs))


@dataclass(frozen=True)
class Source:
    """Several datasets that are trained on together, and how their windows are read.

    Attributes:
        datasets: the data.
        places: of each of them.
        sampling: how windows are chosen, which says what a position counts.
        context: bases before the label positions and after them.
        outputs: what is learnt; their tracks are found by name among those of each dataset.
    """

    datasets: Sequence[Dataset]
    places: Sequence[Places]
    sampling: Sampling
    context: tuple[int, int]
    outputs: Sequence[Output]

    @classmethod
    def of(
        cls,
        datasets: Sequence[Dataset],
        sampling: Sampling,
        context: tuple[int, int],
        outputs: Sequence[Output] | None = None,
    ) -> Source:
        """With the places of the datasets, whose sequences are read here, once for all workers.

        Args:
            outputs: by default all that the first of them has.
        """
        for dataset in datasets:
            _ = dataset.sequence
        places = [places_of(dataset) for dataset in datasets]
        return cls(datasets, places, sampling, context, outputs or datasets[0].header.outputs)

    def batch(self, windows: Windows, *, is_weighted: bool = True) -> Batch:
        """The examples of some windows; ``is_weighted``: as they were sampled, else every position counts alike."""
        size = self.sampling.window
        columns = (windows.dataset, windows.record, windows.start, windows.is_flipped, windows.shift)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        tokens = np.empty((len(rows), sum(self.context) + size), dtype=np.uint8)
        weight = np.ones((len(rows), size), dtype=np.float32)
        for i, (number, record, start, is_flipped, shift) in enumerate(rows):
            before, after = self.context[::-1] if is_flipped else self.context
            bases = self.datasets[number].tokens(record, start - before - shift, start + size + after - shift)
            tokens[i] = reverse_complement(bases) if is_flipped else bases
            if is_weighted and self.sampling.kind == "biased":
                drawn = position_weights(self.places[number], self.sampling, record, start)
                weight[i] = drawn[::-1] if is_flipped else drawn
        targets, valid = {}, {}
        for output in self.outputs:
            read = [self._labels(output, *row) for row in rows] or [self._no_labels(output)]
            labels, known = (np.stack(column)[: len(rows)] for column in zip(*read, strict=True))
            targets[output.name] = torch.from_numpy(np.ascontiguousarray(labels))
            valid[output.name] = torch.from_numpy(known)
        return Batch({"sequence": torch.from_numpy(tokens)}, targets, valid, torch.from_numpy(weight), windows)

    def _labels(
        self, output: Output, number: int, record: int, start: int, is_flipped: bool, shift: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Classes (bins,) or values (tracks, bins) of a window, and which bins have a label."""
        dataset, rule = self.datasets[number], output.reverse_complement
        start += rule.shift * output.resolution if is_flipped else 0
        window = (record, start, start + self.sampling.window, output.name)
        labels, known = dataset.labels(*window), dataset.valid(*window)
        if labels.ndim == 2:
            labels = labels.T[self._tracks[number][output.name]]
        if is_flipped:
            labels, known = labels[..., ::-1], known[::-1]
            if labels.ndim == 2 and rule.permutation:
                labels = labels[list(rule.permutation)]
        return labels, known

    def _no_labels(self, output: Output) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What the labels of any window look like."""
        bins = self.sampling.window // output.resolution
        if output.name not in self.datasets[0].header.dense:
            return np.zeros(bins, dtype=np.uint8), np.zeros(bins, dtype=bool)
        return np.zeros((len(output.tracks), bins), dtype=np.float32), np.zeros(bins, dtype=bool)

    @cached_property
    def _tracks(self) -> list[dict[str, NDArray[np.int64]]]:
        """For each dataset where the tracks of an output are among those that it holds."""
        return [
            {output.name: tracks_in(output, dataset.header.output(output.name)) for output in self.outputs}
            for dataset in self.datasets
        ]

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
