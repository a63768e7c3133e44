"""Every registered family and the four toys do what their specs declare."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import Signal, graph_package, package_of, request_of

from basecast.errors import UsageError
from basecast.genome.sequence import encode, reverse_complement
from basecast.genome.source import Haplotype, Text
from basecast.inference.engine import Engine
from basecast.inference.request import flip
from basecast.inference.tiling import grain, margin, tiles
from basecast.models.ensemble import Ensemble
from basecast.models.network import LINKS
from basecast.models.registry import families
from basecast.spec import LocalReach, ModelSpec
from basecast.zoo.package import Package, load_package, save_package

TOYS = ("toy_binned", "toy_mixing", "toy_track", "toy_refiner")  # other tests have toys of their own
FAMILIES = sorted(name for name in families() if name in TOYS or not name.startswith("toy_"))
OURS = [name for name in FAMILIES if not name.startswith("toy_")]
RUNNABLE = {
    **{name: package_of(name, seed=3) for name in FAMILIES if name != "toy_refiner"},
    "toy_graph": graph_package(),
    "toy_mixing_ensemble": package_of("toy_mixing", members=2, seed=4),
}
LOCAL = [name for name, package in RUNNABLE.items() if isinstance(package.spec.reach, LocalReach)]
LENGTH = 2400

families_of_all = pytest.mark.parametrize("family", FAMILIES)
packages = pytest.mark.parametrize("name", RUNNABLE)
local_packages = pytest.mark.parametrize("name", LOCAL)


def bases(seed: int = 0) -> np.ndarray:
    """Random tokens with an N here and there, one of them in every stretch."""
    tokens = np.random.default_rng(seed).choice(5, LENGTH, p=[0.24] * 4 + [0.04]).astype(np.uint8)
    tokens[1030] = 4
    return tokens


def signal() -> np.ndarray:
    values = np.random.default_rng(1).normal(size=(2, LENGTH))
    values[:, ::17] = np.nan
    return values


def ask(
    package: Package,
    tokens: np.ndarray,
    start: int,
    end: int,
    strand: str = "+",
    *,
    track: np.ndarray | None = None,
    outputs: list[str] | None = None,
    tracks: dict[str, list[int]] | None = None,
    **options: Any,
) -> dict[str, np.ndarray]:
    engine = Engine(package, device="cpu", threads=1, **{"precision": "fp64", **options})
    needed = {item.name for item in package.spec.inputs if item.kind == "track"}
    given = {name: Signal(signal() if track is None else track) for name in needed}
    request = request_of(package, Text(tokens), start, end, strand, tracks=given)
    return engine.evaluate([request], outputs, tracks)[0]


def stretch(spec: ModelSpec, bins: int = 24) -> tuple[int, int]:
    """A stretch in the middle: ``bins`` of a local reach, else one whole window's worth."""
    start = 1024
    return (start, start + bins * grain(spec)) if isinstance(spec.reach, LocalReach) else (start, start + 512)


