from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from basecast.errors import InputError, UsageError
from basecast.inference.shards import Parts, RunSettings, Split

PLAN: dict[str, Any] = {"input": "abc", "settings": {"distance": 50, "mask": "raw"}, "shard": 200, "grid": [3, 4, 5]}
ASSEMBLY: dict[str, Any] = {"command": "basecast a", "info": {"decimals": 2}, "header": ["##a", "##b of 0.1 and more"]}
PAYLOAD = b'[{"score": [0.1, -0.0]}]\n\x00\xff\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.basecast"


@pytest.fixture
def hold(folder: Path) -> Iterator[Callable[..., Parts]]:
    """Parts of the folder; at the end they are let go."""
    held: list[Parts] = []

    def hold(plan: dict[str, Any] = PLAN, assembly: dict[str, Any] = ASSEMBLY, **options: Any) -> Parts:
        options["split"] = Split.parse(options["split"]) if options.get("split") else None
        held.append(Parts(folder, plan, assembly, **options))
        return held[-1]

    yield hold
    for parts in held:
        parts.close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- a part


def test_a_run_goes_on_from_its_parts(folder: Path, hold: Callable[..., Parts]) -> None:
    first = hold()
    assert not first.has(0)
    for shard, payload in ((0, PAYLOAD), (12, b""), (1_000_000, b"\n")):
        first.save(shard, payload)
    first.close()
    again = hold(dict(reversed(PLAN.items())))
    assert [again.has(shard) for shard in (0, 1, 12, 1_000_000)] == [True, False, True, True]
    assert [again.load(shard) for shard in (0, 12, 1_000_000)] == [PAYLOAD, b"", b"\n"]
    again.remove()
    assert not folder.exists()


def test_a_part_says_what_it_is_of(folder: Path, hold: Callable[..., Parts]) -> None:
    """One line of JSON, then the payload as it was given: other programs may look into it."""
    parts = hold()
    parts.save(7, PAYLOAD)
    header, payload = (folder / "part-000007").read_bytes().split(b"\n", 1)
    assert payload == PAYLOAD
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    assert json.loads(header) == {"plan": parts.digest, "shard": 7, "sha256": digest}


def test_a_part_that_is_not_there(folder: Path, hold: Callable[..., Parts]) -> None:
    with pytest.raises(InputError, match=r"part-000003 is missing: run the same command again"):
        hold().load(3)


def test_a_killed_process_s_folder_is_free_and_its_parts_count(folder: Path, hold: Callable[..., Parts]) -> None:
    """Killed while it writes a part: the half of it is not taken for one."""
    script = (
        "import os, sys, signal; from pathlib import Path; from basecast.inference.shards import Parts\n"
        f"parts = Parts(Path({str(folder)!r}), {PLAN!r}, {ASSEMBLY!r}); parts.save(0, b'1')\n"
        "os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "parts.save(1, b'2')"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(names(folder)) == 5  # a lock for the run, one for the plan, the plan, a part and the half of one
    parts = hold()
    assert parts.load(0) == b"1"
    assert not parts.has(1)
    parts.remove()
    assert not folder.exists()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-3], id="cut"),
        pytest.param(lambda content: content + b" ", id="longer"),
        pytest.param(lambda content: content.replace(b"0.1", b"0.2"), id="changed"),
        pytest.param(lambda content: content.partition(b"\n")[0], id="header_only"),
        pytest.param(lambda content: content[:20], id="half_a_header"),
        pytest.param(lambda content: content.partition(b"\n")[2], id="no_header"),
        pytest.param(lambda content: b"[]\n", id="list"),
        pytest.param(lambda content: b"{}\n", id="object"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff\xfe\x00", id="no_text"),
        pytest.param(lambda content: content.replace(b'"plan": "', b'"plan": "0'), id="plan"),
        pytest.param(lambda content: content.replace(b'"shard": 3', b'"shard": 4'), id="shard"),
    ],
)
def test_a_damaged_part_is_not_taken(
    damage: Callable[[bytes], bytes], folder: Path, hold: Callable[..., Parts]
) -> None:
    parts = hold()
    parts.save(3, PAYLOAD)
    path = folder / "part-000003"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"part-000003 is damaged or of another run: remove it and run again"):
        parts.load(3)
    path.unlink()
    assert not parts.has(3)


