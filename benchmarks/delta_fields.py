"""SpliceAI's INFO strings as the benchmarks read and compare them, and where the shared data is."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SITES = ("AG", "AL", "DG", "DL")
Scored = tuple[str, int, str, str, str]  # contig, position, REF, ALT, gene


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


@dataclass
class Compared:
    """What two programs say of the same alleles in the same genes."""

    differences: list[float] = field(default_factory=list)  # |dDS| of each field
    dp_equal: int = 0  # positions that agree, of those that count
    dp_counted: int = 0
    amiss: list[str] = field(default_factory=list)
    dp_amiss: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.differences, default=0.0)


def by_allele(records: Iterable[Record], key: str) -> dict[Scored, Delta]:
    """Each allele's scores in each gene, by what they are of."""
    found = {}
    for record in records:
        for delta in record.deltas(key):
            name = record.contig, record.pos, record.ref, delta.allele, delta.gene
            assert name not in found, f"{record.name} is there twice"
            found[name] = delta
    return found


def compare_deltas(theirs: Mapping[Scored, Delta], ours: Mapping[Scored, Delta], limit: float) -> Compared:
    """Every field of both. Amiss is what only one has and each |dDS| above ``limit``; a DP counts where DS >= 0.001."""
    result = Compared()
    for name in sorted(theirs.keys() | ours.keys()):
        want, got = theirs.get(name), ours.get(name)
        label = "{}:{} {:.12}>{:.12} {}".format(*name)
        if want is None or got is None or (want.scores is None) != (got.scores is None):
            result.amiss.append(f"{label}: {want} there, {got} in Basecast")
            continue
        fields = (want.scores or (), got.scores or (), want.offsets or (), got.offsets or ())
        for site, ds, ds2, dp, dp2 in zip(SITES if want.scores else (), *fields, strict=True):
            result.differences.append(abs(ds - ds2))
            if abs(ds - ds2) > limit:
                result.amiss.append(f"{label} DS_{site}: {ds:.6f} there, {ds2:.6f} in Basecast")
            if ds >= 0.001:
                result.dp_counted += 1
                result.dp_equal += dp == dp2
                if dp != dp2:
                    result.dp_amiss.append(f"{label} DP_{site}: {dp} there, {dp2} in Basecast, DS {ds:.6f}")
    return result


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
