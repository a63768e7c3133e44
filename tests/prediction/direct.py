"""What predict must give, by a forward pass of the plain networks over each whole contig; and its files, read back."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from toys import package_of

from basecast.cli.main import main
from basecast.genome.signal import BigWig
from basecast.zoo.package import Package, save_package

Site = tuple[str, int, str, str, str]
"""Contig, position, strand, kind, gene (empty: none)."""

Gene = tuple[str, str, str, int, int]
"""Name, contig, strand, start, end."""

HALF = 22  # bases that the tiny SpliceAI sees at each side
TOLERANCE = 1e-5
KINDS = ("acceptor", "donor")  # in the order of the model's tracks
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


def random_bases(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length).tolist())


def lively(members: int = 2, **card: object) -> Package:
    """The tiny SpliceAI with random weights, steep enough for probabilities of either kind from 0.0001 to 0.4."""
    package = package_of("spliceai", members, seed=9, **card)
    for network in package.networks:
        for name, weights in network.named_parameters():
            weights.mul_(6 if name.startswith("head") else 1.8 if weights.ndim == 3 else 1)
        network.head.bias.copy_(torch.tensor([2.0, 0, 0]))  # type: ignore[union-attr,operator]
    return package


# ---- what must be


def direct(package: Package, bases: str, strand: str = "+", low: int = 0, high: int | None = None) -> np.ndarray:
    """Probabilities of acceptor and donor at each base, (bases, 2), N outside [low, high), by the networks alone."""
    high = len(bases) if high is None else high
    seen = "N" * low + bases[low:high].upper() + "N" * (len(bases) - high)
    if strand == "-":
        seen = seen.translate(_COMPLEMENT)[::-1]
    seen = "N" * HALF + seen + "N" * HALF
    one_hot = torch.tensor([[[float(base == letter) for base in seen] for letter in "ACGT"]])
    temperature = package.spec.calibration.temperature.get("splice")
    with torch.inference_mode():
        logits = torch.stack([network(one_hot) for network in package.networks])
        if temperature:
            mean = torch.softmax(logits.mean(0) / torch.tensor(temperature)[:, None], 1)
        else:
            mean = torch.softmax(logits, 2).mean(0)
    values = mean[0, 1:].T.numpy()
    return values[::-1] if strand == "-" else values


@dataclass(frozen=True)
class Asked:
    """What is predicted of which genome; ``regions`` are (contig, start, end)."""

    package: Package
    contigs: dict[str, str]
    genes: Sequence[Gene] | None = None
    masked: bool = False
    strand: str = "both"
    regions: Iterable[tuple[str, int, int]] | None = None

    def sites(self) -> dict[Site, float]:
        """Every base asked for, of each kind on each strand read."""
        found: dict[Site, float] = {}
        for contig, bases in self.contigs.items():
            if bases:
                self._add_contig(found, contig, bases)
        return found

    def _add_contig(self, found: dict[Site, float], contig: str, bases: str) -> None:
        inside = [self.regions is None] * len(bases)
        for name, start, end in self.regions or ():
            if name == contig:
                inside[start:end] = [True] * (end - start)
        genes = [gene for gene in self.genes or () if gene[1] == contig]
        for strand in "+-":
            if self.strand in ("+", "-") and strand != self.strand:
                continue
            read = [gene for gene in genes if self.strand != "gene" or gene[2] == strand]
            if self.masked and self.genes is not None:
                for name, _, _, low, high in read:
                    values = direct(self.package, bases, strand, low, high)
                    for at in range(low, high):
                        if inside[at]:
                            _add(found, contig, at, strand, name, values[at])
                continue
            values = direct(self.package, bases, strand)
            for at in range(len(bases)):
                if inside[at] and (self.genes is None or any(low <= at < high for *_, low, high in read)):
                    here = [gene[0] for gene in genes if gene[2] == strand and gene[3] <= at < gene[4]]
                    _add(found, contig, at, strand, ",".join(dict.fromkeys(here)), values[at])


def _add(found: dict[Site, float], contig: str, at: int, strand: str, gene: str, values: np.ndarray) -> None:
    for kind, p in zip(KINDS, values.tolist(), strict=True):
        site = (contig, at, strand, kind, gene)
        found[site] = max(p, found.get(site, 0))


def assert_same(found: dict[Site, float], wanted: dict[Site, float], threshold: float) -> None:
    """The same sites from ``threshold`` on, nearly the same values; what lies on the border may be on either side."""
    sure = {site for site, p in wanted.items() if p >= threshold + TOLERANCE}
    allowed = {site for site, p in wanted.items() if p >= threshold - TOLERANCE}
    assert {site[3] for site in sure} == set(KINDS), "the comparison would be empty"
    assert not sure - found.keys()
    assert not found.keys() - allowed
    assert max(abs(p - wanted[site]) for site, p in found.items()) <= TOLERANCE


# ---- what was written


def write_fasta(path: Path, contigs: dict[str, str], width: int = 60, newline: str = "\n") -> Path:
    with path.open("w", newline="") as file:
        for name, bases in contigs.items():
            lines = [f">{name} made up", *(bases[i : i + width] for i in range(0, len(bases), width))]
            file.write("".join(line + newline for line in lines))
    return path


def write_genes(path: Path, genes: Sequence[Gene]) -> Path:
    """A SpliceAI gene table: a gene of one exon a line."""
    rows = [f"{name}\t{contig}\t{strand}\t{a}\t{b}\t{a},\t{b},\n" for name, contig, strand, a, b in genes]
    path.write_text("#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n" + "".join(rows))
    return path


def write_model(folder: Path, package: Package) -> Path:
    save_package(folder, package)
    return folder


def arguments(*given: object) -> list[str]:
    """``basecast predict`` on the CPU."""
    return ["predict", "--device", "cpu", "--threads", "1", *map(str, given)]


def predict(*given: object) -> int:
    """The command in this process; its exit code."""
    return main(arguments(*given))


def bed_rows(path: Path | str) -> list[list[str]]:
    with gzip.open(path, "rt") as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


def read_beds(prefix: Path | str) -> dict[Site, float]:
    """The sites of both BED files; no row twice, rows in order, columns that agree."""
    found: dict[Site, float] = {}
    for kind in KINDS:
        rows = bed_rows(f"{prefix}.{kind}.bed.gz")
        for contig, start, end, name, score, strand, p in rows:
            site = (contig, int(start), strand, kind, "" if name == "." else name)
            assert site not in found, f"twice: {site}"
            assert int(end) == int(start) + 1
            assert abs(int(score) - 1000 * float(p)) <= 0.5
            assert len(p.split(".")[1]) == 6
            found[site] = float(p)
        contigs = [row[0] for row in rows]
        blocks = [contig for i, contig in enumerate(contigs) if i == 0 or contigs[i - 1] != contig]
        assert len(blocks) == len(set(blocks)), "a contig comes twice"
        order = [(blocks.index(row[0]), int(row[1]), row[5], row[3]) for row in rows]
        assert order == sorted(order)
    return found


def read_bigwigs(prefix: Path | str) -> dict[Site, float]:
    """The values of all four bigWigs, as sites without a gene."""
    found: dict[Site, float] = {}
    for kind in KINDS:
        for strand, name in (("+", "plus"), ("-", "minus")):
            bigwig = BigWig(f"{prefix}.{kind}.{name}.bw")
            for contig, length in bigwig.lengths.items():
                values = bigwig.values(contig, 0, length)
                for at in np.flatnonzero(~np.isnan(values)).tolist():
                    found[contig, at, strand, kind, ""] = float(values[at])
    return found


def read_table(prefix: Path | str) -> dict[Site, float]:
    table = pl.read_parquet(f"{prefix}.parquet")
    assert table.columns == ["contig", "position", "strand", "kind", "probability", "gene"]
    found = {(c, at, s, kind, gene): p for c, at, s, kind, p, gene in table.iter_rows()}
    assert len(found) == table.height, "a row stands twice"
    return found


def without_genes(sites: dict[Site, float]) -> dict[Site, float]:
    """Each place once, with the highest probability that it has in a gene."""
    found: dict[Site, float] = {}
    for (*place, _), p in sites.items():
        site = (*place, "")
        found[site] = max(p, found.get(site, 0))  # type: ignore[index,arg-type]
    return found  # type: ignore[return-value]


def contents(prefix: Path) -> dict[str, bytes]:
    """Every file of an output by what follows its prefix, but for the summary, which tells the time."""
    names = [path for path in prefix.parent.glob(f"{prefix.name}.*") if path.is_file()]
    return {path.name.removeprefix(prefix.name): path.read_bytes() for path in names if path.suffix != ".json"}
