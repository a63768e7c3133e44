"""Models of bins and of whole windows: what is computed, in which batches, and from which windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toys
from asking import TOKENS, counted, engine_of, on
from torch import Tensor
from toys import package_of, request_of

from basecast.genome.source import Haplotype, Text
from basecast.inference.engine import Engine
from basecast.inference.request import Request
from basecast.inference.tiling import tiles
from basecast.zoo.package import Package


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The heads that mixing's network computes, and how many tracks of each."""
    found: list[tuple[str, int]] = []
    pick = toys.pick

    def noted(head: torch.nn.Conv1d, chosen: Tensor | None, embedding: Tensor) -> Tensor:
        logits = pick(head, chosen, embedding)
        found.append((names[id(head)], logits.shape[1]))
        return logits

    monkeypatch.setattr(toys, "pick", noted)
    names: dict[int, str] = {}
    load = Engine.__init__

    def loaded(self: Engine, *given: Any, **options: Any) -> None:
        load(self, *given, **options)
        for member in self._members.each:
            for name in ("splice", "coverage", "contacts", "junctions"):
                names[id(getattr(member.network, name))] = name

    monkeypatch.setattr(Engine, "__init__", loaded)
    return found


def mixing_request(package: Package, start: int, end: int) -> Request:
    return request_of(package, Text(TOKENS), start, end)


def test_what_is_not_asked_for_is_not_computed(computed: list[tuple[str, int]]) -> None:
    package = package_of("toy_mixing")
    engine = engine_of(package)
    request = mixing_request(package, 512, 1024)
    engine.evaluate([request], ["coverage"], {"coverage": [2]})
    assert computed == [("coverage", 1)]
    computed.clear()
    engine.evaluate([request], ["contacts", "coverage"], {"coverage": [0, 1], "contacts": [1]})
    assert sorted(computed) == [("contacts", 1), ("coverage", 2)]
    computed.clear()
    engine.evaluate([request])
    assert dict(computed) == {"splice": 2, "coverage": 3, "contacts": 2, "junctions": 1}


def test_a_reference_is_run_once_for_all_that_alter_it(monkeypatch: pytest.MonkeyPatch) -> None:
    package = package_of("toy_mixing")
    batches = counted(monkeypatch)
    text = Text(TOKENS)
    reference = mixing_request(package, 512, 1024)
    requests = []
    for at in range(600, 660, 10):
        edited = Haplotype(text, "sequence", at, at + 1, np.array([(TOKENS[at] + 1) % 4], np.uint8))
        requests += [reference, replace(reference, source=edited, base=reference)]
    engine = engine_of(package, memory=1 << 32)
    found = engine.evaluate(requests, ["coverage"])
    assert sum(batches) == 7
    assert max(batches) > 1, "windows of one length run together"
    alone = [engine_of(package).evaluate([request], ["coverage"])[0] for request in requests[:4]]
    for one, together in zip(alone, found, strict=False):
        np.testing.assert_allclose(one["coverage"], together["coverage"], rtol=0, atol=1e-6)
    assert np.abs(found[1]["coverage"] - found[0]["coverage"]).max() > 1e-5


@pytest.mark.parametrize("threads", [1, 4])
def test_the_batch_follows_what_the_network_says_of_its_memory(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers alive a base, four bytes each; all that threads run at once is within half of the memory."""
    package, window, alive = package_of("toy_mixing"), 768, 100.0
    requests = [mixing_request(package, start, start + 512) for start in range(256, 3000, 128)]
    monkeypatch.setattr(toys.Mixing, "activations_a_base", alive)
    sizes: dict[int, int] = {}
    for fits in (1, 3, 8):
        memory = int(2 * fits * alive * 4 * window) + 1
        with monkeypatch.context() as patch:
            batches = counted(patch)
            engine = engine_of(package, memory=memory, threads=threads)
            engine.evaluate(requests, ["coverage"])
        sizes[fits] = max(batches) * engine._pool.n
    assert sizes[1] == 1
    assert 1 < sizes[3] <= 3
    assert sizes[3] <= sizes[8] <= 8


def test_a_network_that_says_nothing_is_taken_by_its_widest_layer() -> None:
    package = package_of("toy_mixing")
    told = engine_of(package, memory=1 << 30)._members.bytes_a_base
    assert package.network.activations_a_base is None
    assert told >= 4 * 64


@pytest.mark.parametrize(("family", "memory"), [("toy_binned", None), ("toy_binned", 3_000_000), ("basenji", None)])
def test_a_tile_is_whole_bins(family: str, memory: int | None) -> None:
    package = package_of(family)
    engine = engine_of(package, memory=memory)
    bins = package.spec.outputs[0].resolution
    assert engine.longest_tile % bins == 0
    assert engine_of(package, tile=3).longest_tile == bins
    assert engine_of(package, tile=8 * bins + 1).longest_tile == 8 * bins


def test_tiles_of_bins_leave_no_seam() -> None:
    package = package_of("toy_binned")
    whole = engine_of(package, precision="fp64").evaluate([on(400, 800)])[0]["coverage"]
    for tile in (4, 20, 100):
        cut = engine_of(package, precision="fp64", tile=tile).evaluate([on(400, 800)])[0]["coverage"]
        np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-12)
    shifted = engine_of(package, precision="fp64").evaluate([on(401, 801)])[0]["coverage"]
    assert np.abs(shifted - whole).max() > 1e-3, "bins begin where they are asked for"


def test_every_bin_of_a_contig_is_seen_from_within_a_window() -> None:
    """No nearer to its end than what is cropped, in windows of a length that is allowed."""
    package = package_of("toy_mixing")
    reach = package.spec.reach
    engine = engine_of(package)
    assert engine.longest_tile == 1024 - 2 * 128
    found = tiles(package.spec, 0, 4096, engine.longest_tile)
    seen = np.zeros(4096, int)
    for tile in found:
        assert tile.window_end - tile.window_start in reach.lengths  # type: ignore[union-attr]
        assert min(tile.start - tile.window_start, tile.window_end - tile.end) >= 128
        seen[tile.start : tile.end] += 1
    assert (seen == 1).all()
    request = mixing_request(package, 0, 4096 - 4096 % 128)
    values = engine.evaluate([request], ["coverage"])[0]["coverage"]
    (alone,) = engine.evaluate([mixing_request(package, 768, 1536)], ["coverage"])
    np.testing.assert_array_equal(values[6:12], alone["coverage"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_values_are_single_precision_whatever_they_are_computed_in(precision: str) -> None:
    """On a CPU, where autocast is the same word."""
    package = package_of("toy_binned", seed=1)
    found = {p: engine_of(package, precision=p).evaluate([on(400, 800)])[0]["coverage"] for p in ("fp32", precision)}
    assert found[precision].dtype == np.float32
    np.testing.assert_allclose(found[precision], found["fp32"], atol=0.05)
    assert (precision == "bf16") == (np.abs(found[precision] - found["fp32"]).max() > 1e-5)
