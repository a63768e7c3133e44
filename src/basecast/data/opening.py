"""The datasets of a folder, whoever wrote them."""

from __future__ import annotations

import os
from pathlib import Path

from basecast.data.store import Dataset
from basecast.errors import InputError


def open_split(folder: str | os.PathLike[str], split: str) -> Dataset:
    """The dataset of one split (train, validation or test) of a folder that ``create-data`` wrote.

    Raises:
        InputError: there is no such folder, or it lacks the split.
    """
    path = Path(folder) / f"{split}.h5"
    if not path.is_file():
        raise InputError(f"{folder} has no {path.name}: give the folder that 'basecast create-data' wrote")
    return Dataset(path)
