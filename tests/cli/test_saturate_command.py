"""``basecast saturate``: every allele of some bases, in the lines that ``variant`` writes; killed, shared, merged."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pysam
import pytest

from basecast.effects import cut
from basecast.effects.scorer import Scorer
from basecast.genome.variants import VariantRecord
from conftest import Run, World, contig_lines, info_of, read_vcf, stats_of, write_vcf

REGION = ("--region", "chr1:238-243")
N_BASES = 6
_SUFFIXES = (".vcf", ".vcf.gz", ".bcf", ".tsv", ".parquet")


@pytest.fixture
def saturate(run: Run, world: World) -> Run:
    """``basecast saturate`` on the world: target, options."""
    ground = ("-R", world.genome, "-A", world.genes, "-m", world.model, "--device", "cpu")
    return lambda target, *options: run("saturate", *ground, "-O", target, *options)


def alleles_of(path: Path) -> list[tuple[str, int, str, str]]:
    fields = [line.split("\t") for line in read_vcf(path)[1]]
    return [(contig, int(position), ref, alt) for contig, position, _, ref, alt, *_ in fields]


def written(target: Path) -> dict[str, Any]:
    """Every file of an output: its bytes, of the summary what does not depend on the clock."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in target.parent.glob(f"{target.name}*")}
    return files | {f"{target.name}.stats.json": stats_of(target) | {"seconds": 0}}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- what is written


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_the_lines_are_those_of_variant(rules: str, saturate: Run, score: Run, world: World, tmp_path: Path) -> None:
    options = ("--rules", rules, "-M", "both", "--decimals", "4", "--probabilities", "-D", "40")
    ran = saturate(tmp_path / "all.vcf", *REGION, "--indels", *options)
    assert ran.code == 0, ran.err
    header, lines = read_vcf(tmp_path / "all.vcf")
    bare = ["\t".join([*line.split("\t")[:7], "."]) for line in lines]
    source = write_vcf(tmp_path / "in.vcf", bare, ["##fileformat=VCFv4.2", *contig_lines()])
    assert score(source, tmp_path / "out.vcf", *options).code == 0
    expected_header, expected = read_vcf(tmp_path / "out.vcf")
    assert lines == expected
    assert len(lines) == 11 * N_BASES
    key = "SpliceAI" if rules == "spliceai" else "BasecastSplice"
    assert all(info_of(line)[key].startswith(f"{line.split(chr(9))[4]}|GENE1|") for line in lines)
    differ = [i for i, pair in enumerate(zip(header, expected_header, strict=True)) if pair[0] != pair[1]]
    assert [header[i].split("=")[0] for i in differ] == ["##basecast_run"]  # which names the command
    assert 'Command="basecast saturate -R' in header[differ[0]]


def test_every_format_has_the_same(saturate: Run, tmp_path: Path) -> None:
    for suffix in _SUFFIXES:
        assert saturate(tmp_path / f"out{suffix}", *REGION, "--indels").code == 0
    lines = read_vcf(tmp_path / "out.vcf")[1]
    assert read_vcf(tmp_path / "out.vcf.gz")[1] == lines
    with pysam.VariantFile(str(tmp_path / "out.bcf")) as bcf:
        assert [str(record).rstrip("\n") for record in bcf] == lines
    with pysam.TabixFile(str(tmp_path / "out.vcf.gz")) as indexed:
        assert list(indexed.fetch("chr1", 239, 240)) == [
            line for line in lines if 240 - len(line.split("\t")[3]) < int(line.split("\t")[1]) <= 240
        ]
    assert (tmp_path / "out.bcf.csi").exists()
    table = pl.read_csv(tmp_path / "out.tsv", separator="\t", null_values=".", schema_overrides={"ref": pl.String})
    parquet = pl.read_parquet(tmp_path / "out.parquet")
    assert table.columns == parquet.columns
    for found in (table, parquet):
        keys = found.select("contig", "position", "ref", "alt").unique(maintain_order=True)
        assert list(keys.iter_rows()) == alleles_of(tmp_path / "out.vcf")
    assert parquet["DS_DG"].max() > 0.05  # type: ignore[operator]


def test_records_are_sorted_and_each_is_there_once_whatever_names_its_bases(saturate: Run, tmp_path: Path) -> None:
    bed = tmp_path / "a.bed"
    bed.write_text("chr2\t0\t3\nchr1\t1735\t1742\n")
    target = tmp_path / "out.vcf"
    named = ("--region", "chr1:238-240", "chr1:239-243", "--region", "1:1,900-1,905", "--gene", "ID_ODD", "--bed", bed)
    ran = saturate(target, *named, "--indels")
    assert ran.code == 0, ran.err
    found = alleles_of(target)
    contigs = ("chr1", "chr2")
    assert found == sorted(found, key=lambda x: (contigs.index(x[0]), *x[1:]))
    assert len(set(found)) == len(found)
    assert stats_of(target)["bases"] == 6 + 205 + 3  # the third gene is 1,701-1,900, and 1,900 is of the region too
    substituted = {(contig, at) for contig, at, ref, alt in found if len(ref) == len(alt) == 1}
    expected = {("chr1", at) for at in (*range(238, 244), *range(1701, 1906))} | {("chr2", at) for at in (1, 2, 3)}
    assert substituted == expected


