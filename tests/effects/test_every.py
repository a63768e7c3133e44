"""Every allele of a stretch, against alleles written down base by base."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Contigs

from basecast.effects import every
from basecast.effects.every import every_allele, unknown_bases
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome

Allele = tuple[int, str, str]


def alleles(letters: str, *stretches: tuple[int, int], indels: bool = True) -> list[Allele]:
    """(0-based position, REF, ALT) as they come."""
    genome: Genome = Contigs(c=letters)  # type: ignore[assignment]
    found = list(every_allele(genome, [Interval("c", *stretch) for stretch in stretches], indels))
    assert [record.number for record in found] == list(range(1, len(found) + 1))
    assert {record.contig for record in found} <= {"c"}
    return [(record.start, record.ref, record.alts[0]) for record in found if len(record.alts) == 1]


def written_down(letters: str, start: int, end: int, indels: bool) -> set[Allele]:
    """The same, from what each base may become."""
    found = set()
    for base in range(start, end):
        for alt in "ACGT":
            found.add((base, letters[base], alt))
        for n in range(1, 5) if indels else ():
            deleted = letters[base : base + n]
            if len(deleted) < n:
                continue
            if base > 0:
                found.add((base - 1, letters[base - 1] + deleted, letters[base - 1]))
            elif n < len(letters):
                found.add((0, deleted + letters[n], letters[n]))
        for inserted in "ACGT" if indels else ():
            if base > 0 and letters[base] != "N":
                found.add((base - 1, letters[base - 1], letters[base - 1] + inserted))
            elif base == 0:
                found.add((0, letters[0], inserted + letters[0]))
    return {(at, ref, alt) for at, ref, alt in found if "N" not in ref and ref != alt}


@settings(deadline=None, max_examples=300)
@given(
    letters=st.text("ACGT" * 5 + "N", min_size=1, max_size=20),
    low=st.integers(0, 19),
    length=st.integers(1, 20),
    indels=st.booleans(),
    chunk=st.sampled_from([1, 3, 1 << 16]),
)
def test_each_allele_once_and_in_order(letters: str, low: int, length: int, indels: bool, chunk: int) -> None:
    start = min(low, len(letters) - 1)
    end = min(start + length, len(letters))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every, "_CHUNK", chunk)
        found = alleles(letters, (start, end), indels=indels)
    assert found == sorted(found)
    assert Counter(found) == Counter(written_down(letters, start, end, indels))


def test_eleven_alleles_a_base() -> None:
    letters = "".join(random.Random(1).choices("ACGT", k=200))
    found = alleles(letters, (50, 150))
    assert len(found) == 11 * 100
    kinds = Counter(len(alt) - len(ref) for _, ref, alt in found)
    assert kinds == {0: 300, 1: 400, -1: 100, -2: 100, -3: 100, -4: 100}
    assert len(alleles(letters, (50, 150), indels=False)) == 300


def test_stretches_side_by_side_share_no_allele() -> None:
    letters = "".join(random.Random(2).choices("ACGT", k=60))
    found = alleles(letters, (10, 20), (21, 30), (40, 41))
    assert found == sorted(found)
    assert len(set(found)) == len(found) == 11 * 20


def test_the_first_base_of_a_contig_has_the_base_after_it_in_ref() -> None:
    assert [(ref, alt) for _, ref, alt in alleles("ACGTTT", (0, 1))] == [
        ("A", "AA"),
        ("A", "C"),
        ("A", "CA"),
        ("A", "G"),
        ("A", "GA"),
        ("A", "T"),
        ("A", "TA"),
        ("AC", "C"),
        ("ACG", "G"),
        ("ACGT", "T"),
        ("ACGTT", "T"),
    ]


def test_no_allele_with_an_n() -> None:
    found = alleles("ACGNNTCA", (0, 8))
    assert not any("N" in ref + alt for _, ref, alt in found)
    assert {at for at, _, _ in found} == {0, 1, 2, 5, 6, 7}
    assert alleles("NNNN", (0, 4)) == []


@pytest.mark.parametrize("chunk", [2, 1 << 16])
def test_unknown_bases_are_counted(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every, "_CHUNK", chunk)
    genome: Genome = Contigs(c="ACGNNTCAN")  # type: ignore[assignment]
    assert unknown_bases(genome, [Interval("c", 0, 4), Interval("c", 6, 9)]) == 2
