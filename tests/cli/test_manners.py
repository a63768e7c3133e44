"""Exit codes, messages, speed of starting: how the command line behaves towards people and programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import basecast as bc
from basecast.inference.engine import Engine
from conftest import Run, World, read_vcf, stats_of, write_vcf

_STARTS = """
import sys
from basecast.cli.main import main
code = main(sys.argv[1:])
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "numpy", "polars", "pysam", "h5py", "pydantic"}))
sys.exit(code)
"""


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    return write_vcf(tmp_path / "in.vcf", [world.record("chr1", p, 1, "{other},<DEL>") for p in range(211, 216)])


# ---- starting


@pytest.mark.parametrize("arguments", [["--version"], ["variant", "--help"], ["merge", "--help"]])
def test_heavy_imports_wait_until_there_is_work(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _STARTS, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_one_line(run: Run) -> None:
    ran = run("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"basecast {bc.__version__}\n", "")


def test_help_lists_verbs_and_has_an_example(run: Run) -> None:
    for arguments in ([], ["--help"]):
        ran = run(*arguments)
        assert ran.code == 0
        assert all(verb in ran.out for verb in ("variant", "predict", "merge", "zoo", "demo"))
    said = " ".join(run("variant", "--help").out.split())
    assert "Example: basecast variant -I in.vcf.gz -O out.vcf.gz -R hg38.fa -A" in said
    assert "Example: basecast merge scored.vcf.gz" in " ".join(run("merge", "--help").out.split())
    assert all(verb in run("zoo").out for verb in ("list", "info", "import", "verify"))


def test_python_face_is_lazy_and_silent(source: Path, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    bc.score_variants(source, model=world.model, genome=world.genome, annotation=world.genes, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert {"Genome", "Annotation", "load_model", "score_variants"} <= set(dir(bc))


# ---- usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["variant"], "-R"),
        (["variant", "--nonsense", "1"], "-R"),
        (["merge"], "OUTPUT"),
        (["merge", "a", "b"], "b"),
        (["zoo", "nonsense"], "nonsense"),
        (["zoo", "info"], "MODEL"),
        (["demo", "--nonsense"], "nonsense"),
    ],
)
def test_a_wrong_command_is_exit_2(arguments: list[str], said: str, run: Run) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "--help" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-D", "many"), "-D"),
        (("-D", "-1"), "-D"),
        (("-M", "2"), '"0", "1", "both"'),
        (("--decimals", "0"), "--decimals"),
        (("--decimals", "9"), "--decimals"),
        (("--threads", "0"), "--threads"),
        (("--memory", "much"), "memory 'much'"),
        (("--device", "gpu"), "device 'gpu'"),
        (("--precision", "fp8"), "--precision"),
        (("--rules", "mine"), "--rules"),
        (("--transcripts", "none"), "--transcripts"),
        (("--transcripts", "all", "--canonical-tag", "x"), "canonical tag"),
        (("--shard", "4/3"), "--shard '4/3' is not I/N"),
        (("--shard", ""), "--shard '' is not I/N"),
        (("--shard", "1/2", "--restart"), "--restart and --shard do not go together"),
        (("--num-workers", "2"), "--cluster ADDRESS"),
        (("--num-workers", "0"), "--num-workers"),
        (("--gpus-per-worker", "1"), "--cluster ADDRESS"),
        (("--gpus-per-worker", "-1"), "--gpus-per-worker"),
        (("--nonsense",), "--nonsense"),
        (("stray",), "stray"),
    ],
)
def test_a_wrong_option_is_exit_2(
    options: tuple[str, ...], said: str, score: Run, source: Path, tmp_path: Path
) -> None:
    for more in ((), ("--log-format", "json")):
        ran = score(source, tmp_path / "out.vcf", *options, *more)
        assert ran.code == 2, ran.err
        if not more:
            assert said in ran.err
            assert ran.err.splitlines()[-1].startswith("basecast: error: ")
        else:
            assert json.loads(ran.err.splitlines()[-1])["exit_code"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf"}


@pytest.mark.parametrize(
    ("name", "file"),
    [("grch37", "gencode.v19.annotation.gtf.gz"), ("GRCh38", "MANE.GRCh38.v1.4.ensembl_genomic.gtf.gz")],
)
def test_the_tables_of_old_pipelines_name_a_file_and_a_command(name: str, file: str, run: Run, score: Run) -> None:
    for ran in (run("variant", "-I", "a", "-O", "b", "-R", "c", "-A", name), score("a", "b", "-A", name)):
        assert ran.code == 2
        assert f"Fetch {file}" in ran.err
        assert f"basecast variant -I INPUT -O OUTPUT -R FASTA -A {file} -m MODEL" in ran.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_is_an_error(device: str, score: Run, source: Path, tmp_path: Path) -> None:
    ran = score(source, tmp_path / "out.vcf", "--device", device)
    assert ran.code == 2
    assert f"device {device} is not there" in ran.err
    assert not (tmp_path / "out.vcf").exists()


# ---- messages


def test_json_lines_and_nothing_else(score: Run, source: Path, tmp_path: Path) -> None:
    ran = score(source, tmp_path / "out.vcf", "--log-format", "json")
    assert (ran.code, ran.out) == (0, "")
    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    stats = stats_of(tmp_path / "out.vcf")
    assert {name: lines[-1][name] for name in stats} == stats
    failed = score(tmp_path / "none.vcf", tmp_path / "out.vcf", "--log-format=json")
    assert failed.code == 1
    last = json.loads(failed.err.splitlines()[-1])
    assert (last["level"], last["exit_code"]) == ("error", 1)
    assert all(json.loads(line) for line in failed.err.splitlines())


def test_the_device_and_the_counts_are_said(score: Run, source: Path, tmp_path: Path) -> None:
    ran = score(source, tmp_path / "out.vcf")
    assert "tiny" in ran.err
    assert "cpu" in ran.err
    assert "5 records, 5 of 10 alleles scored (without score: 5 symbolic_allele)" in ran.err
    assert "\x1b" not in ran.err
    assert "\r" not in ran.err


def test_a_terminal_gets_a_progress_bar(
    score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in score(source, tmp_path / "out.vcf").err
    ran = score(source, tmp_path / "out.vcf", "--log-format", "json")
    assert all(json.loads(line) for line in ran.err.splitlines())


# ---- exit codes


def test_nothing_scored_is_exit_3_and_the_output_is_kept(score: Run, world: World, tmp_path: Path) -> None:
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", 2900, 1, "{other}")])
    ran = score(source, tmp_path / "out.vcf.gz")
    assert ran.code == 3
    assert read_vcf(tmp_path / "out.vcf.gz")[1][0].endswith("|no_gene")
    assert (tmp_path / "out.vcf.gz.tbi").exists()
    assert not (tmp_path / "out.vcf.gz.basecast").exists()


def test_out_of_memory_at_one_window_is_exit_137(
    score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Engine, "_forward", full)
    monkeypatch.setattr("basecast.inference.runner.Runner.reference", full)
    ran = score(source, tmp_path / "out.vcf")
    assert ran.code == 137
    assert "--memory" in ran.err
    assert not (tmp_path / "out.vcf").exists()


@pytest.mark.parametrize(
    ("verb", "name"), [("mkdir", "out.vcf.basecast"), ("open", "out.vcf.basecast/lock"), ("open", "plan.json")]
)
def test_a_folder_without_rights_ends_with_a_sentence(
    verb: str, name: str, score: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one's own, or one that was left by somebody else; the superuser of a test may write everywhere."""
    allowed: Callable[..., Any] = getattr(Path, verb)

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if name in str(self):
            raise PermissionError(13, "Permission denied", str(self))
        return allowed(self, *arguments, **options)

    monkeypatch.setattr(Path, verb, refuse)
    ran = score(source, tmp_path / "out.vcf")
    assert ran.code == 1
    assert f"{tmp_path}/out.vcf.basecast" in ran.err
    assert "Permission denied; mend that and run again" in ran.err
    assert not (tmp_path / "out.vcf").exists()


def test_a_share_and_merge_speak_json(score: Run, run: Run, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.vcf"
    json_lines = ("--log-format", "json")
    shared = score(source, target, "--shard", "1/1", *json_lines)
    merged = run("merge", target, *json_lines)
    again = run("merge", target, *json_lines)  # as a scheduler may
    missing = run("merge", tmp_path / "other.vcf", *json_lines)
    assert (shared.code, merged.code, again.code, missing.code) == (0, 0, 0, 1)
    assert "is whole already" in again.err
    lines = [[json.loads(line) for line in ran.err.splitlines()] for ran in (shared, merged, missing)]
    assert lines[0][-1]["message"] == f"shard 1/1 is done; when all are: basecast merge {target}"
    stats = stats_of(target)
    assert {name: lines[1][-1][name] for name in stats} == stats
    assert (lines[2][-1]["level"], lines[2][-1]["exit_code"]) == ("error", 1)
