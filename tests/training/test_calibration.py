"""Calibrated models against temperatures that the labels were drawn by."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import logits, model, softmax, write_split
from scipy.optimize import minimize_scalar
from toys import graph_package

from basecast.data.store import Dataset
from basecast.errors import InputError, InterruptedRunError, UsageError
from basecast.evaluation import evaluate
from basecast.evaluation.answers import Answers
from basecast.evaluation.records import EngineSettings
from basecast.inference.tuning import Tuning
from basecast.spec import Calibration
from basecast.training import calibration as verb
from basecast.training.calibration import Calibrated, CalibrateSettings, calibrate
from basecast.zoo.package import Package, load_package, save_package

ON_CPU = EngineSettings(device="cpu", threads=1, tuning=Tuning())
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes ten times as long as all the rest."""
    if "the_new_package" not in request.node.name:
        monkeypatch.setattr(verb, "png", lambda _: PNG)
        monkeypatch.setattr(verb, "reliability", lambda _: None)


def run(data: Path, target: Path, package: Package | Path, *, draws: int = 20, **more: Any) -> Calibrated:
    settings = CalibrateSettings(draws=draws, **{k: more.pop(k) for k in ("split", "per_class") if k in more})
    return calibrate([data], target, model=package, settings=settings, engine=ON_CPU, **more)


def wide(members: int = 1) -> Package:
    """A model whose classes are all likely somewhere."""
    return model(members, steep=1.5)


def drawn(folder: Path, by: Package, heat: tuple[float, ...], n: int = 60) -> Path:
    for split in ("validation", "test"):
        write_split(folder, split, n=n, by=by, heat=heat)
    return folder


@pytest.mark.parametrize("members", [1, 3])
def test_the_temperature_of_the_labels_is_found_and_makes_them_likelier(tmp_path: Path, members: int) -> None:
    package = wide(members)
    data = drawn(tmp_path / "data", package, (2.5,))
    found = run(data, tmp_path / "new", package)
    assert found.temperature == (pytest.approx(2.5, rel=0.1),)
    assert found.splits.keys() == {"validation", "test"}
    for split in found.splits.values():
        for label, metric in (("all", "nll"), ("all", "brier"), ("acceptor", "ece"), ("donor", "ece")):
            before, after = (split.row(name, label, metric).value for name in ("before", "after"))
            assert after < before, (label, metric)


@pytest.mark.parametrize("members", [1, 2])
def test_the_fit_is_of_what_the_engine_will_give(tmp_path: Path, members: int) -> None:
    """No other temperature in the package gives its own answers a smaller likelihood."""
    package = wide(members)
    data = drawn(tmp_path / "data", package, (0.5,), n=20)
    found = run(data, tmp_path / "new", package)
    dataset = Dataset(data / "validation.h5")
    pooled, labels = [], []
    for record in range(len(dataset)):
        length = int(dataset.lengths[record])
        known = dataset.valid(record, 0, length, "splice")
        each = [np.log(softmax(x)) for x in logits(package, dataset, record)]
        pooled.append(np.mean(each, axis=0)[known])
        labels.append(dataset.labels(record, 0, length, "splice")[known])
    z, y = np.concatenate(pooled), np.concatenate(labels)

    def nll(inverse: float) -> float:
        return float(-np.log(softmax(z * inverse)[np.arange(y.size), y]).mean())

    best = minimize_scalar(nll, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8})
    assert found.temperature[0] == pytest.approx(1 / best.x, rel=1e-4)
    after = found.splits["validation"].row("after", "all", "nll").value
    assert after == pytest.approx(best.fun, rel=1e-4)
    assert found.splits["validation"].row("before", "all", "nll").value > after


def test_a_temperature_a_class_stands_in_the_order_of_the_models_tracks(tmp_path: Path) -> None:
    package = wide()
    data = drawn(tmp_path / "data", package, (1.0, 0.5, 2.0), n=30)
    one, each = (run(data, tmp_path / name, package, per_class=name == "each", draws=2) for name in ("one", "each"))
    np.testing.assert_allclose(each.temperature, (1.0, 0.5, 2.0), rtol=0.4)
    stored = load_package(tmp_path / "each").spec.calibration.temperature["splice"]
    assert stored == each.temperature
    for split in ("validation", "test"):
        scalar, vector = (found.splits[split].row("after", "all", "nll").value for found in (one, each))
        assert vector < scalar
    assert "changes the ranking" in (tmp_path / "each" / "README.md").read_text()
    output = package.spec.outputs[0]
    package.networks[0].head.weight.data = package.networks[0].head.weight.data.flip(0)  # type: ignore[union-attr,operator]
    package.networks[0].head.bias.data = package.networks[0].head.bias.data.flip(0)  # type: ignore[union-attr,operator]
    turned = Package(
        package.spec.model_copy(update={"outputs": (output.model_copy(update={"tracks": output.tracks[::-1]}),)}),
        package.networks,
    )
    run(data, tmp_path / "turned", turned, per_class=True, draws=2)
    stored = load_package(tmp_path / "turned").spec.calibration.temperature["splice"]
    np.testing.assert_allclose(stored[::-1], each.temperature, rtol=1e-3)


