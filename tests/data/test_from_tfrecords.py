from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tfrecord_files as made
from tracks import write_table

from basecast.data.from_tfrecords import create_from_tfrecords
from basecast.data.opening import open_split
from basecast.data.signal_settings import SignalSettings
from basecast.errors import InputError, UsageError

STATISTICS = {"num_targets": 2, "seq_length": 32, "seq_1hot": True, "pool_width": 4, "crop_bp": 8, "target_length": 4}
RNG = np.random.default_rng(0)


def payload() -> tuple[bytes, np.ndarray, np.ndarray]:
    tokens, values = RNG.integers(5, size=32).astype(np.uint8), RNG.gamma(1, 3, (4, 2)).astype(np.float16)
    features = {"sequence": made.bytes_feature(tokens.tobytes()), "target": made.bytes_feature(values.tobytes())}
    return made.example(features), tokens, values


TRAIN, VALID = [payload() for _ in range(5)], [payload() for _ in range(2)]
BED = [("train", 8 + 40 * i) for i in (3, 1, 4, 0, 2)] + [("valid", 1000), ("valid", 1016)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As baskerville writes it: records in several files, of which one is empty; those of its table are far away."""
    source = tmp_path / "source"
    (source / "tfrecords").mkdir(parents=True)
    (source / "statistics.json").write_text(json.dumps(STATISTICS))
    rows = [
        {"": i, "identifier": f"x{sign}", "file": f"/far/{sign}.w5", "clip": 384, "clip_soft": 2, "scale": 0.5,
         "sum_stat": "sum_sqrt", "strand_pair": 1 - i, "description": "CAGE:liver"}
        for i, sign in enumerate("+-")
    ]  # fmt: skip
    write_table(source / "targets.txt", rows)
    for name, records in (
        ("train-0", TRAIN[:2]),
        ("train-1", []),
        ("train-2", TRAIN[2:4]),
        ("train-10", TRAIN[4:]),
        ("valid-0", VALID),
    ):
        made.write_tfrecords(source / "tfrecords" / f"{name}.tfr", [record for record, *_ in records])
    (source / "sequences.bed").write_text("".join(f"chr1\t{start}\t{start + 16}\t{split}\n" for split, start in BED))
    return source


def test_records_are_those_of_the_folder(folder: Path, tmp_path: Path) -> None:
    report = create_from_tfrecords(folder, tmp_path / "data", settings=SignalSettings(species="Made up"))
    assert {name: split.records for name, split in report.splits.items()} == {"train": 5, "validation": 2}
    train = open_split(tmp_path / "data", "train")
    assert (train.flank, train.header.settings["window"], train.header.species) == (8, 16, "Made up")
    (output,) = train.header.outputs
    assert (output.resolution, output.reverse_complement.permutation) == (4, (1, 0))
    assert (output.tracks[0].strand, output.tracks[0].transform.power) == ("+", 0.5)
    for i, (_, tokens, values) in enumerate(TRAIN):
        assert train.tokens(i, -8, 24).tolist() == tokens.tolist()
        labels = train.labels(i, 0, 16, "signal")
        assert labels.dtype == np.float32
        assert np.array_equal(labels, values.astype(np.float32))
    assert train.records["start"].to_list() == [start for split, start in BED if split == "train"]
    assert report.tracks[0].soft_clipped > 0
    assert report.notes == ("there is nothing in test",)


def test_without_places_records_have_numbers(folder: Path, tmp_path: Path) -> None:
    (folder / "sequences.bed").unlink()
    create_from_tfrecords(folder, tmp_path / "data")
    train = open_split(tmp_path / "data", "train")
    assert train.records["contig"].to_list() == ["train-0[0]", "train-0[1]", "train-2[0]", "train-2[1]", "train-10[0]"]


def test_records_held_out_in_sight_of_train_are_told(folder: Path, tmp_path: Path) -> None:
    bed = folder / "sequences.bed"
    bed.write_text(bed.read_text().replace("1000\t1016", "24\t40"))  # train has 8 to 24 and 48 to 64
    report = create_from_tfrecords(folder, tmp_path / "data")
    assert report.notes == ("1 record held out within sight of one of train", "there is nothing in test")


def test_folds(folder: Path, tmp_path: Path) -> None:
    records = folder / "tfrecords"
    for i, path in enumerate(sorted(records.iterdir())):
        path.rename(records / f"fold{i}-0.tfr")
    (folder / "sequences.bed").unlink()
    create_from_tfrecords(folder, tmp_path / "data", settings=SignalSettings(folds=5, test_fold=4, validation_fold=3))
    counts = {name: len(open_split(tmp_path / "data", name)) for name in ("train", "validation", "test")}
    assert counts == {"train": 2 + 0 + 1, "validation": 2, "test": 2}
    assert set(open_split(tmp_path / "data", "test").records["group"]) == {"fold4"}
    for held_out in ((4, 4), (9, 1)):
        settings = SignalSettings(test_fold=held_out[0], validation_fold=held_out[1])
        with pytest.raises(UsageError, match=r"the folds of .* are 0, 1, 2, 3, 4: give two of them"):
            create_from_tfrecords(folder, tmp_path / "other", settings=settings)


def test_splits_that_are_no_folds(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the splits of .* are no folds: leave --test-fold and"):
        create_from_tfrecords(folder, tmp_path / "data", settings=SignalSettings(test_fold=2))


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps(STATISTICS | changes))

    return change


def more_lines(folder: Path) -> None:
    with (folder / "sequences.bed").open("a") as bed:
        bed.write("chr1\t5000\t5016\ttrain\n")


def fewer_lines(folder: Path) -> None:
    lines = (folder / "sequences.bed").read_text().splitlines(keepends=True)
    (folder / "sequences.bed").write_text("".join(lines[1:]))


def infinite(folder: Path) -> None:
    record, tokens, values = payload()
    values[2, 1] = np.inf
    features = {"sequence": made.bytes_feature(tokens.tobytes()), "target": made.bytes_feature(values.tobytes())}
    made.write_tfrecords(folder / "tfrecords" / "train-2.tfr", [record, made.example(features)])


def odd_line(folder: Path) -> None:
    (folder / "sequences.bed").write_text("chr1\t5\t50\ttrain\n")


def odd_split(folder: Path) -> None:
    made.write_tfrecords(folder / "tfrecords" / "holdout-0.tfr", [])


def no_train(folder: Path) -> None:
    for path in (folder / "tfrecords").glob("train*"):
        path.write_bytes(b"")
    (folder / "sequences.bed").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "statistics.json").unlink(), r"statistics\.json cannot be read"),
        (
            lambda folder: (folder / "statistics.json").write_text("{}"),
            r"statistics\.json is no .* \(num_targets: Fiel",
        ),
        (edit("statistics.json", crop_bp=4), r"4 bins of 4 are not 32 bases without 4 at each end"),
        (edit("statistics.json", num_targets=3), r"targets\.txt has 2 tracks, and .* tells 3"),
        (
            edit("statistics.json", seq_length=48, crop_bp=16),
            r"record 1 of .*train-0\.tfr is no example .* its sequence",
        ),
        (edit("statistics.json", pool_width=2, target_length=8), r"record 1 of .*: it has 8 targets, and 8 bins of 2"),
        (lambda folder: (folder / "targets.txt").unlink(), r"the targets .*targets\.txt cannot be read"),
        (more_lines, r"has 5 records of a split of which sequences\.bed has 6 lines"),
        (fewer_lines, r"has more records than sequences\.bed has lines of their split \(4\)"),
        (odd_line, r"line 1 of .*sequences\.bed has 45 bases, and a record 16 with targets"),
        (infinite, r"record 2 of .*train-2\.tfr has values of x- that are not finite, as half precision ends at"),
        (odd_split, r"holdout-0\.tfr is of a split 'holdout'"),
        (no_train, r"are empty: there is nothing to train on"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_folder_that_does_not_fit(folder: Path, tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    change(folder)
    with pytest.raises(InputError, match=said):
        create_from_tfrecords(folder, tmp_path / "data")
    assert not list((tmp_path / "data").glob("*"))


def test_a_dataset_is_not_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    create_from_tfrecords(folder, tmp_path / "data")
    with pytest.raises(UsageError, match="holds a dataset already"):
        create_from_tfrecords(folder, tmp_path / "data")


def test_records_that_baskerville_wrote(shared_data: Path, tmp_path: Path) -> None:
    report = create_from_tfrecords(shared_data / "peers" / "baskerville" / "tiny_hg38", tmp_path / "data")
    assert {name: split.records for name, split in report.splits.items()} == {"train": 45, "validation": 10, "test": 10}
    test = open_split(tmp_path / "data", "test")
    assert (test.flank, test.header.outputs[0].resolution, len(test.header.outputs[0].tracks)) == (32_768, 32, 74)
    assert test.records["contig"].str.starts_with("chr").all()
    assert test.labels(0, 0, 65_536, "signal").shape == (2048, 74)
