"""Windows through a program, whole and altered, by every kind of kernel, against the plain modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from altering import (
    COMPILED,
    CONFIGS,
    KERNELS,
    TOLERANCE,
    logits,
    network_of,
    plain,
    random_allele,
    random_tokens,
    runner_of,
)

from basecast.genome.sequence import Tokens
from basecast.inference.native.library import SIZES
from basecast.inference.runner import Runner
from basecast.inference.windows import Change, Windows, change_between
from basecast.models.network import Network
from basecast.models.spliceai import published

EFFECT = 1e-3
CASES = [(name, "fp64") for name in CONFIGS] + [(name, "fp32") for name in ("tiny", "long_taps", "80nt_relu")]
METHODS = ("direct", *map(str, SIZES), "mixed")


@dataclass(frozen=True, eq=False)
class Case:
    """An altered window of a stretch, and what the plain modules give of it."""

    alt: Tokens
    offset: int
    change: Change
    expected: np.ndarray
    effect: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A stretch of reference with altered windows of it."""

    network: Network
    stretch: Tokens
    expected: np.ndarray
    cases: list[Case]

    @property
    def largest(self) -> float:
        return max(float(np.abs(case.expected).max()) for case in self.cases)

    def found(self, runner: Runner, batch: int = 1000, shift: str = "") -> list[np.ndarray]:
        """Logits of every case; ``shift`` puts each splice (``starts``) or window (``offsets``) one base wrong."""
        levels, _ = runner.reference([self.stretch], max(case.change.gained - case.change.lost for case in self.cases))
        found: dict[int, np.ndarray] = {}
        groups: dict[Any, list[int]] = {}
        for i, case in enumerate(self.cases):
            groups.setdefault(case.change if runner.kernels.alike_only else case.change.length, []).append(i)
        for alike in groups.values():
            for at in range(0, len(alike), batch):
                some = [self.cases[i] for i in alike[at : at + batch]]
                windows = Windows.altered(
                    [c.alt for c in some], [c.change for c in some], [0] * len(some), [c.offset for c in some]
                )
                if shift:
                    windows = replace(windows, **{shift: getattr(windows, shift) + 1})
                made = logits(self.network, runner.embedding(windows, levels))
                found |= dict(zip(alike[at : at + batch], made, strict=True))
        return [found[i] for i in range(len(self.cases))]

    def wrong(self, found: list[np.ndarray], precision: str) -> list[bool]:
        """Of each case, whether what was found differs from the plain modules'."""
        tolerance = TOLERANCE[precision] * self.largest
        return [bool(np.abs(x - c.expected).max() > tolerance) for x, c in zip(found, self.cases, strict=True)]


