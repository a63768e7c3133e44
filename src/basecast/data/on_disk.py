"""Dense targets that are too large for memory: slices of an HDF5 file, read as they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from basecast.errors import InputError


class ValuesOnDisk:
    """Rows of an array in an HDF5 file; each process, forked or spawned, opens the file for itself.

    Attributes:
        shape: bins, tracks.
        dtype: of the values.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._name = path, name
        self._opened: tuple[int, h5py.File] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return ValuesOnDisk, (self._path, self._name, self.shape, self.dtype)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Some rows.

        Raises:
            InputError: the file is gone or damaged.
        """
        try:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), h5py.File(self._path, "r")
            return self._opened[1][self._name][rows]
        except (OSError, KeyError) as error:
            raise InputError(
                f"{self._path} is damaged or gone ({error}): make it again with 'basecast create-data'"
            ) from error


Values = NDArray[Any] | ValuesOnDisk
