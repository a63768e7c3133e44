"""Learning rates against the published list and torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, LRScheduler, MultiStepLR

from basecast.training.schedules import Schedule

PER_EPOCH = 8


def optimiser(rate: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def by_epoch(schedule: Schedule, epochs: int) -> list[float]:
    return [schedule.at(PER_EPOCH * epoch, epoch, epochs) for epoch in range(epochs)]


def stepped(scheduler: LRScheduler, steps: int) -> list[float]:
    """The rate of each step of a scheduler that counts steps."""
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_multistep_is_the_published_list() -> None:
    published = [1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5, 3.125e-5]
    assert by_epoch(Schedule(kind="multistep"), 7) == pytest.approx(published, rel=1e-12)
    assert [float(f"{rate:.2g}") for rate in by_epoch(Schedule(kind="multistep"), 7)][-1] == 3.1e-5


@pytest.mark.parametrize("epochs", [6, 7, 10])
def test_multistep_is_torchs_within_an_epoch_too(epochs: int) -> None:
    milestones = [PER_EPOCH * (epochs - before) for before in range(5, 0, -1)]
    schedule = Schedule(kind="multistep")
    found = [schedule.at(step, step / PER_EPOCH, epochs) for step in range(PER_EPOCH * epochs)]
    assert found == pytest.approx(stepped(MultiStepLR(optimiser(), milestones, 0.5), 8 * epochs), rel=1e-12)


def test_multistep_of_few_epochs_begins_at_its_rate() -> None:
    assert by_epoch(Schedule(kind="multistep", rate=0.8), 3) == pytest.approx([0.8, 0.4, 0.2])
    assert by_epoch(Schedule(kind="multistep", rate=0.8), 1) == [0.8]


def test_cosine_restarts_are_torchs() -> None:
    scheduler = CosineAnnealingWarmRestarts(optimiser(), T_0=5, T_mult=1, eta_min=1e-5)
    schedule, found, expected = Schedule(kind="cosine-restarts"), [], []
    for step in range(12 * PER_EPOCH):
        scheduler.step(step / PER_EPOCH)
        expected.append(scheduler.get_last_lr()[0])
        found.append(schedule.at(step, step / PER_EPOCH, 12))
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[5 * PER_EPOCH] == 1e-3
    assert min(found) < 2e-5


def test_cosine_is_torchs_over_all_steps() -> None:
    schedule = Schedule(rate=2e-3)
    found = [schedule.at(step, step / PER_EPOCH, 3) for step in range(3 * PER_EPOCH)]
    assert found == pytest.approx(stepped(CosineAnnealingLR(optimiser(2e-3), T_max=24), 24), rel=1e-9)
    assert schedule.at(24, 3, 3) == pytest.approx(0, abs=1e-18)


def test_a_constant_rate_stays() -> None:
    assert set(by_epoch(Schedule(kind="constant", rate=0.5), 9)) == {0.5}


@pytest.mark.parametrize("kind", ["constant", "cosine", "multistep", "cosine-restarts"])
def test_warm_up_rises_from_the_first_step_on_and_then_leaves_the_rate(kind: str) -> None:
    cold, warm = (Schedule.model_validate({"kind": kind, "warm_up": n}) for n in (0, 5))
    shares = [warm.at(s, s / PER_EPOCH, 9) / cold.at(s, s / PER_EPOCH, 9) for s in range(20)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 16)
    assert not math.isclose(warm.at(0, 0, 9), 0)


@pytest.mark.parametrize("given", [{"kind": "linear"}, {"rate": 0}, {"warm_up": -1}])
def test_a_schedule_that_there_is_not_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate(given)
