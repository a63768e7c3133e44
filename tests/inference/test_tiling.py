"""Tiles cover a stretch once, in order, and their windows hold what its outputs need."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from basecast.errors import InputError
from basecast.inference.tiling import grain, margin, tiles
from basecast.spec import (
    Architecture,
    LocalReach,
    Member,
    ModelSpec,
    Output,
    ReverseComplement,
    Track,
    WindowReach,
)

TRACKS = (Track(name="t"),)


def spec_of(reach: Any, *outputs: Output) -> ModelSpec:
    outputs = outputs or (Output(name="a", tracks=TRACKS),)
    members = (Member(file="m", outputs=tuple(output.name for output in outputs)),)
    architecture = Architecture(family="none", config={})
    return ModelSpec(name="m", licence="MIT", architecture=architecture, reach=reach, outputs=outputs, members=members)


def binned(resolution: int, crop: int = 0, shift: int = 0, name: str = "b", axes: Any = "position") -> Output:
    rule = ReverseComplement(shift=shift)
    return Output(name=name, tracks=TRACKS, axes=axes, resolution=resolution, crop=crop, reverse_complement=rule)


def test_grain_holds_whole_bins_and_strides() -> None:
    assert grain(spec_of(LocalReach(left=1, right=1))) == 1
    assert grain(spec_of(LocalReach(left=1, right=1), binned(4), binned(6, name="c"))) == 12
    assert grain(spec_of(LocalReach(left=1, right=1, stride=8), binned(4))) == 8
    assert grain(spec_of(WindowReach(lengths=(512,)), binned(1), binned(128, name="c"))) == 128


def test_margin_is_what_heads_crop_or_a_shift_wraps_in_whole_grains() -> None:
    local = LocalReach(left=1, right=1)
    assert margin(spec_of(local)) == 0
    assert margin(spec_of(local, binned(4, crop=2))) == 8
    assert margin(spec_of(local, binned(4, crop=2, shift=-1))) == 12
    assert margin(spec_of(local, binned(1, crop=3), binned(4, name="c"))) == 4, "bins of 4 stay where they were"


@pytest.mark.parametrize("longest", [1, 3, 4, 7, 10, 100])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_local_tiles(longest: int, strand: str) -> None:
    spec = spec_of(LocalReach(left=5, right=9, stride=4), binned(4, crop=1))
    found = tiles(spec, -8, 32, longest, strand)
    left, right = (5, 9) if strand == "+" else (9, 5)
    assert found[0].start == -8
    assert found[-1].end == 32
    assert all(a.end == b.start for a, b in pairwise(found))
    for tile in found:
        assert 0 < tile.end - tile.start <= max(longest, 4)
        assert (tile.end - tile.start) % 4 == 0
        assert (tile.seen_start, tile.seen_end) == (tile.start - 4, tile.end + 4)
        assert (tile.window_start, tile.window_end) == (tile.seen_start - left, tile.seen_end + right)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (8, 4), (0, 6), (1, 4)])
def test_a_stretch_is_a_whole_number_of_bins(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        tiles(spec_of(LocalReach(left=1, right=1), binned(4)), start, end, 100)


@pytest.mark.parametrize("span", [128, 512, 640, 768, 896, 2304, 2432])
def test_window_tiles_have_a_length_that_is_allowed(span: int) -> None:
    spec = spec_of(WindowReach(lengths=(768, 1024), crop=128), binned(128), binned(1, name="a"))
    found = tiles(spec, 256, 256 + span, 10)
    assert (found[0].start, found[-1].end) == (256, 256 + span)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert len(found) == max(-(-span // 768), 1), "no more windows than the longest takes"
    for tile in found:
        assert tile.window_end - tile.window_start == (768 if span <= 512 else 1024)
        assert tile.seen_start == tile.window_start + 128 <= tile.start < tile.end
        assert tile.end <= tile.seen_end == tile.window_end - 128
        assert (tile.start - tile.seen_start) % 128 == 0


def test_a_short_stretch_lies_in_the_middle_of_its_window() -> None:
    (tile,) = tiles(spec_of(WindowReach(multiple_of=100, crop=10)), 1000, 1020, 10)
    assert (tile.window_start, tile.window_end) == (960, 1060)


def test_heads_crop_within_a_window() -> None:
    spec = spec_of(WindowReach(lengths=(512,), crop=64), binned(32, crop=2))
    first, second = tiles(spec, 0, 512, 10)
    assert (first.start, first.end, second.start, second.end) == (0, 256, 256, 512)
    assert (first.window_start, first.seen_start, first.seen_end) == (-128, -64, 320)


def test_windows_too_short_for_what_is_cropped() -> None:
    with pytest.raises(InputError, match="512 bases leave nothing"):
        tiles(spec_of(WindowReach(lengths=(512,), crop=256)), 0, 10, 10)
