from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import exact, lively, random_letters
from toys import package_of

from basecast.effects.scorer import Scorer, VariantSettings, score_variants
from basecast.effects.scores import Row
from basecast.errors import InputError, UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantRecord
from basecast.spec import Calibration
from basecast.zoo.package import Package

LETTERS = random_letters(np.random.default_rng(7), 400)
PACKAGE = lively()
# (gene, transcript, strand, exons 0-based half-open); LONG and SHORT differ in their bounds, so in what the model sees
TRANSCRIPTS = [
    ("ONE", "SHORT", "+", [(100, 150), (180, 215)]),
    ("ONE", "LONG", "+", [(20, 60), (100, 150), (180, 300)]),
    ("ONE", "SAME", "+", [(20, 60), (100, 150), (180, 300)]),
    ("TWO", "BACK", "-", [(90, 140), (170, 310)]),
    ("FAR", "AWAY", "+", [(350, 390)]),
]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scorer") / "genome.fa"
    path.write_text(f">chr1\n{LETTERS}\n>chr2\n{LETTERS}\n")
    return path


def gtf(folder: Path, names: list[str]) -> Path:
    """A GTF of some transcripts, by a name of their own so that each is parsed."""
    lines = []
    for gene, transcript, strand, exons in TRANSCRIPTS:
        if transcript in names:
            about = f'gene_id "ENSG_{gene}"; gene_name "{gene}"; transcript_id "{transcript}"; transcript_version "3";'
            for kind, places in (("transcript", [(exons[0][0], exons[-1][1])]), ("exon", exons)):
                lines += [f"1\tx\t{kind}\t{a + 1}\t{b}\t.\t{strand}\t.\t{about}" for a, b in places]
    path = folder / f"{'-'.join(names)}.gtf"
    path.write_text("\n".join(lines) + "\n")
    return path


def scorer_of(fasta: Path, folder: Path, names: list[str], package: Package = PACKAGE, **settings: Any) -> Scorer:
    genes = Annotation.read(gtf(folder, names), transcripts="all")
    chosen = VariantSettings(**{"distance": 15, "device": "cpu", "threads": 1, **settings})
    scorer = Scorer(package, Genome(fasta), genes, chosen)
    scorer.engine = exact(package, calibrated=scorer.engine.calibrated)
    return scorer


def other(position: int, step: int = 1) -> str:
    return "ACGT"[("ACGT".index(LETTERS[position]) + step) % 4]


def snv(start: int, *steps: int, contig: str = "chr1") -> VariantRecord:
    return VariantRecord(1, contig, start, LETTERS[start], tuple(other(start, step) for step in steps or (1,)), b"")


def scored(scorer: Scorer, *records: VariantRecord) -> list[list[Row]]:
    return scorer.rows(records)


def test_the_largest_of_a_gene_s_transcripts_is_reported(fasta: Path, tmp_path: Path) -> None:
    """Of each gene the transcript with the largest score, the first of equal ones; genes stay apart, in file order."""
    names = ["SHORT", "LONG", "SAME", "BACK", "AWAY"]
    records = [snv(start, 1, 2) for start in range(186, 214, 4)]
    together = scored(scorer_of(fasta, tmp_path, names), *records)
    alone = {name: scored(scorer_of(fasta, tmp_path, [name]), *records) for name in names[:4]}
    chosen = []
    for i, rows in enumerate(together):
        assert [(row.allele, row.symbol) for row in rows] == [(0, "ONE"), (0, "TWO"), (1, "ONE"), (1, "TWO")]
        for row in rows:
            assert row.delta is not None
            mine = [
                single
                for name in (["SHORT", "LONG", "SAME"] if row.symbol == "ONE" else ["BACK"])
                for single in alone[name][i]
                if single.allele == row.allele and single.delta is not None
            ]
            best = max(mine, key=lambda single: max(single.delta.score))  # type: ignore[union-attr]
            assert (row.transcript, row.gene_id, row.strand) == (best.transcript, best.gene_id, best.strand)
            assert best.delta is not None
            assert row.delta.position == best.delta.position
            assert row.delta.score == pytest.approx(best.delta.score, abs=1e-9)
            chosen.append(row.transcript)
    assert {"SHORT.3", "LONG.3", "BACK.3"} == set(chosen)


def test_masks_are_scored_side_by_side(fasta: Path, tmp_path: Path) -> None:
    names = ["LONG", "BACK"]
    records = [snv(start) for start in (149, 179, 181, 340)]
    both = scored(scorer_of(fasta, tmp_path, names, mask="both"), *records)
    raw, masked = (scored(scorer_of(fasta, tmp_path, names, mask=mask), *records) for mask in ("raw", "masked"))
    for i in range(len(records)):
        assert [row for row in both[i] if row.mask == "raw"] == raw[i]
        assert [row for row in both[i] if row.mask == "masked"] == masked[i]
    assert [row.delta for row in raw[0]] != [row.delta for row in masked[0]]
    assert [(row.allele, row.status, row.mask) for row in both[3]] == [(0, "no_gene", "raw"), (0, "no_gene", "masked")]


