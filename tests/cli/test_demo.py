"""``basecast demo``: everything once, from nothing, by the code that scores a user's files."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import polars as pl
import pysam
import pytest

from basecast.cli.main import main
from conftest import Ran, Run, info_of, read_vcf, stats_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "a b"


@pytest.fixture(scope="module")
def done(folder: Path) -> Ran:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(["demo", "--output", str(folder)])
    return Ran(code, out.getvalue(), err.getvalue())


def test_it_shows_the_strongest_effects_and_where_the_files_are(done: Ran, folder: Path) -> None:
    assert done.code == 0, done.err
    for name in ("genome.fa", "genes.gtf", "variants.vcf", "scored.vcf.gz"):
        assert str(folder / name) in done.out
        assert (folder / name).stat().st_size > 1000
    assert "simulated" in done.out
    shown = [float(x) for x in re.findall(r" (\d\.\d\d) +\d\.\d\d +\d\.\d\d\s*$", done.out, re.MULTILINE)]
    largest = sorted(
        (
            max(map(float, entry.split("|")[2:6]))
            for line in read_vcf(folder / "scored.vcf.gz")[1]
            if "BasecastSplice" in info_of(line)
            for entry in info_of(line)["BasecastSplice"].split(",")
        ),
        reverse=True,
    )
    assert shown == largest[: len(shown)]
    assert len(shown) >= 5
    assert shown[0] > 0.5


def test_the_command_it_names_gives_the_same(
    done: Ran, folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = done.out.split("The same by hand:\n")[1].replace("\\\n", " ")
    program, *arguments = shlex.split(by_hand)
    assert program == "basecast"
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).code == 0
    assert read_vcf("scored.vcf.gz")[1] == read_vcf(folder / "scored.vcf.gz")[1]


def test_what_was_made_to_be_an_effect_is_found(done: Ran, folder: Path) -> None:
    stats = stats_of(folder / "scored.vcf.gz")
    assert stats["alleles"] == stats["scored"] + sum(stats["statuses"].values())
    with pysam.VariantFile(str(folder / "scored.vcf.gz")) as file:
        rows = [
            (str(record.info["SIM"]), max(x for x in record.info["BasecastSplice_DS_MAX"] if x is not None))
            for record in file
            if "BasecastSplice_DS_MAX" in record.info
        ]
    table = pl.DataFrame(rows, schema=["made", "score"], orient="row")
    effects = table.filter(~pl.col("made").str.contains("control"))
    controls = table.filter(pl.col("made").str.contains("control"))
    assert effects["score"].median() > 0.5
    assert controls["score"].median() < 0.1