def test_a_part_under_another_number_is_not_taken(folder: Path, hold: Callable[..., Parts]) -> None:
    parts = hold()
    parts.save(3, PAYLOAD)
    (folder / "part-000003").rename(folder / "part-000002")
    with pytest.raises(InputError, match="part-000002 is damaged or of another run"):
        parts.load(2)


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_full_disk_leaves_no_half_of_a_part(
    fails: str, folder: Path, hold: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = hold()
    parts.save(0, PAYLOAD)
    before = names(folder)

    def full(*arguments: Any) -> Any:
        if fails == "write":
            path, content = arguments
            path.touch()
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "write_bytes") if fails == "write" else (os, "fsync")), full)
        with pytest.raises(OSError, match="No space left") as caught:
            parts.save(1, PAYLOAD * 1000)
    assert caught.value.filename == str(folder / "part-000001")  # whoever reads it learns where to make room
    assert names(folder) == before
    parts.save(1, b"")
    assert parts.load(0) == PAYLOAD


# ---- a plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "abd"}, "input was 'abc' and is 'abd' now"),
        ({"settings": {"distance": 51, "mask": "raw"}}, "settings.distance was 50 and is 51 now"),
        ({"grid": [3, 4, 6]}, r"grid was \[3, 4, 5\] and is \[3, 4, 6\] now"),
        ({"settings": {"distance": 50}}, "settings.mask was 'raw' and is None now"),
        ({"shard": None}, "shard was 200 and is None now"),
        ({"none": None}, "none was None and is None now"),
        ({"device": "cpu"}, "device was None and is 'cpu' now"),
        ({"zeta": 1, "alpha": 2}, "alpha was None and is 2 now"),
    ],
)
def test_another_plan_is_refused_by_the_name_of_what_differs(
    changes: dict[str, Any], words: str, hold: Callable[..., Parts]
) -> None:
    parts = hold()
    parts.save(0, PAYLOAD)
    parts.close()
    with pytest.raises(UsageError, match=f"part of another run: {words}; give the same command to go on, or --restart"):
        hold(PLAN | changes)
    assert hold().load(0) == PAYLOAD  # who was refused has changed nothing, and holds nothing


def test_what_the_output_is_made_with_may_change_between_runs(hold: Callable[..., Parts]) -> None:
    hold().close()
    newer = ASSEMBLY | {"info": {"decimals": 5}}
    hold(assembly=newer).close()
    assert hold(assembly=newer).assembly == newer


def test_restart_discards_what_is_there(hold: Callable[..., Parts]) -> None:
    parts = hold()
    parts.save(0, PAYLOAD)
    parts.close()
    other = hold(PLAN | {"input": "new"}, restart=True)
    assert not other.has(0)
    other.save(1, b"5")
    other.close()
    again = hold(PLAN | {"input": "new"})
    assert (again.has(0), again.load(1)) == (False, b"5")


@pytest.mark.parametrize("restart", [False, True])
def test_a_second_holder_is_refused(restart: bool, hold: Callable[..., Parts]) -> None:
    parts = hold()
    parts.save(0, PAYLOAD)
    with pytest.raises(UsageError, match=r"another process is writing .*out\.basecast: wait for it"):
        hold(restart=restart)
    assert parts.load(0) == PAYLOAD
    parts.close()
    hold(restart=restart)


