from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from basecast.data import openspliceai
from basecast.data.loader import Source, places_of
from basecast.data.opening import open_split
from basecast.data.openspliceai import OpenSpliceAIShards, ShardWriter
from basecast.data.store import Dataset, Header, Record, Sites
from basecast.data.windows import Sampling, epoch_windows, every_window
from basecast.data.writer import Writer
from basecast.errors import InputError, UsageError
from basecast.genome.sequence import Tokens
from basecast.spec.splice import SPLICE, splice_output

LENGTHS = (5000, 12_345, 1, 20_000, 4999, 5001)
ROUND = tuple(-(-length // 5000) for length in LENGTHS)


def sites(length: int, rng: np.random.Generator) -> Sites:
    position = np.sort(rng.choice(length, size=min(6, length // 2), replace=False))
    n = len(position)
    zero = np.zeros(n, dtype=np.uint8)
    label = (np.arange(n) % 2 + 1).astype(np.uint8)
    return Sites(position, label, np.full(n, np.nan, np.float32), zero, zero.astype(np.int32), zero)


def fill(writer: Writer | ShardWriter, lengths: tuple[int, ...] = LENGTHS) -> None:
    """Records of random bases, N among them, with a stretch without labels in the fourth."""
    rng = np.random.default_rng(5)
    for i, length in enumerate(lengths):
        tokens = rng.choice(5, size=length, p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.uint8)
        unknown = np.array([[7000, 7050]]) if i == 3 else np.zeros((0, 2), dtype=np.int64)
        found = sites(length, rng)
        if i == 3:
            inside = (found.position >= 7000) & (found.position < 7050)
            found = Sites(*(column[~inside] for column in found))
        writer.add(Record(f"c{i}", 0, length, "+"), tokens, {SPLICE: found}, {SPLICE: unknown})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same records in both layouts."""
    folder = tmp_path_factory.mktemp("layouts")
    header = Header(split="train", species="Made up", outputs=(splice_output(),))
    for kind, name in ((Writer, "train.h5"), (ShardWriter, "dataset_train.h5")):
        with kind(folder / name, header) as writer:
            fill(writer)
    return folder


@pytest.fixture
def shards(folder: Path) -> OpenSpliceAIShards:
    return OpenSpliceAIShards(folder / "dataset_train.h5")


def one_hot(values: NDArray[np.uint8], channels: int) -> NDArray[np.int8]:
    return np.stack([values == channel for channel in range(channels)], axis=-1).astype(np.int8)


def foreign(path: Path, *genes: tuple[Tokens, NDArray[np.uint8]]) -> Path:
    """As the original program writes it: contiguous, no attributes, window by window."""
    with h5py.File(path, "w") as file:
        x, y = [], []
        for tokens, classes in genes:
            n = -(-len(tokens) // 5000)
            whole = np.full(n * 5000 + 10_000, 4, dtype=np.uint8)
            whole[5000 : 5000 + len(tokens)] = tokens
            labels = np.full(n * 5000, 255, dtype=np.uint8)
            labels[: len(tokens)] = classes
            for i in range(n):
                x.append(one_hot(whole[5000 * i : 5000 * i + 15_000], 4))
                y.append(one_hot(labels[5000 * i : 5000 * i + 5000], 3))
        file["X0"], file["Y0"] = np.stack(x), np.stack(y)[None]
    return path


# --- written


def test_the_layout_is_theirs(folder: Path) -> None:
    own = Dataset(folder / "train.h5")
    with h5py.File(folder / "dataset_train.h5") as file:
        assert list(file) == ["X0", "Y0"]
        x, y = file["X0"][:], file["Y0"][:]
    assert (x.dtype, x.shape) == (np.int8, (sum(ROUND), 15_000, 4))
    assert (y.dtype, y.shape) == (np.int8, (1, sum(ROUND), 5000, 3))
    at = 0
    for record, length in enumerate(LENGTHS):
        for start in range(0, length, 5000):
            assert np.array_equal(x[at], one_hot(own.tokens(record, start - 5000, start + 10_000), 4))
            known = own.valid(record, start, start + 5000, SPLICE)
            labels = one_hot(own.labels(record, start, start + 5000, SPLICE), 3)
            assert np.array_equal(y[0, at], labels * known[:, None])
            at += 1


def test_a_shard_is_a_hundred_records(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "dataset_test.h5", Header(outputs=(splice_output(),))) as writer:
        fill(writer, (5,) * 3 + (8000,) + (5,) * 200)
    with h5py.File(tmp_path / "dataset_test.h5") as file:
        assert [file[name].shape[0] for name in ("X0", "X1", "X2")] == [101, 100, 4]
        assert file["Y2"].shape == (1, 4, 5000, 3)


# --- read


def test_windows_are_joined_to_the_records_they_were_cut_from(folder: Path, shards: OpenSpliceAIShards) -> None:
    own = Dataset(folder / "train.h5")
    assert len(shards) == len(LENGTHS)
    assert np.array_equal(shards.lengths, own.lengths)
    for i, length in enumerate(LENGTHS):
        for start, end in ((0, length), (-7000, 300), (length // 2, length + 6000), (4000, 4001)):
            assert np.array_equal(shards.tokens(i, start, end), own.tokens(i, start, end))
            assert np.array_equal(shards.labels(i, start, end, SPLICE), own.labels(i, start, end, SPLICE))
            assert np.array_equal(shards.valid(i, start, end, SPLICE), own.valid(i, start, end, SPLICE))
        assert np.array_equal(shards.sites(i, SPLICE).position, own.sites(i, SPLICE).position)


def test_windows_of_an_epoch_are_those_of_our_own_layout(folder: Path, shards: OpenSpliceAIShards) -> None:
    own = Dataset(folder / "train.h5")
    places = [places_of(shards)], [places_of(own)]
    for kind in ("grid", "random-phase", "biased"):
        sampling = Sampling(kind=kind, window=700)
        one, two = (epoch_windows(place, sampling, 3, 1) for place in places)
        assert np.array_equal(one.start, two.start)
        assert np.array_equal(one.record, two.record)
        a, b = (Source.of([data], sampling, (200, 200)).batch(one) for data in (shards, own))
        assert a.inputs["sequence"].equal(b.inputs["sequence"])
        assert a.targets[SPLICE].equal(b.targets[SPLICE])
        assert a.valid[SPLICE].equal(b.valid[SPLICE])


def test_the_grid_of_5000_is_their_windows(shards: OpenSpliceAIShards) -> None:
    windows = every_window([places_of(shards)], 5000)
    assert len(windows) == sum(ROUND)
    places = [shards.place(int(r), int(s), int(s) + 5000) for r, s in zip(windows.record, windows.start, strict=True)]
    assert places == [f"dataset_train.h5:X0[{i}]" for i in range(sum(ROUND))]


def test_a_place_is_named_by_its_windows(shards: OpenSpliceAIShards) -> None:
    assert shards.place(1, -300, 200) == "dataset_train.h5:X0[1]"
    assert shards.place(1, 4900, 5100) == "dataset_train.h5:X0[1] to [2]"
    assert shards.place(3, 19_000, 26_000) == "dataset_train.h5:X0[8]"
    assert shards.record(3).contig == "X0[5]"


def test_the_header_is_kept_and_one_is_made_up_for_foreign_files(tmp_path: Path, shards: OpenSpliceAIShards) -> None:
    assert shards.header.species == "Made up"
    path = foreign(tmp_path / "dataset_validation.h5", (np.zeros(10, np.uint8), np.zeros(10, np.uint8)))
    header = OpenSpliceAIShards(path).header
    assert (header.split, header.mask, header.species) == ("validation", "gene", "")
    assert header.outputs == (splice_output(),)


def test_foreign_shards(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    genes = [
        (rng.integers(4, size=n).astype(np.uint8), rng.integers(3, size=n).astype(np.uint8)) for n in (9000, 5000, 40)
    ]
    data = open_split(foreign(tmp_path / "dataset_train.h5", *genes).parent, "train")
    assert data.lengths.tolist() == [9000, 5000, 40]
    for i, (tokens, classes) in enumerate(genes):
        assert np.array_equal(data.tokens(i, 0, len(tokens)), tokens)
        assert np.array_equal(data.labels(i, 0, len(tokens), SPLICE), classes)


def test_context_of_more_than_they_keep(shards: OpenSpliceAIShards) -> None:
    shards.require_context(10_000)
    with pytest.raises(
        UsageError, match=r"keeps 5,000 bases on either side, too few for a context of 10,400: .*basecast"
    ):
        shards.require_context(10_400)


# --- what is not theirs


def broken(path: Path, name: str, values: NDArray[np.int8] | None) -> Path:
    foreign(path, (np.zeros(6000, np.uint8), np.zeros(6000, np.uint8)))
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if values is not None:
            file[name] = values
    return path


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("X0", np.zeros((2, 5000, 4), dtype=np.int8)),
        ("X0", np.zeros((3, 15_000, 4), dtype=np.int8)),
        ("Y0", np.zeros((2, 5000, 3), dtype=np.int8)),
        ("Y0", np.zeros((1, 2, 5000, 12), dtype=np.int8)),
        ("Y0", np.zeros((1, 2, 5000, 3), dtype=np.float32)),
        ("Y0", None),
        ("SEQ", np.zeros(3, dtype=np.int8)),
    ],
    ids=["width", "windows", "dimensions", "classes", "type", "missing", "more"],
)
def test_another_layout(tmp_path: Path, name: str, values: NDArray[np.int8] | None) -> None:
    with pytest.raises(InputError, match=r"dataset_train\.h5 is not in OpenSpliceAI's layout, X0, Y0, X1, Y1"):
        OpenSpliceAIShards(broken(tmp_path / "dataset_train.h5", name, values))


@pytest.mark.parametrize("value", [2, -1])
@pytest.mark.parametrize("name", ["X0", "Y0"])
def test_what_is_not_one_hot(tmp_path: Path, name: str, value: int) -> None:
    path = tmp_path / "dataset_train.h5"
    values = np.zeros((2, 15_000, 4) if name == "X0" else (1, 2, 5000, 3), dtype=np.int8)
    values[..., 77, 1] = value
    data = OpenSpliceAIShards(broken(path, name, values))
    with pytest.raises(InputError, match=rf"/{name} of .*dataset_train\.h5 is not one-hot"):
        len(data)


def test_two_channels_at_once(tmp_path: Path) -> None:
    values = np.zeros((2, 15_000, 4), dtype=np.int8)
    values[1, 3, :2] = 1
    data = OpenSpliceAIShards(broken(tmp_path / "dataset_train.h5", "X0", values))
    with pytest.raises(InputError, match="is not one-hot"):
        len(data)


def test_a_truncated_file(folder: Path, tmp_path: Path) -> None:
    content = (folder / "dataset_train.h5").read_bytes()
    (tmp_path / "dataset_train.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"dataset_train\.h5 is damaged"):
        len(OpenSpliceAIShards(tmp_path / "dataset_train.h5"))


def test_the_real_windows_of_a_gene_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two genes of which the second begins as the first ends are two records all the same."""
    rng = np.random.default_rng(2)
    one = rng.integers(4, size=10_000).astype(np.uint8)
    two = np.concatenate([one[5000:], one[:5000]])
    none = np.zeros(10_000, dtype=np.uint8)
    monkeypatch.setattr(openspliceai, "_BLOCK", 3)
    data = OpenSpliceAIShards(foreign(tmp_path / "dataset_train.h5", (one, none), (two, none), (one, none)))
    assert data.lengths.tolist() == [10_000] * 3
    assert data.records["contig"].to_list() == ["X0[0]", "X0[2]", "X0[4]"]
