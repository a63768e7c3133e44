"""What alignments are counted as, held against what is plain to see of a few of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1] / "genome"))

from made_alignments import LENGTHS, line, write

from basecast.coverage import build
from basecast.coverage.build import coverage
from basecast.coverage.positions import Positions
from basecast.coverage.settings import CoverageSettings, preset
from basecast.errors import InputError
from basecast.genome.signal import BigWig

Covered = Callable[..., Any]
PAIR = 1 | 2
FIRST, SECOND, REVERSE, MATE_REVERSE, OTHER = 64, 128, 16, 32, 256


def events(path: Path) -> dict[tuple[str, int], float]:
    """Contig and position to value."""
    track = BigWig(path)
    found = {}
    for contig, length in track.lengths.items():
        values = np.nan_to_num(track.values(contig, 0, length))
        found |= {(contig, int(at)): round(float(values[at]), 5) for at in np.flatnonzero(values)}
    return found


@pytest.fixture
def covered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Covered:
    """Events of a run, or those of its two strands."""
    monkeypatch.setattr(build, "figure", lambda *_: Figure())  # it takes longer than all else

    def run(*lines: str, **settings: Any) -> Any:
        bam = write(tmp_path / "a.bam", lines, lengths=settings.pop("lengths", LENGTHS))
        summary = coverage(bam, tmp_path / "a.bw", settings=CoverageSettings(**settings), threads=1)
        assert summary is not None
        found = [events(Path(each)) for each in summary.outputs if each.endswith(".bw")]
        return found[0] if len(found) == 1 else found

    return run


# --- where


def test_five_prime_ends(covered: Covered) -> None:
    lines = [
        line(start=0),
        line(start=100),
        line(start=100),
        line(flag=REVERSE, start=100),
        line(start=5, cigar="3S47M"),
    ]
    assert covered(*lines) == {("chr1", 0): 1, ("chr1", 100): 2, ("chr1", 149): 1, ("chr1", 5): 1}


def test_five_prime_ends_of_gapped_alignments(covered: Covered) -> None:
    lines = [line(flag=REVERSE, start=100, cigar="5S20M3D2I10M1000N10M7S"), line(start=300, cigar="20M50N30M")]
    assert covered(*lines) == {("chr1", 100 + 20 + 3 + 10 + 1000 + 10 - 1): 1, ("chr1", 300): 1}


def test_shifts_end_at_the_contigs_ends(covered: Covered) -> None:
    lines = [
        line(start=100),
        line(flag=REVERSE, start=200),
        line(start=99_999, cigar="1M"),
        line(flag=16, start=0, cigar="2M"),
    ]
    found = covered(*lines, shift_forward=4, shift_reverse=-5)
    assert found == {("chr1", 104): 1, ("chr1", 244): 1, ("chr1", 99_999): 1, ("chr1", 0): 1}
    assert preset("atac").shift_forward == 4
    assert preset("atac").shift_reverse == -5


def test_neighbouring_contigs_keep_their_events(covered: Covered) -> None:
    lines = [
        line(start=99_950),
        line(flag=16, start=99_950),
        line(contig="chr2", start=0),
        line(contig="chr3", start=19_950),
    ]
    expected = {("chr1", 99_950): 1, ("chr1", 99_999): 1, ("chr2", 0): 1, ("chr3", 19_950): 1}
    assert covered(*lines) == expected
    assert sum(covered(*lines, smooth=5).values()) == pytest.approx(4, abs=1e-3)
    assert {contig for contig, _ in covered(*lines, smooth=5)} == {"chr1", "chr2", "chr3"}


def test_centres_of_fragments_by_their_length(covered: Covered) -> None:
    lines = [line(start=1000), line(flag=REVERSE, start=1150)]  # a fragment of 200 from 1000
    assert covered(*lines, event="centres", fragment_length=200) == {("chr1", 1100): 2}
    lines = [line(start=1000), line(flag=REVERSE, start=1151)]  # and of 201
    assert covered(*lines, event="centres", fragment_length=201) == {("chr1", 1100): 2}


def pair(name: str, start: int, template: int, *, flipped: bool = False, flag: int = 0, **other: Any) -> list[str]:
    """Two reads of 50 bases at the ends of a fragment; ``flipped``: read 2 is the forward one."""
    first, second = (SECOND, FIRST) if flipped else (FIRST, SECOND)
    last = start + template - 50
    return [
        line(name, PAIR | MATE_REVERSE | first | flag, start=start, template=template, mate=last, **other),
        line(name, PAIR | REVERSE | second | flag, start=last, template=-template, mate=start, **other),
    ]


def test_centres_of_proper_pairs_count_once(covered: Covered) -> None:
    lines = [*pair("a", 1000, 200), *pair("b", 5000, 301, flipped=True), line("single", start=9000)]
    found = covered(*lines, event="centres", fragment_length=150)
    assert found == {("chr1", 1100): 1, ("chr1", 5150): 1, ("chr1", 9075): 1}


def test_mates(covered: Covered) -> None:
    lines = [*pair("a", 1000, 200), *pair("b", 5000, 300, flipped=True)]
    assert covered(*lines) == {("chr1", 1000): 1, ("chr1", 1199): 1, ("chr1", 5000): 1, ("chr1", 5299): 1}
    assert covered(*lines, mates="first") == {("chr1", 1000): 1, ("chr1", 5299): 1}


def test_strands_are_those_of_the_molecule(covered: Covered) -> None:
    lines = [*pair("a", 1000, 200), line("s", start=7000), line("t", REVERSE, start=8000)]
    plus, minus = covered(*lines, strands="forward")
    assert plus == {("chr1", 1000): 1, ("chr1", 1199): 1, ("chr1", 7000): 1}
    assert minus == {("chr1", 8049): 1}
    assert covered(*lines, strands="reverse") == [minus, plus]
    plus, minus = covered(*pair("b", 5000, 300, flipped=True), *pair("a", 100, 200), strands="forward", event="centres")
    assert (plus, minus) == ({("chr1", 200): 1}, {("chr1", 5150): 1})


def test_whole_reads_leave_out_introns(covered: Covered) -> None:
    lines = [line(start=100, cigar="10M5D10M100N20M2I8M"), line(flag=REVERSE, start=105, cigar="10M")]
    expected = Counter({("chr1", at): 1 for at in [*range(100, 125), *range(225, 253)]})
    expected.update({("chr1", at): 1 for at in range(105, 115)})
    assert covered(*lines, event="reads") == expected
    at_the_end = [line(start=99_950), line(contig="chr2", start=0, cigar="5M")]
    assert sum(covered(*at_the_end, event="reads").values()) == 55


# --- what is left out, and told


def test_every_alignment_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[dict[str, Any]] = []
    monkeypatch.setattr("basecast.coverage.report.page", lambda _, **drawn: pages.append(drawn) or Figure())
    lines = {
        "unmapped": [line("u", 4, "*", 0, "*"), line("v", 4, start=10, cigar="*")],
        "failed quality checks": [line("q", 512)],
        "supplementary": [line("s", 2048)],
        "flagged as duplicates": [line("d", 1024), line("e", 1024)],
        "low mapping quality": [line("m", mapq=9)],
        "too many places": [line("t", tags=["NH:i:11"]), line("x", tags=["XA:Z:" + "chr1,+9,50M,0;" * 10])],
        "places of reads without their first record": [line("w", 256, start=300), line("w", 256, start=400)],
        "mates of what is counted": [],
        "places told twice": [line("f", 256, start=500)],
        "places of reads with too many": [line("k", 256 * (at > 0), start=9000 + at) for at in range(11)],
    }
    kept = [line("f", start=500), line("f", 256, start=700), line("n", mapq=255), line("o", start=77)]
    every = [*kept, *(each for some in lines.values() for each in some)]
    for order, index in (("coordinate", True), ("coordinate", False), (None, False)):
        bam = write(tmp_path / "a.bam", every, order=order, index=index)
        for path in tmp_path.glob("*.bai"):
            path.unlink() if not index else None
        summary = coverage(bam, tmp_path / "a.bw", settings=CoverageSettings(mapq=10), threads=1)
        assert summary is not None
        told = json.loads((tmp_path / "a.report.json").read_text())
        assert told["alignments"]["left out"] == {name: len(some) for name, some in lines.items()}
        assert told["alignments"]["all"] == len(every) == summary.alignments
        assert told["alignments"]["of reads with one place"] == 2
        assert told["alignments"]["of reads with several places"] == 2
        assert (summary.reads, summary.shared) == (3, 1)
        assert +Counter(pages[-1]["places"]) == {1: 2, 2: 1, 11: 3}  # reads, also where alignments are left out
        assert sum(events(tmp_path / "a.bw").values()) == pytest.approx(3)


def test_duplicates_may_be_kept(covered: Covered) -> None:
    assert covered(line("d", 1024)) == {}
    assert covered(line("d", 1024), keep_duplicates=True) == {("chr1", 100): 1}


def test_an_alignment_of_unknown_quality_passes(covered: Covered) -> None:
    assert covered(line("a", mapq=255), line("b", mapq=3, start=9), mapq=30) == {("chr1", 100): 1}


# --- places


DIALECTS = {
    "NH": [line("r", start=1000, tags=["NH:i:2"]), line("r", 256 | 16, "chr2", 2000, tags=["NH:i:2"])],
    "XA": [line("r", start=1000, tags=["XA:Z:chr2,-2001,50M,0;"])],
    "nothing": [line("r", start=1000), line("r", 256 | 16, "chr2", 2000)],
    "HI": [line("r", start=1000, tags=["HI:i:1"]), line("r", 16, "chr2", 2000, tags=["HI:i:2"])],
    "several best": [line("r", start=1000, tags=["NH:i:2"]), line("r", 16, "chr2", 2000, tags=["NH:i:2"])],
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_tell_of_the_same_places(covered: Covered, dialect: str) -> None:
    lines = DIALECTS[dialect]
    assert covered(*lines) == {("chr1", 1000): 0.5, ("chr2", 2049): 0.5}
    near = [line(f"n{at}", 0, "chr2", 2000 + at) for at in range(20, 60)]
    found = covered(*lines, *near)
    assert found["chr2", 2049] - 1 > 0.9  # one of its neighbours starts there too
    assert found["chr1", 1000] + found["chr2", 2049] == pytest.approx(2)
    plus, minus = covered(*lines, strands="forward")
    assert (plus, minus) == ({("chr1", 1000): 0.5}, {("chr2", 2049): 0.5})


def test_lists_of_spliced_places_and_pairs(covered: Covered) -> None:
    spliced = [line("r", start=1000, cigar="30M100N20M", tags=["XA:Z:chr3,+101,10M50N40M,0;"])]
    expected = {("chr1", at): 0.5 for at in [*range(1000, 1030), *range(1130, 1150)]}
    expected |= {("chr3", at): 0.5 for at in [*range(100, 110), *range(160, 200)]}
    assert covered(*spliced, event="reads") == expected
    first, second = pair("p", 1000, 200)
    listed = [f"{first}\tXA:Z:chr2,+501,50M,0;chr2,-2001,50M,0;", f"{second}\tXA:Z:chr2,-651,50M,0;chr2,+1851,50M,0;"]
    found = covered(*listed, event="centres")
    assert found == {("chr1", 1100): pytest.approx(1 / 3, abs=1e-4), ("chr2", 600): 0.33333, ("chr2", 1950): 0.33333}


def test_places_of_pairs_are_gathered_across_mates(covered: Covered) -> None:
    """At its other place the fragment lies the other way round: there its left read is read 2."""
    lines = [*pair("p", 1000, 200), *pair("p", 5000, 200, flipped=True, flag=256)]
    assert covered(*lines, event="centres") == {("chr1", 1100): 0.5, ("chr1", 5100): 0.5}
    assert covered(*lines) == {("chr1", at): 0.5 for at in (1000, 1199, 5000, 5199)}


def test_a_mate_that_is_told_twice_has_one_place(covered: Covered) -> None:
    """Bowtie2 -k writes a mate once for each place of the other."""
    lines = [*pair("p", 1000, 200), *pair("p", 1000, 400, flag=256)]
    assert covered(*lines) == {("chr1", 1000): 1, ("chr1", 1199): 0.5, ("chr1", 1399): 0.5}


def test_no_more_places_than_asked(covered: Covered) -> None:
    lines = [line("r", 256 * (at > 0), start=1000 * at) for at in range(4)]
    assert covered(*lines, max_places=3) == {}
    assert set(covered(*lines, max_places=4).values()) == {0.25}


def test_names_that_few_letters_tell_apart(covered: Covered) -> None:
    names = ["r1", "r2", "1r", "r", "rr1", "r1r1r1r1r1r1", "r1r1r1r1r1r2"]
    lines = [line(name, start=1000 * i) for i, name in enumerate(names)]
    lines += [line(name, 256, "chr2", 1000 * i) for i, name in enumerate(names[:3])]
    expected = {("chr1", 1000 * i): 0.5 if i < 3 else 1.0 for i in range(len(names))}
    assert covered(*lines) == expected | {("chr2", 1000 * i): 0.5 for i in range(3)}


@pytest.mark.parametrize("tag", ["XA:Z:chr9,+5,50M,0;", "XA:Z:chr1,5,50M,0;", "XA:Z:what"])
def test_a_list_that_cannot_be_read(covered: Covered, tag: str) -> None:
    with pytest.raises(
        InputError, match=r"a\.bam: the XA tag of read 'odd' cannot be read .*contig,\+start,CIGAR,edits"
    ):
        covered(line("odd", tags=[tag]))


# --- counts


def test_counts_are_exact_however_high(covered: Covered) -> None:
    """Where float16 ends at 2,048, and single steps of float32 at 16,777,216."""
    lines = [line("r", start=7)] * 5000
    assert covered(*lines) == {("chr1", 7): 5000}
    positions = Positions()
    for _ in range(5):
        positions.add(np.full(4_000_000, 3))
    at, counts = positions.sums()
    assert (at.tolist(), counts.tolist()) == ([3], [20_000_000])


def test_no_reads_at_all(covered: Covered) -> None:
    assert covered() == {}
    assert covered(line("u", 4, "*", 0, "*")) == {}


def test_clipping_needs_no_rounds(covered: Covered) -> None:
    tower = [line(f"t{i}", start=50_000) for i in range(15)]
    around = [line(f"a{i}", start=49_000 + 13 * i) for i in range(150)]
    for iterations in (0, 5):
        found = covered(*tower, *around, clip=4, iterations=iterations)
        assert found["chr1", 50_000] == 1
        assert sum(found.values()) == pytest.approx(151)
