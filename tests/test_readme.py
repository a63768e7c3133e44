"""README's commands, run on the simulated genome in place of the reader's own files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pysam
import pytest

from basecast.data.simulated import simulate
from basecast.genome.reference import Genome

README = (Path(__file__).parents[1] / "README.md").read_text()
MODEL = "openspliceai-mane-10000"
START = (Path(__file__).parents[1] / "docs" / "start.md").read_text()


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder to run in, and what stands there for the names in README."""
    folder = tmp_path_factory.mktemp("readme")
    simulate(folder)
    write_reads(folder / "pro.bam", Genome(folder / "genome.fa"))
    (folder / "tracks.tsv").write_text("identifier\tfile\npro\tpro.bw\n")
    return folder, {
        "patient.vcf.gz": "variants.vcf",
        "hg38.fa": "genome.fa",
        "MANE.GRCh38.v1.4.ensembl_genomic.gtf.gz": "genes.gtf",
        "genes.gtf.gz": "genes.gtf",
        f"zoo get {MODEL}": "zoo info human-400",  # no network
        MODEL: "human-400",
        "-D 500": "-D 100",  # the model of the demo sees 200 bases
        '("chr11", 47343158, "C", "T")': '("sim1", 5000, "N", "T")',
        "beetle.fa": "genome.fa",
        "beetle.gff3": "genes.gtf",
        "-I in.vcf": "-I variants.vcf",
        "--context 400": "--context 80 --epochs 20 --sampling biased --window 200 --samples-per-epoch 128 "
        "--batch-size 16 --rate 0.003",
        "-m beetle-400-calibrated\n": "-m beetle-400-calibrated -D 40\n",
        "--targets tracks.tsv": "--targets tracks.tsv --resolution 8 --window 1024 --flank 256 --piece 2048",
        "--family basenji": "--family basenji --size tiny --epochs 1",
    }


def write_reads(path: Path, genome: Genome) -> None:
    """Single reads from the ends of fragments of some 150 bp, many of them in a few places; with its index."""
    rng = np.random.default_rng(0)
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": n, "LN": x} for n, x in genome.lengths.items()]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as file:
        for number, (contig, length) in enumerate(genome.lengths.items()):
            peaks = rng.integers(500, length - 500, max(length // 1000, 1))
            starts = np.concatenate([rng.integers(0, length - 200, length // 20), rng.choice(peaks, length // 5)])
            starts[length // 20 :] += rng.integers(-60, 60, length // 5)
            is_reverse = rng.random(starts.size) < 0.5
            at = np.where(is_reverse, starts + rng.integers(140, 160, starts.size) - 36, starts)
            for position, reverse in sorted(zip(at.tolist(), is_reverse.tolist(), strict=True)):
                read = pysam.AlignedSegment(file.header)
                read.query_name, read.reference_id, read.reference_start = f"r{number}", number, position
                read.flag, read.mapping_quality, read.cigarstring = 16 * reverse, 60, "36M"
                read.query_sequence = genome_letters(genome, contig, position)
                read.set_tag("NH", 1)
                file.write(read)
    pysam.index(str(path))


def genome_letters(genome: Genome, contig: str, start: int) -> str:
    return "".join("ACGTN"[i] for i in genome.tokens(contig, start, start + 36))


def replaced(text: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        text = text.replace(theirs, ours)
    return text


@pytest.mark.parametrize(
    ("session", "n"),
    [(0, 5), pytest.param(1, 5, marks=pytest.mark.slow), pytest.param(2, 7, marks=pytest.mark.slow)],
    ids=["use", "make", "signals"],
)
def test_the_shell_commands(own_files: tuple[Path, dict[str, str]], session: int, n: int) -> None:
    folder, names = own_files
    sessions = [block for block in blocks("") if "$ " in block]
    assert len(sessions) == 3
    commands = re.findall(r"^\$ (.*?[^\\])$", replaced(sessions[session], names), re.MULTILINE | re.DOTALL)
    assert len(commands) == n
    for command in commands:
        run(command, folder)


def run(command: str, folder: Path) -> None:
    """One line of a shell session, as it stands, if its program is here."""
    program = command.split()[0]
    if program in ("bcftools", "tabix") and shutil.which(program) is None:
        return
    if program == "basecast":
        command = f"{sys.executable} -m {command}"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert program == "basecast" or "sim1" in done.stdout


@pytest.mark.slow
def test_five_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's commands on the demo's files; those of the published model need a network."""
    sessions = re.findall(r"^```\n(.*?)^```", START, re.MULTILINE | re.DOTALL)
    commands = [c for s in sessions for c in re.findall(r"^\$ (.*?[^\\])$", s, re.MULTILINE | re.DOTALL)]
    ours = [command for command in commands if MODEL not in command and not command.startswith("ls")]
    assert [command.split()[:2] for command in ours] == [
        ["basecast", "demo"],
        ["basecast", "variant"],
        ["bcftools", "view"],
        ["basecast", "predict"],
        ["tabix", "sites.donor.bed.gz"],
        ["basecast", "zoo"],
    ]
    for command in ours:
        run(command, tmp_path)
    monkeypatch.chdir(tmp_path)
    (lines,) = re.findall(r"^```python\n(.*?)^```", START, re.MULTILINE | re.DOTALL)
    exec(lines, {})


def test_the_python_lines(own_files: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, names = own_files
    monkeypatch.chdir(folder)
    (lines,) = blocks("python")
    found: dict[str, object] = {}
    exec(replaced(lines, names), found)
    assert found["scores"].table.height == 1  # type: ignore[attr-defined]


def test_every_verb_is_in_the_table() -> None:
    zoo = [f"zoo {verb}" for verb in ("list", "get", "info", "import", "verify", "publish")]
    making = ("coverage", "create-data", "data check", "train", "transfer", "distill", "calibrate", "evaluate")
    for verb in (*making, "variant", "saturate", "predict", "merge", *zoo, "completion", "demo"):
        assert f"| `basecast {verb}` |" in README
        assert (
            subprocess.run([sys.executable, "-m", "basecast", *verb.split(), "--help"], capture_output=True).returncode
            == 0
        )
