"""The models that ship: whole, small, honest, and one of them good enough for the demo."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import basecast as bc
from basecast.data.simulated import SimulatedGenome, simulate
from basecast.genome.source import Masked
from basecast.zoo.catalogue import embedded, load_model
from basecast.zoo.package import verify_package

NAME = "human-400"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    return simulate(tmp_path_factory.mktemp("simulated"))


@pytest.mark.parametrize("name", sorted(embedded()))
def test_a_package_is_whole_small_and_says_what_it_is(name: str) -> None:
    folder = embedded()[name]
    vectors = [f"acceptance/{file}" for file in ("bases.fa", "genes.bed", "in.vcf", "vectors.json")]
    told = ("calibration/calibration.json", "training/curves.png", "training/metrics-1.jsonl")
    assert {*vectors, *told, "config.json", "model.safetensors"} <= set(verify_package(folder))
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 2_000_000
    spec = load_model(name).spec
    assert (spec.name, spec.licence, spec.mask, spec.parents) == (name, "Apache-2.0", "gene", ())
    assert spec.species
    assert spec.genome_build
    assert spec.calibration.temperature
    card = (folder / "README.md").read_text()
    for said in ("not a medical device", "top-1L", "AUPRC", "### Training", "### Calibration", spec.provenance.command):
        assert said in card, said


def test_it_finds_most_sites_of_the_simulated_genome(files: SimulatedGenome) -> None:
    genome = bc.Genome(files.genome)
    engine = bc.Engine(load_model(NAME), device="cpu")
    found: dict[str, list[float]] = {"acceptor": [], "donor": []}
    n_false = 0
    for t in bc.Annotation.read(files.genes).on(genome).transcripts:
        source = Masked(genome, t.contig, t.start, t.end)
        request = bc.Request(source, t.contig, t.start, t.end, "+" if t.strand == "+" else "-")
        values = engine.evaluate([request])[0]["splice"]
        acceptors, donors = t.acceptors - t.start, t.donors - t.start
        found["acceptor"] += values[acceptors, 1].tolist()
        found["donor"] += values[donors, 2].tolist()
        n_false += int((np.delete(values[:, 1], acceptors) > 0.5).sum() + (np.delete(values[:, 2], donors) > 0.5).sum())
    shares = {site: float(np.mean(np.array(p) > 0.5)) for site, p in found.items()}
    assert min(shares.values()) > 0.8, shares
    assert n_false < 0.25 * sum(len(p) for p in found.values())


def test_lost_sites_score_high_and_controls_low(files: SimulatedGenome) -> None:
    scores = bc.score_variants(files.variants, model=NAME, genome=files.genome, annotation=files.genes)
    lines = [line for line in files.variants.read_text().splitlines() if not line.startswith("#")]
    kinds = [line.split("SIM=")[1].split(";")[0] for line in lines]
    table = scores.table.with_columns(
        kind=pl.Series([kinds[number - 1] for number in scores.table["record"]]),
        largest=pl.max_horizontal("DS_AG", "DS_AL", "DS_DG", "DS_DL"),
    )
    lost = table.filter(pl.col("kind").str.contains("_loss"))["largest"]
    control = table.filter(pl.col("kind").str.ends_with("_control"))["largest"]
    assert (lost > 0.5).mean() > 0.75
    assert control.max() < 0.2
    status = dict(table.filter(pl.col("largest").is_null()).select("kind", "status").iter_rows())
    assert set(status) == {"between_genes", "exon_deletion_symbolic"}
