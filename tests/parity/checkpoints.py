"""Checkpoint files with the formula's weights, as published ones are: OpenSpliceAI ``.pt``, Illumina Keras ``.h5``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from formula import CHANNELS, DILATIONS, WIDTHS, formula_weight, openspliceai_shapes

NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")


def write_openspliceai(path: Path, context: int, salt: str = "") -> None:
    """A plain ``torch.save`` of the state dict, as OpenSpliceAI publishes."""
    import torch  # the Keras peer's environment has none

    state = {
        name: torch.from_numpy(formula_weight(name, shape, salt)) if shape else torch.tensor(1)
        for name, shape in openspliceai_shapes(context)
    }
    torch.save(state, path)


def write_keras(path: Path) -> None:
    """A functional model of Keras 2 as Illumina publishes it: 10,000 nt, ``model_weights/LAYER/LAYER/kernel:0`` ..."""
    layers = _by_depth(list(keras_layers()))
    config = {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": [
                {key: layer[key] for key in ("class_name", "name", "config", "inbound_nodes")} for layer in layers
            ],
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [[layers[-1]["name"], 0, 0]],
        },
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(keras_version=b"2.0.5", backend=b"tensorflow", model_config=json.dumps(config).encode())
        root = file.create_group("model_weights")
        root.attrs.update(keras_version=b"2.0.5", backend=b"tensorflow")
        root.attrs["layer_names"] = np.array([layer["name"].encode() for layer in layers])
        for layer in layers:
            group = root.create_group(layer["name"])
            names = [f"{layer['name']}/{leaf}:0" for leaf in layer["shapes"]]
            group.attrs["weight_names"] = np.array([name.encode() for name in names], dtype="S" if names else "f8")
            for name, shape in zip(names, layer["shapes"].values(), strict=True):
                group.create_dataset(name, data=formula_weight(name, shape))


def keras_layers() -> Iterator[dict[str, Any]]:
    """Every layer, inputs first: class, name, config, the layers it reads, and the shapes of its weights."""
    counts: dict[str, int] = {}

    def layer(
        kind: str, prefix: str, inputs: list[str], shapes: dict[str, tuple[int, ...]], **config: Any
    ) -> dict[str, Any]:
        counts[prefix] = counts.get(prefix, 0) + 1
        name = f"{prefix}_{counts[prefix]}"
        nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
        return {
            "class_name": kind,
            "name": name,
            "config": {"name": name, **config},
            "inbound_nodes": nodes,
            "shapes": shapes,
        }

    def convolution(
        source: str, inputs: int, outputs: int, width: int = 1, dilation: int = 1, **config: Any
    ) -> dict[str, Any]:
        shapes = {"kernel": (width, inputs, outputs), "bias": (outputs,)}
        sizes = {"filters": outputs, "kernel_size": [width], "dilation_rate": [dilation], "padding": "same"}
        return layer("Conv1D", "conv1d", [source], shapes, **sizes, **config)

    made = layer("InputLayer", "input", [], {}, batch_input_shape=[None, None, 4], dtype="float32")
    yield made
    yield (stem := convolution(made["name"], 4, CHANNELS))
    yield (first := convolution(stem["name"], CHANNELS, CHANNELS))
    trunk, skipped = stem["name"], first["name"]
    for width, dilation in zip(WIDTHS, DILATIONS, strict=True):
        for _ in range(4):
            source = trunk
            for _ in range(2):
                norm_shapes = dict.fromkeys(NORM_LEAVES, (CHANNELS,))
                yield (
                    norm := layer(
                        "BatchNormalization", "batch_normalization", [source], norm_shapes, axis=-1, epsilon=1e-3
                    )
                )
                yield (active := layer("Activation", "activation", [norm["name"]], {}, activation="relu"))
                yield (made := convolution(active["name"], CHANNELS, CHANNELS, width, dilation))
                source = made["name"]
            yield (made := layer("Add", "add", [trunk, source], {}))
            trunk = made["name"]
        yield (skip := convolution(trunk, CHANNELS, CHANNELS))
        yield (made := layer("Add", "add", [skipped, skip["name"]], {}))
        skipped = made["name"]
    yield (made := layer("Cropping1D", "cropping1d", [skipped], {}, cropping=[5000, 5000]))
    yield convolution(made["name"], CHANNELS, 3, activation="softmax")


def _by_depth(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Farthest from the output first: the order in which Keras keeps a model's layers, and reads their weights."""
    depth = {layer["name"]: 0 for layer in layers}
    for layer in reversed(layers):
        for source, *_ in (layer["inbound_nodes"] or [[]])[0]:
            depth[source] = max(depth[source], depth[layer["name"]] + 1)
    return sorted(layers, key=lambda layer: -depth[layer["name"]])
