"""The same loop on signals: it learns, on any number of processes alike, with less memory alike, stopped or not."""

from __future__ import annotations

import signal as signals_of_the_system
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import on_ranks
from scipy import stats
from toy_data import metrics_of, same_weights
from toy_signals import BIN, WIDE, WINDOW, basenji_of, loop_on, settings_of, signals

from basecast.data.loader import Batch
from basecast.data.store import Dataset
from basecast.errors import UsageError
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.interruption import handled
from basecast.spec import Output, Track
from basecast.training.distributed import joined
from basecast.training.loop import Loop
from basecast.training.train import from_scratch, train
from basecast.training.validation import score_of
from basecast.zoo.package import load_package

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signals(tmp_path_factory.mktemp("signals"))


# ---- it learns


def test_a_motif_and_its_strand_are_learnt_and_the_package_answers(tmp_path: Path) -> None:
    folder = signals(tmp_path / "data", length=8192, records={"train": 8, "validation": 2, "test": 1})
    settings = settings_of(epochs=8, sampling={"window": 1024}, schedule={"rate": 0.04, "warm_up": 20})
    start = from_scratch(basenji_of(WIDE))
    train([folder], tmp_path / "m", start, settings)
    told = metrics_of(tmp_path / "m" / "training" / "metrics-1.jsonl", "epoch")
    assert told[-1]["validation_pearson_signal"] > 0.6
    assert told[-1]["validation_r2_signal"] > 0.25
    assert told[0]["validation_loss"] > told[-1]["validation_loss"] + 0.2
    assert metrics_of(tmp_path / "m" / "training" / "metrics-1.jsonl")[-1]["pearson"] > 0.4
    test = Dataset(folder / "test.h5")

    class Stored:
        def tokens(self, contig: str, start: int, end: int) -> np.ndarray:
            return test.tokens(0, start, end)

    engine = Engine(load_package(tmp_path / "m"), device="cpu")
    values = engine.evaluate([Request(Stored(), "c", 0, 8192, "+")])[0]["signal"]
    targets = test.labels(0, 0, 8192, "signal")
    r = [stats.pearsonr(p, y).statistic for p, y in zip(values.T, targets.T, strict=True)]
    swapped = [stats.pearsonr(p, y).statistic for p, y in zip(values.T, targets.T[::-1], strict=True)]
    assert min(r) > 0.5
    assert max(swapped) < 0.2


def test_a_card_tells_of_tracks_and_views(folder: Path, tmp_path: Path) -> None:
    train([folder], tmp_path / "m", from_scratch(basenji_of()), settings_of())
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| data | records | bases | tracks |" in card
    assert "| 6 | 12,288 | 2 |" in card
    assert "loss poisson" in card
    assert "Half of the windows were read from the other strand; sequences were moved by up to 3 bases" in card
    assert "| seed | epoch | loss | pearson signal | r2 signal |" in card


def test_what_the_network_is_given_is_augmented_in_training_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, list[Batch]] = {True: [], False: []}
    own = Loop._logits

    def logits(loop: Loop, batch: Batch) -> Any:
        seen[loop.network.training].append(batch)
        return own(loop, batch)

    monkeypatch.setattr(Loop, "_logits", logits)
    loop_on(folder, tmp_path / "a", settings_of(epochs=2)).run()
    flips, shifts = (np.concatenate([getattr(b.windows, n) for b in seen[True]]) for n in ("is_flipped", "shift"))
    assert 0.2 < flips.mean() < 0.8
    assert len(set(shifts.tolist())) > 4
    assert not any(b.windows.is_flipped.any() or b.windows.shift.any() for b in seen[False])
    assert len(seen[False]) > 1


# ---- numbers of validation


@pytest.mark.parametrize("window", [WINDOW, 8 * 37])
def test_validation_is_over_every_bin_once(window: int, folder: Path, tmp_path: Path) -> None:
    loop = loop_on(folder, tmp_path / "a", settings_of(sampling={"window": window}, precision="fp64"))
    found = loop.validate()
    dataset, (before, after) = Dataset(folder / "validation.h5"), loop.validation.context
    rates, targets = [], []
    for record in range(2):
        tokens = torch.from_numpy(dataset.tokens(record, -before, 2048 + after).copy())[None]
        one_hot = torch.nn.functional.one_hot(tokens.long(), 5)[..., :4].double().mT
        with torch.no_grad():
            rates.append(torch.nn.functional.softplus(loop.network(one_hot))[0].numpy())  # type: ignore[arg-type]
        targets.append(dataset.labels(record, 0, 2048, "signal").T)
    p, y = np.concatenate(rates, axis=1), np.concatenate(targets, axis=1).astype(float)
    assert found["loss"] == pytest.approx((p - y * np.log(p + 1e-7)).mean(), rel=1e-9)
    r = [stats.pearsonr(a, b).statistic for a, b in zip(p, y, strict=True)]
    assert found["pearson_signal"] == pytest.approx(np.mean(r), rel=1e-9)
    r2 = 1 - ((p - y) ** 2).sum(1) / ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
    assert found["r2_signal"] == pytest.approx(r2.mean(), rel=1e-9)


