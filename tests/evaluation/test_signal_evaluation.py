"""Models of signals on held-out records: against the networks themselves and plain arithmetic on all bins at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from binned_model import BIN, SIGNAL, TRACKS, everything, local_model, predicted, window_model, write_signals
from scipy import stats
from sklearn.metrics import r2_score
from toy_data import write_data

from basecast.data.store import Dataset
from basecast.data.writer import Writer
from basecast.errors import InputError, InterruptedRunError, UsageError
from basecast.evaluation import evaluate as verb
from basecast.evaluation import signal_evaluation_files
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.evaluation import EvaluateSettings
from basecast.evaluation.records import EngineSettings
from basecast.evaluation.signal_answers import SignalAnswers, window_span
from basecast.evaluation.signal_evaluation import SignalEvaluateSettings, SignalEvaluation
from basecast.inference.tuning import Tuning
from basecast.inference.views import Views
from basecast.spec import TargetTransform, WindowReach
from basecast.zoo.package import Package

ON_CPU = EngineSettings(device="cpu", threads=1, tuning=Tuning())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signals(tmp_path_factory.mktemp("data") / "yeast", by=local_model())


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "the_folder_holds" not in request.node.name:
        monkeypatch.setattr(signal_evaluation_files, "figures_of", lambda _: {})


def run(data: Path, target: Path, *models: Package, **asked: Any) -> SignalEvaluation:
    found = evaluate([data], target, models=models, signal=SignalEvaluateSettings(**asked), engine=ON_CPU)
    assert isinstance(found, SignalEvaluation)
    return found


def check(found: SignalEvaluation, model: str, said: np.ndarray, seen: np.ndarray) -> None:
    for i, track in enumerate(TRACKS):
        row = found.track(model, track.name)
        x, y = said[:, i], seen[:, i]
        expected = {
            "pearson": stats.pearsonr(x, y).statistic,
            "spearman": stats.spearmanr(x, y).statistic,
            "r2": r2_score(y, x),
            "pearson_log": stats.pearsonr(np.log2(1 + x), np.log2(1 + y)).statistic,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=2e-5), (track.name, name)


def test_numbers_are_those_of_the_network_on_every_bin_with_a_label(data: Path, tmp_path: Path) -> None:
    package = local_model()
    found = run(data, tmp_path / "out", package)
    said, seen, known = everything(package, data)
    assert sum(map(len, known)) - len(seen) == 20  # two stretches of ten bins have no label
    assert found.models[0].tally.taught.n == len(seen)
    check(found, "toy_binned", said, seen)
    assert found.mean("toy_binned", "pearson") > 0.5
    assert found.mean("toy_binned", "pearson", "PRO") == pytest.approx(
        np.mean([found.track("toy_binned", name)["pearson"] for name in ("plus", "minus")])
    )


def test_windows_cover_every_bin_once(tmp_path: Path) -> None:
    """Records of one window and a half, of several, and of less than one; each bin is of one window."""
    records = (("chr1", 0, 180), ("chr1", 500, 860), ("chr2", 0, 60), ("chr2", 200, 320))
    data = write_signals(tmp_path / "data", records=records)
    package = window_model()
    found = run(data, tmp_path / "out", package)
    dataset = Dataset(data / "test.h5")
    said, seen = [], []
    for row, (_, begin, stop) in enumerate(records):
        length = stop - begin
        values = np.full((length // BIN, 3), np.nan)
        for start in range(0, length, 120):
            # the last window of a record reaches back over the one before; a short record lies in the middle
            first = start if start + 120 <= length else max(length - 120, 0)
            lead = (120 - length) // 2 // BIN * BIN if length < 120 else 0
            tokens = dataset.tokens(row, first - lead - 20, first - lead + 140)
            with torch.no_grad():
                x = torch.nn.functional.one_hot(torch.from_numpy(tokens.astype(np.int64)), 5)[:, :4].T[None].float()
                window = torch.nn.functional.softplus(package.networks[0](x)[0]).numpy().T
            cut = window[(start - first + lead) // BIN :]
            n = min(len(cut), (length - start) // BIN)
            values[start // BIN : start // BIN + n] = cut[:n]
        valid = dataset.valid(row, 0, length, "signal")
        said.append(values[valid])
        seen.append(dataset.labels(row, 0, length, "signal")[valid])
    check(found, "windowed", np.concatenate(said).astype(np.float64), np.concatenate(seen).astype(np.float64))


@pytest.mark.parametrize("spans", [40, 100, 10_000])
def test_shards_do_not_change_a_number(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: int) -> None:
    whole = run(data, tmp_path / "whole", local_model())
    monkeypatch.setattr("basecast.evaluation.signal_answers.bases_of_a_shard", lambda *_: spans)
    monkeypatch.setattr("basecast.inference.engine.preferred_tile", lambda *_: spans)
    monkeypatch.setattr("basecast.inference.engine.Engine.longest_tile", spans)
    cut = run(data, tmp_path / "cut", local_model())
    for a, b in zip(whole.tables["tracks"], cut.tables["tracks"], strict=True):
        for name, value in a.items():
            assert b[name] == (pytest.approx(value, abs=1e-5, nan_ok=True) if isinstance(value, float) else value)


def test_views_are_averaged(data: Path, tmp_path: Path) -> None:
    package = local_model()
    views = Views(reverse_complement=True, shifts=(0, 1))
    found = run(data, tmp_path / "out", package, views=views)
    plain = run(data, tmp_path / "plain", package)
    dataset = Dataset(data / "test.h5")
    length, flank = int(dataset.lengths[2]), dataset.flank
    # of a shift alone the mean is told by the network itself
    shifted = run(data, tmp_path / "shifted", package, views=Views(shifts=(0, 1)))
    bases = dataset.tokens(2, -flank, length + flank)
    moved = dataset.tokens(2, -flank - 1, length + flank - 1)
    mean = (predicted(package, bases, flank, length // BIN) + predicted(package, moved, flank, length // BIN)) / 2
    _, said, _ = shifted.models[0].tally.kept()
    np.testing.assert_allclose(said[-len(mean) :], mean, rtol=1e-4)
    assert found.track("toy_binned", "plus")["pearson"] != plain.track("toy_binned", "plus")["pearson"]


def test_tracks_are_found_by_name(data: Path, tmp_path: Path) -> None:
    package = local_model()
    turned = SIGNAL.model_copy(
        update={"tracks": (TRACKS[2], TRACKS[0]), "reverse_complement": type(SIGNAL.reverse_complement)()}
    )
    other = tmp_path / "turned"
    source = Dataset(data / "test.h5")
    other.mkdir()
    header = source.header.model_copy(update={"outputs": (turned,)})
    with Writer(other / "test.h5", header) as writer:
        for row in range(len(source)):
            length = int(source.lengths[row])
            values = source.labels(row, 0, length, "signal")[:, [2, 0]]
            bases = source.tokens(row, -source.flank, length + source.flank)
            known = np.flatnonzero(~source.valid(row, 0, length, "signal")) * BIN
            unknown = np.array([[x, x + BIN] for x in known], dtype=np.int64).reshape(-1, 2)
            writer.add(source.record(row), bases, {"signal": values}, {"signal": unknown})
    found, whole = run(other, tmp_path / "out", package), run(data, tmp_path / "whole", package)
    assert [row["track"] for row in found.tables["tracks"]] == ["both", "plus"]
    for name in ("both", "plus"):
        assert found.track("toy_binned", name)["pearson"] == pytest.approx(
            whole.track("toy_binned", name)["pearson"], abs=1e-6
        )
    one = run(data, tmp_path / "one", package, tracks=("minus",))
    assert [row["track"] for row in one.tables["tracks"]] == ["minus"]
    assert one.track("toy_binned", "minus")["r2"] == pytest.approx(whole.track("toy_binned", "minus")["r2"], abs=1e-6)
    assert any("2 tracks of the data without a prediction" in line for line in one.warnings) is False


def test_a_track_that_is_the_same_everywhere_is_named(tmp_path: Path) -> None:
    silent = SIGNAL.model_copy(
        update={"tracks": (*TRACKS[:2], TRACKS[2].model_copy(update={"transform": TargetTransform(clip=1e-30)}))}
    )
    folder = write_signals(tmp_path / "data", output=silent)
    with h5py.File(folder / "test.h5", "r+") as file:
        file["targets/signal/values"][:, 2] = 0
    found = run(folder, tmp_path / "out", local_model())
    assert math.isnan(found.track("toy_binned", "both")["pearson"])
    assert math.isfinite(found.mean("toy_binned", "pearson"))
    assert any("1 track without a correlation" in line and "both" in line for line in found.warnings)
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["tracks"]
    assert [row["pearson"] is None for row in rows] == [False, False, True]


def test_what_was_measured_is_told_beside_what_was_taught(tmp_path: Path) -> None:
    """A square root of the target: correlations of log2(1 + x) are of the counts."""
    root = TargetTransform(scale=2.0, power=0.5)
    output = SIGNAL.model_copy(update={"tracks": tuple(t.model_copy(update={"transform": root}) for t in TRACKS)})
    data = write_signals(tmp_path / "data", output=output)
    package = local_model()
    found = run(data, tmp_path / "out", package)
    said, seen, _ = everything(package, data)
    row = found.track("toy_binned", "plus")
    x, y = (((v[:, 0] + 1) ** 2 - 1) / 2 for v in (said, seen))
    assert row["pearson"] == pytest.approx(stats.pearsonr(said[:, 0], seen[:, 0]).statistic, abs=1e-5)
    assert row["pearson_measured"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-5)
    assert row["pearson_log"] == pytest.approx(stats.pearsonr(np.log2(1 + x), np.log2(1 + y)).statistic, abs=1e-5)
    assert any("was taught other transforms of 1 track" in line for line in found.warnings)


def test_peaks_are_of_counts(tmp_path: Path) -> None:
    """A mean over the bases of a bin is no count: it is times the bases."""
    peaks = []
    for statistic, factor in (("sum", 4.0), ("mean", 1.0)):
        transform = TargetTransform(statistic=statistic, scale=2.0)
        tracks = tuple(track.model_copy(update={"transform": transform}) for track in TRACKS)
        folder = write_signals(tmp_path / statistic, output=SIGNAL.model_copy(update={"tracks": tracks}))
        with h5py.File(folder / "test.h5", "r+") as file:
            file["targets/signal/values"][:] *= factor
        found = run(folder, tmp_path / f"{statistic}-out", local_model())
        peaks.append([row["peaks"] for row in found.tables["tracks"]])
    assert peaks[0] == peaks[1]
    assert min(peaks[0]) > 0


@pytest.mark.parametrize(
    ("reach", "length", "window", "span"),
    [
        (WindowReach(lengths=(512, 1024), crop=64), 300, None, 384),
        (WindowReach(lengths=(512, 1024), crop=64), 400, None, 896),
        (WindowReach(lengths=(512, 1024), crop=64), 9000, 128, 896),
        (WindowReach(multiple_of=128, crop=64), 9000, 1000, 1024),
        (WindowReach(multiple_of=128, crop=64), 300, 1000, 384),
        (WindowReach(multiple_of=128, crop=0), 10**7, None, 131_072),
    ],
)
def test_windows_are_as_long_as_the_model_takes_them(
    reach: WindowReach, length: int, window: int | None, span: int
) -> None:
    spec = window_model().spec.model_copy(update={"reach": reach})
    assert window_span(spec, length, window) == span


def test_two_models_have_the_tracks_that_both_give(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", local_model(), local_model(seed=3))
    assert {row["model"] for row in found.tables["means"]} == {"toy_binned", "toy_binned-2"}
    assert found.mean("toy_binned", "pearson") > found.mean("toy_binned-2", "pearson")
    lines = list(found.told())
    assert lines[0][0].startswith("toy_binned: mean pearson 0.")
    assert lines[-1][0].startswith("3 tracks in 258 bins of 3 records")


def renamed(package: Package, **update: Any) -> Package:
    spec = package.spec
    outputs = tuple(output.model_copy(update=update) for output in spec.outputs)
    return Package(spec.model_copy(update={"outputs": outputs}), package.networks)


def test_what_does_not_go_together_is_said(data: Path, tmp_path: Path) -> None:
    package = local_model()
    names = tuple(t.model_copy(update={"name": f"x{i}"}) for i, t in enumerate(TRACKS))
    with pytest.raises(UsageError, match=r"toy_binned has none of the tracks of the data by name: it has x0, x1, x2"):
        run(data, tmp_path / "out", renamed(package, tracks=names))
    with pytest.raises(UsageError, match="gives bins of 8 bp, the data have bins of 4 bp"):
        run(data, tmp_path / "out", renamed(package, resolution=8))
    with pytest.raises(UsageError, match="--tracks nothing: the data have no track of that name"):
        run(data, tmp_path / "out", package, tracks=("nothing",))
    near = write_signals(tmp_path / "near", flank=8)
    with pytest.raises(UsageError, match="keeps 8 bases on either side"):
        run(near, tmp_path / "out", package)
    with pytest.raises(UsageError, match="is not CONTIG:START-END"):
        run(data, tmp_path / "out", package, locus="chr1")
    with pytest.raises(UsageError, match="no record of the data covers it"):
        run(data, tmp_path / "out", package, locus="chr7:1-100")
    assert not (tmp_path / "out").exists()


def test_weights_that_give_no_numbers_are_said(data: Path, tmp_path: Path) -> None:
    package = local_model()
    torch.nn.init.constant_(package.networks[0].head.weight, math.nan)
    with pytest.raises(InputError, match=r"gives values that are no numbers for chr1:\d+-\d+"):
        run(data, tmp_path / "out", package)


def test_an_interrupted_run_goes_on_where_it_stood(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    own = SignalAnswers.each

    def counted(self: SignalAnswers, items: Any) -> Any:
        nonlocal asked
        asked += len(items)
        return own(self, items)

    monkeypatch.setattr(SignalAnswers, "each", counted)
    with monkeypatch.context() as patch:
        patch.setattr(verb, "write_folder", lambda *_: (_ for _ in ()).throw(InterruptedRunError(130, "stopped")))
        with pytest.raises(InterruptedRunError):
            run(data, tmp_path / "out", local_model())
    first, asked = asked, 0
    found = run(data, tmp_path / "out", local_model())
    assert 0 < asked < first  # the stretch that is drawn is asked for again
    assert found.mean("toy_binned", "pearson") > 0.5
    assert not list(tmp_path.glob("*.basecast"))
    with pytest.raises(UsageError, match="is there already"):
        run(data, tmp_path / "out", local_model())


def test_of_many_bins_some_are_ranked(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.evaluation.signal_tally.MOST_RANKED", 300)
    found = run(data, tmp_path / "out", local_model())
    bins, said, _ = found.models[0].tally.kept()
    assert len(bins) < 100
    assert not (bins % 3).any()
    assert any("of one bin in 3" in line for line in found.warnings)
    assert found.models[0].tally.taught.n == 258
    x, y = said[:, 0], found.models[0].tally.kept()[2][:, 0]
    assert found.track("toy_binned", "plus")["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_settings_of_signals_do_not_go_with_sites(tmp_path: Path) -> None:
    sites = write_data(tmp_path / "sites")
    with pytest.raises(UsageError, match=r"--rc, --shifts, --tracks.* go with signals, and the data have splice sites"):
        evaluate(
            [sites],
            tmp_path / "out",
            models=[local_model()],
            signal=SignalEvaluateSettings(locus="chr1:1-2"),
            engine=ON_CPU,
        )
    both = write_signals(tmp_path / "signals")
    with pytest.raises(UsageError, match="some of the datasets have splice sites and others signals"):
        evaluate([sites, both], tmp_path / "out", models=[local_model()], engine=ON_CPU)
    with pytest.raises(UsageError, match="--leave-out chrX"):
        evaluate(
            [both],
            tmp_path / "out",
            models=[local_model()],
            settings=EvaluateSettings(left_out=("chrX",)),
            engine=ON_CPU,
        )


def test_the_folder_holds_numbers_tables_and_figures(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out", local_model(), locus="chr1:1,101-1,400")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"evaluation.json", "tracks.tsv", "means.tsv", "by_assay.png", "scatter.png", "locus.png"}
    header, *lines = (tmp_path / "out" / "tracks.tsv").read_text().splitlines()
    assert header.split("\t")[:6] == ["model", "track", "strand", "assay", "biosample", "description"]
    assert [line.split("\t")[1] for line in lines] == ["plus", "minus", "both"]
    for path in (tmp_path / "out").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
