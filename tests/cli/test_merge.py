"""Several processes share a run by ``--shard I/N``; ``basecast merge`` gives the bytes of one process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_shards import SHARD, script

from basecast.cli.options import settled
from basecast.effects import annotate, cut
from basecast.effects.scorer import Scorer, VariantSettings
from basecast.inference.shards import Parts, RunSettings, Split
from conftest import Ran, Run, World, environment, stats_of, write_vcf

_N_RECORDS = 23
_SUFFIXES = (".vcf", ".vcf.gz", ".bcf", ".tsv", ".parquet")

Share = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "SHARD", SHARD)


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    """Records of five shards, among them one on a contig that the genome has not."""
    records = [world.record("chr1", 211 + i // 3, 1, ("{other}", "{ref}A", "<DEL>")[i % 3]) for i in range(22)]
    return write_vcf(tmp_path / "in.vcf", [*records, "chr9\t5\t.\tA\tC\t.\t.\t."])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.vcf"


@pytest.fixture
def share(score: Run, source: Path, target: Path) -> Share:
    """``basecast variant --shard I/N`` for the target."""
    return lambda i, n, *options: score(source, target, *options, "--shard", f"{i}/{n}")


@pytest.fixture
def merge(run: Run, target: Path) -> Share:
    """``basecast merge`` of the target."""
    return lambda *options: run("merge", target, *options)


@pytest.fixture
def one_process(score: Run, source: Path) -> Callable[..., dict[str, Any]]:
    """What one process writes under that name; it is removed."""

    def one_process(target: Path, *options: object) -> dict[str, Any]:
        assert score(source, target, *options).code == 0
        found = written(target)
        for path in target.parent.glob(f"{target.name}*"):
            path.unlink()
        return found

    return one_process


def written(target: Path) -> dict[str, Any]:
    """Every file of an output: its bytes, of the summary what does not depend on the clock."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in target.parent.glob(f"{target.name}*")}
    return files | {f"{target.name}.stats.json": stats_of(target) | {"seconds": 0}}


def parts_of(target: Path) -> list[int]:
    return sorted(int(path.name[-6:]) for path in Path(f"{target}.basecast").glob("part-*"))


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {"in.vcf"}


# ---- the same bytes


