"""Which windows share a stretch of reference, and that it is run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from altering import CONFIGS, package
from hypothesis import given, settings
from hypothesis import strategies as st

from basecast.genome.sequence import Tokens
from basecast.genome.source import Haplotype, Masked, Source, Text
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.runner import Runner
from basecast.inference.sharing import stretches
from basecast.inference.windows import Windows

CONTIG, DISTANCE = 400, 10
CONTEXT = CONFIGS["tiny"].context
WINDOW = 2 * DISTANCE + 1 + CONTEXT
TEXT = Text(np.random.default_rng(6).integers(0, 4, CONTIG).astype(np.uint8), "c")
spans = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1])), max_size=14)


@given(spans, st.integers(1, 150), st.integers(0, 60), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_stretches_cover_each_window_once_in_any_order(
    windows: list[tuple[int, int]], grid: int, gap: int, random: st.DataObject
) -> None:
    found = list(stretches(windows, grid, gap))
    assert sorted(i for _, _, members in found for i in members) == list(range(len(windows)))
    for start, end, members in found:
        inside = [windows[i] for i in members]
        assert (start, end) == (min(low for low, _ in inside), max(high for _, high in inside))
        assert {low // grid for low, _ in inside} == {start // grid}
        covered = {base for low, high in inside for base in range(low, high)}
        assert len(covered) == end - start, "no base that no window has"
    order = list(range(len(windows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = list(stretches([windows[i] for i in order], grid, gap))

    def shared(stretch: tuple[int, int, list[int]], names: Sequence[int]) -> tuple[int, int, list[tuple[int, int]]]:
        return stretch[0], stretch[1], sorted(windows[names[i]] for i in stretch[2])

    assert [shared(x, range(len(windows))) for x in found] == [shared(x, order) for x in other]


def test_windows_join_where_that_costs_less_than_another() -> None:
    assert list(stretches([(0, 100), (50, 150)], 1000, 50)) == [(0, 150, [0, 1])]
    assert list(stretches([(51, 151), (0, 100)], 1000, 50)) == [(0, 100, [1]), (51, 151, [0])]
    assert list(stretches([(0, 100), (50, 150)], 50, 50)) == [(0, 100, [0]), (50, 150, [1])]
    assert list(stretches([(0, 10), (10, 20)], 1000, 50)) == [(0, 10, [0]), (10, 20, [1])], "they share no base"
    assert list(stretches([], 10, 10)) == []


class Runs:
    """Stretches of reference, batches of altered windows and whole ones that are run from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.references: list[int] = []
        self.altered: list[Windows] = []
        self.whole: list[Windows] = []
        reference, embedding = Runner.reference, Runner.embedding

        def run_reference(runner: Runner, tokens: Sequence[Tokens], growth: int) -> object:
            self.references += [x.size for x in tokens]
            return reference(runner, tokens, growth)

        def run_embedding(runner: Runner, windows: Windows, *levels: object) -> object:
            (self.altered if levels else self.whole).append(windows)
            return embedding(runner, windows, *levels)  # type: ignore[arg-type]

        monkeypatch.setattr(Runner, "reference", run_reference)
        monkeypatch.setattr(Runner, "embedding", run_embedding)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def delta(members: int = 1, **options: int) -> Engine:
    return Engine(package(CONFIGS["tiny"], members=members), device="cpu", threads=1, precision="fp64", **options)


def snvs(
    starts: Sequence[int], strand: str = "+", source: Source = TEXT, others: Sequence[int] = (1,)
) -> list[tuple[Request, Request]]:
    """A reference request of each start with each of its alleles."""
    pairs = []
    for start in starts:
        reference = Request(source, "c", start - DISTANCE, start + DISTANCE + 1, strand)
        for other in others:
            base = (TEXT.tokens("c", start, start + 1) + other) % 4
            pairs.append((reference, replace(reference, source=Haplotype(source, "c", start, start + 1, base))))
    return [(ref, replace(alt, base=ref)) for ref, alt in pairs]


def flat(pairs: Sequence[tuple[Request, Request]]) -> list[Request]:
    return [request for pair in pairs for request in pair]


