"""``basecast coverage`` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest
from cyclopts import App

from basecast.cli.coverage import coverage
from basecast.errors import UsageError
from basecast.genome.signal import BigWig

app = App(result_action="return_value")
app.command(coverage)


@pytest.fixture
def bam(tmp_path: Path) -> Path:
    path = tmp_path / "reads.bam"
    header = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "c", "LN": 9000}]})
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for number, start in enumerate(np.sort(np.random.default_rng(0).integers(0, 8900, 300)).tolist()):
            words = [f"r{number}", str(16 * (number % 2)), "c", str(start + 1), "40", "50M", "*", "0", "0", "*", "*"]
            out.write(pysam.AlignedSegment.fromstring("\t".join(words), header))
    pysam.index(str(path))
    return path


@pytest.fixture
def run(bam: Path, tmp_path: Path) -> Callable[..., int]:
    def typed(*words: object) -> int:
        given = ["coverage", str(bam), "-o", str(tmp_path / "out.bw"), "--threads", "1", *map(str, words)]
        verb, bound, unparsed = app.parse_args(given, exit_on_error=False, print_error=False)
        more = {"command": ("basecast", *given)} if "command" in unparsed else {}
        return verb(*bound.args, **bound.kwargs, **more)

    return typed


def test_plain(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert np.nansum(BigWig(tmp_path / "out.bw").values("c", 0, 9000)) == 300
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "out.report.json").read_text())
    assert told["command"].startswith("basecast coverage")
    said = capsys.readouterr().err
    assert said.startswith("basecast: 300 reads of 300 alignments, of which 0 are shared among several places, in ")


def test_what_is_given_wins_over_the_assay(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("--assay", "atac", "--no-gc", "--shift-reverse", "-4", "--smooth", "0") == 0
    settings = json.loads((tmp_path / "out.report.json").read_text())["settings"]
    asked = {name: settings[name] for name in ("shift_forward", "shift_reverse", "smooth", "gc", "event")}
    assert asked == {"shift_forward": 4, "shift_reverse": -4, "smooth": 0, "gc": False, "event": "ends"}
    assert run("--assay", "histone", "--no-gc", "--clip", "0", "--fragment-length", "150", "--restart") == 0
    settings = json.loads((tmp_path / "out.report.json").read_text())["settings"]
    assert (settings["clip"], settings["fragment_length"]) == (None, 150)


def test_an_assay_that_takes_a_genome(run: Callable[..., int]) -> None:
    with pytest.raises(UsageError, match=r"give it with -R, or say --no-gc"):
        run("--assay", "chip")


def test_options_that_do_not_go_together(run: Callable[..., int]) -> None:
    with pytest.raises(UsageError, match=r"^the effect of GC is that of fragments"):
        run("--assay", "chip", "--event", "reads")


def test_a_share(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--shard", "1/2") == 0
    assert f"shard 1/2 is done; when all are: basecast merge {tmp_path / 'out.bw'}" in capsys.readouterr().err
    assert not (tmp_path / "out.bw").exists()


def test_nothing_is_counted(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--mapq", "60") == 3
    assert "warning: no read is counted" in capsys.readouterr().err
