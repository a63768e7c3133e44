"""Baskerville's Keras files: both kinds of network as they run there, the tracks' table, and what is not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from baskerville_files import (
    BASENJI2,
    BORZOI,
    basenji2_layers,
    borzoi_layers,
    changed,
    keras_arrays,
    write_baskerville,
)
from torch import Tensor
from torch.nn import functional

from basecast.errors import InputError
from basecast.spec import TargetTransform, WindowReach
from basecast.zoo.catalogue import load_model
from basecast.zoo.importers import baskerville
from basecast.zoo.package import load_package, save_package

HEADER = "\tidentifier\tfile\tclip\tclip_soft\tscale\tsum_stat\tstrand_pair\tdescription\n"
ROWS = [
    "0\tA+\ta+.w5\t384\t64\t1.0\tsum_sqrt\t1\tCAGE:liver\n",
    "1\tA-\ta-.w5\t384\t64\t1.0\tsum_sqrt\t0\tCAGE:liver\n",
    "2\tB\tb.w5\t128\t32\t2.0\tmean\t2\tDNASE:HL-60\n",
]


@pytest.fixture
def borzoi(tmp_path: Path) -> Path:
    return write_baskerville(tmp_path / "borzoi", BORZOI, borzoi_layers())


@pytest.fixture
def basenji2(tmp_path: Path) -> Path:
    return write_baskerville(tmp_path / "basenji2", BASENJI2, basenji2_layers())


def windows(length: int = 512) -> Tensor:
    letters = torch.randint(4, (2, length), generator=torch.Generator().manual_seed(0))
    return torch.eye(4)[letters].mT.contiguous()


class Written:
    """The arrays of a kind one after the other, and what Keras does with them; (batch, channels, length)."""

    def __init__(self, layers: Any) -> None:
        self._arrays = keras_arrays(layers)
        self._next: dict[str, int] = {}

    def take(self, kind: str) -> dict[str, Tensor]:
        number = self._next[kind] = self._next.get(kind, -1) + 1
        layer = self._arrays[f"{kind}_{number}" if number else kind]
        return {leaf: torch.from_numpy(values) for leaf, values in layer.items()}

    def convolution(self, x: Tensor, dilation: int = 1) -> Tensor:
        layer = self.take("conv1d")
        total = dilation * (layer["kernel"].shape[0] - 1)
        x = functional.pad(x, (total // 2, total - total // 2))
        return functional.conv1d(x, layer["kernel"].permute(2, 1, 0), layer.get("bias"), dilation=dilation)

    def norm(self, x: Tensor) -> Tensor:
        layer = {leaf: values[:, None] for leaf, values in self.take("batch_normalization").items()}
        scaled = (x - layer["moving_mean"]) / torch.sqrt(layer["moving_variance"] + 1e-3)
        return scaled * layer["gamma"] + layer["beta"]

    def dense(self, x: Tensor) -> Tensor:
        layer = self.take("dense")
        return (x.mT @ layer["kernel"] + layer["bias"]).mT

    def layer_norm(self, x: Tensor) -> Tensor:
        layer = self.take("layer_normalization")
        return functional.layer_norm(x.mT, x.shape[1:2], layer["gamma"], layer["beta"], 1e-3).mT


def gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def basenji2_written(x: Tensor) -> Tensor:
    keras = Written(basenji2_layers())
    for _ in range(3):
        x = functional.max_pool1d(keras.norm(keras.convolution(gelu(x))), 2)
    for rate in (1, 2, 3, 4):  # 1.5 rounds to 2, 4.5 to 4
        y = keras.norm(keras.convolution(gelu(x), rate))
        x = x + keras.norm(keras.convolution(gelu(y)))
    x = keras.norm(keras.convolution(gelu(x[..., 4:-4])))
    return keras.dense(gelu(x))


def borzoi_written(x: Tensor) -> Tensor:
    """With attention as the network's own, which is tested by itself."""
    keras = Written(borzoi_layers())
    x, skips = functional.max_pool1d(keras.convolution(x), 2), []
    for _ in range(3):
        skips.append(keras.convolution(gelu(keras.norm(x))))
        x = functional.max_pool1d(skips[-1], 2)
    for _ in range(2):
        x = x + _attention(keras.take("multihead_attention"), keras.layer_norm(x).mT).mT
        x = x + keras.dense(torch.relu(keras.dense(keras.layer_norm(x))))
    for _ in range(2):
        coarse = keras.dense(gelu(keras.norm(x))).repeat_interleave(2, 2)
        x = coarse + keras.dense(gelu(keras.norm(skips.pop())))
        layer = keras.take("separable_conv1d")
        x = functional.conv1d(x, layer["depthwise_kernel"].permute(1, 2, 0), padding=1, groups=12)
        x = functional.conv1d(x, layer["pointwise_kernel"].permute(2, 1, 0), layer["bias"])
    x = keras.convolution(gelu(keras.norm(x[..., 16:-16])))
    return keras.dense(gelu(x))


