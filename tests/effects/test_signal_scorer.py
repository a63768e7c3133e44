"""Records to rows of signals: the engine's own values, every allele accounted for, work shared."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import annotation, exact, gene, random_letters
from toys import package_of
from windowed import CROP, LENGTH

from basecast.effects import signal_scorer
from basecast.effects.kinds import SIGNAL, SPLICE, kind_of
from basecast.effects.signal_scorer import SignalRow, SignalScorer, SignalSettings
from basecast.errors import UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import encode
from basecast.genome.source import Haplotype
from basecast.genome.variants import VariantRecord
from basecast.inference.request import Request
from basecast.inference.untransform import untransformed
from basecast.inference.views import Views, evaluate
from basecast.zoo.package import Package

LETTERS = random_letters(np.random.default_rng(11), 2000)
PLAIN = Views()
LOCAL, WINDOWED = package_of("toy_binned"), package_of("toy_windowed")


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signal") / "genome.fa"
    path.write_text(f">chr1\n{LETTERS}\n>chr2\n{LETTERS[:700]}\n")
    return path


def scorer_of(
    fasta: Path, package: Package = WINDOWED, known: Annotation | None = None, **settings: Any
) -> SignalScorer:
    scorer = SignalScorer(package, Genome(fasta), known, SignalSettings(**{"device": "cpu", "threads": 1, **settings}))
    scorer.engine = exact(package)
    return scorer


def other(at: int, step: int = 1) -> str:
    return "ACGT"[("ACGT".index(LETTERS[at]) + step) % 4]


def snv(at: int, *steps: int, contig: str = "chr1", number: int = 1) -> VariantRecord:
    return VariantRecord(number, contig, at, LETTERS[at], tuple(other(at, step) for step in steps or (1,)), b"")


def values_of(rows: Sequence[SignalRow]) -> np.ndarray:
    assert all(row.values is not None for row in rows)
    return np.stack([row.values for row in rows])  # type: ignore[misc]


def by_hand(
    package: Package, genome: Genome, at: int, alt: str, span: tuple[int, int], views: Views = PLAIN
) -> list[np.ndarray]:
    """REF and ALT bins of an SNV, asked of the engine outright."""
    request = Request(genome, "chr1", *span)
    changed = replace(request, source=Haplotype(genome, "chr1", at, at + 1, encode(alt)))
    name = package.spec.outputs[0].name
    return [values[name] for values in evaluate(exact(package), [request, changed], views)]


@pytest.mark.parametrize("views", [Views(), Views(reverse_complement=True, shifts=(0, 3, -2))], ids=["plain", "views"])
@pytest.mark.parametrize("untransform", [False, True])
def test_scores_are_of_the_engine_s_own_values(fasta: Path, untransform: bool, views: Views) -> None:
    settings = {"statistics": ("SAD", "D2", "JS"), "views": views, "untransform": untransform}
    start = 900 - LENGTH // 2 + 1 + CROP
    for package, (first, last) in ((WINDOWED, (start, start + LENGTH - 2 * CROP)), (LOCAL, (896, 908))):
        scorer = scorer_of(fasta, package, **settings, **({"span": 8} if package is LOCAL else {}))
        ((row,),) = scorer.rows([snv(900)])
        ref, alt = by_hand(package, scorer.genome, 900, other(900), (first, last), views)
        if untransform:
            ref, alt = (untransformed(x, package.spec.outputs[0]) for x in (ref, alt))
        assert row.values is not None
        np.testing.assert_allclose(row.values[0], (alt - ref).sum(0), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(row.values[1], np.sqrt(((alt - ref) ** 2).sum(0)), rtol=1e-5)
        np.testing.assert_allclose(row.values[3:], [ref.sum(0), alt.sum(0)], rtol=1e-6)
        assert (row.values[:3] != 0).all()
        assert np.isfinite(row.values).all()


@pytest.mark.parametrize("name", ["JS", "logJS"])
def test_divergences_of_several_shifts_are_scores(name: str, fasta: Path) -> None:
    """Where baskerville gives zeros for every statistic, and for logJS always."""
    rows = scorer_of(fasta, statistics=(name, "logSUM"), views=Views(shifts=(0, 1))).rows([snv(900), snv(1001)])
    values = values_of([row for (row,) in rows])
    assert np.isfinite(values).all()
    assert (np.abs(values[:, :2]) > 1e-9).all()


def test_every_allele_has_a_row(fasta: Path) -> None:
    """Each ALT in order; what cannot be scored says why."""
    base, changed = LETTERS[900], other(900)
    records = [
        snv(900, 1, 2, 3),
        VariantRecord(
            2, "chr1", 900, base, (f"{base}ACGT", "*", "<DEL>", "<NON_REF>", "G]chr2:5]", base, changed), b""
        ),
        snv(900, contig="nowhere"),
        VariantRecord(4, "chr1", 900, base, (), b""),
        VariantRecord(5, "chr1", 1999, LETTERS[1999] + "A", ("A",), b""),
        VariantRecord(6, "chr1", 900, changed, (other(900, 2),), b""),
        VariantRecord(7, "chr1", 900, base, ("N", "R" + base), b""),
        VariantRecord(8, "chr1", 900, base, (base + "A" * 97, base + "A" * 96), b""),
        VariantRecord(9, "chr1", 900, LETTERS[900:998], (base,), b""),
        snv(0),
        snv(1999),
        snv(3, contig="1"),
    ]
    found = [[(row.allele, row.status, row.is_scored) for row in rows] for rows in scorer_of(fasta).rows(records)]
    assert found == [
        [(i, "scored", True) for i in range(3)],
        [
            (0, "scored", True),
            (1, "spanning_deletion", False),
            (2, "symbolic_allele", False),
            (3, "non_ref_block", False),
            (4, "breakend", False),
            (5, "alt_equals_ref", False),
            (6, "scored", True),
        ],
        [(None, "unknown_contig", False)],
        [(None, "no_alt_allele", False)],
        [(None, "outside_contig", False)],
        [(None, f"ref_mismatch_genome_has_{base}", False)],
        [(0, "ambiguous_allele", False), (1, "ambiguous_allele", False)],
        [(0, "alt_too_long", False), (1, "scored", True)],
        [(0, "ref_too_long", False)],
        [(0, "scored", True)],
        [(0, "scored", True)],
        [(0, "scored", True)],
    ]


def test_the_genome_may_have_alt(fasta: Path) -> None:
    """ALT minus REF as written; the other ALTs of such a record say that REF is not the genome's."""
    scorer = scorer_of(fasta, statistics=("SAD", "SAX", "D1", "logSED"))
    there = scorer.rows([snv(900)])[0][0]
    turned = VariantRecord(1, "chr1", 900, other(900), (other(900, 2), LETTERS[900]), b"")
    first, second = scorer.rows([turned])[0]
    assert (first.allele, first.status, first.is_scored) == (0, f"ref_mismatch_genome_has_{LETTERS[900]}", False)
    assert (second.allele, second.status) == (1, "scored_genome_has_alt")
    assert there.values is not None
    assert second.values is not None
    np.testing.assert_allclose(second.values[:4], there.values[:4] * [[-1], [-1], [1], [-1]], atol=1e-7)
    np.testing.assert_array_equal(second.values[4:], there.values[:3:-1])