def window(spec: ModelSpec, batch: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """Random one-hot of a length that the spec allows, and what the network takes beside it."""
    tile = tiles(spec, *stretch(spec), longest=10**6)[0]
    length = tile.window_end - tile.window_start
    generator = torch.Generator().manual_seed(7)
    letters = torch.randint(5, (batch, length), generator=generator)
    one_hot = torch.eye(5, 4, dtype=torch.float64)[letters].mT.contiguous()
    conditions = {c.name: torch.arange(batch) % len(c.values) for c in spec.conditions}
    for item in spec.inputs[1:]:
        conditions[item.name] = torch.randn(batch, item.channels, length, generator=generator, dtype=torch.float64)
    return one_hot, conditions


def logits_of(network: nn.Module, one_hot: Tensor, conditions: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    logits = network(one_hot, conditions)
    return logits if isinstance(logits, dict) else {spec.outputs[0].name: logits}


def largest_difference(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].shape == second[name].shape
        assert np.ptp(first[name]) > 1e-4, f"{name} is constant: nothing is compared"
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@families_of_all
def test_forward_takes_one_hot_and_gives_logits_of_the_shapes_declared(family: str) -> None:
    package = package_of(family)
    spec, network = package.spec, package.networks[0].double()
    tile = tiles(spec, *stretch(spec), longest=10**6)[0]
    logits = logits_of(network, *window(spec), spec)
    assert tuple(logits) == network.output_names == tuple(output.name for output in spec.outputs)
    for output in spec.outputs:
        bins = (tile.seen_end - tile.seen_start) // output.resolution - 2 * output.crop
        shape = {"position": (bins,), "position_pair": (bins, bins), "scalar": ()}.get(output.axes)
        x = logits[output.name]
        assert x.shape[:2] == (2, len(output.tracks))
        assert shape is None or x.shape[2:] == shape
        if output.link in ("softmax", "sigmoid"):
            assert x.min() < 0, "probabilities, not logits"


@packages
def test_the_engine_gives_the_link_of_the_logits_averaged_over_members(name: str) -> None:
    package = RUNNABLE[name]
    spec = package.spec
    if package.nodes:
        with pytest.raises(UsageError, match="graph"):
            _ = package.network
        return
    start, end = stretch(spec)
    tile = tiles(spec, start, end, 10**6)[0]
    tokens = bases()[tile.window_start : tile.window_end].astype(np.int64)
    assert (tokens == 4).any()
    one_hot = torch.eye(5, 4, dtype=torch.float64)[torch.from_numpy(tokens)].T[None]
    assert (one_hot.sum(1) == 0).any(), "N is a column of zeros"
    conditions = {condition.name: torch.tensor([0]) for condition in spec.conditions}
    for item in spec.inputs[1:]:
        given = signal()[None, :, tile.window_start : tile.window_end]
        conditions[item.name] = torch.from_numpy(np.where(np.isnan(given), item.missing, given))
    network = copy.deepcopy(package.network).double()
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    assert len(members) == len(spec.members)
    together = logits_of(network, one_hot, conditions, spec)
    expected = {}
    for output in spec.outputs:
        logits = [logits_of(member, one_hot, conditions, spec)[output.name] for member in members]
        mean = torch.stack([LINKS[output.link](x, 1) for x in logits]).mean(0)
        torch.testing.assert_close(LINKS[output.link](together[output.name], 1), mean, rtol=1e-10, atol=1e-12)
        expected[output.name] = mean[0].movedim(0, -1).numpy()
        if output.axes == "position":
            first = (start - tile.seen_start) // output.resolution - output.crop
            expected[output.name] = expected[output.name][first : first + (end - start) // output.resolution]
    assert largest_difference(expected, ask(package, bases(), start, end)) < 1e-10


@families_of_all
def test_a_window_does_not_depend_on_its_neighbours_in_the_batch(family: str) -> None:
    package = package_of(family)
    network = package.networks[0].double()
    one_hot, conditions = window(package.spec, 3)
    together = logits_of(network, one_hot, conditions, package.spec)
    for i in range(3):
        alone = {key: value[i : i + 1] for key, value in conditions.items()}
        for name, x in logits_of(network, one_hot[i : i + 1], alone, package.spec).items():
            torch.testing.assert_close(x[0], together[name][i], rtol=0, atol=1e-10)
            assert (together[name][i] - together[name][(i + 1) % 3]).abs().max() > 1e-4


@families_of_all
def test_gradients_reach_the_one_hot(family: str) -> None:
    package = package_of(family)
    one_hot, conditions = window(package.spec, 1)
    one_hot.requires_grad_()
    for x in logits_of(package.networks[0].double(), one_hot, conditions, package.spec).values():
        (gradient,) = torch.autograd.grad(x.square().sum(), one_hot, retain_graph=True)
        assert gradient.shape == one_hot.shape
        assert gradient.abs().max() > 1e-6


@pytest.mark.parametrize("family", [name for name in OURS if name in LOCAL])
def test_activations_are_modules(family: str) -> None:
    """Without its activation modules, and with means for pools, a convolutional network is affine: nothing else bends
    in a ``forward``."""
    package = package_of(family)
    network = package.networks[0].double()
    (a, conditions), b = window(package.spec, 1), torch.randn(1, generator=torch.Generator().manual_seed(1))
    other = a.roll(1, 1) * b

    def bend() -> float:
        """How far f(a) + f(b) is from f(a + b) + f(0)."""
        fa, fb, fab, f0 = (
            logits_of(network, x, conditions, package.spec) for x in (a, other, a + other, torch.zeros_like(a))
        )
        return max(float((fa[n] + fb[n] - fab[n] - f0[n]).abs().max()) for n in fa)

    calls: list[str] = []
    activations = [name for name, module in network.named_modules() if type(module).__module__.endswith(".activation")]
    for name in activations:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    assert bend() > 1e-3
    assert set(calls) == set(activations) != set()
    for name in activations:
        network.set_submodule(name, nn.Identity())
    for name in [name for name, module in network.named_modules() if isinstance(module, nn.MaxPool1d)]:
        network.set_submodule(name, nn.AvgPool1d(network.get_submodule(name).kernel_size))
    assert bend() < 1e-9


@packages
def test_a_package_comes_back_from_disk_as_it_was(name: str, tmp_path: Path) -> None:
    package = RUNNABLE[name]
    save_package(tmp_path / "model", package)
    again = load_package(tmp_path / "model")
    assert again.spec == package.spec
    assert again.digest == package.digest
    start, end = stretch(package.spec)
    for strand in "+-":
        first = ask(package, bases(), start, end, strand, precision="fp32")
        second = ask(again, bases(), start, end, strand, precision="fp32")
        assert largest_difference(first, second) == 0


@packages
def test_the_reverse_complement_rule_twice_is_the_identity(name: str) -> None:
    for output in RUNNABLE[name].spec.outputs:
        sizes = {"position": (11,), "position_pair": (11, 11), "site_pair": (5, 5), "scalar": ()}[output.axes]
        values = np.random.default_rng(0).normal(size=(*sizes, len(output.tracks)))
        once = flip(values, output)
        assert not np.array_equal(once, values)
        np.testing.assert_array_equal(flip(once, output), values)


@local_packages
@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-10), ("fp32", 1e-5)])
def test_modes_agree(name: str, strand: str, precision: str, tolerance: float) -> None:
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    valid = ask(package, bases(), start, end, strand, precision=precision)
    full = ask(package, bases(), start, end, strand, precision=precision, mode="full")
    for output in package.spec.outputs:
        assert np.isfinite(valid[output.name]).all()
    assert largest_difference(valid, full) < tolerance


