"""``--precomputed``: what a file has is taken where it is what the run would compute, and refused by name elsewhere."""

from __future__ import annotations

import gzip
import pickle
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
import pytest

import basecast as bc
from basecast.effects.precomputed import Precomputed, PrecomputedSettings
from basecast.effects.scorer import Scorer, VariantSettings
from basecast.genome.variants import VariantReader
from basecast.inference.engine import Engine
from basecast.zoo.importers import spliceai_keras
from basecast.zoo.package import save_package
from conftest import Ran, Run, World, check_alike, info_of, read_vcf, stats_of, tiny_package, write_vcf

Made = Callable[..., Path]


@pytest.fixture
def made(score: Run, varied: Path, tmp_path: Path) -> Made:
    """A file of scores of ``varied`` (or of another input), made with options."""

    def make(*options: object, source: Path = varied) -> Path:
        path = tmp_path / "made.vcf.gz"
        assert score(source, path, *options).code == 0
        return path

    return make


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many alternate windows the model was asked for, call by call."""
    numbers: list[int] = []
    evaluate = Engine.evaluate

    def counted(self: Engine, requests: Sequence[Any], *more: Any) -> Any:
        numbers.append(sum(request.base is not None for request in requests))
        return evaluate(self, requests, *more)

    monkeypatch.setattr(Engine, "evaluate", counted)
    return numbers


def without_source(lines: Sequence[str]) -> list[str]:
    return [re.sub(r";(Basecast|Mine_)Source=[^;\t]*", "", line) for line in lines]


def sources(lines: Sequence[str]) -> list[str]:
    return [source for line in lines for source in info_of(line).get("BasecastSource", "").split(",")]


# ---- what is taken is what would be computed


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-M", "both"),
        ("--probabilities", "--decimals", "6"),
        ("--transcripts", "all", "-M", "1"),
        ("--rules", "spliceai"),
        ("--rules", "spliceai", "-M", "both", "--probabilities"),
    ],
    ids=" ".join,
)
def test_scores_are_taken_and_none_computed(
    options: tuple[str, ...], score: Run, made: Made, varied: Path, asked: list[int], tmp_path: Path
) -> None:
    decimals = () if "--decimals" in options or "spliceai" in options else ("--decimals", "4")
    file = made(*options, *decimals)
    assert score(varied, tmp_path / "computed.vcf", *options).code == 0
    assert sum(asked) > 30
    asked.clear()
    ran = score(varied, tmp_path / "taken.vcf", *options, "--precomputed", file)
    assert ran.code == 0, ran.err
    assert sum(asked) == 0
    header, lines = read_vcf(tmp_path / "taken.vcf")
    assert without_source(lines) == read_vcf(tmp_path / "computed.vcf")[1]
    assert set(sources(lines)) == {"precomputed", ".", ""}
    n = stats_of(tmp_path / "taken.vcf")["precomputed"]
    assert n == stats_of(tmp_path / "taken.vcf")["scored"] == sources(lines).count("precomputed") > 15
    assert f"{n} of them precomputed" in ran.err
    (declared,) = [line for line in header if line.startswith("##INFO=<ID=BasecastSource,Number=A,Type=String")]
    assert str(file) in declared


def test_what_a_file_lacks_is_computed(score: Run, made: Made, world: World, asked: list[int], tmp_path: Path) -> None:
    def source(name: str, alts: Sequence[str]) -> Path:
        records = [world.record("chr1", at, 1, ",".join(alts[i:])) for i, at in enumerate((211, 300, 700))]
        return write_vcf(tmp_path / name, [*records, world.record("chr1", 702, 1, ".")])

    half = made("--decimals", "4", source=source("half.vcf", ["{other}", "{ref}A", "{ref}GG"]))
    whole = source("whole.vcf", ["{ref}GG", "<DEL>", "{other}", "{ref}A", "*"])
    asked.clear()
    assert score(whole, tmp_path / "taken.vcf", "--precomputed", half).code == 0
    assert sum(asked) == 3
    assert score(whole, tmp_path / "computed.vcf").code == 0
    lines = read_vcf(tmp_path / "taken.vcf")[1]
    found = [info_of(line).get("BasecastSource") for line in lines]
    assert found == ["precomputed,.,precomputed,precomputed,.", ".,computed,precomputed,.", "computed,computed,.", None]
    check_alike(without_source(lines), read_vcf(tmp_path / "computed.vcf")[1])


def every_small_allele(world: World, low: int, high: int) -> list[str]:
    """SNVs, insertions of a base and deletions of up to three, as a VCF would write them."""
    bases, lines = world.bases["chr1"], []
    for at in range(low, high):
        ref = bases[at - 1]
        spelled = [(ref, alt) for alt in "ACGT" if alt != ref] + [(ref, ref + alt) for alt in "ACGT"]
        spelled += [(bases[at - 1 : at + n], ref) for n in (1, 2, 3)]
        lines += [f"chr1\t{at}\t.\t{ref}\t{alt}\t.\t.\t." for ref, alt in spelled]
    return lines


def otherwise(world: World, line: str, rng: random.Random) -> str:
    """The allele of a record with bases of REF put before it and after it, or none."""
    contig, position, _, ref, alt, *rest = line.split("\t")
    bases, start = world.bases[contig], int(position) - 1
    end, before, after = start + len(ref), rng.randrange(2), rng.randrange(2)
    left, right = bases[start - before : start], bases[end : end + after]
    return "\t".join([contig, str(start - before + 1), ".", left + ref + right, left + alt + right, *rest])


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_however_an_allele_is_spelled_its_scores_are_those_of_computing(
    rules: str, score: Run, made: Made, world: World, tmp_path: Path
) -> None:
    """An allele that the file spells otherwise is taken only where that makes no difference."""
    options, rng = ("--rules", rules, "--decimals", "4", "-D", "8"), random.Random(0)
    every = every_small_allele(world, 240, 270)
    file = made(*options, source=write_vcf(tmp_path / "file.vcf", every))
    mine = write_vcf(tmp_path / "mine.vcf", [otherwise(world, line, rng) for line in every])
    assert score(mine, tmp_path / "computed.vcf", *options).code == 0
    assert score(mine, tmp_path / "taken.vcf", *options, "--precomputed", file).code == 0
    lines = read_vcf(tmp_path / "taken.vcf")[1]
    check_alike(without_source(lines), read_vcf(tmp_path / "computed.vcf")[1], decimals=4)
    assert (sources(lines).count("computed") > 30) == (rules == "basecast")  # theirs have no MNVs, and no padding
    taken = ["\t".join(line.split("\t")[:5]) for line in lines if sources([line]) == ["precomputed"]]
    there = {"\t".join(line.split("\t")[:5]) for line in every}
    assert len(there.intersection(taken)) > 50
    assert (len(set(taken) - there) > 20) == (rules == "basecast")


def test_a_file_of_only_some_genes_is_not_taken_for_all(score: Run, made: Made, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", 1721, 1, "{other}")])
    file = made("--decimals", "4", source=source)
    header, (line,) = read_vcf(file)
    first, second = info_of(line)["BasecastSplice"].split(",")
    for kept, expected in (
        (first, "computed"),
        (f"{first},{second}", "precomputed"),
        (f"{second},{first}", "precomputed"),
    ):
        one = write_vcf(tmp_path / "one.vcf", [line.replace(f"{first},{second}", kept)], header)
        packed = pysam.tabix_index(str(one), force=True, preset="vcf", keep_original=True)
        assert score(source, tmp_path / "out.vcf", "--precomputed", packed).code == 0
        assert score(source, tmp_path / "computed.vcf").code == 0
        lines = read_vcf(tmp_path / "out.vcf")[1]
        assert sources(lines) == [expected]
        assert without_source(lines) == read_vcf(tmp_path / "computed.vcf")[1]


def test_the_first_of_several_files_counts(
    score: Run, made: Made, world: World, asked: list[int], tmp_path: Path
) -> None:
    records = [world.record("chr1", at, 1, "{other}") for at in (211, 230, 250)]
    files = []
    for i, some in enumerate((records[:2], records[1:])):
        made("--decimals", "4", source=write_vcf(tmp_path / f"{i}.vcf", some))
        files += ["--precomputed", pysam.tabix_index(str(_unpacked(tmp_path, i)), force=True, preset="vcf")]
    asked.clear()
    assert score(write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf", *files).code == 0
    assert sum(asked) == 0
    assert sources(read_vcf(tmp_path / "out.vcf")[1]) == ["precomputed"] * 3


def _unpacked(folder: Path, i: int) -> Path:
    path = folder / f"file{i}.vcf"
    path.write_bytes(gzip.decompress((folder / "made.vcf.gz").read_bytes()))
    return path


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_tables_have_a_column_of_sources(
    suffix: str, score: Run, made: Made, varied: Path, world: World, tmp_path: Path
) -> None:
    some = write_vcf(tmp_path / "some.vcf", read_vcf(varied)[1][::2])
    assert score(varied, tmp_path / f"out{suffix}", "--precomputed", made("--decimals", "4", source=some)).code == 0
    path = tmp_path / f"out{suffix}"
    found = pl.read_parquet(path) if suffix == ".parquet" else pl.read_csv(path, separator="\t", null_values=".")
    expected = bc.score_variants(varied, model=world.model, genome=world.genome, annotation=world.genes).table
    scores = [name for name in expected.columns if re.match("DS|DP|OFFSET", name)]
    for name in ("record", *scores):
        assert np.allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=0, atol=1.01e-4, equal_nan=True)
    assert set(found["source"]) == {"precomputed", "computed", None}
    assert found.filter(pl.col("REF_AG").is_not_null())["source"].to_list().count("computed") == 7
    assert found.filter(pl.col("source") == "precomputed")["REF_AG"].null_count() == 14
    assert (
        found.filter(pl.col("source").is_null())["status"].to_list()
        == expected.filter(pl.col("status") != "scored")["status"].to_list()
    )


def test_the_mark_has_the_name_of_the_scores(score: Run, made: Made, varied: Path, tmp_path: Path) -> None:
    file = made("--decimals", "4")
    more = ("--precomputed", file, "--info-key", "Mine")
    assert score(varied, tmp_path / "out.vcf", *more).code == 0
    assert info_of(read_vcf(tmp_path / "out.vcf")[1][0])["Mine_Source"] == "precomputed"
    refused = score(tmp_path / "out.vcf", tmp_path / "again.vcf", *more)
    assert "has the INFO key" in refused.err
    assert score(tmp_path / "out.vcf", tmp_path / "again.vcf", "--info-key", "Mine", "--overwrite-info").code == 0
    assert "Mine_Source" not in (tmp_path / "again.vcf").read_text()


# ---- what is refused


@pytest.mark.parametrize(
    ("made_with", "run_with", "said"),
    [
        (("-D", "7"), (), r"its distance \(-D\) is 7, and this run's is 50"),
        (("-M", "1"), (), r"its mask \(-M\) is 1, and this run's is 0"),
        (("-M", "both"), ("-M", "1"), r"its mask \(-M\) is both, and this run's is 1"),
        ((), ("--rules", "spliceai"), "its rules are basecast, and this run's are spliceai"),
        (("--transcripts", "all"), (), "its choice of transcripts is all, and this run's is canonical"),
        ((), ("--precision", "bf16"), "its precision is fp32, and this run's is bf16"),
        (("--decimals", "3"), (), "scores of 3 decimals, and this run needs 4: make it again with --decimals 4"),
        ((), ("--probabilities",), "has no probabilities: make it with --probabilities"),
        (("--probabilities",), ("--probabilities", "--decimals", "5"), "scores of 4 decimals, and this run needs 5"),
    ],
    ids=lambda value: " ".join(value) or "default" if isinstance(value, tuple) else "",
)
def test_a_file_of_another_run_is_refused_by_name(
    made_with: tuple[str, ...],
    run_with: tuple[str, ...],
    said: str,
    score: Run,
    made: Made,
    varied: Path,
    tmp_path: Path,
) -> None:
    file = made(*(() if "--decimals" in made_with else ("--decimals", "4")), *made_with)
    check_refused(
        score(varied, tmp_path / "out.vcf", *run_with, "--precomputed", file), f"{re.escape(str(file))}.*{said}"
    )
    assert not (tmp_path / "out.vcf").exists()


def check_refused(ran: Ran, said: str, code: int = 1) -> None:
    assert ran.code == code
    assert re.search(said, " ".join(ran.err.split())), ran.err


@pytest.mark.parametrize("what", ["model", "annotation", "reference"])
def test_a_file_of_other_inputs_is_refused_by_name(
    what: str, score: Run, made: Made, world: World, varied: Path, tmp_path: Path
) -> None:
    file = made("--decimals", "4")
    if what == "model":
        package = tiny_package()
        next(package.networks[0].parameters()).mul_(1.01)
        save_package(tmp_path / "other", package)
        option, there, here = "-m", f"tiny {world.package.digest[:12]}", "tiny "
    else:
        old, option = (world.genes, "-A") if what == "annotation" else (world.genome, "-R")
        text = old.read_text()
        (tmp_path / "other").write_text("#!more\n" + text if what == "annotation" else f"{text}>more\nACGT\n")
        there, here = str(old), str(tmp_path / "other")
    ran = score(varied, tmp_path / "out.vcf", option, tmp_path / "other", "--precomputed", file)
    check_refused(ran, f"its {what} is {re.escape(there)}.*, and this run's is {re.escape(here)}")


def test_what_is_no_such_file_is_refused(score: Run, made: Made, varied: Path, tmp_path: Path) -> None:
    file = made("--decimals", "4")

    def refused(path: Path, said: str) -> None:
        check_refused(score(varied, tmp_path / "out.vcf", "--precomputed", path), said)

    refused(tmp_path / "none.vcf.gz", "there is no file of scores .*none.vcf.gz")
    refused(varied, "beside its index")
    shutil.copy(file, tmp_path / "alone.vcf.gz")
    refused(
        tmp_path / "alone.vcf.gz",
        "has no index .*alone.vcf.gz.tbi: make it with 'tabix -p vcf .*sort it first \\(bcftools sort\\)",
    )
    with pysam.BGZFile(str(tmp_path / "bare.vcf"), "wb") as bare:
        bare.write(varied.read_bytes())
    refused(Path(pysam.tabix_index(str(tmp_path / "bare.vcf"), force=True, preset="vcf")), "does not say how")
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    refused(file, "is truncated")
    file.write_bytes(content[: len(content) // 2] + bytes(100) + content[len(content) // 2 + 100 :])
    refused(file, "is damaged")


@pytest.mark.parametrize("spelled", ["made.vcf.gz", "link.vcf.gz"])
def test_a_file_that_scores_are_taken_from_is_not_written_over(
    spelled: str, score: Run, made: Made, varied: Path, tmp_path: Path
) -> None:
    file = made("--decimals", "4")
    (tmp_path / "link.vcf.gz").symlink_to(file)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = ("--precomputed", tmp_path / "none.vcf.gz", "--precomputed", file)
    check_refused(score(varied, tmp_path / spelled, *options), f"the output .*{spelled} is one of the inputs", 2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- Illumina's own files


@pytest.fixture
def theirs(score: Run, made: Made, varied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as Illumina's are: a gene a record, two decimals, and no word on how it was made."""
    monkeypatch.setattr(spliceai_keras, "PUBLISHED", tiny_package().weights_digest)
    header, lines = read_vcf(made("--rules", "spliceai"))
    rows = []
    for fields in (line.split("\t")[:8] for line in lines if "SpliceAI=" in line):
        entries = info_of("\t".join(fields))["SpliceAI"].split(",")
        rows += ["\t".join([*fields[:4], entry.split("|")[0], ".", ".", f"SpliceAI={entry}"]) for entry in entries]
    kept = [line for line in header if not line.startswith("##basecast")]
    path = write_vcf(varied.parent / "theirs.vcf", [row.removeprefix("chr") for row in rows], kept)
    return Path(pysam.tabix_index(str(path), force=True, preset="vcf"))