@pytest.mark.parametrize("text", ["{", "[1]", "", "{}", '{"plan": {}, "assembly": {}}', "\udcff"])
def test_a_damaged_plan_is_refused_and_restart_mends_it(text: str, folder: Path, hold: Callable[..., Parts]) -> None:
    hold().close()
    (folder / "plan.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"plan\.json is damaged.*--restart"):
        hold()
    with pytest.raises(UsageError, match=r"plan\.json is damaged"):
        Parts.existing(folder)
    hold(restart=True).close()
    hold()


# ---- the folder


def test_existing_parts_need_no_plan_given(folder: Path, hold: Callable[..., Parts]) -> None:
    for there in (folder, folder.parent):
        with pytest.raises(InputError, match="holds no plan: 'basecast merge' goes with the output that --shard"):
            Parts.existing(there)
    assert not folder.exists()
    parts = hold(split="2/3")
    parts.save(1, PAYLOAD)
    with pytest.raises(UsageError, match="another process is writing"):
        Parts.existing(folder)
    parts.close()
    with closing(Parts.existing(folder)) as found:
        assert (found.plan, found.assembly, found.count, found.load(1)) == (PLAN, ASSEMBLY, 3, PAYLOAD)


@pytest.mark.parametrize("suffix", [".basecast", ""])
def test_what_is_not_ours_stays(suffix: str, tmp_path: Path) -> None:
    """A --work-dir may be any folder, such as one where Spark has left its parts."""
    folder = tmp_path / f"work{suffix}"
    folder.mkdir()
    theirs = {"part-00001.parquet", "part-000001.json", "lockfile", "lock-me", ".part.partial", ".x.0123abcd.partial"}
    for name in theirs:
        (folder / name).touch()
    for restart in (False, True):
        with closing(Parts(folder, PLAN, restart=restart)) as parts:
            parts.save(1, PAYLOAD)
            (folder / ".part-000002.0123abcd.partial").touch()
        assert theirs < names(folder)
    with closing(Parts(folder, PLAN)) as parts:
        parts.remove()
    assert names(folder) == theirs


def test_a_folder_that_was_given_stays_and_our_own_goes(tmp_path: Path) -> None:
    for name, stays in (("deep/work", True), ("out.basecast", False)):
        with closing(Parts(tmp_path / name, PLAN)) as parts:
            parts.save(0, PAYLOAD)
            parts.remove()
        assert (tmp_path / name).exists() == stays
        assert not stays or not names(tmp_path / name)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.parametrize("split", [None, "1/2"])
def test_a_file_system_without_locks(
    number: int, split: str | None, folder: Path, hold: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = "that all shards see, or do not use --shard" if split else "on another"
    with pytest.raises(UsageError, match=rf"without locks \({os.strerror(number)}\): give a --work-dir {other}"):
        hold(split=split)
    assert not (folder / "plan.json").exists()


def test_locks_are_such_as_nfs_can_give(hold: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    """There flock is made of record locks: a shared one takes a file to be read, an exclusive one to be written."""
    flock, modes = fcntl.flock, []

    def watched(file: Any, kind: int) -> None:
        modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", watched)
    hold(split="1/2")
    assert modes == [os.O_RDWR] * 4


# ---- several processes


def test_processes_of_one_split_share_the_folder(folder: Path, hold: Callable[..., Parts]) -> None:
    shares = [hold(split=f"{i}/3") for i in (1, 2, 3)]
    for shard in range(7):
        (owner,) = (parts for parts in shares if parts.owns(shard))
        assert owner is shares[shard % 3]
        owner.save(shard, b"%d" % shard)
    assert [shares[0].load(shard) for shard in range(7)] == [b"%d" % shard for shard in range(7)]
    with pytest.raises(UsageError, match=r"another process runs --shard 2/3 of .*out\.basecast: wait for it"):
        hold(split="2/3")
    for options in ({}, {"restart": True}):
        with pytest.raises(UsageError, match="another process is writing"):
            hold(**options)
    for parts in shares:
        parts.close()
    whole = hold()
    whole.require(7)
    assert all(map(whole.owns, range(7)))
    with pytest.raises(UsageError, match="another process is writing"):
        hold(split="1/3")
    whole.remove()
    assert not folder.exists()


def test_another_number_of_processes_is_refused(hold: Callable[..., Parts]) -> None:
    hold(split="1/3").close()
    with pytest.raises(UsageError, match="was begun with --shard I/3, not I/4: give the same N"):
        hold(split="1/4")
    hold().close()  # one process may end it ...
    with pytest.raises(UsageError, match="not I/4"):
        hold(split="4/4")
    hold(split="3/3")  # ... or one of the three


def test_a_run_that_one_process_began_may_be_split(hold: Callable[..., Parts]) -> None:
    parts = hold()
    parts.save(0, PAYLOAD)
    parts.close()
    assert hold(split="5/5").load(0) == PAYLOAD
    with pytest.raises(UsageError, match="begun with --shard I/5"):
        hold(split="1/2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"info": {"decimals": 3}}, "info.decimals was 2 and is 3 now"),
        ({"header": ["##a", "##b of 0.2 and more"]}, "header.1 was '##b of 0.1 and more' and is '##b of 0.2 and more'"),
        ({"header": ["##a 3 decimals", "##b"], "info": {"decimals": 3}}, "info.decimals was 2 and is 3 now"),
    ],
)
def test_processes_of_one_split_make_one_output(
    changes: dict[str, Any], words: str, folder: Path, hold: Callable[..., Parts]
) -> None:
    hold(split="1/2").close()
    with pytest.raises(UsageError, match=rf"{words}.*; give the same command to go on, or remove .*out\.basecast to"):
        hold(assembly=ASSEMBLY | changes, split="2/2")
    with pytest.raises(UsageError, match=r"input was 'abc' and is 'x' now.* or remove .*out\.basecast to begin anew"):
        hold(PLAN | {"input": "x"}, split="2/2")


def test_the_first_command_stays(hold: Callable[..., Parts]) -> None:
    hold(split="1/2").close()
    assert hold(assembly=ASSEMBLY | {"command": "basecast ./a"}, split="2/2").assembly == ASSEMBLY


def test_restart_of_one_of_several_is_refused(folder: Path, hold: Callable[..., Parts]) -> None:
    parts = hold(split="1/2")
    parts.save(0, PAYLOAD)
    with pytest.raises(UsageError, match=r"--restart and --shard do not go together: remove .*out\.basecast before"):
        hold(split="2/2", restart=True)
    assert parts.load(0) == PAYLOAD


@pytest.mark.parametrize(
    ("split", "n_shards", "words"),
    [
        (None, 5, r"lacks 4 parts of 5 \(0, 2, 3, 4\): run the same command again"),
        (None, 3, r"lacks 2 parts of 3 \(0, 2\)"),
        ("2/2", 5, r"lacks 4 parts of 5 \(0, 2, 3, 4\): run --shard 1/2, 2/2 \(again\)"),
        ("2/2", 3, r"lacks 2 parts of 3 \(0, 2\): run --shard 1/2 \(again\)"),
        ("2/40", 3, r"lacks 2 parts of 3 \(0, 2\): run --shard 1/40, 3/40 \(again\)"),
        ("2/4000", 2, r"lacks 1 part of 2 \(0\): run --shard 1/4000 \(again\)"),
        (
            "2/12",
            5000,
            r"lacks 4,999 parts of 5000 \(0, 2, 3, 4, 5, 6, 7, 8, \.\.\.\): "
            r"run --shard 1/12, 2/12, 3/12, 4/12, 5/12, 6/12, 7/12, 8/12, \.\.\. \(again\)",
        ),
    ],
)
def test_what_is_missing_is_named(split: str | None, n_shards: int, words: str, hold: Callable[..., Parts]) -> None:
    parts = hold(split=split)
    parts.save(1, PAYLOAD)
    with pytest.raises(InputError, match=words):
        parts.require(n_shards)


def test_nothing_is_missing(hold: Callable[..., Parts]) -> None:
    parts = hold()
    parts.require(0)
    for shard in range(3):
        parts.save(shard, b"")
    parts.require(3)


# ---- settings


@pytest.mark.parametrize(("text", "split"), [("1/1", (1, 1)), ("3/40", (3, 40)), (" 40/40 ", (40, 40))])
def test_a_split_is_read(text: str, split: tuple[int, int]) -> None:
    found = Split.parse(text)
    assert (found.index, found.count) == split
    assert str(found) == text.strip()
    assert RunSettings(split=text).split == found  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "0/0", "-1/4", "1/-4", "1 / 4", "1/4/2", "a/b", "1.0/4"])
