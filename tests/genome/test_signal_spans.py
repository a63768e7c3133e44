"""Spans in bigWig files: one item each, the same values, totals and zoom levels as base by base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basecast.genome.signal import BigWig, BigWigWriter, write_bigwig

LENGTHS = {"chr2": 70_000, "chr10": 50, "chr1": 3_000_000}
HEIGHTS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def some_spans(length: int, n: int, *, longest: int = 60, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    cuts = np.cumsum(rng.integers(0, longest, 2 * n) + np.tile([0, 1], n))
    assert cuts[-1] <= length
    return cuts[::2], cuts[1::2], rng.normal(size=n).astype(np.float32)


def dense(length: int, starts: Any, ends: Any, values: Any) -> Any:
    found = np.full(length, np.nan, np.float32)
    for start, end, value in zip(starts, ends, values, strict=True):
        found[start:end] = value
    return found


def write(path: Path, spans: dict[str, tuple[Any, Any, Any]], part: int = 1 << 30) -> Path:
    with BigWigWriter(path, LENGTHS) as writer:
        for contig, (starts, ends, values) in spans.items():
            for at in range(0, len(starts), part):
                one = slice(at, at + part)
                writer.write_spans(contig, starts[one], ends[one], values[one])
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200), HEIGHTS), max_size=120), st.data())
def test_what_was_written_is_read(tmp_path: Path, items: list[tuple[int, int, float]], data: st.DataObject) -> None:
    cuts = np.cumsum([[gap, width] for gap, width, _ in items]).reshape(-1, 2).astype(np.int64)
    spans = (cuts[:, 0], cuts[:, 1], np.array([height for *_, height in items], np.float32))
    found = BigWig(write(tmp_path / "a.bw", {"chr2": spans}, data.draw(st.integers(1, 50))))
    expected = dense(70_000, *spans)
    assert found.values("chr2", 0, 70_000).tobytes() == expected.tobytes()
    start = data.draw(st.integers(0, 60_000))
    end = start + data.draw(st.integers(0, 500))
    assert found.values("chr2", start, end).tobytes() == expected[start:end].tobytes()


@pytest.mark.parametrize(("n", "longest"), [(1, 60), (1024, 60), (30_000, 60), (30_000, 3), (20_000, 2)])
def test_another_reader_finds_spans_totals_and_zoom_levels(tmp_path: Path, n: int, longest: int) -> None:
    spans = some_spans(3_000_000, n, longest=longest)
    small = (np.array([3]), np.array([50]), np.array([2.5], np.float32))
    file = pybigtools.open(str(write(tmp_path / "a.bw", {"chr10": small, "chr1": spans})))
    assert list(file.records("chr1")) == list(zip(*(each.tolist() for each in spans), strict=True))
    base = np.concatenate([dense(50, *small), dense(3_000_000, *spans)]).astype(np.float64)
    base = base[~np.isnan(base)]
    totals = file.info()["summary"]
    assert totals["basesCovered"] == len(base)
    expected = [base.sum(), base.mean(), base.min(), base.max(), base.std(ddof=1)]
    assert [totals[each] for each in ("sum", "mean", "min", "max", "std")] == pytest.approx(expected, rel=1e-9)
    per_base = dense(3_000_000, *spans).astype(np.float64)
    assert (len(file.zooms()) > 0) == (n >= 1024)
    for level in file.zooms():
        bins = np.append(per_base, np.full(-len(per_base) % level, np.nan)).reshape(-1, level)
        bins = bins[~np.isnan(bins).all(axis=1)]
        records = list(file.zoom_records(level, "chr1"))
        found = {name: [summary[name] for *_, summary in records] for name in records[0][2]}
        assert found["bases_covered"] == (~np.isnan(bins)).sum(axis=1).tolist()
        assert found["min_val"] == np.nanmin(bins, axis=1).tolist()
        assert found["max_val"] == np.nanmax(bins, axis=1).tolist()
        assert (np.abs(found["sum"] - np.nansum(bins, axis=1)) <= 1e-6 * np.nansum(np.abs(bins), axis=1)).all()
        assert found["sum_squares"] == pytest.approx(np.nansum(bins**2, axis=1), rel=1e-5)
        assert all(start // level == (end - 1) // level for start, end, _ in records)


def test_spans_of_one_base_are_positions(tmp_path: Path) -> None:
    positions = np.arange(0, 60_000, 3)
    values = np.random.default_rng(1).random(len(positions), np.float32)
    write_bigwig(tmp_path / "a.bw", LENGTHS, [("chr2", positions, values)])
    write(tmp_path / "b.bw", {"chr2": (positions, positions + 1, values)})
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


def test_parts_leave_no_trace_and_a_long_span_costs_one_item(tmp_path: Path) -> None:
    spans = {"chr2": some_spans(70_000, 1500, longest=20), "chr1": some_spans(3_000_000, 40_000)}
    whole = write(tmp_path / "a.bw", spans).read_bytes()
    assert all(write(tmp_path / "b.bw", spans, part).read_bytes() == whole for part in (7, 1024))
    long = (np.array([0]), np.array([3_000_000]), np.ones(1, np.float32))
    assert write(tmp_path / "c.bw", {"chr1": long}).stat().st_size < 1000


def test_spans_among_positions(tmp_path: Path) -> None:
    with BigWigWriter(tmp_path / "a.bw", LENGTHS) as writer:
        writer.write("chr2", np.array([5, 9]), np.ones(2, np.float32))
        writer.write_spans("chr2", np.array([10]), np.array([20]), np.full(1, 2, np.float32))
        writer.write("chr2", np.array([20]), np.ones(1, np.float32))
    expected = dense(70_000, [5, 9, 10, 20], [6, 10, 20, 21], [1, 1, 2, 1])
    assert BigWig(tmp_path / "a.bw").values("chr2", 0, 70_000).tobytes() == expected.tobytes()


@pytest.mark.parametrize("length", [600_000_000, 2**31 + 9, 2**32 - 1])
def test_long_contigs(tmp_path: Path, length: int) -> None:
    spans = [(0, 10, 0.5), (2**29 - 3, 2**29 + 3, 0.25), (length - 9, length, 2.0)]
    starts, ends, values = (np.array(each) for each in zip(*spans, strict=True))
    with BigWigWriter(tmp_path / "a.bw", {"long": length, "short": 9}) as writer:
        writer.write_spans("long", starts, ends, values.astype(np.float32))
    found = BigWig(tmp_path / "a.bw")
    assert found.values("long", length - 12, length + 2)[:12].tolist()[3:] == [2.0] * 9
    assert np.nansum(found.values("long", 2**29 - 100, 2**29 + 100)) == 1.5
    assert list(pybigtools.open(str(tmp_path / "a.bw")).records("long")) == spans


@pytest.mark.parametrize(
    ("starts", "ends", "message"),
    [
        ([5], [5], "spans of 'chr10' must ascend within 0 to 49"),
        ([5], [4], "must ascend"),
        ([5, 8], [9, 12], "must ascend"),
        ([8, 5], [9, 6], "must ascend"),
        ([-1], [3], "must ascend"),
        ([40], [51], "must ascend"),
    ],
)
def test_spans_out_of_order(tmp_path: Path, starts: list[int], ends: list[int], message: str) -> None:
    values = np.ones(len(starts), np.float32)
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.bw", {"chr10": (np.array(starts), np.array(ends), values)})
    with pytest.raises(ValueError, match="must ascend within 20 to"):
        write(tmp_path / "a.bw", {"chr10": (np.array([5, 19]), np.array([20, 30]), values[[0, 0]])}, part=1)
    assert not list(tmp_path.iterdir())
