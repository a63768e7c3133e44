"""Which steps a network is traced to, and which networks are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from altering import CONFIGS, logits, network_of, plain, program_for, runner_of, shuffled
from asking import engine_of
from torch import Tensor, nn
from toys import RATE, package_of

from basecast.genome.source import Haplotype, Text
from basecast.inference.native import library
from basecast.inference.program import program_of
from basecast.inference.request import Request
from basecast.inference.windows import Windows, change_between
from basecast.models.layers import Convolution, ResidualUnit, crop
from basecast.models.network import Network
from basecast.models.spliceai import SpliceAIConfig, published
from basecast.spec import LocalReach, Output, Track
from basecast.zoo.package import Package


@pytest.mark.parametrize("context", [80, 400, 2000, 10000])
def test_a_published_network_is_two_steps_a_unit_and_one_a_skip(context: int) -> None:
    network = network_of(published(context))
    program, units = program_for(network), len(network.units)
    assert len(program.steps) == 1 + 2 * units + len(network.skips)
    assert program.reach == program.steps[-1].lost == context // 2
    assert sum(step.work for step in program.steps) == sum(
        module.weight.numel()
        for name, module in network.named_modules()
        if isinstance(module, Convolution) and name != "head"
    )
    assert [step.source for step in program.steps].count(0) == 1, "one-hot is read once"
    assert set(program.last_use) == set(range(len(program.steps) + 1))


def test_affines_activations_and_additions_are_parts_of_convolutions() -> None:
    """Of a unit the first norm is the first step's affine; the second is folded, its activation comes after."""
    program = program_for(network_of(CONFIGS["tiny"]))
    with_affine = [step for step in program.steps if step.scale is not None]
    with_residual = [step for step in program.steps if step.residual is not None]
    assert len(with_affine) == 2, "one a unit"
    assert all(type(step.before) is type(step.after) is nn.LeakyReLU for step in with_affine)
    assert all(step.residual is None for step in with_affine)
    assert len(with_residual) == 4, "one a unit, two of three skips"
    assert all(step.before is step.after is step.scale is None for step in with_residual)
    assert all(step.weight.dtype == torch.float64 for step in program.steps)
    assert sorted({(step.reach, step.dilation) for step in program.steps}) == [(0, 1), (2, 1), (9, 3)]


def test_what_reads_and_what_is_lost_are_in_order() -> None:
    for config in CONFIGS.values():
        program = program_for(network_of(config))
        lost = [0, *(step.lost for step in program.steps)]
        for number, step in enumerate(program.steps, start=1):
            assert step.source < number
            assert step.lost >= lost[step.source] + step.reach
            assert step.residual is None or (step.residual < number and lost[step.residual] <= step.lost)
        assert program.reach == config.context // 2 == max(lost)


def test_what_a_window_may_be_extended_by_is_the_mean_of_what_is_computed() -> None:
    program = program_for(network_of(CONFIGS["tiny"]))
    sizes = [100 - 2 * step.lost for step in program.steps]
    assert program.worth(100) == sum(sizes) // len(sizes)
    assert program.worth(1) == 1


