"""The mean over strands and shifts is what it is by hand: real bases at the edges, tracks put back, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from asking import TOKENS, counted, engine_of, on
from toys import package_of

from basecast.genome.sequence import N, reverse_complement
from basecast.genome.source import Haplotype, Text
from basecast.inference.request import Request
from basecast.inference.views import Views, evaluate
from basecast.zoo.package import Package

START, END = 400, 480
PAIRED = (1, 0, 2)  # plus, minus, both
BOTH = Views(reverse_complement=True)


@pytest.fixture(scope="module")
def package() -> Package:
    """Bins of 4 bases, of which one sees 3 before and 4 after itself, and a head that leaves out one at each end."""
    return package_of("toy_binned")


def plain(package: Package, tokens: np.ndarray, strand: str) -> np.ndarray:
    """What the network alone gives of the bases of [START, END), with what it sees: bins in the order of the contig."""
    low, high = START - 8, END + 8  # two bins: what the head leaves out, and what its shift would wrap around
    left, right = (3, 4) if strand == "+" else (4, 3)
    seen = tokens[low - left : high + right]
    seen = reverse_complement(seen) if strand == "-" else seen
    one_hot = torch.eye(5, dtype=torch.float64)[torch.from_numpy(seen.astype(np.int64))][:, :4].T[None]
    values = torch.nn.functional.softplus(package.network.double()(one_hot))[0].T.numpy()
    if strand == "-":
        values = np.roll(values[:, PAIRED][::-1], 1, axis=0)
    package.network.float()
    return values[1:-1]


def shifted(tokens: np.ndarray, shift: int) -> np.ndarray:
    """The bases ``shift`` to the right of where they were; all that is asked for has real ones."""
    return np.roll(tokens, shift)


@pytest.mark.parametrize(
    ("views", "seen"),
    [
        (Views(), [("+", 0)]),
        (BOTH, [("+", 0), ("-", 0)]),
        (Views(shifts=(1, 0, -1)), [("+", 1), ("+", 0), ("+", -1)]),
        (
            Views(reverse_complement=True, shifts=(0, 3, -2)),
            [(s, shift) for shift in (0, 3, -2) for s in "+-"],
        ),
    ],
    ids=["one", "strands", "shifts", "all"],
)
def test_the_mean_over_views_by_hand(views: Views, seen: list[tuple[str, int]], package: Package) -> None:
    (found,) = evaluate(engine_of(package, precision="fp64"), [on(START, END)], views)
    each = [plain(package, shifted(TOKENS, shift), strand) for strand, shift in seen]
    np.testing.assert_allclose(found["coverage"], np.mean(each, axis=0), rtol=0, atol=1e-12)
    assert all(np.abs(each[0] - other).max() > 1e-3 for other in each[1:])


def test_strands_swap_their_tracks(package: Package) -> None:
    """Of a sequence read on both strands, its reverse complement gives the same bins backwards, strands exchanged."""
    engine = engine_of(package, precision="fp64")
    there = on(len(TOKENS) - END, len(TOKENS) - START, tokens=reverse_complement(TOKENS))
    here, turned = (found["coverage"] for found in evaluate(engine, [on(START, END), there], BOTH))
    # the toy's convention moves the bins of the minus strand by one: compare what both have
    np.testing.assert_allclose(turned[::-1][:, PAIRED][:-1], here[1:], rtol=0, atol=1e-12)
    assert np.abs(here[:, 0] - here[:, 1]).max() > 1e-3


@pytest.mark.parametrize("chosen", [[0], [1], [2], [2, 0], [1, 0, 2]], ids=str)
def test_a_track_without_its_partner(chosen: list[int], package: Package) -> None:
    engine = engine_of(package, precision="fp64")
    (whole,) = evaluate(engine, [on(START, END)], BOTH)
    (some,) = evaluate(engine, [on(START, END)], BOTH, ["coverage"], {"coverage": chosen})
    np.testing.assert_allclose(some["coverage"], whole["coverage"][:, chosen], rtol=0, atol=1e-12)


def test_real_bases_come_in_and_what_is_beyond_the_contig_is_n(package: Package) -> None:
    engine = engine_of(package, precision="fp64")
    ended = TOKENS[: END + 3]
    right, left = Views(shifts=(2,)), Views(shifts=(-2,))
    (within,) = evaluate(engine, [on(START, END)], right)
    (cut,) = evaluate(engine, [on(START, END, tokens=ended)], right)
    np.testing.assert_array_equal(within["coverage"][:-4], cut["coverage"][:-4])
    padded = np.concatenate([ended, np.full(40, N, np.uint8)])
    (moved,) = evaluate(engine, [on(START, END, tokens=ended)], left)
    (known,) = evaluate(engine, [on(START, END, tokens=np.roll(padded, -2))], Views())
    np.testing.assert_allclose(moved["coverage"], known["coverage"], rtol=0, atol=1e-12)
    (real,) = evaluate(engine, [on(START, END)], left)
    assert np.abs(moved["coverage"] - real["coverage"])[-2:].max() > 1e-3, "the end is seen"


def test_the_mean_is_taken_in_double_precision(package: Package) -> None:
    engine, views = engine_of(package), Views(reverse_complement=True, shifts=tuple(range(-3, 4)))
    (found,) = evaluate(engine, [on(START, END)], views)
    each = [one["coverage"] for one in engine.evaluate(views.of(on(START, END)))]
    assert found["coverage"].dtype == np.float32
    np.testing.assert_array_equal(found["coverage"], np.mean(each, axis=0, dtype=np.float64).astype(np.float32))


def test_each_request_has_its_own_mean(package: Package) -> None:
    engine = engine_of(package, precision="fp64")
    requests = [on(START, END), on(100, 140, "-"), on(40, 48)]
    together = evaluate(engine, requests, BOTH)
    for request, found in zip(requests, together, strict=True):
        (alone,) = evaluate(engine, [request], BOTH)
        np.testing.assert_allclose(found["coverage"], alone["coverage"], rtol=0, atol=1e-12)
    assert [len(found["coverage"]) for found in together] == [20, 10, 2]


def test_an_altered_sequence_has_the_views_of_its_base(package: Package) -> None:
    """And the views of a reference that several are compared with are computed once."""
    text: Any = Text(TOKENS)
    reference = Request(text, "sequence", START, END)
    letters = [np.array([(TOKENS[440] + i) % 4], np.uint8) for i in (1, 2, 3)]
    altered = [
        Request(Haplotype(text, "sequence", 440, 441, letter), "sequence", START, END, base=reference)
        for letter in letters
    ]
    engine = engine_of(package, precision="fp64")
    with pytest.MonkeyPatch.context() as patch:
        batches = counted(patch)
        values = evaluate(engine, [reference, *altered, reference], Views(reverse_complement=True, shifts=(0, 1)))
    assert sum(batches) == 4 * 4
    for letter, found in zip(letters, values[1:4], strict=True):
        tokens = TOKENS.copy()
        tokens[440] = letter[0]
        each = [plain(package, shifted(tokens, shift), strand) for shift in (0, 1) for strand in "+-"]
        np.testing.assert_allclose(found["coverage"], np.mean(each, axis=0), rtol=0, atol=1e-12)
    assert np.abs(values[1]["coverage"] - values[0]["coverage"]).max() > 1e-4


def test_at_least_one_shift() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Views(shifts=())
