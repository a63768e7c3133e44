"""Each window is run once, what is remembered is bounded, and a batch that does not fit is halved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import TOKENS, counted, engine_of, on, values
from toys import Signal, package_of, request_of

from basecast.errors import OutOfMemoryError
from basecast.genome.sequence import encode, reverse_complement
from basecast.genome.source import Haplotype, Masked, Text
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.runner import Runner
from basecast.inference.windows import Windows


def test_equal_windows_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("spliceai")
    batches = counted(monkeypatch)
    engine = engine_of(package)
    first = engine.evaluate([on(100, 200)] * 5 + [on(300, 400)])
    assert batches == [2]
    again = engine.evaluate([on(300, 400), on(100, 200)])
    assert batches == [2]
    np.testing.assert_array_equal(again[1]["splice"], first[0]["splice"])
    np.testing.assert_array_equal(again[0]["splice"], first[5]["splice"])
    assert np.abs(first[0]["splice"] - first[5]["splice"]).max() > 1e-3
    elsewhere = Masked(Text(np.roll(TOKENS, 50)), "sequence", 0, 4000)
    engine.evaluate([Request(elsewhere, "sequence", 150, 250)])
    assert batches == [2], "the same bases of another source are the same window"


def test_a_window_and_its_reverse_complement_are_one_on_opposite_strands(monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("spliceai")
    batches = counted(monkeypatch)
    there = on(4000 - 200, 4000 - 100, "-", reverse_complement(TOKENS))
    plus, minus = (found["splice"] for found in engine_of(package).evaluate([on(100, 200), there]))
    assert batches == [1]
    np.testing.assert_array_equal(minus, plus[::-1])


def test_other_tracks_and_conditions_are_other_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("toy_mixing")
    batches = counted(monkeypatch)
    engine = engine_of(package)
    human = request_of(package, Text(TOKENS), 512, 1024)
    mouse = request_of(package, Text(TOKENS), 512, 1024, conditions={"organism": "mouse"})
    first, second = engine.evaluate([human, mouse], ["coverage"])
    assert batches == [2]
    assert np.abs(first["coverage"] - second["coverage"]).max() > 1e-3
    engine.evaluate([human], ["coverage"], {"coverage": [2]})
    assert batches == [2, 1]


def test_another_input_track_over_the_same_bases_is_another_window() -> None:
    package = package_of("toy_track")
    engine = engine_of(package)
    found = [
        engine.evaluate([on(100, 150, tracks={"conservation": Signal(np.full((2, 4000), level))})])[0]["rate"]
        for level in (0.0, 1.0, 2.0, 0.0)  # each request is gone before the next is made
    ]
    assert min(np.abs(found[i] - found[i + 1]).max() for i in range(3)) > 1e-3
    np.testing.assert_array_equal(found[0], found[3])


def test_what_is_remembered_is_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("spliceai")
    batches = counted(monkeypatch)
    one = 1000 * 3 * 4  # bytes of one window's values
    engine = engine_of(package, memory=8 * 3 * one)
    requests = [on(start, start + 1000) for start in range(0, 2500, 500)]
    engine.evaluate(requests)
    ran = sum(batches)
    assert ran == 5
    for kept in requests[2:]:
        engine.evaluate([kept])
    assert sum(batches) == 5, "the last three are remembered"
    engine.evaluate([requests[0]])
    assert sum(batches) == 6, "the first is not"
    remembered = [array for found in engine._remembered._values.values() for array in found.values()]
    assert sum(array.nbytes for array in remembered) == 3 * one
    assert all(array.base is None for array in remembered), "no view keeps a whole batch alive"


def test_changing_an_answer_does_not_change_what_is_remembered() -> None:
    engine = engine_of(package_of("spliceai"))
    first, twin = (found["splice"] for found in engine.evaluate([on(100, 200)] * 2))
    kept = first.copy()
    first *= 0
    np.testing.assert_array_equal(twin, kept)
    np.testing.assert_array_equal(values(engine, on(100, 200)), kept)
    assert kept.max() > 0.1


def test_batches_of_several_lengths_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [on(start, start + length) for start, length in ((0, 5), (10, 700), (20, 5), (-30, 60), (3990, 50))]
    package = package_of("spliceai")
    batches = counted(monkeypatch)
    many = engine_of(package, precision="fp64").evaluate(requests)
    assert batches == [2, 1, 1, 1]
    batches.clear()
    few = engine_of(package, precision="fp64", memory=1).evaluate(requests)
    assert batches == [1] * 5
    for request, found, other in zip(requests, many, few, strict=True):
        assert found["splice"].shape == (request.end - request.start, 3)
        np.testing.assert_allclose(found["splice"].sum(1), 1)
        np.testing.assert_allclose(found["splice"], other["splice"], rtol=0, atol=1e-12)


class Greedy:
    """Fails like a device whose memory holds ``most`` windows."""

    def __init__(self, engine: Engine, most: int, error: Callable[[], BaseException]) -> None:
        self.tried: list[int] = []
        forward = engine._forward

        def limited(batch: list[Any], *rest: Any) -> Any:
            self.tried.append(len(batch))
            if len(batch) > most:
                raise error()
            return forward(batch, *rest)

        engine._forward = limited  # type: ignore[method-assign]


def cpu_allocation_error() -> BaseException:
    try:
        torch.empty(2**55)
    except RuntimeError as error:
        return error
    raise AssertionError("there is that much memory")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, cpu_allocation_error])
def test_a_batch_that_does_not_fit_is_halved(error: Callable[[], BaseException]) -> None:
    package = package_of("spliceai")
    requests = [on(start, start + 100) for start in range(0, 1100, 100)]
    expected = engine_of(package, precision="fp64").evaluate(requests)
    engine = engine_of(package, precision="fp64")
    greedy = Greedy(engine, 3, error)
    found = engine.evaluate(requests)
    assert greedy.tried == [11, 5, 2, 2, 1, 2, 2, 1, 1]
    assert engine.largest_batch == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["splice"], other["splice"], rtol=0, atol=1e-12)
    assert np.ptp([one["splice"] for one in found], axis=0).max() > 1e-3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, cpu_allocation_error])
def test_out_of_memory_at_batch_1(error: Callable[[], BaseException]) -> None:
    engine = engine_of(package_of("spliceai"))
    Greedy(engine, 0, error)
    with pytest.raises(OutOfMemoryError, match="one window of 144 bases does not fit cpu") as caught:
        engine.evaluate([on(0, 100)])
    assert caught.value.exit_code == 137


def test_other_errors_are_not_taken_for_memory() -> None:
    engine = engine_of(package_of("spliceai"))
    greedy = Greedy(engine, 0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        engine.evaluate([on(0, 100), on(100, 200)])
    assert greedy.tried == [2]


def altered_requests() -> list[Request]:
    """A reference and two alleles of it."""
    reference = on(100, 200)
    alleles = [Haplotype(reference.source, "sequence", 150, 151, encode(bases)) for bases in ("GG", "")]
    return [reference, *(replace(reference, source=allele, base=reference) for allele in alleles)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, cpu_allocation_error])
@pytest.mark.parametrize("what", ["reference", "embedding"])
def test_altered_windows_are_run_whole_where_their_stretch_does_not_fit(
    what: str, error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    package, requests = package_of("spliceai", members=2), altered_requests()
    expected = engine_of(package, precision="fp64", mode="valid").evaluate(requests)
    batches = counted(monkeypatch)
    failed: list[Windows] = []
    run = getattr(Runner, what)

    def limited(self: Runner, *given: Any) -> Any:
        if what == "embedding" and len(given) == 1:  # whole windows fit
            return run(self, *given)
        failed.append(given[0])
        raise error()

    monkeypatch.setattr(Runner, what, limited)
    engine = engine_of(package, precision="fp64")
    found = engine.evaluate(requests)
    assert len(failed) == 2 * 2, "of each member: two altered windows together, then one"
    assert batches == [1, 1, 1]
    assert engine.largest_batch == 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["splice"], other["splice"], rtol=0, atol=1e-12)
    assert min(np.abs(expected[0]["splice"] - other["splice"]).max() for other in expected[1:]) > 1e-3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, cpu_allocation_error])
def test_altered_windows_that_do_not_fit_are_halved_too(
    error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    package, reference = package_of("spliceai"), on(100, 200)
    alleles = [Haplotype(reference.source, "sequence", at, at + 1, encode("GG")) for at in range(140, 151)]
    requests = [reference, *(replace(reference, source=allele, base=reference) for allele in alleles)]
    expected = engine_of(package, precision="fp64", mode="valid").evaluate(requests)
    batches, tried, run = counted(monkeypatch), [], Runner.embedding

    def limited(self: Runner, windows: Windows, *levels: Any) -> Any:
        tried.append(len(windows.lengths))
        if len(windows.lengths) > 3:
            raise error()
        return run(self, windows, *levels)

    monkeypatch.setattr(Runner, "embedding", limited)
    engine = engine_of(package, precision="fp64")
    found = engine.evaluate(requests)
    assert tried == [10, 5, 2, 2, 2, 2, 2]  # two alleles are one
    assert batches == [], "none is run whole"
    assert engine.batch_was_halved
    assert engine.largest_batch == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["splice"], other["splice"], rtol=0, atol=1e-12)
    assert min(np.abs(expected[0]["splice"] - other["splice"]).max() for other in expected[1:]) > 1e-3


def test_other_errors_of_a_stretch_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Runner, "reference", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        engine_of(package_of("spliceai")).evaluate(altered_requests())
