from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from basecast.coverage import tracks
from basecast.coverage.duplicates import clip, limits
from basecast.coverage.gc import GCModel, gc_fraction
from basecast.coverage.joining import Lane
from basecast.coverage.layout import Layout
from basecast.coverage.settings import CoverageSettings
from basecast.coverage.tracks import fit_gc, track
from basecast.errors import InputError
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode

LENGTHS = {"a": 5000, "b": 30, "empty": 800, "c": 2500}
MODEL = GCModel((0.3, 1.2, 0.2, -0.4), 0.2, 0.8, 1.0, *np.empty((3, 0)))


def lane_of(values: Any) -> Lane:
    at = np.flatnonzero(values)
    return Lane(at, values[at].astype(float), at, values[at].astype(np.int64), np.empty(0, np.int64))


@pytest.fixture
def counts() -> Any:
    values = np.random.default_rng(0).poisson(0.1, sum(LENGTHS.values()))
    values[5030:5830] = 0
    values[[0, 4999, 5000, 5029, 5830, -1]] = 9
    return values


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    rng = np.random.default_rng(1)
    path = tmp_path / "g.fa"
    bases = {name: decode(rng.integers(0, 5, length).astype(np.uint8)) for name, length in LENGTHS.items()}
    path.write_text("".join(f">{name}\n{some}\n" for name, some in bases.items()))
    return Genome(path)


def in_full(spans: Any, layout: Layout) -> Any:
    found = np.zeros(int(layout.bounds[-1]))
    for span in spans:
        offset = layout.bounds[span["contig"]]
        assert (found[offset + span["start"] : offset + span["end"]] == 0).all()
        found[offset + span["start"] : offset + span["end"]] = span["value"]
    return found


@pytest.mark.parametrize("stretch", [100, 999, 1 << 20])
@pytest.mark.parametrize("asked", [{}, {"smooth": 8}, {"clip": 3}, {"clip": 2, "smooth": 2.5, "gc": True}], ids=str)
def test_stretches_leave_no_seam(
    counts: Any, genome: Genome, stretch: int, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "_STRETCH", stretch)
    layout, settings = Layout(LENGTHS), CoverageSettings(**asked, sigma=10, gc_sigma=20)
    model = MODEL if settings.gc else None
    spans, sums = track(lane_of(counts), 0, layout, settings, genome, model)
    expected, clipped, corrected = [], 0.0, 0.0
    for name, start, end in zip(LENGTHS, layout.bounds[:-1], layout.bounds[1:], strict=True):
        values = counts[start:end].astype(float)
        if settings.clip:
            smooth = gaussian_filter1d(values, settings.sigma, truncate=3, mode="reflect")
            values = clip(values, smooth, limits(settings.clip))
        clipped += values.sum()
        if model:
            margin = 60
            shares = gc_fraction(genome.tokens(name, -margin, end - start + margin), settings.gc_sigma)
            values = values * model.correction(shares[margin:-margin])
        corrected += values.sum()
        if settings.smooth:
            values = gaussian_filter1d(values, settings.smooth, truncate=3, mode="reflect")
        expected.append(values)
    found = in_full(spans, layout)
    assert found == pytest.approx(np.concatenate(expected), rel=1e-5, abs=2e-6)
    assert sums == pytest.approx((counts.sum(), clipped, corrected), rel=1e-6)
    assert found.sum() == pytest.approx(corrected, rel=1e-4)
    assert 2 not in spans["contig"]
    if settings.clip:
        assert clipped < counts.sum()


@pytest.mark.parametrize("stretch", [70, 1 << 20])
def test_changes_are_added_up_and_runs_are_one_span(stretch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "_STRETCH", stretch)
    layout = Layout(LENGTHS)
    blocks = [(10, 400, 1.0), (200, 300, 0.25), (4900, 5000, 1 / 3), (5000, 5030, 1.0), (8000, 8330, 2.0)]
    expected, changes = np.zeros(8330), np.zeros(8331)
    for start, end, weight in blocks:
        expected[start:end] += weight
        changes[start] += weight
        changes[end] -= weight
    at = np.flatnonzero(changes)
    nothing = np.empty(0, np.int64)
    spans, sums = track(
        Lane(at, changes[at], nothing, nothing, nothing), 0, layout, CoverageSettings(event="reads"), None, None
    )
    assert in_full(spans, layout) == pytest.approx(expected, rel=1e-6)
    assert sums.counted == pytest.approx(expected.sum())
    if stretch > 1000:
        assert len(spans) == 6
        assert spans["end"].tolist() == [200, 300, 400, 5000, 30, 2500]


def test_parts_are_worked_on_by_themselves(counts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.coverage.layout._PART", 5100)
    layout = Layout(LENGTHS)
    assert layout.parts == [range(0, 2), range(2, 4)]
    assert layout.part_of(np.array([0, 1, 2, 3])).tolist() == [0, 0, 1, 1]
    inside = [np.arange(len(counts)) < 5030, np.arange(len(counts)) >= 5030]
    lanes = [lane_of(np.where(mine, counts, 0)) for mine in inside]
    spans = [track(lane, number, layout, CoverageSettings(), None, None)[0] for number, lane in enumerate(lanes)]
    assert (in_full(np.concatenate(spans), layout) == counts).all()


def test_a_contig_that_the_genome_has_not(counts: Any, tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">a\n" + "ACGT" * 1250 + "\n>b\n" + "A" * 30 + "\n")
    genome, layout = Genome(tmp_path / "g.fa"), Layout(LENGTHS)
    known = np.where(np.arange(len(counts)) < 5030, counts, 0)
    fit_gc(lane_of(known), 0, layout, CoverageSettings(gc=True), genome)
    with pytest.raises(InputError, match=r"reads are aligned to contig 'c', which .*g\.fa has not: give the genome"):
        fit_gc(lane_of(counts), 0, layout, CoverageSettings(gc=True), genome)
