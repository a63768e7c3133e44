"""SpliceAI's INFO strings as a parity benchmark reads them, and how it runs Basecast and finds the shared data."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SITES = ("AG", "AL", "DG", "DL")


@dataclass(frozen=True)
class Delta:
    """One ``ALLELE|SYMBOL|DS x 4|DP x 4``; ``scores`` is None for the MNV sentinel (all dots)."""

    allele: str
    gene: str
    scores: tuple[float, ...] | None
    offsets: tuple[int, ...] | None


@dataclass(frozen=True)
class Record:
    contig: str
    pos: int  # as in the VCF, 1-based
    ref: str
    alts: str
    info: dict[str, str]

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.contig, self.pos, self.ref, self.alts

    @property
    def name(self) -> str:
        return f"{self.contig}:{self.pos} {self.ref[:12]}>{self.alts[:12]}"

    def deltas(self, key: str) -> list[Delta]:
        return [parse_delta(entry) for entry in self.info.get(key, "").split(",") if entry]


def parse_delta(entry: str) -> Delta:
    allele, gene, *numbers = entry.split("|")
    if "." in numbers:
        return Delta(allele, gene, None, None)
    return Delta(allele, gene, tuple(map(float, numbers[:4])), tuple(map(int, numbers[4:8])))


def read_text(path: Path) -> str:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return lines.read()


def read_records(path: Path) -> Iterator[Record]:
    for line in read_text(path).splitlines():
        if not line.startswith("#"):
            contig, pos, _, ref, alts, _, _, info = line.split("\t")[:8]
            pairs = (item.partition("=") for item in info.split(";"))
            yield Record(contig, int(pos), ref, alts, {key: value for key, _, value in pairs})


def plain_copy(source: Path, folder: Path) -> Path:
    """``source`` without its gzip, under ``folder``: peers want random access, and write an index beside the file."""
    copy = folder / source.name.removesuffix(".gz")
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(copy.name + ".part")
        partial.write_text(read_text(source))
        partial.rename(copy)
    return copy


def shared_data(given: Path | None) -> Path:
    """``--shared``, else BASECAST_SHARED, else ``shared`` beside the checkout; the program ends where it is missing."""
    root = given or Path(os.environ.get("BASECAST_SHARED", Path(__file__).parents[2] / "shared"))
    folder = root / "data" if (root / "data").is_dir() else root
    if not (folder / "weights").is_dir():
        sys.exit(f"no shared data in {root}: pass --shared DIR (the folder that holds human/ and weights/)")
    return folder


def run_basecast(*arguments: str | Path) -> float:
    """Run ``basecast`` of this environment; seconds taken. The program ends with its exit status where it fails."""
    beside = Path(sys.executable).with_name("basecast")
    program = str(beside) if beside.exists() else shutil.which("basecast")
    if program is None:
        sys.exit("basecast is not installed here: pip install -e .")
    command = [program, *map(str, arguments)]
    print("$ basecast", *command[1:], flush=True)
    start = time.perf_counter()
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return time.perf_counter() - start
