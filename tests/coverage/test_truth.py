"""From simulated alignments to bigWig: what was planted is found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_truth import Tracks, background, gc_slope, multi_read_error, peak_height
from simulated import Dialect, Peaks, Reads, planted_peaks, planted_repeats, random_genome, simulate

from basecast.coverage.build import coverage
from basecast.coverage.settings import CoverageSettings
from basecast.genome.signal import BigWig

SIZES = {"chr1": 1_100_000, "chr2": 200_000}
HEIGHT = 15.0
Run = Callable[..., tuple[Tracks, dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    # drawing the page would take most of the time here
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, content, **options: None)

    def covered(bam: Path, reference: Path | None = None, **settings: Any) -> tuple[Tracks, dict[str, Any]]:
        output = bam.with_suffix(".bw")
        coverage(bam, output, reference=reference, settings=CoverageSettings(**settings), threads=1)
        track = BigWig(output)
        found = {name: np.nan_to_num(track.values(name, 0, size)).astype(np.float64) for name, size in SIZES.items()}
        return found, json.loads(output.with_suffix(".report.json").read_text())

    return covered


def total(track: Tracks) -> float:
    return sum(float(values.sum()) for values in track.values())


# --- GC, peaks, fragments


@pytest.fixture(scope="module", params=[4.0, -4.0], ids=["rich", "poor"])
def biased(request: pytest.FixtureRequest, folder: Path) -> tuple[Reads, list[Peaks], Path, Path]:
    """100,000 reads, more where GC is rich, or poor; peaks at random, and where GC is rich; their BAM and genome."""
    rng = np.random.default_rng(20)
    genome = random_genome(rng, SIZES)
    peaks = [planted_peaks(rng, genome, 44, HEIGHT, follow_gc=follow) for follow in (False, True)]
    reads = simulate(genome, 100_000, rng=rng, slope=request.param, peaks=peaks, fragment=200)
    return reads, peaks, reads.write_bam(folder / "gc.bam", "nh"), reads.write_fasta(folder / "gc.fa")


@pytest.mark.parametrize("event", ["ends", "centres"])
def test_a_planted_gc_bias_is_undone(biased: tuple[Reads, list[Peaks], Path, Path], event: str, run: Run) -> None:
    reads, peaks, bam, fasta = biased
    before, _ = run(bam, event=event)
    after, report = run(bam, fasta, event=event, gc=True)
    where = background(reads.genome, peaks, [])
    was = gc_slope(reads.genome, before, where)
    assert abs(was) > 3.5
    assert abs(gc_slope(reads.genome, after, where)) < 0.05 * abs(was)
    assert total(before) == pytest.approx(reads.start.size, rel=1e-6)
    assert total(after) == pytest.approx(total(before), rel=0.005)
    heights = [peak_height(after, one, where) for one in peaks]
    assert heights == pytest.approx([HEIGHT, HEIGHT], rel=0.1)
    assert abs(peak_height(before, peaks[1], where) / HEIGHT - 1) > 0.25  # or there was nothing to undo
    if event == "centres":
        assert report["fragment length"] == pytest.approx(200, abs=10)


def test_centres_of_pairs_are_where_they_were_planted(folder: Path, run: Run) -> None:
    rng = np.random.default_rng(21)
    reads = simulate(random_genome(rng, SIZES), 20_000, rng=rng, paired=True)
    found, _ = run(reads.write_bam(folder / "paired.bam", "nh"), event="centres")
    for i, name in enumerate(SIZES):
        mine = reads.contig == i
        centres = np.bincount((reads.start + reads.length // 2)[mine], minlength=SIZES[name])
        np.testing.assert_array_equal(found[name], centres)


# --- multi-reads


@pytest.fixture(scope="module")
def repeated() -> Reads:
    """20 repeats whose neighbours have the depth of the copy, then 15 where nothing lies beside the copies."""
    rng = np.random.default_rng(22)
    genome = random_genome(rng, SIZES)
    repeats = planted_repeats(genome, 20, 150, (1, 6), end=1_000_000)
    repeats += planted_repeats(genome, 15, 300, (1, 5, 2), end=700_000, has_neighbours=False)
    return simulate(genome, 100_000, rng=rng, repeats=repeats)


@pytest.fixture(scope="module")
def bam(repeated: Reads, folder: Path) -> Path:
    return repeated.write_bam(folder / "repeated.bam", "nh")


def test_multi_reads_go_where_their_neighbours_are(repeated: Reads, bam: Path, run: Run) -> None:
    found, report = run(bam)
    assert (repeated.family >= 0).sum() > 1000
    assert report["reads"]["shared among places"] == (repeated.family >= 0).sum()
    assert multi_read_error(repeated, range(20), found) <= 0.5
    assert multi_read_error(repeated, range(20, 35), found) == pytest.approx(1, abs=0.01)
    assert total(found) == pytest.approx(repeated.start.size, rel=1e-6)


def test_without_iterations_multi_reads_are_divided_evenly(repeated: Reads, bam: Path, run: Run) -> None:
    found, _ = run(bam, iterations=0)
    assert multi_read_error(repeated, range(35), found) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("paired", [False, True], ids=["single", "paired"])
@pytest.mark.parametrize("event", ["ends", "centres", "reads"])
def test_what_the_aligner_says_of_other_places_makes_no_difference(
    repeated: Reads, event: str, paired: bool, folder: Path, run: Run
) -> None:
    rng = np.random.default_rng(23)
    reads = simulate(repeated.genome, 12_000, rng=rng, repeats=repeated.repeats, fragment=150, paired=paired)
    assert (reads.family >= 0).sum() > 150
    dialects: tuple[Dialect, ...] = ("nh", "xa", "none")
    files = []
    for dialect in dialects:
        bam = reads.write_bam(folder / f"{dialect}.bam", dialect)
        run(bam, event=event, fragment_length=None if paired else 180)
        files.append(bam.with_suffix(".bw").read_bytes())
    assert files[0] == files[1] == files[2]


# --- duplicates


@pytest.mark.parametrize("iterations", [0, 50])
def test_copies_of_a_molecule_are_clipped_whether_or_not_multi_reads_are_shared(
    repeated: Reads, iterations: int, folder: Path, run: Run
) -> None:
    copies = np.append(np.arange(repeated.start.size), np.full(200, np.flatnonzero(repeated.family < 0)[0]))
    columns = ("contig", "start", "length", "reverse")
    reads = replace(repeated, **{column: getattr(repeated, column)[copies] for column in columns})
    bam = reads.write_bam(folder / "copies.bam", "nh")
    before, _ = run(bam, iterations=0)
    after, _ = run(bam, iterations=iterations, clip=8)
    assert max(values.max() for values in before.values()) > 200
    assert max(values.max() for values in after.values()) <= 8
    assert total(after) == pytest.approx(repeated.start.size, rel=0.1)
