"""Random networks, random alleles, every kind of kernel, and what the plain modules give."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from basecast.genome.sequence import Tokens
from basecast.inference.compiled import CompiledKernels
from basecast.inference.native import library
from basecast.inference.native.library import SIZES
from basecast.inference.program import Program, program_of
from basecast.inference.runner import Kernels, Runner
from basecast.inference.torched import TorchKernels
from basecast.inference.tuning import Tuning, _name
from basecast.inference.windows import change_between
from basecast.models.network import Network
from basecast.models.spliceai import SpliceAI, SpliceAIConfig, published, spec
from basecast.zoo.package import Package

CONFIGS = {
    "tiny": SpliceAIConfig(widths=(5, 7), dilations=(1, 3), channels=8, skip_every=1),
    "one_base_stages": SpliceAIConfig(widths=(1, 5, 1, 3), dilations=(1, 2, 1, 4), channels=6, skip_every=2),
    "no_context": SpliceAIConfig(widths=(1, 1), dilations=(1, 1), channels=6, skip_every=1),
    "wide": SpliceAIConfig(widths=(3, 11), dilations=(1, 4), channels=40, skip_every=2, activation="relu"),
    "long_taps": SpliceAIConfig(widths=(41, 9), dilations=(1, 5), channels=70, skip_every=1),
    "80nt": published(80, channels=40),
    "80nt_relu": published(80, activation="relu", norm_epsilon=1e-3),
}
COMPILED = library.available()
KERNELS = (*COMPILED, "conv1d", "conv2d")
DTYPES = {"fp64": torch.float64, "fp32": torch.float32}
TOLERANCE = {"fp64": 1e-10, "fp32": 1e-5}
"""Of the largest logit."""


def shuffled(network: nn.Module, seed: int) -> nn.Module:
    """The network with random statistics of its batch norms, whose scales may be negative."""
    torch.manual_seed(seed)
    for module in network.eval().requires_grad_(False).modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.5)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            if module.affine:
                module.weight.uniform_(0.5, 1.5).mul_(torch.randint(2, module.weight.shape) * 2 - 1)
                module.bias.normal_(0, 0.5)
    return network


@functools.cache
def network_of(config: SpliceAIConfig, seed: int = 1) -> SpliceAI:
    """Weights that single precision holds, in double precision."""
    torch.manual_seed(seed)
    network = SpliceAI(config)
    shuffled(network, seed)
    return network.double()


@functools.cache
def program_for(network: Network) -> Program:
    program = program_of(network)
    assert program is not None
    return program


def package(config: SpliceAIConfig, link: str = "identity", members: int = 1) -> Package:
    """Logits as values by default, for a softmax could hide a fault."""
    networks = tuple(network_of(config, seed) for seed in range(1, members + 1))
    made = spec(config, members=members, name="altered", licence="MIT")
    output = made.outputs[0].model_copy(update={"link": link})
    return Package(made.model_copy(update={"outputs": (output,)}), networks)


def plain(networks: Sequence[Network], tokens: Tokens) -> np.ndarray:
    """(outputs, tracks) of a window by the modules alone: the mean of the networks' logits."""
    one_hot = torch.eye(5, 4, dtype=torch.float64)[torch.from_numpy(tokens.astype(np.int64))].T[None]
    return np.mean([network(one_hot)[0].T.numpy() for network in networks], axis=0)


def table(program: Program, kernels: str, precision: str, method: str = "mixed") -> Tuning:
    """A kernel table: ``method`` is ``direct``, a size (the next one up where it is too short for a layer's taps), or
    ``mixed``, by which short windows are computed otherwise than long ones."""
    if kernels not in COMPILED:
        return Tuning(nanoseconds={_name(step, "", precision): {kernels: 1.0} for step in program.steps})
    rng, costs = np.random.default_rng(0), {}
    for step in program.steps:
        usable = {str(size): round(size * rng.uniform(0.3, 0.8), 1) for size in SIZES if size > step.weight.shape[2]}
        layer = _name(step, kernels, precision)
        if method == "mixed":
            costs[layer] = {"direct": 1.0, **usable}
        elif method == "direct":
            costs[layer] = {"direct": 1.0}
        else:
            costs[layer] = {next(size for size in usable if int(size) >= int(method)): 1.0}
    return Tuning(instructions=kernels, nanoseconds=costs)


def runner_of(network: Network, kernels: str, precision: str, method: str = "mixed", **options: Any) -> Runner:
    """Runs a network's program by these kernels."""
    program, chosen = program_for(network), DTYPES[precision]
    tuning = table(program, kernels, precision, method)
    by: Kernels
    if kernels in COMPILED:
        by = CompiledKernels(program, chosen, tuning)
    else:
        by = TorchKernels(program, torch.device("cpu"), chosen, partial(tuning.is_flat, precision=precision))
    return Runner(program, by, **options)


def logits(network: Network, embedding: torch.Tensor) -> np.ndarray:
    """(windows, outputs, tracks) that the heads make of an embedding, in double precision."""
    made = network.heads(embedding.double(), network.output_names, {}, {})
    return made[network.output_names[0]].movedim(1, 2).numpy()


def random_tokens(rng: np.random.Generator, n: int) -> Tokens:
    """Bases with an N here and there, and with ends of a contig or a mask: stretches of N."""
    tokens = rng.choice(5, n, p=[0.24] * 4 + [0.04]).astype(np.uint8)
    for _ in range(int(rng.integers(0, 3))):
        at = int(rng.integers(0, n))
        tokens[at : at + int(rng.integers(1, 40))] = 4
    return tokens


def random_allele(rng: np.random.Generator, ref: Tokens, context: int) -> Tokens | None:
    """The window with 0 to 100 bases replaced by 0 to 100 others, mostly few; None where it would be too short or show
    no base of the change."""
    few = [0, 1, 1, 1, 2, 5, 30, 100]
    lost, gained = (int(rng.choice([*few, rng.integers(0, 101)])) for _ in range(2))
    lost = min(max(lost, gained == 0), ref.size)
    start = int(rng.choice([0, ref.size - lost, *rng.integers(0, ref.size - lost + 1, 6)]))
    inserted = rng.integers(0, 4, gained).astype(np.uint8)
    alt = np.concatenate([ref[:start], inserted, ref[start + lost :]])
    return alt if alt.size > context and change_between(ref, alt).is_inside else None
