"""Altered windows at the price of what changes, against the same windows run whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import Signal, graph_package, package_of

from basecast.genome.sequence import Tokens
from basecast.genome.source import Haplotype, Masked, Source, Text
from basecast.inference import engine as engine_module
from basecast.inference.delta import Change, altered_embedding, batches, change_between, reaches, stretches
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.models.spliceai import SpliceAI, SpliceAIConfig, spec
from basecast.zoo.package import Package

FEW = settings(max_examples=80, deadline=None)
CONTIG = 400
CONFIGS = {
    "tiny": SpliceAIConfig(widths=(5, 7), dilations=(1, 3), channels=8, skip_every=1),
    "one_base_stages": SpliceAIConfig(widths=(1, 5, 1, 3), dilations=(1, 2, 1, 4), channels=6, skip_every=2),
    "no_context": SpliceAIConfig(widths=(1, 1), dilations=(1, 1), channels=6, skip_every=1),
    "wide": SpliceAIConfig(widths=(3, 11), dilations=(1, 4), channels=6, skip_every=2),
}


def package(name: str, link: str = "identity", members: int = 2) -> Package:
    """Random weights and batch statistics; logits as values by default, for a softmax could hide a fault."""
    config = CONFIGS[name]
    torch.manual_seed(1)
    networks = []
    for _ in range(members):
        network = SpliceAI(config).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        networks.append(network)
    made = spec(config, members=members, name=name, licence="MIT")
    output = made.outputs[0].model_copy(update={"link": link})
    return Package(made.model_copy(update={"outputs": (output,)}), tuple(networks))


def engine_of(chosen: Package, mode: str, **options: Any) -> Engine:
    return Engine(chosen, **{"device": "cpu", "threads": 1, "precision": "fp64", "mode": mode, **options})


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


def asked(pairs: Sequence[tuple[Request, Request]], rng: np.random.Generator) -> list[Request]:
    """All requests in any order."""
    requests = [request for pair in pairs for request in pair]
    return [requests[i] for i in rng.permutation(len(requests))]


def effects(found: dict[int, np.ndarray], pairs: Sequence[tuple[Request, Request]]) -> np.ndarray:
    """Of each pair, how far the altered values at the window's first or last base are from the reference's."""
    sizes = [min(len(found[id(ref)]), len(found[id(alt)])) for ref, alt in pairs]
    return np.array(
        [np.abs(found[id(ref)][:n] - found[id(alt)][:n]).max() for (ref, alt), n in zip(pairs, sizes, strict=True)]
    )


def evaluated(engine: Engine, requests: Sequence[Request]) -> dict[int, np.ndarray]:
    values = engine.evaluate(requests)
    return {id(request): one["splice"] for request, one in zip(requests, values, strict=True)}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("seed", "memory", "largest"), [(0, None, 8), (1, 60_000, 2)])
def test_any_change_anywhere_in_all_three_modes(name: str, seed: int, memory: int | None, largest: int) -> None:
    rng = np.random.default_rng(seed)
    chosen, pairs = package(name, members=1 + seed), random_pairs(rng, 24)
    requests = asked(pairs, rng)
    found = {}
    for mode in ("delta", "valid", "full"):
        engine = engine_of(chosen, mode, **({"memory": memory} if memory and mode == "delta" else {}))
        engine.largest_batch = largest
        found[mode] = evaluated(engine, requests)
    for request in requests:
        here = {mode: values[id(request)] for mode, values in found.items()}
        assert len(here["delta"]) == request.end - request.start
        for mode in ("delta", "full"):
            np.testing.assert_allclose(here[mode], here["valid"], rtol=1e-10, atol=1e-10)
    assert np.mean(effects(found["valid"], pairs) > 1e-3) > 0.6


@pytest.mark.parametrize("link", ["identity", "softmax"])
def test_single_precision_is_as_close_as_it_can_be(link: str) -> None:
    rng = np.random.default_rng(3)
    chosen, pairs = package("tiny", link), random_pairs(rng, 20)
    requests = asked(pairs, rng)
    delta, valid, full = (
        evaluated(engine_of(chosen, m, precision="fp32"), requests) for m in ("delta", "valid", "full")
    )
    largest = max(np.abs(values).max() for values in valid.values())
    for key in valid:
        for other in (delta[key], full[key]):
            np.testing.assert_allclose(other, valid[key], rtol=1e-5, atol=1e-5 * largest)
    assert np.mean(effects(valid, pairs) > 1e-3) > 0.6


def test_asked_again_with_other_requests_the_answer_is_the_same() -> None:
    """What is remembered, asked for alone, or asked for without its reference: all one value."""
    rng = np.random.default_rng(4)
    chosen, pairs = package("tiny"), random_pairs(rng, 12)
    engine = engine_of(chosen, "delta")
    whole = evaluated(engine_of(chosen, "valid"), asked(pairs, rng))
    alone = [evaluated(engine_of(chosen, "delta"), [alt]) for _, alt in pairs]
    engine.evaluate([ref for ref, _ in pairs[:6]])
    late = evaluated(engine, asked(pairs[:9], rng)) | evaluated(engine, asked(pairs, rng))
    for (ref, alt), single in zip(pairs, alone, strict=True):
        for found, key in ((late, id(ref)), (late, id(alt)), (single, id(alt))):
            np.testing.assert_allclose(found[key], whole[key], rtol=1e-10, atol=1e-10)


def one_base_wrong(network: Any, levels: Any, offsets: Any, gained: Any, change: Change) -> torch.Tensor:
    """``altered_embedding`` with the change put in one base further right."""
    moved = replace(change, start=min(change.start + 1, change.length - change.gained))
    return altered_embedding(network, levels, offsets, gained, moved)


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_a_splice_one_base_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    chosen, pairs = package(name, members=1), random_pairs(rng, 30)
    requests = asked(pairs, rng)
    valid = evaluated(engine_of(chosen, "valid"), requests)
    monkeypatch.setattr(engine_module, "altered_embedding", one_base_wrong)
    wrong = evaluated(engine_of(chosen, "delta"), requests)
    seen = [np.abs(wrong[id(alt)] - valid[id(alt)]).max() > 1e-6 for _, alt in pairs]
    changed = effects(valid, pairs) > 1e-3
    assert np.mean(np.array(seen)[changed]) > 0.7
    assert all(np.abs(wrong[id(ref)] - valid[id(ref)]).max() < 1e-9 for ref, _ in pairs)


class Counted:
    """The lengths that every stage of a package's first network is shown, by stage; engines' copies keep the hooks."""

    def __init__(self, chosen: Package) -> None:
        self.shown: list[list[tuple[int, int]]] = []
        for stage in chosen.networks[0].stages():
            lengths: list[tuple[int, int]] = []
            self.shown.append(lengths)

            def note(module: Any, inputs: Any, output: Any, lengths: list[tuple[int, int]] = lengths) -> None:
                lengths.append((len(inputs[0]), inputs[0].shape[-1]))

            stage.register_forward_hook(note)  # type: ignore[attr-defined]


def snvs(starts: Sequence[int], distance: int = 10, strand: str = "+") -> list[tuple[Request, Request]]:
    text = Text(np.random.default_rng(6).integers(0, 4, CONTIG).astype(np.uint8), "c")
    pairs = []
    for start in starts:
        reference = Request(text, "c", start - distance, start + distance + 1, strand)
        other = (text.tokens("c", start, start + 1) + 1) % 4
        alternate = replace(reference, source=Haplotype(text, "c", start, start + 1, other), base=reference)
        pairs.append((reference, alternate))
    return pairs


@pytest.mark.parametrize("strand", "+-")
def test_a_stretch_of_reference_is_run_once_and_changes_only_where_they_are_seen(strand: str) -> None:
    chosen = package("tiny", members=1)
    counted = Counted(chosen)
    starts = [100, 103, 107, 110, 120]
    pairs = snvs(starts, strand=strand)
    half = CONFIGS["tiny"].context // 2
    stretch = starts[-1] - starts[0] + 2 * 10 + 1 + 2 * half
    engine = engine_of(chosen, "delta")
    found = evaluated(engine, [request for pair in pairs for request in pair])
    assert counted.shown == [
        [(1, stretch), (len(starts), 1)],  # one base differs, one is shown
        [(1, stretch), (len(starts), 1 + 4 * 4)],  # 9 differ after a stage that sees 4 at each side
        [(1, stretch - 2 * 4), (len(starts), 21 + 2 * 18)],  # more than the 21 outputs would differ
    ]
    assert evaluated(engine, [alt for _, alt in pairs]).keys() <= found.keys()
    assert [len(shown) for shown in counted.shown] == [2, 2, 2], "all is remembered"


def test_references_far_apart_are_stretches_of_their_own() -> None:
    chosen = package("tiny", members=1)
    counted = Counted(chosen)
    engine_of(chosen, "delta").evaluate([request for pair in snvs([50, 52, 250, 255]) for request in pair])
    width = 2 * 10 + 1 + CONFIGS["tiny"].context
    assert [length for n, length in counted.shown[0] if length > 1] == [width + 2, width + 5]


def test_little_memory_makes_short_stretches() -> None:
    chosen = package("tiny", members=1)
    pairs = snvs(range(50, 350, 4))
    lengths = {}
    for memory in (120_000, 10**9):
        fresh = Package(chosen.spec, package("tiny", members=1).networks)
        counted = Counted(fresh)
        engine = engine_of(fresh, "delta", memory=memory)
        found = evaluated(engine, [request for pair in pairs for request in pair])
        lengths[memory] = [length for _, length in counted.shown[0] if length > 1]
        assert max(lengths[memory]) <= max(engine.longest_stretch, 2 * 10 + 1 + CONFIGS["tiny"].context)
        whole = evaluated(engine_of(chosen, "valid"), [request for pair in pairs for request in pair])
        assert all(np.allclose(found[key], whole[key], rtol=1e-10, atol=1e-10) for key in whole)
    assert len(lengths[10**9]) == 1
    assert len(lengths[120_000]) > 1


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
    delta, valid = (engine_of(chosen, m).evaluate([reference, alternate]) for m in ("delta", "valid"))
    for one, other in zip(delta, valid, strict=True):
        np.testing.assert_array_equal(one[name], other[name])
    assert np.abs(delta[0][name] - delta[1][name][: len(delta[0][name])]).max() > 1e-3


@pytest.mark.parametrize("strand", "+-")
def test_a_graph_of_packages_takes_requests_with_a_base(strand: str) -> None:
    text = Text(np.random.default_rng(9).integers(0, 4, CONTIG).astype(np.uint8), "sequence")
    reference = Request(text, "sequence", 100, 140, strand)
    edited = Haplotype(text, "sequence", 118, 122, np.array([0, 1], np.uint8))
    alternate = replace(reference, source=edited, end=138, base=reference)
    found = {m: engine_of(graph_package(), m).evaluate([alternate, reference]) for m in ("delta", "valid", "full")}
    for mode in ("delta", "full"):
        for one, other in zip(found[mode], found["valid"], strict=True):
            np.testing.assert_allclose(one["rate"], other["rate"], rtol=1e-10)
    assert np.abs(found["valid"][0]["rate"] - found["valid"][1]["rate"][:38]).max() > 1e-3


few_tokens = st.lists(st.integers(0, 1), max_size=9).map(lambda values: np.array(values, np.uint8))


@given(few_tokens, few_tokens)
@FEW
def test_the_change_between_windows_makes_one_of_the_other(ref: Tokens, alt: Tokens) -> None:
    change = change_between(ref, alt)
    gained = alt[change.start : change.start + change.gained]
    made = np.concatenate([ref[: change.start], gained, ref[change.start + change.lost :]])
    np.testing.assert_array_equal(made, alt)
    assert change.length == alt.size
    lost = ref[change.start : change.start + change.lost]
    assert min(change.lost, change.gained) == 0 or (lost[0] != gained[0] and lost[-1] != gained[-1])
    assert change.is_inside == (change.start + change.gained > 0 and change.start < alt.size)


def test_reaches_are_of_all_stages_so_far() -> None:
    for name, expected in {"tiny": [0, 0, 4, 22], "one_base_stages": [0, 0, 0, 8, 8, 16]}.items():
        assert reaches(package(name).networks[0]) == expected
        assert CONFIGS[name].context == 2 * expected[-1]


spans = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


@given(spans, st.integers(1, 150))
@FEW
def test_stretches_cover_each_window_once(windows: list[tuple[int, int]], longest: int) -> None:
    found = list(stretches(windows, longest))
    assert sorted(i for _, _, members in found for i in members) == list(range(len(windows)))
    for start, end, members in found:
        inside = [windows[i] for i in members]
        assert (start, end) == (min(low for low, _ in inside), max(high for _, high in inside))
        assert end - start <= longest or len(set(inside)) == 1
        covered = {base for low, high in inside for base in range(low, high)}
        assert len(covered) == end - start, "no base that no window has"


def test_windows_join_where_they_overlap_by_half() -> None:
    assert list(stretches([(0, 100), (50, 150)], 1000)) == [(0, 150, [0, 1])]
    assert list(stretches([(51, 151), (0, 100)], 1000)) == [(0, 100, [1]), (51, 151, [0])]
    assert list(stretches([(0, 100), (50, 150)], 149)) == [(0, 100, [0]), (50, 150, [1])]
    assert list(stretches([], 10)) == []


def test_batches_hold_what_changes_alike() -> None:
    a, b = Change(5, 1, 1, 20), Change(5, 1, 2, 21)
    assert list(batches([a, b, a, a, b], [20, 20, 20, 20, 20], 2)) == [[0, 2], [3], [1, 4]]
    assert list(batches([a, a], [20, 21], 8)) == [[0], [1]]
