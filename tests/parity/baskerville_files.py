"""Small models as baskerville keeps them, with weights by formula: ``params.json`` and a Keras 2 ``.h5``."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from formula import formula_uniform

Shapes = dict[str, tuple[int, ...]]
_COMMON = {"activation": "gelu", "norm_type": "batch", "bn_momentum": 0.9, "augment_rc": True, "augment_shift": 3}
_PLAIN, _POOLED = {"activation": "linear"}, {"pool_size": 2}
_HEADS = {
    "head_mouse": {"name": "final", "units": 2, "activation": "softplus"},
    "head_human": [{"name": "final", "units": 3, "activation": "softplus"}],
}

BORZOI: dict[str, Any] = {
    "train": {"loss": "poisson_mn"},
    "model": {
        **_COMMON,
        **_HEADS,
        "seq_length": 512,
        "trunk": [
            {
                "name": "conv_dna",
                "filters": 6,
                "kernel_size": 5,
                "norm_type": None,
                "activation": "linear",
                "pool_size": 2,
            },
            {
                "name": "res_tower",
                "filters_init": 6,
                "filters_end": 12,
                "divisible_by": 2,
                "kernel_size": 5,
                "num_convs": 1,
                "pool_size": 2,
                "repeat": 3,
            },
            {
                "name": "transformer_tower",
                "key_size": 3,
                "heads": 2,
                "num_position_features": 8,
                "dropout": 0.2,
                "repeat": 2,
            },
            {"name": "unet_conv", "kernel_size": 3, "upsample_conv": True},
            {"name": "unet_conv", "kernel_size": 3, "upsample_conv": True},
            {"name": "Cropping1D", "cropping": 16},
            {"name": "conv_nac", "filters": 10, "dropout": 0.1},
        ],
    },
}

BASENJI2: dict[str, Any] = {
    "train": {},
    "model": {
        **_COMMON,
        **_HEADS,
        "seq_length": 512,
        "trunk": [
            {"name": "conv_block", "filters": 6, "kernel_size": 6, "pool_size": 2},
            {
                "name": "conv_tower",
                "filters_init": 7,
                "filters_mult": 1.2,
                "kernel_size": 5,
                "pool_size": 2,
                "repeat": 2,
            },
            {"name": "dilated_residual", "filters": 4, "rate_mult": 1.5, "repeat": 4, "dropout": 0.3, "round": True},
            {"name": "Cropping1D", "cropping": 4},
            {"name": "conv_block", "filters": 12, "dropout": 0.05},
        ],
    },
}


def borzoi_layers(units: int = 3) -> Iterator[tuple[str, Shapes]]:
    """(kind, arrays) in the order in which Keras numbers them: those of a kind count."""
    yield "conv1d", _convolution(5, 4, 6)
    for inputs, outputs in ((6, 6), (6, 8), (8, 12)):
        yield "batch_normalization", _norm(inputs)
        yield "conv1d", _convolution(5, inputs, outputs)
    for _ in range(2):
        yield "layer_normalization", _layer_norm(12)
        yield (
            "multihead_attention",
            {
                **{f"{part}_layer/kernel": (12, 6) for part in "qk"},
                "v_layer/kernel": (12, 12),
                "r_k_layer/kernel": (8, 6),
                "r_w_bias": (1, 2, 1, 3),
                "r_r_bias": (1, 2, 1, 3),
                "embedding_layer/kernel": (12, 12),
                "embedding_layer/bias": (12,),
            },
        )
        yield "layer_normalization", _layer_norm(12)
        yield "dense", {"kernel": (12, 24), "bias": (24,)}
        yield "dense", {"kernel": (24, 12), "bias": (12,)}
    for skipped in (12, 8):
        for inputs in (12, skipped):
            yield "batch_normalization", _norm(inputs)
            yield "dense", {"kernel": (inputs, 12), "bias": (12,)}
        yield (
            "separable_conv1d",
            {"depthwise_kernel": (3, 12, 1), "pointwise_kernel": (1, 12, 12), "bias": (12,)},
        )
    yield "batch_normalization", _norm(12)
    yield "conv1d", _convolution(1, 12, 10)
    yield "dense", {"kernel": (10, units), "bias": (units,)}


def basenji2_layers(units: int = 3) -> Iterator[tuple[str, Shapes]]:
    sizes = [(6, 4, 6), (5, 6, 7), (5, 7, 8), *[(3, 8, 4), (1, 4, 8)] * 4, (1, 8, 12)]
    for width, inputs, outputs in sizes:
        yield "conv1d", {"kernel": (width, inputs, outputs)}
        yield "batch_normalization", _norm(outputs)
    yield "dense", {"kernel": (12, units), "bias": (units,)}


def _convolution(width: int, inputs: int, outputs: int) -> Shapes:
    return {"kernel": (width, inputs, outputs), "bias": (outputs,)}


def _norm(channels: int) -> Shapes:
    return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (channels,))


def _layer_norm(channels: int) -> Shapes:
    return dict.fromkeys(("gamma", "beta"), (channels,))


def keras_arrays(layers: Iterator[tuple[str, Shapes]], first: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Layer -> array -> values; layers of a kind are numbered from ``first``, which is left out where it is 0."""
    counts: dict[str, int] = {}
    found: dict[str, dict[str, np.ndarray]] = {}
    for kind, shapes in layers:
        number = counts[kind] = counts.get(kind, first - 1) + 1
        name = f"{kind}_{number}" if number else kind
        found[name] = {
            leaf: keras_weight(f"{kind} {number - first} {leaf}", leaf, shape) for leaf, shape in shapes.items()
        }
    return found


def keras_weight(name: str, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    u = formula_uniform(name, math.prod(shape)).reshape(shape)
    if leaf in ("gamma", "moving_variance"):
        made = 1 + 0.5 * u
    elif len(shape) == 1 or leaf.startswith("r_"):
        made = 0.5 * u
    else:
        made = u * math.sqrt(6 / math.prod(shape[:-1] if leaf != "depthwise_kernel" else shape[:1]))
    return made.astype(np.float32)


def write_baskerville(
    folder: Path,
    params: dict[str, Any],
    layers: Iterator[tuple[str, Shapes]],
    strand_pair: list[int] | None = None,
    name: str = "model.h5",
    first: int = 0,
) -> Path:
    """``params.json`` and the weights beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params))
    with h5py.File(folder / name, "w") as file:
        if strand_pair is not None:
            switch = {"class_name": "SwitchReverse", "config": {"name": "switch_reverse", "strand_pair": strand_pair}}
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [switch]}})
        root = file.create_group("model_weights")
        root.create_group("sequence")
        root.create_group("dropout")
        for layer, arrays in keras_arrays(layers, first).items():
            for leaf, values in arrays.items():
                root.create_dataset(f"{layer}/{layer}/{leaf}:0", data=values)
    return folder / name


def changed(params: dict[str, Any], block: int | None = None, **settings: Any) -> dict[str, Any]:
    """With other settings of a block of the trunk, or of the model."""
    other = copy.deepcopy(params)
    (other["model"] if block is None else other["model"]["trunk"][block]).update(settings)
    return other
