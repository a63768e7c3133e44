from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from basecast.data.opening import open_split
from basecast.data.store import SPLITS
from conftest import Run, World, command, environment

FILES = ["report.json", "splits.tsv", "test.h5", "train.h5", "validation.h5"]


def arguments(world: World, output: Path, *options: object) -> list[object]:
    return ["create-data", "-R", world.genome, "-A", world.genes, "-O", output, "--split", "overlap", *options]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_dataset_and_what_is_said_of_it(run: Run, world: World, tmp_path: Path) -> None:
    output = tmp_path / "data"
    ran = run(*arguments(world, output, "--species", "Made up", "--seed", 3))
    assert (ran.code, ran.out) == (0, "")
    assert names(output) == FILES
    lines = ran.err.splitlines()
    assert lines[0] == "basecast: 28 introns of 5 genes: 85.71% GT-AG, 14.29% other"
    assert [line.split(":")[1].strip() for line in lines[1:4]] == list(SPLITS)
    assert lines[-1].startswith("basecast: 56 sites of 5 records in 3 clusters, the largest with ")
    assert f"written to {output} in " in lines[-1]
    header = open_split(output, "train").header
    assert header.species == "Made up"
    assert header.command.startswith("basecast create-data -R ")


def test_every_number_as_json(run: Run, world: World, tmp_path: Path) -> None:
    ran = run(*arguments(world, tmp_path / "data", "--log-format", "json"))
    told = json.loads(ran.err.splitlines()[-1])
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert {name: told[name] for name in report} == report


def test_the_layout_of_openspliceai(run: Run, world: World, tmp_path: Path) -> None:
    ran = run(*arguments(world, tmp_path, "--layout", "openspliceai"))
    assert ran.code == 0
    assert names(tmp_path) == sorted([f"dataset_{split}.h5" for split in SPLITS] + FILES[:2])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--split", "half"), 2, "--split"),
        (("--min-identity", "80"), 2, "--min-identity"),
        (("--flank", "100"), 2, "it goes with --context genomic"),
        (("--biotype", "tRNA"), 1, "no transcript of"),
        (("--split-list", "absent.tsv"), 1, "the split list absent.tsv cannot be read"),
        (("--mask-annotation", "absent.gff3"), 1, "absent.gff3"),
        (("--contig-groups", "absent.tsv"), 1, "the contig groups absent.tsv cannot be read"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done(
    run: Run, world: World, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    given = [word for word in arguments(world, tmp_path / "data") if "--split" not in options or word != "overlap"]
    given = [word for word in given if "--split" not in options or word != "--split"]
    ran = run(*given, *options)
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "data").exists()


def test_coordinates_off_by_one_are_refused_with_the_figure(run: Run, world: World, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted.gtf"
    lines = [line.split("\t") for line in world.genes.read_text().splitlines() if not line.startswith("#")]
    kept = [line for line in lines if line[0] == "chr1"]
    shifted.write_text(
        "".join("\t".join([*x[:3], str(int(x[3]) + 1), str(int(x[4]) + 1), *x[5:]]) + "\n" for x in kept)
    )
    given = ["create-data", "-R", world.genome, "-A", shifted, "--split", "overlap"]
    ran = run(*given, "-O", tmp_path / "data")
    assert ran.code == 1
    assert "0.0% of 26 introns" in ran.err
    assert "after moving all coordinates by -1 it is 92.3%: its coordinates look shifted by 1" in ran.err
    ran = run(*given, "-O", tmp_path / "data", "--force")
    assert ran.code == 0
    assert "basecast: warning: 0.0% of 26 introns" in ran.err


def test_a_folder_that_holds_a_dataset(run: Run, world: World, tmp_path: Path) -> None:
    assert run(*arguments(world, tmp_path)).code == 0
    ran = run(*arguments(world, tmp_path))
    assert ran.code == 2
    assert "holds a dataset already (test.h5, train.h5, validation.h5)" in ran.err
    assert run(*arguments(world, tmp_path, "--overwrite")).code == 0


@pytest.mark.parametrize("layout", ["basecast", "openspliceai"])
@pytest.mark.parametrize("size", [1000, 5000])
def test_a_full_disk(world: World, tmp_path: Path, layout: str, size: int) -> None:
    """No file may grow past a size, which is what a quota does."""
    ran = subprocess.run(
        command(*arguments(world, tmp_path / "data", "--layout", layout)),
        capture_output=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        env=environment(BASECAST_CACHE=os.environ["BASECAST_CACHE"]),
    )
    said = ran.stderr.decode()
    assert ran.returncode == 1, said
    assert "could not be written (File too large)" in said
    assert "Traceback" not in said
    assert names(tmp_path / "data") == []


STOPPED = """
import os, signal, sys
from basecast.data import {module}
from basecast.cli.main import main
add, done = {module}.{writer}.add, 0
def stopping(self, *arguments):
    global done
    done += 1
    if done == 4:
        os.kill(os.getpid(), signal.{signal})
    add(self, *arguments)
{module}.{writer}.add = stopping
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("module", "writer"), [("writer", "Writer"), ("openspliceai", "ShardWriter")])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_run_leaves_nothing_under_a_final_name(
    run: Run, world: World, tmp_path: Path, module: str, writer: str, number: signal.Signals
) -> None:
    layout = "basecast" if writer == "Writer" else "openspliceai"
    given = [str(word) for word in arguments(world, tmp_path / "data", "--layout", layout)]
    script = STOPPED.format(module=module, writer=writer, signal=number.name)
    ran = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, timeout=120)
    assert ran.returncode == (-9 if number == signal.SIGKILL else 143), ran.stderr
    assert b"Traceback" not in ran.stderr
    left = names(tmp_path / "data")
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)
    assert len(left) == (5 if number == signal.SIGKILL else 0)
    assert run(*given).code == 0
    assert len(names(tmp_path / "data")) == 5  # what was left is gone
    for split in SPLITS:
        assert len(open_split(tmp_path / "data", split)) > 0
