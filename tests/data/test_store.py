from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from basecast.data.store import ATTRIBUTE, Dataset, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.errors import InputError, UsageError
from basecast.genome.sequence import encode, reverse_complement
from basecast.spec.model import Output, Track
from basecast.spec.splice import SPLICE, splice_output

COVERAGE = Output(name="coverage", tracks=(Track(name="a"), Track(name="b")), resolution=4, link="softplus")
FLANK = 3


def sites_at(*positions: int, label: int = 1) -> Sites:
    n = len(positions)
    zero = np.zeros(n, dtype=np.uint8)
    nan = np.full(n, np.nan, dtype=np.float32)
    return Sites(np.array(positions, dtype=np.int64), zero + np.uint8(label), nan, zero, zero.astype(np.int32), zero)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records of 8 and 12 bases, with sites and with coverage in bins of 4."""
    path = tmp_path_factory.mktemp("store") / "train.h5"
    header = Header(split="train", mask="none", flank=FLANK, outputs=(splice_output(), COVERAGE), dense=("coverage",))
    with Writer(path, header) as writer:
        writer.add(
            Record("chr1", 100, 108, "+", "0", "chr1", 100, "A,B"),
            encode("ACGT" * 3 + "AC"),
            {SPLICE: sites_at(2, 5), "coverage": np.arange(4, dtype=np.float32).reshape(2, 2)},
            {SPLICE: np.array([[6, 8]]), "coverage": np.array([[0, 2]])},
        )
        writer.add(
            Record("chr2", 50, 62, "-", "1", "chrX", 1050, "C"),
            encode("T" * 18),
            {SPLICE: sites_at(11, label=2), "coverage": np.full((3, 2), 7, dtype=np.float32)},
        )
    return path


@pytest.fixture
def dataset(path: Path) -> Dataset:
    return Dataset(path)


def test_records_are_read_as_they_were_written(dataset: Dataset) -> None:
    assert len(dataset) == 2
    assert dataset.lengths.tolist() == [8, 12]
    assert dataset.record(0) == Record("chr1", 100, 108, "+", "0", "chr1", 100, "A,B")
    assert dataset.record(1) == Record("chr2", 50, 62, "-", "1", "chrX", 1050, "C")


def test_sequence_has_its_flanks_and_n_past_them(dataset: Dataset) -> None:
    assert dataset.tokens(0, 0, 8).tolist() == encode("TACGTACG").tolist()
    assert dataset.tokens(0, -5, 13).tolist() == encode("NN" + "ACGT" * 3 + "ACNN").tolist()
    assert dataset.tokens(1, 10, 16).tolist() == encode("TTTTTN").tolist()
    assert dataset.tokens(1, 40, 42).tolist() == encode("NN").tolist()


def test_a_position_is_labelled_known_or_neither(dataset: Dataset) -> None:
    assert dataset.labels(0, -2, 10, SPLICE).tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert dataset.valid(0, -2, 10, SPLICE).tolist() == [False] * 2 + [True] * 6 + [False] * 4
    assert dataset.labels(1, 9, 14, SPLICE).tolist() == [0, 0, 2, 0, 0]
    assert dataset.valid(1, 9, 14, SPLICE).tolist() == [True] * 3 + [False] * 2
    assert dataset.sites(0, SPLICE).position.tolist() == [2, 5]
    assert dataset.sites(1, "coverage").position.size == 0


def test_bins_are_cut_from_dense_targets(dataset: Dataset) -> None:
    assert dataset.labels(0, -4, 12, "coverage").tolist() == [[0, 0], [0, 1], [2, 3], [0, 0]]
    assert dataset.valid(0, -4, 12, "coverage").tolist() == [False, False, True, False]
    assert dataset.labels(1, 0, 12, "coverage").tolist() == [[7, 7]] * 3


def test_the_place_of_a_window_is_told_on_the_plus_strand(dataset: Dataset) -> None:
    assert dataset.place(0, 1, 4) == "chr1:102-104(+)"
    assert dataset.place(1, 1, 4) == "chr2:59-61(-)"


def test_context_beyond_the_flank_is_refused_where_the_genome_is_to_be_seen(dataset: Dataset) -> None:
    dataset.require_context(2 * FLANK)
    with pytest.raises(UsageError, match=r"keeps 3 bases .* a context of 8 needs 4: .* --flank 4"):
        dataset.require_context(8)


def test_past_a_gene_any_context_is_n(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.h5", Header(outputs=(splice_output(),))) as writer:
        writer.add(Record("c", 0, 4, "+"), encode("ACGT"), {SPLICE: Sites.none()})
    Dataset(tmp_path / "a.h5").require_context(10_000)


def test_users_can_read_it_with_h5py(path: Path) -> None:
    """What the documentation says of the file, without the reader."""
    with h5py.File(path) as file:
        header = json.loads(file.attrs[ATTRIBUTE])
        assert (header["schema_version"], header["flank"], header["mask"]) == (1, FLANK, "none")
        assert file["records/contig"].asstr()[:].tolist() == ["chr1", "chr2"]
        assert file["records/end"][:].tolist() == [108, 62]
        assert file["inputs/sequence"].shape == (14 + 18,)
        assert file["targets/splice/offsets"][:].tolist() == [0, 2, 3]
        assert file["targets/splice/position"][:].tolist() == [2, 5, 11]
        assert file["targets/splice/label"][:].tolist() == [1, 1, 2]
        assert file["targets/splice/unknown/start"][:].tolist() == [6]
        assert file["targets/coverage/values"].shape == (5, 2)


# --- what is no dataset of ours


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no dataset .*absent\.h5: make one with 'basecast create-data'"):
        Dataset(tmp_path / "absent.h5")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file(path: Path, tmp_path: Path, share: float) -> None:
    content = path.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut\.h5 is damaged or no dataset of basecast"):
        _ = Dataset(cut).sequence, Dataset(cut).targets


def test_a_flipped_byte_is_found_by_a_checksum(tmp_path: Path) -> None:
    length = 100_000
    tokens = np.random.default_rng(0).integers(4, size=length).astype(np.uint8)
    path = tmp_path / "a.h5"
    with Writer(path, Header(outputs=(splice_output(),))) as writer:
        writer.add(Record("c", 0, length, "+"), tokens, {SPLICE: Sites.none()})
    with h5py.File(path) as file:
        chunk = file["inputs/sequence"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    dataset = Dataset(path)
    with pytest.raises(InputError, match="is damaged"):
        _ = dataset.sequence


def test_another_schema(path: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.h5"
    newer.write_bytes(path.read_bytes())
    with h5py.File(newer, "r+") as file:
        header = json.loads(file.attrs[ATTRIBUTE])
        file.attrs[ATTRIBUTE] = json.dumps(header | {"schema_version": 2})
    with pytest.raises(InputError, match=r"newer\.h5 is a dataset of another schema than version 1, .*schema_version"):
        Dataset(newer)


def test_hdf5_of_someone_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["X0"] = np.zeros(3)
    with pytest.raises(InputError, match=r"other\.h5 is HDF5, but no dataset of basecast"):
        Dataset(tmp_path / "other.h5")


def test_a_dataset_that_lacks_a_part(path: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.h5"
    part.write_bytes(path.read_bytes())
    with h5py.File(part, "r+") as file:
        del file["records/strand"]
    with pytest.raises(InputError, match=r"part\.h5 is damaged"):
        Dataset(part)


def test_reverse_strand_is_stored_as_it_is_read(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.h5", Header(outputs=(splice_output(),))) as writer:
        writer.add(Record("c", 0, 4, "-"), reverse_complement(encode("AACG")), {SPLICE: sites_at(0, label=2)})
    assert Dataset(tmp_path / "a.h5").tokens(0, 0, 4).tolist() == encode("CGTT").tolist()
