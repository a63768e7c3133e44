"""Runs as a whole: shards, processes, resuming, and files that do not go together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1] / "genome"))

from made_alignments import LENGTHS, line, write

from basecast.coverage import build
from basecast.coverage.build import coverage, merge_coverage
from basecast.coverage.settings import CoverageSettings, preset
from basecast.errors import InputError, InterruptedRunError, UsageError
from basecast.genome.signal import BigWig
from basecast.inference.shards import Parts, RunSettings, Split

MULTI = CoverageSettings(strands="forward", smooth=3, clip=6)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.coverage.layout._PART", 60_000)  # four parts: three contigs and one without reads
    monkeypatch.setattr(build, "figure", lambda *_: Figure())


@pytest.fixture
def bam(tmp_path: Path) -> Path:
    """Reads with one place and, with no tags, reads with several."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(2000):
        contig = str(rng.choice(["chr1", "chr2", "chr3"]))
        lines.append(line(f"r{number}", 16 * int(rng.integers(2)), contig, int(rng.integers(LENGTHS[contig] - 60))))
        if number % 5 == 0:
            for _ in range(rng.integers(1, 5)):
                contig = str(rng.choice(["chr1", "chr2", "chr3"]))
                flag = 256 | 16 * int(rng.integers(2))
                lines.append(line(f"r{number}", flag, contig, int(rng.integers(LENGTHS[contig] - 60))))
    return write(tmp_path / "reads.bam", lines)


def tracks_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bw"))}


def report_of(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "out.report.json").read_text())
    return {name: value for name, value in told.items() if name not in ("seconds", "outputs", "input")}


