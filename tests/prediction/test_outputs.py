"""The files of ``basecast predict`` against a direct forward pass, and against the annotation of a simulated genome."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pysam
import pytest
from direct import (
    KINDS,
    Asked,
    Gene,
    Site,
    assert_same,
    bed_rows,
    lively,
    predict,
    random_bases,
    read_beds,
    read_bigwigs,
    read_table,
    without_genes,
    write_fasta,
    write_genes,
    write_model,
)

from basecast.data.simulated import simulate
from basecast.genome.annotation import Annotation
from basecast.spec.model import Calibration
from basecast.zoo.package import Package

THRESHOLD = 0.3
FORMATS = ("--format", "bed", "bigwig", "parquet", "spsc", "hints")
PACKAGE = lively(mask="gene")
_WHOLE = random_bases(1500, seed=1)
CONTIGS = {
    "chr2": _WHOLE[:300] + _WHOLE[300:600].lower() + "N" * 70 + _WHOLE[670:900] + "RYKMSWBDHVryn" + _WHOLE[913:],
    "short": random_bases(43, seed=2),  # less than the context
    "empty": "",
    "chr1": random_bases(700, seed=3),
    "one": "G",
    "all_n": "N" * 90,
}
GENES: list[Gene] = [
    ("A", "chr1", "+", 0, 400),
    ("B", "chr1", "-", 100, 300),  # within A
    ("C", "chr1", "+", 390, 700),  # to the last base
    ("D", "chr2", "-", 50, 640),
    ("TWIN", "chr2", "+", 400, 800),
    ("TWIN", "chr2", "+", 700, 1200),
    ("ALL", "short", "-", 0, 43),
    ("DOT", "one", "+", 0, 1),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("direct")
    write_fasta(folder / "genome.fa", CONTIGS)
    write_genes(folder / "genes.tsv", GENES)
    write_model(folder / "models" / "gene", PACKAGE)
    unmasked = Package(PACKAGE.spec.model_copy(update={"mask": "none"}), PACKAGE.networks)
    write_model(folder / "models" / "none", unmasked)
    return folder


@pytest.fixture(scope="module", params=["genomic", "gene"])
def case(request: pytest.FixtureRequest, files: Path) -> tuple[Path, dict[Site, float], dict[Site, float]]:
    """An output in every format, all sites that there may be, and those of one row a place."""
    masked = request.param == "gene"
    given = ["-A", files / "genes.tsv"] if masked else []
    code = predict(
        *("-R", files / "genome.fa", "-O", files / request.param, "-m", files / "models" / "gene", *given, *FORMATS),
        *("--threshold", THRESHOLD),
    )
    assert code == 0
    wanted = Asked(PACKAGE, CONTIGS, genes=GENES if masked else None, masked=masked).sites()
    return files / request.param, wanted, without_genes(wanted)


Case = tuple[Path, dict[Site, float], dict[Site, float]]


def test_bed_against_a_direct_forward_pass(case: Case) -> None:
    prefix, wanted, _ = case
    assert_same(read_beds(prefix), wanted, THRESHOLD)


def test_bed_through_its_index(case: Case) -> None:
    prefix, *_ = case
    for kind in KINDS:
        path = f"{prefix}.{kind}.bed.gz"
        rows = bed_rows(path)
        with pysam.TabixFile(path) as index:
            assert set(index.contigs) == {row[0] for row in rows}
            for contig, (start, end) in itertools.product(index.contigs, [(0, 40), (43, 44), (250, 700), (1200, 1500)]):
                found = [line.split("\t") for line in index.fetch(contig, start, end)]
                assert found == [row for row in rows if row[0] == contig and start <= int(row[1]) < end]


def test_bigwig_has_all_from_a_thousandth_on_and_nothing_below(case: Case) -> None:
    prefix, _, places = case
    found = read_bigwigs(prefix)
    assert_same(found, places, 0.001)
    assert min(found.values()) >= 0.001
    assert any(p < 0.001 for p in places.values())


def test_parquet(case: Case) -> None:
    prefix, wanted, _ = case
    found = read_table(prefix)
    assert_same(found, wanted, THRESHOLD)
    assert {site: round(p, 6) for site, p in read_beds(prefix).items()} == pytest.approx(found, abs=6e-7)


def test_spsc(case: Case) -> None:
    """A line is contig, bases before the border of exon and intron, strand, D or A, twice the log-odds in bits."""
    prefix, _, places = case
    found: dict[Site, int] = {}
    for contig, offset, strand, letter, score in bed_rows(f"{prefix}.spsc.tsv.gz"):
        kind = {"D": "donor", "A": "acceptor"}[letter]
        before = int(offset) - 1 if (kind == "donor") == (strand == "+") else int(offset)
        assert (contig, before, strand, kind, "") not in found
        found[contig, before, strand, kind, ""] = int(score)
    sure = {site for site, p in places.items() if p >= 0.0001 + 1e-7}
    assert sure <= found.keys() <= {site for site, p in places.items() if p >= 0.0001 - 1e-7}
    for site, score in found.items():
        exact = 2 * math.log2(places[site] / 0.001)
        assert score == pytest.approx(min(max(exact, -7), 13), abs=0.5 + 1e-3)
    assert {-7, 0, 13} <= set(found.values())


def test_hints(case: Case) -> None:
    """A dss is the intron's first base, an ass its last, counted from 1."""
    prefix, _, places = case
    found: dict[Site, float] = {}
    for line in Path(f"{prefix}.hints.gff").read_text().splitlines():
        contig, _, feature, start, end, score, strand, frame, attributes = line.split("\t")
        assert (start, frame, attributes) == (end, ".", "src=E")
        kind = {"dss": "donor", "ass": "acceptor"}[feature]
        intron_follows = (kind == "donor") == (strand == "+")
        base = int(start) - 1  # of the intron, from 0
        found[contig, base - 1 if intron_follows else base + 1, strand, kind, ""] = float(score)
    assert_same(found, {site: p for site, p in places.items() if _has_intron(site)}, THRESHOLD)


