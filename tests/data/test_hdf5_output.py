from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from basecast.data.hdf5_output import HDF5Output

VALUES = np.arange(60_000)


def fill(output: HDF5Output, n: int = 20) -> None:
    for i in range(n):
        output.file.create_dataset(f"values/{i}", data=VALUES + i, chunks=(10_000,), fletcher32=True)
        output.file.attrs[f"note {i}"] = "x" * 1000


def test_what_is_written_is_plain_hdf5(tmp_path: Path) -> None:
    output = HDF5Output(tmp_path / "a.h5")
    fill(output)
    output.check()
    output.close()
    with h5py.File(tmp_path / "a.h5") as file:
        assert all(np.array_equal(file[f"values/{i}"][:], VALUES + i) for i in range(20))


@pytest.mark.parametrize("allowed", [0, 1, 3, 40])
@pytest.mark.parametrize("ends", ["close", "give up"])
def test_a_full_disk_is_told_once_and_hdf5_sees_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, ends: str
) -> None:
    done, pwrite = 0, os.pwrite

    def full(handle: int, data: Any, at: int) -> int:
        nonlocal done
        done += 1
        if done > allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(handle, data, at)

    output = HDF5Output(tmp_path / "a.h5")
    monkeypatch.setattr(os, "pwrite", full)
    fill(output)
    output.file.flush()
    with pytest.raises(OSError, match="No space left on device"):
        output.check()
    for i in range(20):  # what could not be written can be read again, as HDF5 does with its indices
        assert np.array_equal(output.file[f"values/{i}"][:], VALUES + i)
    if ends == "close":
        with pytest.raises(OSError, match="No space left on device"):
            output.close()
    else:
        output.give_up()
    assert not output.file


def test_a_signal_in_a_write_waits_for_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int, data: Any, at: int) -> int:
        raise KeyboardInterrupt

    output = HDF5Output(tmp_path / "a.h5")
    monkeypatch.setattr(os, "pwrite", interrupted)
    fill(output)
    output.file.flush()
    with pytest.raises(KeyboardInterrupt):
        output.check()
    output.give_up()
