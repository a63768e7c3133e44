"""A run that ends early goes on where it stood and gives the same bytes; only the same run does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from direct import arguments, contents, lively, predict, random_bases, read_beds, write_fasta, write_genes, write_model

from basecast.cli.main import main
from basecast.inference.shards import Parts
from basecast.prediction import output
from basecast.prediction import predict as module
from basecast.prediction.predictor import Predictor

N_SHARDS = 10
BEGUN = 5  # the last shard of what an early end has left
_WORK = {"cpu": 1}
_KILLED = """
import os, signal, sys
from basecast.cli.main import main
from basecast.genome import signal as signals
from basecast.inference.shards import Parts
from basecast.prediction import predict
predict.WORK = {"cpu": 1}
at = sys.argv.pop(1)
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if at == "writing":
    signals.BigWigWriter._finish = kill
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
    """Outputs are named without a folder, for summaries tell their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "WORK", _WORK)


def command(folder: Path) -> list[object]:
    return [
        *("-R", folder / "genome.fa", "-A", folder / "genes.tsv", "-m", folder / "model", "-O", "out"),
        *("--tile-size", 300, "--format", "bed", "bigwig", "parquet", "spsc", "hints"),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Genome, genes and model; what an undisturbed run gives; and the parts that a run ended early has left."""
    folder = tmp_path_factory.mktemp("resuming")
    write_fasta(folder / "genome.fa", {"a": random_bases(700, seed=30), "b": random_bases(500, seed=31)})
    write_genes(folder / "genes.tsv", [("G", "a", "+", 0, 700), ("H", "a", "-", 200, 600), ("I", "b", "+", 0, 500)])
    write_model(folder / "model", lively(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORK", _WORK)
        for name, number in (("undisturbed", None), ("begun", signal.SIGTERM)):
            (folder / name).mkdir()
            patch.chdir(folder / name)
            assert ended_after(BEGUN, number, *command(folder)) == (143 if number else 0)
    assert len(list(folder.glob("begun/out.basecast/part-*"))) == BEGUN + 1
    return folder


@pytest.fixture
def given(files: Path) -> list[object]:
    return command(files)


@pytest.fixture
def begun(files: Path) -> None:
    """The parts are here."""
    shutil.copytree(files / "begun" / "out.basecast", "out.basecast")


@pytest.fixture
def undisturbed(files: Path) -> dict[str, bytes]:
    return finished(files / "undisturbed")


def ended_after(shard: int, number: signal.Signals | None, *given: object) -> int:
    """A run that a signal ends, if any, once a shard is done; its exit code."""
    save = Parts.save

    def ending(self: Parts, done: int, payload: bytes) -> None:
        save(self, done, payload)
        if number and done == shard:
            signal.raise_signal(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "save", ending)
        return predict(*given)


def finished(folder: Path = Path()) -> dict[str, bytes]:
    """What a run has left in a folder: every file, the summary without its time."""
    summary = json.loads((folder / "out.stats.json").read_text())
    assert summary.pop("seconds") > 0
    found = contents(folder / "out")
    assert left(folder) == {*(f"out{suffix}" for suffix in found), "out.stats.json"}
    return found | {"summary": json.dumps(summary).encode()}


def left(folder: Path = Path()) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many stretches each shard had that the model was run on."""
    sizes: list[int] = []
    payload = Predictor.payload

    def counted(self: Predictor, items: Any) -> bytes:
        sizes.append(len(items))
        return payload(self, items)

    monkeypatch.setattr(Predictor, "payload", counted)
    return sizes


def without(given: list[object], option: str) -> list[object]:
    at = given.index(option) if option in given else len(given)
    return given[:at] + given[at + 2 :]


# ---- signals


@pytest.mark.parametrize(
    ("shard", "number"),
    [(0, signal.SIGTERM), (4, signal.SIGUSR1), (6, signal.SIGINT), (N_SHARDS - 1, signal.SIGTERM)],
)
def test_an_interrupted_run_goes_on(
    shard: int,
    number: signal.Signals,
    given: list[object],
    undisturbed: dict[str, bytes],
    done: list[int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert ended_after(shard, number, *given) == (130 if number == signal.SIGINT else 143)
    assert f"interrupted by {number.name}: the same command goes on where it stood" in capfd.readouterr().err
    assert left() == {"out.basecast"}
    done.clear()
    assert predict(*given) == 0
    assert len(done) == N_SHARDS - 1 - shard
    assert finished() == undisturbed


def test_a_run_killed_again_and_again(given: list[object], undisturbed: dict[str, bytes], done: list[int]) -> None:
    """At a shard chosen at random, then while it writes the output."""
    for at in (random.Random(0).randrange(N_SHARDS), "writing"):
        killed = [sys.executable, "-c", _KILLED, str(at), *arguments(*given)]
        assert subprocess.run(killed, check=False, timeout=120, capture_output=True).returncode == -signal.SIGKILL
        assert not Path("out.stats.json").exists()
    assert predict(*given) == 0
    assert done == []
    for path in Path().glob(".*.partial"):
        path.unlink()
    assert finished() == undisturbed


def test_what_a_killed_run_was_writing_is_removed(begun: None, given: list[object]) -> None:
    remains = [".out.donor.bed.gz.0123abcd.partial", ".out.acceptor.minus.bw.0123abcd.partial"]
    for name in remains:
        Path(name).touch()
    assert predict(*given) == 0
    assert not list(Path().glob(".*.partial"))


# ---- several processes


def test_shards_and_merge_give_the_bytes_of_one_process(
    given: list[object], undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert ended_after(3, signal.SIGTERM, *given, "--shard", "1/3") == 143  # of shards 0, 3, 6 and 9
    for share in ("2/3", "3/3"):
        assert predict(*given, "--shard", share) == 0
    assert "shard 3/3 is done; when all are: basecast merge out" in capfd.readouterr().err
    assert main(["merge", "out"]) == 1
    assert f"lacks 2 parts of {N_SHARDS} (6, 9): run --shard 1/3 (again)" in capfd.readouterr().err
    assert left() == {"out.basecast"}
    assert predict(*given, "--shard=1/3") == 0
    assert main(["merge", "out"]) == 0
    assert finished() == undisturbed


def test_merge_needs_the_genome_as_it_was(given: list[object], files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    genome = Path(shutil.copy(files / "genome.fa", "other.fa"))
    assert predict(*without(given, "-R"), "-R", genome, "--shard", "1/1") == 0
    content = genome.read_text()
    genome.write_text(content.replace("A", "C"))
    assert main(["merge", "out"]) == 1
    assert "other.fa is not what it was when it was predicted: put it back, then merge" in capfd.readouterr().err
    genome.unlink()
    assert main(["merge", "out"]) == 1
    assert "there is no reference" in capfd.readouterr().err
    genome.write_text(content)
    assert main(["merge", "out"]) == 0


def test_a_second_run_on_one_output_is_refused(
    begun: None, given: list[object], undisturbed: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(Parts.existing(Path("out.basecast"))):
        for options in ((), ("--restart",), ("--shard", "1/2")):
            assert predict(*given, *options) == 2
            assert "another process is writing out.basecast: wait for it" in capfd.readouterr().err
    assert predict(*given) == 0
    assert finished() == undisturbed


# ---- another run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strand", "+"), "strand was 'both' and is '+' now"),
        (("--context", "genomic"), "context was 'gene' and is 'genomic' now"),
        (("--precision", "bf16"), "precision was 'fp32' and is 'bf16' now"),
        (("--tile-size", "200"), "tile (--tile-size, --memory) was 300 and is 200 now"),
        (("--regions", "regions.bed"), "regions was None and is"),
        (("--transcripts", "all"), "annotation was"),
        (("--threshold", "0.00001"), "least probability kept (--threshold, --format) was 0.0001 and is 1e-05 now"),
        (("-m", "human-400"), "model was"),
        (("-A", "genes.tsv"), "annotation was"),
        (("-R", "genome.fa"), "reference was"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_another_run_is_refused_by_what_differs(
    options: tuple[str, ...],
    said: str,
    begun: None,
    given: list[object],
    files: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("regions.bed").write_text("a\t0\t700\nb\t0\t500\n")
    Path("genes.tsv").write_text((files / "genes.tsv").read_text() + "#\n")
    Path("genome.fa").write_text((files / "genome.fa").read_text() + ">c\nA\n")
    before = left()
    assert predict(*without(given, options[0]), *options) == 2
    found = capfd.readouterr().err
    assert f"out.basecast holds a part of another run: {said}" in found
    assert "--restart" in found
    assert left() == before
    assert len(list(Path("out.basecast").glob("part-*"))) == BEGUN + 1


def test_other_contig_aliases_are_another_run(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They say which contig a gene is on."""
    write_genes(Path("genes.tsv"), [("G", "x", "+", 0, 500), ("I", "b", "+", 0, 500)])
    given = [*without(command(files), "-A"), "-A", "genes.tsv", "--contig-aliases", "aliases.tsv"]
    Path("aliases.tsv").write_text("a\tx\n")
    assert ended_after(0, signal.SIGTERM, *given) == 143
    Path("aliases.tsv").write_text("b\tx\n")
    assert predict(*given) == 2
    assert "aliases" in capfd.readouterr().err


def test_what_changes_no_part_may_change(
    begun: None, given: list[object], undisturbed: dict[str, bytes], done: list[int]
) -> None:
    assert predict(*given, "--memory", "1G", "--threshold", "0.3", "--log-format", "json") == 0
    assert len(done) == N_SHARDS - 1 - BEGUN
    found = finished()
    assert found.keys() == undisturbed.keys()
    assert found[".donor.plus.bw"] == undisturbed[".donor.plus.bw"]
    assert min(read_beds("out").values()) >= 0.3


def test_restart_begins_anew(given: list[object], undisturbed: dict[str, bytes], done: list[int]) -> None:
    assert ended_after(4, signal.SIGTERM, *given, "--strand", "+") == 143
    done.clear()
    assert predict(*given, "--restart") == 0
    assert len(done) == N_SHARDS
    assert finished() == undisturbed


def test_a_work_dir_holds_the_parts(given: list[object], undisturbed: dict[str, bytes], done: list[int]) -> None:
    Path("elsewhere").mkdir()
    assert ended_after(4, signal.SIGTERM, *given, "--work-dir", "elsewhere") == 143
    assert left() == {"elsewhere"}
    done.clear()
    assert predict(*given, "--work-dir", "elsewhere") == 0
    assert len(done) == N_SHARDS - 5
    Path("elsewhere").rmdir()
    assert finished() == undisturbed


# ---- parts that are none


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_shard(path: Path) -> None:
    shutil.copy(path.with_name("part-000000"), path)


def _of_another_plan(path: Path) -> None:
    header, _, payload = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps(json.loads(header) | {"plan": "0" * 64}).encode() + b"\n" + payload)


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, _of_another_shard, _of_another_plan], ids=lambda f: f.__name__)
def test_a_part_that_is_none_is_named_and_done_again(
    damage: Callable[[Path], None],
    begun: None,
    given: list[object],
    undisturbed: dict[str, bytes],
    done: list[int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    part = Path("out.basecast/part-000003")
    damage(part)
    assert predict(*given) == 1
    said = capfd.readouterr().err
    assert f"{part} is damaged or of another run: remove it and run again" in said
    assert "Traceback" not in said
    assert left() == {"out.basecast"}
    part.unlink()
    done.clear()
    assert predict(*given) == 0
    assert len(done) == 1
    assert finished() == undisturbed


# ---- disk full


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pysam closes its file once more
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bed", "out.donor.bed.gz"),
        ("bigwig", "out.donor.plus.bw"),
        ("parquet", "out.parquet"),
        ("spsc", "out.spsc.tsv.gz"),
        ("hints", "out.hints.gff"),
    ],
)
def test_disk_full_while_writing_an_output(
    name: str,
    file: str,
    begun: None,
    given: list[object],
    undisturbed: dict[str, bytes],
    done: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The parts stay, and so does a file of an earlier run."""
    Path(file).write_text("of an earlier run")
    merge, before = module.merge_predictions, resource.getrlimit(resource.RLIMIT_FSIZE)

    def merging(*arguments: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            return merge(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with monkeypatch.context() as patch:
        patch.setattr(module, "merge_predictions", merging)
        patch.setattr(output, "FORMATS", {name: output.FORMATS[name]})  # type: ignore[index]
        patch.setattr(module, "FORMATS", output.FORMATS)
        assert predict(*given) == 1
    said = capfd.readouterr().err
    assert f"{file} could not be written" in said
    assert "make room" in said
    assert Path(file).read_text() == "of an earlier run"
    assert left() == {"out.basecast", file}
    assert len(done) == N_SHARDS - 1 - BEGUN
    assert predict(*given) == 0
    assert len(done) == N_SHARDS - 1 - BEGUN
    assert finished() == undisturbed


def test_disk_full_while_keeping_a_part(
    begun: None,
    given: list[object],
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert predict(*given) == 1
    said = capfd.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert len(list(Path("out.basecast").glob("part-*"))) == BEGUN + 1
    assert not list(Path("out.basecast").glob(".*partial"))
    assert predict(*given) == 0
    assert finished() == undisturbed
