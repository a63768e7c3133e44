"""Baskerville's models: a Keras ``.h5`` with ``params.json`` beside it, read through h5py. No TensorFlow.

Networks of Borzoi's kind and of Basenji2's. ``targets.txt`` beside them names the tracks; else they are numbered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from basecast.data.signal_targets import SIGNAL, read_targets, signal_output
from basecast.errors import InputError
from basecast.models.attention import RelativeAttention
from basecast.models.borzoi import Level
from basecast.models.layers import Norm
from basecast.models.network import Network
from basecast.models.registry import families
from basecast.models.signal import Head, Heads, SignalConfig
from basecast.spec import Output, Provenance, ReverseComplement, Track
from basecast.zoo.importers.baskerville_params import design_of
from basecast.zoo.package import Package, common_source, filled

PARAMS, TARGETS = "params.json", "targets.txt"
LICENCE = "LicenseRef-unknown"
_LARGEST = 2**28  # numbers in an array; those of the largest published model are a tenth of it


def load(paths: Sequence[Path], params: Path | None = None, targets: Path | None = None) -> Package:
    """The files as one package, an ensemble if there are several.

    A file holds one head, that of ``params.json`` with as many units; its output is ``signal``.

    Args:
        params: by default ``params.json`` beside the first file.
        targets: the table of tracks, by default ``targets.txt`` beside it where there is one.

    Raises:
        InputError: a file is no HDF5 or no JSON, has a block or setting that is not read, or the files do not agree.
    """
    folder = paths[0].parent
    params = params or folder / PARAMS
    if targets is None and (folder / TARGETS).is_file():
        targets = folder / TARGETS
    design = design_of(params)
    family = families()[design.family]
    files = [_KerasFile(path) for path in paths]
    config = design.config.model_copy(update={"heads": (_head(files[0], design.config, params),)})
    networks = []
    for file in files:
        make = partial(family.network, config)
        with torch.device("meta"):
            weights = dict(_weights(make(), file))
        networks.append(filled(make, weights, file.path))
    card = family.spec(
        config,
        outputs=[_output(files[0], config, targets)],
        members=len(paths),
        name=paths[0].stem if len(paths) == 1 else folder.resolve().name,
        licence=LICENCE,
        provenance=Provenance(
            sources=common_source([*paths, params, *([targets] if targets else [])]),
            note="imported from baskerville's Keras files",
        ),
    )
    return Package(card, tuple(networks), source=str(paths[0] if len(paths) == 1 else folder))


class _KerasFile:
    """The arrays of a Keras model, by layer; Keras numbers the layers of a kind in the order of the network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._layers: dict[str, dict[str, np.ndarray]] = {}
        try:
            with h5py.File(path, "r") as file:
                root = file.get("model_weights", file)
                for name, layer in root.items() if isinstance(root, h5py.Group) else ():
                    if isinstance(layer, h5py.Group) and (arrays := dict(self._leaves(name, layer))):
                        self._layers[name] = arrays
                self.settings = str(file.attrs.get("model_config", ""))
        except OSError as error:
            raise InputError(f"{path} is not a Keras .h5 file: {error}") from None

    def _leaves(self, layer: str, group: h5py.Group) -> Iterator[tuple[str, np.ndarray]]:
        found: list[tuple[str, h5py.Dataset]] = []
        group.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
        for name, array in found:
            if (array.size or 0) > _LARGEST or array.dtype.kind != "f":
                raise InputError(f"{self.path} is no model: its {array.name} holds {array.dtype} of {array.shape}")
            parts = [part for part in name.removesuffix(":0").split("/") if part != layer]
            yield "/".join(parts), np.asarray(array)

    def kind(self, kind: str) -> list[dict[str, np.ndarray]]:
        """The layers of one kind, in order."""
        numbers = {
            int(found[1] or 0): arrays
            for name, arrays in self._layers.items()
            if (found := re.fullmatch(rf"(?:sync_)?{kind}(?:_(\d+))?", name))
        }
        return [numbers[number] for number in sorted(numbers)]


def _head(file: _KerasFile, config: SignalConfig, params: Path) -> Head:
    """The head that the last dense layer is."""
    dense = file.kind("dense")
    units = dense[-1]["kernel"].shape[-1] if dense and "kernel" in dense[-1] else 0
    for head in config.heads:
        if head.tracks == units:
            return Head(name=SIGNAL, tracks=units)
    raise InputError(
        f"{file.path} ends in {units} units, {params} in {[head.tracks for head in config.heads]}: "
        "they are of different models"
    )


