"""Dense targets: values of tracks in bins, in memory or on disk."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from signal_toys import RECORDS, rates, signal_output, write_signal_dataset

from basecast.data import store
from basecast.data.on_disk import ValuesOnDisk
from basecast.data.opening import open_split
from basecast.data.store import Dataset, Header, Record
from basecast.data.writer import Writer
from basecast.errors import InputError
from basecast.genome.sequence import encode
from basecast.spec.model import Output, Track

OUTPUT = Output(name="signal", tracks=(Track(name="a"), Track(name="b"), Track(name="c")), resolution=4, link="exp")
HEADER = Header(outputs=(OUTPUT,), dense=("signal",), mask="none")
VALUES = np.random.default_rng(0).gamma(0.5, 1e5, (3000, 3)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Records of 1,000 and 2,000 bins; bases 5 to 9 of the second have no label."""
    path = tmp_path / "train.h5"
    with Writer(path, HEADER) as writer:
        writer.add(Record("c", 0, 4000, "+"), encode("ACGT" * 1000), {"signal": VALUES[:1000]})
        unknown = {"signal": np.array([[5, 9]])}
        writer.add(Record("c", 4000, 12000, "+"), encode("ACGT" * 2000), {"signal": VALUES[1000:]}, unknown)
    return path


@pytest.fixture(params=["memory", "disk"])
def dataset(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    if request.param == "disk":
        monkeypatch.setattr(store, "_WHOLE", 0)
    dataset = Dataset(path)
    assert isinstance(dataset.targets["signal"].values, ValuesOnDisk) == (request.param == "disk")
    return dataset


def test_values_come_back_as_float32(dataset: Dataset) -> None:
    labels = dataset.labels(1, 400, 8000, "signal")
    assert labels.dtype == np.float32
    assert np.array_equal(labels, VALUES[1100:])  # above what float16 can hold


def test_bins_past_a_record_are_zero_and_unknown(dataset: Dataset) -> None:
    labels = dataset.labels(0, -8, 4004, "signal")
    assert np.array_equal(labels[2:-1], VALUES[:1000])
    assert not labels[[0, 1, -1]].any()
    assert dataset.valid(0, -8, 4004, "signal").tolist() == [False] * 2 + [True] * 1000 + [False]


def test_a_bin_with_an_unknown_base_is_unknown(dataset: Dataset) -> None:
    assert dataset.valid(1, -4, 16, "signal").tolist() == [False, True, False, False, True]


@pytest.mark.parametrize(("start", "end"), [(2, 8), (-2, 8), (4, 7)])
def test_a_window_that_begins_or_ends_inside_a_bin_is_refused(dataset: Dataset, start: int, end: int) -> None:
    for read in (dataset.labels, dataset.valid):
        with pytest.raises(ValueError, match=f"begin and end on bins of 4 bases, got {start} to {end}"):
            read(0, start, end, "signal")


FORKED = """
import os, sys
from basecast.data import store
store._WHOLE = 0
dataset = store.Dataset(sys.argv[1])
def sums():
    return [float(dataset.labels(record, 0, 400, "signal").sum()) for record in (0, 1, 0, 1)]
here = sums()  # opened before the fork
child = os.fork()
found = [sums() for _ in range(20)]  # both at once
if not child:
    os._exit(found != [here] * 20)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or found != [here] * 20)
"""


def test_a_forked_process_reads_for_itself(path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED, path], capture_output=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_dataset_on_disk_pickles_after_it_was_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WHOLE", 0)
    dataset = Dataset(path)
    expected = dataset.labels(1, 0, 8000, "signal")
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).labels(1, 0, 8000, "signal"), expected)


def test_a_slice_of_a_large_file_reads_little_of_it(path: Path) -> None:
    with h5py.File(path) as file:
        rows = file["targets/signal/values"].chunks[0]
    assert rows * 3 * 4 <= 1 << 18


def test_damage_is_told_as_it_is_met(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WHOLE", 0)
    with h5py.File(path) as file:
        chunk = file["targets/signal/values"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    dataset = Dataset(path)
    with pytest.raises(InputError, match=r"train\.h5 is damaged or gone"):
        dataset.labels(0, 0, 4000, "signal")


def test_a_record_is_a_whole_number_of_bins(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.h5", HEADER) as writer, pytest.raises(ValueError, match=r"shape \(1, 3\) for 6 bases"):
        writer.add(Record("c", 0, 6, "+"), encode("ACGTAC"), {"signal": VALUES[:1]})


def test_the_toy_dataset_is_what_it_says(tmp_path: Path) -> None:
    folder = write_signal_dataset(tmp_path / "toy")
    for split, n in RECORDS.items():
        dataset = open_split(folder, split)
        assert (len(dataset), dataset.flank, dataset.header.settings["window"]) == (n, 1024, 2048)
        assert dataset.header.outputs == (signal_output(),)
    tokens, labels = dataset.tokens(0, 0, 8192), dataset.labels(0, 0, 8192, "signal")
    expected = rates(tokens, 32)
    assert np.corrcoef(labels.ravel(), expected.ravel())[0, 1] > 0.7
    assert (expected.max(axis=0) >= 10).all()