def matters(engine: Engine, pairs: Sequence[tuple[Request, Request]]) -> None:
    """What the engine gives is what whole windows give, and every allele changes it."""
    found = [x["splice"] for x in engine.evaluate(flat(pairs))]
    whole = Engine(engine.package, device="cpu", threads=1, precision="fp64", mode="valid")
    for one, other in zip(found, whole.evaluate(flat(pairs)), strict=True):
        np.testing.assert_allclose(one, other["splice"], rtol=0, atol=1e-10)
    assert min(np.abs(ref - alt).max() for ref, alt in zip(found[::2], found[1::2], strict=True)) > 1e-3


@pytest.mark.parametrize("strand", "+-")
def test_a_stretch_of_reference_is_run_once_and_changes_only_where_they_are_seen(strand: str, runs: Runs) -> None:
    starts = [100, 103, 107, 110, 120]
    pairs, engine = snvs(starts, strand), delta()
    engine.evaluate(flat(pairs))
    assert runs.references == [starts[-1] - starts[0] + WINDOW]
    (windows,) = runs.altered
    assert [x.size for x in windows.tokens] == [1] * len(starts)
    assert sorted(windows.offsets) == sorted(starts[-1] - x if strand == "-" else x - starts[0] for x in starts)
    assert not runs.whole
    engine.evaluate([alt for _, alt in pairs])
    assert len(runs.references) == len(runs.altered) == 1, "all is remembered"
    matters(engine, pairs)


def test_references_far_apart_are_stretches_of_their_own(runs: Runs) -> None:
    pairs, engine = snvs([50, 52, 250, 255]), delta()
    engine.evaluate(flat(pairs))
    assert runs.references == [WINDOW + 2, WINDOW + 5]
    matters(engine, pairs)


@pytest.mark.parametrize("members", [1, 3])
def test_all_alleles_of_a_site_share_its_reference(members: int, runs: Runs) -> None:
    pairs, engine = snvs([100], others=(1, 2, 3)), delta(members)
    engine.evaluate(flat(pairs))
    assert runs.references == [WINDOW] * members
    assert [len(x.lengths) for x in runs.altered] == [3] * members
    assert not runs.whole
    matters(engine, pairs)


def test_transcripts_of_equal_bounds_share_and_others_do_not(runs: Runs) -> None:
    """Of masks with the same bounds all is one; another mask is another reference."""
    one, same, other = (Masked(TEXT, "c", 60, end) for end in (130, 130, 110))
    pairs = [*snvs([100], source=one), *snvs([100], source=same)]
    engine = delta()
    engine.evaluate(flat(pairs))
    assert runs.references == [WINDOW]
    assert [len(x.lengths) for x in runs.altered] == [1]
    engine.evaluate(flat(snvs([100], source=other)))
    assert runs.references == [WINDOW, WINDOW]
    matters(delta(), [*pairs, *snvs([100], source=other)])


def test_little_memory_makes_short_stretches(runs: Runs) -> None:
    pairs = snvs(range(50, 350, 8))
    found = {}
    for memory in (120_000, 10**9):
        runs.references.clear()
        engine = delta(memory=memory)
        engine.evaluate(flat(pairs))
        found[memory] = list(runs.references)
        assert max(runs.references) <= max(engine.longest_stretch, WINDOW)
        matters(engine, pairs)
    assert len(found[10**9]) == 1
    assert len(found[120_000]) > 1


def test_the_order_of_the_requests_decides_no_byte() -> None:
    pairs = snvs([80, 84, 100, 120, 125, 210, 300, 301])
    first, engine = {}, delta()
    for request, values in zip(flat(pairs), engine.evaluate(flat(pairs)), strict=True):
        first[id(request)] = values["splice"]
    shuffled = [flat(pairs)[i] for i in np.random.default_rng(0).permutation(2 * len(pairs))]
    engine.forget()
    for request, values in zip(shuffled, engine.evaluate(shuffled), strict=True):
        np.testing.assert_array_equal(values["splice"], first[id(request)])
