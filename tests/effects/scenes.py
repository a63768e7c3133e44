"""Contigs and genes in memory, a small model whose scores move, and the rules run on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from toys import package_of

from basecast.effects.rules import BasecastRules, Case, Ground, Rules, Skipped, SpliceAIRules
from basecast.effects.splicing import Delta
from basecast.genome.annotation import Annotation, Transcripts
from basecast.genome.sequence import Tokens, encode, padded
from basecast.genome.transcripts import SCHEMA
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine
from basecast.zoo.package import Package

CONTEXT = 44
REACH = CONTEXT // 2  # of the tiny SpliceAI, at each side


class Contigs:
    """A genome of letters in memory."""

    path = Path("memory.fa")

    def __init__(self, **letters: str) -> None:
        self.letters = letters
        self.lengths = {name: len(text) for name, text in letters.items()}
        self._tokens = {name: encode(text) for name, text in letters.items()}

    def resolve(self, name: str) -> str | None:
        return name if name in self.lengths else None

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        return padded(lambda a, b: self._tokens[contig][a:b].copy(), self.lengths[contig], start, end)


def gene(name: str, exons: Sequence[tuple[int, int]], strand: str = "+", **more: Any) -> dict[str, Any]:
    """A row of an annotation: a gene of one transcript from its exons, 0-based half-open."""
    return {
        "id": f"T_{name}",
        "version": "",
        "gene_id": f"ID_{name}",
        "gene_name": name,
        "contig": "c",
        "strand": strand,
        "start": exons[0][0],
        "end": exons[-1][1],
        "cds_length": 0,
        "biotype": "",
        "tags": [],
        "exon_start": [start for start, _ in exons],
        "exon_end": [end for _, end in exons],
        **more,
    }


def annotation(*genes: dict[str, Any]) -> Annotation:
    rows = [{"gene": i, **row} for i, row in enumerate(genes)]
    return Annotation(Path("memory.gtf"), "", "all", Transcripts(pl.DataFrame(rows, schema=SCHEMA)), {})


def lively(members: int = 1, seed: int = 0, mask: str = "gene") -> Package:
    """The tiny SpliceAI, its head turned up so that a changed base moves probabilities by tenths."""
    package = package_of("spliceai", members, seed, mask=mask)
    for network in package.networks:
        network.head.weight.mul_(6)  # type: ignore[union-attr,operator]
    return package


def exact(package: Package, **options: Any) -> Engine:
    """An engine in fp64: rounding to 1e-4 falls alike whatever the batch."""
    return Engine(package, device="cpu", threads=1, precision="fp64", **options)


def rules_on(
    contigs: Contigs, genes: Annotation, distance: int = 10, rules: str = "basecast", mask: str = "gene"
) -> Rules:
    ground = Ground(contigs, genes, distance, CONTEXT, mask)  # type: ignore[arg-type]
    return BasecastRules(ground) if rules == "basecast" else SpliceAIRules(ground)


def record(start: int, ref: str, *alts: str, contig: str = "c", number: int = 1) -> VariantRecord:
    """``start`` is 0-based."""
    return VariantRecord(number, contig, start, ref, alts, b"")


def run(
    rules: Rules, engine: Engine, records: Sequence[VariantRecord], masked: bool = False
) -> list[list[tuple[Case, Delta] | Skipped]]:
    """Of each record its cases with their deltas, and what was skipped, in order."""
    planned = [list(rules.cases(one)) for one in records]
    cases = [item for items in planned for item in items if isinstance(item, Case)]
    values = engine.evaluate([request for case in cases for request in (case.reference, case.alternate)])
    pairs = zip(values[::2], values[1::2], strict=True)
    found = {
        id(case): (case, rules.delta(case, ref["splice"], alt["splice"], masked))
        for case, (ref, alt) in zip(cases, pairs, strict=True)
    }
    return [[item if isinstance(item, Skipped) else found[id(item)] for item in items] for items in planned]


def random_letters(rng: np.random.Generator, size: int, alphabet: str = "ACGT") -> str:
    return "".join(rng.choice(list(alphabet), size))


def random_exons(rng: np.random.Generator, low: int, high: int, most: int = 4) -> list[tuple[int, int]]:
    """Up to ``most`` exons in [low, high), each of at least one base, each intron too."""
    n = int(rng.integers(1, min(most, (high - low + 1) // 2) + 1))
    edges = np.sort(rng.choice(np.arange(low, high + 1), 2 * n, replace=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
