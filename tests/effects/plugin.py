"""Ensembl VEP's SpliceAI plugin as a reader of files: how it finds a line, what of a line it takes, what it compares.

Written from what the plugin and its base class do (Ensembl release 110 and later, and what was different before).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pysam


@dataclass(frozen=True)
class Line:
    """What is kept of a line; ``result`` is printed in one column, or split at ``|``."""

    start: int
    ref: str
    alt: str
    allele: str
    gene: str
    result: str

    @classmethod
    def parse(cls, line: str) -> Line:
        _, start, _, ref, alt, _, _, info = line.split("\t")
        allele, gene, rest = info.replace("SpliceAI=", "", 1).split("|", 2)
        return cls(int(start), ref, alt, allele, gene, f"{gene}|{rest}")

    @property
    def values(self) -> list[str]:
        """Symbol, four scores, four positions."""
        return self.result.split("|")

    @property
    def largest(self) -> float:
        """What is held against the cutoff."""
        return max(map(float, self.values[1:5]))


class Plugin:
    """Both files open; an index that is no ``.tbi`` is refused."""

    def __init__(self, snv: Path, indel: Path) -> None:
        self._files = []
        for path in (snv, indel):
            assert Path(f"{path}.tbi").exists(), f"Tabix index file {path}.tbi not found"
            self._files.append(pysam.TabixFile(str(path)))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def versions(self) -> list[str]:
        """The INFO lines of the first file, in which a version of SpliceAI is looked for."""
        return [line for line in self._files[0].header if line.startswith("##INFO")]

    def lines(self, chromosome: str, start: int, end: int) -> list[Line]:
        """Lines that touch a stretch, counted from 1 with both ends; ``chr`` is added or taken away if need be."""
        found = []
        for file in self._files:
            name = chromosome
            if name not in file.contigs:
                bare = name[3:] if name.lower().startswith("chr") else f"chr{name}"
                name = bare if bare in file.contigs else name
            if name in file.contigs:
                found += [Line.parse(line) for line in file.fetch(name, start - 1, end)]
        return found

    def answer(self, chromosome: str, position: int, ref: str, alt: str, symbol: str) -> list[str] | None:
        """What is said of a VCF's allele for a transcript of the gene ``symbol``; None: nothing."""
        feature_ref, feature_alt, start = ref, alt, position
        if len(ref) != len(alt):  # VEP takes the first base away, and leaves - where nothing remains
            assert ref[0] == alt[0]
            feature_ref, feature_alt, start = ref[1:] or "-", alt[1:] or "-", position + 1
        end = start + (0 if feature_ref == "-" else len(feature_ref)) - 1
        by_gene = {}
        for line in self.lines(chromosome, min(start, end), max(start, end)):
            anchored = "-" in (
                feature_ref,
                feature_alt,
            )  # becomes the VCF record again, and is compared letter by letter
            wanted = (position, ref, alt) if anchored else (start, feature_ref, feature_alt)
            if wanted == (line.start, line.ref, line.alt):
                by_gene[line.gene] = line.values  # of several lines of a symbol the last
        return by_gene.get(symbol)
