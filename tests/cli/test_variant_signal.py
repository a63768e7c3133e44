"""``basecast variant`` with a model of signals, from files to files: nothing lost, nothing made up."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
from toys import package_of

from basecast.effects import cut
from basecast.effects.signal import STATISTICS
from basecast.effects.signal_scorer import SignalScorer
from basecast.zoo.package import save_package
from conftest import Ran, Run, World, stats_of, write_vcf

TRACKS = ["plus", "minus", "both"]
TABLE = (
    *("variant_id", "contig", "pos", "ref", "alt", "rsid", "gene_id", "track", "strand", "assay", "biosample"),
    *("statistic", "raw_score", "ref_sum", "alt_sum", "status"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "binned"
    save_package(path, package_of("toy_binned"))
    return path


@pytest.fixture
def score(run: Run, world: World, model: Path) -> Run:
    def score(source: object, target: object, *options: object) -> Ran:
        return run("variant", "-I", source, "-O", target, *arguments(world, model), *options)

    return score


def arguments(world: World, model: Path) -> list[object]:
    return ["-R", world.genome, "-m", model, "--device", "cpu"]


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    """Alleles of every kind, records with and without scores, an ID that comes twice."""
    records = [
        world.record("chr1", 211, 1, "{other}", name="rs1"),
        world.record("chr1", 211, 1, "{ref}ACG,{other}", name="rs1"),
        world.record("chr1", 300, 1, "*,{other},<DEL>"),
        world.record("chr1", 320, 4, "{first}", name="rs2;rs3"),
        world.record("chr2", 450, 2, "{other}A"),
        "chr9\t5\t.\tA\tC\t.\t.\t.",
        world.record("chr2", 460, 1, "."),
        world.record("chr1", 100, 1, "{other}"),
    ]
    records[3] = records[3].removeprefix("chr")  # another name of the same contig
    return write_vcf(tmp_path / "in.vcf", records)


ALLELES = [  # (contig, POS, rsid, status) of each row that a variant has in a file of arrays
    ("chr1", 211, "rs1", "scored"),
    ("chr1", 211, "rs1", "scored"),
    ("chr1", 211, "rs1", "scored"),
    ("chr1", 300, None, "spanning_deletion"),
    ("chr1", 300, None, "scored"),
    ("chr1", 300, None, "symbolic_allele"),
    ("1", 320, "rs2;rs3", "scored"),
    ("chr2", 450, None, "scored"),
    ("chr9", 5, None, "unknown_contig"),
    ("chr2", 460, None, "no_alt_allele"),
    ("chr1", 100, None, "scored"),
]


def test_a_table_has_a_row_a_variant_statistic_and_track(score: Run, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    ran = score(source, target, "--statistics", "SAD,D2")
    assert ran.code == 0, ran.err
    table = pl.read_parquet(target)
    assert table.columns == list(TABLE)
    assert table.schema["raw_score"] == pl.Float32
    each = [(statistic, track) for statistic in ("SAD", "D2") for track in TRACKS]
    wanted = [
        (contig, pos, rsid, status, statistic, track)
        for contig, pos, rsid, status in ALLELES
        for statistic, track in (each if status == "scored" else [(None, None)])
    ]
    assert table.select("contig", "pos", "rsid", "status", "statistic", "track").rows() == wanted
    first = table.row(0, named=True)
    assert first["variant_id"] == f"chr1:211:{first['ref']}>{first['alt']}"
    scored = table.filter(pl.col("status") == "scored")
    assert (scored["raw_score"] != 0).all()
    assert scored["strand"].to_list()[:3] == ["+", "-", "."]
    np.testing.assert_allclose(
        (scored["alt_sum"] - scored["ref_sum"]).filter(scored["statistic"] == "SAD"),
        scored["raw_score"].filter(scored["statistic"] == "SAD"),
        atol=1e-4,
    )
    without = table.filter(pl.col("status") != "scored")
    empty = ("track", "statistic", "raw_score", "ref_sum", "alt_sum", "gene_id")
    assert without.select(empty).null_count().row(0) == (4,) * len(empty)
    facts = stats_of(target)
    assert (facts["records"], facts["alleles"], facts["scored"]) == (8, 11, 7)
    assert facts["statuses"] == {"spanning_deletion": 1, "symbolic_allele": 1, "unknown_contig": 1, "no_alt_allele": 1}
    assert json.loads(pl.read_parquet_metadata(target)["basecast"])["command"].startswith("basecast variant")


def test_other_files_hold_the_same(score: Run, source: Path, tmp_path: Path) -> None:
    for name in ("out.parquet", "out.tsv", "out.h5", "out.h5ad"):
        assert score(source, tmp_path / name, "--statistics", "logSUM,JS").code == 0
    table = pl.read_parquet(tmp_path / "out.parquet")
    table = table.with_columns(pl.col("alt", "strand").replace(".", None))
    text = pl.read_csv(tmp_path / "out.tsv", separator="\t", null_values=".", schema=table.schema)
    words = [name for name in TABLE if table.schema[name] != pl.Float32]
    assert text.select(words).rows() == table.select(words).rows()
    np.testing.assert_allclose(text["raw_score"].to_numpy(), table["raw_score"].to_numpy(), rtol=1e-6)
    with h5py.File(tmp_path / "out.h5") as file, h5py.File(tmp_path / "out.h5ad") as anndata:
        ours = {"SUM": "logSUM", "JS": "JS"}
        assert set(file) == {
            *("snp", "chr", "pos", "ref_allele", "alt_allele", "target_ids", "target_labels", "status"),
            *(*ours.values(), "ref_sum", "alt_sum"),
        }
        assert [name.decode() for name in file["target_ids"]] == TRACKS
        assert file["pos"].dtype == np.uint32
        assert all(file[name].dtype.kind == "S" for name in ("snp", "chr", "ref_allele", "alt_allele", "target_labels"))
        ids = [name.decode() for name in file["snp"]]
        assert ids[:4] == ["rs1", "rs1", "rs1", f"chr1:300:{file['ref_allele'][3].decode()}>*"]
        found = zip(file["chr"].asstr()[:], file["pos"][:], file["status"].asstr()[:], strict=True)
        assert list(found) == [(contig, pos, status) for contig, pos, _, status in ALLELES]
        for name in ours.values():
            values = file[name][:]
            assert values.dtype == np.float32
            there = [status == "scored" for *_, status in ALLELES]
            assert np.isnan(values).all(axis=1).tolist() == [not x for x in there]
            wanted = table.filter(pl.col("statistic") == name)["raw_score"].to_numpy().reshape(-1, 3)
            np.testing.assert_array_equal(values[there], wanted)
            np.testing.assert_array_equal(anndata[f"layers/{name}"][:], values)
        np.testing.assert_array_equal(anndata["X"][:], file["logSUM"][:])


def test_anndata_reads_it(score: Run, source: Path, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    assert score(source, tmp_path / "out.h5ad", "--statistics", "SAD,D1").code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert found.shape == (11, 3)
    assert list(found.var_names) == TRACKS
    assert set(found.layers) == {"SAD", "D1", "ref_sum", "alt_sum"}
    assert found.obs["status"].tolist() == [status for *_, status in ALLELES]


@pytest.mark.parametrize("kind", ["tss", "exons"])
def test_genes_have_rows(kind: str, score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(
        tmp_path / "in.vcf", [world.record("chr1", 1702, 1, "{other}"), world.record("chr1", 30, 1, "{other}")]
    )
    more = ("-A", world.genes, "--genes", kind, "--span", 100)
    assert score(source, tmp_path / "out.parquet", *more).code == 0
    assert score(source, tmp_path / "out.h5", *more).code == 0
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert table["statistic"].unique(maintain_order=True).to_list() == ["SED", "logSED", None]
    genes = ["ID_ODD"] if kind == "tss" else ["ID_GENE2", "ID_ODD"]
    assert table["gene_id"].unique(maintain_order=True).to_list() == [*genes, None]
    assert table.row(-1, named=True)["status"] == "no_gene"
    with h5py.File(tmp_path / "out.h5") as file:
        assert [name.decode() for name in file["gene_id"]] == [*genes, ""]


@pytest.mark.parametrize("name", ["out.parquet", "out.tsv", "out.h5", "out.h5ad"])
def test_shares_make_the_same_bytes(
    name: str, score: Run, run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "SHARD", 2)
    target = tmp_path / name
    assert score(source, target).code == 0
    whole = target.read_bytes()
    target.unlink()
    for share in ("2/3", "1/3", "3/3"):
        assert score(source, target, "--shard", share).code == 0
    assert not target.exists()
    assert run("merge", target).code == 0
    assert target.read_bytes() == whole


def test_an_interrupted_run_goes_on(score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scoring that fails is an error that is said; there is no output, least of all zeros."""
    monkeypatch.setattr(cut, "SHARD", 2)
    target, payload, seen = tmp_path / "out.parquet", SignalScorer.payload, []

    def failing(self: SignalScorer, records: Any) -> bytes:
        seen.append(records[0].number)
        if len(seen) == 3:
            raise RuntimeError("a kernel failed")
        return payload(self, records)

    monkeypatch.setattr(SignalScorer, "payload", failing)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        score(source, target)
    assert not target.exists()
    assert score(source, target).code == 0
    assert seen == [1, 3, 5, 5, 7]
    assert pl.read_parquet(target)["status"].to_list().count("scored") == 7 * 2 * 3


