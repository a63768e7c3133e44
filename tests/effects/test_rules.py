"""Basecast's own rules; SpliceAI's are in ``test_spliceai_rules.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
from scenes import (
    CONTEXT,
    REACH,
    Contigs,
    annotation,
    exact,
    gene,
    lively,
    random_exons,
    random_letters,
    record,
    rules_on,
    run,
)

from basecast.effects.rules import Case, Skipped, nearest_boundary, unscorable
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return exact(lively())


def found_by(
    contigs: Contigs, genes: Any, engine: Engine, records: list[VariantRecord], distance: int, masked: bool
) -> list[dict[str, Any]]:
    """For each record: gene -> scores, (absolute position, offset) of each, probabilities."""
    answers = []
    for one, items in zip(records, run(rules_on(contigs, genes, distance), engine, records, masked), strict=True):
        answer: dict[str, Any] = {}
        for item in items:
            if isinstance(item, Skipped):
                answer["skipped"] = item.reason
                continue
            case, delta = item
            places = [one.start + p for p in delta.position]
            answer[case.transcript.gene_name] = (delta.score, places, delta.offset, delta.ref, delta.alt)
        answers.append(answer)
    return answers


# ---- equivalent placements


def spellings(letters: str, edits: list[tuple[int, int, str]]) -> list[VariantRecord]:
    """Every way to write one indel whose REF does not reach beyond [first placement - 1, end of the last).

    That is: each placement with the base before it, or at a contig's start with the base after it, and both with any
    bases beside them. A REF that reaches further asks for a wider window, so nothing is promised of it.
    """
    first, last = min(a for a, _, _ in edits) - 1, max(b for _, b, _ in edits)
    found = []
    for start, end, inserted in edits:
        for low in range(max(first, 0), start + 1):
            for high in range(end, last + 1):
                alt = letters[low:start] + inserted + letters[end:high]
                if low < high and alt:
                    found.append(record(low, letters[low:high], alt))
    if not found:  # only the base after a sole placement at the contig's start can be the anchor
        start, end, inserted = edits[0]
        found.append(record(start, letters[start : end + 1], inserted + letters[end]))
    return found


def repetitive(rng: np.random.Generator) -> tuple[str, list[tuple[int, int, str]]]:
    """A contig with a repeat, often at one of its ends, and an indel in it as all its placements."""
    unit = random_letters(rng, int(rng.integers(1, 4)))
    left, right = (random_letters(rng, int(rng.choice([0, 1, 30]))) for _ in range(2))
    letters = left + unit * int(rng.integers(2, 7)) + right
    size = len(unit) * int(rng.integers(1, 3))
    start = len(left) + len(unit) * int(rng.integers(0, 2))
    if rng.integers(2) and len(letters) > size:
        return letters, naive.equal_edits(letters, start, letters[start : start + size], "")
    return letters, naive.equal_edits(letters, start, "", (unit * 2)[:size])


def through(rng: np.random.Generator, edits: list[tuple[int, int, str]], length: int) -> list[tuple[int, int]]:
    """Exons of a gene whose bounds often lie within the repeat."""
    around = np.arange(max(edits[0][0] - 2, 0), min(edits[-1][1] + 3, length) + 1)
    low, high = sorted({int(rng.choice(around)), int(rng.choice([0, length, *around]))} | {0, length})[:2]
    if rng.integers(2) and high < length:
        low, high = high, length
    return random_exons(rng, low, high)


@pytest.mark.parametrize("seed", range(6))
def test_equivalent_indels_give_equal_scores_at_equal_places(seed: int, engine: Engine) -> None:
    """Of one indel every spelling: the same genes, the same scores, the same bases of the contig (POS + DP)."""
    rng = np.random.default_rng(seed)
    largest, n_spelt, n_cut = [], 0, 0
    for _ in range(3):
        letters, edits = repetitive(rng)
        genes = annotation(
            *(gene(name, through(rng, edits, len(letters)), "+-"[i % 2]) for i, name in enumerate("ABC"))
        )
        written = spellings(letters, edits)
        n_spelt += len(written) > 3
        n_cut += any(edits[0][0] < edge < edits[-1][1] for one in genes.transcripts for edge in (one.start, one.end))
        mixed = [replace(one, alts=(one.alts[0].lower(),)) if i % 3 == 1 else one for i, one in enumerate(written)]
        shown = [mixed[0], *(mixed[i] for i in rng.permutation(len(mixed))[:6])]
        for masked in (False, True):
            first, *others = found_by(Contigs(c=letters), genes, engine, shown, 12, masked)
            for other in others:
                assert other == first
            largest += [max(found[0]) for name, found in first.items() if name != "skipped"]
    assert n_spelt >= 2
    assert n_cut >= 1
    assert np.mean(np.array(largest) > 0.01) > 0.5


def test_a_placement_elsewhere_would_have_been_seen(engine: Engine) -> None:
    """The test above can fail: the same bases put in at another placement of a gene that cuts the repeat differ."""
    letters = random_letters(np.random.default_rng(5), 40) + "ACACACACAC" + random_letters(np.random.default_rng(6), 40)
    genes = annotation(gene("A", [(10, 30), (36, 44)]))
    (case,) = rules_on(Contigs(c=letters), genes, 12).cases(record(39, letters[39], letters[39] + "AC"))
    assert isinstance(case, Case)
    far = replace(case.edit, start=case.edit.start + 8, end=case.edit.end + 8)
    moved = replace(case.alternate, source=far.on(case.reference.source, "c"))
    here, there = engine.evaluate([case.alternate, moved])
    assert np.abs(here["splice"] - there["splice"]).max() > 1e-3


# ---- against the plain implementation


def any_record(rng: np.random.Generator, letters: str, most: int = 8) -> VariantRecord:
    """SNVs, MNVs, delins, insertions and deletions anywhere, padded or not."""
    start = int(rng.integers(0, len(letters)))
    ref = letters[start : start + int(rng.integers(1, most))]
    kind = rng.integers(4)
    if kind == 0:
        alt = ref[0] + random_letters(rng, int(rng.integers(0, most))) + ref[1:]
    elif kind == 1:
        alt = ref[: int(rng.integers(1, len(ref) + 1))]
    else:
        alt = random_letters(rng, len(ref) if kind == 2 else int(rng.integers(1, most)))
    return record(start, ref, alt)


def naive_gene(row: dict[str, Any]) -> naive.Gene:
    exons = [(a + 1, b) for a, b in zip(row["exon_start"], row["exon_end"], strict=True)]
    return naive.Gene(row["gene_name"], row["strand"], row["start"] + 1, row["end"], exons)


def same(ours: Any, plain: naive.Ours) -> None:
    score, places, offset, ref, alt = ours
    assert list(score) == pytest.approx(plain.scores, abs=1e-9)
    assert list(zip(places, offset, strict=True)) == plain.sites
    assert list(ref) == pytest.approx(plain.ref, abs=1e-9)
    assert list(alt) == pytest.approx(plain.alt, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", [0, 12, REACH])
def test_scores_equal_those_of_a_plain_implementation(seed: int, distance: int, engine: Engine) -> None:
    """Every kind of allele, at contig ends and beside N too, both strands, raw and masked."""
    rng = np.random.default_rng([seed, distance])
    model = naive.Model(lively())
    letters = random_letters(rng, int(rng.integers(30, 100)), "ACGT" if seed % 2 else "AACN")
    rows = [gene(f"G{i}", random_exons(rng, 0, len(letters)), "+-"[i % 2]) for i in range(4)]
    records = [any_record(rng, letters) for _ in range(6)]
    records = [one for one in records if one.ref != one.alts[0] and "N" not in one.alts[0]]
    largest = []
    for masked in (False, True):
        answers = found_by(Contigs(c=letters), annotation(*rows), engine, records, distance, masked)
        for one, answer in zip(records, answers, strict=True):
            n_met = 0
            for row in rows:
                arguments = (row["strand"], one.start, one.ref, one.alts[0], distance, int(masked))
                plain = naive.basecast(model, letters, naive_gene(row), *arguments)
                assert (plain is not None) == (row["gene_name"] in answer)
                if plain is not None:
                    n_met += 1
                    same(answer[row["gene_name"]], plain)
                    largest.append(max(plain.scores))
            assert answer.get("skipped") == (None if n_met else "no_gene")
    assert not largest or np.mean(np.array(largest) > 0.01) > 0.3


@pytest.mark.parametrize("seed", range(4))
def test_a_model_without_a_mask_sees_the_whole_contig(seed: int) -> None:
    rng = np.random.default_rng(seed)
    package = lively(mask="none")
    engine, model = exact(package), naive.Model(package)
    letters = "AAA" + random_letters(rng, 60) + "TTTT"
    rules = rules_on(Contigs(c=letters), annotation(gene("A", [(0, 67)], "+-"[seed % 2])), 12, mask="none")
    ends = [
        record(0, "A", "AA"),
        record(0, "A", "TA"),
        record(0, "AA", "A"),
        record(66, "T", "TT"),
        record(66, "T", "C"),
    ]
    for one in [*ends, *(any_record(rng, letters) for _ in range(6))]:
        if one.ref == one.alts[0]:
            continue
        ((case, delta),) = run(rules, engine, [one])[0]  # type: ignore[misc]
        plain = naive.basecast(model, letters, None, "+-"[seed % 2], one.start, one.ref, one.alts[0], 12, 0)
        assert plain is not None
        same((delta.score, [one.start + p for p in delta.position], delta.offset, delta.ref, delta.alt), plain)
        assert case.reference.source.tokens("c", 0, 67).max() < 4


@pytest.mark.parametrize("mask", ["gene", "none"])
@pytest.mark.parametrize("strand", "+-")
def test_a_contig_s_end_is_as_if_n_followed(mask: str, strand: str) -> None:
    rng = np.random.default_rng(2)
    engine = exact(lively(mask=mask))
    short = "AACAAC" + random_letters(rng, 50) + "GTGTGT"
    long = "N" * 70 + short + "N" * 70
    n = len(short)
    largest = []
    for start, ref, alt in [
        (0, "A", "T"),
        (0, "A", "AA"),
        (0, "A", "GA"),
        (0, "AACAAC", "C"),
        (1, "AC", "A"),
        (n - 1, "T", "C"),
        (n - 3, "TGT", "T"),
        (n - 1, "T", "TGTGT"),
        (0, short[:40], "A"),
        (2, "CA", "TT"),
    ]:
        found = []
        for letters, by in ((short, 0), (long, 70)):
            genes = annotation(gene("A", [(by, by + 20), (by + 30, by + n)], strand))
            rules = rules_on(Contigs(c=letters), genes, 12, mask=mask)
            ((_, delta),) = run(rules, engine, [record(start + by, ref, alt)])[0]  # type: ignore[misc]
            found.append(delta)
        assert found[0].position == found[1].position
        assert found[0].score == pytest.approx(found[1].score, abs=1e-9)
        largest.append(max(found[0].score))
    assert sum(score > 0.01 for score in largest) >= 7


@pytest.mark.parametrize("n_lost", [1, 11, 13, CONTEXT - 1, CONTEXT])
@pytest.mark.parametrize("strand", "+-")
def test_deletions_as_long_as_the_context(n_lost: int, strand: str, engine: Engine) -> None:
    rng = np.random.default_rng(n_lost)
    letters = random_letters(rng, 200)
    row = gene("A", [(5, 60), (90, 120), (150, 195)], strand)
    one = record(80, letters[80 : 81 + n_lost], letters[80])
    (answer,) = found_by(Contigs(c=letters), annotation(row), engine, [one], 12, False)
    arguments = (strand, one.start, one.ref, one.alts[0], 12, 0)
    plain = naive.basecast(naive.Model(lively()), letters, naive_gene(row), *arguments)
    assert plain is not None
    same(answer["A"], plain)
    assert max(plain.scores) > 0.01


def test_what_is_longer_than_the_context_is_not_scored() -> None:
    """The size of the change counts, not that of its spelling."""
    letters = random_letters(np.random.default_rng(0), 200)
    rules = rules_on(Contigs(c=letters), annotation(gene("A", [(0, 200)])))

    def reasons(ref: str, *alts: str) -> list[str]:
        items = rules.cases(record(80, ref, *alts))
        return [item.reason if isinstance(item, Skipped) else "scored" for item in items]

    ref = letters[80 : 82 + CONTEXT]
    assert reasons(ref, ref[0], ref[0] + ref[2:]) == ["ref_too_long", "scored"]
    assert reasons(letters[80], letters[80] + "A" * (CONTEXT + 1), letters[80] + "C" * CONTEXT) == [
        "alt_too_long",
        "scored",
    ]


# ---- windows and reasons


def test_the_window_reaches_the_distance_beyond_all_placements_and_ref() -> None:
    letters = "GATC" * 10 + "TTTTTT" + "GACC" * 10
    rules = rules_on(Contigs(c=letters), annotation(gene("A", [(0, len(letters))])), 10)

    def window(start: int, ref: str, alt: str) -> tuple[int, int, int]:
        (case,) = rules.cases(record(start, ref, alt))
        assert isinstance(case, Case)
        assert case.alternate.base is case.reference
        assert (case.reference.start, case.reference.contig) == (case.alternate.start, case.alternate.contig)
        return case.reference.start, case.reference.end, case.alternate.end - case.reference.end

    assert window(42, "T", "C") == (32, 53, 0)
    assert window(42, "TT", "T") == (29, 56, -1)  # T's at 40..46: from the base before them to the last
    assert window(42, "T", "TTT") == (29, 56, 2)
    assert window(30, letters[30:44], letters[30:43]) == (20, 56, -1)
    assert window(45, "TGA", "TTGA") == (29, 58, 1)
    assert window(42, "TTT", "CAG") == (32, 55, 0)


def test_each_gene_is_met_in_its_own_bounds_and_of_its_own_strand() -> None:
    letters = random_letters(np.random.default_rng(3), 100)
    genes = annotation(gene("A", [(0, 50)]), gene("B", [(49, 60)], "-"), gene("C", [(51, 90)]), gene("D", [(0, 49)]))
    items = list(rules_on(Contigs(c=letters), genes).cases(record(49, letters[49], "ACGT".replace(letters[49], "")[0])))
    cases = [item for item in items if isinstance(item, Case)]
    assert [(case.transcript.gene_name, case.reference.strand) for case in cases] == [("A", "+"), ("B", "-")]
    for case in cases:
        shown = case.reference.source.tokens("c", 0, 100) < 4
        assert np.flatnonzero(shown).tolist() == list(range(case.transcript.start, case.transcript.end))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (record(5, "A", "C", contig="x"), [(None, "unknown_contig")]),
        (record(5, "A"), [(None, "no_alt_allele")]),
        (record(5, "<X>", "C"), [(None, "ref_is_no_sequence")]),
        (record(-1, "N", "C"), [(None, "outside_contig")]),
        (record(99, "AA", "A"), [(None, "outside_contig")]),
        (record(5, "AC", "A"), [(None, "ref_mismatch_genome_has_AA")]),
        (record(5, "A" * 30 + "C", "A"), [(None, "ref_mismatch_genome_has_" + "A" * 20 + "...")]),
        (record(5, "A", "*", "<DEL>", "<NON_REF>", "<*>"), [
            (0, "spanning_deletion"), (1, "symbolic_allele"), (2, "non_ref_block"), (3, "non_ref_block")]),
        (record(5, "A", "A[c:9[", "]c:9]A", ".A", "A."), [(i, "breakend") for i in range(4)]),
        (record(5, "A", "R", "n", "a", "A-"), [
            (0, "ambiguous_allele"), (1, "ambiguous_allele"), (2, "alt_equals_ref"), (3, "alt_is_no_sequence")]),
        (record(80, "A", "C"), [(0, "no_gene")]),
        (record(5, "a", "c"), [(0, "scored")]),
        (record(5, "A", "C", "*", "G"), [(0, "scored"), (1, "spanning_deletion"), (2, "scored")]),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_says_why(one: VariantRecord, expected: list[tuple[int | None, str]]) -> None:
    rules = rules_on(Contigs(c="A" * 100), annotation(gene("A", [(0, 20), (30, 60)])))
    items = [(i.allele, i.reason if isinstance(i, Skipped) else "scored") for i in rules.cases(one)]
    assert items == expected


def test_alleles_with_a_sequence() -> None:
    assert [unscorable(alt) for alt in ("A", "acgtn", "RYSWKMBDHVN", "U")] == [None] * 4


def test_nearest_boundary_counts_every_exon_edge_and_prefers_the_smaller_coordinate() -> None:
    (one,) = annotation(gene("A", [(10, 21), (30, 41)])).transcripts
    assert [nearest_boundary(one, position) for position in (0, 10, 15, 16, 24, 25, 26, 50)] == [
        10, 0, -5, 4, -4, -5, 4, -10,
    ]  # fmt: skip