def _has_intron(site: Site) -> bool:
    contig, position, strand, kind, _ = site
    follows = (kind == "donor") == (strand == "+")
    return position + 1 < len(CONTIGS[contig]) if follows else position > 0


def test_the_summary_says_what_was_done(case: Case) -> None:
    prefix, wanted, _ = case
    summary = json.loads(Path(f"{prefix}.stats.json").read_text())
    found = read_beds(prefix)
    assert summary["sites"] == {kind: sum(site[3] == kind for site in found) for kind in ("donor", "acceptor")}
    assert summary["bases"] == len({site[:2] for site in wanted})
    assert summary["contigs"] == len({site[0] for site in wanted})
    assert summary["context"] == prefix.name
    assert all(Path(path).is_file() for path in summary["outputs"])
    assert {Path(path).name for path in summary["outputs"]} | {f"{prefix.name}.stats.json"} == {
        path.name.removesuffix(".tbi") for path in prefix.parent.glob(f"{prefix.name}.*")
    }
    assert not Path(f"{prefix}.basecast").exists()


@pytest.mark.parametrize(
    ("model", "context", "strand"),
    [
        *itertools.product(["gene", "none"], [None, "gene", "genomic"], ["gene"]),
        *itertools.product(["gene", "none"], [None], ["both", "+", "-"]),
    ],
)
def test_contexts_and_strands(model: str, context: str | None, strand: str, files: Path, tmp_path: Path) -> None:
    """By default N outside a gene where the model was trained so; names are those of the genes on the strand."""
    given = ("--context", context) if context else ()
    code = predict(
        *("-R", files / "genome.fa", "-A", files / "genes.tsv", "-m", files / "models" / model, "-O", tmp_path / "out"),
        *("--strand", strand, "--format", "bed", "--threshold", THRESHOLD, *given),
    )
    assert code == 0
    masked = (context or {"gene": "gene", "none": "genomic"}[model]) == "gene"
    wanted = Asked(PACKAGE, CONTIGS, genes=GENES, masked=masked, strand=strand).sites()
    assert_same(read_beds(tmp_path / "out"), wanted, THRESHOLD)
    assert json.loads((tmp_path / "out.stats.json").read_text())["context"] == ("gene" if masked else "genomic")