def scene_of(network: Network, context: int, rng: np.random.Generator, n: int = 6) -> Scene:
    """Windows of 1 to 80 outputs anywhere in the stretch but at its last base, that a shift may reach."""
    stretch = random_tokens(rng, context + 300)
    cases: list[Case] = []
    while len(cases) < n:
        size = context + int(rng.integers(1, 80))
        offset = int(rng.integers(0, stretch.size - size))
        ref = stretch[offset : offset + size]
        if (alt := random_allele(rng, ref, context)) is not None:
            before, expected = plain([network], ref), plain([network], alt)
            alike = min(len(before), len(expected))
            effect = float(np.abs(before[:alike] - expected[:alike]).max())
            if effect > EFFECT or len(cases) >= n - 2:  # of the others any
                cases.append(Case(alt, offset, change_between(ref, alt), expected, effect))
    return Scene(network, stretch, plain([network], stretch), cases)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {
        name: scene_of(network_of(config), config.context, np.random.default_rng(i))
        for i, (name, config) in enumerate(CONFIGS.items())
    }


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_any_change_anywhere_is_as_the_plain_modules_give_it(
    name: str, precision: str, kernels: str, scenes: dict[str, Scene]
) -> None:
    scene, runner = scenes[name], runner_of(scenes[name].network, kernels, precision)
    levels, (embedding,) = runner.reference([scene.stretch], 0)
    assert len(levels) == len(runner.program.steps) + 1
    tolerance = TOLERANCE[precision] * scene.largest
    np.testing.assert_allclose(logits(scene.network, embedding)[0], scene.expected, rtol=0, atol=tolerance)
    assert not any(scene.wrong(scene.found(runner, batch=3), precision))
    seen = [case.effect > EFFECT for case in scene.cases]
    assert np.mean(seen) > 0.5
    for shift in ("starts", "offsets")[: 2 if precision == "fp64" else 1]:
        caught = scene.wrong(scene.found(runner, shift=shift), precision)
        assert np.mean(np.array(caught)[seen]) > 0.6, f"a splice with its {shift} one base off must be seen"


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_whole_windows_are_as_the_plain_modules_give_them(
    name: str, precision: str, kernels: str, scenes: dict[str, Scene]
) -> None:
    """Of layers that shrink, and of layers of one length."""
    scene = scenes[name]
    tokens = [scene.stretch[at : at + CONFIGS[name].context + 90] for at in (0, 7, 50)]
    expected = np.stack([plain([scene.network], x) for x in tokens])
    for is_padded in (False, True):
        runner = runner_of(scene.network, kernels, precision, is_padded=is_padded)
        found = logits(scene.network, runner.embedding(Windows.whole(tokens)))
        assert found.shape == expected.shape == (3, 90, 3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[precision] * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > EFFECT


@pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels for this machine")
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_every_compiled_method_gives_the_same(
    name: str, kernels: str, method: str, precision: str, scenes: dict[str, Scene]
) -> None:
    scene, runner = scenes[name], runner_of(scenes[name].network, kernels, precision, method)
    assert not any(scene.wrong(scene.found(runner), precision))
    seen = [case.effect > EFFECT for case in scene.cases]
    assert np.mean(seen) > 0.5


@pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels for this machine")
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("name", ["tiny", "long_taps"])
def test_a_window_gives_the_same_bytes_alone_or_beside_others(
    name: str, kernels: str, precision: str, scenes: dict[str, Scene]
) -> None:
    scene = scenes[name]
    runner = runner_of(scene.network, kernels, precision)
    for one, other in zip(scene.found(runner, batch=1), scene.found(runner), strict=True):
        np.testing.assert_array_equal(one, other)
    tokens = [scene.stretch[at : at + CONFIGS[name].context + 61] for at in range(0, 180, 9)]
    together = runner.embedding(Windows.whole(tokens))
    alone = torch.cat([runner.embedding(Windows.whole([x])) for x in tokens])
    assert torch.equal(together, alone)
    assert (together[0] - together[1]).abs().max() > EFFECT


@pytest.fixture(scope="module")
def large() -> Scene:
    """An SNV, an insertion, a deletion and a complex allele in a stretch longer than the window of 10,000 bases."""
    config = published(10000)
    network, rng = network_of(config), np.random.default_rng(11)
    stretch = rng.integers(0, 4, 10_064).astype(np.uint8)
    cases, (offset, size) = [], (20, 10_021)
    ref = stretch[offset : offset + size]
    before = plain([network], ref)
    for start, lost, gained in [(5010, 1, 1), (5003, 0, 7), (4990, 20, 0), (3000, 4, 60)]:
        inserted = (ref[start] + 1 + rng.integers(0, 3, gained)).astype(np.uint8) % 4
        alt = np.concatenate([ref[:start], inserted, ref[start + lost :]])
        expected = plain([network], alt)
        alike = min(len(before), len(expected))
        effect = float(np.abs(before[:alike] - expected[:alike]).max())
        cases.append(Case(alt, offset, change_between(ref, alt), expected, effect))
    return Scene(network, stretch, np.zeros(0), cases)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_network_of_ten_thousand_bases_of_context(kernels: str, large: Scene) -> None:
    runner = runner_of(large.network, kernels, "fp32")
    assert not any(large.wrong(large.found(runner), "fp32"))
    assert min(case.effect for case in large.cases) > EFFECT * large.largest
    if kernels == KERNELS[0]:
        assert all(large.wrong(large.found(runner, shift="starts"), "fp32"))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("end", ["left", "right"])
def test_an_insertion_in_the_context_moves_what_a_skip_reads(end: str, kernels: str) -> None:
    """What stands beyond it in the altered window stands outside the outputs of the reference's."""
    network = network_of(CONFIGS["tiny"])
    ref = np.random.default_rng(12).integers(0, 4, CONFIGS["tiny"].context + 10).astype(np.uint8)
    inserted = np.random.default_rng(13).integers(0, 4, 30).astype(np.uint8)
    start = 10 if end == "left" else ref.size - 10
    alt = np.concatenate([ref[:start], inserted, ref[start:]])
    runner = runner_of(network, kernels, "fp64")
    levels, (before,) = runner.reference([ref], inserted.size)
    found = logits(network, runner.embedding(Windows.altered([alt], [change_between(ref, alt)], [0], [0]), levels))[0]
    expected = plain([network], alt)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.abs(expected[:10] - logits(network, before)[0]).max() > EFFECT or end == "right"


def test_what_no_later_step_reads_is_let_go(scenes: dict[str, Scene]) -> None:
    scene = scenes["tiny"]
    runner = runner_of(scene.network, "conv1d", "fp64")
    levels = runner._levels(Windows.whole([scene.stretch]), None, keep=False)
    assert [level is None for level in levels] == [True] * (len(levels) - 1) + [False]
    assert all(level is not None for level in runner.reference([scene.stretch], 0)[0])
