"""Borzoi and Flashzoi as PyTorch ``.safetensors``, with the names of the package borzoi-pytorch (Apache-2.0).

``targets.txt`` beside them, Borzoi's published table, names the human tracks; without it they are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from basecast.data.signal_targets import SIGNAL, read_targets, signal_output
from basecast.errors import InputError
from basecast.models.borzoi import Borzoi, BorzoiConfig, spec
from basecast.spec import Output, Provenance, Track
from basecast.zoo.package import Package, common_source, filled

SUFFIXES = (".safetensors",)
TARGETS = "targets.txt"
_LENGTH, _CROP = 524_288, 5120
_ROTARY = {"kind": "rotary", "heads": 8, "shared_heads": 4, "base": 20_000.0, "dropout": 0.05}
_NAMES = {  # theirs -> ours, of modules; {2i} is twice i, and {i} of the result what {i} or {2i} was
    r"conv_dna\.conv_layer": "stem",
    r"res_tower\.{2i}\.norm": "tower.{i}.norm",
    r"res_tower\.{2i}\.conv_layer": "tower.{i}.conv",
    r"unet1\.1\.norm": "tower.{last}.norm",
    r"unet1\.1\.conv_layer": "tower.{last}.conv",
    r"transformer\.{i}\.0\.fn\.0": "transformers.{i}.norm1",
    r"transformer\.{i}\.0\.fn\.1\.to_q": "transformers.{i}.attention.query",
    r"transformer\.{i}\.0\.fn\.1\.to_k": "transformers.{i}.attention.key",
    r"transformer\.{i}\.0\.fn\.1\.to_v": "transformers.{i}.attention.value",
    r"transformer\.{i}\.0\.fn\.1\.to_rel_k": "transformers.{i}.attention.distance",
    r"transformer\.{i}\.0\.fn\.1\.to_out": "transformers.{i}.attention.out",
    r"transformer\.{i}\.0\.fn\.1": "transformers.{i}.attention",
    r"transformer\.{i}\.0\.fn\.1\.mha\.Wqkv": "transformers.{i}.attention.query_key_value",
    r"transformer\.{i}\.0\.fn\.1\.mha\.out_proj": "transformers.{i}.attention.out",
    r"transformer\.{i}\.1\.fn\.0": "transformers.{i}.norm2",
    r"transformer\.{i}\.1\.fn\.1": "transformers.{i}.dense1",
    r"transformer\.{i}\.1\.fn\.4": "transformers.{i}.dense2",
    r"upsampling_unet1\.0\.norm": "levels.0.coarse.norm",
    r"upsampling_unet1\.0\.conv_layer": "levels.0.coarse.conv",
    r"horizontal_conv1\.norm": "levels.0.fine.norm",
    r"horizontal_conv1\.conv_layer": "levels.0.fine.conv",
    r"separable1\.conv_layer\.0": "levels.0.depthwise",
    r"separable1\.conv_layer\.1": "levels.0.pointwise",
    r"upsampling_unet0\.0\.norm": "levels.1.coarse.norm",
    r"upsampling_unet0\.0\.conv_layer": "levels.1.coarse.conv",
    r"horizontal_conv0\.norm": "levels.1.fine.norm",
    r"horizontal_conv0\.conv_layer": "levels.1.fine.conv",
    r"separable0\.conv_layer\.0": "levels.1.depthwise",
    r"separable0\.conv_layer\.1": "levels.1.pointwise",
    r"final_joined_convs\.0\.norm": "final.norm",
    r"final_joined_convs\.0\.conv_layer": "final.conv",
    r"human_head": "head.human",
    r"mouse_head": "head.mouse",
}
_LEAVES = {"rel_content_bias": "content_bias", "rel_pos_bias": "distance_bias"}


def load(paths: Sequence[Path], targets: Path | None = None, length: int = _LENGTH, crop: int = _CROP) -> Package:
    """The files as one package, an ensemble if there are several; one head is ``signal``, two are human and mouse.

    Args:
        targets: the table of the human tracks, by default ``targets.txt`` beside the first file where there is one.
        length: bases of a window.
        crop: bins of 32 bp that are left out at each end.

    Raises:
        InputError: a file holds no such weights, or they differ in size.
    """
    folder = paths[0].parent
    if targets is None and (folder / TARGETS).is_file():
        targets = folder / TARGETS
    found = [_renamed(path) for path in paths]
    config = _config(found[0], length, crop, paths[0])
    networks = [filled(partial(Borzoi, config), weights, path) for weights, path in zip(found, paths, strict=True)]
    card = spec(
        config,
        outputs=list(_outputs(config, targets)),
        members=len(paths),
        name=paths[0].stem if len(paths) == 1 else folder.resolve().name,
        species="Homo sapiens",
        genome_build="hg38",
        licence="Apache-2.0",
        citation="Linder et al. 2025, Nature Genetics 57; Hingerl et al. 2024, bioRxiv 2024.12.18.629121",
        provenance=Provenance(
            sources=common_source([*paths, *([targets] if targets else [])]),
            note="imported from borzoi-pytorch's safetensors",
        ),
    )
    return Package(card, tuple(networks), source=str(paths[0] if len(paths) == 1 else folder))


def _renamed(path: Path) -> dict[str, Tensor]:
    """The weights by our names, float32.

    Raises:
        InputError: it is no safetensors file, or a name is none of theirs.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from None
    last = sum(bool(re.fullmatch(r"res_tower\.\d+\.conv_layer\.weight", name)) for name in state)
    weights = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        ours = _ours(module, last)
        if ours is None:
            raise InputError(f"{path} is no Borzoi of borzoi-pytorch: it has a weight {name}")
        if leaf in _LEAVES:
            tensor = tensor[0]
        if leaf != "num_batches_tracked":
            tensor = tensor.float()
        weights[f"{ours}.{_LEAVES.get(leaf, leaf)}"] = tensor
    if sum(name.startswith("head.") and name.endswith(".weight") for name in weights) == 1:
        weights = {re.sub(r"^head\.\w+\.", f"head.{SIGNAL}.", name): x for name, x in weights.items()}
    return weights


