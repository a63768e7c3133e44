"""The engine's three modes and the plain modules: one value, by every kernel, in any order, batch and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from altering import CONFIGS, KERNELS, TOLERANCE, package, plain, program_for, table
from toys import Signal, graph_package, package_of

from basecast.genome.sequence import reverse_complement
from basecast.genome.source import Haplotype, Masked, Source, Text
from basecast.inference import engine as engine_module
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.sharing import windows_of
from basecast.inference.windows import Windows
from basecast.zoo.package import Package

CONTIG = 400
MODES = ("delta", "valid", "full")
Pairs = Sequence[tuple[Request, Request]]
Found = dict[int, np.ndarray]


def engine_of(chosen: Package, mode: str, kernels: str = "", **options: Any) -> Engine:
    given = {"device": "cpu", "threads": 1, "precision": "fp64", "mode": mode, **options}
    if kernels:
        given["tuning"] = table(program_for(chosen.networks[0]), kernels, given["precision"])
    return Engine(chosen, **given)


def random_pairs(rng: np.random.Generator, n: int) -> list[tuple[Request, Request]]:
    """Reference and altered requests: any lengths 0 to 100, anywhere on a contig and its masks, windows of all kinds.

    Most windows hold the change as a score's do; some are cut by its end, begin elsewhere, or are nowhere near.
    """
    text = Text(rng.choice(5, CONTIG, p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.uint8), "c")
    sources: list[Source] = [text, Masked(text, "c", 120, 290), Masked(text, "c", 200, 201)]
    pairs = []
    for _ in range(n):
        source = sources[int(rng.choice(3, p=[0.45, 0.45, 0.1]))]
        lost, gained = (int(rng.choice([0, 1, 1, 1, 2, 5, 30, 100, rng.integers(0, 101)])) for _ in range(2))
        lost = max(lost, gained == 0)
        start = int(rng.choice([0, 119, 120, 121, 289, CONTIG - 1, *rng.integers(0, CONTIG - lost, 6)]))
        inserted = rng.integers(0, 4, gained).astype(np.uint8)
        low, high = start - int(rng.integers(0, 12)), start + lost + int(rng.integers(1, 12))
        kind = rng.choice(6)
        if kind == 0 and lost > 1:
            high = start + int(rng.integers(1, lost))
        elif kind == 1:
            low, high = (at + int(rng.integers(-60, 60)) for at in (low, high + 60))
        high = max(high, low + 1)
        strand = str(rng.choice(["+", "-"]))
        reference = Request(source, "c", low, high, strand)
        haplotype = Haplotype(source, "c", start, start + lost, inserted)
        shift = int(rng.choice([0, 0, 0, 3, -2]))
        end = max(high + gained - lost, low + 1)
        pairs.append((reference, Request(haplotype, "c", low + shift, end + shift, strand, base=reference)))
    return pairs


def asked(pairs: Pairs, rng: np.random.Generator) -> list[Request]:
    """All requests in any order."""
    requests = [request for pair in pairs for request in pair]
    return [requests[i] for i in rng.permutation(len(requests))]


def effects(found: Found, pairs: Pairs) -> np.ndarray:
    """Of each pair, how far the altered values are from the reference's, as many as both have."""
    sizes = [min(len(found[id(ref)]), len(found[id(alt)])) for ref, alt in pairs]
    return np.array(
        [np.abs(found[id(ref)][:n] - found[id(alt)][:n]).max() for (ref, alt), n in zip(pairs, sizes, strict=True)]
    )


def evaluated(engine: Engine, requests: Sequence[Request]) -> Found:
    values = engine.evaluate(requests)
    return {id(request): one["splice"] for request, one in zip(requests, values, strict=True)}


def by_modules(chosen: Package, requests: Sequence[Request]) -> Found:
    """Of each request, what the modules alone give, in the order of the contig."""
    half, found = chosen.networks[0].config.context // 2, {}
    for request in requests:
        tokens = request.source.tokens(request.contig, request.start - half, request.end + half)
        if request.strand == "+":
            found[id(request)] = plain(chosen.networks, tokens)
        else:
            found[id(request)] = plain(chosen.networks, reverse_complement(tokens))[::-1]
    return found


def furthest(found: Found, expected: Found) -> float:
    """The largest difference, in units of the largest value."""
    assert found.keys() == expected.keys()
    assert all(found[key].shape == expected[key].shape for key in expected)
    largest = max(np.abs(values).max() for values in expected.values())
    return max(float(np.abs(found[key] - expected[key]).max()) for key in expected) / float(largest)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("tiny", "fp64"),
        ("tiny", "fp32"),
        ("one_base_stages", "fp64"),
        ("no_context", "fp32"),
        ("wide", "fp64"),
        ("80nt_relu", "fp32"),
    ],
)
def test_any_change_anywhere_in_all_three_modes(name: str, precision: str, kernels: str) -> None:
    """Order, batches and memory are those of a seed of the case's own."""
    rng = np.random.default_rng([*f"{name}{kernels}{precision}".encode()])
    few = precision == "fp64"
    chosen, pairs = package(CONFIGS[name], members=2 if few and name == "tiny" else 1), random_pairs(rng, 7)
    requests = asked(pairs, rng)
    expected = by_modules(chosen, requests)
    for mode in MODES:
        options = {"memory": 60_000} if few and mode == "delta" else {}
        engine = engine_of(chosen, mode, kernels, precision=precision, **options)
        engine.largest_batch = 2 if few else 8
        assert furthest(evaluated(engine, requests), expected) < TOLERANCE[precision], mode
    assert np.mean(effects(expected, pairs) > 1e-3) > 0.5


