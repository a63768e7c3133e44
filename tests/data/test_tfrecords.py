from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import tfrecord_files as made
from hypothesis import given
from hypothesis import strategies as st

from basecast.data.crc32c import crc32c
from basecast.data.tfrecords import examples, tfrecord_files, tokens_of, values_of
from basecast.errors import InputError

LENGTH, BINS, TRACKS = 40, 5, 3
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(5, size=LENGTH).astype(np.uint8)
VALUES = RNG.gamma(1, 3, (BINS, TRACKS)).astype(np.float16)


@pytest.mark.parametrize(
    ("data", "crc"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
    ids=["nothing", "digits", "zeros", "ones"],
)
def test_checksums_of_the_standard(data: bytes, crc: int) -> None:
    """RFC 3720 B.4."""
    assert crc32c(data) == crc


@given(st.binary(max_size=700))
def test_checksums_of_any_bytes(data: bytes) -> None:
    assert crc32c(data) == made.crc32c(data)


SEQUENCES = {"index": TOKENS.tobytes(), "one-hot": made.one_hot(TOKENS)}
TARGETS = {
    "half": made.bytes_feature(VALUES.tobytes()),
    "single": made.bytes_feature(VALUES.astype(np.float32).tobytes()),
    "packed": made.packed_floats(VALUES.astype(np.float32)),
    "listed": made.single_floats(VALUES.astype(np.float32)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_form_of_an_example(tmp_path: Path, sequence: str, target: str) -> None:
    payload = made.example({"sequence": made.bytes_feature(SEQUENCES[sequence]), "target": TARGETS[target]})
    path = made.write_tfrecords(tmp_path / "train-0.tfr", [payload] * 3)
    found = list(examples(path))
    assert len(found) == 3
    assert tokens_of(found[2], LENGTH).tolist() == TOKENS.tolist()
    assert np.array_equal(values_of(found[2], BINS, TRACKS), VALUES.astype(np.float32))


PAYLOADS = [
    made.example({"target": TARGETS["half"], "sequence": made.bytes_feature(bytes([i % 4] * LENGTH))}) for i in range(5)
]


@pytest.mark.parametrize(
    "packed", [zlib.compress, lambda data: gzip.compress(data, mtime=0), bytes], ids=["zlib", "gzip", "plain"]
)
def test_streams(tmp_path: Path, packed: object) -> None:
    path = tmp_path / "train-0.tfr"
    path.write_bytes(packed(made.framed(PAYLOADS)))  # type: ignore[operator]
    assert [int(tokens_of(found, LENGTH)[0]) for found in examples(path)] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("content", [b"", zlib.compress(b"")], ids=["no-bytes", "empty-stream"])
def test_a_file_without_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train-7.tfr").write_bytes(content)
    assert list(examples(tmp_path / "train-7.tfr")) == []


def test_a_truncated_stream_is_told_with_its_record(tmp_path: Path) -> None:
    whole = made.framed(PAYLOADS)
    size = len(whole) // 5
    path = tmp_path / "train-0.tfr"
    for kept, record in ((size * 2 + 5, 3), (size * 2 + 30, 3), (size * 5 - 1, 5)):
        path.write_bytes(zlib.compress(whole[:kept]))
        with pytest.raises(
            InputError, match=rf"record {record} of .*train-0\.tfr is truncated or damaged \(it ends wi"
        ):
            list(examples(path))
    path.write_bytes(zlib.compress(whole)[:-10])
    with pytest.raises(InputError, match=r"record \d of .*train-0\.tfr is truncated or damaged"):
        list(examples(path))
    path.write_bytes(zlib.compress(whole)[:-2])
    with pytest.raises(InputError, match="the compressed stream has no end"):
        list(examples(path))


@pytest.mark.parametrize("at", [3, 9, 20, -2], ids=["length", "its checksum", "payload", "checksum"])
def test_a_flipped_bit_is_found(tmp_path: Path, at: int) -> None:
    records = made.framed(PAYLOADS)
    size = len(records) // 5
    damaged = bytearray(records)
    damaged[size * 3 + (at if at > 0 else size + at)] ^= 4
    path = tmp_path / "train-0.tfr"
    path.write_bytes(zlib.compress(bytes(damaged)))
    with pytest.raises(InputError, match=r"record 4 of .*\(its checksum does not fit\)"):
        list(examples(path))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_example_are_told(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    path = tmp_path_factory.mktemp("odd") / "a-0.tfr"
    made.write_tfrecords(path, [payload])
    try:
        (found,) = examples(path)
    except InputError as error:
        assert "record 1 of" in str(error)  # noqa: PT017
    else:
        with pytest.raises(ValueError, match="its sequence has"):
            tokens_of(found, LENGTH)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="its sequence has 40 values, and 41 bases are told"):
        tokens_of({"sequence": TOKENS.tobytes()}, 41)
    with pytest.raises(ValueError, match="its sequence has a base of index 9"):
        tokens_of({"sequence": bytes([9] * 4)}, 4)
    with pytest.raises(ValueError, match="it has 15 targets, and 6 bins of 3 tracks are told"):
        values_of({"target": VALUES.tobytes()}, 6, 3)
    with pytest.raises(ValueError, match="it has 0 targets"):
        values_of({}, 6, 3)


def test_files_go_by_number(tmp_path: Path) -> None:
    for name in ("train-10", "train-9", "fold3-0", "valid-0"):
        (tmp_path / f"{name}.tfr").write_bytes(b"")
    found = tfrecord_files(tmp_path)
    assert {split: [path.stem for path in files] for split, files in found.items()} == {
        "fold3": ["fold3-0"],
        "train": ["train-9", "train-10"],
        "valid": ["valid-0"],
    }
    with pytest.raises(InputError, match=r"has no file such as train-0\.tfr"):
        tfrecord_files(tmp_path / "absent")
