"""Bad input: what can be scored is, what cannot says why, and what is no input ends with a sentence."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pickle
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pysam import BGZFile
from safetensors.torch import save_file

from basecast.effects import output
from basecast.effects.scorer import Scorer
from basecast.genome import annotated
from basecast.genome.annotated import percent_encode
from basecast.inference.shards import Parts
from basecast.zoo.package import Package, save_package
from conftest import (
    LENGTHS,
    Ran,
    Run,
    World,
    command,
    contig_lines,
    exons,
    info_of,
    read_vcf,
    stats_of,
    tiny_package,
    write_vcf,
)

VERSION = "##fileformat=VCFv4.2"


def statuses(target: Path) -> list[str | None]:
    return [info_of(line).get("BasecastStatus") for line in read_vcf(target)[1]]


def plain(world: World, n: int = 30) -> list[str]:
    """Records that can be scored."""
    return [world.record("chr1", position, 1, "{other}") for position in range(211, 211 + n)]


def refused(ran: Ran, target: Path, *said: str, code: int = 1) -> None:
    """The run ended with one sentence and left nothing under the target's name."""
    assert ran.code == code, ran.err
    for words in said:
        assert words in ran.err
    assert "Traceback" not in ran.err
    assert not target.exists()
    assert not list(target.parent.glob(".*partial*"))


# ---- another build


def test_header_lengths_of_another_build_stop_the_run(score: Run, world: World, tmp_path: Path) -> None:
    header = [VERSION, "##contig=<ID=1,length=3001>", "##contig=<ID=chr2,length=900>", "##contig=<ID=chrM,length=9>"]
    source, target = write_vcf(tmp_path / "in.vcf", plain(world), header), tmp_path / "out.vcf"
    ran = score(source, target)
    refused(ran, target, "another genome build", "contig 1 has 3,001 bases", "3,000 in the FASTA", "0 of the first 30")
    assert "--force" in ran.err
    assert str(source) in ran.err
    assert str(world.genome) in ran.err
    assert score(source, target, "--force").code == 0
    assert stats_of(target)["scored"] == 30


@pytest.mark.parametrize(("n_wrong", "code"), [(2, 0), (3, 1), (40, 1)])
def test_more_than_a_twentieth_of_wrong_bases_stops_the_run(
    n_wrong: int, code: int, score: Run, world: World, tmp_path: Path
) -> None:
    records = plain(world, 40)
    for i in range(n_wrong):
        fields = records[i].split("\t")
        records[i] = "\t".join([*fields[:3], fields[4], fields[3], *fields[5:]])
    source, target = write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf"
    ran = score(source, target)
    if code:
        refused(ran, target, f"{n_wrong} of the first 40 records have another REF", "--force")
        ran = score(source, target, "--force")
    stats = stats_of(target)
    assert ran.code == (3 if n_wrong == 40 else 0)
    assert stats["statuses"] == {"ref_mismatch": n_wrong}
    assert statuses(target)[0] == f".|ref_mismatch_genome_has_{world.bases['chr1'][210]}"


def test_one_wrong_record_of_a_few_is_no_other_build(score: Run, world: World, tmp_path: Path) -> None:
    right, wrong = plain(world, 2), "chr1\t211\t.\tGGGGGGGG\tA\t.\t.\t."
    target = tmp_path / "out.vcf"
    assert score(write_vcf(tmp_path / "in.vcf", [*right, wrong]), target).code == 0
    assert stats_of(target)["statuses"] == {"ref_mismatch": 1}


def test_only_the_first_thousand_records_are_judged(score: Run, world: World, tmp_path: Path) -> None:
    away = [world.record("chr1", 10, 1, "{other}")] * 1000
    wrong = "chr1\t211\t.\tGGGGGGGG\tA\t.\t.\t."
    target = tmp_path / "out.vcf"
    assert score(write_vcf(tmp_path / "in.vcf", [*away, *[wrong] * 200]), target).code == 3
    assert stats_of(target)["statuses"] == {"no_gene": 1000, "ref_mismatch": 200}


# ---- contigs


