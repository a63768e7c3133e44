"""What a ``params.json`` of baskerville says, as the config of a family. What is not read is named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basecast.errors import InputError
from basecast.models.attention import RelativeSizes
from basecast.models.basenji2 import Basenji2Config
from basecast.models.blocks import Layer
from basecast.models.borzoi import BorzoiConfig
from basecast.models.signal import Head

_GLOBAL = ("activation", "norm_type", "padding")  # what blocks take from the model where they say nothing
_LEARNING = {"bn_momentum", "l1_scale", "l2_scale", "mha_l2_scale", "kernel_initializer", "mha_initializer"}
_OF_MODEL = {"seq_length", "augment_rc", "augment_shift", "strand_pair", "diagonal_offset", "trunk", "verbose"}
_BATCH = ("batch", "batch-sync")


@dataclass(frozen=True)
class Design:
    """A family and its config, with one head for each of the file's, in the order in which they are numbered there."""

    family: str
    config: BorzoiConfig | Basenji2Config


class _Block:
    """The settings of one block, each of which is read once."""

    def __init__(self, settings: Mapping[str, Any], shared: Mapping[str, Any], path: Path) -> None:
        self.name, self._path = str(settings.get("name")), path
        self._rest = {**shared, **settings}

    def take(self, name: str, default: Any = None) -> Any:
        """A setting, which must be there where there is no default."""
        value = self._rest.pop(name, default)
        if value is None:
            raise InputError(f"{self._path}: block {self.name} has no {name}, which is needed")
        return value

    def fixed(self, name: str, *allowed: Any) -> None:
        """A setting that is the first of ``allowed`` where it is not there, and else one of them."""
        value = self._rest.pop(name, allowed[0])
        if value not in allowed:
            raise InputError(
                f"{self._path}: {name} {value!r} of block {self.name} is not read here, only {allowed[0]!r}"
            )

    def done(self) -> None:
        """Raises InputError where a setting was not read."""
        if unknown := sorted(self._rest.keys() - _LEARNING - {"name", *_GLOBAL}):
            raise InputError(f"{self._path}: {unknown[0]} of block {self.name} is not read here")

    def filters(self) -> list[int]:
        """Of each layer of a tower: in equal ratios, each rounded."""
        count, first = int(self.take("repeat", 1)), float(self.take("filters_init"))
        if "filters_end" in self._rest:
            ratio = (float(self.take("filters_end")) / first) ** (1 / max(count - 1, 1))
        else:
            ratio = float(self.take("filters_mult", 1.0))
        multiple = int(self.take("divisible_by", 1))
        return [int(np.round(first * ratio**i / multiple)) * multiple for i in range(count)]


def design_of(path: Path) -> Design:
    """The family and config that a ``params.json`` describes.

    Raises:
        InputError: it is no such file, or has a block, a setting or an order of blocks that is not read.
    """
    try:
        model = json.loads(path.read_text())["model"]
        shared = {name: model[name] for name in _GLOBAL if name in model}
        trunk = [_Block(block, shared, path) for block in model["trunk"]]
        heads = [_head(name, model[name], path) for name in sorted(model) if name.startswith("head")]
        length = int(model["seq_length"])
    except FileNotFoundError:
        raise InputError(f"there is no {path}: a Keras .h5 of baskerville needs its params.json beside it") from None
    except KeyError as error:
        raise InputError(f"{path} is no params.json of baskerville: it has no {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no params.json of baskerville: {error}") from None
    if unknown := sorted(x for x in model.keys() - _OF_MODEL - _LEARNING - {*_GLOBAL} if not x.startswith("head")):
        raise InputError(f"{path}: {unknown[0]} of the model is not read here")
    if not heads or len({link for _, link in heads}) > 1:
        raise InputError(f"{path} has no head, or heads that differ in their activation")
    if model.get("activation") != "gelu":
        raise InputError(f"{path}: activation {model.get('activation')!r} of the model is not read here, only 'gelu'")
    shape = {"heads": tuple(head for head, _ in heads), "link": heads[0][1], "length": length}
    reader = _READERS.get(trunk[0].name if trunk else "")
    if reader is None:
        raise InputError(f"{path}: a model that begins with the block {trunk[0].name if trunk else ''!r} is not read")
    try:
        return reader(trunk, shape, path)
    except InputError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path} describes no model that can be made: {error}") from None


def _head(name: str, said: Any, path: Path) -> tuple[Head, str]:
    if isinstance(said, list):
        if len(said) != 1:
            raise InputError(f"{path}: {name} of {len(said)} blocks is not read here, only of one")
        said = said[0]
    block = _Block(said, {}, path)
    if block.name != "final":
        raise InputError(f"{path}: block {block.name} of {name} is not read here, only final")
    units, link = int(block.take("units")), block.take("activation", "softplus")
    if link not in ("softplus", "exp"):
        raise InputError(f"{path}: activation {link!r} of {name} is not read here, only softplus and exp")
    block.done()
    return Head(name=name.removeprefix("head").lstrip("_") or "signal", tracks=units), link


class _Trunk:
    """The blocks in order."""

    def __init__(self, blocks: Sequence[_Block], path: Path) -> None:
        self._blocks, self._path = list(blocks), path

    def next(self, *names: str) -> _Block | None:
        """The next block if it has one of these names."""
        return self._blocks.pop(0) if self._blocks and self._blocks[0].name in names else None

    def needed(self, name: str, before: str) -> _Block:
        """The next block, which must have this name."""
        found = self.next(name)
        if found is None:
            there = self._blocks[0].name if self._blocks else "nothing"
            raise InputError(f"{self._path}: after {before} comes {there}, which is not read here; only {name} is")
        return found

    def end(self) -> None:
        """Raises InputError where blocks are left."""
        if self._blocks:
            raise InputError(f"{self._path}: block {self._blocks[0].name} is not read here, or not in this place")


