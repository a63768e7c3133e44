"""The SpliceAI family: published sizes, and what it says of windows it cannot use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from basecast.models.network import INVERSE_LINKS, LINKS, pick
from basecast.models.registry import build
from basecast.models.spliceai import SpliceAI, SpliceAIConfig, published, spec, tiny
from basecast.spec import Architecture, LocalReach


@pytest.mark.parametrize(("context", "parameters"), [(80, 93_251), (400, 185_187), (2000, 359_043), (10000, 696_739)])
def test_published_sizes(context: int, parameters: int) -> None:
    config = published(context)
    network = SpliceAI(config)
    assert config.context == context
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert spec(config, name="x", licence="MIT").reach == LocalReach(left=context // 2, right=context // 2)
    assert network(torch.zeros(2, 4, context + 7)).shape == (2, 3, 7)


def test_a_context_that_was_not_published() -> None:
    with pytest.raises(ValueError, match=r"\[80, 400, 2000, 10000\], got 100"):
        published(100)


def test_activation_and_epsilon_are_config() -> None:
    theirs = SpliceAI(published(80, activation="relu", norm_epsilon=1e-3))
    ours = SpliceAI(published(80))
    for network, kind, epsilon in ((theirs, nn.ReLU, 1e-3), (ours, nn.LeakyReLU, 1e-5)):
        found = [m for m in network.modules() if isinstance(m, (nn.ReLU, nn.LeakyReLU))]
        assert len(found) == len(set(map(id, found))) == 8, "each its own module, so that each can be hooked"
        assert all(type(m) is kind for m in found)
        assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm1d)} == {epsilon}
    assert {m.negative_slope for m in ours.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
    theirs.load_state_dict(ours.state_dict())
    one_hot = torch.eye(4)[torch.randint(4, (1, 300), generator=torch.Generator().manual_seed(0))].mT
    assert (theirs.eval()(one_hot) - ours.eval()(one_hot)).abs().max() > 1e-3


def test_a_window_shorter_than_the_context() -> None:
    network = SpliceAI(tiny())
    assert network(torch.zeros(1, 4, 45)).shape == (1, 3, 1)
    with pytest.raises(ValueError, match="44 bases is too short: the context alone is 44; pad it with N"):
        network(torch.zeros(1, 4, 44))


@pytest.mark.parametrize(
    "config",
    [
        {"widths": [], "dilations": []},
        {"widths": [4], "dilations": [1]},
        {"widths": [3, 3], "dilations": [1]},
        {"widths": [3], "dilations": [1], "activation": "gelu"},
        {"widths": [3], "dilations": [0]},
        {"widths": [3], "dilations": [1], "colour": "red"},
    ],
)
def test_sizes_that_cannot_be(config: dict[str, object]) -> None:
    build(Architecture(family="spliceai", config={"widths": [3], "dilations": [1]}))
    with pytest.raises(ValueError, match=r"."):
        build(Architecture(family="spliceai", config=config))


def test_a_family_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no model family 'resnet', only \[.*'spliceai'.*\]"):
        build(Architecture(family="resnet", config={}))


def test_members_have_files_of_their_own() -> None:
    one, three = (spec(tiny(), members=n, name="x", licence="MIT") for n in (1, 3))
    assert [member.file for member in one.members] == ["model.safetensors"]
    assert len({member.file for member in three.members}) == 3
    assert one.mask == "gene"
    assert [track.name for track in one.output("splice").tracks] == ["neither", "acceptor", "donor"]
    assert SpliceAIConfig.model_validate(one.architecture.config) == tiny()  # type: ignore[union-attr]


def test_heads_give_what_is_asked_for() -> None:
    network = SpliceAI(tiny()).eval()
    embedding = network.embed(torch.randn(1, 4, 60))
    assert network.heads(embedding, [], {}, {}) == {}
    some = network.heads(embedding, ["splice"], {"splice": torch.tensor([2])}, {})["splice"]
    torch.testing.assert_close(some, network.head(embedding)[:, [2]])
    bare = nn.Conv1d(8, 3, 1, bias=False)
    torch.testing.assert_close(pick(bare, torch.tensor([1, 0]), embedding), bare(embedding)[:, [1, 0]])


@pytest.mark.parametrize("link", sorted(LINKS))
def test_links_and_their_inverses(link: str) -> None:
    assert LINKS.keys() == INVERSE_LINKS.keys()
    logits = torch.randn(2, 3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    values = LINKS[link](logits, 1)
    torch.testing.assert_close(LINKS[link](INVERSE_LINKS[link](values), 1), values)
    assert link == "identity" or (values - logits).abs().max() > 0.1
