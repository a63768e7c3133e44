"""Illumina's SpliceAI: Keras ``.h5`` files, read through h5py. No TensorFlow."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from basecast.errors import InputError
from basecast.models.spliceai import SpliceAI, SpliceAIConfig, published, spec
from basecast.spec import Provenance
from basecast.zoo.package import Package, common_source, fill

SUFFIXES = (".h5",)
LICENCE = "CC-BY-NC-4.0"
_LARGEST = 1_000_000  # numbers in an array; those of the model are far smaller
PUBLISHED = "af123324f297fbe912f1026fae61bcd6559c7aecd9177ef0376aad4be5d45da6"
"""``Package.weights_digest`` of the five models ``spliceai1.h5`` to ``spliceai5.h5``."""


def is_published(package: Package) -> bool:
    """Whether these are Illumina's five published models, whatever they are called."""
    return package.weights_digest == PUBLISHED


def load(paths: list[Path]) -> Package:
    """The files as one package, an ensemble if there are several.

    Raises:
        InputError: a file is no HDF5, or does not hold SpliceAI's layers.
    """
    config = published(10000, activation="relu", norm_epsilon=1e-3)
    networks = []
    for path in paths:
        network = SpliceAI(config)
        fill(network, _weights(path, config), path)
        networks.append(network)
    card = spec(
        config,
        members=len(paths),
        name=paths[0].stem if len(paths) == 1 else "spliceai-10000",
        species="Homo sapiens",
        licence=LICENCE,
        citation="Jaganathan et al. 2019, Cell 176",
        provenance=Provenance(sources=common_source(paths), note="imported from Illumina's Keras files"),
    )
    return Package(card, tuple(networks), source=str(paths[0] if len(paths) == 1 else paths[0].parent))


def _weights(path: Path, config: SpliceAIConfig) -> dict[str, Tensor]:
    """Our names for the layers, which Keras numbers in the order of the network."""
    try:
        with h5py.File(path, "r") as file:
            layers = file.get("model_weights", file)
            arrays = {
                f"{name}/{kind.removesuffix(':0')}": _read(value, path)
                for name, layer in (layers.items() if isinstance(layers, h5py.Group) else ())
                if isinstance(layer, h5py.Group)
                for kind, value in _leaves(layer)
            }
    except OSError as error:
        raise InputError(f"{path} is not a Keras .h5 file: {error}") from None
    weights: dict[str, Tensor] = {}

    def convolution(ours: str, number: int) -> None:
        kernel = arrays[f"conv1d_{number}/kernel"]
        weights[f"{ours}.weight"] = torch.from_numpy(kernel).permute(2, 1, 0).contiguous()
        weights[f"{ours}.bias"] = torch.from_numpy(arrays[f"conv1d_{number}/bias"])

    def norm(ours: str, number: int) -> None:
        theirs = f"batch_normalization_{number}"
        for name, kind in _NORM_PARTS.items():
            weights[f"{ours}.{name}"] = torch.from_numpy(arrays[f"{theirs}/{kind}"])
        weights[f"{ours}.num_batches_tracked"] = torch.tensor(0)

    try:
        convolution("stem", 1)
        convolution("skips.0", 2)
        number = 3
        for i in range(len(config.widths)):
            for part in (1, 2):
                norm(f"units.{i}.norm{part}", 2 * i + part)
                convolution(f"units.{i}.conv{part}", number)
                number += 1
            if (i + 1) % config.skip_every == 0:
                convolution(f"skips.{(i + 1) // config.skip_every}", number)
                number += 1
        convolution("head", number)
    except KeyError as error:
        raise InputError(
            f"{path} is not a SpliceAI model: it has no layer {error}; a model of baskerville needs its params.json "
            "beside it"
        ) from None
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{path} is not a SpliceAI model: a layer is no array of its kind ({error})") from None
    return weights


_NORM_PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _read(array: h5py.Dataset, path: Path) -> np.ndarray:
    """Raises InputError where it would fill the memory: a small file may name any size."""
    if (array.size or 0) > _LARGEST:
        raise InputError(f"{path} is not a SpliceAI model: its {array.name} has the shape {array.shape}")
    return np.asarray(array)


def _leaves(group: h5py.Group) -> list[tuple[str, h5py.Dataset]]:
    """(name, array) of every dataset below a layer, whatever groups Keras put between."""
    found: list[tuple[str, h5py.Dataset]] = []

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name.rsplit("/", 1)[-1], item))

    group.visititems(collect)
    return found
