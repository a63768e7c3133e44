"""Windows of signals: on whole bins, in other views, with some of the tracks, and by no more reading than they need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from signal_toys import signal_output, write_signal_dataset

from basecast.data.loader import Batch, Source, places_of
from basecast.data.store import Dataset, Header, Record
from basecast.data.windows import Augment, Sampling, Windows, augmented, epoch_windows, every_window
from basecast.data.writer import Writer
from basecast.errors import UsageError
from basecast.genome.sequence import N, reverse_complement
from basecast.inference.engine import Engine
from basecast.inference.request import Request, flip
from basecast.models.layers import make_one_hot
from basecast.spec import Output, ReverseComplement, Track
from basecast.spec.splice import splice_output

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine of one core
]
BOTH = Augment(reverse_complement=True, shift=5)
CONTEXT = (20, 33)
WINDOW = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("signal")
    return write_signal_dataset(at, length=1024, flank=64, window=WINDOW, records={"train": 5, "validation": 2})


def source_of(folder: Path, split: str = "train", **sampling: object) -> Source:
    settled = Sampling.model_validate({"window": WINDOW, **sampling})
    return Source.of([Dataset(folder / f"{split}.h5")], settled, CONTEXT)


def views(source: Source, seed: int = 1, epoch: int = 0, augment: Augment = BOTH) -> Windows:
    return augmented(epoch_windows(source.places, source.sampling, seed, epoch), augment, seed, epoch)


def arrays(batches: list[Batch]) -> dict[str, torch.Tensor]:
    return {
        "tokens": torch.cat([batch.inputs["sequence"] for batch in batches]),
        "targets": torch.cat([batch.targets["signal"] for batch in batches]),
        "valid": torch.cat([batch.valid["signal"] for batch in batches]),
    }


def at(start: int, *, is_flipped: bool = False, shift: int = 0, record: int = 0) -> Windows:
    one = np.ones(1, dtype=np.int64)
    return Windows(np.zeros(1, np.int16), record * one.astype(np.int32), start * one, one == is_flipped, shift * one)


# ---- whole bins


@pytest.mark.parametrize("kind", ["grid", "random-phase", "biased"])
def test_windows_begin_on_bins_and_hold_every_bin_alike(kind: str, folder: Path) -> None:
    bias = {"splice_bias": 0.0, "samples_per_epoch": 4000} if kind == "biased" else {}
    source = source_of(folder, kind=kind, **bias)
    seen, starts = np.zeros((5, 1024 // 32), dtype=int), set()
    for epoch in range(8):
        windows = epoch_windows(source.places, source.sampling, 1, epoch)
        starts |= set(windows.start.tolist())
        for record, start in zip(windows.record.tolist(), windows.start.tolist(), strict=True):
            assert -WINDOW < start < 1024
            seen[record, max(start, 0) // 32 : (start + WINDOW) // 32] += 1
    assert all(start % 32 == 0 for start in starts)
    assert (len(starts) > 4) == (kind != "grid")
    if kind == "biased":
        assert seen.min() > 0.8 * seen.mean()
        assert seen.max() < 1.2 * seen.mean()
    else:
        assert (seen == 8).all()


def test_bins_of_the_largest_output_are_what_windows_begin_on(tmp_path: Path) -> None:
    fine = Output(name="fine", tracks=(Track(name="a"),), resolution=8, link="softplus")
    coarse = fine.model_copy(update={"name": "coarse", "resolution": 32})
    with Writer(tmp_path / "two.h5", Header(outputs=(fine, coarse), dense=("fine", "coarse"))) as writer:
        values = {"fine": np.ones((16, 1), np.float32), "coarse": np.ones((4, 1), np.float32)}
        writer.add(Record("c", 0, 128, "+"), np.zeros(128, np.uint8), values)
    source = Source.of([Dataset(tmp_path / "two.h5")], Sampling(window=64), (0, 0))
    assert source.places[0].bin == 32
    batch = source.batch(at(32))
    assert batch.targets["fine"].shape == (1, 1, 8)
    assert batch.targets["coarse"].shape == (1, 1, 2)


# ---- other views


def test_views_depend_on_seed_epoch_and_place_alone(folder: Path) -> None:
    source = source_of(folder)
    first, again, other, later = (views(source, *x) for x in ((1, 0), (1, 0), (2, 0), (1, 1)))
    assert np.array_equal(first.is_flipped, again.is_flipped)
    assert np.array_equal(first.shift, again.shift)
    for different in (other, later):
        n = min(len(first), len(different))
        assert not np.array_equal(first.shift[:n], different.shift[:n])
    plain = epoch_windows(source.places, source.sampling, 1, 0)
    assert np.array_equal(first.start, plain.start), "the windows themselves do not change"
    assert not plain.is_flipped.any()
    assert not plain.shift.any()


def test_half_of_the_windows_are_flipped_and_every_shift_is_as_frequent(folder: Path) -> None:
    source = source_of(folder, kind="biased", splice_bias=0.0, samples_per_epoch=20_000)
    windows = views(source)
    assert windows.is_flipped.mean() == pytest.approx(0.5, abs=0.02)
    shifts, counts = np.unique(windows.shift, return_counts=True)
    assert shifts.tolist() == list(range(-5, 6))
    np.testing.assert_allclose(counts, 20_000 / 11, rtol=0.1)
    only_shifts = views(source, augment=Augment(shift=2))
    assert not only_shifts.is_flipped.any()
    assert set(only_shifts.shift.tolist()) == set(range(-2, 3))


@pytest.mark.parametrize(("workers", "world", "first"), [(2, 1, 0), (0, 2, 1), (2, 2, 2)])
def test_workers_ranks_and_where_one_begins_do_not_matter(workers: int, world: int, first: int, folder: Path) -> None:
    source = source_of(folder)
    windows, size = views(source), 3
    expected = arrays(list(source.batches(windows, size)))
    shares = [
        list(source.batches(windows, size, first=first, rank=rank, world=world, workers=workers))
        for rank in range(world)
    ]
    found = arrays([batch for batches in zip(*shares, strict=True) for batch in batches])
    for name, x in expected.items():
        assert torch.equal(found[name], x[first * size :]), name


def test_a_sequence_is_moved_under_its_targets_with_real_bases(folder: Path) -> None:
    source, dataset = source_of(folder), Dataset(folder / "train.h5")
    plain = source.batch(at(320))
    for shift in (-7, 4):
        moved = source.batch(at(320, shift=shift))
        first = 320 - CONTEXT[0] - shift
        bases = dataset.tokens(0, first, first + sum(CONTEXT) + WINDOW)
        assert np.array_equal(moved.inputs["sequence"][0].numpy(), bases)
        assert (bases != N).all()
        assert torch.equal(moved.targets["signal"], plain.targets["signal"])
    right = source.batch(at(320, shift=4)).inputs["sequence"][0]
    assert torch.equal(right[4:], plain.inputs["sequence"][0, :-4])


def test_the_other_strand_has_its_bins_in_turn_and_its_tracks_swapped(folder: Path) -> None:
    source, dataset = source_of(folder), Dataset(folder / "train.h5")
    plain, flipped = source.batch(at(-64)), source.batch(at(-64, is_flipped=True, shift=3))
    bases = dataset.tokens(0, -64 - CONTEXT[1] - 3, -64 + WINDOW + CONTEXT[0] - 3)
    assert np.array_equal(flipped.inputs["sequence"][0].numpy(), reverse_complement(bases))
    assert torch.equal(flipped.targets["signal"], plain.targets["signal"].flip(2)[:, [1, 0]])
    assert not torch.equal(flipped.targets["signal"], plain.targets["signal"].flip(2))
    assert flipped.valid["signal"][0].tolist() == [True] * 6 + [False] * 2


def test_a_flipped_window_is_what_the_engine_makes_of_the_other_strand(tmp_path: Path) -> None:
    """With a rule that permutes and shifts, and a reach that differs to both sides."""
    package = toys.package_of("toy_binned")
    output, network = package.spec.outputs[0], package.networks[0]
    rng = np.random.default_rng(1)
    values, flank, length = rng.random((50, 3)).astype(np.float32), 40, 200
    with Writer(
        tmp_path / "one.h5", Header(outputs=(output,), dense=("coverage",), mask="none", flank=flank)
    ) as writer:
        bases = rng.integers(0, 4, length + 2 * flank).astype(np.uint8)
        writer.add(Record("c", 0, length, "+"), bases, {"coverage": values})
    dataset = Dataset(tmp_path / "one.h5")
    reach = package.spec.reach
    context = (reach.left + 4 * output.crop, reach.right + 4 * output.crop)  # type: ignore[union-attr]
    source = Source.of([dataset], Sampling(window=80), context)
    batch = source.batch(at(60, is_flipped=True))
    # targets: the rule that gives the window's values from those of the other strand gives the window's targets
    again = flip(batch.targets["coverage"][0].numpy().T, output)
    assert np.array_equal(again[1:], dataset.labels(0, 60, 140, "coverage")[1:])  # the first is what was rolled around
    # bases: what the network gives for them is the engine's answer on the minus strand, before that rule
    with torch.no_grad():
        logits = network(make_one_hot(batch.inputs["sequence"]))
    assert isinstance(logits, torch.Tensor)
    given = torch.nn.functional.softplus(logits)[0].numpy().T

    class Stored:
        def tokens(self, contig: str, start: int, end: int) -> np.ndarray:
            return dataset.tokens(0, start, end)

    answer = Engine(package, device="cpu").evaluate([Request(Stored(), "c", 60, 140, "-")])[0]["coverage"]
    np.testing.assert_allclose(flip(given, output)[1:], answer[1:], rtol=1e-5)


# ---- tracks, and what is read


def test_tracks_are_found_by_name_and_in_the_order_asked(folder: Path) -> None:
    source = source_of(folder)
    output = signal_output()
    one = output.model_copy(update={"tracks": output.tracks[1:], "reverse_complement": ReverseComplement()})
    turned = output.model_copy(update={"tracks": output.tracks[::-1]})
    both = source.batch(at(0)).targets["signal"]
    assert torch.equal(replace(source, outputs=(one,)).batch(at(0)).targets["signal"], both[:, 1:])
    assert torch.equal(replace(source, outputs=(turned,)).batch(at(0)).targets["signal"], both[:, [1, 0]])


def test_where_sites_are_is_not_asked_of_signals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Dataset) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(Dataset, "targets", property(none))
    places = places_of(Dataset(folder / "train.h5"))
    assert (places.bin, len(places.sites), places.offsets.tolist()) == (32, 0, [0] * 6)


def test_targets_have_the_precision_that_they_are_kept_in(folder: Path) -> None:
    batch = source_of(folder).batch(every_window(source_of(folder).places, WINDOW)[:3])
    assert batch.targets["signal"].dtype == torch.float32
    assert batch.targets["signal"].shape == (3, 2, WINDOW // 32)
    assert batch.targets["signal"].is_contiguous()


# ---- what is refused


def test_sites_and_single_strands_have_no_other_views() -> None:
    for augment in (Augment(shift=1), Augment(reverse_complement=True)):
        with pytest.raises(UsageError, match="for signals only"):
            augment.check(splice_output())
    Augment().check(splice_output())
    output = signal_output()
    BOTH.check(output)
    alone = output.model_copy(update={"reverse_complement": ReverseComplement()})
    with pytest.raises(UsageError, match=r"reads\+ is of one strand and has no pair .*--no-augment-rc"):
        BOTH.check(alone)
    Augment(shift=3).check(alone)