def test_their_rules_report_every_transcript(fasta: Path, tmp_path: Path) -> None:
    names = ["SHORT", "LONG", "BACK"]
    mnv = VariantRecord(2, "1", 200, LETTERS[200:202], (other(200) + other(201), other(200)), b"")
    first, second = scored(scorer_of(fasta, tmp_path, names, rules="spliceai"), snv(200, 1, 2), mnv)
    expected = [(i, f"{name}.3") for i in (0, 1) for name in names]
    assert [(row.allele, row.transcript) for row in first] == expected
    assert [(row.allele, row.transcript) for row in second] == expected
    assert [row.delta is None for row in second] == [True] * 3 + [False] * 3


def test_a_stored_temperature_is_left_out_by_their_rules_only(fasta: Path, tmp_path: Path) -> None:
    hot = Package(
        PACKAGE.spec.model_copy(update={"calibration": Calibration(temperature={"splice": (3.0,)})}), PACKAGE.networks
    )
    for rules, is_left_out in (("spliceai", True), ("basecast", False)):
        warm, cold = (
            scored(scorer_of(fasta, tmp_path, ["LONG"], package, rules=rules), snv(200))[0][0].delta
            for package in (hot, PACKAGE)
        )
        assert warm is not None
        assert cold is not None
        assert max(cold.score) > 0.01
        assert (warm == cold) == is_left_out


def test_reasons_stand_in_for_scores(fasta: Path, tmp_path: Path) -> None:
    scorer = scorer_of(fasta, tmp_path, ["LONG"])
    records = [
        snv(200, contig="nowhere"),
        snv(395),
        VariantRecord(1, "chr1", 200, other(200), (LETTERS[200],), b""),
        VariantRecord(1, "chr1", 200, LETTERS[200], ("*", "<DEL>", other(200)), b""),
        snv(200, contig="chr2"),
    ]
    found = [[(row.allele, row.status, row.delta is None) for row in rows] for rows in scored(scorer, *records)]
    assert found == [
        [(None, "unknown_contig", True)],
        [(0, "no_gene", True)],
        [(None, f"ref_mismatch_genome_has_{LETTERS[200]}", True)],
        [(0, "spanning_deletion", True), (1, "symbolic_allele", True), (2, "scored", False)],
        [(0, "no_gene", True)],
    ]


def test_what_does_not_fit_is_said_before_any_work(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a distance of 23 is more than model spliceai sees: 22 at most"):
        scorer_of(fasta, tmp_path, ["LONG"], distance=23)
    with pytest.raises(UsageError, match="gives no splice sites base by base"):
        scorer_of(fasta, tmp_path, ["LONG"], package_of("toy_mixing"))
    elsewhere = tmp_path / "elsewhere.gtf"
    elsewhere.write_text(gtf(tmp_path, ["LONG"]).read_text().replace("1\tx", "scaffold_9\tx"))
    with pytest.raises(InputError, match="scaffold_9"):
        Scorer(PACKAGE, Genome(fasta), Annotation.read(elsewhere), VariantSettings(device="cpu", distance=9))


def test_score_variants_takes_tuples_and_files_alike(fasta: Path, tmp_path: Path) -> None:
    """Any contig name that means the same, more records than one shard."""
    starts = range(100, 311)
    tuples = [("1", start + 1, LETTERS[start], f"{other(start)},*") for start in starts]
    vcf = tmp_path / "in.vcf"
    body = [f"{contig}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t." for contig, pos, ref, alt in tuples]
    head = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    vcf.write_text("\n".join([*head, *body]) + "\n")
    genes = gtf(tmp_path, ["LONG"])
    options: dict[str, Any] = {"model": PACKAGE, "genome": fasta, "annotation": genes, "distance": 2, "device": "cpu"}
    one, two = score_variants(tuples, **options), score_variants(vcf, **options)
    assert one.rows.equals(two.rows)
    np.testing.assert_array_equal(one.values, two.values)
    assert one.table.height == 2 * len(starts)
    is_scored = one.rows["status"] == "scored"
    assert one.rows.filter(is_scored)["position"].to_list() == list(range(101, 301))
    assert np.nanmax(one.values) > 0.01
    assert np.isnan(one.values).all(axis=1).tolist() == (~is_scored).to_list()
    assert set(one.provenance.sources.values()) == {
        PACKAGE.digest,
        Genome(fasta).digest,
        Annotation.read(genes).digest,
    }


def test_settings_come_in_one_way_and_are_checked(fasta: Path, tmp_path: Path) -> None:
    ground: dict[str, Any] = {"model": PACKAGE, "genome": fasta, "annotation": gtf(tmp_path, ["LONG"])}
    with pytest.raises(UsageError, match="distance are settings too"):
        score_variants([], settings=VariantSettings(), distance=5, **ground)
    with pytest.raises(UsageError, match=r"distance: .*greater than or equal to 0"):
        score_variants([], distance=-1, **ground)
    found = score_variants([("chr1", 101, LETTERS[100], "."), ("chr1", 101, LETTERS[100], "")], distance=2, **ground)
    assert found.rows["status"].to_list() == ["no_alt_allele"] * 2