@pytest.mark.parametrize("package", [LOCAL, WINDOWED], ids=["local", "windowed"])
def test_equivalent_indels_score_alike(package: Package, fasta: Path, tmp_path: Path) -> None:
    letters = LETTERS[:900] + "CATATATATG" + LETTERS[910:]
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1\n{letters}\n")
    scorer = scorer_of(path, package)
    spelled = [(900, "CAT", "C"), (903, "ATA", "A"), (906, "TAT", "T"), (905, "ATATG", "ATG")]
    rows = scorer.rows([VariantRecord(1, "chr1", at, ref, (alt,), b"") for at, ref, alt in spelled])
    values = values_of([row for (row,) in rows])
    assert (values == values[0]).all()
    assert (values[0] != 0).any()


def test_ref_is_run_once_a_place(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(fasta)
    windows: list[bytes] = []
    run = scorer.engine._run
    monkeypatch.setattr(scorer.engine, "_run", lambda batch, *a: windows.extend(w.key for w in batch) or run(batch, *a))
    scorer.rows([snv(900, 1, 2, 3), snv(900, 1), snv(901, 1)])
    assert len(windows) == 1 + 3 + 2
    assert len(set(windows)) == len(windows)


def test_tracks_that_are_not_asked_for_are_not_computed(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = values_of(scorer_of(fasta).rows([snv(900)])[0])[0]
    scorer = scorer_of(fasta, tracks=("b",))
    asked: list[Any] = []
    run = scorer.engine._run
    monkeypatch.setattr(
        scorer.engine, "_run", lambda batch, names, chosen: asked.append(chosen) or run(batch, names, chosen)
    )
    (row,) = scorer.rows([snv(900)])[0]
    assert [track.name for track in scorer.tracks] == ["b"]
    assert asked
    assert all({name: list(x) for name, x in chosen.items()} == {"signal": [2]} for chosen in asked)
    np.testing.assert_allclose(values_of([row])[0], whole[:, 2:], rtol=1e-6)
    both = scorer_of(fasta, tracks=("a-",), views=Views(reverse_complement=True))
    assert values_of(both.rows([snv(900)])[0]).shape == (1, 4, 1)
    with pytest.raises(UsageError, match=r"no track 'a\*' among its 3, such as a"):
        scorer_of(fasta, tracks=("a*",))


def test_strands_are_merged_before_the_statistic_or_after(fasta: Path) -> None:
    names = ("SAD", "logSAD", "D1", "D2")
    apart, first, after = (
        values_of(scorer_of(fasta, statistics=names, **more).rows([snv(900)])[0])[0].astype(np.float64)
        for more in ({}, {"merge_strands": True}, {"rules": "baskerville"})
    )
    scorer = scorer_of(fasta, merge_strands=True)
    assert [(track.name, track.strand) for track in scorer.tracks] == [("a+", "."), ("b", ".")]
    np.testing.assert_allclose(first[[0, -2, -1], 0], apart[[0, -2, -1], :2].sum(1), rtol=1e-5)
    assert abs(first[1, 0] - apart[1, :2].sum()) > 1e-6
    np.testing.assert_allclose(first[:, 1], apart[:, 2], rtol=1e-6)
    # theirs: transforms undone but for the scale, then sums, and norms as sides of a right angle
    output = WINDOWED.spec.outputs[0]
    start = 900 - LENGTH // 2 + 1 + CROP
    ref, alt = by_hand(WINDOWED, scorer.genome, 900, other(900), (start, start + LENGTH - 2 * CROP))
    unscaled = [(x[:, :2] + 1) ** 2 - 1 for x in (ref, alt)]
    assert output.tracks[0].transform is not None
    change = unscaled[1] - unscaled[0]
    np.testing.assert_allclose(after[0, 0], change.sum(), rtol=1e-4)
    np.testing.assert_allclose(after[2, 0], np.abs(change).sum(), rtol=1e-5)
    np.testing.assert_allclose(after[3, 0], np.sqrt(np.square(change).sum()), rtol=1e-5)


GENES = annotation(
    *(
        gene(name, exons, strand, contig="chr1")
        for name, exons, strand in (
            ("NEAR", [(905, 950), (980, 990)], "+"),
            ("BACK", [(860, 880), (900, 915)], "-"),
            ("FAR", [(100, 200)], "+"),
            ("BODY", [(300, 400), (1500, 1600)], "+"),
        )
    )
)


@pytest.mark.parametrize("package", [LOCAL, WINDOWED], ids=["local", "windowed"])
@pytest.mark.parametrize("kind", ["tss", "exons"])
def test_genes_have_rows_of_their_own_bins(kind: str, package: Package, fasta: Path) -> None:
    scorer = scorer_of(fasta, package, GENES, genes=kind, span=190, statistics=("SED", "D1"))
    size = package.spec.outputs[0].resolution
    start = scorer.frame.start(next(iter(scorer._cases(snv(900)))).edit)  # type: ignore[union-attr]
    end = start + scorer.frame.bases
    rows = scorer.rows([snv(900)])[0]
    ref, alt = by_hand(package, scorer.genome, 900, other(900), (start, end))
    places = {"NEAR": [(905, 950), (980, 990)], "BACK": [(860, 880), (900, 915)]}
    if kind == "tss":
        places = {"NEAR": [(905, 906)], "BACK": [(914, 915)]}
    assert [(row.gene_id, row.status) for row in rows] == [(f"ID_{name}", "scored") for name in places]
    for row, spans in zip(rows, places.values(), strict=True):
        bins = [
            i for i in range(len(ref)) if any(start + i * size < b and start + (i + 1) * size > a for a, b in spans)
        ]
        change = (alt - ref)[bins]
        assert row.values is not None
        np.testing.assert_allclose(row.values[0], change.sum(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(row.values[1], np.abs(change).sum(0), rtol=1e-4, atol=1e-6)
    far = scorer.rows([snv(1200)])[0]
    assert [(row.allele, row.status, row.gene_id) for row in far] == [(0, "no_gene", "")]


def test_what_is_asked_must_go_together(fasta: Path) -> None:
    for wanted, genes, said in (
        ({"genes": "tss"}, None, "needs genes: give an annotation with -A"),
        ({}, GENES, "--genes tss or exons"),
        ({"statistics": ("SED",)}, None, "SED is of genes.*take SAD"),
    ):
        with pytest.raises(UsageError, match=said):
            scorer_of(fasta, WINDOWED, genes, **wanted)
    with pytest.raises(UsageError, match="no statistic 'TYPO'"):
        SignalSettings(statistics=("SAD", "TYPO"))
    with pytest.raises(UsageError, match="gives no signal along the sequence, only splice"):
        SignalScorer(package_of("spliceai"), Genome(fasta), None, SignalSettings(device="cpu"))
    assert kind_of(package_of("spliceai").spec) is SPLICE
    assert kind_of(WINDOWED.spec) is SIGNAL


def test_a_payload_does_not_depend_on_what_came_before_or_on_company(
    fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = SignalScorer(WINDOWED, Genome(fasta), None, SignalSettings(device="cpu", threads=1))
    records = [snv(at, 1, 2) for at in range(880, 920, 7)]
    first = scorer.payload(records)
    scorer.payload(records[2:4])
    assert scorer.payload(records) == first
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy.payload(records) == first
    assert copy.plan == scorer.plan
    monkeypatch.setattr(scorer, "_together", 1)
    alone = [row.values for rows in scorer.rows(records) for row in rows]
    for one, rows in zip(alone, [row for found in copy.rows(records) for row in found], strict=True):
        np.testing.assert_allclose(one, rows.values, rtol=1e-4, atol=1e-5)


def test_shards_are_small_where_scores_are_many(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(fasta)
    assert scorer.cut("cpu").window == LENGTH
    assert scorer.cut("cpu").span == 0
    monkeypatch.setattr(signal_scorer, "_PART", 4 * 4 * 3 * 7)
    assert scorer.cut("cpu").records == 7
    views = scorer_of(fasta, views=Views(reverse_complement=True, shifts=(0, 1)))
    assert views.cut("cpu").window == 4 * LENGTH


def test_rows_travel_as_text() -> None:
    values = np.array([[1.5, np.nan], [math.pi, -0.0]], np.float32)
    there = SignalRow.from_json(SignalRow(2, "scored", "G", values).to_json(), 2)
    assert (there.allele, there.status, there.gene_id) == (2, "scored", "G")
    np.testing.assert_array_equal(there.values, values)  # type: ignore[arg-type]
