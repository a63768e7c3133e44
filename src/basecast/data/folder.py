"""The folder that a dataset is written to, and what is written of its sources."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from basecast.data.openspliceai import file_name
from basecast.data.store import SPLITS
from basecast.errors import UsageError
from basecast.files import named_errors, remove_left_overs, sha256_of, whole_file

Progress = Callable[[int, int], None]
_FILES = {
    *(f"{name}.h5" for name in SPLITS),
    *(file_name(name) for name in SPLITS),
    *("splits.tsv", "removed_paralogs.tsv", "targets.resolved.tsv", "report.json"),
}


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Stop where a folder holds a dataset already.

    Raises:
        UsageError: it does, and ``overwrite`` is not set; or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"the output {folder} is a file: give a folder")
    there = [path.name for path in sorted(folder.glob("*.h5"))] if folder.is_dir() else []
    if there and not overwrite:
        raise UsageError(
            f"{folder} holds a dataset already ({', '.join(there[:3])}): give another folder, or --overwrite to "
            "replace it"
        )


@contextlib.contextmanager
def written(folder: Path, names: Iterable[str]) -> Iterator[dict[str, Path]]:
    """For each file of a dataset where to write it; all take their names at the end, when an earlier dataset goes.

    Raises:
        BasecastError: a file could not be written.
    """
    is_new, paths = not folder.exists(), {}
    try:
        with named_errors(folder), contextlib.ExitStack() as files:
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                remove_left_overs(folder / name)
                paths[name] = files.enter_context(whole_file(folder / name))
            yield paths
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    for name in _FILES - set(paths):
        (folder / name).unlink(missing_ok=True)


def digests(*paths: str | os.PathLike[str] | None) -> dict[str, str]:
    """SHA-256 of each file by its name, with its folder's where two have the same."""
    named = [Path(path) for path in paths if path is not None]
    counts = Counter(path.name for path in named)
    return {
        path.name if counts[path.name] == 1 else f"{path.absolute().parent.name}/{path.name}": sha256_of(path)
        for path in named
    }
