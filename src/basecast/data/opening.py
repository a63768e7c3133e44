"""The datasets of a folder, whoever wrote them."""

from __future__ import annotations

import os
from pathlib import Path

from basecast.data import openspliceai
from basecast.data.store import Dataset
from basecast.errors import InputError


def open_split(folder: str | os.PathLike[str], split: str) -> Dataset:
    """The dataset of one split (train, validation or test) of a folder: ours, or in OpenSpliceAI's layout.

    Raises:
        InputError: there is no such folder, it lacks the split, or the file is damaged.
    """
    own, foreign = Path(folder) / f"{split}.h5", Path(folder) / openspliceai.file_name(split)
    if own.is_file():
        return Dataset(own)
    if foreign.is_file():
        return openspliceai.OpenSpliceAIShards(foreign)
    raise InputError(
        f"{folder} has no {own.name}, nor {foreign.name} of OpenSpliceAI: give the folder that 'basecast create-data' "
        "wrote"
    )
