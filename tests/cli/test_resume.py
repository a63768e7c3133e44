"""A run that is killed leaves nothing half-written and goes on where it stood; only the same run does."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_shards import SHARD, script, shard_of

from basecast import interruption
from basecast.effects import annotate, cut
from basecast.effects.scorer import Scorer
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine
from conftest import Run, World, environment, read_vcf, stats_of, write_vcf

_N_RECORDS = 23
_N_SHARDS = 5
_SUFFIXES = (".vcf", ".vcf.gz", ".bcf", ".tsv", ".parquet")
_SIGNALS = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}

Meet = Callable[[int, Callable[[], Any]], None]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "SHARD", SHARD)


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    """Records of which some share their window of reference bases with the first of the next shard."""
    places = [(211 + i // 3, i % 3) for i in range(_N_RECORDS)]
    alts = ("{other}", "{ref}A", "{ref}TT")
    return write_vcf(tmp_path / "in.vcf", [world.record("chr1", at, 1, alts[i]) for at, i in places])


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meet]:
    """Let something happen as a shard of that number is begun, once."""
    payload = Scorer.payload
    with pytest.MonkeyPatch.context() as patch:

        def meet(shard: int, accident: Callable[[], Any]) -> None:
            def meeting(self: Scorer, records: Sequence[VariantRecord]) -> bytes:
                if shard_of(records) == shard:
                    patch.setattr(Scorer, "payload", payload)
                    accident()
                return payload(self, records)

            patch.setattr(Scorer, "payload", meeting)

        yield meet


@pytest.fixture
def interrupted(score: Run, source: Path, meet: Meet, tmp_path: Path) -> Callable[..., Path]:
    """A target whose run was asked to end in the second of five shards."""

    def end(name: str = "out.vcf", number: signal.Signals = signal.SIGTERM, *options: object) -> Path:
        meet(1, lambda: signal.raise_signal(number))
        ran = score(source, tmp_path / name, *options)
        assert ran.code == _SIGNALS[number]
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


def whole(score: Run, source: Path, target: Path, *options: object) -> bytes:
    """What an uninterrupted run writes under that name."""
    assert score(source, target, *options).code == 0
    content = target.read_bytes()
    for path in target.parent.glob(f"{target.name}*"):
        path.unlink()
    return content


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {"in.vcf"}


def parts_of(target: Path) -> list[int]:
    return sorted(int(path.name[-6:]) for path in Path(f"{target}.basecast").glob("part-*"))


# ---- signals


@pytest.mark.parametrize(
    ("suffix", "number"),
    [*((suffix, signal.SIGTERM) for suffix in _SUFFIXES), (".vcf", signal.SIGUSR1), (".vcf", signal.SIGINT)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_an_interrupted_run_goes_on(
    suffix: str,
    number: signal.Signals,
    score: Run,
    source: Path,
    interrupted: Callable[..., Path],
    scored: list[int],
    tmp_path: Path,
) -> None:
    expected = whole(score, source, tmp_path / f"out{suffix}")
    target = interrupted(f"out{suffix}", number)
    assert names(target) == {f"out{suffix}.basecast"}
    n_kept = 1 if number == signal.SIGINT else 2  # the started shard is finished, but not for the keyboard
    assert parts_of(target) == list(range(n_kept))
    scored.clear()
    assert score(source, target).code == 0
    assert scored == list(range(n_kept * SHARD + 1, _N_RECORDS + 1))
    assert target.read_bytes() == expected
    assert stats_of(target)["scored"] == _N_RECORDS
    assert f"out{suffix}.basecast" not in names(target)


def test_the_handlers_are_put_back(interrupted: Callable[..., Path]) -> None:
    watched = (*_SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in watched]
    interrupted()
    assert [signal.getsignal(number) for number in watched] == before


def test_a_shard_that_takes_for_ever_is_given_up(
    score: Run, source: Path, meet: Meet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_ever() -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(600)

    monkeypatch.setattr(interruption, "GRACE", 1)
    meet(1, for_ever)
    target = tmp_path / "out.vcf"
    began = time.monotonic()
    assert score(source, target).code == 143
    assert time.monotonic() - began < 20
    assert parts_of(target) == [0]
    assert names(target) == {"out.vcf.basecast"}
    assert score(source, target).code == 0


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_a_run_that_ends_while_it_writes_goes_on(
    suffix: str, score: Run, source: Path, scored: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"out{suffix}"
    expected = whole(score, source, target)
    write = annotate._count

    def interrupt(*arguments: Any) -> None:
        write(*arguments)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(annotate, "_count", interrupt)
        assert score(source, target).code == 143
    assert names(target) == {f"{target.name}.basecast"}
    assert parts_of(target) == list(range(_N_SHARDS))
    scored.clear()
    assert score(source, target).code == 0
    assert scored == []
    assert target.read_bytes() == expected


@pytest.fixture
def stalled(world: World, source: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has done two shards of out.bcf and stands still in the third until it is asked to stop."""
    process = subprocess.Popen(
        script(*world.arguments(source, tmp_path / "out.bcf")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(ACCIDENT="2:stall"),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"stalled\n", process.communicate()
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_and_a_second_writer(
    stalled: subprocess.Popen[bytes], score: Run, source: Path, scored: list[int], tmp_path: Path
) -> None:
    target = tmp_path / "out.bcf"
    for options in ((), ("--restart",), ("--shard", "1/2")):
        second = score(source, target, *options)
        assert second.code == 2
        assert "another process is writing" in second.err
    stalled.kill()
    stalled.wait()
    assert names(target) == {"out.bcf.basecast"}
    assert score(source, target).code == 0
    assert scored == list(range(2 * SHARD + 1, _N_RECORDS + 1))
    assert names(target) == {"out.bcf", "out.bcf.csi", "out.bcf.stats.json"}
    content = target.read_bytes()
    target.unlink()
    assert whole(score, source, target) == content


@pytest.mark.parametrize("number", list(_SIGNALS), ids=lambda number: number.name)
def test_a_process_that_is_asked_to_stop(
    number: signal.Signals,
    stalled: subprocess.Popen[bytes],
    score: Run,
    source: Path,
    scored: list[int],
    tmp_path: Path,
) -> None:
    target = tmp_path / "out.bcf"
    began = time.monotonic()
    stalled.send_signal(number)
    _, said = stalled.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert stalled.returncode == _SIGNALS[number]
    assert said.splitlines()[-1].startswith(f"basecast: error: interrupted by {number.name}".encode())
    assert b"Traceback" not in said
    assert names(target) == {"out.bcf.basecast"}
    n_kept = 2 if number == signal.SIGINT else 3
    assert parts_of(target) == list(range(n_kept))
    assert score(source, target).code == 0
    assert scored == list(range(n_kept * SHARD + 1, _N_RECORDS + 1))
    content = target.read_bytes()
    assert whole(score, source, target) == content


# ---- the same to the last bit


def test_a_run_that_went_on_gives_the_same_to_the_last_bit(
    score: Run, source: Path, meet: Meet, scored: list[int], tmp_path: Path
) -> None:
    """What the engine remembers of one shard is no help in the next, which may be another process's."""
    target = tmp_path / "out.parquet"
    assert score(source, target).code == 0
    expected = pl.read_parquet(target)
    border = expected.filter(pl.col("record").is_in([SHARD, SHARD + 1]))
    assert border["position"].n_unique() == 1  # both have the same window of the reference
    for shard in (0, 1, 3):
        meet(shard, lambda: signal.raise_signal(signal.SIGTERM))
        assert score(source, target, "--restart").code == 143
        scored.clear()
        assert score(source, target).code == 0
        assert scored == list(range((shard + 1) * SHARD + 1, _N_RECORDS + 1))
        assert pl.read_parquet(target).equals(expected)


def test_every_shard_is_computed_alike(
    score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many windows are run for a shard after another as for the same shard alone."""
    run: list[int] = []

    def counting(name: str, size: Callable[[Any], int]) -> None:
        inner = getattr(Engine, name)

        def counted(self: Engine, first: Any, *more: Any) -> Any:
            run.append(size(first))
            return inner(self, first, *more)

        monkeypatch.setattr(Engine, name, counted)

    counting("_altered", lambda found: sum(len(stretch.pairs) for stretch in found))
    counting("_run", len)
    assert score(source, tmp_path / "all.vcf").code == 0
    together = run.copy()
    run.clear()
    for i in range(1, _N_SHARDS + 1):
        assert score(source, tmp_path / "out.vcf", "--shard", f"{i}/{_N_SHARDS}").code == 0
    assert run == together
    assert sum(run) > 0


# ---- only the same run


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
    assert parts_of(target) == [0, 1]


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
    assert score(source, target).code == 0


def test_other_contig_aliases_are_another_run(
    score: Run, source: Path, interrupted: Callable[..., Path], tmp_path: Path
) -> None:
    """They decide which bases a record is of, and whether it has any."""
    target = interrupted()
    (tmp_path / "aliases.tsv").write_text("scaffold7\tchr1\n")
    ran = score(source, target, "--contig-aliases", tmp_path / "aliases.tsv")
    assert ran.code == 2
    assert "--restart" in ran.err


def test_what_does_not_change_a_score_may_change(
    score: Run, source: Path, interrupted: Callable[..., Path], scored: list[int]
) -> None:
    target = interrupted()
    scored.clear()
    assert score(source, target, "--threads", "1", "--memory", "1G", "--decimals", "4", "--info-key", "Mine").code == 0
    assert len(scored) == _N_RECORDS - 2 * SHARD
    assert all(re.search(r"Mine=\w+\|GENE1\|\d\.\d{4}\|", line) for line in read_vcf(target)[1])


def test_restart_begins_anew(score: Run, source: Path, interrupted: Callable[..., Path], scored: list[int]) -> None:
    target = interrupted()
    scored.clear()
    assert score(source, target, "-D", "20", "--restart").code == 0
    assert scored == list(range(1, _N_RECORDS + 1))
    content = target.read_bytes()
    assert score(source, target, "-D", "20", "--restart").code == 0
    assert target.read_bytes() == content
    assert names(target) == {"out.vcf", "out.vcf.stats.json"}
    assert score(source, target, "-D", "20").code == 0
    assert target.read_bytes() == content  # nor is the option a part of the command that the header tells


def test_a_damaged_part_is_named(score: Run, source: Path, interrupted: Callable[..., Path]) -> None:
    target = interrupted()
    expected = Path(f"{target}.basecast") / "part-000001"
    content = expected.read_bytes()
    for damaged in (content[:-9], content.replace(b"GENE1", b"GENE2"), content.partition(b"\n")[2]):
        expected.write_bytes(damaged)
        ran = score(source, target)
        assert ran.code == 1
        assert f"{expected} is damaged or of another run: remove it and run again" in ran.err
        assert names(target) == {"out.vcf.basecast"}
    expected.unlink()
    assert score(source, target).code == 0


def test_left_overs_of_another_output_stay(score: Run, source: Path, tmp_path: Path) -> None:
    others = [".out.vcf.gz.0123abcd.partial", ".out.vcf.tbi.0123abcd.partial", ".xout.vcf.0123abcd.partial"]
    ours = [".out.vcf.0123abcd.partial", ".out.vcf.0123abcd.partial.k3j4_x1a"]
    for name in (*others, *ours):
        (tmp_path / name).touch()
    assert score(source, tmp_path / "out.vcf").code == 0
    assert {path.name for path in tmp_path.glob(".*")} == set(others)


def test_a_work_dir_of_one_s_own(
    score: Run, source: Path, interrupted: Callable[..., Path], scored: list[int], tmp_path: Path
) -> None:
    folder = tmp_path / "scratch" / "work"
    target = interrupted("out.vcf", signal.SIGTERM, "--work-dir", folder)
    assert names(target) == {"scratch"}
    (folder / "part-of-my-thesis.txt").touch()
    scored.clear()
    assert score(source, target, "--work-dir", folder).code == 0
    assert len(scored) == _N_RECORDS - 2 * SHARD
    assert names(target) == {"scratch", "out.vcf", "out.vcf.stats.json"}
    assert [path.name for path in folder.iterdir()] == ["part-of-my-thesis.txt"]
    content = target.read_bytes()
    assert whole(score, source, target) == content  # where the work lies is not told by the header


# ---- pipes


def test_a_run_from_a_pipe_says_that_it_cannot_go_on(
    score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "if this run is interrupted it begins anew"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    ran = score("-", tmp_path / "out.vcf")
    assert ran.code == 0
    assert said in ran.err
    assert names(tmp_path / "out.vcf") == {"out.vcf", "out.vcf.stats.json"}
    ran = score(source, "-")
    assert said in ran.err
    assert len(ran.out.splitlines()) == len((tmp_path / "out.vcf").read_text().splitlines())
    for ran in (score(source, tmp_path / "file.vcf"), score(tmp_path / "none.vcf", tmp_path / "out.vcf")):
        assert said not in ran.err


def test_an_interrupted_run_from_a_pipe_leaves_nothing(
    score: Run, source: Path, meet: Meet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    meet(1, lambda: signal.raise_signal(signal.SIGTERM))
    ran = score("-", tmp_path / "out.vcf")
    assert ran.code == 143
    assert "begins anew if it reads or writes a pipe" in ran.err
    assert names(tmp_path / "out.vcf") == set()


@pytest.mark.parametrize("options", [("--shard", "1/2"), ("--cluster", "auto")], ids=["shard", "cluster"])
@pytest.mark.parametrize("pipe", ["-I", "-O"])
def test_a_pipe_is_not_shared(pipe: str, options: tuple[str, str], score: Run, source: Path, tmp_path: Path) -> None:
    source, target = ("-", tmp_path / "out.vcf") if pipe == "-I" else (source, "-")  # type: ignore[assignment]
    ran = score(source, target, *options)
    assert ran.code == 2
    assert "through a pipe is scored as it passes, by one process: give files with -I and -O" in ran.err
    assert names(tmp_path / "out.vcf") == set()


def test_a_file_that_is_not_there_is_no_pipe(score: Run, tmp_path: Path) -> None:
    ran = score(tmp_path / "none.vcf", tmp_path / "out.vcf", "--shard", "1/2")
    assert ran.code == 1
    assert "none.vcf cannot be read" in ran.err
    assert "pipe" not in ran.err
