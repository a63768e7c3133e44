"""Models on held-out records: against the network itself and plain arithmetic on all positions at once."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from labelled import N_RECORDS, logits, model, softmax, write_split
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from basecast.data.openspliceai import ShardWriter
from basecast.data.store import Dataset
from basecast.errors import InputError, InterruptedRunError, UsageError
from basecast.evaluation import evaluate as verb
from basecast.evaluation import evaluation_files
from basecast.evaluation.answers import Answers
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.evaluation import EvaluateSettings, Evaluation, reliability_of
from basecast.evaluation.metrics import expected_calibration_error, top_k_accuracy
from basecast.evaluation.records import EngineSettings
from basecast.figures.reliability import reliability
from basecast.inference.tuning import Tuning
from basecast.spec import ReverseComplement
from basecast.zoo.package import Package

ON_CPU = EngineSettings(device="cpu", threads=1, tuning=Tuning())
FEW = EvaluateSettings(draws=40)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("data") / "yeast")


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes ten times as long as all the rest."""
    if "the_folder_holds" not in request.node.name:
        monkeypatch.setattr(evaluation_files, "figures_of", lambda _: {})


def run(
    data: Path | Sequence[Path], target: Path, *models: Package, settings: EvaluateSettings = FEW, **more: Any
) -> Evaluation:
    folders = [data] if isinstance(data, Path) else data
    return evaluate(folders, target, models=models, settings=settings, engine=ON_CPU, **more)


def direct(package: Package, data: Path, kept: Sequence[int] = range(N_RECORDS)) -> tuple[Any, Any, Any]:
    """Probabilities, labels and record of every known position, straight from the networks."""
    dataset = Dataset(data / "test.h5")
    given = []
    for record in kept:
        length = int(dataset.lengths[record])
        known = dataset.valid(record, 0, length, "splice")
        each = [softmax(x) for x in logits(package, dataset, record, masked=package.spec.mask == "gene")]
        labels = dataset.labels(record, 0, length, "splice")[known]
        given.append((np.mean(each, axis=0)[known], labels, np.full(labels.size, record)))
    return tuple(np.concatenate(x) for x in zip(*given, strict=True))


@pytest.mark.parametrize("members", [1, 2])
def test_numbers_are_those_of_the_network_on_every_known_base(data: Path, tmp_path: Path, members: int) -> None:
    package = model(members)
    found = run(data, tmp_path / "out", package)
    p, labels, _ = direct(package, data)
    table = precision_recall_fscore_support(labels, p.argmax(axis=1), labels=[0, 1, 2], zero_division=np.nan)
    for number, label in ((1, "acceptor"), (2, "donor")):
        is_site = labels == number
        expected = {f"top-{k:g}": top_k_accuracy(p[:, number], is_site, k) for k in (0.5, 1.0, 2.0, 4.0)}
        expected["auprc"] = average_precision_score(is_site, p[:, number])
        expected |= {name: table[i][number] for i, name in enumerate(("precision", "recall", "f1"))}
        expected["ece"] = expected_calibration_error(p[:, number], is_site)
        for metric, value in expected.items():
            row = found.row("tiny-0", label, metric)
            assert row.value == pytest.approx(value, rel=2e-4, nan_ok=True), (label, metric)
            assert (row.records, row.positions, row.sites) == (N_RECORDS, labels.size, is_site.sum())
            assert row.low <= row.value <= row.high or metric in ("ece", "precision")
        assert found.row("tiny-0", label, "top-4").value > 0
    nll = -np.log(p[np.arange(labels.size), labels]).mean()
    assert found.row("tiny-0", "all", "nll").value == pytest.approx(nll, rel=1e-5)
    brier = np.square(p - np.eye(3)[labels]).sum(axis=1).mean()
    assert found.row("tiny-0", "all", "brier").value == pytest.approx(brier, rel=1e-5)


def test_bases_without_a_label_are_left_out(data: Path) -> None:
    dataset = Dataset(data / "test.h5")
    _, labels, _ = direct(model(), data)
    assert labels.size < dataset.lengths.sum() - 100


