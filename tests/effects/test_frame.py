"""Where bins lie: a variant in its window, alleles of two lengths on the same bases, genes on their bins."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import Contigs, annotation, exact, gene, random_letters
from toys import package_of
from windowed import CROP, LENGTH

from basecast.effects.alleles import smallest_edit
from basecast.effects.frame import Frame, Pair, bins_of, first_base
from basecast.errors import UsageError
from basecast.genome.sequence import decode
from basecast.spec import WindowReach

LETTERS = random_letters(np.random.default_rng(3), 1200)
LOCAL, WINDOWED = package_of("toy_binned").spec, package_of("toy_windowed").spec


def test_a_window_has_the_variant_where_basenji_s_have_it() -> None:
    """The last base of the first half; the bins are those that the window gives."""
    frame = Frame.of(WINDOWED, None)
    assert (frame.window, frame.bases) == (LENGTH, LENGTH - 2 * CROP)
    start = frame.start(smallest_edit(600, "A", "C"))
    assert start - CROP == 600 - LENGTH // 2 + 1
    pair = Pair.of(Contigs(c=LETTERS), "c", 0, smallest_edit(600, LETTERS[600], "N"), frame)  # type: ignore[arg-type]
    windows = [seen for request in pair.requests for seen in _shown(request)]
    assert windows[0] == LETTERS[600 - 127 : 600 + 129]
    assert windows[1] == windows[0][:127] + "N" + windows[0][128:]


def _shown(request) -> list[str]:  # type: ignore[no-untyped-def]
    from basecast.inference.tiling import tiles

    return [
        decode(request.source.tokens("c", tile.window_start, tile.window_end))
        for tile in tiles(WINDOWED, request.start, request.end, 10**6)
    ]


def test_a_span_chooses_the_window() -> None:
    assert Frame.of(WINDOWED, 60).window == 128
    assert Frame.of(WINDOWED, 65).window == LENGTH
    with pytest.raises(UsageError, match=r"span of 193 is more than .* gives: 192 at most \(--span 192\)"):
        Frame.of(WINDOWED, 193)
    free = WINDOWED.model_copy(update={"reach": WindowReach(multiple_of=64, crop=CROP)})
    assert Frame.of(free, 1000).window == 1088
    with pytest.raises(UsageError, match="--span"):
        Frame.of(free, None)


def test_a_local_model_compares_all_bins_that_see_the_variant() -> None:
    """By default; they lie on multiples of the bin, so that variants of one bin share REF."""
    frame = Frame.of(LOCAL, None)
    assert {frame.start(smallest_edit(at, "A", "C")) for at in range(600, 604)} == {600 - frame.before}
    assert frame.bases % 4 == 0
    engine, contigs = exact(package_of("toy_binned")), Contigs(c=LETTERS)
    wider = Frame.of(LOCAL, 80)
    assert wider.bases == 84
    for at in range(600, 606):
        edit = smallest_edit(at, LETTERS[at], "ACGT"[("ACGT".index(LETTERS[at]) + 1) % 4])
        changed = []
        for one in (frame, wider):
            pair = Pair.of(contigs, "c", 0, edit, one)  # type: ignore[arg-type]
            ref, alt = pair.aligned([values["coverage"] for values in engine.evaluate(pair.requests)], 4)
            changed.append(np.flatnonzero((abs(ref - alt) > 1e-9).any(axis=1)) * 4 + pair.start)
        assert changed[0].size
        np.testing.assert_array_equal(*changed)


def test_an_indel_of_an_allele_that_has_a_base_less() -> None:
    deletion, insertion = smallest_edit(600, "AC", "A"), smallest_edit(600, "A", "AC")
    frame = Frame.of(WINDOWED, None)
    assert frame.start(deletion) == frame.start(insertion) == frame.start(smallest_edit(600, "A", "C"))


@pytest.mark.parametrize("name", ["toy_binned", "toy_windowed"])
@pytest.mark.parametrize(("ref", "alt"), [(1, 2), (1, 7), (1, 30), (3, 9), (2, 12), (4, 4)])
def test_an_insertion_is_its_deletion_turned_round(name: str, ref: int, alt: int) -> None:
    """To the bit: on a genome with the one allele and on one with the other, REF and ALT only change their places."""
    rng = np.random.default_rng(ref * 100 + alt)
    short, long = LETTERS[600 : 600 + ref], random_letters(rng, alt)
    long = LETTERS[600] + long[1:]
    package = package_of(name)
    output = package.spec.outputs[0]
    frame = Frame.of(package.spec, None if name == "toy_windowed" else 60)
    both = []
    for here, there in ((short, long), (long, short)):
        contigs = Contigs(c=LETTERS[:600] + here + LETTERS[600 + ref :])
        pair = Pair.of(contigs, "c", 0, smallest_edit(600, here, there), frame)  # type: ignore[arg-type]
        engine = exact(package)
        both.append(pair.aligned([v[output.name] for v in engine.evaluate(pair.requests)], output.resolution))
    (ref_there, alt_there), (ref_back, alt_back) = both
    np.testing.assert_allclose(ref_there, alt_back, atol=1e-12)
    np.testing.assert_allclose(alt_there, ref_back, atol=1e-12)
    assert not np.allclose(ref_there, alt_there, atol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 12, 17])
@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_beyond_the_model_s_sight_an_indel_changes_nothing(kind: str, size: int) -> None:
    """Whatever its length: bins on both sides stand over the same bases of both alleles."""
    package = package_of("toy_binned")
    contigs, frame = Contigs(c=LETTERS), Frame.of(package.spec, 100)
    ref, alt = LETTERS[600 : 601 + size], LETTERS[600] + random_letters(np.random.default_rng(size), size)
    edit = smallest_edit(600, ref, ref[0]) if kind == "deletion" else smallest_edit(600, ref[0], alt)
    pair = Pair.of(contigs, "c", 0, edit, frame)  # type: ignore[arg-type]
    values = exact(package).evaluate(pair.requests)
    found, other = pair.aligned([v["coverage"] for v in values], 4)
    differs = np.flatnonzero((abs(found - other) > 1e-9).any(axis=1)) * 4 + pair.start
    assert differs.size
    assert 588 <= differs.min() <= differs.max() < 612 + size
    lost = found if kind == "insertion" else other
    starts = pair.start + 4 * np.arange(len(lost))
    first = edit.start  # 600 or 601, by the letters
    inside = (starts >= first) & (starts + 4 <= first + size)  # bins whose bases the shorter allele lacks
    assert (lost[inside] == 0).all()
    assert (lost[~inside] > 0).all()


def test_genes_stand_on_the_bins_of_their_bases() -> None:
    frame = Frame.of(LOCAL, 100)
    contigs = Contigs(c=LETTERS)
    snv = Pair.of(contigs, "c", 0, smallest_edit(600, "A", "C"), frame)  # type: ignore[arg-type]
    n = frame.bases // 4
    assert bins_of(snv, [(600, 601)], n, 4).tolist() == [frame.before // 4]
    assert bins_of(snv, [(597, 605), (600, 601)], n, 4).tolist() == [12, 13, 14]
    assert bins_of(snv, [(0, 500)], n, 4).size == bins_of(snv, [(900, 1000)], n, 4).size == 0
    assert bins_of(snv, [(0, 2000)], n, 4).tolist() == list(range(n))
    insertion = Pair.of(contigs, "c", 0, smallest_edit(600, "A", "AGGGGGGGG"), frame)  # type: ignore[arg-type]
    assert bins_of(insertion, [(600, 601)], n, 4).tolist() == [13]
    assert bins_of(insertion, [(602, 603)], n, 4).tolist() == [15]
    deletion = Pair.of(contigs, "c", 0, smallest_edit(600, "AGGGGGGGG", "A"), frame)  # type: ignore[arg-type]
    assert bins_of(deletion, [(620, 621)], n, 4).tolist() == [18]


def test_a_gene_begins_where_it_is_read_first() -> None:
    plus, minus = annotation(gene("P", [(10, 20), (30, 45)]), gene("M", [(10, 20), (30, 45)], "-")).transcripts
    assert (first_base(plus), first_base(minus)) == ((10, 11), (44, 45))