def _attention(layer: dict[str, Tensor], x: Tensor) -> Tensor:
    """Two heads with keys of 3 and values of 6 numbers; distances from query to key."""
    length = x.shape[1]
    distances = torch.arange(length)[None] - torch.arange(length)[:, None]
    limits = torch.tensor([(length + 1) ** (i / 4) - 1 for i in range(1, 5)])
    below = (limits > distances.abs()[..., None]).float()
    features = torch.cat([below, distances.sign()[..., None] * below], 2)
    found = []
    for head in range(2):
        keys, values = slice(3 * head, 3 * head + 3), slice(6 * head, 6 * head + 6)
        query = x @ layer["q_layer/kernel"][:, keys] / 3**0.5
        key, value = x @ layer["k_layer/kernel"][:, keys], x @ layer["v_layer/kernel"][:, values]
        distance = features @ layer["r_k_layer/kernel"][:, keys]
        logits = (query + layer["r_w_bias"][0, head]) @ key.mT
        logits = logits + torch.einsum("bik,ijk->bij", query + layer["r_r_bias"][0, head], distance)
        found.append(torch.softmax(logits, 2) @ value)
    return torch.cat(found, 2) @ layer["embedding_layer/kernel"] + layer["embedding_layer/bias"]


def test_a_network_of_basenji2s_kind(basenji2: Path) -> None:
    package = load_model(basenji2)
    assert package.spec.architecture is not None
    assert package.spec.architecture.family == "basenji2"
    assert package.spec.reach == WindowReach(lengths=(512,), multiple_of=8, crop=32)
    found, expected = package.network(windows()), basenji2_written(windows())
    assert found.shape == expected.shape == (2, 3, 56)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_of_borzois_kind(borzoi: Path) -> None:
    package = load_model(borzoi)
    assert package.spec.architecture is not None
    assert package.spec.architecture.family == "borzoi"
    assert package.spec.reach == WindowReach(lengths=(512,), multiple_of=16, crop=64)
    found, expected = package.network(windows()), borzoi_written(windows())
    assert found.shape == expected.shape == (2, 3, 96)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_known_of_it(borzoi: Path, tmp_path: Path) -> None:
    package = baskerville.load([borzoi])
    assert package.spec.name == "model"
    assert package.spec.mask == "none"
    assert package.spec.licence == "LicenseRef-unknown"
    assert list(package.spec.provenance.sources) == ["model.h5", "params.json"]
    (output,) = package.spec.outputs
    assert (output.name, output.link, output.resolution) == ("signal", "softplus", 4)
    assert [track.name for track in output.tracks] == ["0", "1", "2"]
    assert output.reverse_complement.permutation == ()
    assert not package.network.training
    save_package(tmp_path / "package", package)
    again = load_package(tmp_path / "package")
    assert again.digest == package.digest
    assert again.spec.architecture == package.spec.architecture


