"""Genomes of very many contigs and of very long ones: work grows with the bases asked for, memory does not."""

from __future__ import annotations

import cProfile
import pstats
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from direct import Asked, assert_same, lively, random_bases, read_beds, write_fasta, write_model

from basecast.inference.engine import Engine
from basecast.inference.members import LoadedMember
from basecast.prediction import stretches
from basecast.prediction.predict import SiteSettings, _span, predict_sites
from basecast.prediction.predictor import Predictor, PredictSettings

BED = SiteSettings(formats=("bed",), threshold=0.2)
PLUS = PredictSettings(strand="+", device="cpu", threads=1)
_WATCHED = """
import sys
from pathlib import Path
from basecast.cli.main import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
sys.exit(code)
"""


def scaffolds(n: int) -> dict[str, str]:
    """Contigs of 40 to 140 bases, no two alike."""
    lengths = np.random.default_rng(0).integers(40, 140, n).tolist()
    bases = random_bases(sum(lengths))
    starts = np.cumsum([0, *lengths]).tolist()
    return {
        f"s{i}": bases[start : start + length] for i, (start, length) in enumerate(zip(starts, lengths, strict=False))
    }


def test_scaffolds_are_run_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their lengths are rounded up, so that few differ; no shard has too many."""
    contigs = scaffolds(800)
    write_fasta(tmp_path / "genome.fa", contigs)
    package = lively()
    batches: list[int] = []
    asked: list[int] = []
    evaluate, embedding = Engine.evaluate, LoadedMember.embedding

    def embedded(self: LoadedMember, tokens: Any, *more: Any) -> Any:
        batches.append(len(tokens))
        return embedding(self, tokens, *more)

    def counting(self: Engine, requests: Any, *more: Any) -> Any:
        asked.append(len(requests))
        return evaluate(self, requests, *more)

    monkeypatch.setattr(Engine, "evaluate", counting)
    monkeypatch.setattr(LoadedMember, "embedding", embedded)
    monkeypatch.setattr(stretches, "_MOST_ITEMS", 500)
    summary = predict_sites(tmp_path / "genome.fa", tmp_path / "out", model=package, settings=PLUS, output=BED)
    assert (summary.contigs, summary.bases) == (800, sum(map(len, contigs.values())))
    assert asked == [500, 300]
    members = len(package.networks)
    assert sum(batches) == 800 * members
    assert len(batches) <= (800 / 8 + 2 * 7) * members
    some = {f"s{i}": contigs[f"s{i}"] for i in range(0, 800, 40)}
    found = {site: p for site, p in read_beds(tmp_path / "out").items() if site[0] in some}
    assert_same(found, Asked(package, some, strand="+").sites(), BED.threshold)


def test_work_grows_with_the_number_of_scaffolds_not_with_its_square(tmp_path: Path) -> None:
    package = lively(1)

    def calls(n: int) -> int:
        write_fasta(tmp_path / f"{n}.fa", scaffolds(n))
        profile = cProfile.Profile()
        profile.runcall(
            predict_sites, tmp_path / f"{n}.fa", tmp_path / f"{n}", model=package, settings=PLUS, output=SiteSettings()
        )
        return pstats.Stats(profile).total_calls  # type: ignore[attr-defined]

    calls(10)
    once, fourfold = calls(100), calls(400)
    assert fourfold < 4.4 * once


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_shard_is_no_longer_than_memory_allows(device: str, tmp_path: Path) -> None:
    """However quick the model is: all values of a shard are in memory."""
    write_fasta(tmp_path / "genome.fa", {"c": "ACGT"})
    predictor = Predictor(lively(1), tmp_path / "genome.fa", None, PLUS)
    assert _span(predictor, device) <= 20_000_000


def write_sparse_2bit(path: Path, length: int, known: dict[int, str]) -> Path:
    """One contig ``c`` of N but for what is ``known`` at some positions (multiples of 4); the file has holes."""
    ends = [0, *(at + len(bases) for at, bases in known.items())]
    starts = [*known, length]
    with path.open("wb") as file:
        file.write(struct.pack("<4I", 0x1A412743, 0, 1, 0) + b"\x01c" + struct.pack("<I", 16 + 2 + 4))
        sizes = [start - end for end, start in zip(ends, starts, strict=True)]
        file.write(struct.pack(f"<2I{len(ends)}I{len(ends)}I2I", length, len(ends), *ends, *sizes, 0, 0))
        packed = file.tell()
        for at, bases in known.items():
            file.seek(packed + at // 4)
            codes = ["TCAG".index(base) for base in bases]
            file.write(bytes(a << 6 | b << 4 | c << 2 | d for a, b, c, d in zip(*[iter(codes)] * 4, strict=True)))
        file.truncate(packed + (length + 3) // 4)
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_length_of_a_contig(tmp_path: Path) -> None:
    package = lively(1)
    write_model(tmp_path / "model", package)
    bases = random_bases(4000, seed=21)
    peaks = {}
    for name, length in (("short", 3_000_000), ("long", 300_000_000)):
        start = length - len(bases)
        genome = write_sparse_2bit(tmp_path / f"{name}.2bit", length, {400_000: bases, start: bases})
        assert genome.stat().st_blocks * 512 < 100_000
        regions = f"c\t{start}\t{length}\nc\t{start - 60}\t{start + 1}\nc\t400000\t404000\n"
        (tmp_path / "regions.bed").write_text(regions)
        ran = subprocess.run(
            [
                *(sys.executable, "-c", _WATCHED, "predict", "-R", genome, "-O", tmp_path / name),
                *("-m", tmp_path / "model", "--regions", tmp_path / "regions.bed", "--device", "cpu"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        peaks[name] = int(ran.stdout.split()[-1])
        found = read_beds(tmp_path / name)
        # within N alone nothing differs from position to position; the ends of what is known are the contig's
        context = "N" * 60 + bases
        wanted = Asked(package, {"c": context}).sites()
        moved = {(c, at + start - 60, s, kind, g): p for (c, at, s, kind, g), p in wanted.items()}
        assert_same({site: p for site, p in found.items() if site[1] >= start - 60}, moved, 0.1)
        assert min(site[1] for site in found) >= 400_000
    assert peaks["long"] < 1.1 * peaks["short"]
