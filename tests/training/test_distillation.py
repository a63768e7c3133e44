"""A teacher's answers as a dataset, and the student that learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lifecycle import folder_of, parent_of

from basecast.data.opening import open_split
from basecast.data.openspliceai import ShardWriter
from basecast.data.store import Dataset, Header, Record, Sites
from basecast.errors import UsageError
from basecast.evaluation.records import EngineSettings
from basecast.models.layers import make_one_hot
from basecast.models.spliceai import spec, tiny
from basecast.spec.splice import splice_output
from basecast.training.distillation import Copies, TeachingSettings, teach
from basecast.training.loop import LoopSettings
from basecast.training.train import from_scratch, train
from basecast.zoo.package import load_package

CPU = EngineSettings(device="cpu", threads=1)


def test_copies_differ_in_the_share_asked_for_and_are_the_same_each_time(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "data") / "train.h5"
    settings = TeachingSettings(copies=2, mutation_rate=0.1, seed=3)
    copies, own = Copies(path, settings), Dataset(path)
    assert len(copies) == 9
    for record in range(9):
        bases, before = copies.tokens(record, 0, 300), own.tokens(record % 3, 0, 300)
        differs = int((bases != before).sum())
        assert differs == 0 if record < 3 else 10 <= differs <= 55
        assert np.array_equal(Copies(path, settings).tokens(record, -7, 120)[7:], bases[:120])
    assert not np.array_equal(copies.tokens(3, 0, 300), copies.tokens(6, 0, 300))


def test_a_mutated_base_is_another_base_and_n_stays(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "data") / "train.h5"
    copies = Copies(path, TeachingSettings(mutation_rate=1.0))
    assert (copies.tokens(3, 0, 300) != copies.tokens(0, 0, 300)).all()
    assert (copies.tokens(3, -10, 0) == 4).all()
    assert copies.tokens(3, 0, 300).max() < 4


def test_what_is_stored_is_what_the_teacher_says(tmp_path: Path) -> None:
    data, teacher = folder_of(tmp_path / "data"), parent_of(members=2)
    folder = teach(teacher, [data], tmp_path / "labels", settings=TeachingSettings(mutation_rate=0.3), engine=CPU)
    said = open_split(folder, "train")
    assert isinstance(said, Dataset)
    assert len(said) == 6
    half = sum(d * (w - 1) for w, d in zip(tiny().widths, tiny().dilations, strict=True))
    for record in (0, 4):
        bases = torch.from_numpy(said.tokens(record, -half, 300 + half))[None]
        with torch.no_grad():
            each = [torch.softmax(network(make_one_hot(bases)), dim=1) for network in teacher.networks]
        wanted = torch.stack(each).mean(0)[0].T.numpy()
        found = said.labels(record, 0, 300, "splice")
        assert found.shape == (300, 3)
        np.testing.assert_allclose(found, wanted, atol=5e-4)
    assert said.valid(4, 0, 300, "splice").all()
    assert said.header.parents == ("parent",)


def test_answers_are_kept_for_the_next_student_and_not_mixed_up(tmp_path: Path) -> None:
    data, teacher = folder_of(tmp_path / "data"), parent_of()
    folder = teach(teacher, [data], tmp_path / "labels", engine=CPU)
    before = (folder / "train.h5").read_bytes()
    assert teach(teacher, [data], folder, engine=CPU) == folder
    assert (folder / "train.h5").read_bytes() == before
    with pytest.raises(UsageError, match="other answers"):
        teach(teacher, [data], folder, settings=TeachingSettings(copies=2), engine=CPU)


def test_a_student_learns_it_and_takes_its_licence(tmp_path: Path) -> None:
    data, teacher = folder_of(tmp_path / "data"), parent_of()
    folder = teach(teacher, [data], tmp_path / "labels", engine=CPU)
    settings = LoopSettings.model_validate(
        {"epochs": 30, "batch_size": 6, "sampling": {"kind": "grid", "window": 100}, "schedule": {"rate": 0.01}}
    )
    lines: list[dict[str, object]] = []
    described = spec(tiny(), name="student", licence="")
    train([folder], tmp_path / "student", from_scratch(described), settings, tell=lines.append)
    losses = [float(str(line["loss"])) for line in lines if line["kind"] == "epoch"]
    entropy = open_split(folder, "train").targets["splice"].values.astype(np.float64)  # type: ignore[union-attr]
    floor = float(-(entropy * np.log(np.maximum(entropy, 1e-9))).sum(1).mean())
    assert losses[0] - floor > 3 * (losses[-1] - floor) > 0
    student = load_package(tmp_path / "student").spec
    assert student.parents == ("parent",)
    assert student.licence == teacher.spec.licence


def test_several_datasets_at_a_time(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    with pytest.raises(UsageError, match="one dataset at a time"):
        teach(parent_of(), [data, data], tmp_path / "labels", engine=CPU)


def test_data_of_another_layout(tmp_path: Path) -> None:
    described = {"mask": "gene", "outputs": (splice_output(),)}
    for split in ("train", "validation"):
        with ShardWriter(tmp_path / f"dataset_{split}.h5", Header.model_validate({"split": split, **described})) as out:
            out.add(Record("c", 0, 6000, "+"), np.zeros(6000, dtype=np.uint8), {"splice": Sites.none()})
    with pytest.raises(UsageError, match="is of another layout: give a folder of 'basecast create-data'"):
        teach(parent_of(), [tmp_path], tmp_path / "labels", engine=CPU)