def test_tracks_without_a_correlation_are_left_out_of_the_mean() -> None:
    output = Output(name="x", tracks=tuple(Track(name=n) for n in "abc"), link="exp")
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(2, 3, 50)), rng.poisson(2, (2, 3, 50)).astype(float)
    target[:, 1] = 0
    known = rng.random((2, 50)) < 0.8
    parts = [score_of(output) for _ in range(2)]
    for i, part in enumerate(parts):
        arrays = [torch.from_numpy(x[i : i + 1]) for x in (logits, target, known)]
        part.add(*arrays)
    parts[0].merge(parts[1])
    flat = [np.moveaxis(x, 1, 2)[known] for x in (np.exp(logits), target)]
    expected = [stats.pearsonr(flat[0][:, t], flat[1][:, t]).statistic for t in (0, 2)]
    assert parts[0].found()["pearson_x"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert parts[0].brief() == parts[0].found()["pearson_x"]
    empty = score_of(output)
    assert np.isnan(empty.brief())


# ---- the same for all


FEW = settings_of(
    sampling={"kind": "biased", "splice_bias": 0.0, "window": 256, "samples_per_epoch": 21},
    batch_size=5,
    epochs=5,
    precision="fp64",
    loss={"kind": "poisson-multinomial"},
)
"""25 steps; of two processes shares are 2 and 3 windows, and in the last of an epoch none and one."""
STILL = {"tower_dropout": 0.0, "dilated_dropout": 0.0, "final_dropout": 0.0}
"""What dropout draws depends on which windows a process has."""


def in_processes(folder: Path, stem: Path, **more: Any) -> dict[str, Any]:
    with joined(torch.device("cpu")) as ranks:
        loop = loop_on(folder, stem, FEW, spec=basenji_of(STILL), ranks=ranks, **more)
        state = loop.run()
        return {"weights": loop.network.state_dict(), "step": state.step, "validation": loop.validate()}


@pytest.mark.parametrize("checkpointed", [False, True])
def test_two_processes_are_one(checkpointed: bool, folder: Path, tmp_path: Path) -> None:
    alone = in_processes(folder, tmp_path / "one")
    both = on_ranks(2, lambda rank: in_processes(folder, tmp_path / "two", checkpointed=checkpointed))
    for found in both:
        assert found["step"] == alone["step"] == 25
        for name, x in alone["weights"].items():
            torch.testing.assert_close(found["weights"][name], x, rtol=1e-8, atol=1e-9, msg=name)
        assert found["validation"] == pytest.approx(alone["validation"], rel=1e-7)


def test_with_checkpointed_activations_the_weights_are_the_same(folder: Path, tmp_path: Path) -> None:
    loops = [loop_on(folder, tmp_path / str(x), settings_of(epochs=2), checkpointed=x) for x in (False, True)]
    for loop in loops:
        loop.run()
    first, second = (loop.network.state_dict() for loop in loops)
    for name, x in first.items():  # statistics of norms too
        torch.testing.assert_close(second[name], x, rtol=1e-5, atol=1e-6, msg=name)


def test_a_run_that_is_stopped_ends_at_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(epochs=2)
    whole = loop_on(folder, tmp_path / "whole", settings)
    whole.run()
    own = Loop._step

    def step(loop: Loop, batch: Batch) -> None:
        own(loop, batch)
        if loop.state.step == 9:
            signals_of_the_system.raise_signal(signals_of_the_system.SIGTERM)

    with monkeypatch.context() as patch, handled():
        patch.setattr(Loop, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            loop_on(folder, tmp_path / "a", settings).run()
    rest = loop_on(folder, tmp_path / "a", settings)
    rest.run()
    assert same_weights(rest.network.state_dict(), whole.network.state_dict())


# ---- what is refused


def test_losses_and_views_that_do_not_fit_are_refused_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cross-entropy needs classes"):
        loop_on(folder, tmp_path / "a", settings_of(loss={"kind": "cross-entropy"}))
    with pytest.raises(UsageError, match="no whole number of them: give 512"):
        train([folder], tmp_path / "m", from_scratch(basenji_of()), settings_of(sampling={"window": 513}))
    other = signals(tmp_path / "other", length=2048, seed=3)
    assert Dataset(other / "train.h5").header.outputs[0].resolution == BIN
