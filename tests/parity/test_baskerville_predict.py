"""``basecast predict`` gives what baskerville's own prediction of regions gave, to half a step of its float16."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from basecast.cli.main import main


@pytest.fixture(scope="module")
def peer(shared_data: Path) -> Path:
    folder = shared_data / "peers" / "baskerville"
    if not folder.is_dir():
        pytest.skip("needs baskerville's golden files")
    return folder


@pytest.fixture(scope="module")
def found(peer: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The regions of the golden file, in its order, predicted as they were: forward, one shift, in model space."""
    out = tmp_path_factory.mktemp("predbed")
    with h5py.File(peer / "golden" / "predbed.h5") as golden:
        chrom = [name.decode() for name in golden["chrom"]]
        middles = (golden["start"][:] + golden["end"][:]) // 2
    lines = [f"{contig}\t{at - 3}\t{at + 3}\n" for contig, at in zip(chrom, middles.tolist(), strict=True)]
    (out / "in.bed").write_text("".join(lines))
    genome = shared_data / "human" / "hg38_chr1_1_1000000.fa.gz"
    command = ["predict", "-R", genome, "-m", peer / "model.h5", "-O", out / "p", "--regions", out / "in.bed"]
    assert main([*map(str, command), "--format", "h5", "--device", "cpu"]) == 0
    with h5py.File(out / "p.h5") as file:
        return {name: file[name][:] for name in file}


def test_predictions_of_regions(found: dict[str, np.ndarray], peer: Path) -> None:
    with h5py.File(peer / "golden" / "predbed.h5") as file:
        golden = {name: file[name][:] for name in file}
    for name in ("chrom", "start", "end"):
        np.testing.assert_array_equal(found[name], golden[name])
    theirs = golden["preds"].astype(np.float64)
    allowed = 1e-5 * (np.abs(theirs) + theirs.mean(axis=(0, 1))) + np.spacing(golden["preds"]).astype(np.float64) / 2
    assert found["preds"].dtype == np.float32
    assert found["preds"].shape == theirs.shape == (2, 2048, 74)
    assert (np.abs(found["preds"] - theirs) <= allowed).all()
    assert theirs.std(axis=(0, 1)).min() > 0, "tracks that say nothing would compare nothing"
