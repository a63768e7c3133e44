"""``basecast train`` as it is typed: what it says, what it leaves, how it ends, and that it goes on after kill -9."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import on_ranks
from toy_data import metrics_of, write_data

from basecast.acceptance import ship
from basecast.cli.main import main
from basecast.cli.training_options import TrainingOptions, TrainingRun
from basecast.errors import InputError
from basecast.training.checkpoint import State
from basecast.training.loop import Loop
from basecast.training.losses import Loss
from basecast.zoo.package import Package, load_package
from conftest import Ran, Run

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
SMALL = ("--context", 80, "--channels", 4, "--window", 100, "--epochs", 2, "--batch-size", 3, "--threads", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "toy", records=6, length=150)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and test vectors take longer than training here."""

    def none(package: Package, device: str) -> None:
        raise InputError("not here")

    monkeypatch.setattr("basecast.figures.canvas.png", lambda figure: b"")
    monkeypatch.setattr(ship, "make", none)


Train = Callable[..., Ran]


@pytest.fixture
def train(run: Run, data: Path, tmp_path: Path) -> Train:
    """The command on the toy data; what ``options`` name is not given twice."""

    def train(*options: object) -> Ran:
        small = dict(zip(SMALL[::2], SMALL[1::2], strict=True))
        given = {"--data": data, "-O": tmp_path / "m", "--device": "cpu", **small}
        flat = [word for name, value in given.items() if name not in options for word in (name, value)]
        return run("train", *flat, *options)

    return train


def said(ran: Ran, code: int, *words: str) -> None:
    """One sentence, and nothing made."""
    assert ran.code == code, ran.err
    last = ran.err.splitlines()[-1]
    assert last.startswith("basecast: error: ")
    for one in words:
        assert one in last
    assert "Traceback" not in ran.err


