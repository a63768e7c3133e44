"""Attention: what a query sees of each key, written out; blocks of queries; rotation; shared heads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from basecast.models import attention
from basecast.models.attention import (
    RelativeAttention,
    RelativeSizes,
    RotaryAttention,
    RotarySizes,
    Transformer,
    distance_features,
)

RELATIVE = RelativeSizes(heads=2, key_size=3, value_size=4, features=8)


def random(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(2)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module.double().eval().requires_grad_(False)


def features_of(distance: int, length: int, count: int) -> list[float]:
    limits = [(length + 1) ** (i / (count // 2)) - 1 for i in range(1, count // 2 + 1)]
    below = [float(limit > abs(distance)) for limit in limits]
    return [*below, *(math.copysign(1, distance) * x if distance else 0.0 for x in below)]


def written_out(module: RelativeAttention, x: Tensor) -> Tensor:
    """One window, query by query and key by key."""
    sizes, length = module.sizes, len(x)
    found = torch.zeros(length, sizes.heads * sizes.value_size, dtype=x.dtype)
    for head in range(sizes.heads):
        keys = slice(head * sizes.key_size, (head + 1) * sizes.key_size)
        values = slice(head * sizes.value_size, (head + 1) * sizes.value_size)
        for i in range(length):
            query = (module.query.weight[keys] @ x[i]) / math.sqrt(sizes.key_size)
            logits = []
            for j in range(length):
                distance = torch.tensor(features_of(j - i, length, sizes.features), dtype=x.dtype)
                logits.append(
                    (query + module.content_bias[head, 0]) @ (module.key.weight[keys] @ x[j])
                    + (query + module.distance_bias[head, 0]) @ (module.distance.weight[keys] @ distance)
                )
            weights = torch.softmax(torch.stack(logits), 0)
            found[i, values] = sum(w * (module.value.weight[values] @ y) for w, y in zip(weights, x, strict=True))
    return module.out(found)


@pytest.mark.parametrize("queries", [512, 4, 1])
def test_relative_attention_is_what_it_says(queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_QUERIES", queries)
    module = random(RelativeAttention(5, RELATIVE))
    x = torch.randn(2, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = module(x)
    assert isinstance(module, RelativeAttention)
    for window, expected in zip(found, x, strict=True):
        torch.testing.assert_close(window, written_out(module, expected), rtol=1e-6, atol=1e-6)
    assert (module(x.flip(1)).flip(1) - found).abs().max() > 1e-3, "directions differ"


def test_distance_features() -> None:
    found = distance_features(9, 8)
    assert found.shape == (17, 8)
    assert found.tolist() == [features_of(distance, 9, 8) for distance in range(-8, 9)]
    assert len({tuple(row) for row in found.tolist()}) > 5


def test_rotated_queries_and_keys_know_only_how_far_they_are_apart() -> None:
    sizes = RotarySizes(heads=1, shared_heads=1, rotated=4, base=100.0)
    x = torch.randn(1, 1, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(1, 1, 12, 6)
    turned = attention._rotated(x, sizes)[0, 0]
    products = turned @ turned.T
    for far in range(12):
        diagonal = products.diagonal(far)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    assert products[0].unique().numel() == 12
    torch.testing.assert_close(turned[:, 4:], x[0, 0, :, 4:])
    first = torch.complex(turned[:, 0], turned[:, 2]), torch.complex(turned[:, 1], turned[:, 3])
    for pair, rate, (a, b) in zip(first, (1.0, 0.1), ((0, 2), (1, 3)), strict=True):
        start = torch.complex(x[0, 0, 0, a], x[0, 0, 0, b])
        torch.testing.assert_close(pair, start * torch.exp(1j * rate * torch.arange(12, dtype=torch.float64)))


def test_heads_that_share_keys_are_as_heads_with_equal_ones() -> None:
    shared = random(RotaryAttention(16, RotarySizes(heads=4, shared_heads=2, rotated=2)))
    alone = RotaryAttention(16, RotarySizes(heads=4, shared_heads=4, rotated=2)).double().eval()
    state = shared.state_dict()
    for name in ("query_key_value.weight", "query_key_value.bias"):
        query, key, value = state[name].split([16, 8, 8])
        twice = [x.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for x in (key, value)]
        state[name] = torch.cat([query, *twice])
    alone.load_state_dict(state)
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    torch.testing.assert_close(shared(x), alone(x), rtol=1e-10, atol=1e-12)
    assert (shared(x.flip(1)).flip(1) - shared(x)).abs().max() > 1e-3


@pytest.mark.parametrize("sizes", [{"heads": 3, "shared_heads": 3}, {"heads": 4, "shared_heads": 3}, {"rotated": 8}])
def test_sizes_that_do_not_fit(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="16 channels take no"):
        RotaryAttention(16, RotarySizes(**{"heads": 4, "shared_heads": 2, "rotated": 4, **sizes}))


@pytest.mark.parametrize("sizes", [RELATIVE, RotarySizes(heads=4, shared_heads=2, rotated=2)], ids=lambda s: s.kind)
def test_a_new_block_attends_to_next_to_nothing_and_can_learn(sizes: attention.Sizes) -> None:
    torch.manual_seed(0)
    block = Transformer(16, sizes, dropout=0.1).eval()
    x = torch.randn(1, 8, 16)
    added = block.attention(block.norm1(x))
    assert 0 < added.abs().max() < 0.05
    block(x).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
