"""``basecast variant`` from files to files: nothing lost, nothing else touched, the same scores wherever they go."""

from __future__ import annotations

import gzip
import math
import os
import random
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pysam
import pytest

import basecast as bc
from basecast.effects import cut
from basecast.effects.info import THEIRS
from basecast.genome.source import Masked
from basecast.spec import Calibration
from basecast.zoo.importers import spliceai_keras
from basecast.zoo.package import Package, save_package
from conftest import (
    COLUMNS,
    Run,
    World,
    check_alike,
    command,
    in_a_process,
    info_of,
    read_vcf,
    stats_of,
    tiny_package,
    write_vcf,
)

NASTY_HEADER = (
    "##fileformat=VCFv4.1",
    '##odd="quoted, with = and <brackets>"',
    "##empty=",
    '##INFO=<ID=AF,Number=A,Type=Float,Description="a \\"frequency\\", f;g">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">',
    "##contig=<ID=HLA-A*01:01:01:01,length=3503>",
)
needs_bcftools = pytest.mark.skipif(shutil.which("bcftools") is None, reason="needs bcftools")


def without_ours(lines: list[str], key: str = "Basecast") -> list[str]:
    """The lines with our INFO keys cut out, as one would with sed."""
    return [re.sub(rf"(;|(?<=\t)){key}\w*=[^;\t]*", "", line) for line in lines]


def scores_of(line: str, key: str = "BasecastSplice") -> list[list[str]]:
    return [entry.split("|") for entry in info_of(line)[key].split(",")] if key in info_of(line) else []


# ---- what is not ours stays as it is


def test_lines_are_byte_identical_with_our_keys_cut_out(score: Run, world: World, tmp_path: Path) -> None:
    samples = "\t".join(f"s{i}" for i in range(100))
    genotypes = "GT:XX\t" + "\t".join(f"{i % 2}|{i % 3 % 2}:{i}" for i in range(100))
    plain = [
        world.record("chr1", 211, 1, "{other}", f"30.00\tmade_up;q10\tAF=0.10;ODD=1,x;EVEN\t{genotypes}"),
        world.record("chr1", 230, 1, "{other},<DEL>", f"1e2\tPASS\tX=a%3Bb;Y=\u00e9\t{genotypes}", "rs1;rs2"),
        world.record("chr1", 250, 1, "{other}", f".\t.\tAF=1e-03\t{genotypes}").replace("\t250\t", "\t0250\t"),
        world.record("chr1", 260, 1, "{other}", f".\t\tA=b=c\t{genotypes}").lower().replace("chr1", "chr1"),
    ]
    header = [*NASTY_HEADER, f"{COLUMNS}\tFORMAT\t{samples}"]
    source, target = write_vcf(tmp_path / "in.vcf", plain, header), tmp_path / "out.vcf"
    assert score(source, target).code == 0
    ours = [
        line for line in target.read_text().splitlines(keepends=True) if not re.match("##(INFO=<ID=)?[Bb]asec", line)
    ]
    assert "".join(without_ours(ours)).encode() == source.read_bytes()
    assert all("Basecast" in line for line in read_vcf(target)[1])


