"""Accuracies that upstream computed on its own test data, by its own model.

Upstream sums in single precision and prints five digits; ours are float64. Its loss is not compared: hound_eval leaves
out the weight of totals that training has.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from basecast.data.from_tfrecords import create_from_tfrecords
from basecast.evaluation import signal_evaluation_files
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.records import EngineSettings
from basecast.evaluation.signal_evaluation import SignalEvaluation
from basecast.inference.tuning import Tuning
from basecast.zoo.importers.baskerville import load

COLUMNS = {"pearsonr": "pearson", "spearmanr": "spearman", "r2": "r2"}


def test_accuracies_are_upstreams_to_the_digits_it_prints(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_evaluation_files, "figures_of", lambda _: {})
    peer = shared_data / "peers" / "baskerville"
    if not peer.is_dir():
        pytest.skip(f"{peer} is not there")
    package = load([peer / "model.h5"], params=peer / "params.json", targets=peer / "tiny_hg38" / "targets.txt")
    create_from_tfrecords(peer / "tiny_hg38", tmp_path / "data")
    engine = EngineSettings(device="cpu", threads=1, tuning=Tuning())
    found = evaluate([tmp_path / "data"], tmp_path / "out", models=[package], engine=engine)
    assert isinstance(found, SignalEvaluation)
    with (peer / "golden" / "eval_acc.txt").open() as lines:
        golden = list(csv.DictReader(lines, delimiter="\t"))
    rows = found.tables["tracks"]
    assert [row["identifier"] for row in golden] == [row["track"] for row in rows]
    assert [row["description"] for row in golden] == [row["description"] for row in rows]
    assert found.models[0].tally.taught.n == 10 * 2048
    for theirs, ours in COLUMNS.items():
        expected = np.array([float(row[theirs]) for row in golden])
        np.testing.assert_allclose([row[ours] for row in rows], expected, rtol=1e-5, atol=1e-5)
        assert np.std(expected) > 0.1
    assert f"{found.mean('model', 'pearson'):.5f}" == "0.40851"
    assert f"{found.mean('model', 'r2'):.5f}" == "-0.09307"