def test_each_chromosome_is_as_if_it_were_alone(data: Path, tmp_path: Path) -> None:
    package = model()
    found = run(data, tmp_path / "out", package)
    p, labels, record = direct(package, data)
    groups = {row.group for row in found.rows if row.by == "chromosome"}
    assert groups == {"chr1", "chr2", "chr3"}
    for number in range(3):
        here = record % 3 == number
        row = next(
            r
            for r in found.rows
            if (r.by, r.group, r.label, r.metric) == ("chromosome", f"chr{number + 1}", "donor", "auprc")
        )
        assert row.value == pytest.approx(average_precision_score(labels[here] == 2, p[here, 2]), rel=1e-4)
        assert (row.records, row.sites) == (8, (labels[here] == 2).sum())


def test_several_genomes_are_told_apart_and_counted_together(data: Path, tmp_path: Path) -> None:
    other = write_split(tmp_path / "worm", seed=5, n=10)
    package = model()
    found = run([data, other], tmp_path / "out", package)
    rows = {(r.by, r.group, r.metric): r for r in found.rows if r.label == "donor"}
    alone = run(other, tmp_path / "alone", package).row("tiny-0", "donor", "auprc")
    of_worm = rows["genome", "worm", "auprc"]
    assert (of_worm.value, of_worm.records) == (pytest.approx(alone.value, abs=1e-9), 10)
    assert rows["all", "all", "auprc"].records == N_RECORDS + 10
    assert ("chromosome", "worm:chr1", "auprc") in rows


def test_kinds_of_sites_have_their_recall_at_the_common_threshold(data: Path, tmp_path: Path) -> None:
    package = model()
    found = run(data, tmp_path / "out", package)
    dataset = Dataset(data / "test.h5")
    p, labels, _ = direct(package, data)
    threshold = np.sort(p[:, 2])[-(labels == 2).sum()]
    hits: dict[tuple[str, str], list[bool]] = {}
    for record in range(N_RECORDS):
        sites = dataset.sites(record, "splice")
        q = softmax(logits(package, dataset, record)[0])
        known = dataset.valid(record, 0, len(q), "splice")
        for position, label, _, motif, intron, place in zip(*sites, strict=True):
            if label == 2 and known[position]:
                is_found = bool(q[position, 2] >= threshold - 1e-7)
                hits.setdefault(("motif", ["other", "GT-AG", "GC-AG", "AT-AC"][motif]), []).append(is_found)
                length = "0-79 bp" if intron < 80 else "80-199 bp" if intron < 200 else "200-999 bp"
                hits.setdefault(("intron length", length), []).append(is_found)
                hits.setdefault(("place", ["inner", "first", "last", "first and last"][place]), []).append(is_found)
    rows = {(r.by, r.group): r for r in found.rows if r.metric == "recall at top-1" and r.label == "donor"}
    assert rows.keys() == hits.keys()
    for key, row in rows.items():
        assert (row.value, row.sites) == (pytest.approx(np.mean(hits[key])), len(hits[key])), key
    assert 0 < sum(map(sum, hits.values())) < sum(map(len, hits.values()))


def test_a_model_differs_from_itself_by_nothing_and_from_another_by_draws_of_the_same_records(
    data: Path, tmp_path: Path
) -> None:
    one, same, other = model(), model(name="twin"), model(seed=3)
    found = run(data, tmp_path / "out", one, same, other, settings=EvaluateSettings(draws=200))
    paired = {(r.model, r.label, r.metric): r for r in found.rows if r.than and r.by == "all"}
    assert {r.than for r in paired.values()} == {"tiny-0"}
    zero = paired["twin", "mean", "auprc"]
    assert (zero.value, zero.low, zero.high) == (0, 0, 0)
    more = paired["tiny-3", "mean", "auprc"]
    by_hand = found.row("tiny-3", "mean", "auprc").value - found.row("tiny-0", "mean", "auprc").value
    assert more.value == pytest.approx(by_hand)
    assert more.low < more.value < more.high


