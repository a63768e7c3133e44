"""A run that is killed leaves nothing half-written and goes on where it stood; only the same run does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from basecast.effects import annotate
from basecast.effects.scorer import Scorer
from basecast.inference.shards import Parts
from conftest import Run, World, read_vcf, stats_of, write_vcf

_SHARD = 5
_N_RECORDS = 23
_STALLS = f"""
import sys, time
from basecast.cli.main import main
from basecast.effects import annotate
from basecast.inference.shards import Parts
annotate.SHARD = {_SHARD}
save = Parts.save
def stall(self, shard, rows):
    save(self, shard, rows)
    if shard == 1:
        time.sleep(100)
Parts.save = stall
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotate, "SHARD", _SHARD)


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    return write_vcf(tmp_path / "in.vcf", [world.record("chr1", 211 + i, 1, "{other}") for i in range(_N_RECORDS)])


@pytest.fixture
def interrupted(score: Run, source: Path, tmp_path: Path) -> Callable[..., Path]:
    """A target whose run ended after two of five shards."""

    def end(name: str = "out.vcf", number: signal.Signals = signal.SIGTERM) -> Path:
        save = Parts.save

        def ending(self: Parts, shard: int, rows: list[Any]) -> None:
            save(self, shard, rows)
            if shard == 1:
                signal.raise_signal(number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Parts, "save", ending)
            ran = score(source, tmp_path / name)
        assert ran.code == 128 + number
        assert f"interrupted by {number.name}" in ran.err
        assert "the same command goes on" in ran.err
        return tmp_path / name

    return end


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the records that the model was asked for."""
    numbers: list[int] = []
    rows = Scorer.rows

    def counted(self: Scorer, records: Any) -> Any:
        numbers.extend(record.number for record in records)
        return rows(self, records)

    monkeypatch.setattr(Scorer, "rows", counted)
    return numbers


def whole(score: Run, source: Path, target: Path) -> bytes:
    """What an uninterrupted run writes under that name."""
    assert score(source, target).code == 0
    content = target.read_bytes()
    for path in target.parent.glob(f"{target.name}*"):
        path.unlink()
    return content


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {"in.vcf"}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("out.vcf", signal.SIGINT),
        *((f"out{suffix}", signal.SIGTERM) for suffix in (".vcf", ".vcf.gz", ".bcf", ".tsv", ".parquet")),
    ],
)
def test_an_interrupted_run_goes_on(
    name: str,
    number: signal.Signals,
    score: Run,
    source: Path,
    interrupted: Callable[..., Path],
    scored: list[int],
    tmp_path: Path,
) -> None:
    expected = whole(score, source, tmp_path / name)
    target = interrupted(name, number)
    assert names(target) == {f"{name}.basecast"}
    scored.clear()
    assert score(source, target).code == 0
    assert scored == list(range(2 * _SHARD + 1, _N_RECORDS + 1))
    assert target.read_bytes() == expected
    assert stats_of(target)["scored"] == _N_RECORDS
    assert f"{name}.basecast" not in names(target)


def test_the_handlers_are_put_back(interrupted: Callable[..., Path]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    interrupted()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def stalled(world: World, source: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has done two shards of out.bcf and stands still."""
    arguments = world.arguments(source, tmp_path / "out.bcf")
    process = subprocess.Popen([sys.executable, "-c", _STALLS, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while not (tmp_path / "out.bcf.basecast" / "part-000001.json").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_and_a_second_writer(
    stalled: subprocess.Popen[bytes], score: Run, source: Path, scored: list[int], tmp_path: Path
) -> None:
    target = tmp_path / "out.bcf"
    for options in ((), ("--restart",)):
        second = score(source, target, *options)
        assert second.code == 2
        assert "another process is writing" in second.err
    assert len(list(tmp_path.glob(".out.bcf*"))) >= 2  # what it has open
    os.kill(stalled.pid, signal.SIGKILL)
    stalled.wait()
    assert not target.exists()
    assert score(source, target).code == 0
    assert scored == list(range(2 * _SHARD + 1, _N_RECORDS + 1))
    assert names(target) == {"out.bcf", "out.bcf.csi", "out.bcf.stats.json"}
    content = target.read_bytes()
    target.unlink()
    assert whole(score, source, target) == content


def test_a_terminated_process_says_so(stalled: subprocess.Popen[bytes], tmp_path: Path) -> None:
    os.kill(stalled.pid, signal.SIGTERM)
    _, said = stalled.communicate(timeout=60)
    assert stalled.returncode == 143
    assert said.splitlines()[-1].startswith(b"basecast: error: interrupted by SIGTERM")
    assert b"Traceback" not in said
    assert names(tmp_path / "out.bcf") == {"out.bcf.basecast"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-D", "20"), "distance was 50 and is 20 now"),
        (("-M", "both"), "mask was 'raw' and is 'both' now"),
        (("--rules", "spliceai"), "rules was 'basecast' and is 'spliceai' now"),
        (("--precision", "bf16"), "precision was 'fp32' and is 'bf16' now"),
        (("--transcripts", "all"), "annotation was"),
    ],
)
def test_other_settings_are_refused_by_name(
    options: tuple[str, ...], said: str, score: Run, source: Path, interrupted: Callable[..., Path]
) -> None:
    target = interrupted()
    ran = score(source, target, *options)
    assert ran.code == 2
    assert said in ran.err
    assert "--restart" in ran.err
    assert names(target) == {"out.vcf.basecast"}


def test_other_inputs_are_refused_by_name(
    score: Run, world: World, source: Path, interrupted: Callable[..., Path], tmp_path: Path
) -> None:
    target = interrupted()
    other = write_vcf(tmp_path / "other.vcf", [world.record("chr1", 300, 1, "{other}")])
    assert "input was" in score(other, target).err
    (tmp_path / "genome.fa").write_text(world.genome.read_text() + ">chr3\nACGT\n")
    assert "reference was" in score(source, target, "-R", tmp_path / "genome.fa").err
    (tmp_path / "genes.gtf").write_text(world.genes.read_text() + "#\n")
    assert "annotation was" in score(source, target, "-A", tmp_path / "genes.gtf").err
    assert not target.exists()


def test_what_does_not_change_a_score_may_change(
    score: Run, source: Path, interrupted: Callable[..., Path], scored: list[int]
) -> None:
    target = interrupted()
    scored.clear()
    assert score(source, target, "--threads", "1", "--memory", "1G", "--decimals", "4", "--info-key", "Mine").code == 0
    assert len(scored) == _N_RECORDS - 2 * _SHARD
    assert all(re.search(r"Mine=\w\|GENE1\|\d\.\d{4}\|", line) for line in read_vcf(target)[1])


def test_restart_begins_anew(
    score: Run, source: Path, interrupted: Callable[..., Path], scored: list[int], tmp_path: Path
) -> None:
    target = interrupted()
    scored.clear()
    assert score(source, target, "-D", "20", "--restart").code == 0
    assert scored == list(range(1, _N_RECORDS + 1))
    content = target.read_bytes()
    assert score(source, target, "-D", "20", "--restart").code == 0
    assert target.read_bytes() == content
    assert names(target) == {"out.vcf", "out.vcf.stats.json"}


def test_a_damaged_part_is_named(score: Run, source: Path, interrupted: Callable[..., Path]) -> None:
    target = interrupted()
    part = Path(f"{target}.basecast") / "part-000001.json"
    rows = json.loads(part.read_text())
    rows["rows"][0][0]["delta"]["score"][0] = 0.5
    part.write_text(json.dumps(rows))
    ran = score(source, target)
    assert ran.code == 1
    assert str(part) in ran.err
    part.unlink()
    assert score(source, target).code == 0


def test_left_overs_of_another_output_stay(score: Run, source: Path, tmp_path: Path) -> None:
    others = [".out.vcf.gz.0123abcd.partial", ".out.vcf.tbi.0123abcd.partial", ".xout.vcf.0123abcd.partial"]
    ours = [".out.vcf.0123abcd.partial", ".out.vcf.0123abcd.partial.k3j4_x1a"]
    for name in (*others, *ours):
        (tmp_path / name).touch()
    assert score(source, tmp_path / "out.vcf").code == 0
    assert {path.name for path in tmp_path.glob(".*")} == set(others)