def test_the_new_package_says_what_it_is_and_keeps_what_it_had(tmp_path: Path) -> None:
    package = wide()
    parent = tmp_path / "parent"
    save_package(parent, package, files={"training/metrics-1.jsonl": b"{}\n"})
    data = drawn(tmp_path / "data", package, (2.0,), n=12)
    found = run(data, tmp_path / "new", parent, command="basecast calibrate ...")
    new = load_package(tmp_path / "new")
    assert new.spec.name == "new"
    assert new.spec.calibration.temperature == {"splice": found.temperature}
    assert new.spec.parents == ("tiny-0",)
    assert new.spec.licence == package.spec.licence
    assert new.spec.provenance.command == "basecast calibrate ..."
    assert new.spec.provenance.sources["data/validation.h5"] == Dataset(data / "validation.h5").digest
    assert new.spec.provenance.sources["tiny-0 (package)"] == package.digest
    assert new.weights_digest == package.weights_digest
    assert (tmp_path / "new" / "training" / "metrics-1.jsonl").read_bytes() == b"{}\n"
    card = (tmp_path / "new" / "README.md").read_text()
    row = found.splits["test"].row("after", "donor", "ece")
    assert "| test | ECE, donor |" in card
    assert f"| {row.value:.3g} ({row.low:.3g} to {row.high:.3g}) |" in card
    said = json.loads((tmp_path / "new" / "calibration" / "calibration.json").read_text())
    assert said["temperature"] == list(found.temperature)
    assert said["splits"].keys() == {"validation", "test"}
    for split in said["splits"]:
        assert (tmp_path / "new" / "calibration" / f"reliability-{split}.png").read_bytes()[:4] == PNG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "new", "parent"]  # parts are gone


def test_a_model_that_has_a_temperature_gets_the_same_new_one(tmp_path: Path) -> None:
    package = wide()
    data = drawn(tmp_path / "data", package, (2.0,), n=20)
    hot = Package(
        package.spec.model_copy(update={"calibration": Calibration(temperature={"splice": (7.0,)})}), package.networks
    )
    plain, again = run(data, tmp_path / "plain", package), run(data, tmp_path / "again", hot)
    assert again.temperature == pytest.approx(plain.temperature, rel=1e-6)
    after, before = (again.splits["test"].row(name, "all", "nll").value for name in ("after", "before"))
    assert after < before
    assert after == pytest.approx(plain.splits["test"].row("after", "all", "nll").value, rel=1e-6)


def test_without_test_data_only_the_split_is_measured(tmp_path: Path) -> None:
    package = wide()
    data = write_split(tmp_path / "data", "validation", n=10, by=package, heat=(2.0,))
    assert run(data, tmp_path / "new", package).splits.keys() == {"validation"}


def test_a_calibration_error_of_only_the_best_positions_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "CAPACITY", 10)
    monkeypatch.setattr(evaluate, "_LEAST_CAPACITY", 1)
    package = wide()
    data = write_split(tmp_path / "data", "validation", n=10, by=package, heat=(2.0,))
    run(data, tmp_path / "new", package)
    assert "| validation | ECE, donor | not known | not known |" in (tmp_path / "new" / "README.md").read_text()
    said = json.loads((tmp_path / "new" / "calibration" / "calibration.json").read_text())
    assert any(line.startswith("after, donor: no calibration error") for line in said["warnings"]["validation"])


def test_an_interrupted_run_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = wide()
    data = drawn(tmp_path / "data", package, (2.0,), n=12)
    monkeypatch.setattr(Answers, "span", 2_000)
    whole = run(data, tmp_path / "whole", package)
    each, asked = Answers.each, []

    def counted(self: Answers, items: list[int]) -> Any:
        asked.append(items)
        if len(asked) == 3:
            raise InterruptedRunError(130, "stopped")
        return each(self, items)

    monkeypatch.setattr(Answers, "each", counted)
    with pytest.raises(InterruptedRunError):
        run(data, tmp_path / "new", package)
    assert not (tmp_path / "new").exists()
    n_before = len(asked)
    again = run(data, tmp_path / "new", package)
    assert again.temperature == whole.temperature
    assert asked[n_before:][0] == asked[n_before - 1]
    assert load_package(tmp_path / "new").spec.calibration == load_package(tmp_path / "whole").spec.calibration


def test_progress_ends_at_all_bases_of_all_passes(tmp_path: Path) -> None:
    package = wide()
    data = drawn(tmp_path / "data", package, (2.0,), n=6)
    told: list[tuple[int, int]] = []
    run(data, tmp_path / "new", package, progress=lambda done, total: told.append((done, total)))
    validation, test = (int(Dataset(data / f"{split}.h5").lengths.sum()) for split in ("validation", "test"))
    assert told[-1] == (3 * validation + 2 * test,) * 2
    assert [done for done, _ in told] == sorted(done for done, _ in told)


# what is refused


def test_labels_that_no_temperature_fits_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    package = wide()
    data = drawn(tmp_path / "data", package, (0.001,), n=6)
    with pytest.raises(InputError, match="no temperature from"):
        run(data, tmp_path / "new", package)
    assert not (tmp_path / "new").exists()


def test_a_graph_and_a_package_that_is_there_are_refused(tmp_path: Path) -> None:
    data = write_split(tmp_path / "data", "validation", n=4)
    with pytest.raises(UsageError, match="graph of packages"):
        run(data, tmp_path / "new", graph_package())
    with pytest.raises(UsageError, match="is there already"):
        run(data, tmp_path / "data", wide())


def test_a_model_that_gives_no_numbers_is_named(tmp_path: Path) -> None:
    package = wide()
    data = write_split(tmp_path / "data", "validation", n=4)
    with torch.no_grad():
        package.networks[0].head.bias[1] = math.nan  # type: ignore[union-attr,operator]
    with pytest.raises(InputError, match=r"tiny-0 gives values that are no numbers for chr1_part:1-"):
        run(data, tmp_path / "new", package)


def test_a_split_that_is_missing_is_named(tmp_path: Path) -> None:
    data = write_split(tmp_path / "data", "test", n=4)
    with pytest.raises(InputError, match=r"validation\.h5"):
        run(data, tmp_path / "new", wide())
