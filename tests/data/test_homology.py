from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import Gene, regular, write_world

from basecast.data import homology
from basecast.data.splice_labels import genes_of
from basecast.data.splits import tied
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import Tokens, decode, reverse_complement


def made(n: int, seed: int) -> Tokens:
    return np.random.default_rng(seed).integers(4, size=n).astype(np.uint8)


def changed(tokens: Tokens, share: float, seed: int = 9) -> Tokens:
    """With a share of substitutions."""
    rng = np.random.default_rng(seed)
    where = rng.permutation(tokens.size)[: round(share * tokens.size)]
    other = tokens.copy()
    other[where] = (other[where] + rng.integers(1, 4, size=where.size)) % 4
    return other


def test_similar_sequences_on_either_strand() -> None:
    one, two = made(2000, 1), made(2000, 2)
    sequences = [one, two, changed(one, 0.05), reverse_complement(changed(two, 0.1)), made(2000, 3)]
    found = homology.similar(sequences)
    assert [(pair.a, pair.b) for pair in found] == [(0, 2), (1, 3)]
    assert [pair.identity for pair in found] == pytest.approx([0.95, 0.9], abs=0.02)
    assert all(pair.coverage > 0.95 for pair in found)


def test_identity_has_a_threshold() -> None:
    one = made(2000, 1)
    assert homology.similar([one, changed(one, 0.12)], min_identity=0.8)
    assert not homology.similar([one, changed(one, 0.12)], min_identity=0.95)


def test_coverage_is_that_of_the_shorter_one() -> None:
    part = made(600, 1)
    long = np.concatenate([made(2500, 2), part, made(2500, 3)])
    assert [pair[:2] for pair in homology.similar([long, part])] == [(0, 1)]
    half = np.concatenate([part[:300], made(600, 4)])
    assert not homology.similar([long, half])


@pytest.fixture(scope="module")
def crowded() -> list[Tokens]:
    """Fifty short genes that are alike, and so much else that minimap2 passes over all that the fifty share."""
    base = made(250, 1)
    family = [changed(base, 0.015, seed=i) for i in range(50)]
    return [*(reverse_complement(one) if i % 3 == 0 else one for i, one in enumerate(family)), made(1_500_000, 2)]


def test_a_large_family_of_short_genes_is_one_cluster(crowded: list[Tokens]) -> None:
    found = homology.similar(crowded)
    assert tied(np.arange(len(crowded)), [(pair.a, pair.b) for pair in found]).tolist() == [0] * 50 + [1]
    assert len(found) < 500  # not all pairs
    assert all(pair.a < pair.b and pair.identity > 0.93 and pair.coverage > 0.9 for pair in found)


def test_each_of_a_large_family_is_held_against_one_of_the_first(crowded: list[Tokens]) -> None:
    first = np.zeros(len(crowded), dtype=bool)
    first[[30, 31]] = True
    found = homology.similar(crowded, first)
    like = {pair.a for pair in found if first[pair.b]} | {pair.b for pair in found if first[pair.a]}
    assert like == set(range(50))


def test_the_exons_of_all_transcripts_count_once_and_as_they_are_read(tmp_path: Path) -> None:
    genes = [
        Gene("plus", "c", "+", [[(100, 150), (200, 260)], [(100, 150), (240, 300)]]),
        regular("minus", "c", "-", 500),
    ]
    world = write_world(tmp_path, {"c": 2000}, genes)
    genome = Genome(world.genome)
    table = Annotation.read(world.annotation, transcripts="all").fitted_to(genome).transcripts.table
    found = [decode(tokens) for tokens in homology.exons_of(table, genes_of(table), genome)]
    text = world.bases["c"]
    minus = "".join(text[start:end] for start, end in genes[1].transcripts[0])
    assert found == [text[100:150] + text[200:300], minus[::-1].translate(str.maketrans("ACGT", "TGCA"))]


def test_without_mappy_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mappy", None)
    with pytest.raises(UsageError, match=r"pip install 'basecast\[paralogs\]'; or split without it, with --split ov"):
        homology.require_mappy()


def test_no_sequence_is_like_none() -> None:
    assert homology.similar([made(50, 1), made(50, 2), np.zeros(0, dtype=np.uint8)]) == []
    assert pl.DataFrame(homology.similar([]), schema=["a", "b", "identity", "coverage"]).is_empty()
