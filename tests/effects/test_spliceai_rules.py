"""SpliceAI 1.3.1's rules against the plain implementation of ``naive.py``; peers' numbers: ``tests/parity``."""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest
from scenes import Contigs, annotation, exact, gene, lively, random_exons, random_letters, record, rules_on, run

from basecast.effects.info import InfoFormat
from basecast.effects.rules import Case, Skipped
from basecast.effects.scores import Row
from basecast.genome.variants import VariantRecord
from basecast.inference.engine import Engine

PACKAGE = lively()
ODD_ALTS = ("*", "<DEL>", "<NON_REF>", ".", "A.", "-", "A-C", "N", "a", "acg")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return exact(PACKAGE)


def random_record(rng: np.random.Generator, letters: str, distance: int) -> VariantRecord:
    start = int(rng.integers(0, len(letters)))
    size = 1 if rng.random() < 0.5 else int(rng.integers(1, 2 * distance + 3))
    ref = letters[start : start + size].upper()
    if rng.random() < 0.1:
        ref = ref.lower() if rng.random() < 0.5 else random_letters(rng, len(ref))
    alts = []
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.2:
            alts.append(str(rng.choice(ODD_ALTS)))
        elif rng.random() < 0.2:
            alts.append(ref[:1])
        else:
            alts.append(random_letters(rng, 1 if rng.random() < 0.6 else int(rng.integers(1, 2 * distance + 4))))
    return record(start, ref, *alts)


def texts(rules_found: list[object], one: VariantRecord) -> list[str]:
    """INFO entries as they are written."""
    rows = []
    for item in rules_found:
        if isinstance(item, Skipped):
            rows.append(Row.of(item.allele, item.reason, "raw", item.transcript))
        else:
            case, delta = item  # type: ignore[misc]
            rows.append(Row.of(case.allele, "scored", "raw", case.transcript, delta))
    info = InfoFormat({"raw": "SpliceAI"}, "BasecastStatus", 2, False, True)
    written = dict(info.additions(one.alts, rows)).get("SpliceAI", "")
    return written.split(",") if written else []


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("distance", [1, 6, 22])
def test_every_entry_is_theirs(distance: int, masked: bool, engine: Engine) -> None:
    """Random records anywhere on a contig: the same records left out, the same alleles, genes, order and text.

    Where all deltas of an event are below 1e-9 (bases that the change is not seen from) any of those places is right.
    """
    rng = np.random.default_rng([distance, masked])
    model = naive.Model(PACKAGE)
    n_scored = n_sentinels = n_none = n_long = n_minus_nought = n_visible = 0
    for _ in range(2):
        letters = random_letters(rng, 260, "ACGTNacgt")
        rows = [gene(f"G{i}", random_exons(rng, 0, 260, 12), "+-"[i % 2]) for i in range(3)]
        genes = [
            naive.Gene(
                row["gene_name"],
                row["strand"],
                row["start"] + 1,
                row["end"],
                [(a + 1, b) for a, b in zip(row["exon_start"], row["exon_end"], strict=True)],
            )
            for row in rows
        ]
        records = [random_record(rng, letters, distance) for _ in range(20)]
        rules = rules_on(Contigs(c=letters), annotation(*rows), distance, "spliceai")
        for one, items in zip(records, run(rules, engine, records, masked), strict=True):
            theirs = naive.spliceai(model, letters, genes, one.position, one.ref, list(one.alts), distance, int(masked))
            ours = texts(items, one)  # type: ignore[arg-type]
            n_none += not theirs
            assert len(ours) == len(theirs)
            scored = iter([item for item in items if not isinstance(item, Skipped)])
            for text, entry in zip(ours, theirs, strict=True):
                if entry.scores is None or entry.deltas is None or entry.places is None:
                    n_sentinels += 1
                    assert text == entry.text()
                    continue
                _, delta = next(scored)
                assert delta.score == pytest.approx(entry.scores, abs=1e-9)
                for event in range(4):
                    deltas = entry.deltas[event]
                    if abs(deltas.max()) < 1e-9:
                        assert abs(deltas[delta.position[event] + distance]) < 1e-9
                        entry.places[event], entry.scores[event] = delta.position[event], delta.score[event]
                assert text == entry.text()
                n_scored += 1
                n_long += len(one.ref) > distance + 1
                n_minus_nought += "-0.00" in text
                n_visible += max(entry.scores) > 0.01
    assert n_none > 5
    assert n_scored > 10
    assert n_visible > n_scored / 2
    assert distance == 1 or (n_sentinels > 2 and n_long > 0)
    assert not (masked and distance == 1) or n_minus_nought > 0


def test_the_reason_for_each_record_left_out() -> None:
    letters = random_letters(np.random.default_rng(1), 200)
    row = gene("G", [(0, 90), (100, 150)])
    rules = rules_on(Contigs(c=letters), annotation(row), 10, "spliceai")
    wrong = "ACGT".replace(letters[50], "")[0]

    def reasons(start: int, ref: str, *alts: str, contig: str = "c") -> list[str]:
        items = rules.cases(record(start, ref, *alts, contig=contig))
        return [item.reason if isinstance(item, Skipped) else "scored" for item in items]

    assert reasons(50, letters[50], "A" * 90, contig="x") == ["unknown_contig"]
    assert reasons(50, letters[50]) == ["no_alt_allele"]
    assert reasons(160, letters[160], "A") == ["no_gene"]
    assert reasons(50, wrong, "A") == [f"ref_mismatch_genome_has_{letters[50]}"]
    assert reasons(50, letters[50].lower(), "A") == ["ref_lower_case"]
    assert reasons(32, letters[32], "a") == ["scored"]
    assert reasons(31, letters[31], "a") == ["near_contig_end"]
    assert reasons(50, letters[50:70], letters[50]) == ["scored"]
    assert reasons(50, letters[50:71], letters[50]) == ["ref_too_long"]
    assert reasons(50, letters[50:52], "TT", "*") == ["mnv_not_scored_by_these_rules", "spanning_deletion"]
    assert reasons(50, letters[50], letters[50], "A-", "A" * 90) == ["scored", "alt_is_no_sequence", "scored"]
    nowhere = rules_on(Contigs(c=letters), annotation(row), 0, "spliceai").cases(record(50, letters[50], "A"))
    assert [item.reason for item in nowhere if isinstance(item, Skipped)] == ["ref_too_long"]
    far = rules_on(Contigs(c=letters), annotation(gene("G", [(0, 200)])), 10, "spliceai")
    near = {start: list(far.cases(record(start, letters[start], "A"))) for start in (167, 168)}
    assert isinstance(near[167][0], Case)
    assert near[168] == [Skipped(None, "near_contig_end")]


def test_a_change_of_the_rules_would_have_been_seen(engine: Engine) -> None:
    """An edit one base off gives other text, so the comparison above can fail."""
    letters = random_letters(np.random.default_rng(4), 200)
    rules = rules_on(Contigs(c=letters), annotation(gene("G", [(0, 200)])), 10, "spliceai")
    (case,) = rules.cases(record(90, letters[90], letters[90] + "GTAAGT"))
    assert isinstance(case, Case)
    moved = replace(case.edit, start=91, end=92)
    wrong = replace(case.alternate, source=moved.on(case.reference.source, "c"))
    ref, alt, other = (values["splice"] for values in engine.evaluate([case.reference, case.alternate, wrong]))
    right = rules.delta(case, ref, alt, False)
    assert right.score != pytest.approx(rules.delta(case, ref, other, False).score, abs=1e-3)
