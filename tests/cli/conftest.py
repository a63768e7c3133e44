"""A world of 4 kb: two contigs, five genes and a network of 100 bases of context, and the command line run on it."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from basecast.cli.main import main
from basecast.genome.sequence import decode, reverse_complement
from basecast.models.registry import build
from basecast.models.spliceai import SpliceAIConfig, spec
from basecast.zoo.package import Package, save_package

CONFIG = SpliceAIConfig(widths=(11, 11), dilations=(1, 4), channels=8, skip_every=1)
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
GENES = (  # name, strand, contig, start, exons (length 40, introns between them)
    ("GENE1", "+", "chr1", 200, 13),
    ("GENE2", "-", "chr1", 1500, 13),
    ("ODD;NAME,1|x", "+", "chr1", 1700, 3),
)
LENGTHS = {"chr1": 3000, "chr2": 900}
_PART = 40


@dataclass(frozen=True)
class World:
    """Where the files are, and the bases of each contig in upper case."""

    folder: Path
    bases: dict[str, str]
    package: Package

    genome: Path = field(init=False)
    genes: Path = field(init=False)
    model: Path = field(init=False)

    def __post_init__(self) -> None:
        for name, file in (("genome", "genome.fa"), ("genes", "genes.gtf"), ("model", "tiny")):
            object.__setattr__(self, name, self.folder / file)

    def record(self, contig: str, position: int, ref: int, alt: str, rest: str = ".\t.\t.", name: str = ".") -> str:
        """A VCF line whose REF is the ``ref`` bases there; ``alt`` may hold {ref} and {other} (another base)."""
        found = self.bases[contig][position - 1 : position - 1 + ref]
        other = "CGTA"["ACGT".index(found[0])]
        return f"{contig}\t{position}\t{name}\t{found}\t{alt.format(ref=found, first=found[0], other=other)}\t{rest}"

    def arguments(self, source: Path | str, target: Path | str, *options: str) -> list[str]:
        """``basecast variant`` on this world; what ``options`` name is not given twice."""
        given = {"-I": source, "-O": target, "-R": self.genome, "-A": self.genes, "-m": self.model, "--device": "cpu"}
        flat = [str(word) for name, value in given.items() if name not in options for word in (name, value)]
        return ["variant", *flat, *options]


def exons(start: int, n: int) -> list[tuple[int, int]]:
    return [(start + 2 * _PART * i, start + 2 * _PART * i + _PART) for i in range(n)]


def gtf_line(contig: str, kind: str, start: int, end: int, strand: str, name: str) -> str:
    tags = f'gene_id "ID_{name}"; gene_name "{name}"; transcript_id "T_{name}"; transcript_version "7";'.replace(
        "ID_ODD;NAME,1|x", "ID_ODD"
    ).replace("T_ODD;NAME,1|x", "T_ODD")
    return f"{contig}\ttest\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t.\t{tags}\n"


def write_world(folder: Path) -> World:
    rng = np.random.default_rng(7)
    tokens = {name: rng.integers(4, size=length).astype(np.uint8) for name, length in LENGTHS.items()}
    lines = ["#!made up\n"]
    for name, strand, contig, start, n in GENES:
        spans = exons(start, n)
        lines.append(gtf_line(contig, "transcript", start, spans[-1][1], strand, name))
        lines += [gtf_line(contig, "exon", *span, strand, name) for span in spans]
        for (_, left), (right, _) in itertools.pairwise(spans):
            ends = (np.array([2, 3]), np.array([0, 2]))  # GT, AG
            first, last = ends if strand == "+" else [reverse_complement(end.astype(np.uint8)) for end in ends[::-1]]
            if name != "ODD;NAME,1|x":
                tokens[contig][left : left + 2], tokens[contig][right - 2 : right] = first, last
    for strand, name in (("+", "WHOLE"), ("-", "OTHER")):  # from the first base of chr2 to its last
        spans = [(0, 300), (400, 900)]
        lines.append(gtf_line("chr2", "transcript", 0, 900, strand, name))
        lines += [gtf_line("chr2", "exon", *span, strand, name) for span in spans]
    bases = {name: decode(values) for name, values in tokens.items()}
    with (folder / "genome.fa").open("w") as fasta:
        for name, text in bases.items():
            text = text[:100] + text[100:400].lower() + text[400:]
            fasta.write(f">{name} made up\n" + "".join(f"{text[i : i + 60]}\n" for i in range(0, len(text), 60)))
    (folder / "genes.gtf").write_text("".join(lines))
    package = tiny_package()
    save_package(folder / "tiny", package)
    return World(folder, bases, package)


def tiny_package() -> Package:
    """Random weights by a seed, steep enough for effects of all sizes."""
    card = spec(CONFIG, name="tiny", licence="CC0-1.0")
    assert card.architecture is not None
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build(card.architecture)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if name.startswith("head"):
                weights.mul_(6)
                if name.endswith("bias"):
                    weights.copy_(torch.tensor([1.0, 0.0, 0.0]))
            elif weights.ndim == 3:
                weights.mul_(1.5)
    return Package(card, (network.eval().requires_grad_(False),))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def varied(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty alleles of every kind that has scores, and some that have none."""
    path = tmp_path_factory.mktemp("varied") / "in.vcf"
    records = [world.record("chr1", position, 1, "{other}") for position in range(211, 640, 37)]
    records += [
        world.record("chr1", 650, 1, "{ref}ACGT,{other}"),
        world.record("chr1", 700, 5, "{first}"),
        world.record("chr1", 702, 2, "{other}A,*,{first}"),
        world.record("chr1", 710, 1, "<DEL>", ".\t.\tEND=760"),
        world.record("chr1", 1721, 1, "{other}"),
        world.record("chr1", 2800, 1, "{other}"),
        world.record("chr2", 450, 1, "{other}"),
    ]
    end = '##INFO=<ID=END,Number=1,Type=Integer,Description="e">'
    return write_vcf(path, records, ["##fileformat=VCFv4.2", *contig_lines(), end])


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def score(run: Run, world: World) -> Run:
    """``basecast variant`` on the world: source, target, options."""
    return lambda source, target, *options: run(*world.arguments(source, target, *map(str, options)))