def test_it_is_traced_without_the_checks_of_tests_too() -> None:
    """These check shapes by wrapping the layers, and so hide what the tracer sees of bare ones."""
    code = (
        "from basecast.inference.program import program_of\n"
        "from basecast.models.spliceai import SpliceAI, tiny\n"
        "print(len(program_of(SpliceAI(tiny())).steps))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == f"{len(program_for(network_of(CONFIGS['tiny'])).steps)}\n"


def test_a_stage_that_is_not_joined_is_not_run() -> None:
    """Of three units and a skip each second, the third gives nothing but its share of the context."""
    config = SpliceAIConfig(widths=(3, 5, 3), dilations=(1, 2, 1), channels=6, skip_every=2)
    network = network_of(config)
    tokens = np.random.default_rng(0).integers(0, 4, config.context + 30).astype(np.uint8)
    expected = plain([network], tokens)
    program = program_of(network)
    assert program is not None
    assert len(program.steps) == 1 + 2 * 2 + 2
    for is_padded in (False, True):
        runner = runner_of(network, "conv1d", "fp64", is_padded=is_padded)
        found = logits(network, runner.embedding(Windows.whole([tokens])))[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.ptp(expected) > 1e-3


class Chain(Network):
    """Stages of any modules, with the sum of their middles or the last as embedding."""

    output_names = ("rate",)

    def __init__(self, *stages: nn.Module, channels: int = 6, is_summed: bool = False) -> None:
        super().__init__()
        self.chain, self.is_summed = nn.ModuleList(stages), is_summed
        self.head = nn.Conv1d(channels, 2, 1)

    @property
    def side(self) -> int:
        return sum(stage.reach for stage in self.stages())

    def stages(self) -> Sequence[Any]:
        return list(self.chain)

    def join(self, levels: Sequence[Tensor]) -> Tensor:
        return sum(levels[1:], levels[0]) if self.is_summed else levels[-1]

    def embed(self, one_hot: Tensor, conditions: Any = None) -> Tensor:
        levels, x = [], one_hot
        for stage in self.stages():
            x = stage(x)
            levels.append(x)
        return self.join([crop(level, one_hot.shape[-1] - 2 * self.side) for level in levels])

    def heads(self, embedding: Tensor, names: Sequence[str], tracks: Any, auxiliary: Any) -> dict[str, Tensor]:
        return {"rate": self.head(embedding)}


class Block(nn.Sequential):
    """Modules in a row."""

    @property
    def reach(self) -> int:
        return sum(module.reach for module in self if isinstance(module, Convolution))


class Doubled(nn.Module):
    """What no step is: a function of its own."""

    reach = 0

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def conv(inputs: int = 6, width: int = 3, dilation: int = 1, **options: Any) -> Convolution:
    return Convolution(inputs, 6, width, dilation, **options)


CHAINS: dict[str, Callable[[], Chain]] = {
    "norm_without_affine": lambda: Chain(conv(4), Block(nn.BatchNorm1d(6, affine=False), nn.ReLU(), conv())),
    "norm_after_activation": lambda: Chain(Block(conv(4), nn.ReLU(), nn.BatchNorm1d(6), conv())),
    "two_norms": lambda: Chain(Block(conv(4), nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.LeakyReLU(0.3), conv())),
    "norm_of_one_hot": lambda: Chain(Block(nn.BatchNorm1d(4), conv(4)), Block(nn.ReLU(), conv())),
    "ends_in_an_activation": lambda: Chain(Block(conv(4), nn.BatchNorm1d(6), nn.ReLU())),
    "nothing_on_the_way": lambda: Chain(Block(conv(4), nn.Dropout(0.5), nn.Identity(), conv(dilation=3))),
    "several_activations": lambda: Chain(Block(conv(4), nn.ReLU(), nn.LeakyReLU(0.2), conv())),
    "gelu": lambda: Chain(conv(4), ResidualUnit(6, 5, 2, nn.GELU(), 1e-3)),
    "other_activations": lambda: Chain(
        Block(conv(4), nn.SiLU(), conv(), nn.Tanh(), conv(), nn.ELU(), conv(), nn.Sigmoid(), conv(), nn.Softplus())
    ),
    "sum_of_stages": lambda: Chain(conv(4), conv(), is_summed=True),
    "activation_of_a_stage": lambda: Chain(conv(4), Block(nn.ReLU(), conv()), Block(nn.LeakyReLU(0.1), conv())),
}
UNKNOWN: dict[str, Callable[[], Chain]] = {
    "a_function": lambda: Chain(conv(4), Doubled()),
    "a_sum_after_an_activation": lambda: Chain(conv(4), Block(conv(), nn.ReLU()), is_summed=True),
    "another_module": lambda: Chain(conv(4), Block(nn.Hardtanh(-0.1, 0.1), conv())),
    "norm_of_the_batch": lambda: Chain(conv(4), Block(nn.BatchNorm1d(6, track_running_stats=False), conv())),
}
MODULES = {**CHAINS, **UNKNOWN}
RATES = (RATE.model_copy(update={"link": "identity", "tracks": (Track(name="a"), Track(name="b"))}),)


def chain_of(name: str) -> Chain:
    torch.manual_seed(len(name))
    network = MODULES[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is None:
            return network.eval().requires_grad_(False).double()
    shuffled(network, len(name))
    return network.double()


def package(network: Chain) -> Package:
    spec = package_of("spliceai").spec
    outputs: tuple[Output, ...] = RATES
    members = tuple(member.model_copy(update={"outputs": ("rate",)}) for member in spec.members)
    reach = LocalReach(left=network.side, right=network.side)
    return Package(spec.model_copy(update={"outputs": outputs, "members": members, "reach": reach}), (network,))


def requests(side: int) -> list[Request]:
    text = Text(np.random.default_rng(1).integers(0, 4, 300).astype(np.uint8))
    reference = Request(text, "sequence", 100, 140)
    alt = Haplotype(text, "sequence", 118, 119, np.array([0, 1, 3], np.uint8))
    return [reference, Request(alt, "sequence", 100, 142, base=reference)]


@pytest.mark.parametrize("mode", ["delta", "valid", "full"])
@pytest.mark.parametrize("name", CHAINS)
def test_networks_of_other_shapes_are_as_their_modules_give_them(name: str, mode: str) -> None:
    network = chain_of(name)
    program = program_of(network)
    assert program is not None, "it is made of known parts"
    engine = engine_of(package(network), precision="fp64", mode=mode)
    asked = requests(network.side)
    found = [values["rate"] for values in engine.evaluate(asked)]
    for request, one in zip(asked, found, strict=True):
        window = request.source.tokens("sequence", request.start - network.side, request.end + network.side)
        np.testing.assert_allclose(one, plain([network], window), rtol=0, atol=1e-10)
    assert np.abs(found[0] - found[1][:40]).max() > 1e-3


@pytest.mark.parametrize("mode", ["delta", "valid", "full"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_network_with_parts_of_its_own_is_run_as_it_is(name: str, mode: str) -> None:
    network = chain_of(name)
    assert program_of(network) is None
    if name == "norm_of_the_batch":
        return  # its values depend on the rest of the batch, and on the window's length
    asked = requests(network.side)
    found = [values["rate"] for values in engine_of(package(network), precision="fp64", mode=mode).evaluate(asked)]
    for request, one in zip(asked, found, strict=True):
        window = request.source.tokens("sequence", request.start - network.side, request.end + network.side)
        np.testing.assert_allclose(one, plain([network], window), rtol=0, atol=1e-10)
    assert np.abs(found[0] - found[1][:40]).max() > 1e-3


@pytest.mark.parametrize("name", ["gelu", "other_activations"])
def test_activations_that_the_library_does_not_know_go_to_torch(name: str) -> None:
    network = chain_of(name)
    program = program_of(network)
    assert program is not None
    assert not all(library.can_run(step) for step in program.steps)
    engine = engine_of(package(network), precision="fp32")
    assert not engine.tuning.compiles(program, "fp32")
    assert any(costs.keys() == {"conv1d", "conv2d"} for costs in engine.tuning.nanoseconds.values())
    engine.evaluate(requests(network.side))
    assert engine._members.alike_only


def test_networks_without_stages_are_no_program() -> None:
    for family in ("toy_binned", "toy_mixing", "toy_track"):
        assert program_of(package_of(family).networks[0]) is None


def test_a_network_is_left_as_it_was() -> None:
    """In half precision and in training, with gradients: its program is that of evaluation."""
    network = network_of(CONFIGS["tiny"], seed=9)
    expected = program_for(network)
    other = package_of("spliceai").networks[0]
    other.load_state_dict(network.state_dict())
    other.half().train().requires_grad_(True)
    before = {name: x.clone() for name, x in other.state_dict().items()}
    program = program_of(other)
    assert program is not None
    assert all(module.training for module in other.modules())
    assert all(x.dtype == torch.float16 and x.requires_grad for x in other.parameters())
    assert all(torch.equal(x, before[name]) for name, x in other.state_dict().items())
    assert len(program.steps) == len(expected.steps)
    for one, same in zip(program.steps, expected.steps, strict=True):
        torch.testing.assert_close(one.weight, same.weight, rtol=0.02, atol=2e-3)
        assert not one.weight.requires_grad


def test_an_altered_window_of_a_deep_chain_is_exact() -> None:
    network = chain_of("other_activations")
    rng = np.random.default_rng(2)
    ref = rng.integers(0, 4, 80).astype(np.uint8)
    alt = np.concatenate([ref[:40], rng.integers(0, 4, 9).astype(np.uint8), ref[41:]])
    runner = runner_of(network, "conv2d", "fp64")
    levels, _ = runner.reference([ref], 8)
    windows = Windows.altered([alt], [change_between(ref, alt)], [0], [0])
    found = logits(network, runner.embedding(windows, levels))[0]
    np.testing.assert_allclose(found, plain([network], alt), rtol=0, atol=1e-10)
    assert np.abs(found[:60] - plain([network], ref)[:60]).max() > 1e-3
