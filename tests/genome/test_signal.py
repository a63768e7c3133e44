from __future__ import annotations

import itertools
import pickle
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basecast.errors import BasecastError, InputError
from basecast.genome.signal import BigWig, BigWigWriter, write_bigwig

Track = Mapping[str, Mapping[int, float]]
LENGTHS = {"chr2": 70_000, "chr10": 50, "chr1": 3_000_000, "chrM": 1}


def stretches(track: Track, part: int = 1 << 30) -> Iterator[tuple[str, Any, Any]]:
    """A track in parts of so many values."""
    for contig, values in track.items():
        positions = np.array(sorted(values), np.int64)
        heights = np.array([values[at] for at in positions.tolist()], np.float32)
        for at in range(0, len(positions), part):
            yield contig, positions[at : at + part], heights[at : at + part]


def made_up(lengths: Mapping[str, int], counts: Iterable[int], seed: int = 0) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    return {
        contig: dict(
            zip(np.sort(rng.choice(length, n, replace=False)).tolist(), rng.normal(size=n).tolist(), strict=True)
        )
        for (contig, length), n in zip(lengths.items(), counts, strict=True)
        if n
    }


def dense(values: Mapping[int, float], start: int, end: int) -> Any:
    found = np.full(end - start, np.nan, np.float32)
    for at, value in values.items():
        if start <= at < end:
            found[at - start] = value
    return found


def same_bits(first: Any, second: Any) -> bool:
    return first.dtype == second.dtype == np.float32 and first.tobytes() == second.tobytes()


POSITIONS = st.integers(0, 69_999) | st.integers(0, 40)
HEIGHTS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.dictionaries(POSITIONS, HEIGHTS), st.dictionaries(st.integers(0, 49), HEIGHTS), st.data())
def test_what_was_written_is_read(
    tmp_path: Path, first: dict[int, float], second: dict[int, float], data: st.DataObject
) -> None:
    path, track = tmp_path / "a.bw", {"chr2": first, "chr10": second}
    write_bigwig(path, LENGTHS, stretches(track))
    found = BigWig(path)
    assert list(found.lengths.items()) == list(LENGTHS.items())
    for contig, values in [*track.items(), ("chr1", {}), ("chrM", {})]:
        start = data.draw(st.integers(-5, LENGTHS[contig]))
        end = start + data.draw(st.integers(0, 80_000))
        assert same_bits(found.values(contig, start, end), dense(values, start, end))
        length = LENGTHS[contig]
        assert same_bits(found.values(contig, -3, length + 3), dense(values, -3, length + 3))


def test_bytes_follow_from_the_values_alone(tmp_path: Path) -> None:
    track = made_up(LENGTHS, [20_000, 50, 40_000, 1])
    path = tmp_path / "a.bw"
    files = set()
    for part in (1 << 30, 1 << 30, 1, 1024, 999):
        write_bigwig(path, LENGTHS, stretches(track, part if part > 1 else 7))
        files.add(path.read_bytes())
    assert len(files) == 1
    track["chr1"][1] = 0.5
    write_bigwig(path, LENGTHS, stretches(track))
    assert path.read_bytes() not in files


def test_an_empty_part_is_no_part(tmp_path: Path) -> None:
    nothing = ("chr1", np.empty(0, np.int64), np.empty(0, np.float32))
    track = {"chr2": {5: 1.0}}
    write_bigwig(tmp_path / "a.bw", LENGTHS, stretches(track))
    write_bigwig(tmp_path / "b.bw", LENGTHS, [nothing, *stretches(track), nothing])
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