def _cropping(block: _Block | None) -> int:
    """Bins at each end; both must lose as many."""
    if block is None:
        return 0
    said = block.take("cropping")
    both = said if isinstance(said, list) else [said, said]
    if len(set(both)) != 1:
        raise ValueError(f"ends are cropped by different numbers of bins, {both}")
    block.done()
    return int(both[0])


def _convolution(block: _Block, norms: tuple[Any, ...] = _BATCH, activation: str = "gelu") -> None:
    block.fixed("padding", "same")
    block.fixed("norm_type", *norms)
    block.fixed("activation", activation)
    block.fixed("strides", 1)


def _borzoi(blocks: Sequence[_Block], shape: Mapping[str, Any], path: Path) -> Design:
    trunk = _Trunk(blocks, path)
    stem = trunk.needed("conv_dna", "the sequence")
    _convolution(stem, (None,), "linear")
    stem.fixed("pool_size", 2)
    sizes: dict[str, Any] = {"stem_filters": stem.take("filters"), "stem_width": stem.take("kernel_size")}
    stem.done()
    tower = trunk.needed("res_tower", "conv_dna")
    _convolution(tower)
    tower.fixed("num_convs", 1)
    tower.fixed("pool_size", 2)
    tower.fixed("dropout", 0, 0.0)
    sizes |= {"tower": tower.filters(), "tower_width": tower.take("kernel_size", 1)}
    tower.done()
    sizes |= _transformers(trunk, sizes["tower"][-1])
    widths = set()
    levels = 0
    while block := trunk.next("unet_conv"):
        _convolution(block)
        block.fixed("upsample_conv", True)
        widths.add(block.take("kernel_size", 1))
        block.done()
        levels += 1
    if len(widths) > 1:
        raise ValueError(f"levels of different widths, {sorted(widths)}")
    sizes |= {"levels": levels, "level_width": max(widths, default=3)}
    sizes["crop"] = _cropping(trunk.next("Cropping1D"))
    sizes |= {"final_filters": None, "final_dropout": 0.0}
    if block := trunk.next("conv_nac"):
        _convolution(block)
        block.fixed("kernel_size", 1)
        sizes |= {"final_filters": block.take("filters"), "final_dropout": block.take("dropout", 0.0)}
        block.done()
    trunk.end()
    return Design("borzoi", BorzoiConfig.model_validate({**sizes, **shape}))


def _transformers(trunk: _Trunk, channels: int) -> dict[str, Any]:
    """All transformers, which must be alike."""
    found: list[tuple[RelativeSizes, float]] = []
    while block := trunk.next("transformer", "transformer_tower"):
        block.fixed("block_type", "transformer")
        heads = int(block.take("heads", 1))
        attention = RelativeSizes(
            heads=heads,
            key_size=block.take("key_size"),
            value_size=block.take("value_size", channels // heads),
            features=block.take("num_position_features"),
            dropout=block.take("attention_dropout", 0.05),
            feature_dropout=block.take("position_dropout", 0.01),
        )
        found += [(attention, block.take("dropout", 0.0))] * int(block.take("repeat", 1))
        block.done()
    if not found or any(each != found[0] for each in found):
        raise ValueError("there is no transformer, or not all are alike")
    attention, dropout = found[0]
    return {"attention": attention.model_dump(), "transformers": len(found), "dropout": dropout}


def _basenji2(blocks: Sequence[_Block], shape: Mapping[str, Any], path: Path) -> Design:
    trunk = _Trunk(blocks, path)
    layers: list[Layer] = []
    dropouts: list[float] = []
    while block := trunk.next("conv_block", "conv_tower"):
        _convolution(block)
        filters = block.filters() if block.name == "conv_tower" else [block.take("filters")]
        width, pool = block.take("kernel_size", 1), block.take("pool_size", 1)
        layers += [Layer(filters=f, width=width, pool=pool) for f in filters]
        dropouts += [block.take("dropout", 0.0)] * len(filters)
        block.done()
    dilated = trunk.needed("dilated_residual", "the convolutions")
    _convolution(dilated)
    dilated.fixed("kernel_size", 3)
    rates, rate, is_rounded = [], 1.0, dilated.take("round", False)
    ratio = float(dilated.take("rate_mult", 2))
    for _ in range(int(dilated.take("repeat", 1))):
        rates.append(int(np.round(rate)))
        rate = float(np.round(rate * ratio)) if is_rounded else rate * ratio
    sizes = {"dilated_filters": dilated.take("filters"), "dilated_dropout": dilated.take("dropout", 0.0)}
    dilated.done()
    crop = _cropping(trunk.next("Cropping1D"))
    last = trunk.needed("conv_block", "dilated_residual")
    _convolution(last)
    last.fixed("kernel_size", 1)
    last.fixed("pool_size", 1)
    sizes |= {"final_filters": last.take("filters"), "final_dropout": last.take("dropout", 0.0)}
    last.done()
    trunk.end()
    tower = {"tower": tuple(layers), "tower_dropout": max(dropouts), "dilations": tuple(rates), "crop": crop}
    return Design("basenji2", Basenji2Config.model_validate({**tower, **sizes, **shape}))


_READERS = {"conv_dna": _borzoi, "conv_block": _basenji2}
