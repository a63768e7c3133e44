"""Which data, windows and models go together, and the sentences where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_data import CONTEXT, described, write_data
from toy_signals import basenji_of, signals

from basecast.data.store import Dataset
from basecast.errors import UsageError
from basecast.spec import LocalReach, ModelSpec, Output, TargetTransform, Track, WindowReach
from basecast.training.fitting import context_of, require_fit, require_window


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = signals(tmp_path_factory.mktemp("signals"), records={"train": 1, "validation": 1})
    return Dataset(folder / "train.h5")


def whole_windows(**reach: object) -> ModelSpec:
    """Of a model in which everything sees everything."""
    settled = WindowReach.model_validate({"lengths": (1024, 2048), "crop": 64, **reach})
    return basenji_of().model_copy(update={"reach": settled})


def test_the_context_is_what_lies_around_the_labels() -> None:
    assert context_of(described()) == (CONTEXT // 2, CONTEXT // 2)
    assert context_of(described().model_copy(update={"reach": LocalReach(left=3, right=4)})) == (3, 4)
    assert context_of(whole_windows()) == (64, 64)
    cropped = basenji_of().outputs[0].model_copy(update={"crop": 2})
    spec = whole_windows().model_copy(update={"outputs": (cropped,)})
    assert context_of(spec) == (80, 80)
    with pytest.raises(UsageError, match="leave out different ends of a window"):
        context_of(spec.model_copy(update={"outputs": (cropped, *basenji_of().outputs)}))


def test_windows_are_whole_bins() -> None:
    require_window(basenji_of(), 1024)
    with pytest.raises(UsageError, match="bins of 8 bases, and --window 1023 is no whole number of them: give 1016"):
        require_window(basenji_of(), 1023)
    with pytest.raises(UsageError, match="give 8"):
        require_window(basenji_of(), 5)


def test_windows_are_those_that_a_model_can_be_run_on() -> None:
    require_window(whole_windows(), 1024 - 128)
    require_window(whole_windows(), 2048 - 128)
    with pytest.raises(UsageError, match="takes windows whose labels cover 896, 1,920 bases, not 1,024: see --window"):
        require_window(whole_windows(), 1024)
    any_length = whole_windows(lengths=(), multiple_of=256)
    require_window(any_length, 640)
    with pytest.raises(UsageError, match=r"a multiple of 256 bases, and --window 512 makes 640 of it with 128 around"):
        require_window(any_length, 512)


def with_output(**changed: object) -> ModelSpec:
    spec = basenji_of()
    return spec.model_copy(update={"outputs": (spec.outputs[0].model_copy(update=changed),)})


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "another output": ({"name": "coverage"}, r"holds none of it, and toy gives reads\+, reads- as 'coverage'"),
    "another track": ({"tracks": (Track(name="x"),)}, r"holds reads\+, reads-, and toy gives x as 'signal'"),
    "other bins": (
        {"resolution": 32},
        "has bins of 8 bases, and toy gives bins of 32: make the data again with create-data --resolution 32, or take",
    ),
    "other values": (
        {"tracks": (Track(name="reads+", transform=TargetTransform(power=0.5)),)},
        r"the values of reads\+ in .* were made otherwise than toy has them",
    ),
}


@pytest.mark.parametrize(("changed", "words"), REFUSED.values(), ids=REFUSED)
def test_data_of_another_kind_are_refused(changed: dict[str, object], words: str, data: Dataset) -> None:
    with pytest.raises(UsageError, match=words):
        require_fit(data, with_output(**changed))


def test_data_that_fit_are_not(data: Dataset) -> None:
    require_fit(data, basenji_of())
    require_fit(data, with_output(tracks=basenji_of().outputs[0].tracks[1:]))


def test_bases_around_the_records_are_needed(data: Dataset) -> None:
    far = basenji_of().model_copy(update={"reach": LocalReach(left=10, right=257, stride=8)})
    with pytest.raises(UsageError, match=r"keeps 256 bases on either side .* needs 257: make it again"):
        require_fit(data, far)
    require_fit(data, far.model_copy(update={"reach": LocalReach(left=256, right=256, stride=8)}))


def test_classes_only_go_together(tmp_path: Path) -> None:
    dataset = Dataset(write_data(tmp_path, records=2, length=60) / "train.h5")
    require_fit(dataset, described())
    fewer = Output(name="splice", tracks=(Track(name="neither"), Track(name="donor")), link="softmax")
    with pytest.raises(UsageError, match="holds neither, acceptor, donor, and toy gives neither, donor as 'splice'"):
        require_fit(dataset, described().model_copy(update={"outputs": (fewer,)}))