@local_packages
@pytest.mark.parametrize("strand", ["+", "-"])
def test_altered_windows_are_the_same_in_every_mode(name: str, strand: str) -> None:
    """Requests share work with the one they alter; alleles lie in, at the edges of, and out of its window."""
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    tile = tiles(package.spec, start, end, 10**6, strand)[0]
    low, high = tile.window_start, tile.window_end
    text = Text(bases())
    given = {item.name: Signal(signal()) for item in package.spec.inputs if item.kind == "track"}
    reference = request_of(package, text, start, end, strand, tracks=given)
    changes = [
        (start + 5, 1, "T"),
        (start + 5, 1, "G"),
        (start + 9, 1, "ACCGTTA"),
        (start + 3, 8, "A"),
        (start, 3, "GTA"),
    ]
    changes += [
        (low, 1, "N"),
        (low - 4, 6, "AC"),
        (high - 2, 2, "ATTAC"),
        (high + 1, 1, "A"),
        (low + 1, high - low, ""),
    ]
    altered = [
        replace(reference, source=Haplotype(text, "sequence", at, at + lost, encode(gained)), base=reference)
        for at, lost, gained in changes
    ]
    found = {
        mode: Engine(package, device="cpu", threads=1, precision="fp64", mode=mode).evaluate([reference, *altered])
        for mode in ("valid", "full", "delta")
    }
    differ = 0
    for i in range(len(changes) + 1):
        for output in package.spec.outputs:
            valid = found["valid"][i][output.name]
            np.testing.assert_allclose(found["full"][i][output.name], valid, rtol=0, atol=1e-10)
            np.testing.assert_allclose(found["delta"][i][output.name], valid, rtol=0, atol=1e-10)
            differ += np.abs(valid - found["valid"][0][output.name]).max() > 1e-4
    assert differ >= 6, "the alleles in the window must matter"