@pytest.fixture
def whole(bam: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "whole"
    folder.mkdir()
    coverage(bam, folder / "out.bw", settings=MULTI, threads=1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "out.minus.bw",
        "out.plus.bw",
        "out.png",
        "out.report.json",
    ]
    return folder


def test_shards_processes_and_no_index_give_the_same(bam: Path, whole: Path, tmp_path: Path) -> None:
    ways = {name: tmp_path / name for name in ("shards", "unindexed", "unsorted")}
    for folder in ways.values():
        folder.mkdir()
    target = ways["shards"] / "out.bw"
    for share in (2, 3, 1):
        run = RunSettings(split=Split(index=share, count=3))
        assert coverage(bam, target, settings=MULTI, threads=1, run=run) is None
        assert not target.with_suffix(".plus.bw").exists()
    with contextlib.closing(Parts.existing(RunSettings().folder(target))) as parts:
        merge_coverage(parts, target, threads=1)
    other = ways["unindexed"] / "reads.bam"
    other.write_bytes(bam.read_bytes())
    coverage(other, ways["unindexed"] / "out.bw", settings=MULTI, threads=2)
    other.unlink()
    with pysam.AlignmentFile(str(bam)) as file:
        lines = [record.to_string() for record in file]
    np.random.default_rng(1).shuffle(lines)
    write(tmp_path / "unsorted.bam", lines, order=None, index=False)
    coverage(tmp_path / "unsorted.bam", ways["unsorted"] / "out.bw", settings=MULTI, threads=1)
    for folder in ways.values():
        assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
        assert tracks_of(folder) == tracks_of(whole)
        assert report_of(folder) == report_of(whole)


def test_what_is_missing_of_shards_is_named(bam: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bw"
    coverage(bam, target, settings=MULTI, threads=1, run=RunSettings(split=Split(index=1, count=3)))
    with (
        contextlib.closing(Parts.existing(RunSettings().folder(target))) as parts,
        pytest.raises(InputError, match=r"lacks 2 parts of 3 \(1, 2\): run --shard 2/3, 3/3"),
    ):
        merge_coverage(parts, target, threads=1)


def test_a_run_goes_on_where_it_stood(bam: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    read = build.read
    seen: list[int] = []

    def interrupted(*given: Any, **more: Any) -> Any:
        seen.extend(given[3])
        if len(seen) == 2:
            raise InterruptedRunError(143, "stop")
        return read(*given, **more)

    monkeypatch.setattr(build, "read", interrupted)
    with pytest.raises(InterruptedRunError):
        coverage(bam, folder / "out.bw", settings=MULTI, threads=1)
    assert [path.name for path in folder.iterdir()] == ["out.bw.basecast"]
    with pytest.raises(UsageError, match=r"holds a part of another run: settings\.sigma was 32\.0 and is 9\.0"):
        coverage(bam, folder / "out.bw", settings=MULTI.model_copy(update={"sigma": 9.0}), threads=1)
    coverage(bam, folder / "out.bw", settings=MULTI, threads=1)
    assert seen[:3] == [0, 1, 1]  # then all of them a second time, as names alone tell of places
    assert tracks_of(folder) == tracks_of(whole)
    assert not (folder / "out.bw.basecast").exists()


def test_a_killed_run_leaves_nothing_under_the_final_name(bam: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from basecast.genome.bigwig_writer import BigWigWriter\n"
        "from basecast.coverage.build import coverage\n"
        "BigWigWriter._finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "coverage(sys.argv[1], sys.argv[2], threads=1)\n"
    )
    target = tmp_path / "out.bw"
    done = subprocess.run([sys.executable, "-c", code, str(bam), str(target)], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    assert not target.with_suffix(".report.json").exists()
    coverage(bam, target, threads=1)
    assert BigWig(target).lengths == LENGTHS
    assert not (tmp_path / "out.bw.basecast").exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_processes_are_told_what_is_wrong(bam: Path, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.bam", [line("x", tags=["NH:i:1", "XA:Z:chr1,+5,50M,0;"])])
    with pytest.raises(InputError, match=r"bad\.bam: read 'x' has both NH and XA"):
        coverage(bad, tmp_path / "out.bw", threads=2)


# --- what does not go together


def fasta(path: Path, lengths: dict[str, int]) -> Path:
    path.write_text("".join(f">{name}\n{'ACGT' * (length // 4)}\n" for name, length in lengths.items()))
    return path


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (
            {"1x": 100_000},
            r"no contig of .*reads\.bam, such as 'chr1', is in .*g\.fa, whose first is '1x': give the genome",
        ),
        (
            {"1": 100_000, "2": 40_000},
            r"contig 'chr2' has 50,000 bases in .*reads\.bam and 40,000 in .*g\.fa: give the",
        ),
    ],
)
def test_another_genome(bam: Path, tmp_path: Path, lengths: dict[str, int], message: str) -> None:
    reference = fasta(tmp_path / "g.fa", lengths)
    with pytest.raises(InputError, match=message):
        coverage(bam, tmp_path / "out.bw", reference=reference, threads=1)
    assert not (tmp_path / "out.bw").exists()


def test_reads_on_a_contig_that_the_genome_lacks(bam: Path, tmp_path: Path) -> None:
    reference = fasta(tmp_path / "g.fa", {"1": 100_000, "2": 50_000})
    with pytest.raises(InputError, match=r"aligned to contig 'chr3', which .*g\.fa has not"):
        coverage(bam, tmp_path / "out.bw", reference=reference, settings=CoverageSettings(gc=True), threads=1)


def test_gc_takes_a_genome(bam: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"takes the genome: give it with -R, or say --no-gc"):
        coverage(bam, tmp_path / "out.bw", settings=preset("chip"), threads=1)


@pytest.mark.parametrize(
    ("output", "message"), [("out.txt", "a name that ends in .bw"), ("none/out.bw", "make it with 'mkdir -p")]
)
def test_outputs_that_cannot_be(bam: Path, tmp_path: Path, output: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        coverage(bam, tmp_path / output, threads=1)


def test_shards_take_an_index(bam: Path, tmp_path: Path) -> None:
    bam.with_suffix(".bam.bai").unlink()
    with pytest.raises(UsageError, match=r"takes a sorted BAM with its index: .*'samtools index'"):
        coverage(bam, tmp_path / "out.bw", run=RunSettings(split=Split(index=1, count=2)))


@pytest.mark.parametrize("asked", [{"gc": True}, {"clip": 4}], ids=str)
def test_whole_reads_are_no_fragments(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ends or centres"):
        CoverageSettings(event="reads", **asked)


def test_presets() -> None:
    assert preset(None) == CoverageSettings()
    found = {assay: preset(assay) for assay in ("cage", "dnase", "atac", "chip", "rna", "histone")}  # type: ignore[arg-type]
    assert len({each.model_dump_json() for each in found.values()}) == len(found)
    assert [name for name, each in found.items() if each.gc] == ["dnase", "atac", "chip", "histone"]
    assert [name for name, each in found.items() if each.event == "centres"] == ["chip", "histone"]
    assert all(each.max_places == 10 for each in found.values())