@pytest.mark.parametrize(
    "counts", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 50, 0, 1), (1500, 3, 60_000, 0), (30_000, 50, 40_000, 1)], ids=str
)
def test_another_reader_finds_values_totals_and_zoom_levels(tmp_path: Path, counts: tuple[int, ...]) -> None:
    track = made_up(LENGTHS, counts)
    write_bigwig(tmp_path / "a.bw", LENGTHS, stretches(track))
    file = pybigtools.open(str(tmp_path / "a.bw"))
    assert file.chroms() == LENGTHS
    for contig in LENGTHS:
        values = track.get(contig, {})
        expected = [(at, at + 1, float(np.float32(values[at]))) for at in sorted(values)]
        assert list(file.records(contig)) == expected
    every = np.array([value for values in track.values() for value in values.values()], np.float32).astype(np.float64)
    totals = file.info()["summary"]
    assert totals["basesCovered"] == sum(counts)
    if sum(counts):
        expected_totals = [every.sum(), every.mean(), every.min(), every.max()]
        assert [totals[name] for name in ("sum", "mean", "min", "max")] == pytest.approx(expected_totals, rel=1e-12)
    levels, n_finer = [], sum(counts) / 4  # a value takes a fourth of a summary's bytes
    for level in (16 * 4**power for power in range(10)):
        n_bins = sum(len({at // level for at in values}) for values in track.values())
        if 0 < n_bins <= n_finer / 2:
            levels, n_finer = [*levels, level], n_bins
    assert file.zooms() == levels
    for level, contig in itertools.product(levels, track):
        positions = np.array(sorted(track[contig]))
        heights = np.array([track[contig][at] for at in positions.tolist()], np.float32).astype(np.float64)
        cuts = np.flatnonzero(np.diff(positions // level, prepend=-1))
        records = list(file.zoom_records(level, contig))
        assert [start for start, _, _ in records] == positions[cuts].tolist()
        assert [end for _, end, _ in records] == (positions[np.append(cuts[1:], len(positions)) - 1] + 1).tolist()
        found = {name: [summary[name] for *_, summary in records] for name in records[0][2]}
        assert found["bases_covered"] == np.diff(np.append(cuts, len(positions))).tolist()
        assert found["min_val"] == np.minimum.reduceat(heights, cuts).tolist()
        assert found["max_val"] == np.maximum.reduceat(heights, cuts).tolist()
        assert found["sum"] == pytest.approx(np.add.reduceat(heights, cuts), rel=1e-5, abs=1e-4)
        assert found["sum_squares"] == pytest.approx(np.add.reduceat(heights**2, cuts), rel=1e-5)


def test_seventy_thousand_scaffolds_of_which_some_have_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lengths = {f"scaffold_{number}": 1000 + number for number in rng.permutation(70_000).tolist()}
    track = {contig: {7: 0.25, lengths[contig] - 1: 0.5} for contig in list(lengths)[::35]}
    write_bigwig(tmp_path / "a.bw", lengths, stretches(track))
    found = BigWig(tmp_path / "a.bw")
    assert list(found.lengths.items()) == list(lengths.items())
    for contig in [*list(track)[::100], "scaffold_69999"]:
        length = lengths[contig]
        assert same_bits(found.values(contig, 0, length), dense(track.get(contig, {}), 0, length))
    file = pybigtools.open(str(tmp_path / "a.bw"))
    assert file.chroms() == lengths
    assert all(len(list(file.records(contig))) == 2 for contig in list(track)[::100])


def test_keys_of_the_contig_tree_ascend_so_that_a_search_finds_every_contig(tmp_path: Path) -> None:
    """As UCSC's and IGV's readers search: down the last child whose first key is not above the name."""
    lengths = {f"chr{number}{'_alt' * (number % 3 == 0)}": number + 1 for number in range(1000, -1, -1)}
    lengths |= {"Ünplaced": 5, "a": 6, "B": 7}
    write_bigwig(tmp_path / "a.bw", lengths, [])
    content = (tmp_path / "a.bw").read_bytes()
    tree = struct.unpack_from("<Q", content, 8)[0]
    signature, _, key_size, value_size, count, _ = struct.unpack_from("<IIIIQQ", content, tree)
    assert (signature, value_size, count) == (0x78CA8C91, 8, len(lengths))
    for number, (contig, length) in enumerate(lengths.items()):
        key, at, is_leaf = contig.encode().ljust(key_size, b"\0"), tree + 32, False
        while not is_leaf:
            is_leaf, _, n_items = struct.unpack_from("<BBH", content, at)
            items = [
                struct.unpack_from(f"<{key_size}s8s", content, at + 4 + n * (key_size + 8)) for n in range(n_items)
            ]
            keys = [item[0] for item in items]
            assert keys == sorted(keys)
            chosen = items[max(sum(other <= key for other in keys) - 1, 0)]
            at = struct.unpack("<Q", chosen[1])[0]
        assert chosen[0] == key
        assert struct.unpack("<II", chosen[1]) == (number, length)


@pytest.mark.parametrize("length", [600_000_000, 2**31 + 9, 2**32 - 1])
def test_long_contigs(tmp_path: Path, length: int) -> None:
    values = {0: 0.5, 2**29: 0.25, length - 2: 1.0, length - 1: 2.0}
    lengths = {"long": length, "short": 9}
    write_bigwig(tmp_path / "a.bw", lengths, stretches({"long": values, "short": {8: 3.0}}))
    found = BigWig(tmp_path / "a.bw")
    assert found.lengths == lengths
    for start in (0, 2**29 - 5, length - 10):
        assert same_bits(found.values("long", start, start + 10), dense(values, start, start + 10))
    records = list(pybigtools.open(str(tmp_path / "a.bw")).records("long"))
    assert records == [(at, at + 1, value) for at, value in values.items()]


def test_a_contig_that_the_format_cannot_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'long' has 4,294,967,296 bases, but a bigWig counts to 4,294,967,295"):
        write_bigwig(tmp_path / "a.bw", {"short": 5, "long": 2**32}, [])
    assert not list(tmp_path.iterdir())


def test_extreme_values_come_back(tmp_path: Path) -> None:
    extremes = np.finfo(np.float32)
    values = dict(enumerate([extremes.max, extremes.min, extremes.tiny, extremes.smallest_subnormal, -0.0, 0.0] * 4000))
    write_bigwig(tmp_path / "a.bw", LENGTHS, stretches({"chr2": values}))  # no warning of an overflow either
    assert same_bits(BigWig(tmp_path / "a.bw").values("chr2", 0, len(values)), dense(values, 0, len(values)))
    assert pybigtools.open(str(tmp_path / "a.bw")).zooms()


class Unforeseen(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [ValueError("mine"), OSError(28, "mine"), KeyboardInterrupt(), Unforeseen()], ids=repr
)
def test_an_error_of_the_values_comes_out_as_it_is(tmp_path: Path, error: BaseException) -> None:
    def interrupted() -> Iterator[tuple[str, Any, Any]]:
        yield from stretches(made_up(LENGTHS, [5000, 0, 0, 0]))
        raise error

    path = tmp_path / "a.bw"
    path.write_text("earlier")
    with pytest.raises(type(error)) as caught:
        write_bigwig(path, LENGTHS, interrupted())
    assert caught.value is error
    assert [each.name for each in tmp_path.iterdir()] == ["a.bw"]
    assert path.read_text() == "earlier"


@pytest.mark.parametrize("room", [100, 5_000, 200_000, 450_000])
def test_disk_full(tmp_path: Path, room: int) -> None:
    path, track = tmp_path / "a.bw", made_up(LENGTHS, [50_000, 0, 5_000, 0])
    write_bigwig(path, LENGTHS, stretches(track))
    before = path.read_bytes()
    assert len(before) > 450_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(BasecastError, match=r"a\.bw could not be written \(File too large\) .*: make room"):
            write_bigwig(path, LENGTHS, stretches(track))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["a.bw"]
    assert path.read_bytes() == before


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(BasecastError, match=r"a\.bw could not be written \(No such file or directory\)"):
        write_bigwig(tmp_path / "none" / "a.bw", LENGTHS, [])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([("chr1", [5]), ("chr2", [5])], "'chr2' is no contig of .*a.bw, or one that comes before 'chr1'"),
        ([("chr3", [5])], "'chr3' is no contig"),
        ([("chr2", [5]), ("chr1", [5]), ("chr2", [6])], "'chr2' is no contig .* comes before 'chr1'"),
        ([("chr2", [5, 5])], "positions of 'chr2' must ascend within 0 to 69,999"),
        ([("chr2", [6, 5])], "must ascend"),
        ([("chr2", [5]), ("chr2", [5])], "must ascend within 6 to"),
        ([("chr2", list(range(2048))), ("chr2", [2047])], "must ascend within 2,048 to"),
        ([("chr10", [50])], "within 0 to 49"),
        ([("chr10", [-1, 4])], "within 0 to 49"),
    ],
)
def test_values_out_of_order(tmp_path: Path, parts: list[tuple[str, list[int]]], message: str) -> None:
    made = [(contig, np.array(at), np.ones(len(at), np.float32)) for contig, at in parts]
    with pytest.raises(ValueError, match=message):
        write_bigwig(tmp_path / "a.bw", LENGTHS, made)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_none(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="values of 'chr1' must be finite"):
        write_bigwig(tmp_path / "a.bw", LENGTHS, [("chr1", np.arange(2), np.array([1, value], np.float32))])


def test_memory_does_not_grow_with_the_values(tmp_path: Path) -> None:
    def peak(n_parts: int) -> int:
        values = np.linspace(0, 1, 10_000, dtype=np.float32)
        tracemalloc.start()
        with BigWigWriter(tmp_path / "a.bw", {"chr1": 300_000 * n_parts}) as writer:
            for part in range(n_parts):
                writer.write("chr1", 300_000 * part + 30 * np.arange(10_000), values)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    few, many = peak(40), peak(160)
    assert many < 1.05 * few
    assert few > 100_000  # arrays are counted


def other_writers_file(path: Path, *, compressed: bool) -> Path:
    """Intervals and fixed steps, as other programs write them; made by hand, all in one node and without totals."""
    intervals = struct.pack("<IIIIIBBH", 0, 2, 30, 0, 0, 1, 0, 2) + struct.pack("<IIfIIf", 2, 5, 0.5, 9, 30, 0.25)
    fixed = struct.pack("<IIIIIBBH", 0, 100, 125, 10, 5, 3, 0, 3) + struct.pack("<fff", 1, 2, 3)
    spans = struct.pack("<IIIIIBBH", 0, 200, 207, 0, 3, 2, 0, 2) + struct.pack("<IfIf", 200, 4, 204, 5)
    blocks = [zlib.compress(block) if compressed else block for block in (intervals, fixed, spans)]
    contigs = struct.pack("<IIIIQQ", 0x78CA8C91, 1, 4, 8, 1, 0) + struct.pack("<BBH4sII", 1, 0, 1, b"chr1", 0, 300)
    places = itertools.accumulate((len(block) for block in blocks[:-1]), initial=64 + len(contigs) + 8)
    leaf = struct.pack("<BBH", 1, 0, 3) + b"".join(
        struct.pack("<IIIIQQ", 0, start, 0, end, place, len(block))
        for (start, end), place, block in zip([(2, 30), (100, 125), (200, 207)], places, blocks, strict=True)
    )
    index = struct.pack("<IIQIIIIQII", 0x2468ACE0, 256, 3, 0, 2, 0, 207, 0, 1, 0) + leaf
    data_at = 64 + len(contigs)
    index_at = data_at + 8 + sum(map(len, blocks))
    sizes = (0, 0, 0, 0, 1024 if compressed else 0, 0)
    header = struct.pack("<IHHQQQHHQQIQ", 0x888FFC26, 4, 0, 64, data_at, index_at, *sizes)
    path.write_bytes(header + contigs + struct.pack("<Q", 3) + b"".join(blocks) + index)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_what_other_programs_write_is_read(tmp_path: Path, compressed: bool) -> None:
    expected = np.full(300, np.nan, np.float32)
    expected[2:5], expected[9:30] = 0.5, 0.25
    expected[100:105], expected[110:115], expected[120:125] = 1, 2, 3
    expected[200:203], expected[204:207] = 4, 5
    path = other_writers_file(tmp_path / "a.bw", compressed=compressed)
    records = list(pybigtools.open(str(path)).records("chr1"))
    assert records[0] == (2, 5, 0.5)  # it is a bigWig to others too
    found = BigWig(path)
    assert found.lengths == {"chr1": 300}
    for start, end in [(0, 300), (4, 10), (112, 123), (-5, 3), (206, 400), (30, 30), (250, 260)]:
        padded = np.concatenate([np.full(5, np.nan, np.float32), expected, np.full(100, np.nan, np.float32)])
        assert same_bits(found.values("chr1", start, end), padded[start + 5 : end + 5])


def test_intervals_of_another_writer(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cuts = np.sort(rng.choice(2_000_000, 40_000, replace=False)).tolist()
    heights = rng.random(20_000, np.float32).tolist()
    intervals = [("chr1", start, end, h) for start, end, h in zip(cuts[::2], cuts[1::2], heights, strict=True)]
    pybigtools.open(str(tmp_path / "a.bw"), "w").write({"chr1": 2_000_000}, iter(intervals))
    expected = np.full(2_000_000, np.nan, np.float32)
    for _, start, end, height in intervals:
        expected[start:end] = height
    found = BigWig(tmp_path / "a.bw")
    for start, end in [(0, 2_000_000), (1_234_567, 1_240_001), (77, 78)]:
        assert same_bits(found.values("chr1", start, end), expected[start:end])


def test_it_travels_by_its_path(tmp_path: Path) -> None:
    write_bigwig(tmp_path / "a.bw", LENGTHS, stretches({"chr10": {3: 0.5}}))
    found = pickle.loads(pickle.dumps(BigWig(tmp_path / "a.bw")))
    assert found.values("chr10", 3, 4).tolist() == [0.5]


def test_unknown_contig(tmp_path: Path) -> None:
    write_bigwig(tmp_path / "a.bw", LENGTHS, [])
    with pytest.raises(InputError, match=r"a\.bw has no contig '2'; its first is 'chr2'"):
        BigWig(tmp_path / "a.bw").values("2", 0, 5)


@pytest.mark.parametrize("content", [b"", b"BAM\1", b"chr1\t0\t5\t1\n"], ids=repr)
def test_no_bigwig(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bw").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.bw (is not a bigWig file|cannot be read as bigWig)"):
        BigWig(tmp_path / "a.bw")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.bw cannot be read as bigWig: .*No such file"):
        BigWig(tmp_path / "a.bw")


def test_truncated_anywhere(tmp_path: Path) -> None:
    path, track = tmp_path / "a.bw", made_up(LENGTHS, [3000, 0, 0, 0])
    write_bigwig(path, LENGTHS, stretches(track))
    content = path.read_bytes()
    index_end = struct.unpack_from("<Q", content, 24)[0] + 48 + 4 + 3 * 32
    for size in [*range(4, 500, 3), *range(500, index_end, 397), index_end - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="is truncated or damaged"):
            BigWig(path).values("chr2", 0, 70_000)
    path.write_bytes(content[:index_end])  # only what values do not need is missing
    assert same_bits(BigWig(path).values("chr2", 0, 70_000), dense(track["chr2"], 0, 70_000))


def test_damaged_block(tmp_path: Path) -> None:
    path = tmp_path / "a.bw"
    write_bigwig(path, LENGTHS, stretches(made_up(LENGTHS, [3000, 0, 0, 0])))
    content = bytearray(path.read_bytes())
    at = struct.unpack_from("<Q", content, 16)[0] + 8
    content[at + 100 : at + 200] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is truncated or damaged .*: fetch or make it again"):
        BigWig(path).values("chr2", 0, 70_000)
