"""The loop: it learns, it counts every position once, and a run that was stopped anywhere ends at the same weights."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_data import (
    CONTEXT,
    loop_on,
    metrics_of,
    same_weights,
    scratch,
    settings_of,
    sites_at,
    sources_of,
    write_data,
)

from basecast.data.loader import Batch, Source
from basecast.data.store import Dataset, Header, Record
from basecast.data.writer import Writer
from basecast.errors import BasecastError, InputError, UsageError
from basecast.evaluation.metrics import average_precision, top_k_accuracy
from basecast.interruption import handled
from basecast.models.layers import Norm, make_one_hot
from basecast.models.network import NO_CONDITIONS
from basecast.models.spliceai import SpliceAI, tiny
from basecast.spec.splice import SPLICE, splice_output
from basecast.training.checkpoint import State
from basecast.training.distributed import Ranks
from basecast.training.loop import Loop, LoopSettings
from basecast.training.losses import Loss

ONE = settings_of(epochs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("toy"))


def after(data: Path, tmp_path: Path, settings: LoopSettings = ONE, name: str = "a", **more: Any) -> Loop:
    """A loop that has run."""
    loop = loop_on(data, tmp_path / name, settings, **more)
    loop.run()
    return loop


def weights_of(loop: Loop) -> dict[str, Tensor]:
    return loop.network.state_dict()


# ---- it learns


def test_the_loss_falls_and_top_1_rises(data: Path, tmp_path: Path) -> None:
    settings = settings_of(epochs=9, schedule={"rate": 0.03}, batch_size=4)
    loop = after(data, tmp_path, settings)
    epochs = metrics_of(loop.metrics, "epoch")
    losses, top1 = ([line[name] for line in epochs] for name in ("validation_loss", "validation_top1_donor"))
    assert losses[-1] < 0.2 * losses[0]
    assert top1[0] < 0.5
    assert top1[-1] > 0.8
    assert epochs[-1]["validation_auprc_acceptor"] > 0.8
    steps = metrics_of(loop.metrics)
    assert steps[-1]["loss"] < 0.1 * steps[0]["loss"]
    assert steps[-1]["top1"] > 0.8


def test_lines_of_the_metrics_are_told_as_they_are_written(data: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    loop = after(data, tmp_path, settings_of(epochs=3), tell=told.append)
    written = [*metrics_of(loop.metrics), *metrics_of(loop.metrics, "epoch")]
    assert len(told) == len(written)
    assert all({"steps", "epochs"} <= line.keys() for line in told)
    assert all(any(line.items() <= one.items() for one in told) for line in written)
    assert [line["step"] for line in told if line["kind"] == "step"] == [1, 10]
    assert [line["epoch"] for line in told if line["kind"] == "epoch"] == [1, 2, 3]
    seconds = [line["seconds"] for line in told]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)
    assert told[-1]["step"] == told[-1]["steps"] == loop.state.step
    assert told[-1]["best_epoch"] == loop.state.best_epoch + 1


def test_the_line_of_an_epoch_has_the_mean_loss_of_its_positions(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[tuple[float, float]] = []

    def losses(loop: Loop, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        each = own(loop, logits, batch)
        if loop.network.training:
            sums.append((float(each.detach().sum()), float(batch.valid[SPLICE].sum())))
        return each

    own = Loop._losses
    monkeypatch.setattr(Loop, "_losses", losses)
    loop = after(data, tmp_path)
    total, n = np.sum(sums, axis=0)
    assert n == sum(loop.training.places[0].lengths)
    assert metrics_of(loop.metrics, "epoch")[0]["loss"] == pytest.approx(total / n, rel=1e-6)


@pytest.mark.parametrize("kind", ["grid", "random-phase", "biased"])
def test_every_window_of_every_epoch_is_trained_on_once(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(sampling={"kind": kind, "window": 90}, epochs=6, batch_size=7)
    trained: list[tuple[int, tuple[int, int]]] = []

    def step(loop: Loop, batch: Batch) -> None:
        rows = zip(batch.windows.record.tolist(), batch.windows.start.tolist(), strict=True)
        trained.extend((loop.state.epochs, row) for row in rows)
        loop.state.step += 1

    monkeypatch.setattr(Loop, "_step", step)
    loop = after(data, tmp_path, settings)
    sizes = set()
    for epoch in range(6):
        windows = loop._windows(epoch)
        expected = Counter(zip(windows.record.tolist(), windows.start.tolist(), strict=True))
        assert Counter(row for e, row in trained if e == epoch) == expected
        sizes.add(len(windows))
    assert (len(sizes) > 1) == (kind == "random-phase"), "random phases make epochs of different lengths"
    assert loop.state.step == sum(loop.steps)


def test_the_rate_follows_the_schedule_to_the_last_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: rates.extend(group["lr"] for group in self.param_groups)
    )
    settings = settings_of(epochs=7, schedule={"kind": "multistep"})
    training, validation = sources_of(data, settings.sampling)
    network, where = scratch().network(1), {"stem": tmp_path / "a", "ranks": Ranks()}
    weights = list(network.parameters())
    groups = [{"params": weights[:2], "factor": 0.5}, {"params": weights[2:], "factor": 1.0}]
    loop = Loop(network, (splice_output(),), training, validation, settings, seed=1, groups=groups, **where)
    loop.run()
    by_epoch = np.split(np.array(rates).reshape(-1, 2), np.cumsum(loop.steps)[:-1])
    published = [1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5, 3.125e-5]
    for epoch, rate in zip(by_epoch, published, strict=True):
        np.testing.assert_allclose(epoch, np.tile([rate / 2, rate], (len(epoch), 1)), rtol=1e-12)


# ---- what a step is


def frozen(loop: Loop) -> Loop:
    for module in loop.network.modules():
        if isinstance(module, Norm):
            module.is_frozen = True
    return loop


@pytest.mark.parametrize("parts", [3, 50])
def test_a_step_in_parts_is_the_step(parts: int, data: Path, tmp_path: Path) -> None:
    runs = []
    for accumulate in (1, parts):
        settings = settings_of(precision="fp64", accumulate=accumulate, batch_size=7)
        loop = frozen(loop_on(data, tmp_path / str(accumulate), settings))
        loop.run()
        runs.append(weights_of(loop))
    for name, x in runs[0].items():
        torch.testing.assert_close(runs[1][name], x, rtol=1e-9, atol=1e-11)


def test_frozen_norms_keep_their_statistics_and_others_do_not(data: Path, tmp_path: Path) -> None:
    fixed, free = frozen(loop_on(data, tmp_path / "a", ONE)), loop_on(data, tmp_path / "b", ONE)
    before = {name: x.clone() for name, x in fixed.network.named_buffers()}
    for loop in (fixed, free):
        loop.run()
    assert all(torch.equal(x, before[name]) for name, x in fixed.network.named_buffers())
    assert not any(torch.equal(x, before[name]) for name, x in free.network.named_buffers())


def test_weights_that_need_no_gradient_stay(data: Path, tmp_path: Path) -> None:
    training, validation = sources_of(data, ONE.sampling)
    network = scratch().network(1)
    network.requires_grad_(False)
    network.get_submodule("head").requires_grad_(True)
    before = {name: x.clone() for name, x in network.named_parameters()}
    Loop(network, (splice_output(),), training, validation, ONE, seed=1, stem=tmp_path / "a", ranks=Ranks()).run()
    moved = {name for name, x in network.named_parameters() if not torch.equal(x, before[name])}
    assert moved == {"head.weight", "head.bias"}


def test_gradients_are_clipped_to_their_norm(data: Path, tmp_path: Path) -> None:
    norms = []
    for clip in (None, 1e-3):
        loop = after(data, tmp_path, settings_of(epochs=1, optimiser={"clip": clip}), str(clip))
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in loop.parameters if p.grad is not None)))
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_a_penalty_pulls_the_weights(data: Path, tmp_path: Path) -> None:
    def size(network: nn.Module) -> Tensor:
        return 100 * torch.stack([p.square().sum() for p in network.parameters()]).sum()

    free, held = (after(data, tmp_path, ONE, str(i), penalty=p) for i, p in enumerate((None, size)))
    norms = [sum(float(p.detach().square().sum()) for p in loop.parameters) for loop in (free, held)]
    assert norms[1] < norms[0]


def test_an_average_follows_the_weights_and_is_what_is_validated(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    own = Loop._step

    def step(loop: Loop, batch: Batch) -> None:
        own(loop, batch)
        seen.append({name: x.clone() for name, x in weights_of(loop).items()})

    monkeypatch.setattr(Loop, "_step", step)
    settings = settings_of(epochs=2, average=0.8, schedule={"rate": 0.02})
    loop = after(data, tmp_path, settings)
    expected = {name: x.double() for name, x in seen[0].items()}
    for i, now in enumerate(seen[1:], 1):
        decay = min(0.8, (1 + i) / (10 + i))
        expected = {name: decay * x + (1 - decay) * now[name].double() for name, x in expected.items()}
    for name, x in loop.state.average.items():
        if x.is_floating_point():
            torch.testing.assert_close(x.double(), expected[name], rtol=1e-4, atol=1e-6)
    assert loop.state.best_epoch == 1
    assert same_weights(loop.state.best, loop.state.average)
    assert not same_weights(loop.state.best, weights_of(loop))
    plain = after(data, tmp_path, settings_of(epochs=2, schedule={"rate": 0.02}), "plain")
    assert same_weights(weights_of(plain), weights_of(loop)), "training itself does not know of the average"
    assert same_weights(plain.state.best, weights_of(plain))


@pytest.mark.parametrize(
    ("losses", "patience", "ends", "best"),
    [
        ([3, 2, 2.5, 2.1, 1, 1], 2, 4, 1),
        ([3, 2, 2.5, 1.5, 1.6, 1.7], 2, 6, 3),
        ([3, 2, 2.5, 2.1, 1, 1], None, 6, 4),
        ([1, 1, 0.5, 1, 1, 1], 1, 2, 0),
    ],
)
def test_training_ends_where_the_validation_loss_falls_no_more(
    losses: list[float],
    patience: int | None,
    ends: int,
    best: int,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = []

    def validate(loop: Loop) -> dict[str, float]:
        kept.append({name: x.clone() for name, x in weights_of(loop).items()})
        return {"loss": losses[len(kept) - 1]}

    monkeypatch.setattr(Loop, "validate", validate)
    loop = after(data, tmp_path, settings_of(epochs=6, patience=patience))
    assert (loop.state.epochs, loop.state.best_epoch) == (ends, best)
    assert same_weights(loop.state.best, kept[best])
    again = loop_on(data, tmp_path / "a", settings_of(epochs=6, patience=patience))
    assert again.run().epochs == ends, "a run that has ended has ended"


def test_bf16_computes_in_another_precision_and_comes_near(data: Path, tmp_path: Path) -> None:
    single, half = (after(data, tmp_path, settings_of(precision=p), p) for p in ("fp32", "bf16"))
    losses = [metrics_of(loop.metrics, "epoch")[-1]["validation_loss"] for loop in (single, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert all(x.dtype == torch.float32 for x in half.parameters)


# ---- validation


@pytest.mark.parametrize("window", [64, 100, 1000])
def test_validation_goes_over_every_position_once(window: int, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", records=6)
    unknown = np.array([[30, 75]])
    rng = np.random.default_rng(1)
    with Writer(folder / "validation.h5", Header(outputs=(splice_output(),))) as writer:
        for i, length in enumerate((400, 17, 230)):
            bases = rng.integers(0, 5, length).astype(np.uint8)
            sites = sites_at([5, 11, 14], [2, 1, 2])
            writer.add(Record("c", 0, length, "+"), bases, {SPLICE: sites}, {SPLICE: unknown} if i == 0 else None)
    loop = loop_on(folder, tmp_path / "a", settings_of(sampling={"window": window}, precision="fp64", batch_size=3))
    found = loop.validate()
    dataset, half = Dataset(folder / "validation.h5"), CONTEXT // 2
    log_p, labels = [], []
    for record, length in enumerate(dataset.lengths.tolist()):
        tokens = torch.from_numpy(dataset.tokens(record, -half, length + half).copy())[None]
        with torch.no_grad():
            logits = loop.network(make_one_hot(tokens, torch.float64))
        known = np.ones(length, dtype=bool)
        known[30:75] = record != 0
        assert isinstance(logits, Tensor)
        log_p.append(logits[0].log_softmax(0).numpy()[:, known])
        labels.append(dataset.labels(record, 0, length, SPLICE)[known])
    p, truth = np.concatenate(log_p, axis=1), np.concatenate(labels)
    assert truth.size == 400 - 45 + 17 + 230
    assert found["loss"] == pytest.approx(-p[truth, np.arange(truth.size)].mean(), rel=1e-9)
    for c, name in ((1, "acceptor"), (2, "donor")):
        scores = np.exp(p[c]).astype(np.float32)
        assert found[f"top1_{name}"] == pytest.approx(top_k_accuracy(scores, truth == c))
        assert found[f"auprc_{name}"] == pytest.approx(average_precision(scores, truth == c))
    assert not loop.network.training


def test_validation_takes_no_weights_of_a_sampling(data: Path, tmp_path: Path) -> None:
    losses = [
        loop_on(data, tmp_path / kind, settings_of(sampling={"kind": kind, "window": 100})).validate()
        for kind in ("grid", "random-phase", "biased")
    ]
    assert losses[0] == losses[1] == losses[2]


# ---- stopped and taken up again


class Dropping(SpliceAI):
    """Draws in training."""

    def embed(self, one_hot: Tensor, conditions: Mapping[str, Tensor] = NO_CONDITIONS) -> Tensor:
        return nn.functional.dropout(super().embed(one_hot, conditions), 0.2, self.training)


LONG = settings_of(
    epochs=3,
    average=0.9,
    optimiser={"clip": 1.0},
    sampling={"window": 70},
    batch_size=4,
    schedule={"rate": 0.01},
)
"""Three steps an epoch or four."""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("few"), records=4, length=150)


def dropping_loop(data: Path, stem: Path, **more: Any) -> Loop:
    training, validation = sources_of(data, LONG.sampling)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = Dropping(tiny())
    outputs = (splice_output(),)
    return Loop(network, outputs, training, validation, LONG, seed=3, stem=stem, ranks=Ranks(), **more)


def without_seconds(path: Path) -> list[dict[str, Any]]:
    lines = [line for kind in ("step", "epoch") for line in metrics_of(path, kind)]
    return [{name: x for name, x in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """The run that nobody stopped."""
    loop = dropping_loop(few, tmp_path_factory.mktemp("whole") / "a")
    loop.run()
    assert set(loop.steps) == {3, 4}
    return loop


Accident = Callable[[], None]


def interrupt() -> None:
    raise KeyboardInterrupt


PLACES = {
    "before the first step": ("_batches", 1),
    "in a step": ("_losses", 3),
    "in a later step": ("_losses", 8),
    "between steps": ("_changing", 3),
    "as weights are averaged": ("_average", 5),
    "as a step is told": ("_write", 1),
    "as an epoch begins": ("_windows", 3 + 2),
    "as an epoch ends": ("_end_epoch", 2),
    "as validation begins": ("validate", 2),
    "amid validation": ("_places", 4),
    "as an epoch is told": ("_write", 2),
    "as it is saved": ("_save", 2),
}


ACCIDENTS = {
    "ctrl-c, saved each epoch": (interrupt, 1000.0),
    "term, saved each step": (lambda: signal.raise_signal(signal.SIGTERM), 0.0),
}


@pytest.mark.parametrize(("accident", "every"), ACCIDENTS.values(), ids=ACCIDENTS)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_is_stopped_ends_at_the_same_weights(
    place: str, accident: Accident, every: float, whole: Loop, few: Path, tmp_path: Path
) -> None:
    name, nth = PLACES[place]
    calls = itertools.count(1)
    own = getattr(Loop, name)

    def met(*arguments: Any, **options: Any) -> Any:
        if next(calls) == nth:
            accident()
        return own(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, name, met)
        with handled(), pytest.raises(KeyboardInterrupt):
            dropping_loop(few, tmp_path / "a", every=every).run()
    torch.manual_seed(99)
    rest = dropping_loop(few, tmp_path / "a", every=every)
    rest.run()
    assert same_weights(weights_of(rest), weights_of(whole))
    assert same_weights(rest.state.best, whole.state.best)
    assert same_weights(rest.state.average, whole.state.average)
    assert without_seconds(rest.metrics) == without_seconds(whole.metrics)
    assert rest.state.seconds >= metrics_of(rest.metrics)[0]["seconds"]


def test_a_signal_lets_the_step_end_and_nothing_is_lost(data: Path, tmp_path: Path) -> None:
    own, calls = Loop._losses, itertools.count(1)

    def asked(*arguments: Any) -> Tensor:
        if next(calls) == 4:
            signal.raise_signal(signal.SIGTERM)
        return own(*arguments)

    with pytest.MonkeyPatch.context() as patch, handled():
        patch.setattr(Loop, "_losses", asked)
        with pytest.raises(KeyboardInterrupt):
            loop_on(data, tmp_path / "a", ONE, every=1000).run()
    assert State.load(tmp_path / "a.checkpoint").step == 4


def test_waiting_for_data_is_between_steps(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = Source.batch, itertools.count(1)

    def slow(*arguments: Any, **options: Any) -> Batch:
        if next(calls) == 3:
            interrupt()
        return own(*arguments, **options)

    monkeypatch.setattr(Source, "batch", slow)
    with pytest.raises(KeyboardInterrupt):
        loop_on(data, tmp_path / "a", ONE, every=1000).run()
    assert State.load(tmp_path / "a.checkpoint").step == 2


def test_two_runs_are_the_same_and_the_generator_of_the_process_is_left_alone(
    whole: Loop, few: Path, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    again = dropping_loop(few, tmp_path / "a")
    again.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(weights_of(again), weights_of(whole))


def test_a_half_written_line_of_metrics_is_written_again(data: Path, tmp_path: Path) -> None:
    loop = after(data, tmp_path)
    text = loop.metrics.read_text()
    loop.metrics.write_text(text + '{"kind": "step", "st')
    after(data, tmp_path)
    assert loop.metrics.read_text() == text


# ---- what goes wrong


def poisoned(monkeypatch: pytest.MonkeyPatch, call: int, poison: Callable[[Tensor], Tensor]) -> None:
    """Losses of windows are changed at one call."""
    own, calls = Loss.each, itertools.count(1)

    def each(loss: Loss, *arguments: Any) -> Tensor:
        found = own(loss, *arguments)
        return poison(found) if next(calls) == call else found

    monkeypatch.setattr(Loss, "each", each)


def plant(value: float, row: int) -> Callable[[Tensor], Tensor]:
    def poison(each: Tensor) -> Tensor:
        planted = each.clone()
        planted[row] = value
        return planted

    return poison


@pytest.fixture
def named(data: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Names of the windows of the third step."""
    loop = loop_on(data, tmp_path / "names", ONE)
    windows = loop._windows(0)[16:24]
    dataset = loop.training.datasets[0]
    return [dataset.place(int(r), int(s), int(s) + 100) for r, s in zip(windows.record, windows.start, strict=True)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_its_window_and_keeps_the_last_good_weights(
    value: float, named: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = after(data, tmp_path, name="whole")
    with monkeypatch.context() as patch:
        poisoned(patch, 3, plant(value, 1))
        with pytest.raises(BasecastError, match="is no number at step 3") as caught:
            after(data, tmp_path, every=0)
    assert f"windows {named[1]}; " in str(caught.value)
    assert f"{tmp_path / 'a.checkpoint'} holds the last good weights" in str(caught.value)
    state = State.load(tmp_path / "a.checkpoint")
    assert state.step == 2
    assert all(torch.isfinite(x).all() for x in state.network.values())
    assert same_weights(weights_of(after(data, tmp_path)), weights_of(whole)), "without the fault it goes on"


def test_a_gradient_that_is_no_number_is_seen_too(
    named: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 3, lambda each: each + (0 * each).sqrt())  # 0, with a slope of no number
    with pytest.raises(BasecastError, match="its gradient is no number at step 3") as caught:
        after(data, tmp_path)
    assert f"windows {', '.join(named[:5])} and 3 more; no weights are kept" in str(caught.value)


def test_weights_that_are_no_numbers_are_never_kept(data: Path, tmp_path: Path) -> None:
    loop = loop_on(data, tmp_path / "a", ONE, every=0)
    with torch.no_grad():
        loop.network.get_parameter("head.bias")[1] = math.inf
    with pytest.raises(BasecastError, match=r"at step 1 .*no weights are kept"):
        loop.run()
    assert not loop.checkpoint.exists()


def test_a_validation_loss_that_is_no_number_stops_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = loop_on(data, tmp_path / "a", ONE).steps[0]
    poisoned(monkeypatch, steps + 2, plant(math.nan, 0))
    with pytest.raises(BasecastError, match=rf"validation loss is no number after step {steps}, windows validation1:"):
        after(data, tmp_path)
    assert not (tmp_path / "a.checkpoint").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_that_is_killed_in_a_step_ends_the_run_with_a_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Loop._step

    def step(loop: Loop, batch: Batch) -> None:
        own(loop, batch)
        for worker in multiprocessing.active_children() if loop.state.step == 2 else []:
            os.kill(worker.pid or 0, signal.SIGKILL)
            worker.join()

    settings = settings_of(epochs=1, batch_size=1)
    monkeypatch.setattr(Loop, "_step", step)
    with pytest.raises(BasecastError, match=r"was killed .*the same command goes on.*--workers 0"):
        after(data, tmp_path, settings, workers=1, every=0)
    assert State.load(tmp_path / "a.checkpoint").step in (1, 2)


def test_a_checkpoint_of_another_network_is_refused(data: Path, tmp_path: Path) -> None:
    after(data, tmp_path)
    training, validation = sources_of(data, ONE.sampling)
    wider = SpliceAI(tiny().model_copy(update={"channels": 9}))
    loop = Loop(wider, (splice_output(),), training, validation, ONE, seed=1, stem=tmp_path / "a", ranks=Ranks())
    with pytest.raises(InputError, match=r"(?s)is of another network .*--restart"):
        loop.run()


@pytest.mark.parametrize("weights", [(-1.0,), (math.nan,), (math.inf,)])
def test_a_dataset_is_not_seen_less_than_never(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="data_weights"):
        settings_of(data_weights=weights)


def test_a_loss_that_does_not_fit_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a factor for each of"):
        loop_on(data, tmp_path / "a", settings_of(loss={"kind": "focal", "alpha": (1.0,)}))