def test_files_of_illumina_s_are_taken_as_said(
    score: Run, theirs: Path, varied: Path, asked: list[int], tmp_path: Path
) -> None:
    assert score(varied, tmp_path / "computed.vcf", "--rules", "spliceai").code == 0
    asked.clear()
    options = ("--precomputed", theirs, "--precomputed-as", "spliceai,D=50,M=0")
    assert score(varied, tmp_path / "out.vcf", "--rules", "spliceai", *options).code == 0
    assert sum(asked) == 0
    lines = read_vcf(tmp_path / "out.vcf")[1]
    assert without_source(lines) == read_vcf(tmp_path / "computed.vcf")[1]
    assert sources(lines).count("precomputed") > 15


def test_files_of_illumina_s_are_refused_by_name(
    score: Run, theirs: Path, varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(said: str, *options: object, words: str | None = "spliceai,D=50,M=0", code: int = 1) -> None:
        more = ("--precomputed-as", words) if words else ()
        check_refused(score(varied, tmp_path / "out.vcf", "--precomputed", theirs, *more, *options), said, code)

    rules = ("--rules", "spliceai")
    refused("does not say how its scores were made.*--precomputed-as spliceai,D=50,M=0", *rules, words=None)
    refused("its rules are spliceai, and this run's are basecast")
    refused(r"its distance \(-D\) is 50, and this run's is 20", *rules, "-D", "20")
    refused(r"its mask \(-M\) is 1, and this run's is 0", *rules, words="spliceai,D=50,M=1")
    refused("scores of 2 decimals, and this run needs 4", *rules, "--decimals", "4")
    refused("'spliceai,D=50' is not spliceai,D=N,M=0", *rules, words="spliceai,D=50", code=2)
    ran = score(varied, tmp_path / "out.vcf", *rules, "--precomputed-as", "spliceai,D=50,M=0")
    check_refused(ran, "goes with --precomputed FILE", 2)
    monkeypatch.setattr(spliceai_keras, "PUBLISHED", "")
    refused("of Illumina's published models, and tiny is another", *rules)


def test_illumina_s_scores_of_a_real_gene(
    run: Run, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every SNV and indel of OR4F5 that they have, by their weights, without running them."""
    options: list[object] = []
    expected: dict[tuple[str, ...], str] = {}
    for kind in ("snv", "indel"):
        text = gzip.decompress((shared_data / f"human/variants/or4f5.spliceai.raw.{kind}.hg38.vcf.gz").read_bytes())
        (tmp_path / f"{kind}.vcf").write_bytes(text)
        options += ["--precomputed", pysam.tabix_index(str(tmp_path / f"{kind}.vcf"), force=True, preset="vcf")]
        rows = [line.split("\t") for line in text.decode().splitlines() if line[0] != "#"]
        expected |= {tuple(row[i] for i in (1, 3, 4)): row[7].rstrip() for row in rows}
    lines = [f"chr1\t{pos}\t.\t{ref}\t{alt}\t.\t.\t." for pos, ref, alt in expected]
    random.Random(0).shuffle(lines)
    source = write_vcf(tmp_path / "in.vcf", lines)
    monkeypatch.setattr(Engine, "evaluate", lambda *_: [])
    files = {
        "-R": "human/hg38_chr1_1_1000000.fa.gz",
        "-A": "human/chr1_1Mb.genes.tsv",
        "-m": "weights/spliceai-illumina",
    }
    inputs = [word for option, file in files.items() for word in (option, shared_data / file)]
    options += ["--precomputed-as", "spliceai,D=50,M=0", "--rules", "spliceai", "--device", "cpu"]
    ran = run("variant", "-I", source, "-O", tmp_path / "out.vcf", *inputs, *options)
    assert ran.code == 0, ran.err
    found = read_vcf(tmp_path / "out.vcf")[1]
    assert len(found) == len(expected) > 500
    for line in found:
        _, pos, _, ref, alt, *_ = line.split("\t")
        assert f"SpliceAI={info_of(line)['SpliceAI']}" == expected[pos, ref, alt]
    assert set(sources(found)) == {"precomputed"}


# ---- long runs


def test_shares_and_their_merging_give_the_same_bytes(
    run: Run, score: Run, made: Made, varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basecast.effects.cut.SHARD", 5)
    file = made("--decimals", "4", source=write_vcf(tmp_path / "some.vcf", read_vcf(varied)[1][::2]))
    options, target = ("--precomputed", file), tmp_path / "out.vcf"
    assert score(varied, target, *options).code == 0
    expected = target.read_bytes()
    target.unlink()
    (tmp_path / "out.vcf.stats.json").unlink()
    assert score(varied, target, *options, "--shard", "1/2").code == 0
    check_refused(
        score(varied, target, "--shard", "2/2"),
        rf"another run: --precomputed was '{file.name} \(sha256 \w{{64}}\)' and is None",
        2,
    )
    assert score(varied, target, *options, "--shard", "2/2").code == 0
    assert run("merge", target).code == 0
    assert target.read_bytes() == expected


def test_a_copy_elsewhere_gives_the_same(made: Made, world: World, varied: Path, asked: list[int]) -> None:
    settings = PrecomputedSettings(files=(made("--decimals", "4"),))
    scorer = Scorer(world.model, world.genome, world.genes, VariantSettings(device="cpu"))
    worker = Precomputed(scorer, settings, 2, False)
    with VariantReader(varied) as reader:
        records = list(reader)
    asked.clear()
    payload = pickle.loads(pickle.dumps(worker)).payload(records)
    assert payload == worker.payload(records)
    assert sum(asked) == 0
    assert len(settings.digests()) == 2
