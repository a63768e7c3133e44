"""Replicates: which tracks they are, and how far they and predictions of them agree."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from basecast.errors import InputError
from basecast.evaluation.replicates import Agreement, Crossed, Pair, by_description, by_table
from basecast.evaluation.signal_measures import Accuracy
from basecast.spec import Track

TRACKS = [
    Track(name="a1", description="run-on: wild", strand="+"),
    Track(name="a2", description="run-on: wild", strand="+"),
    Track(name="a1-", description="run-on: wild", strand="-"),
    Track(name="b1", description=""),
    Track(name="b2", description=""),
]


def test_tracks_of_one_description_and_strand_are_replicates() -> None:
    assert by_description(TRACKS) == [Pair("run-on: wild", 0, 1)]
    assert len(by_description([TRACKS[0]] * 8)) == 28
    assert by_description([TRACKS[0]] * 9) == []


def test_a_table_names_them(tmp_path: Path) -> None:
    table = tmp_path / "replicates.tsv"
    table.write_text("group\ttrack\nwild\tb1\nwild\tb2\nwild\ta1\nother\ta2\nother\tnot here\n")
    assert by_table(table, TRACKS) == [Pair("wild", 0, 3), Pair("wild", 0, 4), Pair("wild", 3, 4)]
    table.write_text("track\tgroup\nb1\tx\nb1\ty\n")
    with pytest.raises(InputError, match=r"line 3 of .* names the track b1 again"):
        by_table(table, TRACKS)
    table.write_text("track\nb1\n")
    with pytest.raises(InputError, match=r"line 2 of .* has no track and group"):
        by_table(table, TRACKS)
    table.write_text("track\tgroup\nb1\tx\na1\ty\n")
    with pytest.raises(InputError, match="has no two tracks of one group"):
        by_table(table, TRACKS)
    with pytest.raises(InputError, match="cannot be read"):
        by_table(tmp_path / "nothing", TRACKS)


def test_agreements_are_those_of_all_bins_at_once() -> None:
    rng = np.random.default_rng(3)
    truth = rng.gamma(0.5, 4, (4000, 1))
    seen = rng.poisson(truth * [1, 1, 2, 3]).astype(np.float32)
    said = (truth * rng.gamma(5, 0.2, (4000, 4))).astype(np.float32)
    pairs = [Pair("x", 0, 1), Pair("y", 2, 3)]
    crossed, own = Crossed(pairs), Accuracy(4)
    for part in np.array_split(np.arange(4000), 3):
        crossed.add(said[part], seen[part])
        own.add(said[part], seen[part])
    found = list(crossed.agreements(own))
    for (_, a, b), scales in zip(pairs, found, strict=True):
        for scale, agreement in zip((lambda x: x, lambda x: np.log2(1 + x)), scales, strict=True):
            p, y = scale(said.astype(np.float64)), scale(seen.astype(np.float64))
            r = lambda u, v: stats.pearsonr(u, v).statistic  # noqa: E731
            assert agreement.replicates == pytest.approx(r(y[:, a], y[:, b]))
            assert agreement.own == pytest.approx((r(p[:, a], y[:, a]), r(p[:, b], y[:, b])))
            assert agreement.other == pytest.approx((r(p[:, a], y[:, b]), r(p[:, b], y[:, a])))
            mean = sum(agreement.own) / 2
            assert agreement.corrected == pytest.approx(mean / math.sqrt(r(y[:, a], y[:, b])))
            assert agreement.corrected > mean


def test_replicates_that_do_not_agree_correct_nothing() -> None:
    assert math.isnan(Agreement(-0.1, (0.5, 0.5), (0.4, 0.4)).corrected)
    assert list(Crossed([]).agreements(Accuracy(2))) == []
