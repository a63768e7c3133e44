from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_alignments import line, write

from basecast.errors import InputError
from basecast.genome.alignments import Alignments
from basecast.genome.bam import Records
from basecast.genome.multiplicity import digests, multiplicity, other_places


def records_of(tmp_path: Path, *lines: str) -> Records:
    (records,) = Alignments(write(tmp_path / "a.bam", lines, order=None, index=False)).batches()
    return records


@pytest.mark.parametrize(
    ("flag", "tags", "places", "is_other"),
    [
        (0, [], 0, False),
        (256, [], 0, True),
        (0, ["NH:i:1"], 1, False),
        (0, ["NH:i:7", "HI:i:3"], 7, False),  # of several best ones each is primary
        (256, ["NH:i:300"], 300, True),
        (0, ["HI:i:1"], 0, False),
        (0, ["HI:i:2"], 0, True),
        (0, ["XA:Z:chr1,+5,50M,0;"], 2, False),
        (16, ["NM:i:0", "XA:Z:chr1,+5,50M,0;chr2,-9,50M,1;"], 3, False),
        (256, ["XA:Z:chr1,+5,50M,0;"], 0, True),
        (0, ["XA:i:1"], 0, False),  # Bowtie's: a stratum
        (0, ["XA:i:1", "NH:i:2"], 2, False),
        (0, ["MD:Z:NHC", "YT:Z:XAZ"], 0, False),
    ],
)
def test_what_tags_and_flags_tell(tmp_path: Path, flag: int, tags: list[str], places: int, is_other: bool) -> None:
    found = multiplicity(records_of(tmp_path, line(flag=flag, tags=tags)), "a.bam")
    assert (found.places.tolist(), found.is_other.tolist()) == ([places], [is_other])
    assert bool(found.listed) == any(tag.startswith("XA:Z") for tag in tags) * (flag != 256)


def test_each_record_by_its_own_tags(tmp_path: Path) -> None:
    """A file of two aligners' records."""
    lines = [line("a", tags=["NH:i:2"]), line("b", tags=["XA:Z:chr1,+5,50M,0;"]), line("c"), line("d", 256)]
    found = multiplicity(records_of(tmp_path, *lines), "a.bam")
    assert found.places.tolist() == [2, 2, 0, 0]
    assert dict(found.listed) == {1: "chr1,+5,50M,0;"}


def test_both_at_once(tmp_path: Path) -> None:
    records = records_of(tmp_path, line("fine"), line("twice", tags=["NH:i:1", "XA:Z:chr1,+5,50M,0;"]))
    with pytest.raises(InputError, match=r"a\.bam: read 'twice' has both NH and XA, .*: take one out with 'samtools"):
        multiplicity(records, "a.bam")


def test_places_of_a_list() -> None:
    first, second, third = other_places("chr1,+11,50M,0;HLA:1,2,-101,5S10M2D3I30M2H,1;chrUn,+1,10M90N5M1000N2M,2;")
    assert first == ("chr1", False, ((10, 60),))
    assert second == ("HLA:1,2", True, ((100, 142),))
    assert third == ("chrUn", False, ((0, 10), (100, 105), (1105, 1107)))


@pytest.mark.parametrize("text", ["chr1,11,50M,0;", "chr1;", "chr1,+x,50M,0;", ""])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        other_places(text)


def test_mates_are_reads_of_their_own_where_asked(tmp_path: Path) -> None:
    records = records_of(tmp_path, *[line("r", flag) for flag in (0, 1 | 64, 1 | 128, 1 | 64 | 16, 256)])
    apart = [tuple(each) for each in digests(records, np.ones(5, bool)).tolist()]
    assert apart[0] == apart[4]
    assert apart[1] == apart[3]
    assert len(set(apart)) == 3
    assert len({tuple(each) for each in digests(records, np.zeros(5, bool)).tolist()}) == 1