@local_packages
@pytest.mark.parametrize("strand", ["+", "-"])
def test_an_output_depends_on_the_reach_declared_and_on_nothing_else(name: str, strand: str) -> None:
    package = RUNNABLE[name]
    spec = package.spec
    assert isinstance(spec.reach, LocalReach)
    left, right = (spec.reach.left, spec.reach.right) if strand == "+" else (spec.reach.right, spec.reach.left)
    start, end = stretch(spec)
    (output,) = spec.outputs
    rule = output.reverse_complement.shift * output.resolution if strand == "-" else 0
    bin_start = start + 12 * output.resolution
    first, last = bin_start - rule - left, bin_start - rule + output.resolution + right - 1
    assert start - left <= first - 1
    assert last + 1 < end + right
    engine = Engine(package, device="cpu", threads=1, precision="fp64")
    needed = [item.name for item in spec.inputs if item.kind == "track"]
    rounding, seen = 1e-14, 1e-10  # of one block of a Fourier transform, each base rounds all

    def change(position: int) -> float:
        changes, elsewhere = [], 0.0
        for seed in range(4):  # in one sequence a pool may not choose what the base alters
            tokens = bases(seed)
            sources = [tokens]
            for letter in set(range(4)) - {int(tokens[position])}:
                sources.append(tokens.copy())
                sources[-1][position] = letter
            requests = [
                request_of(package, Text(x), start, end, strand, tracks={name: Signal(signal()) for name in needed})
                for x in sources
            ]
            whole, *altered = (values[output.name] for values in engine.evaluate(requests))
            for there in altered:
                elsewhere = max(elsewhere, float(np.abs(there - whole).max()))
                changes.append(np.abs(there - whole)[12].max())
        assert elsewhere > seen, "the base is seen by no output at all"
        return float(max(changes))

    assert change(first - 1) < rounding
    assert change(first) > seen
    assert change(last) > seen
    assert change(last + 1) < rounding


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name not in LOCAL])
def test_in_a_window_everything_sees_everything(name: str) -> None:
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    first = package.spec.outputs[0].name
    tile = tiles(package.spec, start, end, 10**6)[0]
    whole = ask(package, bases(), start, end, outputs=[first])[first]
    altered = bases()
    altered[tile.window_start] = (altered[tile.window_start] + 1) % 4
    there = ask(package, altered, start, end, outputs=[first])[first]
    assert np.abs(there - whole)[-1].max() > 0
    altered = bases()
    altered[tile.window_start - 1] = (altered[tile.window_start - 1] + 1) % 4
    np.testing.assert_array_equal(ask(package, altered, start, end, outputs=[first])[first], whole)


@packages
@pytest.mark.parametrize("strand", ["+", "-"])
def test_some_heads_and_tracks_are_a_slice_of_the_whole(name: str, strand: str) -> None:
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    whole = ask(package, bases(), start, end, strand)
    for output in package.spec.outputs:
        one = ask(package, bases(), start, end, strand, outputs=[output.name])
        assert largest_difference(one, {output.name: whole[output.name]}) < 1e-12
        n = len(output.tracks)
        order = output.reverse_complement.permutation
        subsets = [[n - 1], [1, 0] if n > 1 else [0]] if order else [[0], [n - 1], list(range(n))[::-1]]
        for subset in subsets:
            some = ask(package, bases(), start, end, strand, tracks={output.name: subset})
            assert some.keys() == whole.keys()
            expected = {**whole, output.name: whole[output.name][..., subset]}
            assert largest_difference(some, expected) < 1e-12
        if order and strand == "-":
            with pytest.raises(UsageError, match="both strands"):
                ask(package, bases(), start, end, strand, tracks={output.name: [0]})


@local_packages
@pytest.mark.parametrize("strand", ["+", "-"])
def test_no_tile_size_leaves_a_seam(name: str, strand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    whole = ask(package, bases(), start, end, strand)
    for size in (1, 5, 13):
        monkeypatch.setattr(Engine, "longest_tile", size)
        assert largest_difference(ask(package, bases(), start, end, strand), whole) < 1e-12


@packages
def test_the_minus_strand_is_the_plus_strand_of_the_reverse_complement_flipped(name: str) -> None:
    package, (start, end) = RUNNABLE[name], stretch(RUNNABLE[name].spec)
    minus = ask(package, bases(), start, end, "-")
    extra = margin(package.spec) if name in LOCAL else 0  # bins that the rule's shift wraps around
    plus = ask(
        package,
        reverse_complement(bases()),
        LENGTH - end - extra,
        LENGTH - start + extra,
        track=signal()[:, ::-1],
    )
    forward = ask(package, bases(), start, end)
    for output in package.spec.outputs:
        pad = extra // output.resolution
        expected = flip(plus[output.name], output)
        expected = expected[pad : len(expected) - pad]
        np.testing.assert_allclose(minus[output.name], expected, rtol=0, atol=1e-12)
        assert np.abs(minus[output.name] - forward[output.name]).max() > 1e-4, "the strands must differ"
