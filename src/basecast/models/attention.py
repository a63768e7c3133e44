"""Attention along the sequence: with learned weights of relative positions, or with rotated queries and keys.

Sources: Avsec et al. 2021 (Enformer) and Linder et al. 2025 (Borzoi) for the first, Su et al. 2021 (RoFormer) for the
second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from basecast.models.blocks import EPSILON
from basecast.spec.model import Frozen

_QUERIES = 512  # at once: what positions add to the logits then fits a cache, and memory is no square of the length


class RelativeSizes(Frozen):
    """Attention whose logits know how far a key is away, in widening steps and by sign."""

    kind: Literal["relative"] = "relative"
    heads: PositiveInt
    key_size: PositiveInt
    value_size: PositiveInt
    features: PositiveInt = Field(32, multiple_of=2)
    dropout: float = Field(0.05, ge=0, lt=1)
    feature_dropout: float = Field(0.01, ge=0, lt=1)


class RotarySizes(Frozen):
    """Attention whose queries and keys are rotated by their positions; several queries' heads may share one of keys."""

    kind: Literal["rotary"] = "rotary"
    heads: PositiveInt
    shared_heads: PositiveInt = Field(description="heads of keys and values; ``heads`` is a multiple of it")
    rotated: PositiveInt = Field(128, multiple_of=2, description="numbers of a head that are rotated, the first ones")
    base: PositiveFloat = 20_000.0
    dropout: float = Field(0.0, ge=0, lt=1)


Sizes = RelativeSizes | RotarySizes


