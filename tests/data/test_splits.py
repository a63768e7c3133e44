from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from basecast.data import splits
from basecast.data.splits import SHARES, TEST, TRAIN, VALIDATION, SplitList
from basecast.errors import InputError
from basecast.genome.reference import Genome


def table(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    """Genes: chromosome, start, end, name; the contig is that of the chromosome."""
    frame = pl.DataFrame(rows, schema=["chromosome", "source_start", "end", "name"], orient="row")
    return frame.with_columns(contig=pl.col("chromosome"), start=pl.col("source_start"), id=pl.col("name"))


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\nACGT\n>chr2\nACGT\n")
    return Genome(path)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "list.tsv"
    path.write_text("\n".join(line.replace(" ", "\t") for line in lines) + "\n")
    return path


# --- clusters


def test_loci_that_share_a_base_of_the_source_are_one_cluster() -> None:
    loci = table(("a", 0, 10, "p"), ("b", 0, 10, "q"), ("a", 9, 20, "r"), ("a", 20, 30, "s"), ("b", 30, 40, "t"))
    assert splits.overlapping(loci).tolist() == [0, 1, 0, 2, 3]


def test_pairs_tie_clusters_through_others() -> None:
    clusters = np.array([0, 1, 1, 2, 3, 4])
    assert splits.tied(clusters, [(0, 2), (3, 1)]).tolist() == [0, 0, 0, 0, 1, 2]
    assert splits.tied(clusters, []).tolist() == clusters.tolist()


def test_clusters_are_numbered_as_they_come() -> None:
    assert splits.renumbered(np.array([7, 2, 7, 9, 2])).tolist() == [0, 1, 0, 2, 1]


# --- by size


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [10, 200, 5000])
def test_whole_clusters_by_their_shares(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = splits.renumbered(np.sort(rng.integers(n // 2, size=n)))
    weights = rng.integers(1, 60, size=n)
    split = splits.by_size(clusters, weights, SHARES, seed)
    assert all(len(set(split[clusters == cluster].tolist())) == 1 for cluster in range(clusters.max() + 1))
    shares = np.bincount(split, weights=weights, minlength=3) / weights.sum()
    largest = np.bincount(clusters, weights=weights).max() / weights.sum()
    assert np.abs(shares - SHARES).max() <= largest
    assert np.array_equal(split, splits.by_size(clusters, weights, SHARES, seed))


def test_another_seed_is_another_split() -> None:
    clusters, weights = np.arange(100), np.ones(100, dtype=np.int64)
    one, two = (splits.by_size(clusters, weights, SHARES, seed) for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_three_clusters_are_three_splits() -> None:
    for weights in ([1, 1, 1], [100, 1, 1], [0, 0, 0], [1, 100, 100]):
        split = splits.by_size(np.arange(3), np.array(weights), SHARES, 0)
        assert sorted(split.tolist()) == [0, 1, 2]


def test_one_cluster_is_train() -> None:
    assert splits.by_size(np.zeros(4, dtype=np.int64), np.ones(4, dtype=np.int64), SHARES, 0).tolist() == [0] * 4


def test_a_huge_cluster_goes_where_there_is_room() -> None:
    split = splits.by_size(np.arange(101), np.array([300, *[7] * 100]), SHARES, 5)
    assert split[0] == TRAIN
    assert np.bincount(split, weights=[300, *[7] * 100]) == pytest.approx([800, 100, 100], abs=7)


def test_a_tenth_of_train_becomes_validation() -> None:
    given = np.array([TRAIN] * 100 + [TEST] * 20)
    split = splits.with_validation(given, np.arange(120) // 2, np.ones(120, dtype=np.int64), 1)
    assert (split[100:] == TEST).all()
    assert (split == VALIDATION).sum() == 10
    assert np.array_equal(split[:100:2], split[1:100:2])  # whole clusters


# --- told


def test_the_published_human_split() -> None:
    genes = table(*((name, 0, 1, "g") for name in ("chr1", "2", "chr3", "chr9", "chrX", "NC_000005.10", "scaffold7")))
    assert splits.spliceai_human(genes).tolist() == [TEST, TRAIN, TEST, TEST, TRAIN, TEST, -1]


def test_the_human_split_of_another_species() -> None:
    with pytest.raises(
        InputError, match=r"no gene lies on a human chromosome \(the first is on 'III'\), .* --contig-g"
    ):
        splits.spliceai_human(table(("III", 0, 1, "g")))


def test_a_list_by_gene_contig_and_chromosome(tmp_path: Path, genome: Genome) -> None:
    genes = pl.DataFrame(
        {
            "contig": ["chr1", "chr1", "chr2", "chr2", "chr2"],
            "chromosome": ["chr1", "chr1", "5", "6", "7"],
            "start": [0] * 5,
            "end": [1] * 5,
            "id": ["g1", "g2", "g3", "g4", "g5"],
            "name": ["A", "B", "C", "D", "E"],
        }
    )
    path = written(tmp_path, "gene contig split", "g1 1 test", "B  validation", " 1 train", " chr5 test", " 6 train")
    assert SplitList.read(path).of(genes, genome).tolist() == [TEST, VALIDATION, TEST, TRAIN, -1]


def test_a_list_of_contigs(tmp_path: Path, genome: Genome) -> None:
    path = written(tmp_path, "#contig split", "chr2 test", "", "chr1 train")
    genes = table(("chr1", 0, 1, "a"), ("chr2", 0, 1, "b"))
    assert SplitList.read(path).of(genes, genome).tolist() == [TRAIN, TEST]


def test_a_list_of_genes_that_share_a_name(tmp_path: Path, genome: Genome) -> None:
    genes = table(*(("chr1", start, start + 5, name) for start, name in ((0, "a"), (50, "a"), (90, "b"), (95, "c"))))
    header = "gene contig start end split"
    path = written(tmp_path, header, "a 1 0 5 test", "a 1 50 55 train", "b 1 7 9 test", "c  95 100 train")
    assert SplitList.read(path).of(genes, genome).tolist() == [TEST, TRAIN, TEST, TRAIN]
    path = written(tmp_path, header, "a 1 0 5 test", "a 1 51 55 train")
    with pytest.raises(InputError, match=r"genes of the name a into different splits, .* at chr1:50-55 \(0-based\)"):
        SplitList.read(path).of(genes, genome)


@pytest.mark.parametrize(
    "lines",
    [("contig split", "1 train", "chr1 test"), ("gene contig split", "a chr1 train", "a 1 test")],
    ids=["contig", "gene"],
)
def test_a_list_that_contradicts_itself_by_another_name(tmp_path: Path, genome: Genome, lines: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"line 3 of .* puts \w+ into test, an earlier one did not"):
        SplitList.read(written(tmp_path, *lines)).of(table(("chr1", 0, 1, "a")), genome)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("name part", "a train"), "needs a header line with the columns split and gene, .* it has name, part"),
        (("gene split", "a trian"), r"line 2 of .*list.tsv \('a\\ttrian'\) needs a gene or a contig"),
        (("gene split", "a train", "a test"), "line 3 of .* puts a into test, an earlier one did not"),
        (("gene split", "b train"), "names no gene of the annotation, nor a contig with one: its first gene is 'a'"),
    ],
    ids=["header", "split", "contradiction", "nothing known"],
)
def test_bad_lists(tmp_path: Path, genome: Genome, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SplitList.read(written(tmp_path, *lines)).of(table(("chr1", 0, 1, "a")), genome)


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the split list .*absent cannot be read \(No such file"):
        SplitList.read(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="are no text"):
        SplitList.read(tmp_path / "binary")


def test_genes_that_overlap_are_of_one_split() -> None:
    clusters = np.array([0, 0, 1])
    splits.require_whole(clusters, np.array([TRAIN, TRAIN, TEST]), ["a", "b", "c"], "list.tsv")
    with pytest.raises(InputError, match=r"list.tsv puts genes that overlap into more than one split \(a in train; b"):
        splits.require_whole(clusters, np.array([TRAIN, TEST, TEST]), ["a", "b", "c"], "list.tsv")
