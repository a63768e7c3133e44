"""Batches: the same for any number of workers and ranks, with context by the rules of the dataset."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_data import planted, sites_at, write_data

from basecast.data.loader import Batch, Source, places_of, watched_workers
from basecast.data.store import Dataset, Header, Record
from basecast.data.windows import Sampling, Windows, epoch_windows, every_window
from basecast.data.writer import Writer
from basecast.errors import BasecastError
from basecast.genome.sequence import N, decode, encode, reverse_complement
from basecast.spec.model import Output, Track
from basecast.spec.splice import SPLICE, splice_output

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine of one core
]
WINDOW, CONTEXT = 30, 20
GENOME = "ACGTTGCAAC" * 12  # the records below are stretches of it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("toy"), records=4, length=200)


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    sampling = Sampling(kind="biased", window=WINDOW, samples_per_epoch=23)
    return Source.of([Dataset(folder / "train.h5"), Dataset(folder / "validation.h5")], sampling, (CONTEXT // 2,) * 2)


def window_at(record: int, start: int, dataset: int = 0) -> Windows:
    return Windows.at(np.array([dataset], np.int16), np.array([record], np.int32), np.array([start], np.int64))


def together(batches: list[Batch]) -> dict[str, torch.Tensor]:
    """What batches hold, end to end."""
    return {
        "tokens": torch.cat([batch.inputs["sequence"] for batch in batches]),
        "target": torch.cat([batch.targets[SPLICE] for batch in batches]),
        "valid": torch.cat([batch.valid[SPLICE] for batch in batches]),
        "weight": torch.cat([batch.weight for batch in batches]),
        "record": torch.cat([torch.from_numpy(batch.windows.record) for batch in batches]),
        "start": torch.cat([torch.from_numpy(batch.windows.start) for batch in batches]),
    }


def stored(
    path: Path, strand: str = "+", flank: int = 0, mask: str = "gene", unknown: tuple[tuple[int, int], ...] = ()
) -> Dataset:
    """Bases 40 to 90 of the genome as a record, with a donor at 3 and an acceptor at 46."""
    bases = encode(GENOME)[40 - flank : 90 + flank]
    header = Header.model_validate({"mask": mask, "flank": flank, "outputs": (splice_output(),)})
    with Writer(path, header) as writer:
        as_read = bases if strand == "+" else reverse_complement(bases)
        stretches = np.array(unknown, dtype=np.int64).reshape(-1, 2)
        writer.add(Record("chr1", 40, 90, strand), as_read, {SPLICE: sites_at([3, 46], [2, 1])}, {SPLICE: stretches})
    return Dataset(path)


def alone(dataset: Dataset) -> Source:
    return Source.of([dataset], Sampling(kind="grid", window=WINDOW), (CONTEXT // 2,) * 2)


# ---- the same for all


@pytest.mark.parametrize("first", [0, 3, 5])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_ranks_and_where_one_begins_do_not_matter(source: Source, workers: int, world: int, first: int) -> None:
    windows, size = epoch_windows(source.places, source.sampling, 1, 0), 4
    assert len(windows) == 23, "the last batch is not full"
    expected = together(list(source.batches(windows, size)))
    assert torch.equal(expected["start"], torch.from_numpy(windows.start))
    ranks = [
        list(source.batches(windows, size, first=first, rank=rank, world=world, workers=workers))
        for rank in range(world)
    ]
    found = together([batch for batches in zip(*ranks, strict=True) for batch in batches])
    for name, values in expected.items():
        assert torch.equal(found[name], values[first * size :]), name


def test_a_rank_may_have_nothing_of_a_last_batch(source: Source) -> None:
    windows = epoch_windows(source.places, source.sampling, 1, 0)[:5]
    shares = [list(source.batches(windows, 4, rank=rank, world=2)) for rank in (0, 1)]
    assert [[len(batch.windows) for batch in batches] for batches in shares] == [[2, 0], [2, 1]]
    empty = shares[0][1]
    assert empty.inputs["sequence"].shape == (0, CONTEXT + WINDOW)
    assert empty.targets[SPLICE].shape == empty.valid[SPLICE].shape == (0, WINDOW)
    assert empty.weight.shape == (0, WINDOW)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_the_parts_of_a_batch_are_the_batch(source: Source, n: int) -> None:
    batch = source.batch(epoch_windows(source.places, source.sampling, 1, 0)[:5])
    parts = list(batch.parts(n))
    assert len(parts) == n
    assert max(len(part.windows) for part in parts) == -(-5 // n)
    whole = together([batch])
    assert all(torch.equal(x, whole[name]) for name, x in together(parts).items())


def test_windows_of_several_datasets_are_read_from_their_own(source: Source) -> None:
    batch = source.batch(epoch_windows(source.places, source.sampling, 1, 0))
    assert set(batch.windows.dataset.tolist()) == {0, 1}
    for i, (number, record, start) in enumerate(
        zip(batch.windows.dataset, batch.windows.record, batch.windows.start, strict=True)
    ):
        dataset = source.datasets[number]
        bases = dataset.tokens(int(record), int(start) - CONTEXT // 2, int(start) + WINDOW + CONTEXT // 2)
        assert np.array_equal(batch.inputs["sequence"][i].numpy(), bases)


def test_positions_are_weighed_only_where_they_were_drawn_with_a_bias(source: Source) -> None:
    windows = epoch_windows(source.places, source.sampling, 1, 0)
    assert source.batch(windows).weight.std() > 0
    assert (source.batch(windows, is_weighted=False).weight == 1).all()
    plain = replace(source, sampling=Sampling(kind="grid", window=WINDOW))
    assert (plain.batch(windows).weight == 1).all()


# ---- what stands around a record


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize(("mask", "flank"), [("gene", 0), ("none", 15)])
def test_past_a_record_stands_n_or_the_genome_and_never_a_label(
    tmp_path: Path, mask: str, flank: int, strand: str
) -> None:
    source = alone(stored(tmp_path / "one.h5", strand, flank, mask))
    body = (N * np.ones(1000)).astype(np.uint8)
    inside = encode(GENOME)[40 - flank : 90 + flank]
    body[500 - flank : 550 + flank] = inside if strand == "+" else reverse_complement(inside)
    for start in (-29, -10, 0, 25, 49):
        batch = source.batch(window_at(0, start))
        low, high = 500 + start - CONTEXT // 2, 500 + start + WINDOW + CONTEXT // 2
        assert decode(batch.inputs["sequence"][0].numpy()) == decode(body[low:high])
        inside_record = (np.arange(start, start + WINDOW) >= 0) & (np.arange(start, start + WINDOW) < 50)
        assert batch.valid[SPLICE][0].numpy().tolist() == inside_record.tolist()
        labels = {3 - start: 2, 46 - start: 1}
        assert batch.targets[SPLICE][0].tolist() == [labels.get(i, 0) for i in range(WINDOW)]


def test_a_window_of_the_minus_strand_is_named_in_coordinates_of_the_genome(tmp_path: Path) -> None:
    assert stored(tmp_path / "plus.h5", "+").place(0, 10, 20) == "chr1:51-60(+)"
    assert stored(tmp_path / "minus.h5", "-").place(0, 10, 20) == "chr1:71-80(-)"


@pytest.mark.parametrize("start", [-12, 0, 4, 33])
def test_stretches_without_a_label_do_not_count(tmp_path: Path, start: int) -> None:
    source = alone(stored(tmp_path / "one.h5", unknown=((0, 2), (10, 20), (44, 50))))
    known = [2 <= p < 10 or 20 <= p < 44 for p in range(start, start + WINDOW)]
    assert source.batch(window_at(0, start)).valid[SPLICE][0].tolist() == known


def test_dense_targets_have_a_value_for_each_track(tmp_path: Path) -> None:
    output = Output(name="dense", tracks=(Track(name="a"), Track(name="b")), link="softmax")
    values = np.random.default_rng(1).random((50, 2)).astype(np.float16)
    with Writer(tmp_path / "one.h5", Header(outputs=(output,), dense=("dense",))) as writer:
        writer.add(Record("chr1", 0, 50, "+"), encode(GENOME)[:50], {"dense": values})
    batch = alone(Dataset(tmp_path / "one.h5")).batch(window_at(0, 35))
    assert batch.targets["dense"].shape == (1, 2, WINDOW)
    assert np.array_equal(batch.targets["dense"][0, :, :15].numpy(), values[35:].T)
    assert batch.valid["dense"][0].tolist() == [True] * 15 + [False] * 15


def test_sites_are_known_by_their_records(folder: Path) -> None:
    dataset = Dataset(folder / "train.h5")
    places = places_of(dataset)
    assert places.lengths.tolist() == [200, 210, 220, 230]
    for record in range(4):
        own = places.sites[places.offsets[record] : places.offsets[record + 1]]
        assert own.tolist() == planted(np.random.default_rng(0), 200 + 10 * record)[1].position.tolist()


def test_a_batch_goes_to_a_device_and_keeps_its_windows(source: Source) -> None:
    batch = source.batch(every_window(source.places, WINDOW)[:3])
    moved = batch.to(torch.device("meta"))
    assert moved.inputs["sequence"].device.type == moved.weight.device.type == "meta"
    assert moved.valid[SPLICE].shape == batch.valid[SPLICE].shape
    assert moved.windows is batch.windows


# ---- accidents


def killed(at: Callable[[], None], source: Source) -> None:
    """Read with workers, and kill one of them before ``at``."""
    windows = every_window(list(source.places) * 200, WINDOW)
    whole = replace(source, datasets=list(source.datasets) * 200, places=list(source.places) * 200)
    batches = whole.batches(windows, 1, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    with watched_workers():
        for _ in batches:
            at()


def test_a_killed_worker_is_told_with_what_to_do(source: Source) -> None:
    with pytest.raises(BasecastError, match=r"was killed .*the same command goes on.*--workers 0"):
        killed(lambda: None, source)


def test_other_errors_of_a_loader_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1"), watched_workers():
        raise RuntimeError("mat1 and mat2 do not fit")
