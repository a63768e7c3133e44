from __future__ import annotations

import pytest
from scenes import Contigs, annotation, gene, lively

from basecast import __version__
from basecast.effects.header import run_lines, runs_in, with_command
from basecast.effects.scorer import Scorer, VariantSettings


class Hashed(Contigs):
    digest = "d" * 64


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    genes = annotation(gene("G", [(0, 9), (20, 40)]))
    monkeypatch.setattr(type(genes), "fitted_to", lambda self, genome: self)
    settings = VariantSettings(device="cpu", distance=7, mask="both", rules="spliceai")
    made = Scorer.__new__(Scorer)
    made.settings, made.package, made.annotation = settings, lively(), genes
    made.genome = Hashed(c="ACGT")  # type: ignore[assignment]
    return made


def test_what_was_run_on_what_is_read_again(scorer: Scorer) -> None:
    command = 'basecast variant -O "a \\b".vcf\n-D 7'
    lines = with_command(run_lines(scorer, "Mine", "cpu"), command)
    assert all(line.count("\n") == 0 for line in lines)
    runs = runs_in([b"##fileformat=VCFv4.2", *(line.encode() + b"\r" for line in lines)])
    assert runs == {
        "Mine": {
            "run.Version": __version__,
            "run.Command": command.replace("\n", " "),
            "run.Model": scorer.package.spec.name,
            "run.ModelSha256": scorer.package.digest,
            "run.Licence": scorer.package.spec.licence,
            "run.Rules": "spliceai",
            "run.D": "7",
            "run.M": "both",
            "run.Mask": "gene",
            "run.Precision": "fp32",
            "run.Device": "cpu",
            "annotation.File": "memory.gtf",
            "annotation.Sha256": scorer.annotation.digest,
            "annotation.Transcripts": "all",
            "reference.File": "memory.fa",
            "reference.Sha256": "d" * 64,
        }
    }


def test_runs_are_told_apart_by_their_key(scorer: Scorer) -> None:
    both = [line.encode() for key in ("A", "B") for line in run_lines(scorer, key, key)]
    assert {key: run["run.Device"] for key, run in runs_in(both).items()} == {"A": "A", "B": "B"}
    assert runs_in([b"##basecast_run=<ID=A>", b'##other=<ID=A,D="1">']) == {}