def test_an_empty_info_is_replaced_and_given_back(score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", 211, 1, "{other}")])
    score(source, tmp_path / "out.vcf")
    info = read_vcf(tmp_path / "out.vcf")[1][0].split("\t")[7]
    assert info.startswith("BasecastSplice=")
    assert not info.startswith(".")


# ---- the same scores wherever they go


@pytest.fixture(scope="module")
def expected(varied: Path, world: World) -> pl.DataFrame:
    return bc.score_variants(varied, model=world.model, genome=world.genome, annotation=world.genes).table


def check_against_table(lines: list[str], expected: pl.DataFrame, decimals: int = 2) -> None:
    """INFO of a VCF's records against ``score_variants``, row by row."""
    scored = expected.filter(pl.col("status") == "scored").rows(named=True)
    written = [(line, entry) for line in lines for entry in scores_of(line)]
    assert len(written) == len(scored) > 20
    for (line, entry), row in zip(written, scored, strict=True):
        assert line.split("\t")[1] == str(row["position"])
        assert entry[0] == row["alt"]
        for i, label in enumerate(("AG", "AL", "DG", "DL")):
            assert entry[2 + i] == f"{row[f'DS_{label}']:.{decimals}f}"
            offset = row[f"OFFSET_{label}"]
            assert entry[6 + i] == f"{row[f'DP_{label}']}{f'+{offset}' if offset else ''}"
        assert entry[10:13] == [row["gene_id"], row["transcript"], row["strand"]]
    assert scored[0]["DS_AL"] > 0.2


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_variant_files_hold_the_numbers_of_python(
    suffix: str, score: Run, varied: Path, expected: pl.DataFrame, tmp_path: Path
) -> None:
    target = tmp_path / f"out{suffix}"
    assert score(varied, target).code == 0
    if suffix == ".vcf":
        lines = read_vcf(target)[1]
    else:
        with pysam.VariantFile(str(target)) as file:
            lines = [str(record).rstrip("\n") for record in file]
        with pysam.VariantFile(str(target)) as file:  # by the index
            assert [record.pos for record in file.fetch("chr1", 649, 702)] == [650, 700, 702]
    assert Path(f"{target}.tbi").exists() == (suffix == ".vcf.gz")
    assert Path(f"{target}.csi").exists() == (suffix == ".bcf")
    check_against_table(lines, expected)
    left = {path.name for path in tmp_path.iterdir()} - {target.name, f"{target.name}.tbi", f"{target.name}.csi"}
    assert left == {f"{target.name}.stats.json"}


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_tables_hold_the_numbers_of_python(
    suffix: str, score: Run, varied: Path, expected: pl.DataFrame, tmp_path: Path
) -> None:
    target = tmp_path / f"out{suffix}"
    assert score(varied, target).code == 0
    if suffix == ".parquet":
        found = pl.read_parquet(target)
    else:
        found = pl.read_csv(target, separator="\t", null_values=".", schema=expected.schema)
    assert found.equals(expected) or found.fill_null("").equals(expected.fill_null(""))
    assert found["DS_AG"].max() > 0.3
    assert found.filter(pl.col("status") == "symbolic_allele").height == 1


def test_standard_input_and_output(score: Run, varied: Path, world: World, tmp_path: Path) -> None:
    score(varied, tmp_path / "out.vcf")
    done = in_a_process(*world.arguments("-", "-"), input=gzip.compress(varied.read_bytes()), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = read_vcf(tmp_path / "out.vcf")[1]
    assert [line for line in done.stdout.decode().splitlines() if line[0] != "#"] == expected
    assert {path.name for path in tmp_path.iterdir()} == {"out.vcf", "out.vcf.stats.json"}


def test_the_order_of_a_file_is_kept_and_changes_no_score(
    score: Run, varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for settings in ({}, {"SHARD": 3}, {"SHARD": 3, "SPAN": 7}):
        for name, value in settings.items():
            monkeypatch.setattr(cut, name, value)
        lines = {}
        for name, places in (("sorted", sorted(range(19))), ("mixed", random.Random(0).sample(range(19), 19))):
            records = read_vcf(varied)[1]
            source = write_vcf(tmp_path / f"{name}.vcf", [records[i] for i in places])
            assert score(source, tmp_path / "out.vcf").code == 0
            lines[name] = read_vcf(tmp_path / "out.vcf")[1]
            assert [line.split("\t")[:5] for line in lines[name]] == [records[i].split("\t")[:5] for i in places]
        check_alike(*(sorted(found, key=lambda line: int(line.split("\t")[1])) for found in lines.values()))


def test_a_pipe_by_name_is_read_once(score: Run, varied: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    filling = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(varied.read_bytes()))
    filling.start()
    assert score(tmp_path / "pipe", tmp_path / "out.vcf").code == 0
    filling.join()
    assert len(read_vcf(tmp_path / "out.vcf")[1]) == len(read_vcf(varied)[1])


def test_a_reader_that_leaves_early_is_no_traceback(varied: Path, world: World, tmp_path: Path) -> None:
    many = write_vcf(tmp_path / "many.vcf", read_vcf(varied)[1] * 60)  # more than a pipe holds
    process = subprocess.Popen(command(*world.arguments(many, "-")), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in said
    assert b"Exception" not in said


@pytest.mark.parametrize("names", ["CHROM\tPOS\tREF\tALT\tnote", "", "chrom\tpos\tid\tref\talt"])
def test_a_table_in(names: str, score: Run, varied: Path, tmp_path: Path) -> None:
    rows = []
    for line in read_vcf(varied)[1]:
        contig, position, _, ref, alt = line.split("\t")[:5]
        rows.append("\t".join([contig, position, *(["x"] if "id" in names else []), ref, alt]))
    (tmp_path / "in.tsv").write_text("\n".join(([names] if names else []) + rows) + "\n")
    assert score(tmp_path / "in.tsv", tmp_path / "out.vcf").code == 0
    assert score(varied, tmp_path / "from_vcf.vcf").code == 0
    theirs = [info_of(line).get("BasecastSplice") for line in read_vcf(tmp_path / "from_vcf.vcf")[1]]
    assert [info_of(line).get("BasecastSplice") for line in read_vcf(tmp_path / "out.vcf")[1]] == theirs


def test_packed_input(score: Run, varied: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.vcf.gz").write_bytes(gzip.compress(varied.read_bytes()))
    with pysam.BGZFile(str(tmp_path / "block.vcf.gz"), "wb") as file:
        file.write(varied.read_bytes())
    with (
        pysam.VariantFile(str(varied)) as file,
        pysam.VariantFile(str(tmp_path / "b.bcf"), "wb", header=file.header) as b,
    ):
        for record in file:
            b.write(record)
    found = []
    for name in (varied, "plain.vcf.gz", "block.vcf.gz", "b.bcf"):
        assert score(tmp_path / name, tmp_path / "out.vcf").code == 0
        found.append([info_of(line).get("BasecastSplice") for line in read_vcf(tmp_path / "out.vcf")[1]])
    assert all(x == found[0] for x in found)


# ---- masks, digits, probabilities, keys


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_both_masks_at_once_are_each_alone(rules: str, score: Run, varied: Path, tmp_path: Path) -> None:
    key = "SpliceAI" if rules == "spliceai" else "BasecastSplice"
    found = {}
    for mask in ("0", "1", "both"):
        assert score(varied, tmp_path / f"{mask}.vcf", "-M", mask, "--rules", rules).code == 0
        found[mask] = [info_of(line) for line in read_vcf(tmp_path / f"{mask}.vcf")[1]]
    for suffix in ("", "_DS_MAX"):
        raw = [info.get(f"{key}{suffix}") for info in found["both"]]
        masked = [info.get(f"{key}_masked{suffix}") for info in found["both"]]
        assert raw == [info.get(f"{key}{suffix}") for info in found["0"]]
        assert masked == [info.get(f"{key}{suffix}") for info in found["1"]]
    assert [x.get(key) for x in found["0"]] != [x.get(key) for x in found["1"]]


@pytest.mark.parametrize("decimals", [1, 4])
def test_digits(decimals: int, score: Run, varied: Path, expected: pl.DataFrame, tmp_path: Path) -> None:
    assert score(varied, tmp_path / "out.vcf", "--decimals", decimals).code == 0
    check_against_table(read_vcf(tmp_path / "out.vcf")[1], expected, decimals)


def test_probabilities_are_those_of_the_engine_on_the_masked_gene(
    score: Run, varied: Path, world: World, tmp_path: Path
) -> None:
    assert score(varied, tmp_path / "out.vcf", "--probabilities", "--decimals", "8").code == 0
    header, lines = read_vcf(tmp_path / "out.vcf")
    declared = next(line for line in header if line.startswith("##INFO=<ID=BasecastSplice,"))
    fields = declared.split("Format: ")[1].removesuffix('">').split("|")
    genome = bc.Genome(world.genome)
    genes = {t.gene_id: t for t in bc.Annotation.read(world.genes).transcripts}
    engine = bc.Engine(world.package, device="cpu")
    n_checked = 0
    for line in lines:
        position = int(line.split("\t")[1])
        for entry in scores_of(line):
            assert len(entry) == len(fields)
            row = dict(zip(fields, entry, strict=True))
            gene = genes[row["GENE_ID"]]
            source = Masked(genome, gene.contig, gene.start, gene.end)
            for label in ("AG", "AL", "DG", "DL"):
                assert (
                    abs(abs(float(row[f"ALT_{label}"]) - float(row[f"REF_{label}"])) - float(row[f"DS_{label}"])) < 1e-4
                )
                if "+" in row[f"DP_{label}"]:
                    assert float(row[f"REF_{label}"]) == 0
                    continue
                at = position - 1 + int(row[f"DP_{label}"])
                (values,) = engine.evaluate([bc.Request(source, gene.contig, at, at + 1, gene.strand)], ["splice"])
                assert abs(values["splice"][0, 1 if label[0] == "A" else 2] - float(row[f"REF_{label}"])) < 1e-6
                n_checked += 1
    assert n_checked > 80


def test_largest_and_consequence_follow_the_scores(score: Run, varied: Path, tmp_path: Path) -> None:
    score(varied, tmp_path / "out.vcf", "--decimals", "4")
    events = ("acceptor_gain", "acceptor_loss", "donor_gain", "donor_loss")
    seen = set()
    for line in read_vcf(tmp_path / "out.vcf")[1]:
        entries, alts = scores_of(line), line.split("\t")[4].split(",")
        for entry in entries:
            wanted = [event for event, x in zip(events, entry[2:6], strict=True) if float(x) >= 0.2]
            assert entry[13] == ("&".join(wanted) or ".")
            seen.add(entry[13])
        if entries:
            largest = info_of(line)["BasecastSplice_DS_MAX"].split(",")
            assert len(largest) == len(alts)
            for alt, value in zip(alts, largest, strict=True):
                own = [max(map(float, e[2:6])) for e in entries if e[0] == alt]
                assert (float(value) == max(own)) if own else value == "."
    assert {"acceptor_loss", ".", "acceptor_gain&donor_loss"} <= seen


def test_reserved_characters_of_a_gene_name_are_encoded(score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", 1721, 1, "{other}")])
    score(source, tmp_path / "out.vcf")
    (line,) = read_vcf(tmp_path / "out.vcf")[1]
    assert sorted(entry[1] for entry in scores_of(line)) == ["GENE2", "ODD%3BNAME%2C1%7Cx"]
    assert {entry[12] for entry in scores_of(line)} == {"+", "-"}


def test_two_models_annotate_one_file(score: Run, varied: Path, tmp_path: Path) -> None:
    score(varied, tmp_path / "0.vcf")
    assert score(tmp_path / "0.vcf", tmp_path / "1.vcf", "--info-key", "Mine", "-M", "both").code == 0
    assert score(tmp_path / "1.vcf", tmp_path / "2.vcf", "--info-key", "Other").code == 0
    header, lines = read_vcf(tmp_path / "2.vcf")
    first = info_of(lines[0])
    assert first["Mine"] == first["Other"] == first["BasecastSplice"]
    assert {"Mine_masked", "Mine_DS_MAX", "Mine_masked_DS_MAX", "Other_DS_MAX"} <= first.keys()
    unscored = info_of(next(line for line in lines if "\t710\t" in line))
    assert unscored["Mine_Status"] == unscored["Other_Status"] == unscored["BasecastStatus"] == "<DEL>|symbolic_allele"
    runs = [line for line in header if line.startswith("##basecast_run=")]
    assert [re.findall("ID=(\\w+)", line)[0] for line in runs] == ["BasecastSplice", "Mine", "Other"]
    assert "\n".join(without_ours(without_ours(lines, "Mine"), "Other")).count("Basecast") == "\n".join(
        without_ours(without_ours(read_vcf(tmp_path / "0.vcf")[1], "Mine"), "Other")
    ).count("Basecast")


def test_a_key_that_is_there_is_refused_or_replaced(score: Run, varied: Path, tmp_path: Path) -> None:
    assert score(varied, tmp_path / "1.vcf", "-M", "both").code == 0
    refused = score(tmp_path / "1.vcf", tmp_path / "2.vcf")
    assert refused.code == 1
    assert "BasecastSplice already" in refused.err
    assert "--overwrite-info" in refused.err
    assert "--info-key" in refused.err
    assert not (tmp_path / "2.vcf").exists()
    assert score(tmp_path / "1.vcf", tmp_path / "2.vcf", "--overwrite-info", "-D", "20").code == 0
    assert score(varied, tmp_path / "fresh.vcf", "-D", "20").code == 0
    replaced, fresh = read_vcf(tmp_path / "2.vcf"), read_vcf(tmp_path / "fresh.vcf")
    assert replaced[1] == fresh[1]
    without_command = [[re.sub('Command="[^"]*"', "", line) for line in header] for header in (replaced[0], fresh[0])]
    assert without_command[0] == without_command[1]


def test_a_key_that_no_header_declares_is_refused_at_its_record(score: Run, world: World, tmp_path: Path) -> None:
    records = [
        world.record("chr1", p, 1, "{other}", f".\t.\t{i}") for p, i in ((211, "A=1"), (230, "BasecastStatus=x"))
    ]
    ran = score(write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf")
    assert ran.code == 1
    assert "record 2 has the INFO key BasecastStatus already" in ran.err
    ran = score(tmp_path / "in.vcf", tmp_path / "out.vcf", "--overwrite-info")
    assert ran.code == 0
    assert info_of(read_vcf(tmp_path / "out.vcf")[1][1]).keys() == {"BasecastSplice", "BasecastSplice_DS_MAX"}


@pytest.mark.parametrize("key", ["1x", "a b", "a;b", "", "\u00e4"])
def test_a_key_that_is_none_is_refused(key: str, score: Run, varied: Path, tmp_path: Path) -> None:
    ran = score(varied, tmp_path / "out.vcf", "--info-key", key)
    assert ran.code == 2
    assert "INFO key" in ran.err


# ---- what the header says


def test_the_header_says_what_was_run_on_what(score: Run, varied: Path, world: World, tmp_path: Path) -> None:
    target = tmp_path / 'a "b" \\c.vcf'
    assert score(varied, target, "-M", "1", "-D", "7").code == 0
    with pysam.VariantFile(str(target)) as file:
        lines = {
            record.key: dict(record.items()) for record in file.header.records if record.key.startswith("basecast")
        }
    run = {name: value.strip('"') for name, value in lines["basecast_run"].items()}
    assert run["Version"] == bc.__version__
    assert run["Command"].startswith("basecast variant -I ")
    assert "-M 1 -D 7" in run["Command"]
    assert run["Model"] == "tiny"
    assert run["ModelSha256"] == world.package.digest
    assert run["Licence"] == "CC0-1.0"
    assert (run["Rules"], run["D"], run["M"], run["Mask"], run["Precision"], run["Device"]) == (
        *("basecast", "7", "1", "gene"),
        *("fp32", "cpu"),
    )
    annotation = {name: value.strip('"') for name, value in lines["basecast_annotation"].items()}
    assert annotation["File"] == str(world.genes)
    assert annotation["Sha256"] == hash_of(world.genes)
    assert annotation["Transcripts"] == "canonical"
    reference = {name: value.strip('"') for name, value in lines["basecast_reference"].items()}
    assert (reference["File"], reference["Sha256"]) == (str(world.genome), hash_of(world.genome))


def hash_of(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rules_of_spliceai_have_its_key_and_its_ten_fields(score: Run, varied: Path, tmp_path: Path) -> None:
    assert score(varied, tmp_path / "out.vcf", "--rules", "spliceai").code == 0
    header, lines = read_vcf(tmp_path / "out.vcf")
    (declared,) = [line for line in header if line.startswith("##INFO=<ID=SpliceAI")]
    assert declared.endswith('Format: ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL">')
    assert "tiny" in declared
    assert "SpliceAI 1.3.1 rules" in declared
    assert THEIRS not in declared
    entries = [entry for line in lines for entry in scores_of(line, "SpliceAI")]
    assert {len(entry) for entry in entries} == {10}
    mnv = next(line for line in lines if "\t702\t" in line)
    assert scores_of(mnv, "SpliceAI")[0][2:] == ["."] * 8
    assert "mnv_not_scored_by_these_rules" in info_of(mnv)["BasecastStatus"]


def test_the_description_of_spliceai_is_for_its_own_weights(
    score: Run, varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tiny_package()
    save_package(tmp_path / "theirs", package)
    monkeypatch.setattr(spliceai_keras, "PUBLISHED", package.weights_digest)
    for rules, is_theirs in (("spliceai", True), ("basecast", False)):
        assert score(varied, tmp_path / "out.vcf", "-m", tmp_path / "theirs", "--rules", rules).code == 0
        assert any(THEIRS in line for line in read_vcf(tmp_path / "out.vcf")[0]) == is_theirs


def test_a_stored_temperature_is_for_our_rules_alone(score: Run, varied: Path, tmp_path: Path) -> None:
    package = tiny_package()
    spec = package.spec.model_copy(update={"calibration": Calibration(temperature={"splice": (2.5,)})})
    save_package(tmp_path / "warm", Package(spec, package.networks))
    for rules, key in (("spliceai", "SpliceAI"), ("basecast", "BasecastSplice")):
        found = []
        for more in ((), ("-m", tmp_path / "warm")):
            assert score(varied, tmp_path / "out.vcf", "--rules", rules, *more).code == 0
            found.append([info_of(line).get(key) for line in read_vcf(tmp_path / "out.vcf")[1]])
        assert (found[0] == found[1]) == (rules == "spliceai")


def test_the_largest_distance_is_half_the_context(score: Run, varied: Path, tmp_path: Path) -> None:
    assert score(varied, tmp_path / "out.vcf", "-D", "50").code == 0
    ran = score(varied, tmp_path / "out.vcf", "-D", "51")
    assert ran.code == 2
    assert "50 at most" in ran.err
    assert score(varied, tmp_path / "zero.vcf", "-D", "0").code == 0
    positions = [entry[6:10] for line in read_vcf(tmp_path / "zero.vcf")[1] for entry in scores_of(line)]
    assert set(positions[0]) == {"0"}


# ---- counts


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
@pytest.mark.parametrize("mask", ["0", "both"])
def test_counts_add_up(rules: str, mask: str, score: Run, world: World, tmp_path: Path) -> None:
    records = [
        world.record("chr1", 211, 1, "{other},<DEL>,*,{other}A"),
        world.record("chr1", 230, 3, "{other}AA,{first},<NON_REF>"),
        world.record("chr1", 260, 1, "."),
        world.record("chr1", 2900, 1, "{other},{other}C"),
        *(world.record("chr1", p, 1, "{other}") for p in range(300, 340)),
        "chrUn\t5\t.\tA\tC,G,T\t.\t.\t.",
    ]
    wrong = world.record("chr1", 342, 1, "{other},<DUP>").split("\t")
    wrong[3] = wrong[4][0]
    wrong[4] = "N,<DUP>"
    target = tmp_path / "out.vcf"
    ran = score(write_vcf(tmp_path / "in.vcf", [*records, "\t".join(wrong)]), target, "--rules", rules, "-M", mask)
    assert ran.code == 0
    stats = stats_of(target)
    assert stats["records"] == len(records) + 1
    assert stats["alleles"] == 4 + 3 + 1 + 2 + 40 + 3 + 2
    assert stats["alleles"] == stats["scored"] + sum(stats["statuses"].values())
    assert stats["statuses"]["unknown_contig"] == 3
    assert stats["statuses"]["ref_mismatch"] == 2
    assert stats["device"] == "cpu"
    for reason, n in stats["statuses"].items():
        assert f"{n} {reason}" in ran.err
    lines = read_vcf(target)[1]
    assert all("Basecast" in line or "SpliceAI=" in line for line in lines)
    assert f"ref_mismatch_genome_has_{world.bases['chr1'][341]}" in lines[-1]


# ---- other people's tools


@needs_bcftools
def test_bcftools_filters_by_the_largest_score(score: Run, varied: Path, tmp_path: Path) -> None:
    score(varied, tmp_path / "out.vcf.gz")
    filtering = ["bcftools", "view", "-H", "-i", "BasecastSplice_DS_MAX>=0.2", str(tmp_path / "out.vcf.gz")]
    done = subprocess.run(filtering, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    kept = {line.split("\t")[1] for line in done.stdout.splitlines()}
    wanted = {
        line.split("\t")[1]
        for line in read_vcf(tmp_path / "out.vcf.gz")[1]
        if any(float(x) >= 0.2 for x in info_of(line).get("BasecastSplice_DS_MAX", ".").split(",") if x != ".")
    }
    assert kept == wanted
    assert 5 < len(kept) < len(read_vcf(varied)[1]) - 3


@needs_bcftools
@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_split_vep_takes_the_fields_apart(suffix: str, score: Run, varied: Path, tmp_path: Path) -> None:
    target = tmp_path / f"out{suffix}"
    score(varied, target)
    fields = "%POS %ALLELE %SYMBOL %DS_AG %DP_DL %STRAND %Consequence\\n"
    splitting = ["bcftools", "+split-vep", str(target), "-a", "BasecastSplice", "-d", "-f", fields]
    done = subprocess.run(splitting, capture_output=True, text=True, check=False)
    if "not found" in done.stderr or "Could not load" in done.stderr:
        pytest.skip("needs bcftools' plugins")
    assert done.returncode == 0, done.stderr
    score(varied, tmp_path / "plain.vcf")
    wanted = [
        [line.split("\t")[1], entry[0], entry[1], entry[2], entry[9], entry[12], entry[13]]
        for line in read_vcf(tmp_path / "plain.vcf")[1]
        for entry in scores_of(line)
    ]
    assert [line.split() for line in done.stdout.splitlines()] == wanted
    typed = ["bcftools", "+split-vep", str(target), "-a", "BasecastSplice", "-c", "DS_AG:Float,SYMBOL", "-s", "all"]
    done = subprocess.run([*typed, "-i", "DS_AG>0.3"], capture_output=True, text=True, check=True)
    records = [line for line in done.stdout.splitlines() if line[0] != "#"]
    assert 0 < len(records) < len(wanted)
    assert all("DS_AG=" in line and "SYMBOL=" in line for line in records)


# ---- the Python face


def test_python_takes_tuples_and_settings(world: World, varied: Path, expected: pl.DataFrame) -> None:
    rows = [line.split("\t") for line in read_vcf(varied)[1]]
    scores = bc.score_variants(
        [(contig, int(position), ref, alt) for contig, position, _, ref, alt, *_ in rows],
        model=bc.load_model(world.model),
        genome=bc.Genome(world.genome),
        annotation=bc.Annotation.read(world.genes),
        mask="both",
    )
    assert scores.values.shape == (2 * expected.height, 4)
    raw = scores.table.filter(pl.col("mask") == "raw")
    assert np.array_equal(raw["DS_AG"].to_numpy(), expected["DS_AG"].to_numpy(), equal_nan=True)
    assert math.isnan(scores.values[scores.rows["status"].to_list().index("symbolic_allele"), 0])
    assert set(scores.provenance.sources.values()) >= {
        world.package.digest,
        hash_of(world.genome),
        hash_of(world.genes),
    }