def _ours(module: str, last: int) -> str | None:
    """Our name of a module; ``last`` is the number of the tower's last layer."""
    for theirs, ours in _NAMES.items():
        pattern = theirs.replace("{i}", r"(?P<i>\d+)").replace("{2i}", r"(?P<i>\d+)")
        if match := re.fullmatch(pattern, module):
            number = int(match.groupdict().get("i", 0)) // (2 if "{2i}" in theirs else 1)
            return ours.format(i=number, last=last)
    return None


def _config(weights: Mapping[str, Tensor], length: int, crop: int, path: Path) -> BorzoiConfig:
    """The sizes that the shapes imply; how many heads share a rotary projection no shape tells."""

    def shape(name: str) -> tuple[int, ...]:
        return tuple(weights[name].shape)

    def count(pattern: str) -> int:
        return sum(bool(re.fullmatch(pattern, name)) for name in weights)

    try:
        channels = shape("transformers.0.norm1.weight")[0]
        attention: dict[str, Any] = {**_ROTARY, "rotated": min(128, channels // 8)}
        if "transformers.0.attention.content_bias" in weights:
            heads, _, key_size = shape("transformers.0.attention.content_bias")
            attention = {
                "kind": "relative",
                "heads": heads,
                "key_size": key_size,
                "value_size": shape("transformers.0.attention.value.weight")[0] // heads,
                "features": shape("transformers.0.attention.distance.weight")[1],
            }
        tower = [shape(f"tower.{i}.conv.weight") for i in range(count(r"tower\.\d+\.conv\.weight"))]
        ends = {name.split(".")[1]: x.shape[0] for name, x in weights.items() if re.fullmatch(r"head\..*weight", name)}
        return BorzoiConfig.model_validate(
            {
                "stem_filters": shape("stem.weight")[0],
                "stem_width": shape("stem.weight")[2],
                "tower": [size[0] for size in tower],
                "tower_width": tower[0][2],
                "attention": attention,
                "transformers": count(r"transformers\.\d+\.norm1\.weight"),
                "level_width": shape("levels.0.depthwise.weight")[2],
                "final_filters": shape("final.conv.weight")[0],
                "heads": [{"name": name, "tracks": ends[name]} for name in sorted(ends)],
                "length": length,
                "crop": crop,
            }
        )
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{path} is no Borzoi of borzoi-pytorch: {error}") from None


def _outputs(config: BorzoiConfig, targets: Path | None) -> Iterator[Output]:
    """The tracks of each head: of the first, which are human, as their table has them; others numbered."""
    for i, head in enumerate(config.heads):
        if i or targets is None:
            yield Output(name=head.name, tracks=tuple(Track(name=str(j)) for j in range(head.tracks)))
            continue
        rows = read_targets(targets, files_exist=False, scaled_last=True)
        if len(rows) != head.tracks:
            raise InputError(f"{targets} has {len(rows)} tracks, the model has {head.tracks}: take its own table")
        output = signal_output(rows, config.resolution)
        tracks = tuple(_published(track) for track in output.tracks)
        yield output.model_copy(update={"name": head.name, "tracks": tracks})


def _published(track: Track) -> Track:
    """What the published table calls a square root was the power 3/4."""
    if track.transform is None or track.transform.power != 0.5:
        return track
    return track.model_copy(update={"transform": track.transform.model_copy(update={"power": 0.75})})
