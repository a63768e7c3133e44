from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from basecast.errors import InputError
from basecast.files import built_once, cache_folder, identity_of, sha256_of, whole_file


def test_a_whole_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with whole_file(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial.parent == tmp_path
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "out.txt") as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_has_the_rights_of_a_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "out.txt") as partial:
            partial.write_text("")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o640


def _build(path: Path, log: Path, ready: multiprocessing.synchronize.Barrier) -> None:
    def build(partial: Path) -> None:
        with log.open("a") as handle:
            handle.write("built\n")
        time.sleep(0.2)
        partial.write_text("content")

    ready.wait()
    assert built_once(path, build).read_text() == "content"


def test_several_processes_build_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(3)
    arguments = (tmp_path / "new" / "made", tmp_path / "log", ready)
    processes = [spawn.Process(target=_build, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        built_once(tmp_path / "made", fail)
    assert built_once(tmp_path / "made", lambda partial: partial.touch()).exists()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "own"))
    assert cache_folder("a", "b") == tmp_path / "own" / "a" / "b"
    assert cache_folder("a", "b").is_dir()
    monkeypatch.setenv("BASECAST_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "basecast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("BASECAST_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "basecast"


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set BASECAST_CACHE"):
        cache_folder("indexes")


def test_digests_follow_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = identity_of(path)
    assert sha256_of(path) == sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two, longer")
    assert sha256_of(path) == hashlib.sha256(b"two, longer").hexdigest()
    assert identity_of(path) != first


def test_a_digest_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    status = path.stat()
    digest = sha256_of(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256_of(path) == digest
