"""Borzoi and Flashzoi with the names of borzoi-pytorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from borzoi_files import CROP, DIM, LENGTH, TRACKS, borzoi_shapes
from safetensors.torch import save_file

from basecast.errors import InputError
from basecast.models.borzoi import Borzoi, flashzoi, published
from basecast.spec import TargetTransform, WindowReach
from basecast.zoo.catalogue import load_model
from basecast.zoo.importers import borzoi_torch

HEADER = "\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription\n"


def write(path: Path, shapes: Iterator[tuple[str, tuple[int, ...]]], dtype: torch.dtype = torch.float32) -> Path:
    """Weights of little worth, quickly made."""
    torch.manual_seed(0)
    state = {name: torch.rand(shape).to(dtype) / 32 if shape else torch.tensor(1) for name, shape in shapes}
    save_file(state, path)
    return path


@pytest.mark.parametrize("is_flashed", [False, True])
def test_every_weight_has_its_place(is_flashed: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", borzoi_shapes(is_flashed))
    sizes = {name: torch.Size(shape).numel() for name, shape in borzoi_shapes(is_flashed)}
    package = borzoi_torch.load([path], length=LENGTH, crop=CROP)
    assert sum(x.numel() for x in package.network.state_dict().values()) == sum(sizes.values())
    assert package.spec.reach == WindowReach(lengths=(LENGTH,), multiple_of=128, crop=32 * CROP)
    assert package.spec.licence == "Apache-2.0"
    (output,) = package.spec.outputs
    assert (output.name, output.resolution, output.link) == ("signal", 32, "softplus")
    found = package.network(torch.eye(4)[torch.arange(LENGTH) % 4].T[None])
    assert found.shape == (1, TRACKS, LENGTH // 32 - 2 * CROP)
    assert found.isfinite().all()


@pytest.mark.parametrize("is_flashed", [False, True])
def test_the_published_names_are_all_of_the_published_network(is_flashed: bool) -> None:
    """Each weight of the published sizes is what a name of theirs becomes."""
    config = flashzoi() if is_flashed else published()
    with torch.device("meta"):
        own = Borzoi(config).state_dict().keys()
    depth = {f"transformers.{i}." for i in range(8)}
    first = {name.replace("transformers.1.", "transformers.0.") for name in own}
    ours = {
        f"{borzoi_torch._ours(module, 5)}.{borzoi_torch._LEAVES.get(leaf, leaf)}"
        for module, _, leaf in (name.rpartition(".") for name, _ in borzoi_shapes(is_flashed))
    }
    assert {name for name in own if name.startswith("transformers.")} == {
        f"{prefix}{name.removeprefix('transformers.0.')}"
        for prefix in depth
        for name in ours
        if name.startswith("transformers.0.")
    }
    assert {name for name in first if not name.startswith("transformers.")} == {
        name for name in ours if not name.startswith("transformers.")
    }


def test_two_heads_and_half_precision(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", borzoi_shapes(mouse_tracks=2), torch.float16)
    package = load_model(path)
    assert [(output.name, len(output.tracks)) for output in package.spec.outputs] == [("human", TRACKS), ("mouse", 2)]
    assert {x.dtype for x in package.network.parameters()} == {torch.float32}
    assert package.spec.reach == WindowReach(lengths=(524_288,), multiple_of=128, crop=163_840)


def test_the_published_table(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", borzoi_shapes())
    rows = [
        "{}\tCAGE{}+\tc.w5\t768\t384\t1.0\tsum\t{}\tCAGE:x\n",
        "{}\tR{}-\tr.w5\t768\t384\t0.01\tsum_sqrt\t{}\tRNA:y\n",
    ]
    pairs = [0, 1, 2, 4, 3]
    lines = [rows[i > 1].format(i, i, pair) for i, pair in enumerate(pairs)]
    (tmp_path / "targets.txt").write_text(HEADER + "".join(lines))
    (output,) = load_model(path).spec.outputs
    assert output.tracks[0].transform == TargetTransform(soft_clip=384, clip=768, scaled_last=True)
    assert output.tracks[4].transform == TargetTransform(
        power=0.75, scale=0.01, soft_clip=384, clip=768, scaled_last=True
    )
    assert output.reverse_complement.permutation == tuple(pairs)
    (tmp_path / "targets.txt").write_text(HEADER + "".join(lines[:3]))
    with pytest.raises(InputError, match=rf"targets\.txt has 3 tracks, the model has {TRACKS}"):
        load_model(path)


def test_what_is_no_borzoi(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"none")
    with pytest.raises(InputError, match="is not a safetensors file"):
        load_model(path)
    save_file({"encoder.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match=r"is no Borzoi of borzoi-pytorch: it has a weight encoder\.weight"):
        load_model(path)
    save_file({"human_head.weight": torch.zeros(2, 2, 1)}, path)
    with pytest.raises(InputError, match="is no Borzoi of borzoi-pytorch"):
        load_model(path)
    write(path, (x for x in borzoi_shapes() if x[0] != "transformer.1.1.fn.4.bias"))
    with pytest.raises(InputError, match=r"missing \['transformers\.1\.dense2\.bias'\]"):
        load_model(path)
    assert DIM == 48