def test_a_pipe_is_scored_as_it_passes(
    score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert score(source, tmp_path / "whole.tsv").code == 0
    with source.open("rb") as piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
        ran = score("-", tmp_path / "passed.tsv")
    assert ran.code == 0
    assert "begins anew" in ran.err
    assert (tmp_path / "passed.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_another_build_is_refused(score: Run, world: World, tmp_path: Path) -> None:
    """Records with REF and ALT the other way round, unless that is said to be right."""
    lines = [world.record("chr1", at, 1, "{other}").split("\t") for at in range(211, 260, 7)]
    turned = ["\t".join([*x[:3], x[4], x[3], *x[5:]]) for x in lines]
    there, back = write_vcf(tmp_path / "a.vcf", ["\t".join(x) for x in lines]), write_vcf(tmp_path / "b.vcf", turned)
    assert score(there, tmp_path / "a.parquet").code == 0
    refused = score(back, tmp_path / "b.parquet")
    assert (refused.code, (tmp_path / "b.parquet").exists()) == (1, False)
    assert "seems to be of another genome build" in refused.err
    assert score(back, tmp_path / "b.parquet", "--force").code == 0
    a, b = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in "ab")
    assert b["status"].unique().to_list() == ["scored_genome_has_alt"]
    np.testing.assert_allclose(a["raw_score"].to_numpy(), -b["raw_score"].to_numpy(), atol=1e-5)


def test_what_is_typed_wrong_is_refused_before_any_work(
    score: Run, run: Run, world: World, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    for options, said in (
        (["--statistics", "SAD,TYPO"], f"there is no statistic 'TYPO', only {', '.join(STATISTICS)}"),
        (["-D", "100"], "gives signals, which have no -D"),
        (["-M", "1"], "gives signals, which have no -M"),
        (["--rules", "spliceai"], "gives signals, which have no --rules spliceai"),
        (["--precomputed", source], "gives signals, which have no --precomputed"),
        (["--genes", "tss"], "needs genes: give an annotation with -A"),
        (["-A", world.genes], "say with --genes tss or exons"),
        (["--statistics", "SED"], "SED is of genes"),
        (["--tracks", "plus,none"], "has no track 'none' among its 3"),
        (["--shifts", "a"], "--shifts 'a' is no list of whole numbers"),
    ):
        ran = score(source, target, *options)
        assert (ran.code, target.exists()) == (2, False), ran.err
        assert said in ran.err
    for name in ("out.vcf", "out.vcf.gz", "out", "-"):
        ran = score(source, tmp_path / name if name != "-" else "-")
        assert ran.code == 2
        assert re.search(r"end the output .* with \.parquet, \.tsv, \.h5 or \.h5ad", ran.err)
    assert score(source, tmp_path / "no" / "out.h5").code == 2
    assert score(source, tmp_path / "scores.hdf5", "--format", "h5").code == 0
    splice = world.arguments(source, tmp_path / "out.vcf")
    for option in (["--statistics", "SAD"], ["--rc"], ["--rules", "baskerville"], ["--format", "h5"]):
        ran = run(*splice, *option)
        assert ran.code == 2
        assert f"tiny gives splice sites, which have no {' '.join(option[:1])}" in ran.err
    without = [word for word in splice if word not in ("-A", str(world.genes))]
    ran = run(*without)
    assert ran.code == 2
    assert "give an annotation with -A" in ran.err
