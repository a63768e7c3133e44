"""``--tuning``: a table of kernels that is measured, written and used again, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecast.inference.native import library
from basecast.inference.tuning import Tuning
from conftest import Run, World, write_vcf


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    return write_vcf(tmp_path / "in.vcf", [world.record("chr1", 211, 1, "{other}")])


def test_a_table_is_written_and_used_as_it_stands(score: Run, source: Path, tmp_path: Path) -> None:
    table, target = tmp_path / "kernels.json", tmp_path / "out.vcf"
    assert score(source, target, "--tuning", table).code == 0
    written, expected = table.read_bytes(), target.read_bytes()
    assert Tuning.read(table).nanoseconds
    assert score(source, target, "--tuning", table).code == 0
    assert table.read_bytes() == written
    assert target.read_bytes() == expected


@pytest.mark.skipif(len(library.available()) < 2, reason="the machine has one set of instructions")
def test_the_instructions_of_the_table_are_said(score: Run, source: Path, tmp_path: Path) -> None:
    table = tmp_path / "kernels.json"
    assert score(source, tmp_path / "out.vcf", "--tuning", table).code == 0
    first, other, *_ = library.available()
    table.write_text(table.read_text().replace(f'"{first}"', f'"{other}"'))
    assert f", {other} kernels" in score(source, tmp_path / "out.vcf", "--tuning", table).err


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        ("none/kernels.json", (), "the folder of the kernel table {} does not exist: make it with 'mkdir -p "),
        ("folder", (), "the kernel table {} is a folder"),
        ("kernels.json", ("--cluster", "auto", "--gpus-per-worker", "1"), "--gpus-per-worker are others"),
    ],
)
@pytest.mark.parametrize("verb", ["variant", "saturate", "predict"])
def test_what_cannot_be_is_refused_before_anything(
    verb: str,
    given: str,
    more: tuple[str, ...],
    said: str,
    run: Run,
    world: World,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("basecast.zoo.catalogue.load_model", lambda _: pytest.fail("a model is read"))
    before = set(tmp_path.rglob("*"))
    own = {"variant": ("-I", source), "saturate": ("--region", "chr1:211-212"), "predict": ()}[verb]
    ground = ("-R", world.genome, "-A", world.genes, "-m", world.model, "-O", tmp_path / "out.vcf", *own)
    ran = run(verb, *ground, "--tuning", tmp_path / given, *more)
    assert ran.code == 2
    assert said.format(tmp_path / given) in ran.err
    assert set(tmp_path.rglob("*")) == before


def test_a_file_that_is_no_table_stays(score: Run, source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("{}]")
    ran = score(source, tmp_path / "out.vcf", "--tuning", mine)
    assert ran.code == 1
    assert f"{mine} is no kernel table" in ran.err
    assert "give another path" in ran.err
    assert mine.read_text() == "{}]"
