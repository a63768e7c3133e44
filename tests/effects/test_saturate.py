"""Every allele of a stretch: the scores of ``variant``, in bounded memory, and in files that VEP's plugin reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from plugin import Plugin
from scenes import lively, random_letters

from basecast.effects import saturate as module
from basecast.effects.output import OutputSettings
from basecast.effects.saturate import Wanted, saturate
from basecast.effects.scorer import Scorer, VariantSettings, score_variants
from basecast.effects.splicing import LABELS
from basecast.errors import InputError, UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantRecord

LETTERS = random_letters(np.random.default_rng(7), 400)
PACKAGE = lively()
GENES = (("LEFT", "+", [(20, 60), (100, 150), (180, 300)]), ("RIGHT", "-", [(250, 280), (330, 390)]))
SETTINGS = VariantSettings(distance=15, device="cpu", threads=1)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A genome, its second contig with Ns, and two genes that overlap."""
    folder = tmp_path_factory.mktemp("saturate")
    (folder / "g.fa").write_text(f">chr1\n{LETTERS}\n>chr2\n{'ACNNGT' * 10}\n>chr3\n{'N' * 50}\n")
    lines = []
    for name, strand, exons in GENES:
        about = f'gene_id "ID_{name}"; gene_name "{name}"; transcript_id "T_{name}";'
        for kind, places in (("transcript", [(exons[0][0], exons[-1][1])]), ("exon", exons)):
            lines += [f"chr1\tx\t{kind}\t{a + 1}\t{b}\t.\t{strand}\t.\t{about}\n" for a, b in places]
    (folder / "g.gtf").write_text("".join(lines))
    return {"genome": Genome(folder / "g.fa"), "annotation": Annotation.read(folder / "g.gtf"), "model": PACKAGE}


def table(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path).drop("record")


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_the_scores_are_those_of_variant(rules: Any, ground: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"rules": rules, "mask": "both"})
    wanted = Wanted(regions=("chr1:240-262",), indels=True)
    summary = saturate(tmp_path / "out.parquet", wanted, settings=settings, **ground)
    found = table(tmp_path / "out.parquet")
    alleles = found.select("contig", "position", "ref", "alt").unique(maintain_order=True)
    assert summary.alleles == summary.scored == summary.records == alleles.height == 11 * 23
    # among others, not in the order and the company that they had before
    asked = [*alleles.reverse().iter_rows(), ("chr1", 120, LETTERS[119], "ACGT")]
    expected = score_variants(asked, settings=settings, **ground).table
    named = found.join(expected, on=["contig", "position", "ref", "alt", "symbol", "mask"], how="left", suffix="_asked")
    assert set(found["symbol"]) == {"LEFT", "RIGHT"}
    for label in LABELS:
        for kind, tolerance in (("DS", 1e-3), ("REF", 1e-4), ("ALT", 1e-4)):
            ours, theirs = (named[f"{kind}_{label}{end}"].to_numpy() for end in ("", "_asked"))
            assert np.abs(ours - theirs).max() < tolerance
    assert max(found[f"DS_{label}"].max() for label in LABELS) > 0.1  # type: ignore[type-var]


def test_a_summary_says_what_has_no_allele(ground: dict[str, Any], tmp_path: Path) -> None:
    wanted = Wanted(regions=("chr2:1-12", "chr1:395-400"))
    summary = saturate(tmp_path / "out.tsv", wanted, settings=SETTINGS, **ground)
    assert (summary.bases, summary.unknown, summary.alleles) == (18, 4, 3 * 14)
    assert summary.statuses == {"no_gene": 42}
    assert summary.nothing_scored
    assert any("4 bases of 18 are N in" in warning for warning in summary.warnings)
    assert json.loads((tmp_path / "out.tsv.stats.json").read_text()) == summary.facts
    assert "precomputed" not in summary.facts


