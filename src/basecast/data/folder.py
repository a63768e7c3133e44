"""The folder that a dataset is written to, and what is written of its sources."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from basecast.errors import UsageError
from basecast.files import sha256_of

Progress = Callable[[int, int], None]


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


def digests(*paths: str | os.PathLike[str] | None) -> dict[str, str]:
    """SHA-256 of each file by its name, with its folder's where two have the same."""
    named = [Path(path) for path in paths if path is not None]
    counts = Counter(path.name for path in named)
    return {
        path.name if counts[path.name] == 1 else f"{path.absolute().parent.name}/{path.name}": sha256_of(path)
        for path in named
    }