def test_the_same_seed_gives_the_same_intervals_and_another_does_not(data: Path, tmp_path: Path) -> None:
    package = model()
    rows = [
        run(data, tmp_path / f"out{i}", package, settings=EvaluateSettings(draws=50, seed=seed)).row(
            "tiny-0", "donor", "auprc"
        )
        for i, seed in enumerate((1, 1, 2))
    ]
    assert rows[0] == rows[1]
    assert rows[0].value == rows[2].value
    assert rows[0].low != rows[2].low


@pytest.mark.parametrize(
    ("name", "left"),
    [("GENE4", 23), ("ALIAS7", 23), ("chr2", 16), ("chr3_part", 16), ("group5", 22)],
)
def test_records_are_left_out_by_gene_contig_chromosome_or_group(
    data: Path, tmp_path: Path, name: str, left: int
) -> None:
    package = model()
    found = run(data, tmp_path / "out", package, settings=EvaluateSettings(draws=5, left_out=(name,)))
    assert len(found.records) == left
    kept = [int(row) for row in found.records.row]
    p, labels, _ = direct(package, data, kept)
    assert found.row("tiny-0", "donor", "auprc").value == pytest.approx(
        average_precision_score(labels == 2, p[:, 2]), rel=1e-4
    )


def test_classes_are_matched_by_name(data: Path, tmp_path: Path) -> None:
    package = model()
    output = package.spec.outputs[0]
    turned = output.model_copy(
        update={"tracks": output.tracks[::-1], "reverse_complement": ReverseComplement(permutation=())}
    )
    network = copy.deepcopy(package.networks[0])
    network.head.weight.data = network.head.weight.data.flip(0)  # type: ignore[union-attr,operator]
    network.head.bias.data = network.head.bias.data.flip(0)  # type: ignore[union-attr,operator]
    other = Package(package.spec.model_copy(update={"outputs": (turned,), "name": "turned"}), (network,))
    found = run(data, tmp_path / "out", package, other)
    for label in ("acceptor", "donor"):
        for metric in ("auprc", "recall", "ece"):
            one, two = (found.row(name, label, metric).value for name in ("tiny-0", "turned"))
            assert one == pytest.approx(two, rel=1e-4)
    assert found.row("tiny-0", "donor", "auprc").value != found.row("tiny-0", "acceptor", "auprc").value


def test_a_gene_model_sees_no_flanks_and_a_genomic_one_does(tmp_path: Path) -> None:
    data = write_split(tmp_path / "flanked", mask="none", flank=HALF_AND_MORE)
    for mask in ("gene", "none"):
        package = model(mask=mask, name=mask)
        p, labels, _ = direct(package, data)
        found = run(data, tmp_path / mask, package)
        nll = -np.log(p[np.arange(labels.size), labels]).mean()
        assert found.row(mask, "all", "nll").value == pytest.approx(nll, rel=1e-5)
        assert not found.warnings


HALF_AND_MORE = 30


