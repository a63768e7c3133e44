"""Weights of borzoi-pytorch by formula: the names and shapes of its state dict, with few channels where it lets one.

``benchmarks/make_golden_borzoi.py`` ran the peer on them; numpy only, since it is imported there too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from formula import formula_uniform
from numpy.typing import NDArray

LENGTH, CROP = 2048, 8
DIM, DEPTH, HEADS, KEY, VALUE, FEATURES, TRACKS = 48, 2, 4, 8, 12, 32, 5
_TOWER = (512, 608, 736, 896, 1056, 1280)
_FINAL = 1920


def borzoi_shapes(is_flashed: bool = False, mouse_tracks: int = 0) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Parameters and buffers, in their order."""
    yield from _layer("conv_dna.conv_layer", (512, 4, 15))
    for i, (inputs, outputs) in enumerate(itertools.pairwise(_TOWER)):
        yield from _block(f"res_tower.{2 * i}", inputs, outputs, 5)
    yield from _block("unet1.1", _TOWER[-1], DIM, 5)
    for name, inputs in (("horizontal_conv0", _TOWER[-1]), ("horizontal_conv1", DIM)):
        yield from _block(name, inputs, DIM, 1)
    for i in range(DEPTH):
        attention = f"transformer.{i}.0.fn.1"
        yield from _layer(f"transformer.{i}.0.fn.0", (DIM,))
        if is_flashed:
            yield from _layer(f"{attention}.mha.Wqkv", (2 * DIM, DIM))
            yield from _layer(f"{attention}.mha.out_proj", (DIM, DIM))
        else:
            yield f"{attention}.rel_content_bias", (1, HEADS, 1, KEY)
            yield f"{attention}.rel_pos_bias", (1, HEADS, 1, KEY)
            for name, outputs in (("to_q", KEY), ("to_k", KEY), ("to_v", VALUE)):
                yield f"{attention}.{name}.weight", (HEADS * outputs, DIM)
            yield from _layer(f"{attention}.to_out", (DIM, HEADS * VALUE))
            yield f"{attention}.to_rel_k.weight", (HEADS * KEY, FEATURES)
        yield from _layer(f"transformer.{i}.1.fn.0", (DIM,))
        yield from _layer(f"transformer.{i}.1.fn.1", (2 * DIM, DIM))
        yield from _layer(f"transformer.{i}.1.fn.4", (DIM, 2 * DIM))
    for level in (1, 0):
        yield from _block(f"upsampling_unet{level}.0", DIM, DIM, 1)
        yield f"separable{level}.conv_layer.0.weight", (DIM, 1, 3)
        yield from _layer(f"separable{level}.conv_layer.1", (DIM, DIM, 1))
    yield from _block("final_joined_convs.0", DIM, _FINAL, 1)
    yield from _layer("human_head", (TRACKS, _FINAL, 1))
    if mouse_tracks:
        yield from _layer("mouse_head", (mouse_tracks, _FINAL, 1))


def _layer(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _block(name: str, inputs: int, outputs: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{leaf}", (inputs,)
    yield f"{name}.norm.num_batches_tracked", ()
    yield from _layer(f"{name}.conv_layer", (outputs, inputs, width))


def borzoi_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """A parameter by its name, scaled so that signals neither vanish nor explode, and attention has its say."""
    if not shape:
        return np.array(1)
    u = formula_uniform(name, math.prod(shape)).reshape(shape)
    if name.endswith("running_var"):
        made = 1 + 0.5 * u
    elif name.endswith("running_mean"):
        made = 0.2 * u
    elif "rel_content_bias" in name or "rel_pos_bias" in name:
        made = u
    elif len(shape) == 1:
        made = 1 + 0.3 * u if name.endswith("weight") else 0.2 * u
    else:
        made = u * math.sqrt(6 / math.prod(shape[1:]))
    return made.astype(np.float32)