def weights_in(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


# ---- what it says and leaves


def test_a_model_and_what_was_said_on_the_way(train: Train, tmp_path: Path) -> None:
    ran = train("--licence", "MIT")
    assert (ran.code, ran.out) == (0, "")
    lines = ran.err.splitlines()
    assert lines[0].endswith("weights to train, 1 network, on cpu, fp32")
    assert lines[1].startswith("basecast: seed 1, epoch 1 of 2: training loss ")
    assert "validation loss " in lines[1]
    assert "top1 donor " in lines[1]
    assert lines[2].endswith("; 0 min left")
    assert lines[3] == f"basecast: warning: {tmp_path / 'm'} carries no test vectors: not here"
    assert lines[4].startswith(f"basecast: {tmp_path / 'm'}: seed 1, epoch ")
    spec = load_package(tmp_path / "m").spec
    assert (spec.name, spec.licence, spec.species, spec.genome_build) == ("m", "MIT", "Toyus toyi", "toy1")
    assert spec.provenance.command.startswith("basecast train --data ")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_json_for_programs(train: Train) -> None:
    ran = train("--log-format", "json", "--seeds", "5,6", "--epochs", 1)
    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert ran.code == 0
    assert lines[0]["device"] == "cpu"
    epochs = [line for line in lines if line.get("kind") == "epoch"]
    assert [(line["seed"], line["epoch"]) for line in epochs] == [(5, 1), (6, 1)]
    assert all({"validation_loss", "validation_top1_donor", "steps", "seconds"} <= line.keys() for line in epochs)
    assert [best["epoch"] for best in lines[-1]["best"]] == [1, 1]


def test_every_option_is_explained(run: Run) -> None:
    text = run("train", "--help").out
    names = [field.name for kind in (TrainingOptions, TrainingRun) for field in dataclasses.fields(kind)]
    for name in [*names, "data", "output", "family", "size", "context", "channels", "config", "tracks", "licence"]:
        assert f"--{name.replace('_', '-')}" in text, name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_number(train: Train, tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert train("--tensorboard", tmp_path / "board").code == 0
    events = event_accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    lines = metrics_of(tmp_path / "m" / "training" / "metrics-1.jsonl", "epoch")
    found = events.Scalars("seed-1/epoch/validation_loss")
    assert [event.step for event in found] == [line["step"] for line in lines]
    assert [event.value for event in found] == pytest.approx([line["validation_loss"] for line in lines])
    assert "seed-1/step/rate" in events.Tags()["scalars"]


def test_without_tensorboard_it_is_said_before_anything_runs(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said(train("--tensorboard", tmp_path / "board"), 2, "--tensorboard needs TensorBoard", "basecast[tensorboard]")
    assert not list(tmp_path.iterdir())


def test_options_reach_the_loop(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Loop] = []
    own = Loop.run

    def run(loop: Loop) -> State:
        seen.append(loop)
        return own(loop)

    monkeypatch.setattr(Loop, "run", run)
    options = "--sampling biased --splice-bias 0.25 --jitter 9 --samples-per-epoch 13 --no-importance-weights"
    options += " --data-weight 2 --epochs 1 --accumulate 2 --loss focal --focal-alpha 1 --focal-alpha 2 --focal-alpha 3"
    options += " --focal-gamma 1.5 --optimiser adam --betas 0.8 0.9 --clip-each 4"
    options += " --schedule constant --rate 0.01 --warm-up 3 --weight-decay 0 --clip 2 --average 0.5"
    options += " --patience 3 --seed 9 --precision bf16 --workers 0 --checkpoint-every 7"
    assert train(*options.split()).code == 0
    (loop,) = seen
    settings = loop.settings
    assert settings.sampling.model_dump() == {
        "kind": "biased",
        "window": 100,
        "splice_bias": 0.25,
        "jitter": 9,
        "samples_per_epoch": 13,
        "importance_weights": False,
    }
    assert settings.loss.model_dump() == {"kind": "focal", "alpha": (1, 2, 3), "gamma": 1.5, "total_weight": 0.2}
    assert settings.optimiser.model_dump() == {
        "kind": "adam",
        "betas": (0.8, 0.9),
        "momentum": 0.9,
        "weight_decay": 0,
        "clip": 2,
        "clip_each": 4,
    }
    assert settings.schedule.model_dump() == {"kind": "constant", "rate": 0.01, "warm_up": 3}
    rest = settings.model_dump(exclude={"sampling", "loss", "optimiser", "schedule"})
    assert rest == {
        "epochs": 1,
        "batch_size": 3,
        "accumulate": 2,
        "augment": {"reverse_complement": False, "shift": 0},
        "average": 0.5,
        "patience": 3,
        "data_weights": (2,),
        "precision": "bf16",
    }
    assert (loop.seed, loop.workers, loop.every) == (9, 0, 7)
    assert sum(loop.steps) == 5


def test_two_processes_train_together(data: Path, tmp_path: Path) -> None:
    words = ["train", "--data", data, "-O", tmp_path / "m", "--device", "cpu", *SMALL]
    words += ["--tensorboard", tmp_path / "board"]
    assert on_ranks(2, lambda rank: main([str(word) for word in words])) == [0, 0]
    assert load_package(tmp_path / "m").spec.name == "m"
    assert len(list((tmp_path / "board").iterdir())) == 1


# ---- how it ends


REFUSED: dict[str, tuple[tuple[object, ...], int, str]] = {
    "a sampling that there is not": (("--sampling", "all"), 2, "--sampling"),
    "windows of nothing": (("--window", 0), 2, "--window"),
    "a context that is not published": (
        ("--context", 81),
        2,
        "there is no spliceai of the size '81', only tiny, 80, 400, 2000",
    ),
    "seeds that are none": (("--seeds", "a"), 2, "is not numbers joined by commas"),
    "a negative seed": (("--seeds=-3",), 2, "from 0 to 2^31 - 1"),
    "weights for other data": (("--data-weight", 1, "--data-weight", 2), 2, "1 datasets and 2 weights"),
    "factors without focal": (("--focal-alpha", 1), 2, "factors of classes (alpha) go with the focal loss; see --help"),
    "factors of other classes": (
        ("--loss", "focal", "--focal-alpha", 1),
        2,
        "a factor for each of neither, acceptor, donor",
    ),
    "jitter without a bias": (("--jitter", 3), 2, "go with biased sampling, not with random-phase"),
    "a wide jitter": (("--sampling", "biased", "--jitter", 90), 2, "a site may lie outside its window"),
    "a GPU that is not there": (("--device", "cuda:99"), 2, "cuda:99 is not there"),
    "no data": (("--data", "nowhere"), 1, "nowhere has no train.h5"),
}


@pytest.mark.parametrize(("options", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(
    options: tuple[object, ...], code: int, words: str, train: Train, tmp_path: Path
) -> None:
    said(train(*options), code, words)
    assert not list(tmp_path.glob("m*/part-*"))
    assert not (tmp_path / "m").exists()


def test_a_model_that_is_there_is_left_alone(train: Train, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    said(train(), 2, "is there already: choose another name or remove it")


def test_a_corrupt_dataset_is_bad_input(train: Train, data: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.h5").write_bytes((data / "train.h5").read_bytes()[:3000])
    said(train("--data", tmp_path / "bad"), 1, "train.h5 is damaged or no dataset of basecast")


def test_a_loss_that_is_no_number_ends_it(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Loss.each
    monkeypatch.setattr(Loss, "each", lambda *arguments: own(*arguments) * torch.nan)
    said(train(), 1, "is no number at step 1", "windows train", "(--restart) with a smaller --rate or --clip 1")


def test_a_full_disk_ends_it_and_it_goes_on_later(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path.write_bytes
    checkpoints = []

    def full(path: Path, content: Any) -> int:
        if ".checkpoint" in path.name:
            checkpoints.append(path)
            if len(checkpoints) == 4:
                raise OSError(28, "No space left on device")
        return own(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        said(train("--checkpoint-every", 1e-9), 1, "No space left on device", "make room")
    assert State.load(tmp_path / "m.basecast" / "part-000000.checkpoint").step == 3
    assert not list((tmp_path / "m.basecast").glob("*.partial"))
    assert train().code == 0
    whole = tmp_path / "whole"
    assert train("-O", whole).code == 0
    assert weights_in(tmp_path / "m") == weights_in(whole)


def test_a_damaged_checkpoint_is_told_with_the_way_out(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(train, monkeypatch)
    checkpoint = tmp_path / "m.basecast" / "part-000000.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    said(train(), 1, "is damaged: --restart removes it and begins anew")
    assert train("--restart").code == 0


def stopped(train: Train, monkeypatch: pytest.MonkeyPatch, step: int = 3) -> None:
    own = Loop._step

    def interrupted(loop: Loop, batch: Any) -> None:
        own(loop, batch)
        if loop.state.step == step:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", interrupted)
        ran = train()
    said(ran, 143, "interrupted by SIGTERM: the same command goes on where it stood")


def test_another_run_is_told_from_this_one(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(train, monkeypatch)
    before = (tmp_path / "m.basecast" / "part-000000.checkpoint").read_bytes()
    said(train("--rate", 0.5), 2, "schedule.rate was 0.001 and is 0.5 now", "--restart to begin anew")
    said(train("--channels", 5), 2, "architecture.config.channels was 4 and is 5 now")
    assert (tmp_path / "m.basecast" / "part-000000.checkpoint").read_bytes() == before
    assert State.load(tmp_path / "m.basecast" / "part-000000.checkpoint").step == 3
    assert train("--restart", "--rate", 0.5).code == 0


# ---- kill -9


def words_of(data: Path, target: Path) -> list[str]:
    options = ("--average", 0.9, "--checkpoint-every", 1e-9)
    words = ["train", "--data", data, "-O", target, "--device", "cpu", *SMALL, *options]
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the run that nobody killed."""
    target = tmp_path_factory.mktemp("whole") / "m"
    assert main(words_of(data, target)) == 0
    return target


def _dies(words: list[str], place: str, step: int) -> None:
    """The command line in a process that kills itself."""
    own = getattr(Loop, place)

    def dying(loop: Loop, *arguments: Any, **options: Any) -> Any:
        if loop.state.step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(loop, *arguments, **options)

    setattr(Loop, place, dying)
    main(words)


@pytest.mark.parametrize(
    ("place", "step"),
    [("_losses", 3), ("_step", 7), ("_end_epoch", 1), ("_places", 7), ("_save", 2)],
    ids=["in a step", "in the second epoch", "between epochs", "in validation", "as it is saved"],
)
def test_after_kill_9_the_same_command_ends_at_the_same_weights(
    place: str, step: int, whole: Path, data: Path, tmp_path: Path
) -> None:
    words = words_of(data, tmp_path / "m")
    child = multiprocessing.get_context("fork").Process(target=_dies, args=(words, place, step))
    child.start()
    child.join(240)
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    assert main(words) == 0
    assert weights_in(tmp_path / "m") == weights_in(whole)
    metrics = [folder / "training" / "metrics-1.jsonl" for folder in (tmp_path / "m", whole)]
    for kind in ("step", "epoch"):
        mine, theirs = ([{**line, "seconds": 0} for line in metrics_of(path, kind)] for path in metrics)
        assert mine == theirs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
def test_nothing_is_drawn_that_depends_on_workers(train: Train, tmp_path: Path) -> None:
    assert train("--epochs", 1).code == 0
    assert train("--epochs", 1, "--workers", 2, "-O", tmp_path / "two").code == 0
    assert weights_in(tmp_path / "m") == weights_in(tmp_path / "two")


def test_precisions_give_other_weights(train: Train, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        assert train("--epochs", 1, "--precision", precision, "-O", tmp_path / precision).code == 0
    assert weights_in(tmp_path / "fp32") != weights_in(tmp_path / "bf16")
    networks = [load_package(tmp_path / precision).networks[0] for precision in ("fp32", "bf16")]
    assert all(x.dtype == torch.float32 for network in networks for x in network.parameters())
