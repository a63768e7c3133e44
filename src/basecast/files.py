"""Files appear whole, are named by their content, and caches never lie beside an input."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """The folder for what can be made again: ``$BASECAST_CACHE``, else ``basecast`` in the XDG cache folder."""
    root = os.environ.get("BASECAST_CACHE")
    if root is None:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "basecast")
    folder = Path(root, *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the final name only if the block ends well, else it is removed."""
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` + ``.lock`` so that of several processes one builds and the others wait."""
    with open(f"{path}.lock", "a") as handle:
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


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes in hex; remembered in the cache by path, size and modification time."""
    resolved = Path(path).resolve()
    status = resolved.stat()
    identity = json.dumps([str(resolved), status.st_size, status.st_mtime_ns, status.st_ino])
    memo = cache_folder("digests") / hashlib.sha256(identity.encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError):
        return memo.read_text()
    with resolved.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    with whole_file(memo) as partial:
        partial.write_text(digest)
    return digest
