"""The verbs on a Ray cluster that loses a node half-way: the bytes of one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")
from rays import Rays, started

from basecast.effects import cut
from basecast.inference.shards import Parts
from basecast.prediction import predict
from conftest import Run, World, write_vcf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rays() -> Iterator[Rays]:
    with started() as rays:
        yield rays


@pytest.fixture
def losing(rays: Rays, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A node is killed when the second part is saved; the numbers of the parts, as they come."""
    saved: list[int] = []
    save = Parts.save

    def counting(self: Parts, shard: int, payload: bytes) -> None:
        save(self, shard, payload)
        saved.append(shard)
        if len(saved) == 2:
            name = next(iter(rays.nodes))
            rays.lose(name)
            rays.add(f"{name} again")

    monkeypatch.setattr(Parts, "save", counting)
    return saved


def whole(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("stats.json")}


def both(run: Run, rays: Rays, losing: list[int], folder: Path, *arguments: object) -> list[int]:
    """Run it here and there; the outputs are equal. The parts that came from the cluster."""
    contents = []
    for name, more in (("here", ()), ("there", ("--cluster", rays.address, "--num-workers", "2"))):
        (folder / name).mkdir()
        losing.clear()
        if name == "here":
            losing += [-1, -1]  # no node is killed
        ran = run(*[str(word).replace("OUT", str(folder / name)) for word in arguments], *more)
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err
        contents.append(whole(folder / name))
    assert contents[0].keys() == contents[1].keys()
    assert contents[0]
    for name, content in contents[0].items():  # a VCF's header names the output
        assert contents[1][name].replace(b"/there/", b"/here/") == content, name
    return losing


def test_variant(
    run: Run, rays: Rays, losing: list[int], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "SHARD", 4)
    source = write_vcf(tmp_path / "in.vcf", [world.record("chr1", 211 + i, 1, "{other}") for i in range(40)])
    came = both(run, rays, losing, tmp_path, *world.arguments(source, "OUT/out.vcf"))
    assert sorted(came) == list(range(10))


def test_saturate(
    run: Run, rays: Rays, losing: list[int], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "SHARD", 4)
    ground = ("-R", world.genome, "-A", world.genes, "-m", world.model, "--device", "cpu")
    came = both(run, rays, losing, tmp_path, "saturate", *ground, "--region", "chr1:211-220", "-O", "OUT/out.vcf")
    assert sorted(came) == list(range(8))


def test_predict(
    run: Run, rays: Rays, losing: list[int], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "WORK", {"cpu": 1})
    formats = ("--format", "bed", "bigwig", "parquet")
    options = ("--device", "cpu", "--tile-size", "500", "--threshold", "0.01", *formats)
    came = both(
        run, rays, losing, tmp_path, "predict", "-R", world.genome, "-O", "OUT/out", "-m", world.model, *options
    )
    assert len(set(came)) == len(came) > 6