def test_what_is_no_split(text: str) -> None:
    with pytest.raises(UsageError, match="is not I/N with I from 1 to N, such as 3/40"):
        Split.parse(text)


def test_every_shard_has_one_owner(folder: Path) -> None:
    for count in (1, 2, 7, 40):
        owners = [0] * 23
        for index in range(1, count + 1):
            with closing(Parts(folder / str(count), PLAN, split=Split(index=index, count=count))) as parts:
                owners = [n + parts.owns(shard) for shard, n in enumerate(owners)]
        assert owners == [1] * 23


def test_where_the_parts_lie(tmp_path: Path) -> None:
    assert RunSettings().folder("a/out.vcf.gz") == Path("a/out.vcf.gz.basecast")
    assert RunSettings(work_dir=tmp_path).folder("a/out.vcf.gz") == tmp_path


def test_shards_may_run_on_each_gpu_of_a_machine() -> None:
    """Which of several equal GPUs did a shard decides nothing."""
    run = RunSettings()
    assert run.device("cuda:1") == run.device("cuda:0") == run.device("cuda") == "cuda"
    assert run.device("cpu") == "cpu"
    assert RunSettings(cluster="auto").device("cuda") == "cpu"
    assert RunSettings(cluster="auto", gpus_per_worker=0.5).device("cpu") == "cuda"