def test_contigs_named_otherwise(score: Run, world: World, tmp_path: Path) -> None:
    score(write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "as_is.vcf")
    wanted = [line.split("\t", 1)[1] for line in read_vcf(tmp_path / "as_is.vcf")[1]]
    for name in ("1", "NC_000001.11"):
        records = [record.replace("chr1\t", f"{name}\t") for record in plain(world)]
        assert score(write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf").code == 0
        assert [line.split("\t", 1) for line in read_vcf(tmp_path / "out.vcf")[1]] == [[name, x] for x in wanted]


def test_genes_and_genome_named_otherwise(score: Run, world: World, tmp_path: Path) -> None:
    (tmp_path / "genes.gtf").write_text(world.genes.read_text().replace("chr", ""))
    (tmp_path / "genome.fa").write_text(world.genome.read_text().replace(">chr1", ">NC_000001.11"))
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    assert score(source, tmp_path / "out.vcf", "-R", tmp_path / "genome.fa", "-A", tmp_path / "genes.gtf").code == 0
    assert score(source, tmp_path / "as_is.vcf").code == 0
    assert read_vcf(tmp_path / "out.vcf")[1] == read_vcf(tmp_path / "as_is.vcf")[1]


def test_an_alias_table(score: Run, world: World, tmp_path: Path) -> None:
    (tmp_path / "aliases.tsv").write_text("# mine\nscaffold7\tchr1\n")
    records = [record.replace("chr1\t", "scaffold7\t") for record in plain(world)]
    source, target = write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf"
    ran = score(source, target)
    assert ran.code == 3
    assert "contig 'scaffold7'" in ran.err
    assert "which has 'chr1', 'chr2'" in ran.err
    assert "--contig-aliases" in ran.err
    assert set(statuses(target)) == {".|unknown_contig"}
    assert score(source, target, "--contig-aliases", tmp_path / "aliases.tsv").code == 0
    assert stats_of(target)["scored"] == 30


def test_an_annotation_of_another_genome(score: Run, world: World, tmp_path: Path) -> None:
    (tmp_path / "genes.gtf").write_text(world.genes.read_text().replace("chr", "scaffold_"))
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    refused(
        score(source, tmp_path / "out.vcf", "-A", tmp_path / "genes.gtf"),
        tmp_path / "out.vcf",
        "scaffold_1",
        "--contig-aliases",
    )
    (tmp_path / "some.gtf").write_text(world.genes.read_text().replace("chr2", "chrX"))
    ran = score(source, tmp_path / "out.vcf", "-A", tmp_path / "some.gtf")
    assert ran.code == 0
    assert "2 transcripts" in ran.err
    assert "chrX" in ran.err


def test_no_contigs_in_the_header_still_make_an_index(score: Run, world: World, tmp_path: Path) -> None:
    assert score(write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf.gz").code == 0
    assert (tmp_path / "out.vcf.gz.tbi").exists()
    assert score(tmp_path / "in.vcf", tmp_path / "out.bcf").code == 0
    assert (tmp_path / "out.bcf.csi").exists()


def test_unsorted_records_are_kept_in_their_order(score: Run, world: World, tmp_path: Path) -> None:
    records = [*plain(world)[::-1], world.record("chr2", 500, 1, "{other}"), *plain(world, 2)]
    target = tmp_path / "out.vcf.gz"
    Path(f"{target}.tbi").write_text("of an earlier run")
    ran = score(write_vcf(tmp_path / "in.vcf", records), target)
    assert ran.code == 0
    assert "has no index (record 2, chr1:239, comes after chr1:240)" in ran.err
    assert "bcftools sort" in ran.err
    assert not Path(f"{target}.tbi").exists()
    assert [line.split("\t")[:5] for line in read_vcf(target)[1]] == [record.split("\t")[:5] for record in records]
    assert stats_of(target)["scored"] == len(records)


# ---- alleles


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_alleles_that_are_no_sequence_do_not_cost_the_others(
    rules: str, score: Run, world: World, tmp_path: Path
) -> None:
    """The reference tool dies on the first symbolic allele and its output is lost."""
    kinds = {
        "<DEL>": "symbolic_allele",
        "<INS:ME:ALU>": "symbolic_allele",
        "<NON_REF>": "non_ref_block",
        "<*>": "non_ref_block",
        "*": "spanning_deletion",
        "{ref}]chr2:500]": "breakend",
        "[chr2:500[{ref}": "breakend",
        ".{ref}": "breakend",
        "{ref}.": "breakend",
        "A-C": "alt_is_no_sequence",
        "A C": "alt_is_no_sequence",
        "\u00e4": "alt_is_no_sequence",
        "<DEL": "symbolic_allele",
        "": "no_alt_allele",
        ".": "no_alt_allele",
    }
    records = [world.record("chr1", 211 + i, 1, alt) for i, alt in enumerate(kinds)]
    mixed = world.record("chr1", 300, 1, ",".join(["{other}", *list(kinds)[:9], "{ref}AC"]))
    target = tmp_path / "out.vcf"
    ran = score(write_vcf(tmp_path / "in.vcf", [*records, mixed, *plain(world)]), target, "--rules", rules)
    assert ran.code == 0
    lines = read_vcf(target)[1]
    for line, (alt, reason) in zip(lines, kinds.items(), strict=False):
        (status,) = info_of(line)["BasecastStatus"].split(",")
        assert status.split("|")[1] == reason, alt
    key = "SpliceAI" if rules == "spliceai" else "BasecastSplice"
    info = info_of(lines[len(kinds)])
    assert [entry.split("|")[0][-2:] for entry in info[key].split(",")] == [mixed.split("\t")[4][0], "AC"]
    assert [entry.split("|")[1] for entry in info["BasecastStatus"].split(",")] == list(kinds.values())[:9]
    assert all(key in info_of(line) for line in lines[len(kinds) + 1 :])
    if rules == "basecast":
        assert [value == "." for value in info["BasecastSplice_DS_MAX"].split(",")] == [False, *[True] * 9, False]


def test_lower_case_and_ambiguous_alleles(score: Run, world: World, tmp_path: Path) -> None:
    upper = world.record("chr1", 211, 3, "{other}")
    records = [
        upper,
        upper.replace("\t.\t", "\t.\t", 1),
        world.record("chr1", 215, 1, "R"),
        world.record("chr1", 216, 1, "N,{other}"),
    ]
    fields = upper.split("\t")
    records[1] = "\t".join([*fields[:3], fields[3].lower(), fields[4].lower(), *fields[5:]])
    records.append("chr1\t217\t.\tR\tA\t.\t.\t.")
    target = tmp_path / "out.vcf"
    assert score(write_vcf(tmp_path / "in.vcf", [*records, *plain(world)]), target).code == 0
    lines = read_vcf(target)[1]
    big, small = (info_of(line)["BasecastSplice"].split("|") for line in lines[:2])
    assert small[0] == big[0].lower()
    assert small[1:] == big[1:]
    assert info_of(lines[2])["BasecastStatus"] == "R|ambiguous_allele"
    assert info_of(lines[3])["BasecastStatus"] == "N|ambiguous_allele"
    assert info_of(lines[4])["BasecastStatus"] == f".|ref_mismatch_genome_has_{world.bases['chr1'][216]}"


def test_lower_case_and_ambiguous_alleles_under_the_rules_of_spliceai(score: Run, world: World, tmp_path: Path) -> None:
    fields = world.record("chr1", 211, 1, "{other}").split("\t")
    lower = "\t".join([*fields[:3], fields[3].lower(), *fields[4:]])
    target = tmp_path / "out.vcf"
    records = [lower, world.record("chr1", 215, 1, "r"), *plain(world)]
    assert score(write_vcf(tmp_path / "in.vcf", records), target, "--rules", "spliceai").code == 0
    lines = read_vcf(target)[1]
    assert info_of(lines[0])["BasecastStatus"] == ".|ref_lower_case"
    assert info_of(lines[1])["SpliceAI"].startswith("r|GENE1|")


def test_alt_that_is_ref_and_alleles_too_long(score: Run, world: World, tmp_path: Path) -> None:
    records = [
        world.record("chr1", 211, 1, "{ref}"),
        world.record("chr1", 300, 1, "{ref}" + "ACGT" * 25 + "A"),
        world.record("chr1", 300, 1, "{ref}" + "ACGT" * 25),
        world.record("chr1", 300, 102, "{first}"),
        world.record("chr1", 300, 101, "{first}"),
    ]
    target = tmp_path / "out.vcf"
    assert score(write_vcf(tmp_path / "in.vcf", records), target).code == 0
    reasons = [status and status.split("|")[1] for status in statuses(target)]
    assert reasons == ["alt_equals_ref", "alt_too_long", None, "ref_too_long", None]


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_first_and_last_base_of_a_contig(rules: str, score: Run, world: World, tmp_path: Path) -> None:
    records = [
        world.record("chr2", 1, 1, "{other}"),
        world.record("chr2", 1, 1, "{ref}ACG"),
        world.record("chr2", 1, 60, "{first}"),
        world.record("chr2", 1, 1, "AC{ref}"),
        world.record("chr2", 861, 40, "{first}"),
        world.record("chr2", 900, 1, "{other}"),
        world.record("chr2", 900, 1, "{ref}ACG"),
        world.record("chr2", 899, 2, "{other}{other}"),
        *(world.record("chr2", position, 1, "{other}") for position in range(420, 470)),
    ]
    outside = ["chr2\t901\t.\tA\tC\t.\t.\t.", "chr2\t900\t.\tAC\tA\t.\t.\t.", "chr2\t0\t.\tN\tA\t.\t.\t."]
    target = tmp_path / "out.vcf"
    ran = score(write_vcf(tmp_path / "in.vcf", [*records[:8], *outside[:2], *records[8:]]), target, "--rules", rules)
    assert ran.code == 0
    found = statuses(target)
    if rules == "basecast":
        assert found[:8] == [None] * 8
        assert all(len(info_of(line)["BasecastSplice"].split(",")) == 2 for line in read_vcf(target)[1][:8])
    else:
        assert set(found[:8]) == {".|near_contig_end"}
        assert None in found[10:]
    assert found[8] == (".|outside_contig" if rules == "basecast" else ".|no_gene")
    assert found[9] == ".|outside_contig"
    assert score(write_vcf(tmp_path / "zero.vcf", [*records, outside[2]]), target, "--rules", rules).code == 0
    assert "outside_contig" in (statuses(target)[-1] or "") or rules == "spliceai"


# ---- files that are not what they should be


def test_truncated_bgzip(score: Run, world: World, tmp_path: Path) -> None:
    with BGZFile(str(tmp_path / "in.vcf.gz"), "wb") as file:
        file.write(write_vcf(tmp_path / "in.vcf", plain(world, 60) * 100).read_bytes())
    whole = (tmp_path / "in.vcf.gz").read_bytes()
    for cut in (len(whole) - 28, len(whole) - 40, len(whole) // 2):
        (tmp_path / "cut.vcf.gz").write_bytes(whole[:cut])
        refused(score(tmp_path / "cut.vcf.gz", tmp_path / "out.vcf.gz"), tmp_path / "out.vcf.gz", "cut.vcf.gz")


def test_an_empty_vcf_is_no_error_and_an_empty_file_is_one(score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", [], [VERSION, *contig_lines()])
    for name in ("out.vcf", "out.vcf.gz", "out.bcf", "out.tsv", "out.parquet"):
        assert score(source, tmp_path / name).code == 0
        assert stats_of(tmp_path / name)["records"] == 0
    header, records = read_vcf(tmp_path / "out.vcf")
    assert records == []
    assert header[-1].startswith("#CHROM")
    assert (tmp_path / "out.tsv").read_text().startswith("record\tcontig\t")
    (tmp_path / "zero.vcf").touch()
    refused(score(tmp_path / "zero.vcf", tmp_path / "zero_out.vcf"), tmp_path / "zero_out.vcf", "zero.vcf is empty")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("##fileformat=VCFv4.2\nchr1\t5\n", "#CHROM"),
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\tx\t.\tA\tC\t.\t.\t.\n", "line 3"),
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nchr1\t5\t.\tA\n", "line 3"),
        ("hello\nworld\n", "not a VCF"),
    ],
)
def test_what_is_no_vcf(content: str, said: str, score: Run, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text(content)
    refused(score(tmp_path / "in.vcf", tmp_path / "out.vcf"), tmp_path / "out.vcf", said)


@pytest.mark.parametrize("option", ["-I", "-R", "-A"])
@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_what_is_no_file_of_its_kind(option: str, kind: str, score: Run, world: World, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 10)
    source = path if option == "-I" else write_vcf(tmp_path / "in.vcf", plain(world))
    more = () if option == "-I" else (option, path)
    refused(score(source, tmp_path / "out.vcf", *more), tmp_path / "out.vcf", str(path))


def test_a_gene_table_with_and_without_the_last_comma(score: Run, world: World, tmp_path: Path) -> None:
    spans = exons(200, 13)
    starts, ends = (",".join(str(span[i]) for span in spans) for i in (0, 1))
    header = "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
    found = []
    for comma in ("", ","):
        row = f"GENE1\t1\t+\t200\t{spans[-1][1]}\t{starts}{comma}\t{ends}{comma}\n"
        (tmp_path / "genes.txt").write_text(header + row)
        source = write_vcf(tmp_path / "in.vcf", plain(world))
        assert score(source, tmp_path / "out.vcf", "-A", tmp_path / "genes.txt", "-M", "1").code == 0
        found.append([info_of(line)["BasecastSplice"] for line in read_vcf(tmp_path / "out.vcf")[1]])
    assert found[0] == found[1]
    score(source, tmp_path / "gtf.vcf", "-M", "1")
    cut = [
        re.sub(r"ID_GENE1\|T_GENE1.7", "GENE1|GENE1", info_of(x)["BasecastSplice"])
        for x in read_vcf(tmp_path / "gtf.vcf")[1]
    ]
    assert found[0] == cut


@pytest.mark.parametrize("by", [-1, 1])
def test_an_annotation_one_base_off(by: int, score: Run, world: World, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in world.genes.read_text().splitlines()[1:] if line.startswith("chr1")]
    moved = ["\t".join([*r[:3], str(int(r[3]) + by), str(int(r[4]) + by), *r[5:]]) for r in rows if "ODD" not in r[8]]
    (tmp_path / "genes.gtf").write_text("\n".join(moved) + "\n")
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    ran = score(source, tmp_path / "out.vcf", "-A", tmp_path / "genes.gtf")
    refused(ran, tmp_path / "out.vcf", "coordinates look shifted by 1", "genes.gtf")


# ---- models


def test_checkpoint_of_another_shape(score: Run, world: World, tmp_path: Path) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    shutil.copytree(world.model, tmp_path / "model")
    weights = {name: tensor[:4].clone() if tensor.ndim else tensor for name, tensor in state_of(tiny_package()).items()}
    save_file(weights, tmp_path / "model" / "model.safetensors")
    sums = tmp_path / "model" / "SHA256SUMS"
    refused(score(source, target, "-m", tmp_path / "model"), target, "model.safetensors", "checksum")
    digest = hashlib.sha256((tmp_path / "model" / "model.safetensors").read_bytes()).hexdigest()
    sums.write_text(re.sub(r"\w{64}(?=  model.safetensors)", digest, sums.read_text()))
    refused(score(source, target, "-m", tmp_path / "model"), target, "model.safetensors", "shape")
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    refused(score(source, target, "-m", tmp_path / "other.pt"), target, "other.pt")


def state_of(package: Package) -> dict[str, torch.Tensor]:
    return dict(package.networks[0].state_dict())


class _Opens:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_in_it_is_not_run(score: Run, world: World, tmp_path: Path) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    with (tmp_path / "evil.pt").open("wb") as handle:
        pickle.dump(_Opens(tmp_path / "broken_into"), handle)
    torch.save({"a": _Opens(tmp_path / "broken_into")}, tmp_path / "evil.pth")
    for name in ("evil.pt", "evil.pth"):
        refused(score(source, target, "-m", tmp_path / name), target, name)
        assert not (tmp_path / "broken_into").exists()


def test_a_package_that_is_not_whole(score: Run, world: World, tmp_path: Path) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    shutil.copytree(world.model, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("CC0-1.0", "MIT"))
    refused(score(source, target, "-m", tmp_path / "model"), target, "config.json", "checksum")
    (tmp_path / "model" / "model.safetensors").unlink()
    refused(score(source, target, "-m", tmp_path / "model"), target, "fetch it again")
    refused(score(source, target, "-m", "no-such-model"), target, "no-such-model", "human-400", code=2)
    (tmp_path / "folder").mkdir()
    refused(score(source, target, "-m", tmp_path / "folder"), target, "is no model")


def test_a_model_without_splice_sites(score: Run, world: World, tmp_path: Path) -> None:
    package = tiny_package()
    output = package.spec.outputs[0].model_copy(update={"name": "coverage"})
    member = package.spec.members[0].model_copy(update={"outputs": ("coverage",)})
    changed = package.spec.model_copy(update={"outputs": (output,), "members": (member,)})
    save_package(tmp_path / "model", Package(changed, package.networks))
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    refused(score(source, target, "-m", tmp_path / "model"), target, "no splice sites", code=2)


# ---- places that cannot be written


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_disk_full_while_writing(
    suffix: str, score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / f"out{suffix}"
    target.write_text("of an earlier run")

    def full(self: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(annotated.AnnotatedWriter, "_flush", full)
        ran = score(source, target)
    assert ran.code == 1
    assert "No space left on device" in ran.err
    assert "make room" in ran.err
    assert str(target) in ran.err
    assert target.read_text() == "of an earlier run"
    assert not list(tmp_path.glob(".*partial*"))
    assert score(source, target).code == 0
    assert not Path(f"{target}.basecast").exists()


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_disk_full_while_writing_a_table(
    suffix: str, score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / f"out{suffix}"
    before, flush = resource.getrlimit(resource.RLIMIT_FSIZE), output.TableWriter._flush

    def full(self: output.TableWriter) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            flush(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(output.TableWriter, "_flush", full)
    refused(score(source, target), target, str(target), "could not be written", "make room")


@pytest.mark.parametrize("fails", ["write", "fsync"])
@pytest.mark.parametrize("shard", [(), ("--shard", "1/1")], ids=["whole", "shard"])
def test_disk_full_while_keeping_a_part(
    shard: tuple[str, ...], fails: str, score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    before, save = resource.getrlimit(resource.RLIMIT_FSIZE), Parts.save

    def no_room(handle: int) -> None:
        raise OSError(28, "No space left on device")

    def full(self: Parts, number: int, payload: bytes) -> None:
        with monkeypatch.context() as patch:
            if fails == "fsync":
                patch.setattr(os, "fsync", no_room)
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # in the middle of the part
            try:
                save(self, number, payload)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "save", full)
        ran = score(source, target, *shard)
    said = "No space left on device" if fails == "fsync" else "File too large"
    refused(ran, target, f"{target}.basecast/part-000000: {said}; mend that and run again")
    assert {path.name for path in Path(f"{target}.basecast").glob("*part*")} == set()
    assert score(source, target, *shard).code == 0


def test_disk_full_while_keeping_the_plan(
    score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    write_text = Path.write_text

    def full(self: Path, text: str, *arguments: Any, **options: Any) -> int:
        if ".plan.json." in self.name:
            raise OSError(28, "No space left on device")
        return write_text(self, text, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        refused(score(source, target), target, f"{target}.basecast/plan.json: No space left on device")
    assert score(source, target).code == 0


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf", ".tsv", ".parquet"])
def test_disk_full_while_writing_the_summary(
    suffix: str, score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / f"out{suffix}"
    write_text = Path.write_text

    def full(self: Path, text: str, *arguments: Any, **options: Any) -> int:
        if ".stats.json." in self.name:
            raise OSError(28, "No space left on device")
        return write_text(self, text, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        ran = score(source, target)
    assert ran.code == 1
    assert f"{target}.stats.json: No space left on device" in ran.err
    monkeypatch.setattr(Scorer, "rows", None)  # nothing is scored again
    assert score(source, target).code == 0
    assert stats_of(target)["scored"] == 30


def test_a_file_system_without_locks(score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some that clusters share are."""
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    flock = fcntl.flock

    def refuse(file: Any, kind: int) -> None:
        if ".basecast" in str(getattr(file, "name", "")):
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", refuse)
    for more in ((), ("--shard", "1/2")):
        ran = score(source, target, *more)
        other = "that all shards see" if more else "on another"
        said = f"lies on a file system without locks (No locks available): give a --work-dir {other}"
        refused(ran, target, f"{target}.basecast {said}", code=2)
    assert score(source, target, "--work-dir", tmp_path / "local").code == 0


def test_a_cache_without_locks(score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks there only save work that is done twice."""
    source, target = write_vcf(tmp_path / "in.vcf", plain(world)), tmp_path / "out.vcf"
    flock = fcntl.flock

    def refuse(file: Any, kind: int) -> None:
        if str(getattr(file, "name", "")).startswith(str(tmp_path / "kept")):
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "kept"))
    ran = score(source, target)
    assert ran.code == 0, ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_full(world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(*world.arguments(source, "-")), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Exception" not in done.stderr


def test_nothing_is_written_beside_the_inputs(score: Run, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    folder.mkdir()
    for path in (world.genome, world.genes):
        shutil.copy(path, folder)
    write_vcf(folder / "in.vcf", plain(world))
    before = {path.name for path in folder.iterdir()}
    folder.chmod(0o555)
    try:
        ran = score(folder / "in.vcf", tmp_path / "o.vcf", "-R", folder / "genome.fa", "-A", folder / "genes.gtf")
    finally:
        folder.chmod(0o755)
    assert ran.code == 0
    assert {path.name for path in folder.iterdir()} == before


def test_outputs_that_cannot_be(score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    before = source.read_bytes()
    for target, said in (
        (tmp_path / "none" / "out.vcf", "mkdir -p"),
        (tmp_path, "is a folder"),
        (source, "is the input itself"),
        (tmp_path / "out.txt", ".vcf.gz"),
    ):
        ran = score(source, target)
        assert ran.code == 2, ran.err
        assert said in ran.err
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]


def test_an_unusable_cache(score: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "file" / "cache"))
    source = write_vcf(tmp_path / "in.vcf", plain(world))
    refused(score(source, tmp_path / "out.vcf"), tmp_path / "out.vcf", "BASECAST_CACHE")


# ---- all at once


def test_hundreds_of_odd_records_come_out_as_they_went_in(score: Run, world: World, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    alts = [
        "A",
        "CG",
        "TTT",
        "{ref}ACGTACGTAC",
        "{first}",
        "<DEL>",
        "*",
        "<NON_REF>",
        "N",
        "{ref}]chr2:5]",
        ".",
        "acgt",
    ]
    records = []
    for _ in range(150):
        contig = str(rng.choice(list(LENGTHS)))
        position = int(rng.choice([1, LENGTHS[contig], rng.integers(1, LENGTHS[contig] + 1)]))
        length = int(rng.choice([1, 1, 2, 5, 30, 99]))
        chosen = rng.choice(alts, size=rng.integers(1, 4), replace=False)
        records.append(world.record(contig, position, min(length, LENGTHS[contig] - position + 1), ",".join(chosen)))
    for rules in ("basecast", "spliceai"):
        source, target = write_vcf(tmp_path / "in.vcf", records), tmp_path / "out.vcf"
        assert score(source, target, "--rules", rules, "-M", "both", "-D", "20").code == 0
        lines = read_vcf(target)[1]
        assert [line.split("\t")[:7] for line in lines] == [record.split("\t")[:7] for record in records]
        stats = stats_of(target)
        assert stats["alleles"] == stats["scored"] + sum(stats["statuses"].values())
        for line in lines:
            info = {name: value.split(",") for name, value in info_of(line).items()}
            entries = [entry.split("|") for entry in info.get("BasecastSplice", info.get("SpliceAI", []))]
            scored = {entry[0] for entry in entries if entry[2] != "."}
            explained = {entry.split("|")[0] for entry in info.get("BasecastStatus", [])}
            alts = {percent_encode(alt) for alt in line.split("\t")[4].split(",")}
            assert explained == {"."} or scored | explained == alts, line
            assert not scored & explained
        assert stats["scored"] > 25