def test_a_genomic_model_on_cut_out_genes_is_warned_of(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", model(mask="none"))
    assert any("has N outside the genes" in line for line in found.warnings)


def test_the_folder_holds_what_was_found(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", model(), model(seed=3), command="basecast evaluate ...")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json", "table.tsv", "precision_recall.png", "reliability.png", "accuracy.png", "site_kinds.png",
    }  # fmt: skip
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert said["command"] == "basecast evaluate ..."
    assert [m["name"] for m in said["models"]] == ["tiny-0", "tiny-3"]
    assert said["data"][0]["sha256"] == Dataset(data / "test.h5").digest
    table = pl.read_csv(tmp_path / "out" / "table.tsv", separator="\t")
    assert table.height == len(said["rows"]) == len(found.rows)
    one = table.filter(
        (pl.col("model") == "tiny-3")
        & pl.col("than").is_null()
        & (pl.col("by") == "all")
        & (pl.col("class") == "donor")
        & (pl.col("metric") == "auprc")
    )
    assert one["value"][0] == pytest.approx(found.row("tiny-3", "donor", "auprc").value, rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # parts are gone


@pytest.mark.parametrize("when", [1, 3])
def test_an_interrupted_run_goes_on_where_it_stood(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    monkeypatch.setattr(Answers, "span", 2_000)
    models = model(), model(seed=3)
    whole = run(data, tmp_path / "whole", *models)
    each, asked = Answers.each, []

    def counted(self: Answers, items: Sequence[int]) -> Any:
        asked.append(list(items))
        if len(asked) == when + 1:
            raise InterruptedRunError(130, "stopped")
        return each(self, items)

    monkeypatch.setattr(Answers, "each", counted)
    with pytest.raises(InterruptedRunError):
        run(data, tmp_path / "out", *models)
    assert not (tmp_path / "out").exists()
    before = asked.copy()
    again = run(data, tmp_path / "out", *models)
    assert [row.as_dict() for row in again.rows] == [row.as_dict() for row in whole.rows]
    assert len(asked) - len(before) == 2 * len({tuple(items) for items in asked}) - when


def test_a_run_of_other_records_is_not_gone_on_with(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "write_folder", lambda *_: (_ for _ in ()).throw(InterruptedRunError(130, "stopped")))
    with pytest.raises(InterruptedRunError):
        run(data, tmp_path / "out", model())
    with pytest.raises(UsageError, match=r"part of another run: left out"):
        run(data, tmp_path / "out", model(), settings=EvaluateSettings(draws=5, left_out=("chr1",)))


def test_shards_do_not_change_a_number(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run(data, tmp_path / "one", model())
    monkeypatch.setattr(Answers, "span", 1_000)
    many = run(data, tmp_path / "many", model())
    for a, b in zip(one.rows, many.rows, strict=True):
        np.testing.assert_allclose((a.value, a.low, a.high), (b.value, b.low, b.high), rtol=1e-3, atol=1e-6)


@pytest.fixture
def _few_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "CAPACITY", 10)
    monkeypatch.setattr(verb, "_LEAST_CAPACITY", 1)


@pytest.mark.usefixtures("_few_scores")
def test_a_calibration_error_of_only_the_best_positions_is_not_given(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", model(), model(seed=3))
    errors = [row for row in found.rows if row.metric == "ece"]
    assert len(errors) == 3 * 4 * 3  # classes and mean, all and chromosomes, two models and their difference
    assert {(row.as_dict()["value"], row.as_dict()["low"]) for row in errors} == {(None, None)}
    for name in ("tiny-0", "tiny-3"):
        assert any(line.startswith(f"{name}, donor: no calibration error (ECE)") for line in found.warnings)
    points = reliability_of(found)
    assert points["donor"]["tiny-0"].shape == (0, 4)
    reliability(points)


@pytest.mark.usefixtures("_few_scores")
def test_how_far_auprc_of_a_group_may_be_off_is_told(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", model())
    (line,) = [x for x in found.warnings if x.startswith("tiny-0, donor: AUPRC may be up to")]
    told = re.search(r"up to (\S+) more, and that of chromosome (chr\d) up to (\S+), for", line)
    assert told
    assert float(told[3]) > float(told[1]) > 0
    p, labels, record = direct(model(), data)
    short = {}
    for row in found.rows:
        if (row.by, row.label, row.metric) == ("chromosome", "donor", "auprc"):
            here = record % 3 == int(row.group[-1]) - 1
            short[row.group] = average_precision_score(labels[here] == 2, p[here, 2]) - row.value
    assert 0 < max(short.values()) <= float(told[3]) * 1.05


def test_sites_of_which_nothing_is_known_have_no_kind(data: Path, tmp_path: Path) -> None:
    dataset = Dataset(data / "test.h5")
    (tmp_path / "shards").mkdir()
    with ShardWriter(tmp_path / "shards" / "dataset_test.h5", dataset.header) as writer:
        for i in range(6):
            length = int(dataset.lengths[i])
            writer.add(dataset.record(i), dataset.tokens(i, 0, length), {"splice": dataset.sites(i, "splice")})
    alone = run(tmp_path / "shards", tmp_path / "alone", model())
    assert {row.by for row in alone.rows} == {"all"}
    assert alone.row("tiny-0", "donor", "auprc").sites > 0
    both = run([data, tmp_path / "shards"], tmp_path / "both", model())
    known = {(row.by, row.group, row.label): row.sites for row in both.rows if row.metric == "recall at top-1"}
    whole = run(data, tmp_path / "out", model())
    assert known == {(r.by, r.group, r.label): r.sites for r in whole.rows if r.metric == "recall at top-1"}


def test_progress_ends_at_all_bases_of_all_models(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    run(data, tmp_path / "out", model(), model(seed=3), progress=lambda done, total: told.append((done, total)))
    n_bases = int(Dataset(data / "test.h5").lengths.sum())
    assert told[-1] == (2 * n_bases, 2 * n_bases)


def test_too_many_chromosomes_are_put_together(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.evaluation.evaluation._MOST_GROUPS", 1)
    found = run(data, tmp_path / "out", model())
    records = {r.group: r.records for r in found.rows if r.by == "chromosome"}
    assert records.keys() == {"others", max(records.keys() - {"others"})}
    assert sum(records.values()) == N_RECORDS
    assert any("others are together" in line for line in found.warnings)


# what is refused


def test_a_folder_that_is_there_is_not_written_over(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        run(data, tmp_path, model())
    with pytest.raises(UsageError, match="mkdir -p"):
        run(data, tmp_path / "no" / "out", model())


def test_a_split_that_is_missing_or_no_dataset_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"validation\.h5"):
        run(data, tmp_path / "out", model(), settings=EvaluateSettings(split="validation"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "test.h5").write_bytes((data / "test.h5").read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        run(tmp_path / "bad", tmp_path / "out", model())


def test_a_name_to_leave_out_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GENE99"):
        run(data, tmp_path / "out", model(), settings=EvaluateSettings(left_out=("GENE99",)))
    everything = ("chr1", "chr2", "chr3")
    with pytest.raises(UsageError, match="no record left"):
        run(data, tmp_path / "out", model(), settings=EvaluateSettings(left_out=everything))


def test_a_dataset_without_the_context_that_a_model_needs_is_refused(tmp_path: Path) -> None:
    data = write_split(tmp_path / "short", mask="none", flank=5)
    with pytest.raises(UsageError, match="--flank 22"):
        run(data, tmp_path / "out", model(mask="none"))
    run(data, tmp_path / "out", model())  # one that sees genes only does not need them


def test_a_model_that_gives_no_numbers_is_named(data: Path, tmp_path: Path) -> None:
    package = model()
    with torch.no_grad():
        package.networks[0].head.bias[1] = math.nan  # type: ignore[union-attr,operator]
    with pytest.raises(InputError, match=r"tiny-0 gives values that are no numbers for chr1_part:1-\d+\(\+\)"):
        run(data, tmp_path / "out", package)
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_classes_or_outputs_is_refused(data: Path, tmp_path: Path) -> None:
    package = model()
    output = package.spec.outputs[0]
    renamed = tuple(track.model_copy(update={"name": f"x{i}"}) for i, track in enumerate(output.tracks))
    for changed, message in (
        (output.model_copy(update={"tracks": renamed}), "tells apart x0, x1, x2"),
        (output.model_copy(update={"name": "other"}), "has no output 'splice'"),
    ):
        member = package.spec.members[0].model_copy(update={"outputs": (changed.name,)})
        spec = package.spec.model_copy(update={"outputs": (changed,), "members": (member,)})
        with pytest.raises(UsageError, match=message):
            run(data, tmp_path / "out", Package(spec, package.networks))


def test_a_dataset_of_signal_has_no_sites(tmp_path: Path) -> None:
    from basecast.data.store import Header, Record
    from basecast.data.writer import Writer
    from basecast.spec.splice import splice_output

    (tmp_path / "signal").mkdir()
    header = Header(outputs=(splice_output(),), dense=("splice",))
    with Writer(tmp_path / "signal" / "test.h5", header) as writer:
        writer.add(
            Record("chr1", 0, 90, "+"), np.zeros(90, dtype=np.uint8), {"splice": np.zeros((90, 3), dtype=np.float16)}
        )
    with pytest.raises(UsageError, match="no output with one class a base"):
        run(tmp_path / "signal", tmp_path / "out", model())
