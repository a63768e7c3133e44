"""Files appear whole, are named by their content, and caches never lie beside an input."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from basecast.errors import BasecastError, InputError


def cache_folder(*parts: str) -> Path:
    """The folder for what can be made again: ``$BASECAST_CACHE``, else ``basecast`` in the XDG cache folder."""
    root = os.environ.get("BASECAST_CACHE")
    if not root:
        home = os.path.expanduser("~")  # as it is where there is none, as in a container
        own = os.path.join(home, ".cache") if home != "~" else tempfile.gettempdir()
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or own, "basecast")
    folder = Path(root, *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the cache {folder} cannot be made ({error.strerror}): set BASECAST_CACHE to a folder that can be written"
        ) from error
    return folder


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the final name only if the block ends well, else it is removed."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    held = partial.open("x+")
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    except OSError as error:
        if error.errno and error.filename is None:  # of what is written to an open file it says no name
            error.filename = str(target)
        raise
    finally:
        held.close()
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of an OSError which file could not be written and what to do; a broken pipe passes as it is."""
    try:
        yield
    except BrokenPipeError:  # who reads our standard output has had enough
        raise
    except OSError as error:
        raise BasecastError(
            f"{path} could not be written ({error.strerror or error}) and was not kept, an earlier file of that "
            "name is as it was: make room or give another folder, and run again"
        ) from error


def close_anyhow(handle: Any) -> None:
    """Close what is given up; that it cannot be flushed any more is no news."""
    with contextlib.suppress(OSError):
        handle.close()


def remove_left_overs(path: str | os.PathLike[str]) -> None:
    """Remove what killed processes that were to write ``path`` have left, and nothing that is being written."""
    target = Path(path)
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'?' * 8}.partial*"):
        if left.is_dir():
            shutil.rmtree(left)
            continue
        with contextlib.suppress(FileNotFoundError), left.open("rb+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:  # a file system without locks
                pass
            left.unlink()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` + ``.lock`` so that of several processes one builds and the others wait.

    On a file system without locks nobody waits; what is built appears whole all the same.
    """
    with open(f"{path}.lock", "a+") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def built_once(path: Path, build: Callable[[Path], None]) -> Path:
    """``path``, made by ``build(partial)`` under a lock and renamed, unless it is there already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not path.exists():
                with whole_file(path) as partial:
                    build(partial)
    return path


def identity_of(path: str | os.PathLike[str]) -> str:
    """A name for the file as it is now: a digest of its path, size, modification time and inode."""
    resolved = Path(path).resolve()
    status = resolved.stat()
    identity = json.dumps([str(resolved), status.st_size, status.st_mtime_ns, status.st_ino])
    return hashlib.sha256(identity.encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 read from the disk: a digest remembered by modification time would not see a file decay."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes in hex; remembered in the cache by path, size and modification time."""
    memo = cache_folder("digests") / identity_of(path)
    with contextlib.suppress(FileNotFoundError):
        return memo.read_text()
    digest = digest_of(Path(path))
    with whole_file(memo) as partial:
        partial.write_text(digest)
    return digest
