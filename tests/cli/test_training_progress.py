"""What is shown of a training that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from basecast.cli.console import Console
from basecast.cli.training_progress import told

STEP = {"kind": "step", "steps": 40, "epochs": 4, "epoch": 1, "rate": 0.001, "seconds": 1.0}
EPOCH = {
    "kind": "epoch",
    "steps": 40,
    "epochs": 4,
    "epoch": 1,
    "step": 10,
    "loss": 0.123456,
    "validation_loss": 0.2,
    "validation_top1_donor": None,
    "validation_auprc_donor": 0.75,
    "best_epoch": 1,
    "seconds": 600.0,
}


class Shown(Console):
    """A terminal's bar, written down."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Any]:
        yield lambda *arguments: self.calls.append(arguments)


def test_the_bar_counts_the_steps_of_all_networks_with_loss_and_top_1() -> None:
    console = Shown()
    with told(console, None, [7, 3]) as tell:
        tell(STEP | {"seed": 7, "step": 10, "loss": 0.51234, "top1": 0.25})
        tell(STEP | {"seed": 3, "step": 20, "loss": 0.5, "top1": None})
    assert console.calls == [(10, 80, "loss 0.512, top-1 0.25"), (60, 80, "loss 0.5")]


def test_of_signals_it_shows_their_correlation() -> None:
    console = Shown()
    with told(console, None, [1]) as tell:
        tell(STEP | {"seed": 1, "step": 10, "loss": -7.5, "pearson": 0.512})
    assert console.calls == [(10, 40, "loss -7.5, correlation 0.512")]


def test_a_run_that_goes_on_with_its_second_network_counts_the_first() -> None:
    console = Shown()
    with told(console, None, [7, 3]) as tell:
        tell(STEP | {"seed": 3, "step": 1, "loss": 0.5, "top1": 1.0})
    assert console.calls[0][:2] == (41, 80)


def test_an_epoch_is_a_sentence_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with told(Console(), None, [1]) as tell:
        tell(EPOCH | {"seed": 1})
        tell(STEP | {"seed": 1, "step": 10, "loss": 0.5, "top1": None})
    assert capsys.readouterr().err == (
        "basecast: seed 1, epoch 1 of 4: training loss 0.1235, validation loss 0.2, auprc donor 0.75; 30 min left\n"
    )