def _output(file: _KerasFile, config: SignalConfig, targets: Path | None) -> Output:
    """The tracks, from their table or numbered; then strand pairs are what the file says."""
    count = config.heads[0].tracks
    if targets is not None:
        rows = read_targets(targets, files_exist=False)
        if len(rows) != count:
            raise InputError(f"{targets} has {len(rows)} tracks, {file.path} has {count}: they are of different models")
        return signal_output(rows, config.resolution)
    pairs: tuple[int, ...] = ()
    try:
        layers = json.loads(file.settings)["config"]["layers"]
        said = [x["config"]["strand_pair"] for x in layers if x["class_name"] == "SwitchReverse"]
        pairs = tuple(int(i) for i in said[0] or ())
    except (ValueError, KeyError, TypeError, IndexError):
        pass  # a file of weights alone says nothing of it
    rule = ReverseComplement(permutation=() if pairs == tuple(range(count)) else pairs)
    try:
        return Output(name=SIGNAL, tracks=tuple(Track(name=str(i)) for i in range(count)), reverse_complement=rule)
    except ValueError as error:
        raise InputError(f"{file.path}: its strand pairs are none ({error})") from None


Reader = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def _convolution(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"weight": layer["kernel"].transpose(2, 1, 0)} | {k: v for k, v in layer.items() if k == "bias"}


def _pointwise(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"weight": layer["kernel"].T[:, :, None], "bias": layer["bias"]}


def _dense(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"weight": layer["kernel"].T, "bias": layer["bias"]}


def _batch_norm(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "weight": layer["gamma"],
        "bias": layer["beta"],
        "running_mean": layer["moving_mean"],
        "running_var": layer["moving_variance"],
        "num_batches_tracked": np.array(0),
    }


def _layer_norm(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"weight": layer["gamma"], "bias": layer["beta"]}


def _separable(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "depthwise.weight": layer["depthwise_kernel"].transpose(1, 2, 0),
        "pointwise.weight": layer["pointwise_kernel"].transpose(2, 1, 0),
        "pointwise.bias": layer["bias"],
    }


def _attention(layer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ours = {"query": "q_layer", "key": "k_layer", "value": "v_layer", "distance": "r_k_layer", "out": "embedding_layer"}
    return {f"{name}.weight": layer[f"{theirs}/kernel"].T for name, theirs in ours.items()} | {
        "out.bias": layer["embedding_layer/bias"],
        "content_bias": layer["r_w_bias"][0],
        "distance_bias": layer["r_r_bias"][0],
    }


_READERS: dict[str, Reader] = {
    "conv1d": _convolution,
    "dense": _dense,
    "batch_normalization": _batch_norm,
    "layer_normalization": _layer_norm,
    "separable_conv1d": _separable,
    "multihead_attention": _attention,
}


def _layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, Reader, str]]:
    """(Keras kind, reader, our prefix) of each layer that has weights, kind by kind in the order of the network."""
    for name, module in network.named_children():
        ours = f"{prefix}{name}"
        if isinstance(module, Norm):
            yield "batch_normalization", _batch_norm, ours
        elif isinstance(module, nn.LayerNorm):
            yield "layer_normalization", _layer_norm, ours
        elif isinstance(module, RelativeAttention):
            yield "multihead_attention", _attention, ours
        elif isinstance(module, Level):
            for part in ("coarse", "fine"):
                yield "batch_normalization", _batch_norm, f"{ours}.{part}.norm"
                yield "dense", _pointwise, f"{ours}.{part}.conv"
            yield "separable_conv1d", _separable, ours
        elif isinstance(module, Heads):
            yield from (("dense", _pointwise, f"{ours}.{head}") for head in module)
        elif isinstance(module, nn.Linear):
            yield "dense", _dense, ours
        elif isinstance(module, nn.Conv1d):
            yield "conv1d", _convolution, ours
        else:
            yield from _layers(module, f"{ours}.")


def _weights(network: Network, file: _KerasFile) -> Iterator[tuple[str, Tensor]]:
    layers = list(_layers(network))
    there = {kind: iter(file.kind(kind)) for kind in _READERS}
    for kind in _READERS:
        wanted, found = sum(kind == each for each, _, _ in layers), len(file.kind(kind))
        if wanted != found:
            raise InputError(
                f"{file.path} has {found} layers {kind}, its params.json has {wanted}: they are of different models"
            )
    for kind, read, ours in layers:
        layer = next(there[kind])
        try:
            arrays = read(layer)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"{file.path}: a layer {kind} for {ours} is not as it should be ({error!r})") from None
        for name, array in arrays.items():
            yield f"{ours}.{name}", torch.from_numpy(array.copy())