def test_the_table_names_the_tracks(borzoi: Path) -> None:
    (borzoi.parent / "targets.txt").write_text(HEADER + "".join(ROWS))
    package = load_model(borzoi)
    (output,) = package.spec.outputs
    assert [(t.name, t.strand, t.assay, t.biosample) for t in output.tracks] == [
        ("A+", "+", "CAGE", "liver"),
        ("A-", "-", "CAGE", "liver"),
        ("B", ".", "DNASE", "HL-60"),
    ]
    assert output.tracks[0].transform == TargetTransform(power=0.5, soft_clip=64, clip=384)
    assert output.tracks[2].transform == TargetTransform(statistic="mean", scale=2, soft_clip=32, clip=128)
    assert output.reverse_complement.permutation == (1, 0, 2)
    assert output.resolution == 4
    assert "targets.txt" in package.spec.provenance.sources


def test_the_file_itself_tells_strand_pairs(tmp_path: Path) -> None:
    path = write_baskerville(tmp_path, BORZOI, borzoi_layers(), strand_pair=[0, 2, 1])
    assert load_model(path).spec.outputs[0].reverse_complement.permutation == (0, 2, 1)
    path = write_baskerville(tmp_path, BORZOI, borzoi_layers(), strand_pair=[0, 1, 2])
    assert load_model(path).spec.outputs[0].reverse_complement.permutation == ()
    path = write_baskerville(tmp_path, BORZOI, borzoi_layers(), strand_pair=[0, 2, 0])
    with pytest.raises(InputError, match=r"model\.h5: its strand pairs are none"):
        load_model(path)


def test_the_head_is_that_which_has_as_many_units(tmp_path: Path) -> None:
    path = write_baskerville(tmp_path, BORZOI, borzoi_layers(units=2))
    assert len(load_model(path).spec.outputs[0].tracks) == 2
    path = write_baskerville(tmp_path, BORZOI, borzoi_layers(units=4))
    with pytest.raises(InputError, match=r"ends in 4 units, .*params\.json in \[3, 2\]"):
        load_model(path)


def test_layers_numbered_from_anywhere(basenji2: Path, tmp_path: Path) -> None:
    """Keras goes on counting where a model made before it left off."""
    later = write_baskerville(tmp_path / "later", BASENJI2, basenji2_layers(), first=7)
    assert load_model(later).weights_digest == load_model(basenji2).weights_digest


def test_norms_of_many_devices_are_named_otherwise(basenji2: Path) -> None:
    expected = load_model(basenji2).weights_digest
    with h5py.File(basenji2, "a") as file:
        root = file["model_weights"]
        for name in [name for name in root if name.startswith("batch_normalization")]:
            root.move(f"{name}/{name}", f"{name}/sync_{name}")
            root.move(name, f"sync_{name}")
    assert load_model(basenji2).weights_digest == expected