def test_nothing_but_n_is_an_error(ground: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every base that is named is N"):
        saturate(tmp_path / "out.tsv", Wanted(regions=("chr3",)), settings=SETTINGS, **ground)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_in_alleles_of_all(ground: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("basecast.effects.cut.SHARD", 10)
    told: list[tuple[int, int]] = []
    wanted = Wanted(regions=("chr1:240-250",))
    saturate(tmp_path / "out.tsv", wanted, settings=SETTINGS, progress=lambda *x: told.append(x), **ground)
    assert told == [(10, 33), (20, 33), (30, 33), (33, 33)]


def test_alleles_are_made_as_they_are_scored(
    ground: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a shard of them at a time, however long the stretch."""
    monkeypatch.setattr("basecast.effects.cut.SHARD", 50)
    made = scored = ahead = 0
    generate, payload = module.every_allele, Scorer.payload

    def counted(*arguments: Any) -> Any:
        nonlocal made
        made = 0
        for record in generate(*arguments):
            made += 1
            yield record

    def watched(self: Scorer, records: list[VariantRecord]) -> bytes:
        nonlocal scored, ahead
        ahead = max(ahead, made - scored)
        scored += len(records)
        return payload(self, records)

    monkeypatch.setattr(module, "every_allele", counted)
    monkeypatch.setattr(Scorer, "payload", watched)
    saturate(tmp_path / "out.tsv", Wanted(regions=("chr1:200-300",)), settings=SETTINGS, **ground)
    assert scored == 303
    assert ahead == 50


def test_shards_are_smaller_where_values_are_many(ground: dict[str, Any], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sizes: list[int] = []
        payload = Scorer.payload
        patch.setattr(Scorer, "payload", lambda self, x: (sizes.append(len(x)), payload(self, x))[1])
        patch.setattr(module, "_VALUES", 0)
        saturate(tmp_path / "out.tsv", Wanted(regions=("chr1:200-300",)), settings=SETTINGS, **ground)
    assert sizes == [module._LEAST, 303 - module._LEAST]


# ---- for VEP's plugin


@pytest.mark.parametrize("rules", ["basecast", "spliceai"])
def test_the_plugin_finds_every_score(rules: Any, ground: dict[str, Any], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"rules": rules})
    wanted = Wanted(regions=("chr1:240-262",), indels=True)
    saturate(tmp_path / "out.parquet", wanted, settings=settings, **ground)
    summary = saturate(tmp_path / "out", wanted, vep=True, settings=settings, **ground)
    snv, indel = (tmp_path / f"out.{kind}.vcf.gz" for kind in ("snv", "indel"))
    assert summary.output == [str(snv), str(indel)]
    assert not summary.warnings
    plugin = Plugin(snv, indel)
    rows = list(table(tmp_path / "out.parquet").filter(status="scored").iter_rows(named=True))
    assert len(rows) > 11 * 23
    for row in rows:
        answer = plugin.answer("1", row["position"], row["ref"], row["alt"], row["symbol"])
        assert answer is not None
        assert answer[:5] == [row["symbol"], *(f"{row[f'DS_{label}']:.2f}" for label in LABELS)]
        assert list(map(int, answer[5:])) == [row[f"DP_{label}"] for label in LABELS]
        assert plugin.answer("1", row["position"], row["ref"], row["alt"], "OTHER") is None
    lines = plugin.lines("chr1", 1, 400)
    assert len(lines) == len(rows)
    assert all(line.allele == line.alt and len(line.values) == 9 and 0 <= line.largest <= 1 for line in lines)
    assert f"under {rules} rules (raw)" in plugin.versions()[0]
    plugin.close()


def test_without_indels_their_file_is_there_and_empty(ground: dict[str, Any], tmp_path: Path) -> None:
    wanted = Wanted(regions=("chr1:240-245",))
    summary = saturate(tmp_path / "out", wanted, vep=True, settings=SETTINGS, **ground)
    (said,) = summary.warnings
    assert "out.indel.vcf.gz has no record without --indels; the plugin wants both files" in said
    plugin = Plugin(tmp_path / "out.snv.vcf.gz", tmp_path / "out.indel.vcf.gz")
    assert len(plugin.lines("chr1", 1, 400)) == 18
    plugin.close()


def test_alleles_that_the_plugin_has_no_place_for_are_counted(ground: dict[str, Any], tmp_path: Path) -> None:
    wanted = Wanted(regions=("chr1:15-25",), indels=True)
    summary = saturate(tmp_path / "out", wanted, vep=True, settings=SETTINGS, **ground)
    assert summary.statuses.keys() == {"no_gene"}
    assert summary.scored + summary.statuses["no_gene"] == summary.alleles == 121
    assert any("without a score are in neither file" in warning for warning in summary.warnings)


@pytest.mark.parametrize(
    ("mask", "probabilities", "said"), [("both", False, "-M both"), ("raw", True, "--probabilities")]
)
def test_what_the_plugin_cannot_take_is_refused(
    mask: Any, probabilities: bool, said: str, ground: dict[str, Any], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"mask": mask})
    output = OutputSettings(probabilities=probabilities)
    with pytest.raises(UsageError, match=said):
        saturate(tmp_path / "out", Wanted(regions=("chr1",)), vep=True, settings=settings, output=output, **ground)
    assert list(tmp_path.iterdir()) == []


def test_illuminas_own_weights_give_the_lines_that_illumina_published(shared_data: Path, tmp_path: Path) -> None:
    settings = VariantSettings(rules="spliceai", device="cpu", threads=1)
    saturate(
        tmp_path / "out",
        Wanted(regions=("chr1:69,101-69,103",), indels=True),
        model=shared_data / "weights" / "spliceai-illumina",
        genome=shared_data / "human" / "hg38_chr1_1_1000000.fa.gz",
        annotation=shared_data / "human" / "chr1_1Mb.genes.tsv",
        vep=True,
        settings=settings,
    )
    folder = shared_data / "human" / "variants"
    for kind, first, last in (("snv", 69101, 69103), ("indel", 69100, 69102)):
        ours, theirs = (
            [line for line in _records(path) if first <= int(line[1]) <= last]
            for path in (tmp_path / f"out.{kind}.vcf.gz", folder / f"or4f5.spliceai.raw.{kind}.hg38.vcf.gz")
        )
        assert [line[1:7] for line in ours] == [line[1:7] for line in theirs]
        assert len(ours) == {"snv": 9, "indel": 24}[kind]
        for a, b in zip(ours, theirs, strict=True):
            (*names, ds_a, dp_a), (*expected, ds_b, dp_b) = _split(a[7]), _split(b[7])
            assert names == expected
            assert np.abs(np.array(ds_a) - np.array(ds_b)).max() < 0.0101  # another machine may round the other way
            assert all(p == q for p, q, score in zip(dp_a, dp_b, ds_b, strict=True) if score >= 0.05)
        assert "SpliceAIv1.3.1" in gzip.decompress((tmp_path / f"out.{kind}.vcf.gz").read_bytes()).decode()


def _records(path: Path) -> list[list[str]]:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _split(info: str) -> tuple[str, str, list[float], list[int]]:
    """``SpliceAI=ALT``, SYMBOL, DS and DP."""
    allele, symbol, *values = info.split("|")
    return allele, symbol, list(map(float, values[:4])), list(map(int, values[4:]))