def test_the_summary_is_said(saturate: Run, tmp_path: Path) -> None:
    ran = saturate(tmp_path / "out.vcf", "--region", "chr1:198-203")
    assert "9 of 18 alleles of 6 bases scored (without score: 9 no_gene) by tiny on cpu in" in ran.err
    stats = stats_of(tmp_path / "out.vcf")
    assert (stats["bases"], stats["alleles"], stats["scored"], stats["statuses"]) == (6, 18, 9, {"no_gene": 9})
    reasons = [info_of(line).get("BasecastStatus") for line in read_vcf(tmp_path / "out.vcf")[1]]
    assert sum(reason is not None and reason.endswith("|no_gene") for reason in reasons) == 9


def test_nothing_scored_is_exit_3(saturate: Run, tmp_path: Path) -> None:
    ran = saturate(tmp_path / "out.vcf.gz", "--region", "chr1:2,901-2,902")
    assert ran.code == 3
    assert len(read_vcf(tmp_path / "out.vcf.gz")[1]) == 6


# ---- what cannot be


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("out.vcf", (), "give --region CONTIG:START-END, --gene NAME or --bed FILE"),
        ("out.vcf", ("--region", "chr1:0-9"), "bases count from 1"),
        ("out.vcf", ("--gene", "GENE3"), "did you mean GENE2, GENE1, "),
        ("out.txt", REGION, "end it with .vcf, .vcf.gz, .vcf.bgz, .bcf, .tsv, .parquet"),
        ("out.vcf", (*REGION, "--gene"), "--gene"),
        ("out.vcf", (*REGION, "--bed", "--indels"), "--bed"),
        ("out.vcf", ("--region",), "--region"),
        ("none/out.vcf", REGION, "mkdir -p"),
        ("out.vcf.gz", (*REGION, "--format", "vep"), "has two files: give -O"),
        ("out", (*REGION, "--format", "vep", "-M", "both"), "leave -M both away"),
        ("out", (*REGION, "--format", "vcf"), "--format"),
        ("out.vcf", (*REGION, "-D", "51"), "a distance of 51 is more than model tiny sees: 50 at most"),
    ],
)
def test_a_wrong_command_is_exit_2(
    target: str, options: tuple[str, ...], said: str, saturate: Run, tmp_path: Path
) -> None:
    ran = saturate(tmp_path / target, *options)
    assert ran.code == 2
    assert said in ran.err
    assert names(tmp_path) == set()


@pytest.mark.parametrize("given", [("-O=-",), ("-O", "-")], ids=" ".join)
def test_standard_output_is_no_place_for_it(given: tuple[str, ...], run: Run, world: World) -> None:
    ground = ("-R", world.genome, "-A", world.genes, "-m", world.model)
    ran = run("saturate", *ground, *given, *REGION)
    assert (ran.code, ran.out) == (2, "")
    assert "give a file with -O" in ran.err


@pytest.mark.parametrize("option", ["-A", "--bed"])
def test_an_input_is_not_written_over(option: str, run: Run, world: World, tmp_path: Path) -> None:
    table = tmp_path / "given.tsv"
    table.write_bytes(world.genes.read_bytes())
    given = {"-R": world.genome, "-A": world.genes, "-m": world.model, option: table, "-O": table}
    ran = run("saturate", *(word for pair in given.items() for word in pair), *REGION)
    assert ran.code == 2
    assert f"the output {table} is one of the inputs" in ran.err
    assert table.read_bytes() == world.genes.read_bytes()


def test_a_bed_file_that_is_none_is_exit_1(saturate: Run, tmp_path: Path) -> None:
    bed = tmp_path / "a.bed"
    bed.write_text("chr1\t10\n")
    ran = saturate(tmp_path / "out.vcf", "--bed", bed)
    assert ran.code == 1
    assert f"line 1 of {bed} is no BED" in ran.err


# ---- a long run

