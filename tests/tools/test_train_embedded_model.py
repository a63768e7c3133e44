from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from basecast.data.simulated import simulate
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, decode

TOOL = Path(__file__).parents[2] / "tools" / "train_embedded_model.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("train_embedded_model", TOOL)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Genome, Annotation]:
    files = simulate(tmp_path_factory.mktemp("simulated"))
    genome = Genome(files.genome)
    return genome, Annotation.read(files.genes).on(genome)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """So small a network waits longer for its threads than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_labels_stand_on_the_exonic_bases_beside_gt_and_ag(tool: ModuleType, scene: tuple[Genome, Annotation]) -> None:
    genome, annotation = scene
    genes = tool.Genes.of(genome, list(annotation.transcripts))
    letters = decode(genes.tokens)
    donors, acceptors = (np.flatnonzero(genes.labels == c) for c in (tool.DONOR, tool.ACCEPTOR))
    n_introns = sum(len(t.introns) for t in annotation.transcripts)
    assert len(donors) == len(acceptors) == n_introns
    assert all(letters[at + 1 : at + 3] == "GT" for at in donors)
    assert all(letters[at - 2 : at] == "AG" for at in acceptors)
    assert (genes.tokens[~genes.inside] == N).all()


def test_weighted_windows_are_worth_uniform_ones(tool: ModuleType, scene: tuple[Genome, Annotation]) -> None:
    """Any function of the centre has the same weighted mean over drawn windows as its mean over all centres."""
    genome, annotation = scene
    genes = tool.Genes.of(genome, list(annotation.transcripts))
    half = tool.OUTPUTS // 2
    tokens, labels, weights = genes.draw(np.random.default_rng(1), 40_000)
    assert tokens.shape == (40_000, tool.OUTPUTS + tool.CONTEXT)
    middle = slice(tool.CONTEXT // 2, tool.CONTEXT // 2 + tool.OUTPUTS)
    assert ((tokens[:, middle] == N) == (weights == 0)).all()
    is_site_drawn = (labels[:, half] > 0) * weights[:, half]
    assert is_site_drawn.mean() == pytest.approx(genes.sites.size / genes.places.size, rel=0.1)
    assert (labels[:, half] > 0).mean() > 1.5 * is_site_drawn.mean()


def test_chromosomes_are_held_out_and_no_gene_is_in_two_parts(tool: ModuleType, tmp_path: Path) -> None:
    lines = []
    for i in range(60):
        contig = f"chr{i % 10 + 1}_{1000 * i + 1}_{1000 * i + 900}"
        lines.append(f"G{i}\t{contig}\t+\t0\t900\t0,500,\t100,900,\n")
    table = tmp_path / "genes.tsv"
    table.write_text("#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n" + "".join(lines))
    training, validation, test = tool.split(Annotation.read(table), seed=1)
    assert {t.contig.split("_")[0] for t in test} == set(tool.TEST_CHROMOSOMES)
    assert not {t.contig.split("_")[0] for t in training + validation} & set(tool.TEST_CHROMOSOMES)
    assert len(validation) == 3
    assert len({t.gene_name for t in training + validation + test}) == 60


def test_metrics_of_a_known_ranking(tool: ModuleType) -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1], dtype=np.float32)
    found = tool.found(scores, np.array([True, False, True, False, True]))
    assert found.top1 == pytest.approx(2 / 3)
    assert found.auprc == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found.above_half == pytest.approx(2 / 3)


@pytest.mark.usefixtures("_one_thread")
def test_a_run_learns_and_goes_on_where_it_stood(
    tool: ModuleType,
    scene: tuple[Genome, Annotation],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    genome, annotation = scene
    genes = tool.Genes.of(genome, list(annotation.transcripts)[:4])
    monkeypatch.setattr(tool, "BATCH", 8)
    monkeypatch.setattr(tool, "VALIDATION_BATCHES", 2)
    seconds = itertools.count()
    monkeypatch.setattr(tool, "time", SimpleNamespace(monotonic=lambda: next(seconds)))  # a step takes a second

    def run(minutes: float) -> Any:
        return tool.Run(tmp_path / "work", minutes, channels=4, seed=1, rate=1e-2)

    first = run(0.2)
    before = first.validate(genes)
    first.train(genes, genes, every=6)
    assert first.best < before
    second = run(0.4)
    assert (second.steps, second.elapsed, second.best) == (12, 12, first.best)
    torch.testing.assert_close(second.network.state_dict(), first.network.state_dict())
    second.train(genes, genes, every=6)
    assert second.steps == 24
    assert capsys.readouterr().out.count("validation loss") == 4
