"""Several processes compute what one would, to rounding in double precision; where one dies the others say so."""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import on_ranks
from torch import Tensor, nn
from toy_data import loop_on, metrics_of, same_weights, scratch, settings_of, write_data

from basecast.errors import BasecastError, UsageError
from basecast.models.layers import Norm
from basecast.training.checkpoint import State
from basecast.training.distributed import Ranks, joined, local_device
from basecast.training.loop import Loop, LoopSettings
from basecast.training.losses import Loss
from basecast.training.train import train
from basecast.zoo.package import load_package

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
CPU = torch.device("cpu")
TWENTY = settings_of(
    sampling={"kind": "biased", "window": 60, "samples_per_epoch": 21},
    batch_size=5,
    epochs=4,
    precision="fp64",
)
"""Twenty steps; shares are 2 and 3 windows, and in the last of an epoch none and one."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("toy"), records=4, length=200)


def freeze(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, Norm):
            module.is_frozen = True


def ridge(network: nn.Module) -> Tensor:
    return 0.01 * torch.stack([p.square().sum() for p in network.parameters()]).sum()


def run_in(data: Path, stem: Path, settings: LoopSettings, is_frozen: bool = False, **more: Any) -> dict[str, Any]:
    """Train in this process, with the others if there are any; weights, best weights, and validation."""
    with joined(CPU) as ranks:
        loop = loop_on(data, stem, settings, ranks=ranks, **more)
        if is_frozen:
            freeze(loop.network)
        state = loop.run()
        return {
            "weights": loop.network.state_dict(),
            "best": state.best,
            "loss": state.best_loss,
            "step": state.step,
            "validation": loop.validate(),
        }


def check_alike(first: dict[str, Tensor], second: dict[str, Tensor], limit: float = 1e-10) -> None:
    """A norm takes away the bias before it, whose gradient is rounding and nothing else: Adam makes it visible."""
    for name, x in first.items():
        is_idle = name.endswith(("conv1.bias", "norm2.running_mean"))
        assert float((x - second[name]).abs().max()) <= (max(limit, 1e-8) if is_idle else limit), name


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped, averaged, with a penalty": {"optimiser": {"clip": 0.5}, "average": 0.9, "penalty": ridge},
    "in parts": {"accumulate": 3, "is_frozen": True},
    "random phase, focal": {
        "sampling": {"kind": "random-phase", "window": 60},
        "loss": {"kind": "focal", "alpha": (1.0, 2.0, 2.0)},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_two_processes_are_one(case: dict[str, Any], data: Path, tmp_path: Path) -> None:
    options = {name: case[name] for name in ("penalty", "is_frozen") if name in case}
    settings = settings_of(**TWENTY.model_dump() | {name: x for name, x in case.items() if name not in options})
    alone = run_in(data, tmp_path / "one", settings, **options)
    if "sampling" not in case:
        assert alone["step"] == 20
    both = on_ranks(2, lambda rank: run_in(data, tmp_path / "two", settings, **options))
    for found in both:
        assert found["step"] == alone["step"]
        check_alike(alone["weights"], found["weights"])  # running statistics too
        check_alike(alone["best"], found["best"])
        assert found["validation"] == pytest.approx(alone["validation"], rel=1e-9)
    assert same_weights(both[0]["weights"], both[1]["weights"])
    one, two = (metrics_of(tmp_path / f"{name}.metrics.jsonl", "epoch") for name in ("one", "two"))
    assert len(two) == len(one) == 4
    assert [line["validation_loss"] for line in two] == pytest.approx([line["validation_loss"] for line in one])


def test_in_parts_norms_meet_though_shares_differ(data: Path, tmp_path: Path) -> None:
    settings = settings_of(**TWENTY.model_dump() | {"accumulate": 3, "epochs": 1})
    both = on_ranks(2, lambda rank: run_in(data, tmp_path / "two", settings))
    assert [found["step"] for found in both] == [5, 5]
    assert same_weights(both[0]["weights"], both[1]["weights"])
    assert all(torch.isfinite(x).all() for x in both[0]["weights"].values())


def test_norms_on_their_own_would_differ(data: Path, tmp_path: Path) -> None:
    """What the shared norms are for."""

    def apart(rank: int) -> dict[str, Any]:
        Ranks.share_norms = lambda self, network: None  # type: ignore[method-assign] # in this fork only
        return run_in(data, tmp_path / "two", settings_of(**TWENTY.model_dump() | {"batch_size": 4, "epochs": 1}))

    settings = settings_of(**TWENTY.model_dump() | {"batch_size": 4, "epochs": 1})
    alone = run_in(data, tmp_path / "one", settings)["weights"]
    found = on_ranks(2, apart)[0]
    assert (
        isinstance(found, Exception)
        or max(float((x - found["weights"][name]).abs().max()) for name, x in alone.items()) > 1e-6
    )


def test_two_processes_make_one_package(data: Path, tmp_path: Path) -> None:
    settings = settings_of(**TWENTY.model_dump() | {"epochs": 1})

    def both(rank: int) -> Any:
        return train([data], tmp_path / "two", scratch(), settings, seeds=(3, 4)).best

    alone = train([data], tmp_path / "one", scratch(), settings, seeds=(3, 4))
    found = on_ranks(2, both)
    assert found[0] == found[1]
    assert [line["validation_loss"] for line in found[0]] == pytest.approx(
        [line["validation_loss"] for line in alone.best]
    )
    one, two = (load_package(tmp_path / name) for name in ("one", "two"))
    for mine, theirs in zip(one.networks, two.networks, strict=True):
        check_alike(mine.state_dict(), theirs.state_dict(), 1e-6)
    assert not (tmp_path / "two.basecast").exists()


# ---- accidents


def test_where_a_process_is_killed_the_other_says_so_and_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    own = Loop._losses

    def dying(rank: int) -> Any:
        def losses(loop: Loop, *arguments: Any) -> Tensor:
            if rank == 1 and loop.state.step == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return own(loop, *arguments)

        Loop._losses = losses  # type: ignore[method-assign] # in this fork only
        return run_in(data, tmp_path / "two", TWENTY, every=0)

    began = time.monotonic()
    told, silent = on_ranks(2, dying)
    assert time.monotonic() - began < 120  # seconds; a machine may be busy
    assert silent is None
    assert isinstance(told, BasecastError)
    assert "another process of this training has ended" in str(told)
    assert "the same command goes on from the last checkpoint" in str(told)
    assert State.load(tmp_path / "two.checkpoint").step == 7
    rest = on_ranks(2, lambda rank: run_in(data, tmp_path / "two", TWENTY))
    check_alike(run_in(data, tmp_path / "one", TWENTY)["weights"], rest[0]["weights"])
    assert [line["step"] for line in metrics_of(tmp_path / "two.metrics.jsonl")] == [1, 10, 20]


def test_a_loss_that_is_no_number_in_one_process_is_named_by_all(data: Path, tmp_path: Path) -> None:
    own, calls = Loss.each, itertools.count(1)

    def poisoned(rank: int) -> Any:
        def each(loss: Loss, *arguments: Any) -> Tensor:
            found = own(loss, *arguments)
            if rank == 1 and next(calls) == 2:
                found = found * torch.tensor([1.0, math.nan, 1.0], dtype=found.dtype)
            return found

        Loss.each = each  # type: ignore[method-assign] # in this fork only
        return run_in(data, tmp_path / "two", TWENTY)

    windows = loop_on(data, tmp_path / "names", TWENTY)._windows(0)[5:10]
    dataset = loop_on(data, tmp_path / "names", TWENTY).training.datasets[0]
    bad = dataset.place(int(windows.record[3]), int(windows.start[3]), int(windows.start[3]) + 60)
    for error in on_ranks(2, poisoned):
        assert isinstance(error, BasecastError)
        assert f"at step 2 (loss nan), windows {bad}; no weights are kept" in str(error)


def test_all_must_see_the_checkpoint(data: Path, tmp_path: Path) -> None:
    settings = settings_of(**TWENTY.model_dump() | {"epochs": 1})
    run_in(data, tmp_path / "0", settings)
    for error in on_ranks(2, lambda rank: run_in(data, tmp_path / str(rank), settings)):
        assert isinstance(error, UsageError)
        assert "give a --work-dir that is on all machines" in str(error)


def test_a_refused_run_ends_in_all_processes(data: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for error in on_ranks(2, lambda rank: train([data], tmp_path / "two", scratch(), TWENTY)):
        assert isinstance(error, UsageError)


# ---- alone


def test_norms_of_torch_are_refused_where_they_would_differ() -> None:
    network = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))
    Ranks().share_norms(network)
    with pytest.raises(UsageError, match="BatchNorm1d cannot be shared by ranks"):
        Ranks(0, 2).share_norms(network)


def test_alone_everything_is_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(CPU) as ranks:
        assert ranks == Ranks(0, 1)
        assert ranks.is_first
        assert (ranks.from_first(3), ranks.gather(3)) == (3, [3])
        x = torch.ones(3)
        assert ranks.total(x) is x
        ranks.wait()
        network = nn.Linear(2, 2)
        ranks.sum_gradients(list(network.parameters()))
        assert network.weight.grad is None


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_device(torch.device("cuda")) == torch.device("cuda:3")
    assert local_device(CPU) == CPU
    monkeypatch.delenv("LOCAL_RANK")
    assert local_device(torch.device("cuda:1")) == torch.device("cuda:1")


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="mine"), joined(CPU):
        raise RuntimeError("mine")
