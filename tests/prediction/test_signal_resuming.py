"""A signal prediction that ends early goes on where it stood, and shares of it give the bytes of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from direct import arguments, contents, random_bases, write_fasta, write_model
from signals import binned, predict, windowed

from basecast.cli.main import main
from basecast.inference.shards import Parts
from basecast.prediction import predict as module
from basecast.prediction.signal import SignalPredictor

_KILLED = """
import os, signal, sys
import signals
from basecast.cli.main import main
from basecast.genome.signal import BigWigWriter
from basecast.inference.shards import Parts
from basecast.prediction import predict
predict.WORK = {"cpu": 1}
at = sys.argv.pop(1)
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if at == "writing":
    BigWigWriter._finish = kill
else:
    save = Parts.save
    def save_then_kill(self, shard, payload):
        save(self, shard, payload)
        shard == int(at) and kill()
    Parts.save = save_then_kill
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "WORK", {"cpu": 1})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resuming")
    write_fasta(folder / "genome.fa", {"a": random_bases(350, seed=30), "b": random_bases(205, seed=31)})
    (folder / "in.bed").write_text("b\t100\t101\na\t60\t70\na\t61\t70\nb\t150\t152\n")
    write_model(folder / "binned", binned())
    write_model(folder / "windowed", windowed(2))
    return folder


@pytest.fixture(params=["binned", "windowed", "rows"])
def given(request: pytest.FixtureRequest, files: Path) -> list[object]:
    """A command along contigs by either model, and one of regions."""
    model = "windowed" if request.param == "rows" else request.param
    options = (
        ("--regions", files / "in.bed", "--format", "h5")
        if request.param == "rows"
        else ("--format", "bigwig", "parquet")
    )
    return ["-R", files / "genome.fa", "-m", files / model, "-O", "out", "--tile-size", 100, "--rc", *options]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many places each shard had that the model was run on."""
    sizes: list[int] = []
    payload = SignalPredictor.payload

    def counted(self: SignalPredictor, places: list[object]) -> bytes:
        sizes.append(len(places))
        return payload(self, places)  # type: ignore[arg-type]

    monkeypatch.setattr(SignalPredictor, "payload", counted)
    return sizes


def finished() -> dict[str, bytes]:
    """What a run has left: every file, the summary without its time."""
    summary = json.loads(Path("out.stats.json").read_text())
    assert summary.pop("seconds") >= 0
    found = contents(Path("out"))
    assert {path.name for path in Path().iterdir()} == {*(f"out{suffix}" for suffix in found), "out.stats.json"}
    return found | {"summary": json.dumps(summary).encode()}


@pytest.fixture
def undisturbed(given: list[object], done: list[int]) -> tuple[dict[str, bytes], int]:
    """The files of one run, and how many shards it took."""
    assert predict(*given) == 0
    found, shards = finished(), len(done)
    for path in list(Path().iterdir()):
        path.unlink()
    done.clear()
    assert shards > 3
    return found, shards


def test_an_interrupted_run_goes_on(
    given: list[object], undisturbed: tuple[dict[str, bytes], int], done: list[int]
) -> None:
    save: Callable[..., None] = Parts.save

    def ending(self: Parts, shard: int, payload: bytes) -> None:
        save(self, shard, payload)
        if shard == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "save", ending)
        assert predict(*given) == 143
    assert {path.name for path in Path().iterdir()} == {"out.basecast"}
    done.clear()
    assert predict(*given) == 0
    assert len(done) == undisturbed[1] - 2
    assert finished() == undisturbed[0]


def test_a_run_killed_again_and_again(
    files: Path, done: list[int], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Once a shard is done, then while it writes the output."""
    given = ["-R", files / "genome.fa", "-m", files / "binned", "-O", "out", "--tile-size", 100]
    assert predict(*given) == 0
    wanted = finished()
    for path in list(Path().iterdir()):
        path.unlink()
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(map(str, [tests / "prediction", tests / "models", tests]))
    for at in ("2", "writing"):
        killed = [sys.executable, "-c", _KILLED, at, *arguments(*given)]
        ran = subprocess.run(
            killed, check=False, timeout=120, capture_output=True, env=os.environ | {"PYTHONPATH": path}
        )
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        assert not Path("out.stats.json").exists()
    done.clear()
    assert predict(*given) == 0
    assert done == []
    assert not list(Path().glob(".*.partial"))
    assert finished() == wanted


def test_shards_and_merge_give_the_bytes_of_one_process(
    given: list[object], undisturbed: tuple[dict[str, bytes], int], capfd: pytest.CaptureFixture[str]
) -> None:
    for share in ("1/2", "2/2"):
        assert predict(*given, "--shard", share) == 0
        if share == "1/2":
            assert main(["merge", "out"]) == 1
            assert "run --shard 2/2 (again)" in capfd.readouterr().err
    assert {path.name for path in Path().iterdir()} == {"out.basecast"}
    assert main(["merge", "out"]) == 0
    assert finished() == undisturbed[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tracks", "minus", "plus"), "tracks.0 was 'plus' and is 'minus' now"),
        (("--rc",), "views (--rc, --shifts).reverse_complement was False and is True now"),
        (("--shifts", "1,0"), "views (--rc, --shifts).shifts was"),
        (("-u",), "untransform was False and is True now"),
        (("--precision", "bf16"), "precision was 'fp32' and is 'bf16' now"),
        (("--length", "40", "--regions", "in.bed"), "length was None and is 40 now"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_another_run_is_refused(
    options: tuple[str, ...], said: str, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("in.bed").write_text("a\t100\t200\n")
    given = ["-R", files / "genome.fa", "-m", files / "binned", "-O", "out", "--tile-size", 100]
    assert predict(*given, "--shard", "1/2") == 0
    assert predict(*given, *options, "--shard", "1/2") == 2
    assert f"out.basecast holds a part of another run: {said}" in capfd.readouterr().err


def test_a_copy_elsewhere_gives_the_same_bytes(files: Path) -> None:
    """As a worker of a cluster does."""
    import pickle

    from basecast.genome.reference import Genome
    from basecast.prediction.signal import Place, SignalSettings
    from basecast.zoo.catalogue import load_model

    Path("names.txt").write_text("both\nplus\n")
    settings = SignalSettings(device="cpu", threads=1, tracks=("names.txt",))
    one = SignalPredictor(load_model(str(files / "binned")), Genome(files / "genome.fa"), settings)
    content = pickle.dumps(one)
    Path("names.txt").unlink()
    places = [Place("b", 0, 100), Place("a", -4, 40)]
    assert pickle.loads(content).payload(places) == one.payload(places)