class RelativeAttention(nn.Module):
    """softmax((q / sqrt(size) + content) k + (q / sqrt(size) + position) r) v, r of the distance from query to key."""

    def __init__(self, channels: int, sizes: RelativeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        keys, values = sizes.heads * sizes.key_size, sizes.heads * sizes.value_size
        self.query = nn.Linear(channels, keys, bias=False)
        self.key = nn.Linear(channels, keys, bias=False)
        self.value = nn.Linear(channels, values, bias=False)
        self.distance = nn.Linear(sizes.features, keys, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(sizes.heads, 1, sizes.key_size))
        self.distance_bias = nn.Parameter(torch.zeros(sizes.heads, 1, sizes.key_size))
        self.feature_dropout = nn.Dropout(sizes.feature_dropout)
        self.out = _nearly_silent(nn.Linear(values, channels))

    def forward(self, x: Float[Tensor, "batch length channels"]) -> Float[Tensor, "batch length channels"]:
        length, sizes = x.shape[1], self.sizes
        query, key = (_by_head(layer(x), sizes.heads) for layer in (self.query, self.key))
        value = _by_head(self.value(x), sizes.heads)
        query = query * sizes.key_size**-0.5
        features = distance_features(length, sizes.features).to(x)
        distance = _by_head(self.distance(self.feature_dropout(features))[None], sizes.heads)
        by_content, by_distance = query + self.content_bias, query + self.distance_bias
        found = []
        for first in range(0, length, _QUERIES):
            last = min(first + _QUERIES, length)
            near = distance[:, :, length - last : 2 * length - 1 - first]
            bias = _relative(by_distance[:, :, first:last] @ near.mT, length)
            found.append(
                nn.functional.scaled_dot_product_attention(
                    by_content[:, :, first:last],
                    key,
                    value,
                    attn_mask=bias,
                    dropout_p=sizes.dropout if self.training else 0.0,
                    scale=1.0,
                )
            )
        return self.out(torch.cat(found, 2).transpose(1, 2).flatten(2))


@lru_cache(maxsize=4)
def distance_features(length: int, count: int) -> Float[Tensor, "distances features"]:
    """Of each distance from 1 - length to length - 1: whether it is below widening limits, and that times its sign.

    The limits are ((length + 1) ** (1 / n)) ** i - 1 for i = 1 .. n = count / 2 (Enformer's "central mask").
    """
    half = count // 2
    rate = np.exp(np.log(length + 1) / half).astype(np.float32)
    limits = np.power(rate, np.arange(1, half + 1, dtype=np.float32)) - 1
    distances = np.arange(1 - length, length, dtype=np.float32)
    below = (limits > np.abs(distances)[:, None]).astype(np.float32)
    with torch.inference_mode(False):  # what is kept may be asked for in training next
        return torch.from_numpy(np.concatenate([below, np.sign(distances)[:, None] * below], 1))


def _relative(
    logits: Float[Tensor, "batch heads queries distances"], length: int
) -> Float[Tensor, "batch heads queries length"]:
    """From distances, the first of which is the last query's to the first key, to keys: a row further left each."""
    queries = logits.shape[2]
    if queries == 1:
        return logits
    row = length + queries - 2
    flat = logits.flatten(2)[..., queries - 1 : queries - 1 + queries * row]
    return flat.view(*flat.shape[:2], queries, row)[..., :length]


class RotaryAttention(nn.Module):
    """softmax(q k / sqrt(size)) v of rotated queries and keys."""

    def __init__(self, channels: int, sizes: RotarySizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.size = channels // sizes.heads
        if channels % sizes.heads or sizes.heads % sizes.shared_heads or sizes.rotated > self.size:
            raise ValueError(
                f"{channels} channels take no {sizes.heads} heads that share {sizes.shared_heads} of keys with "
                f"{sizes.rotated} numbers rotated"
            )
        self.query_key_value = nn.Linear(channels, (sizes.heads + 2 * sizes.shared_heads) * self.size)
        self.out = _nearly_silent(nn.Linear(channels, channels))

    def forward(self, x: Float[Tensor, "batch length channels"]) -> Float[Tensor, "batch length channels"]:
        sizes = self.sizes
        parts = _by_head(self.query_key_value(x), sizes.heads + 2 * sizes.shared_heads)
        query, key, value = torch.split(parts, [sizes.heads, sizes.shared_heads, sizes.shared_heads], 1)
        found = nn.functional.scaled_dot_product_attention(
            _rotated(query, sizes),
            _rotated(key, sizes),
            value,
            dropout_p=sizes.dropout if self.training else 0.0,
            enable_gqa=sizes.heads != sizes.shared_heads,
        )
        return self.out(found.transpose(1, 2).flatten(2))


def _rotated(
    x: Float[Tensor, "batch heads length size"], sizes: RotarySizes
) -> Float[Tensor, "batch heads length size"]:
    """The first half of what is rotated with the second half, position times base ** (-2 i / rotated) radians."""
    half = sizes.rotated // 2
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    rates = sizes.base ** -(torch.arange(half, device=x.device, dtype=wide) / half)
    angles = torch.arange(x.shape[2], device=x.device, dtype=wide)[:, None] * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b, rest = torch.split(x, [half, half, x.shape[3] - 2 * half], 3)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine, rest], 3)


def _by_head(x: Float[Tensor, "batch length channels"], heads: int) -> Float[Tensor, "batch heads length size"]:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _nearly_silent(layer: nn.Linear) -> nn.Linear:
    """So that a deep stack begins as nearly the identity; exactly zero would keep all before it from learning."""
    nn.init.normal_(layer.weight, std=1e-3)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Transformer(nn.Module):
    """x + attention(norm(x)), then x + two dense layers of norm(x), the first twice as wide."""

    def __init__(self, channels: int, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPSILON)
        self.attention = (
            RelativeAttention(channels, sizes) if isinstance(sizes, RelativeSizes) else RotaryAttention(channels, sizes)
        )
        self.dropout1 = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(channels, eps=EPSILON)
        self.dense1 = nn.Linear(channels, 2 * channels)
        self.dropout2 = nn.Dropout(dropout)
        self.activation = nn.ReLU()
        self.dense2 = nn.Linear(2 * channels, channels)
        self.dropout3 = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch length channels"]) -> Float[Tensor, "batch length channels"]:
        x = x + self.dropout1(self.attention(self.norm1(x)))
        y = self.activation(self.dropout2(self.dense1(self.norm2(x))))
        return x + self.dropout3(self.dense2(y))