@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_shards_give_the_bytes_of_one_process(
    suffix: str, score: Run, run: Run, source: Path, one_process: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    target = tmp_path / f"out{suffix}"
    expected = one_process(target)
    for i in (3, 1, 2):
        ran = score(source, target, "--shard", f"{i}/3")
        assert ran.code == 0
        assert f"shard {i}/3 is done; when all are: basecast merge {target}" in ran.err
        assert names(target) == {f"{target.name}.basecast"}
    merged = run("merge", target)
    assert merged.code == 0
    assert "23 records, 15 of 23 alleles scored (without score: 7 symbolic_allele, 1 unknown_contig)" in merged.err
    assert "warning: 1 record on 1 unknown contig: contig 'chr9' of" in merged.err
    assert written(target) == expected
    assert names(target) == set(expected)


def test_merging_runs_no_model(share: Share, merge: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (1, 2):
        assert share(i, 2).code == 0
    monkeypatch.delattr(Scorer, "__init__")
    assert merge().code == 0


def test_nothing_scored_is_exit_3_from_merge_as_from_one_process(
    score: Run, merge: Share, world: World, target: Path, tmp_path: Path
) -> None:
    source = write_vcf(tmp_path / "far.vcf", [world.record("chr1", 2900, 1, "{other}")])
    assert score(source, target, "--shard", "1/1").code == 0
    assert merge().code == 3
    assert score(source, target).code == 3


def test_an_input_without_records(score: Run, merge: Share, target: Path, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "empty.vcf", [])
    for i in (1, 2):
        assert score(source, target, "--shard", f"{i}/2").code == 0
    assert merge().code == 0
    assert stats_of(target)["records"] == 0


@pytest.mark.parametrize("n", [1, 9])
def test_any_number_of_shares(
    n: int, share: Share, merge: Share, one_process: Callable[..., dict[str, Any]], target: Path
) -> None:
    """Of more processes than shards the last have nothing to do, and say no less."""
    expected = one_process(target)
    for i in range(1, n + 1):
        ran = share(i, n)
        assert ran.code == 0
        assert f"shard {i}/{n} is done" in ran.err
    assert merge().code == 0
    assert written(target) == expected


def test_one_process_goes_on_from_finished_shards(
    score: Run,
    share: Share,
    source: Path,
    one_process: Callable[..., dict[str, Any]],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = one_process(target)
    share(2, 3)
    rows, scored = Scorer.rows, []

    def counted(self: Scorer, records: Any) -> Any:
        scored.extend(record.number for record in records)
        return rows(self, records)

    monkeypatch.setattr(Scorer, "rows", counted)
    assert score(source, target).code == 0
    assert scored == [*range(1, 6), *range(11, 21)]  # without those of shards 1 and 4
    assert written(target) == expected


def test_one_process_s_finished_parts_can_be_merged(
    score: Run, merge: Share, source: Path, one_process: Callable[..., dict[str, Any]], target: Path
) -> None:
    expected = one_process(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotate, "merge_variants", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert score(source, target).code == 143
    assert merge().code == 0
    assert written(target) == expected


def test_a_work_dir(
    share: Share, merge: Share, one_process: Callable[..., dict[str, Any]], target: Path, tmp_path: Path
) -> None:
    expected = one_process(target)
    folder = tmp_path / "a scratch"
    for i in (1, 2):
        ran = share(i, 2, "--work-dir", folder)
        assert ran.code == 0
        assert f"when all are: {shlex.join(['basecast', 'merge', str(target), '--work-dir', str(folder)])}" in ran.err
    (folder / "notes.txt").touch()
    without = merge()
    assert without.code == 1
    assert f"{target}.basecast holds no plan" in without.err
    assert merge("--work-dir", folder).code == 0
    assert written(target) == expected
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_shares_in_python(world: World, source: Path, target: Path) -> None:
    given: dict[str, Any] = {"model": world.model, "genome": world.genome, "annotation": world.genes}
    for i in (1, 2):
        run, settings = RunSettings(split=Split(index=i, count=2)), VariantSettings(device="cpu")
        share = annotate.annotate_variants(source, target, **given, settings=settings, run=run)
        assert (share.output, share.records, share.model) == ("", (13, 10)[i - 1], "tiny")
    with closing(Parts.existing(RunSettings().folder(target))) as parts:
        summary = annotate.merge_variants(parts, str(target))
    assert (summary.output, summary.records, summary.scored) == (str(target), 23, 15)
    assert names(target) == {"out.vcf", "out.vcf.stats.json"}


# ---- processes of their own


@pytest.fixture
def shell(world: World, source: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A shell in which ``basecast`` is ours with small shards, and ``$VARIANT`` scores the source."""
    (tmp_path / "bin").mkdir()
    basecast = tmp_path / "bin" / "basecast"
    basecast.write_text(f'#!/bin/sh\nexec {shlex.join(script())} "$@"\n')
    basecast.chmod(0o755)
    path = f"{basecast.parent}{os.pathsep}{os.environ['PATH']}"

    def shell(commands: str, target: Path) -> subprocess.CompletedProcess[str]:
        variant = shlex.join(["basecast", *world.arguments(source, target)])
        return subprocess.run(
            ["sh", "-c", commands.replace("VARIANT", variant).replace("OUT", shlex.quote(str(target)))],
            env=environment(PATH=path),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return shell


@pytest.mark.slow
def test_a_loop_of_which_one_is_killed(
    shell: Callable[..., subprocess.CompletedProcess[str]],
    merge: Share,
    one_process: Callable[..., dict[str, Any]],
    target: Path,
) -> None:
    expected = one_process(target)
    loop = "for i in 1 2 3; do ACCIDENT=4:kill VARIANT --shard $i/3 || echo $i: $?; done"
    assert shell(loop, target).stdout == "2: 137\n"
    assert parts_of(target) == [0, 1, 2, 3]
    ran = merge()
    assert ran.code == 1
    assert f"{target}.basecast lacks 1 part of 5 (4): run --shard 2/3 (again)" in ran.err
    assert not target.exists()
    assert shell("VARIANT --shard 2/3", target).returncode == 0
    assert merge().code == 0
    assert written(target) == expected
    assert names(target) - {"bin"} == set(expected)


@pytest.mark.slow
def test_a_loop_of_which_all_run_at_once(
    shell: Callable[..., subprocess.CompletedProcess[str]],
    one_process: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    target = tmp_path / "out.vcf.gz"
    expected = one_process(target)
    done = shell("for i in 1 2 3; do VARIANT --shard $i/3 & done; wait; basecast merge OUT", target)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is done; when all are") == 3
    assert written(target) == expected
    assert names(target) - {"bin"} == set(expected)


@pytest.fixture
def running(world: World, source: Path, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``--shard 2/3`` that stands still in its first shard until it is asked to stop."""
    process = subprocess.Popen(
        script(*world.arguments(source, target, "--shard", "2/3")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(ACCIDENT="1:stall"),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"stalled\n", process.communicate()
    yield process
    process.kill()
    process.communicate()


def test_while_a_shard_runs(
    running: subprocess.Popen[bytes],
    score: Run,
    share: Share,
    merge: Share,
    source: Path,
    one_process: Callable[..., dict[str, Any]],
    target: Path,
    tmp_path: Path,
) -> None:
    twin = share(2, 3)
    assert twin.code == 2
    assert f"another process runs --shard 2/3 of {target}.basecast: wait for it" in twin.err
    for i in (1, 3):
        assert share(i, 3).code == 0
    for ran in (merge(), score(source, target), score(source, target, "--restart")):
        assert ran.code == 2
        assert f"another process is writing {target}.basecast: wait for it" in ran.err
    assert not target.exists()
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 143
    assert parts_of(target) == [0, 1, 2, 3]
    assert share(2, 3).code == 0
    assert merge().code == 0
    found = written(target)
    for path in tmp_path.glob("out.vcf*"):
        path.unlink()
    assert found == one_process(target)


# ---- what does not belong together


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-D", "20"), "distance was 50 and is 20 now"),
        (("-M", "1"), "mask was 'raw' and is 'masked' now"),
        (("--rules", "spliceai"), "rules was 'basecast' and is 'spliceai' now"),
        (("--decimals", "4"), "info.decimals was 2 and is 4 now"),
        (("--probabilities",), "info.probabilities was False and is True now"),
        (("--info-key", "Mine"), "info.keys.raw was 'BasecastSplice' and is 'Mine' now"),
        (("--overwrite-info",), "overwrite_info was False and is True now"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_shares_that_differ_are_refused_by_name(
    options: tuple[str, ...], said: str, share: Share, merge: Share, target: Path
) -> None:
    assert share(1, 2).code == 0
    ran = share(2, 2, *options)
    assert ran.code == 2
    assert said in ran.err
    assert f"or remove {target}.basecast to begin anew" in ran.err
    assert "--restart" not in ran.err
    assert share(2, 2).code == 0
    assert merge().code == 0


def test_inputs_that_differ_are_refused_by_name(
    score: Run, share: Share, world: World, source: Path, target: Path, tmp_path: Path
) -> None:
    assert share(1, 2).code == 0
    shutil.copy(source, tmp_path / "copy.vcf")  # merging reads one of them
    ran = score(tmp_path / "copy.vcf", target, "--shard", "2/2")
    assert ran.code == 2
    assert f"source was '{source}' and is '{tmp_path / 'copy.vcf'}' now" in ran.err
    with source.open("a") as file:
        file.write(world.record("chr1", 240, 1, "{other}") + "\n")
    ran = share(2, 2)
    assert ran.code == 2
    assert "input was" in ran.err


def test_what_decides_nothing_may_differ(
    share: Share, merge: Share, one_process: Callable[..., dict[str, Any]], target: Path
) -> None:
    """The command that the header tells is the first one's."""
    expected = one_process(target, "--memory", "1G")
    for i, options in enumerate((["--memory", "1G"], ["--memory", "2G", "--threads", "1", "--log-format", "json"]), 1):
        assert share(i, 2, *options).code == 0
    assert merge().code == 0
    assert written(target) == expected


def test_another_number_of_shares_is_refused(share: Share, target: Path) -> None:
    assert share(1, 3).code == 0
    ran = share(1, 4)
    assert ran.code == 2
    assert f"{target}.basecast was begun with --shard I/3, not I/4: give the same N" in ran.err
    assert parts_of(target) == [0, 3]


def test_restart_is_not_for_one_of_several(share: Share, target: Path) -> None:
    assert share(1, 3).code == 0
    ran = share(2, 3, "--restart")
    assert ran.code == 2
    assert (
        f"--restart and --shard do not go together: remove {target}.basecast before the shards are started" in ran.err
    )
    assert parts_of(target) == [0, 3]


@pytest.mark.parametrize("text", ["4/3", "0/3", "3", "a/b", ""])
def test_a_shard_that_is_none(text: str, score: Run, source: Path, target: Path) -> None:
    ran = score(source, target, f"--shard={text}")
    assert ran.code == 2
    assert "is not I/N with I from 1 to N" in ran.err
    assert names(target) == set()


def test_an_output_that_cannot_be_is_refused_before_any_work(score: Run, source: Path, tmp_path: Path) -> None:
    for name, said in (("out.txt", "end it with .vcf"), ("none/out.vcf", "mkdir -p")):
        ran = score(source, tmp_path / name, "--shard", "1/2")
        assert ran.code == 2
        assert said in ran.err
    assert names(source) == set()


# ---- what cannot be merged


def refused(ran: Ran, target: Path, said: str, code: int = 1) -> None:
    """One sentence, no output, and the parts are as they were."""
    assert ran.code == code, ran.err
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not target.exists()
    assert not list(target.parent.glob(".*partial*"))


def test_missing_shares_are_named(share: Share, merge: Share, target: Path) -> None:
    refused(merge(), target, f"{target}.basecast holds no plan: 'basecast merge' goes with the output that --shard was")
    assert names(target) == set()
    share(3, 4)
    refused(merge(), target, "lacks 4 parts of 5 (0, 1, 3, 4): run --shard 1/4, 2/4, 4/4 (again)")
    share(1, 4)
    refused(merge(), target, "lacks 2 parts of 5 (1, 3): run --shard 2/4, 4/4 (again)")
    assert parts_of(target) == [0, 2, 4]


def test_parts_that_one_process_left_are_missing_to_the_same_command(
    score: Run, merge: Share, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Parts.save

    def once(self: Parts, shard: int, payload: bytes) -> None:
        save(self, shard, payload)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "save", once)
        assert score(source, target).code == 143
    refused(merge(), target, "lacks 4 parts of 5 (1, 2, 3, 4): run the same command again")


def _of_another_plan(part: Path, other: Path) -> None:
    shutil.copy(other, part)


def _cut(part: Path, other: Path) -> None:
    part.write_bytes(part.read_bytes()[:-20])


def _of_another_number(part: Path, other: Path) -> None:
    shutil.copy(part.with_name("part-000001"), part)


@pytest.mark.parametrize("damage", [_of_another_plan, _cut, _of_another_number])
def test_a_part_that_is_not_what_it_should_be(
    damage: Callable[[Path, Path], None],
    score: Run,
    share: Share,
    merge: Share,
    one_process: Callable[..., dict[str, Any]],
    source: Path,
    target: Path,
    tmp_path: Path,
) -> None:
    expected = one_process(target)
    score(source, tmp_path / "other.vcf", "-D", "20", "--shard", "1/1")
    for i in (1, 2):
        share(i, 2)
    part = Path(f"{target}.basecast") / "part-000003"
    damage(part, tmp_path / "other.vcf.basecast" / part.name)
    refused(merge(), target, f"{part} is damaged or of another run: remove it and run again")
    part.unlink()
    refused(merge(), target, "lacks 1 part of 5 (3): run --shard 2/2 (again)")
    assert share(2, 2).code == 0
    assert merge().code == 0
    shutil.rmtree(tmp_path / "other.vcf.basecast")
    assert written(target) == expected


def test_an_input_that_changed_since(share: Share, merge: Share, source: Path, target: Path) -> None:
    for i in (1, 2):
        share(i, 2)
    before = source.read_text()
    said = f"{source} is not there as it was when it was scored: put it back, then merge"
    source.write_text(before.replace("\t211\t", "\t212\t"))
    refused(merge(), target, said)
    source.unlink()
    refused(merge(), target, said)
    source.write_text(before)
    assert merge().code == 0


def test_merging_needs_nothing_else(
    share: Share, merge: Share, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are those of the shards' folder, wherever one stands; the genome may be gone."""
    for i in (1, 2):
        share(i, 2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert merge().code == 0


@pytest.mark.parametrize(
    ("key", "value", "said", "code"),
    [
        ("plan.basecast", "0.0.0", "is of basecast 0.0.0, this is", 2),
        ("assembly.verb", "explain", "is of a verb 'explain' that this version of basecast does not know", 1),
    ],
)
def test_parts_of_another_version(
    key: str, value: str, said: str, code: int, share: Share, merge: Share, target: Path
) -> None:
    share(1, 1)
    header = Path(f"{target}.basecast") / "plan.json"
    content = json.loads(header.read_text())
    group, name = key.split(".")
    content[group][name] = value
    header.write_text(json.dumps(content))
    refused(merge(), target, said, code)


def test_an_output_that_cannot_be_keeps_the_parts(share: Share, run: Run, target: Path, tmp_path: Path) -> None:
    for i in (1, 2):
        share(i, 2)
    work = f"{target}.basecast"
    for name, said in (
        ("out.txt", "end it with .vcf"),
        ("in.vcf", "is the input itself"),
        ("none/out.vcf", "mkdir -p"),
    ):
        ran = run("merge", tmp_path / name, "--work-dir", work)
        assert ran.code == 2
        assert said in ran.err
    assert parts_of(target) == [0, 1, 2, 3, 4]
    assert run("merge", tmp_path / "out.tsv", "--work-dir", work).code == 0  # any format that variant writes
    assert (tmp_path / "out.tsv").read_text().startswith("record\t")


def test_parts_stay_if_writing_fails(share: Share, merge: Share, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (1, 2):
        share(i, 2)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("basecast.genome.annotated.AnnotatedWriter._flush", full)
        refused(merge(), target, f"{target} could not be written (No space left on device)")
    assert parts_of(target) == [0, 1, 2, 3, 4]
    assert merge().code == 0


# ---- which words of a command change an output


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("variant -I a -O b --shard 1/3", "variant -I a -O b"),
        ("variant --shard=1/3 -I a --restart -O b", "variant -I a -O b"),
        ("variant --work-dir w --threads 2 --log-format json -D 20", "variant -D 20"),
        ("variant --cluster auto --num-workers 2 --gpus-per-worker 0.5 -I a", "variant -I a"),
        ("variant --memory 8G --device cpu", "variant --memory 8G --device cpu"),
    ],
)
def test_the_command_of_a_header(given: str, kept: str) -> None:
    assert settled(given.split()) == kept.split()
