from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from basecast.errors import InputError, UsageError
from basecast.inference.shards import Parts

PLAN: dict[str, Any] = {"input": "abc", "settings": {"distance": 50, "mask": "raw"}, "shard": 200}
ROWS = [[{"score": [0.1, -0.0], "allele": None}], [], "text", 1e-300]


def test_a_run_goes_on_from_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "out.basecast"
    first = Parts(folder, PLAN)
    assert first.load(0) is None
    first.save(0, ROWS)
    first.save(12, [])
    first.close()
    again = Parts(folder, dict(reversed(PLAN.items())))
    assert again.load(0) == ROWS
    assert repr(again.load(0)) == repr(ROWS)
    assert (again.load(1), again.load(12)) == (None, [])
    again.remove()
    again.close()
    assert not folder.exists()


def test_a_killed_process_s_folder_is_free_and_its_parts_count(tmp_path: Path) -> None:
    """Killed while it writes a part: the half of it is not taken for one."""
    folder = tmp_path / "out.basecast"
    script = (
        "import os, sys, signal; from pathlib import Path; from basecast.inference.shards import Parts\n"
        f"parts = Parts(Path({str(folder)!r}), {PLAN!r}); parts.save(0, [1])\n"
        "os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "parts.save(1, [2])"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    parts = Parts(folder, PLAN)
    assert (parts.load(0), parts.load(1)) == ([1], None)
    parts.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-3],
        lambda text: text.replace("0.1", "0.2"),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "",
        lambda text: json.dumps({**json.loads(text), "plan": "another"}),
    ],
)
def test_a_damaged_part_is_not_taken(damage: Any, tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out.basecast", PLAN)
    parts.save(3, ROWS)
    (path,) = parts.folder.glob("part-*.json")
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=rf"{path.name} is damaged or of another run: remove it and run again"):
        parts.load(3)
    path.unlink()
    assert parts.load(3) is None
    parts.close()


def test_a_part_that_is_no_text_is_not_taken(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out.basecast", PLAN)
    parts.save(0, ROWS)
    next(parts.folder.glob("part-*.json")).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="damaged"):
        parts.load(0)
    parts.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "abd"}, "input was 'abc' and is 'abd' now"),
        ({"settings": {"distance": 51, "mask": "raw"}}, "settings was .*'distance': 50.* and is .*'distance': 51"),
        ({"shard": None}, "shard was 200 and is None now"),
        ({"device": "cpu"}, "device was None and is 'cpu' now"),
        ({"zeta": 1, "alpha": 2}, "alpha was None and is 2 now"),
    ],
)
def test_another_plan_is_refused_by_the_name_of_what_differs(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out.basecast"
    parts = Parts(folder, PLAN)
    parts.save(0, ROWS)
    parts.close()
    with pytest.raises(UsageError, match=f"part of another run: {words}.*--restart"):
        Parts(folder, PLAN | changes)
    same = Parts(folder, PLAN)  # who was refused has changed nothing, and holds nothing
    assert same.load(0) == ROWS
    same.close()


def test_restart_discards_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "out.basecast"
    parts = Parts(folder, PLAN)
    parts.save(0, ROWS)
    parts.close()
    other = Parts(folder, PLAN | {"input": "new"}, restart=True)
    assert other.load(0) is None
    other.save(1, [5])
    other.close()
    again = Parts(folder, PLAN | {"input": "new"})
    assert (again.load(0), again.load(1)) == (None, [5])
    again.close()


@pytest.mark.parametrize("restart", [False, True])
def test_a_second_holder_is_refused(restart: bool, tmp_path: Path) -> None:
    folder = tmp_path / "out.basecast"
    parts = Parts(folder, PLAN)
    parts.save(0, ROWS)
    with pytest.raises(UsageError, match=r"another process is writing .*out\.basecast: wait for it"):
        Parts(folder, PLAN, restart=restart)
    assert parts.load(0) == ROWS
    parts.close()
    Parts(folder, PLAN, restart=restart).close()


def test_a_damaged_plan_is_refused_and_restart_mends_it(tmp_path: Path) -> None:
    folder = tmp_path / "out.basecast"
    Parts(folder, PLAN).close()
    for text in ("{", "[1]", ""):
        (folder / "plan.json").write_text(text)
        with pytest.raises(UsageError, match=r"plan\.json is damaged.*--restart"):
            Parts(folder, PLAN)
    Parts(folder, PLAN, restart=True).close()
    Parts(folder, PLAN).close()