@pytest.mark.parametrize("context", ["gene", "genomic"])
def test_regions_of_an_annotation(context: str, files: Path, tmp_path: Path) -> None:
    """What both have; a gene's context is still its whole body."""
    regions = [("chr1", 10, 395), ("chr1", 20, 30), ("chr1", 395, 420), ("chr2", 630, 760), ("all_n", 0, 90)]
    (tmp_path / "regions.bed").write_text("".join(f"{c}\t{a}\t{b}\n" for c, a, b in regions))
    code = predict(
        *(
            "-R",
            files / "genome.fa",
            "-A",
            files / "genes.tsv",
            "-m",
            files / "models" / "gene",
            "-O",
            tmp_path / "out",
        ),
        *("--regions", tmp_path / "regions.bed", "--context", context, "--format", "bed", "--threshold", THRESHOLD),
    )
    assert code == 0
    wanted = Asked(PACKAGE, CONTIGS, genes=GENES, masked=context == "gene", regions=regions).sites()
    assert_same(read_beds(tmp_path / "out"), wanted, THRESHOLD)


def test_regions_see_the_genome_around_them(files: Path, tmp_path: Path) -> None:
    (tmp_path / "regions.bed").write_text("chr1\t699\t700\nchr2\t640\t1010\nchr1\t0\t1\none\t0\t1\n")
    code = predict(
        *("-R", files / "genome.fa", "-m", files / "models" / "gene", "-O", tmp_path / "out", "--threshold", "0.05"),
        *("--regions", tmp_path / "regions.bed", "--format", "bed"),
    )
    assert code == 0
    regions = [("chr1", 0, 1), ("chr1", 699, 700), ("chr2", 640, 1010), ("one", 0, 1)]
    assert_same(read_beds(tmp_path / "out"), Asked(PACKAGE, CONTIGS, regions=regions).sites(), 0.05)


def test_a_calibrated_model_is_calibrated(files: Path, tmp_path: Path) -> None:
    calibration = Calibration(temperature={"splice": (1.0, 2.0, 0.7)})
    package = Package(PACKAGE.spec.model_copy(update={"calibration": calibration}), PACKAGE.networks)
    given = ("-R", files / "genome.fa", "-m", write_model(tmp_path / "model", package), "-O", tmp_path / "out")
    assert predict(*given, "--format", "parquet", "--threshold", THRESHOLD) == 0
    wanted = Asked(package, CONTIGS).sites()
    assert_same(read_table(tmp_path / "out"), wanted, THRESHOLD)
    uncalibrated = Asked(PACKAGE, CONTIGS).sites()
    assert max(abs(p - uncalibrated[site]) for site, p in wanted.items()) > 0.1


def test_sites_stand_where_the_annotation_of_a_simulated_genome_says(tmp_path: Path) -> None:
    """A donor is the last base of an exon, an acceptor the first, on both strands."""
    made = simulate(tmp_path)
    code = predict(
        *("-R", made.genome, "-A", made.genes, "-m", "human-400", "-O", tmp_path / "out"),
        *("--strand", "gene", "--format", "bed", "--threshold", "0.5"),
    )
    assert code == 0
    true = set()
    for transcript in Annotation.read(made.genes).transcripts:
        for left, right in itertools.pairwise(transcript.exons):
            last, first = left[1] - 1, right[0]  # of the exons beside an intron
            donor, acceptor = (last, first) if transcript.strand == "+" else (first, last)
            at = (transcript.contig, transcript.strand, transcript.gene_name)
            true |= {(*at, "donor", donor), (*at, "acceptor", acceptor)}
    found = {(c, s, gene, kind, at): p for (c, at, s, kind, gene), p in read_beds(tmp_path / "out").items()}
    hits = true & found.keys()
    assert {site[1] for site in hits} == {"+", "-"}
    for strand, kind in itertools.product("+-", KINDS):
        of_kind = {site for site in true if (site[1], site[3]) == (strand, kind)}
        assert len(of_kind & hits) >= 0.7 * len(of_kind), (strand, kind)
        beside = {(*site[:4], site[4] + by) for site in of_kind for by in (-2, -1, 1, 2)}
        assert not beside & found.keys()