@pytest.mark.parametrize("link", ["identity", "softmax"])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_the_kernels_that_are_found_here_agree_too(precision: str, link: str) -> None:
    rng = np.random.default_rng(3)
    chosen, pairs = package(CONFIGS["80nt"], link), random_pairs(rng, 10)
    requests = asked(pairs, rng)
    delta, valid, full = (evaluated(engine_of(chosen, mode, precision=precision), requests) for mode in MODES)
    assert furthest(delta, valid) < TOLERANCE[precision]
    assert furthest(full, valid) < TOLERANCE[precision]
    if link == "identity":
        assert furthest(valid, by_modules(chosen, requests)) < TOLERANCE[precision]
    assert np.mean(effects(valid, pairs) > 1e-3) > 0.5


def test_asked_again_with_other_requests_the_answer_is_the_same() -> None:
    """What is remembered, asked for alone, or asked for without its reference: all one value."""
    rng = np.random.default_rng(4)
    chosen, pairs = package(CONFIGS["tiny"], members=2), random_pairs(rng, 7)
    engine = engine_of(chosen, "delta")
    whole = by_modules(chosen, asked(pairs, rng))
    alone = [evaluated(engine_of(chosen, "delta"), [alt]) for _, alt in pairs]
    engine.evaluate([ref for ref, _ in pairs[:4]])
    late = evaluated(engine, asked(pairs[:6], rng)) | evaluated(engine, asked(pairs, rng))
    assert furthest(late, whole) < 1e-10
    for (_, alt), single in zip(pairs, alone, strict=True):
        np.testing.assert_allclose(single[id(alt)], whole[id(alt)], rtol=0, atol=1e-10)
    engine.forget()
    assert furthest(evaluated(engine, asked(pairs, rng)), whole) < 1e-10
    assert np.mean(effects(whole, pairs) > 1e-3) > 0.5


@pytest.mark.parametrize("mode", ["delta", "valid"])
def test_two_threads_give_the_bytes_that_one_gives(mode: str) -> None:
    rng = np.random.default_rng(10)
    chosen, pairs = package(CONFIGS["wide"], members=2), random_pairs(rng, 10)
    requests = asked(pairs, rng)
    one, two = (engine_of(chosen, mode, KERNELS[0], precision="fp32", threads=n) for n in (1, 2))
    assert one.tuning == two.tuning
    first, second = evaluated(one, requests), evaluated(two, requests)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    assert np.mean(effects(first, pairs) > 1e-3) > 0.5


def one_base_wrong(batch: Any) -> Windows:
    """``windows_of`` with every change put in one base further right, where there is room."""
    windows = windows_of(batch)
    room = windows.lengths - np.array([len(x) for x in windows.tokens])
    return replace(windows, starts=np.minimum(windows.starts + 1, room))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_splice_one_base_off_is_caught(precision: str, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    chosen, pairs = package(CONFIGS["tiny"]), random_pairs(rng, 14)
    requests = asked(pairs, rng)
    expected = by_modules(chosen, requests)
    monkeypatch.setattr(engine_module, "windows_of", one_base_wrong)
    wrong = evaluated(engine_of(chosen, "delta", kernels, precision=precision), requests)
    tolerance = TOLERANCE[precision] * max(np.abs(values).max() for values in expected.values())
    seen = [np.abs(wrong[id(alt)] - expected[id(alt)]).max() > tolerance for _, alt in pairs]
    assert np.mean(np.array(seen)[effects(expected, pairs) > 1e-3]) > 0.7
    assert all(np.abs(wrong[id(ref)] - expected[id(ref)]).max() < tolerance for ref, _ in pairs)


@pytest.mark.parametrize("family", ["toy_binned", "toy_track"])
def test_networks_without_stages_are_run_whole(family: str) -> None:
    """A request may name its base whatever the model is."""
    chosen = package_of(family)
    assert not chosen.networks[0].stages()
    text = Text(np.random.default_rng(7).integers(0, 4, CONTIG).astype(np.uint8), "sequence")
    tracks = {"conservation": Signal(np.random.default_rng(8).normal(size=(2, CONTIG)))}
    reference = Request(text, "sequence", 100, 140, tracks=tracks)
    edited = Haplotype(text, "sequence", 118, 122, np.array([0, 1, 2, 3, 0, 0, 1, 1], np.uint8))
    alternate = replace(reference, source=edited, end=144, base=reference)
    (name,) = (output.name for output in chosen.spec.outputs)
    delta, valid = (engine_of(chosen, mode).evaluate([reference, alternate]) for mode in ("delta", "valid"))
    for one, other in zip(delta, valid, strict=True):
        np.testing.assert_array_equal(one[name], other[name])
    assert np.abs(delta[0][name] - delta[1][name][: len(delta[0][name])]).max() > 1e-3


@pytest.mark.parametrize("strand", "+-")
def test_a_graph_of_packages_takes_requests_with_a_base(strand: str) -> None:
    text = Text(np.random.default_rng(9).integers(0, 4, CONTIG).astype(np.uint8), "sequence")
    reference = Request(text, "sequence", 100, 140, strand)
    edited = Haplotype(text, "sequence", 118, 122, np.array([0, 1], np.uint8))
    alternate = replace(reference, source=edited, end=138, base=reference)
    found = {mode: engine_of(graph_package(), mode).evaluate([alternate, reference]) for mode in MODES}
    for mode in ("delta", "full"):
        for one, other in zip(found[mode], found["valid"], strict=True):
            np.testing.assert_allclose(one["rate"], other["rate"], rtol=1e-10)
    assert np.abs(found["valid"][0]["rate"] - found["valid"][1]["rate"][:38]).max() > 1e-3
