from __future__ import annotations

import gc
import itertools
import random
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest

from basecast.effects import cut
from basecast.effects.cut import Cut
from basecast.genome.variants import VariantRecord

WINDOW = 1000
CUT = Cut(bases=20_000, window=WINDOW, records=100, span=500)
IN_A_PIPE = CUT.model_copy(update={"span": 0})


def records(places: Sequence[tuple[str, int]], line: bytes = b"line") -> list[VariantRecord]:
    return [VariantRecord(i, contig, start, "A", ("C",), line) for i, (contig, start) in enumerate(places, 1)]


def sorted_places(n: int = 2000, seed: int = 0) -> list[tuple[str, int]]:
    rng = random.Random(seed)
    return sorted((f"c{rng.randrange(3)}", rng.randrange(30_000)) for _ in range(n))


def shuffled_places(n: int = 2000, seed: int = 0) -> list[tuple[str, int]]:
    places = sorted_places(n, seed)
    random.Random(seed).shuffle(places)
    return places


def spans_of(made: Cut, found: Sequence[VariantRecord]) -> list[list[list[VariantRecord]]]:
    """The spans, which must hold every record once, consecutive ones together, and no shard too much."""
    spans = list(made.spans(iter(found)))
    numbers = [sorted(x.number for shard in span for x in shard) for span in spans]
    assert list(itertools.chain(*numbers)) == [x.number for x in found]
    assert all(0 < len(shard) <= made.records for span in spans for shard in span)
    return spans


def bases_of(shards: Sequence[Sequence[VariantRecord]]) -> int:
    """Bases of reference that windows cover, shard by shard."""
    return sum(len({(x.contig, base) for x in shard for base in range(x.start, x.start + WINDOW)}) for shard in shards)


def test_a_sorted_file_is_cut_as_it_comes() -> None:
    found = records(sorted_places())
    spans = spans_of(CUT, found)
    assert all(len(span) == 1 for span in spans)
    assert [x for span in spans for shard in span for x in shard] == found
    assert len(spans) > 20
    assert spans == spans_of(IN_A_PIPE, found)


@pytest.mark.parametrize("places", [sorted_places(), [("a", 5), ("b", 3), ("a2", 1)]], ids=["many", "few"])
def test_a_sorted_file_streams(places: list[tuple[str, int]]) -> None:
    """No more is read than the shards that are given."""
    read: list[VariantRecord] = []
    n_given = 0
    for _, shard in CUT.shards(x for x in records(places) if not read.append(x)):  # type: ignore[func-returns-value]
        n_given += len(shard)
        assert n_given == len(read)
    assert n_given == len(places)


@pytest.mark.parametrize("made", [CUT, CUT.model_copy(update={"bases": 10**9}), CUT.model_copy(update={"records": 7})])
def test_a_shuffled_file_is_put_in_order_a_span_at_a_time(made: Cut) -> None:
    spans = spans_of(made, records(shuffled_places()))
    assert sum(len(shard) for shard in spans[0]) == made.span
    for span in spans:
        places = [(x.contig, x.start, x.number) for shard in span for x in shard]
        assert places == sorted(places)


def test_what_is_shared_depends_little_on_the_order() -> None:
    bases = {}
    for name, places in (("sorted", sorted_places()), ("shuffled", shuffled_places())):
        shards = [shard for span in spans_of(CUT.model_copy(update={"span": 2000}), records(places)) for shard in span]
        bases[name] = bases_of(shards)
    apart = bases_of([shard for span in spans_of(IN_A_PIPE, records(shuffled_places())) for shard in span])
    assert bases["shuffled"] < 1.1 * bases["sorted"]
    assert apart > 5 * bases["shuffled"]


def test_files_one_after_the_other_are_put_together() -> None:
    """Each is sorted and fills some shards: all but the first are behind what was there."""
    panel = sorted_places(60)
    spans = spans_of(CUT, records(panel * 20))
    mixed = [span for span in spans if len(span) > 1]
    assert sum(len(shard) for span in mixed for shard in span) > 18 * 60
    assert all(len({x.start for x in shard}) < len(shard) / 4 for shard in mixed[0])


def test_a_contig_that_comes_again_is_behind() -> None:
    (span,) = spans_of(CUT, records([("a", 1), ("b", 2), ("a", 3), ("b", 4)]))
    assert [x.number for shard in span for x in shard] == [1, 3, 2, 4]
    (span,) = spans_of(CUT, records([("b", 9), ("a", 2), ("a", 3), ("c", 1)]))
    assert [x.number for shard in span for x in shard] == [1, 2, 3, 4]


def test_through_a_pipe_nothing_waits_for_what_follows() -> None:
    found = records(shuffled_places())
    spans = spans_of(IN_A_PIPE, found)
    assert all(len(span) == 1 for span in spans)
    assert [x for span in spans for shard in span for x in shard] == found


def test_shards_are_numbered_and_travel_without_lines() -> None:
    found = records(shuffled_places())
    numbers, shards = zip(*CUT.shards(iter(found)), strict=True)
    assert numbers == tuple(range(len(shards)))
    assert sorted((x.number, x.contig, x.start, x.ref, x.alts, x.line) for shard in shards for x in shard) == [
        (x.number, x.contig, x.start, x.ref, x.alts, b"") for x in found
    ]


@pytest.mark.parametrize("places", [sorted_places(), shuffled_places()], ids=["sorted", "shuffled"])
def test_long_lines_make_small_spans(places: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "_HELD", 1_000_000)
    large = Cut(bases=10**9, window=WINDOW, records=10**6, span=10**6)
    spans = spans_of(large, records(places, b"x" * 100_000))
    assert max(sum(len(shard) for shard in span) for span in spans) == 10


def test_memory_does_not_grow_with_the_file() -> None:
    def many(n: int) -> Iterator[VariantRecord]:
        rng = random.Random(0)
        return (
            VariantRecord(i, f"c{i % 3}", rng.randrange(10**8), "A", ("C",), b"x" * (100 + i % 7))
            for i in range(1, n + 1)
        )

    peaks = []
    for n in (5_000, 25_000):
        gc.collect()
        tracemalloc.start()
        made = CUT.model_copy(update={"span": 2_000})
        assert sum(len(shard) for _, shard in made.shards(many(n))) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]  # of five times as many
