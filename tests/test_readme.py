"""README's commands, run on the simulated genome in place of the reader's own files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from basecast.data.simulated import simulate

README = (Path(__file__).parents[1] / "README.md").read_text()
MODEL = "openspliceai-mane/10000nt"


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder to run in, and what stands there for the names in README."""
    folder = tmp_path_factory.mktemp("readme")
    simulate(folder)
    return folder, {
        "patient.vcf.gz": "variants.vcf",
        "hg38.fa": "genome.fa",
        "MANE.GRCh38.v1.4.ensembl_genomic.gtf.gz": "genes.gtf",
        "genes.gtf.gz": "genes.gtf",
        MODEL: "human-400-demo",
        "-D 500": "-D 100",  # the model of the demo sees 200 bases
        '("chr11", 47343158, "C", "T")': '("sim1", 5000, "N", "T")',
    }


def replaced(text: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        text = text.replace(theirs, ours)
    return text


def test_the_shell_commands(own_files: tuple[Path, dict[str, str]]) -> None:
    folder, names = own_files
    (session,) = [block for block in blocks("") if "$ " in block]
    commands = re.findall(r"^\$ (.*?[^\\])$", session, re.MULTILINE | re.DOTALL)
    assert len(commands) == 3
    for command in commands:
        command = replaced(command, names)
        if command.startswith("bcftools") and shutil.which("bcftools") is None:
            pytest.skip("needs bcftools")
        if command.startswith("basecast"):
            command = f"{sys.executable} -m {command}"
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if command.startswith("bcftools"):
            assert "sim1" in done.stdout


def test_the_python_lines(own_files: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, names = own_files
    monkeypatch.chdir(folder)
    (lines,) = blocks("python")
    found: dict[str, object] = {}
    exec(replaced(lines, names), found)
    assert found["scores"].table.height == 1  # type: ignore[attr-defined]


def test_every_verb_is_in_the_table() -> None:
    for verb in ("variant", "zoo list", "zoo info", "zoo import", "zoo verify", "demo"):
        assert f"| `basecast {verb}` |" in README
        assert (
            subprocess.run([sys.executable, "-m", "basecast", *verb.split(), "--help"], capture_output=True).returncode
            == 0
        )
