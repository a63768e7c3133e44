"""``basecast predict`` as it is typed: options, sentences, and the same probabilities as ``basecast variant``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from toys import package_of

from basecast.zoo.package import Package, save_package
from conftest import Ran, Run, World, info_of, read_vcf, stats_of, write_vcf

Predict = Callable[..., Ran]
BED = {"out.donor.bed.gz", "out.donor.bed.gz.tbi", "out.acceptor.bed.gz", "out.acceptor.bed.gz.tbi", "out.stats.json"}
BIGWIG = {f"out.{kind}.{strand}.bw" for kind in ("donor", "acceptor") for strand in ("plus", "minus")}


@pytest.fixture
def predict(run: Run, world: World, tmp_path: Path) -> Predict:
    """``basecast predict`` on the world; what ``options`` name is not given twice."""

    def predict(*options: object) -> Ran:
        given = {"-R": world.genome, "-O": tmp_path / "out", "-m": world.model, "--device": "cpu"}
        flat = [word for name, value in given.items() if name not in options for word in (name, value)]
        return run("predict", *flat, *options)

    return predict


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rows(prefix: Path, kind: str) -> list[list[str]]:
    with gzip.open(f"{prefix}.{kind}.bed.gz", "rt") as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


def refused(ran: Ran, folder: Path, code: int, *said: str) -> None:
    """One sentence, and nothing left behind."""
    assert ran.code == code, ran.err
    last = ran.err.splitlines()[-1]
    assert last.startswith("basecast: error: ")
    for words in said:
        assert words in last
    assert "Traceback" not in ran.err
    assert not {name for name in names(folder) if name.startswith((".out", "out"))}


# ---- what is written


def test_by_default_bed_and_bigwig_of_both_strands(predict: Predict, tmp_path: Path) -> None:
    ran = predict()
    assert ran.code == 0
    assert ran.out == ""
    assert names(tmp_path) == BED | BIGWIG
    stats = stats_of(tmp_path / "out")
    assert (stats["contigs"], stats["bases"], stats["context"]) == (2, 3900, "genomic")
    found = {kind: rows(tmp_path / "out", kind) for kind in ("donor", "acceptor")}
    assert stats["sites"] == {kind: len(sites) for kind, sites in found.items()}
    assert {(row[3], row[5]) for row in found["donor"]} == {(".", "+"), (".", "-")}
    assert min(float(row[6]) for sites in found.values() for row in sites) >= 0.1
    assert f"{stats['sites']['donor']:,} donor sites and" in ran.err
    assert stats["command"].startswith("basecast predict -R ")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("--format", "bed"), BED),
        (("--format=bigwig",), BIGWIG | {"out.stats.json"}),
        (("--format", "bed", "--format", "bigwig"), BED | BIGWIG),
        (("--format", "bed", "bigwig", "parquet"), BED | BIGWIG | {"out.parquet"}),
        (("--format", "hints", "hints"), {"out.hints.gff", "out.stats.json"}),
        (("--format", "spsc", "--strand", "+"), {"out.spsc.tsv.gz", "out.stats.json"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_formats(given: tuple[str, ...], wanted: set[str], predict: Predict, tmp_path: Path) -> None:
    assert predict(*given).code == 0
    assert names(tmp_path) == wanted
    assert {Path(path).name for path in stats_of(tmp_path / "out")["outputs"]} == {
        name for name in wanted if not name.endswith((".tbi", ".json"))
    }


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("joined", [False, True])
def test_one_strand(strand: str, joined: bool, predict: Predict, tmp_path: Path) -> None:
    given = (f"--strand={strand}",) if joined else ("--strand", strand)
    assert predict(*given, "--format", "bed").code == 0
    assert {row[5] for kind in ("donor", "acceptor") for row in rows(tmp_path / "out", kind)} == {strand}


@pytest.mark.parametrize(("threshold", "n"), [("0", 2 * 2 * 3900), ("1", 0)])
def test_the_ends_of_the_threshold(threshold: str, n: int, predict: Predict, tmp_path: Path) -> None:
    """A BED without a row is a BED, with an index; a bigWig has nothing below a thousandth even so."""
    assert predict("--threshold", threshold).code == 0
    assert sum(len(rows(tmp_path / "out", kind)) for kind in ("donor", "acceptor")) == n
    assert names(tmp_path) == BED | BIGWIG
    sizes = {name: (tmp_path / name).stat().st_size for name in sorted(BIGWIG)}
    assert predict("--threshold", "0.1").code == 0
    assert sizes == {name: (tmp_path / name).stat().st_size for name in sorted(BIGWIG)}


def test_genes_give_their_names_and_regions_cut_them(predict: Predict, world: World, tmp_path: Path) -> None:
    (tmp_path / "in.bed").write_text("track name=x\n1\t1690\t1720\nchr1\t0\t210\nchr1\t1700\t1800\n")
    ran = predict(
        "-A", world.genes, "--regions", tmp_path / "in.bed", "--format", "bed", "--threshold", "0", "--strand", "gene"
    )
    assert ran.code == 0
    found = rows(tmp_path / "out", "donor")
    positions = {name: {int(row[1]) for row in found if row[3] == name} for name in {row[3] for row in found}}
    assert positions == {
        "GENE1": set(range(200, 210)),
        "GENE2": set(range(1690, 1800)),
        "ODD;NAME,1|x": set(range(1700, 1800)),
    }
    assert stats_of(tmp_path / "out")["bases"] == 120
    assert stats_of(tmp_path / "out")["context"] == "gene"


def test_contig_aliases_go_for_regions_and_genes(predict: Predict, world: World, tmp_path: Path) -> None:
    (tmp_path / "aliases.tsv").write_text("chr2\tmine\n")
    (tmp_path / "in.bed").write_text("mine\t0\t100\n")
    (tmp_path / "genes.gtf").write_text(world.genes.read_text().replace("chr2\t", "mine\t"))
    given = (
        "-A",
        tmp_path / "genes.gtf",
        "--regions",
        tmp_path / "in.bed",
        "--contig-aliases",
        tmp_path / "aliases.tsv",
    )
    assert predict(*given, "--format", "bed").code == 0
    assert {row[0] for row in rows(tmp_path / "out", "donor")} == {"chr2"}
    assert {row[3] for row in rows(tmp_path / "out", "donor")} == {"WHOLE", "OTHER"}


def test_what_of_the_annotation_is_not_used_is_said(predict: Predict, world: World, tmp_path: Path) -> None:
    (tmp_path / "genes.gtf").write_text(world.genes.read_text().replace("chr2\t", "chrX\t"))
    ran = predict("-A", tmp_path / "genes.gtf", "--format", "bed")
    assert ran.code == 0
    assert "warning: 2 transcripts of" in ran.err
    assert "lie on contigs that the FASTA has not (chrX ...)" in ran.err
    assert len(stats_of(tmp_path / "out")["warnings"]) == 1


def test_json_lines_have_the_summary(predict: Predict, tmp_path: Path) -> None:
    ran = predict("--log-format", "json", "--format", "bed")
    lines = [json.loads(line) for line in ran.err.splitlines()]
    stats = stats_of(tmp_path / "out")
    assert {name: lines[-1][name] for name in stats if name != "command"} == {
        name: value for name, value in stats.items() if name != "command"
    }


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--context", "gene"), "--context gene needs genes: give an annotation with -A"),
        (("--strand", "gene"), "--strand gene needs genes: give an annotation with -A"),
        (("--threshold", "1.1"), "--threshold"),
        (("--threshold", "-0.1"), "--threshold"),
        (("--threshold", "high"), "--threshold"),
        (("--format", "gff"), "--format"),
        (("--strand", "*"), "--strand"),
        (("--context", "whole"), "--context"),
        (("--tile-size", "0"), "--tile-size"),
        (("--shard", "0/3"), "--shard '0/3' is not I/N"),
        (("--shard", "1/2", "--restart"), "--restart and --shard do not go together"),
        (("--num-workers", "2"), "--num-workers and --gpus-per-worker go with --cluster"),
        (("-m", "none-such"), "there is no model 'none-such'"),
        (("stray",), "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_exit_2(options: tuple[str, ...], said: str, predict: Predict, tmp_path: Path) -> None:
    refused(predict(*options), tmp_path, 2, said)


@pytest.mark.parametrize("options", [("--transcripts", "all"), ("--canonical-tag", "x")], ids=" ".join)
def test_options_of_genes_need_genes(options: tuple[str, ...], predict: Predict, tmp_path: Path) -> None:
    refused(predict(*options), tmp_path, 2, "need genes: give an annotation with -A")


def test_an_output_that_is_a_folder_or_has_none(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for output in (folder, f"{folder}/"):
        refused(
            predict("-O", output), folder, 2, f"the output {output} is a folder: give a prefix in it, such as {folder}/"
        )
    missing = tmp_path / "none" / "out"
    refused(
        predict("-O", missing), folder, 2, f"the folder of the output {missing} does not exist: make it with 'mkdir"
    )
    assert names(tmp_path) == {"folder"}


def test_a_model_without_splice_sites_predicts_its_signal(predict: Predict, tmp_path: Path) -> None:
    """And refuses what is of sites."""
    save_package(tmp_path / "binned", package_of("toy_binned"))
    given = ("-m", tmp_path / "binned", "-O", tmp_path / "out")
    ran = predict(*given, "--strand", "-")
    refused(ran, tmp_path, 2, "toy_binned predicts signal tracks: --strand is not for them, leave it out")
    ran = predict(*given)
    assert ran.code == 0
    assert names(tmp_path) == {"binned", "out.stats.json", *(f"out.{name}.bw" for name in ("plus", "minus", "both"))}
    assert "3 tracks of coverage, 975 bins of 4 bp in 3,900 bases of 2 contigs by toy_binned" in ran.err


def test_classes_that_are_no_splice_sites(predict: Predict, tmp_path: Path) -> None:
    save_package(tmp_path / "mixing", package_of("toy_mixing"))
    said = "gives no splice sites base by base: take one that lists them in its outputs"
    refused(predict("-m", tmp_path / "mixing", "--head", "splice"), tmp_path, 2, said)


def test_an_annotation_of_another_genome(predict: Predict, world: World, tmp_path: Path) -> None:
    genes = tmp_path / "genes.gtf"
    genes.write_text(world.genes.read_text().replace("chr", "scaffold"))
    refused(predict("-A", genes), tmp_path, 1, f"contig 'scaffold1' of {genes} is not in", "--contig-aliases")
    genes.write_text(world.genes.read_text().replace("\t900\t", "\t901\t"))
    refused(predict("-A", genes), tmp_path, 1, "past the end of contig 'chr2'", "use the annotation of this assembly")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1\t2990\t3001\n", "ends past the contig"),
        ("chr9\t1\t2\n", "contig 'chr9' of"),
        ("chr1\t7\t7\n", "is empty"),
        ("", "names no region"),
        ("chr1\n", "is no BED"),
        ("chr1\t0\t100\n", "no base of it was asked for; do regions and annotation overlap?"),
    ],
    ids=repr,
)
def test_regions_that_are_none(text: str, said: str, predict: Predict, world: World, tmp_path: Path) -> None:
    (tmp_path / "in.bed").write_text(text)
    refused(predict("--regions", tmp_path / "in.bed", "-A", world.genes), tmp_path, 1, said)


@pytest.mark.parametrize(
    ("option", "said"),
    [("-R", "there is no reference"), ("-A", "is not a file that can be read"), ("--regions", "cannot be read")],
)
def test_files_that_are_not_there(option: str, said: str, predict: Predict, tmp_path: Path) -> None:
    refused(predict(option, tmp_path / "none"), tmp_path, 1, said, str(tmp_path / "none"))


# ---- variant


@pytest.mark.parametrize("mask", ["gene", "none"])
@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_ref_probabilities_of_variant_are_those_of_predict(
    mask: str, rules: str, predict: Predict, run: Run, world: World, tmp_path: Path
) -> None:
    """At the same gene and position, near ends of genes and contigs too."""
    model = tmp_path / "model"
    save_package(model, Package(world.package.spec.model_copy(update={"mask": mask}), world.package.networks))
    given = ("-R", world.genome, "-A", world.genes, "-m", model, "--device", "cpu")
    places = [("chr1", p) for p in (201, 230, 655, 1200, 1239, 1501, 1700, 1701, 1890, 2000, 2500)]
    places += [("chr2", p) for p in (1, 2, 40, 300, 450, 899, 900)]
    source = write_vcf(tmp_path / "in.vcf", [world.record(contig, at, 1, "{other}") for contig, at in places])
    options = ("--probabilities", "--decimals", "8", "-D", "40", "--rules", rules, "--info-key", "X")
    assert run("variant", "-I", source, "-O", tmp_path / "scored.vcf", *given, *options).code == 0
    assert predict(*given, "--format", "parquet", "--threshold", "0", "--strand", "gene").code == 0
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert stats_of(tmp_path / "out")["context"] == ("gene" if mask == "gene" else "genomic")
    predicted = {(*row[:4], row[5]): row[4] for row in table.iter_rows()}
    strands = {"GENE1": "+", "GENE2": "-", "ODD;NAME,1|x": "+", "WHOLE": "+", "OTHER": "-"}
    compared = set()
    for line in read_vcf(tmp_path / "scored.vcf")[1]:
        contig, position = line.split("\t")[0], int(line.split("\t")[1]) - 1
        for entry in filter(None, info_of(line).get("X", "").split(",")):
            fields = entry.split("|")
            gene = fields[1].replace("%3B", ";").replace("%2C", ",").replace("%7C", "|")
            for kind, distance, ref in zip(
                ("acceptor", "acceptor", "donor", "donor"), fields[6:10], fields[-8:-4], strict=True
            ):
                site = (contig, position + int(distance), strands[gene], kind, gene)
                if site in predicted:
                    assert float(ref) == pytest.approx(predicted[site], abs=1e-6), site
                    compared.add(site)
    assert {site[0] for site in compared} == {"chr1", "chr2"}
    assert {site[2] for site in compared} == {"+", "-"}
    assert len(compared) > 20
    assert max(predicted[site] for site in compared) > 0.1
