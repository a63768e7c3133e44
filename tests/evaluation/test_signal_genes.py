"""Genes on small records whose numbers can be counted by hand, and against plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from binned_model import BIN, SIGNAL, TRACKS, local_model, predicted, write_signals
from scipy import stats

from basecast.data.store import Dataset
from basecast.errors import InputError
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.records import EngineSettings, Gathered
from basecast.evaluation.signal_answers import Piece, SignalRecords
from basecast.evaluation.signal_evaluation import SignalEvaluateSettings
from basecast.evaluation.signal_genes import GeneAccuracy, Genes, quantile_normalised, senses
from basecast.genome.annotation import Annotation
from basecast.inference.tuning import Tuning


def genes_file(path: Path, rows: list[tuple[str, int, int, str, str]]) -> Path:
    """A GTF: contig, 0-based start, end, gene, strand; rows of one gene are its transcripts."""
    lines = []
    for i, (contig, start, end, gene, strand) in enumerate(rows):
        said = f'gene_id "{gene}"; transcript_id "{gene}.{i}"; gene_name "{gene}";'
        for kind in ("transcript", "exon"):
            lines.append("\t".join([contig, "x", kind, str(start + 1), str(end), ".", strand, ".", said]))
    path.write_text("\n".join(lines) + "\n")
    return path


ROWS = [
    ("chr1", 1100, 1300, "plus", "+"),
    ("chr1", 1108, 1300, "plus", "+"),  # a second start, two bins on
    ("chr1", 1200, 1402, "minus", "-"),
    ("chr1", 1002, 1100, "edge", "+"),  # 6 bases before its start lie in no record
    ("chr1", 1050, 1200, "unlabelled", "+"),
    ("chr7", 10, 20, "elsewhere", "+"),
    ("2", 430, 470, "two", "+"),  # the data call it chr2
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_signals(tmp_path / "yeast", by=local_model())


def records_of(data: Path) -> SignalRecords:
    return SignalRecords.among(Gathered.gather([data], "test"))


def test_bins_about_start_sites(data: Path, tmp_path: Path) -> None:
    annotation = Annotation.read(genes_file(tmp_path / "g.gtf", ROWS), transcripts="all")
    genes = Genes.of(annotation, records_of(data), radius=6)
    assert dict(zip(genes.ids, genes.strands, strict=True)) == {
        "plus": "+",
        "minus": "-",
        "unlabelled": "+",
        "two": "+",
    }
    assert genes.left_out == 1  # on contigs of the data
    bins = {
        name: {(int(r), int(b)) for g, r, b in zip(genes.gene, genes.record, genes.bin, strict=True) if g == i}
        for i, name in enumerate(genes.ids)
    }
    assert bins["plus"] == {(0, b) for b in range((1100 - 6 - 1000) // BIN, (1108 + 6 - 1000) // BIN + 1)}
    assert bins["minus"] == {(0, b) for b in range((1401 - 6 - 1000) // BIN, (1401 + 6 - 1000) // BIN + 1)}
    assert bins["two"] == {(2, b) for b in range((430 - 6 - 400) // BIN, (430 + 6 - 400) // BIN + 1)}
    which, at = genes.within(Piece(0, 100, 200), BIN)
    assert {genes.ids[i] for i in which} == {"plus"}
    assert at.min() == 0
    nowhere = Annotation.read(genes_file(tmp_path / "none.gtf", ROWS[5:6]), transcripts="all")
    with pytest.raises(InputError, match=r"no gene of .* has all its start sites in the records"):
        Genes.of(nowhere, records_of(data), 6)


@pytest.mark.parametrize("span", [40, 10_000])
def test_sums_are_those_of_the_bins(data: Path, tmp_path: Path, span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gene whose bins lie in two shards is whole; one with a bin without a label is left out."""
    rng = np.random.default_rng(5)
    starts = rng.integers(1090, 1560, 20).tolist()
    rows = [("chr1", s, s + 30, f"g{i}", "+-"[i % 2]) for i, s in enumerate(starts)] + ROWS[4:5]
    path = genes_file(tmp_path / "g.gtf", rows)
    monkeypatch.setattr("basecast.evaluation.signal_answers.bases_of_a_shard", lambda *_: span)
    monkeypatch.setattr("basecast.inference.engine.Engine.longest_tile", span)
    package = local_model()
    found = evaluate(
        [data],
        tmp_path / "out",
        models=[package],
        signal=SignalEvaluateSettings(annotation=path, radius=9),
        engine=EngineSettings(device="cpu", threads=1, tuning=Tuning()),
    )
    dataset = Dataset(data / "test.h5")
    length, flank = int(dataset.lengths[0]), dataset.flank
    said = predicted(package, dataset.tokens(0, -flank, length + flank), flank, length // BIN)
    seen = dataset.labels(0, 0, length, "signal").astype(np.float64)
    sums = []
    for _, start, end, _, strand in rows[:20]:
        site = start if strand == "+" else end - 1
        low, high = (site - 9 - 1000) // BIN, (site + 9 - 1000) // BIN + 1
        sense = 0 if strand == "+" else 1
        sums.append([x[low:high, column].sum() for column in (sense, 2) for x in (said, seen)])
    x, y, x2, y2 = np.log2(1 + np.array(sums)).T
    by_track = {row["track"]: row for row in found.tables["genes"]}
    assert by_track.keys() == {"plus/minus", "both", "mean"}
    assert by_track["plus/minus"]["genes"] == 20
    assert by_track["plus/minus"]["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-5)
    assert by_track["both"]["spearman"] == pytest.approx(stats.spearmanr(x2, y2).statistic, abs=1e-5)
    assert any("1 gene of" in line and "no label" in line for line in found.warnings)
    assert (tmp_path / "out" / "genes.tsv").is_file()


def test_strands_that_swap_are_one_track() -> None:
    assert [tuple(sense) for sense in senses(SIGNAL, [0, 1, 2])] == [("plus/minus", 0, 1), ("both", 2, 2)]
    assert [tuple(sense) for sense in senses(SIGNAL, [2, 0])] == [("both", 0, 0)]
    alone = SIGNAL.model_copy(update={"reverse_complement": type(SIGNAL.reverse_complement)()})
    assert [sense.name for sense in senses(alone, [0, 1, 2])] == [track.name for track in TRACKS]


def test_one_distribution_for_all_tracks() -> None:
    rng = np.random.default_rng(9)
    values = rng.gamma(1, [1, 3, 9], (500, 3))
    normal = quantile_normalised(values)
    np.testing.assert_allclose(np.sort(normal, axis=0), np.sort(values, axis=0).mean(axis=1)[:, None].repeat(3, axis=1))
    np.testing.assert_array_equal(np.argsort(normal, axis=0), np.argsort(values, axis=0))


def test_specific_accuracy_is_not_that_of_what_all_tracks_share() -> None:
    """Predictions that know the gene's mean but nothing of its tracks correlate, and not specifically."""
    rng = np.random.default_rng(2)
    shared, own = rng.gamma(2, 20, (800, 1)), rng.gamma(20, 0.05, (800, 3))
    measured = shared * own
    blind = GeneAccuracy.of(shared * rng.gamma(20, 0.05, (800, 3)), measured, ["x"] * 3)
    seeing = GeneAccuracy.of(measured * rng.gamma(200, 0.005, (800, 3)), measured, ["x"] * 3)
    assert (blind.pearson > 0.8).all()
    assert (np.abs(blind.pearson_specific) < 0.2).all()
    assert (seeing.pearson_specific > 0.8).all()
    alone = GeneAccuracy.of(measured, measured, ["x", "y", "y"])
    assert np.isnan(alone.pearson_specific).tolist() == [True, False, False]
    measured[:300] = 0
    some = GeneAccuracy.of(shared * own, measured, ["x"] * 3)
    assert some.nonzero.tolist() == [500] * 3
    assert (some.pearson_nonzero > some.pearson).all()