def command(*arguments: object) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "basecast", *map(str, arguments)]


def in_a_process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), capture_output=True, timeout=120, **options)


def write_vcf(path: Path, records: Sequence[str], header: Sequence[str] = ("##fileformat=VCFv4.2",)) -> Path:
    columns = [] if header and header[-1].startswith("#CHROM") else [COLUMNS]
    path.write_text("".join(f"{line}\n" for line in (*header, *columns, *records)))
    return path


def contig_lines() -> list[str]:
    return [f"##contig=<ID={name},length={length}>" for name, length in LENGTHS.items()]


def info_of(line: str) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in line.rstrip("\n").split("\t")[7].split(";"))


def read_vcf(path: Path | str) -> tuple[list[str], list[str]]:
    """Header and records of a VCF, packed or not."""
    import pysam

    with pysam.BGZFile(str(path)) if str(path).endswith("gz") else open(path, "rb") as handle:  # type: ignore[attr-defined]
        lines = handle.read().decode().splitlines()
    return [line for line in lines if line.startswith("#")], [line for line in lines if not line.startswith("#")]


def check_alike(lines: Sequence[str], others: Sequence[str], decimals: int = 2) -> None:
    """Records with equal fields, but scores may be off by one in the last digit: windows in other company round so."""
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        fields, wanted = re.split(r"[\t;|,=]", line), re.split(r"[\t;|,=]", other)
        assert len(fields) == len(wanted), (line, other)
        for found, value in zip(fields, wanted, strict=True):
            if found != value:
                assert re.fullmatch(r"[01](\.\d+)?", found), (line, other)
                assert abs(float(found) - float(value)) < 1.01 * 10**-decimals, (line, other)


def stats_of(target: Path) -> dict[str, Any]:
    return json.loads(Path(f"{target}.stats.json").read_text())


def environment(**more: str) -> dict[str, str]:
    return os.environ | more
