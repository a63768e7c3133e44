"""Basecast gives what baskerville gave with its own small model, and borzoi-pytorch with weights by formula."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from borzoi_files import CROP, LENGTH, borzoi_shapes, borzoi_weight
from formula import formula_uniform
from safetensors.torch import save_file

from basecast.genome.reference import Genome
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.zoo.catalogue import load_model
from basecast.zoo.importers import baskerville, borzoi_torch

HERE = Path(__file__).parent


def test_borzoi_pytorch(tmp_path: Path) -> None:
    """``benchmarks/make_golden_borzoi.py`` ran the peer."""
    weights = {name: torch.from_numpy(borzoi_weight(name, shape)) for name, shape in borzoi_shapes()}
    save_file(weights, tmp_path / "model.safetensors")
    package = borzoi_torch.load([tmp_path / "model.safetensors"], length=LENGTH, crop=CROP)
    letters = torch.from_numpy(np.floor((formula_uniform("window", LENGTH) + 1) * 2).astype(np.int64))
    with torch.no_grad():
        found = torch.nn.functional.softplus(package.network(torch.eye(4)[letters].T[None]))[0].T.numpy()
    with np.load(HERE / "golden_borzoi.npz") as golden:
        expected = golden["values"]
    assert np.abs(np.diff(expected, axis=0)).max(0).min() > 0.1, "values that do not vary show nothing"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small_borzoi(shared_data: Path) -> Path:
    return shared_data / "peers" / "baskerville"


def test_baskervilles_predictions(shared_data: Path, small_borzoi: Path) -> None:
    """The published tolerance: 1e-5 of the value and its track's mean, and half a step of the float16 it is kept in."""
    genome = Genome(shared_data / "human" / "hg38_chr1_1_1000000.fa.gz")
    engine = Engine(load_model(small_borzoi / "model.h5"), device="cpu", threads=1)
    with h5py.File(small_borzoi / "golden" / "predbed.h5") as file:
        regions = [
            (name.decode(), int(a), int(b))
            for name, a, b in zip(file["chrom"], file["start"], file["end"], strict=True)
        ]
        golden = file["preds"][:]
    found = engine.evaluate([Request(genome, *region) for region in regions])
    for values, expected in zip((x["signal"] for x in found), golden, strict=True):
        half = np.spacing(np.maximum(expected, np.float16(2**-14))).astype(np.float64) / 2
        wide = expected.astype(np.float64)
        assert values.shape == (2048, 74)
        assert (np.abs(values - wide) <= 1e-5 * (wide + wide.mean(0)) + half).all()


def test_baskervilles_tracks(small_borzoi: Path) -> None:
    """The table and the file tell the same strand pairs."""
    named = baskerville.load([small_borzoi / "model.h5"], targets=small_borzoi / "tiny_hg38" / "targets.txt")
    (output,) = named.spec.outputs
    assert sum(p.numel() for p in named.network.parameters()) == 640_882
    assert output.reverse_complement == load_model(small_borzoi / "model.h5").spec.outputs[0].reverse_complement
    permutation = output.reverse_complement.permutation
    assert sum(i != j for i, j in enumerate(permutation)) == 54
    for track, pair in zip(output.tracks, permutation, strict=True):
        assert {track.strand, output.tracks[pair].strand} in ({"+", "-"}, {"."})
    assert {track.assay for track in output.tracks} == {"CAGE", "DNASE", "RNA", "RNA3"}
