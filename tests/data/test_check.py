from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from signal_toys import write_signal_dataset

from basecast.data import check as module
from basecast.data.check import check, replicate_pairs
from basecast.data.store import Header, Record, Sites
from basecast.data.writer import Writer
from basecast.errors import InputError
from basecast.genome.sequence import encode
from basecast.spec.model import Output, TargetTransform, Track
from basecast.spec.splice import SPLICE, splice_output

CLIP = TargetTransform(clip=8, soft_clip=4)
TRACKS = (
    Track(name="a1", description="RNA:liver", strand="+", transform=CLIP),
    Track(name="a2", description="RNA:liver", strand="+"),
    Track(name="a3", description="RNA:liver", strand="-"),
    Track(name="b", description=""),
)
RNG = np.random.default_rng(0)


def write(folder: Path, split: str, *records: np.ndarray, unknown: np.ndarray | None = None) -> Path:
    output = Output(name="signal", tracks=TRACKS, resolution=4, link="softplus")
    header = Header(split=split, mask="none", outputs=(output,), dense=("signal",))
    folder.mkdir(exist_ok=True)
    with Writer(folder / f"{split}.h5", header) as writer:
        for values in records:
            length = 4 * len(values)
            writer.add(
                Record("c", 0, length, "+"),
                encode("A" * length),
                {"signal": values.astype(np.float32)},
                {"signal": np.zeros((0, 2), dtype=np.int64) if unknown is None else unknown},
            )
    return folder


def gamma(bins: int = 500) -> np.ndarray:
    """Four tracks of which the first two are alike."""
    values = RNG.gamma(1, 1, (bins, 4))
    values[:, 1] += values[:, 0]
    return values


def test_numbers_are_those_of_the_values(tmp_path: Path) -> None:
    one, two = gamma(), gamma(300)
    one[:5, 0] = 8
    one[5:9, 0] = 5
    one[:, 3][:450] = 0
    report = check(write(tmp_path / "data", "train", one, two))
    values = np.concatenate([one, two]).astype(np.float32)
    a, *_, b = report.tracks
    assert (a.split, a.track, a.bins, a.nan, a.infinite, a.negative) == ("train", "a1", 800, 0, 0, 0)
    assert a.clipped == pytest.approx((values[:, 0] >= 8).mean())
    assert a.soft_clipped == pytest.approx((values[:, 0] > 4).mean())
    assert (a.mean, a.largest) == (pytest.approx(values[:, 0].mean()), values[:, 0].max())
    assert b.zero == pytest.approx(450 / 800)
    assert (b.clipped, report.wrong, report.notes) == (0, (), ())
    (pair,) = report.replicates
    assert (pair.a, pair.b) == ("a1", "a2")
    assert pair.pearson == pytest.approx(np.corrcoef(values[:, 0], values[:, 1])[0, 1], rel=1e-9)


def test_a_large_offset_does_not_spoil_a_correlation(tmp_path: Path) -> None:
    values = gamma(4000) + 1e5
    report = check(write(tmp_path / "data", "train", *np.split(values, 8)))
    kept = values.astype(np.float32).astype(np.float64)
    assert report.replicates[0].pearson == pytest.approx(np.corrcoef(kept[:, 0], kept[:, 1])[0, 1], rel=1e-9)


def test_what_is_wrong_is_named_by_split_and_track(tmp_path: Path) -> None:
    values = gamma()
    values[3, 0], values[4:6, 1], values[7, 2] = np.nan, np.inf, -1
    write(tmp_path / "data", "train", values)
    empty = gamma()
    empty[:, 3] = 0
    report = check(write(tmp_path / "data", "test", empty))
    assert report.wrong == (
        "train: a1 has NaN in 1 bin",
        "train: a2 has infinite values in 2 bins",
        "train: a3 has values below 0 in 1 bin",
        "test: b is 0 in all of 500 bins",
    )


def test_bins_without_a_label_do_not_count(tmp_path: Path) -> None:
    values = gamma()
    values[10:12] = np.nan
    assert check(write(tmp_path / "data", "train", values, unknown=np.array([[40, 48]]))).wrong == ()
    report = check(write(tmp_path / "none", "train", values, unknown=np.array([[0, 2000]])))
    assert report.wrong[0] == "train: a1 has no bin with a label"
    assert report.replicates[0].pearson is None


def test_a_clip_that_takes_much_is_worth_a_word(tmp_path: Path) -> None:
    values = gamma()
    values[:30, 0] = 8
    report = check(write(tmp_path / "data", "train", values))
    assert report.notes == ("train: 6.0% of the bins of a1 are at its clip",)
    assert module._MUCH < 0.06


def test_replicates_have_one_description_and_strand() -> None:
    assert replicate_pairs(TRACKS) == [(0, 1)]
    assert replicate_pairs([Track(name=str(i), description="x") for i in range(3)]) == [(0, 1), (0, 2), (1, 2)]


def test_the_toy_is_sound(tmp_path: Path) -> None:
    report = check(write_signal_dataset(tmp_path / "toy"))
    assert (report.wrong, len(report.tracks)) == ((), 6)


def test_what_has_no_tracks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no train\.h5"):
        check(tmp_path)
    with Writer(tmp_path / "train.h5", Header(outputs=(splice_output(),))) as writer:
        writer.add(Record("c", 0, 4, "+"), encode("ACGT"), {SPLICE: Sites.none()})
    with pytest.raises(InputError, match=r"train\.h5 has no tracks with values in bins"):
        check(tmp_path)