def test_several_files_are_an_ensemble(borzoi: Path) -> None:
    write_baskerville(borzoi.parent, BORZOI, borzoi_layers(), name="second.h5")
    package = load_model(borzoi.parent)
    assert len(package.networks) == 2
    assert package.spec.name == "borzoi"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (changed(BORZOI, 1, name="swin_tower"), "after conv_dna comes swin_tower, which is not read"),
        (changed(BORZOI, 0, name="conv_next"), "begins with the block 'conv_next'"),
        (changed(BORZOI, 5, name="squeeze_excite"), "block squeeze_excite is not read"),
        (changed(BORZOI, 1, num_convs=2), "num_convs 2 of block res_tower is not read here, only 1"),
        (changed(BORZOI, 1, transpose_stride=2), "transpose_stride of block res_tower is not read"),
        (changed(BORZOI, 0, pool_size=4), "pool_size 4 of block conv_dna is not read here, only 2"),
        (changed(BORZOI, 2, block_type="swin"), "block_type 'swin' of block transformer_tower"),
        (changed(BORZOI, 2, key_size=None), "block transformer_tower has no key_size"),
        (changed(BORZOI, 3, upsample_conv=False), "upsample_conv False of block unet_conv"),
        (changed(BORZOI, 5, cropping=[16, 8]), "different numbers of bins"),
        (changed(BORZOI, 5, cropping=64), "a crop of 64 bins"),
        (changed(BORZOI, activation="relu"), "activation 'relu' of the model"),
        (changed(BORZOI, norm_type="layer"), "norm_type 'layer' of block res_tower"),
        (changed(BORZOI, colour="red"), "colour of the model is not read"),
        (changed(BORZOI, head_human={"name": "final", "units": 3, "activation": "relu"}), "activation 'relu' of head"),
        (changed(BORZOI, head_human={"name": "dense", "units": 3}), "block dense of head_human"),
        (changed(BORZOI, head_mouse={"name": "final", "units": 3, "activation": "exp"}), "heads that differ"),
        (changed(BASENJI2, 2, kernel_size=5), "kernel_size 5 of block dilated_residual is not read here, only 3"),
        (changed(BASENJI2, 4, name="final"), "after dilated_residual comes final"),
        (changed(BASENJI2, 0, filters="many"), "describes no model that can be made"),
        ({"train": {}}, "is no params.json of baskerville: it has no 'model'"),
        ([1, 2], "is no params.json of baskerville"),
    ],
)
def test_what_is_not_read_is_named(borzoi: Path, params: Any, words: str) -> None:
    (borzoi.parent / "params.json").write_text(json.dumps(params))
    with pytest.raises(InputError, match=words) as caught:
        load_model(borzoi)
    assert "params.json" in str(caught.value)


def test_damaged_files(borzoi: Path) -> None:
    (borzoi.parent / "params.json").write_text("{")
    with pytest.raises(InputError, match=r"is no params\.json of baskerville"):
        baskerville.load([borzoi])
    (borzoi.parent / "params.json").unlink()
    with pytest.raises(InputError, match=r"there is no .*params\.json: a Keras \.h5"):
        baskerville.load([borzoi])
    with pytest.raises(InputError, match=r"a model of baskerville needs its params\.json beside it"):
        load_model(borzoi)
    (borzoi.parent / "params.json").write_text(json.dumps(BORZOI))
    borzoi.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"model\.h5 is not a Keras \.h5 file"):
        load_model(borzoi)


def test_weights_of_another_model(borzoi: Path, basenji2: Path) -> None:
    (basenji2.parent / "params.json").write_text(json.dumps(BORZOI))
    with pytest.raises(InputError, match=r"has 12 layers conv1d, its params\.json has 5"):
        load_model(basenji2)
    (borzoi.parent / "params.json").write_text(json.dumps(changed(BORZOI, 0, filters=7)))
    with pytest.raises(InputError, match=r"weight stem\.weight has shape \(6, 4, 5\), the config asks for \(7, 4, 5\)"):
        load_model(borzoi)


@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_a_layer_that_lacks_an_array(borzoi: Path, leaf: str) -> None:
    with h5py.File(borzoi, "a") as file:
        del file[f"model_weights/dense/dense/{leaf}:0"]
    with pytest.raises(InputError, match=rf"a layer dense for transformers\.0\.dense1 .*{leaf}"):
        load_model(borzoi)


def test_an_array_that_is_none(borzoi: Path) -> None:
    with h5py.File(borzoi, "a") as file:
        del file["model_weights/dense/dense/bias:0"]
        file["model_weights/dense/dense/bias:0"] = np.array([b"x"] * 24)
    with pytest.raises(InputError, match=r"model\.h5 is no model: its .*bias:0 holds \|S1"):
        load_model(borzoi)


def test_a_table_of_other_tracks(borzoi: Path) -> None:
    table = borzoi.parent / "targets.txt"
    table.write_text(HEADER + "".join(ROWS[:2]))
    with pytest.raises(InputError, match=r"targets\.txt has 2 tracks, .*model\.h5 has 3"):
        load_model(borzoi)
    table.write_text(HEADER + "".join(ROWS).replace("mean", "peak"))
    with pytest.raises(InputError, match=r"line 4 .*sum_stat 'peak'"):
        load_model(borzoi)
