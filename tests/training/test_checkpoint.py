"""A checkpoint is whole or not there, and one that is neither is told from others."""

from __future__ import annotations

import errno
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_data import same_weights

from basecast.errors import BasecastError, InputError
from basecast.training.checkpoint import State, copied

WEIGHTS = {"a": torch.arange(5000.0), "n": torch.tensor(3)}


def state(step: int = 7) -> State:
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW([{"params": network.parameters(), "factor": 0.5}])
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return State(
        step=step, epochs=2, network=WEIGHTS, optimiser=optimiser.state_dict(), best=WEIGHTS, best_loss=0.25, loss=1.5
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = state()
    written.save(tmp_path / "a.checkpoint")
    found = State.load(tmp_path / "a.checkpoint")
    assert same_weights(found.network, WEIGHTS)
    assert same_weights(found.best, WEIGHTS)
    assert (found.step, found.epochs, found.best_loss, found.loss, found.average) == (7, 2, 0.25, 1.5, {})
    assert found.optimiser["param_groups"] == written.optimiser["param_groups"]
    assert torch.equal(found.optimiser["state"][0]["exp_avg"], written.optimiser["state"][0]["exp_avg"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(WEIGHTS["a"].numpy().tobytes()[4000:4040])
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "a bit flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "without a digest": lambda path: path.write_bytes(path.read_bytes()[32:]),
    "another's": lambda path: torch.save({"step": 1}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_refused_with_the_remedy(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    state().save(path)
    damage(path)
    with pytest.raises(InputError, match=r"a.checkpoint is damaged: --restart removes it and begins anew"):
        State.load(path)


def test_where_the_disk_is_full_the_earlier_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.checkpoint"
    state().save(path)

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(BasecastError, match=r"could not be written \(No space left on device\).*make room") as told:
            state(8).save(path)
    assert told.value.exit_code == 1
    assert State.load(path).step == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


def _save_within(path: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        state(8).save(path)
    except BasecastError as error:
        raise SystemExit(3 if "could not be written (File too large)" in str(error) else 4) from None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_file_system_that_takes_half_of_it_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    state().save(path)
    limit = path.stat().st_size // 2
    child = multiprocessing.get_context("fork").Process(target=_save_within, args=(path, limit))
    child.start()
    child.join(240)
    assert child.exitcode == 3
    assert State.load(path).step == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


def test_copies_do_not_change_with_the_network() -> None:
    network = torch.nn.Linear(2, 2)
    kept = copied(network.state_dict())
    with torch.no_grad():
        network.weight.add_(1)
    assert torch.equal(kept["weight"] + 1, network.weight)