_WAYS = [*(("--indels", f"out{suffix}") for suffix in _SUFFIXES), ("--format", "vep", "--indels", "out")]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> int:
    """Alleles of a shard; the last is smaller, and bases are cut between two of them."""
    monkeypatch.setattr(cut, "SHARD", 10)
    return 10


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Let something happen as a shard of that number is begun, once."""
    payload = Scorer.payload

    def meet(shard: int, accident: Callable[[], Any]) -> None:
        def meeting(self: Scorer, records: Sequence[VariantRecord]) -> bytes:
            if (records[0].number - 1) // 10 == shard:
                monkeypatch.setattr(Scorer, "payload", payload)
                accident()
            return payload(self, records)

        monkeypatch.setattr(Scorer, "payload", meeting)

    return meet


def whole(saturate: Run, target: Path, *options: object) -> dict[str, Any]:
    """What an undisturbed run writes under that name; it is removed."""
    assert saturate(target, *REGION, *options).code == 0
    found = written(target)
    for path in target.parent.iterdir():
        path.unlink()
    return found


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("way", _WAYS, ids=" ".join)
def test_an_interrupted_run_goes_on(
    way: tuple[str, ...], saturate: Run, meet: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *options, name = way
    target = tmp_path / name
    expected = whole(saturate, target, *options)
    meet(2, lambda: signal.raise_signal(signal.SIGTERM))
    ran = saturate(target, *REGION, *options)
    assert ran.code == 143
    assert names(tmp_path) == {f"{name}.basecast"}
    scored: list[int] = []
    payload = Scorer.payload
    monkeypatch.setattr(Scorer, "payload", lambda self, x: (scored.append(x[0].number), payload(self, x))[1])
    assert saturate(target, *REGION, *options).code == 0
    assert scored == [31, 41, 51, 61]
    assert written(target) == expected
    assert names(tmp_path) == set(expected)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("way", _WAYS, ids=" ".join)
def test_shards_give_the_bytes_of_one_process(way: tuple[str, ...], saturate: Run, run: Run, tmp_path: Path) -> None:
    *options, name = way
    target = tmp_path / name
    expected = whole(saturate, target, *options)
    for i in (3, 1, 2):
        ran = saturate(target, *REGION, *options, "--shard", f"{i}/3")
        assert ran.code == 0, ran.err
        assert f"shard {i}/3 is done; when all are: basecast merge {target}" in ran.err
    merged = run("merge", target)
    assert merged.code == 0, merged.err
    assert "66 of 66 alleles of 6 bases scored by tiny on cpu" in merged.err
    assert written(target) == expected
    assert names(tmp_path) == set(expected)
    assert "is whole already" in run("merge", target).err


@pytest.mark.usefixtures("small_shards")
def test_missing_shares_and_another_genome_are_named(run: Run, world: World, tmp_path: Path) -> None:
    target, genome = tmp_path / "out.vcf", tmp_path / "g.fa"
    genome.write_bytes(world.genome.read_bytes())

    ground = ("-A", world.genes, "-m", world.model, "--device", "cpu", "-R", genome, *REGION, "-O", target)
    assert run("saturate", *ground, "--shard", "1/2").code == 0
    ran = run("merge", target)
    assert ran.code == 1
    assert "lacks 1 part of 2 (1): run --shard 2/2 (again)" in ran.err
    assert run("saturate", *ground, "--shard", "2/2").code == 0
    genome.write_bytes(world.genome.read_bytes().replace(b"chr2", b"chr3"))
    ran = run("merge", target)
    assert ran.code == 1
    assert f"{genome} is not what it was when it was scored: put it back, then merge" in ran.err
    genome.write_bytes(world.genome.read_bytes())
    assert run("merge", target).code == 0


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--region", "chr1:238-244"), "--region, --gene, --bed was '1 stretch, 6 bases, sha256 "),
        (("--region", "chr1:1-100", "--indels"), "and is '2 stretches, 106 bases, sha256 "),
        (("--indels",), "indels was False and is True"),
        (("-D", "20"), "distance was 50 and is 20"),
    ],
)
def test_another_run_does_not_go_on(
    option: tuple[str, ...], said: str, saturate: Run, meet: Callable[..., None], tmp_path: Path
) -> None:
    target = tmp_path / "out.vcf"
    meet(1, lambda: signal.raise_signal(signal.SIGTERM))
    assert saturate(target, *REGION).code == 143
    ran = saturate(target, *REGION, *option)
    assert ran.code == 2
    assert said in ran.err


# ---- looked up


def test_variant_takes_its_scores_from_it(saturate: Run, score: Run, tmp_path: Path) -> None:
    table = tmp_path / "all.vcf.gz"
    assert saturate(table, *REGION, "--indels", "--decimals", "4").code == 0
    lines = read_vcf(table)[1]
    bare = ["\t".join([*line.split("\t")[:7], "."]) for line in lines]
    source = write_vcf(tmp_path / "in.vcf", bare, ["##fileformat=VCFv4.2", *contig_lines()])
    ran = score(source, tmp_path / "out.vcf", "--decimals", "4", "--precomputed", table)
    assert ran.code == 0, ran.err
    assert "66 of 66 alleles scored, 66 of them precomputed" in ran.err
    found = read_vcf(tmp_path / "out.vcf")[1]
    for key in ("BasecastSplice", "BasecastSplice_DS_MAX"):
        assert [info_of(line)[key] for line in found] == [info_of(line)[key] for line in lines]
