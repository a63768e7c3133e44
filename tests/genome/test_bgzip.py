from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pysam
import pytest

from basecast.errors import InputError
from basecast.genome.bgzip import (
    END,
    HEADER_SIZE,
    IndexedText,
    is_bgzip,
    is_gzip,
    recompressed,
    require_end,
    write_index,
)

TEXT = bytes(random.Random(1).choices(b"ACGT\n", k=510_000))


def bgzip(path: Path, text: bytes = TEXT) -> Path:
    with pysam.BGZFile(str(path), "wb", index=None) as handle:
        handle.write(text)
    return path


def test_what_a_file_is(tmp_path: Path) -> None:
    head = bgzip(tmp_path / "a").read_bytes()[:HEADER_SIZE]
    assert (is_gzip(head), is_bgzip(head)) == (True, True)
    plain = gzip.compress(TEXT)[:HEADER_SIZE]
    assert (is_gzip(plain), is_bgzip(plain)) == (True, False)
    assert (is_gzip(b""), is_bgzip(b"")) == (False, False)


def test_the_index_is_that_of_htslib(tmp_path: Path) -> None:
    path = bgzip(tmp_path / "a.gz", b">c\n" + b"ACGTACGTA\n" * 30_000)
    pysam.faidx(str(path))
    write_index(path, tmp_path / "own.gzi")
    theirs = Path(f"{path}.gzi").read_bytes()
    assert struct.unpack_from("<Q", theirs)[0] == 4
    assert (tmp_path / "own.gzi").read_bytes() == theirs


def test_text_is_read_here_and_there(tmp_path: Path) -> None:
    path = bgzip(tmp_path / "a.gz")
    write_index(path, tmp_path / "a.gzi")
    text = IndexedText(path, tmp_path / "a.gzi")
    assert text.size == len(TEXT)
    for start, end in [
        (0, 5),
        (65_270, 65_290),
        (130_560, 130_561),
        (300_000, 500_000),
        (len(TEXT) - 3, len(TEXT) + 3),
    ]:
        assert text.read(start, end) == TEXT[start:end]


def test_an_index_of_another_file(tmp_path: Path) -> None:
    write_index(bgzip(tmp_path / "a.gz"), tmp_path / "a.gzi")
    other = bgzip(tmp_path / "b.gz", b"x" + TEXT)
    with pytest.raises(InputError, match=r"b\.gz is damaged: no whole bgzip block"):
        IndexedText(other, tmp_path / "a.gzi")
    (tmp_path / "a.gzi").write_bytes((tmp_path / "a.gzi").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"a\.gzi is not a bgzip index"):
        IndexedText(tmp_path / "a.gz", tmp_path / "a.gzi")


def test_truncation(tmp_path: Path) -> None:
    path = bgzip(tmp_path / "a.gz")
    require_end(path)
    content = path.read_bytes()
    for kept in (len(content) - 1, len(content) - len(END), 20):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match="truncated"):
            require_end(path)
    path.write_bytes(content[:-40])
    with pytest.raises(InputError, match="no whole bgzip block at byte"):
        write_index(path, tmp_path / "a.gzi")


def test_a_gzip_is_recompressed_once_for_its_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    first.write_bytes(gzip.compress(TEXT, mtime=0) + gzip.compress(b"more", mtime=0))
    second.write_bytes(first.read_bytes())
    copy = recompressed(first)
    assert is_bgzip(copy.read_bytes()[:HEADER_SIZE])
    assert gzip.decompress(copy.read_bytes()) == TEXT + b"more"
    assert recompressed(second) == copy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_a_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(TEXT)[:-9])
    with pytest.raises(InputError, match=r"a\.gz cannot be decompressed"):
        recompressed(path)
