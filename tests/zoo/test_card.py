"""The model card: what a spec knows, in words, and nothing that it does not know."""

from __future__ import annotations

import re

import pytest
from toys import graph_package, package_of

from basecast.spec import Provenance
from basecast.zoo.card import card_of, notes_of


def front_matter(card: str) -> dict[str, str]:
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert found
    return dict(line.partition(": ")[::2] for line in found[1].splitlines() if not line.startswith("- "))


def test_a_splice_model() -> None:
    spec = package_of("spliceai", members=3, name="mine", species="Mus musculus", licence="CC-BY-NC-4.0").spec
    card = card_of(spec, repository="me/mine", acceptance=["plus strand: fine"])
    assert front_matter(card) == {"license": "cc-by-nc-4.0", "library_name": "basecast", "tags:": ""}
    assert {"- splicing", "- mus-musculus", "- genomics"} <= set(card.splitlines())
    assert "pipeline" not in card
    for words in (
        "3 members whose values are averaged",
        "Species: Mus musculus",
        "22 bases before an output's and 22 after",
        "Bases outside the gene are N",
        "A donor is the last base of an exon",
        "| `splice` | neither, acceptor, donor | position | 1 | probability |",
        "CC-BY-NC-4.0 (it forbids use for commercial advantage",
        "plus strand: fine",
    ):
        assert words in card
    commands = re.search(r"```\n(.*?)```", card, re.DOTALL)
    assert commands
    assert commands[1].splitlines() == [
        "basecast zoo get hf:me/mine --accept-licence",
        "basecast variant -I in.vcf.gz -O out.vcf.gz -R genome.fa -A genes.gtf.gz -D 22 -m hf:me/mine",
    ]


@pytest.mark.parametrize("family", ["toy_binned", "toy_mixing", "toy_track", "graph"])
def test_other_models(family: str) -> None:
    package = graph_package() if family == "graph" else package_of(family)
    card = card_of(package.spec)
    for output in package.spec.outputs:
        assert f"| `{output.name}` |" in card
    for item in [*package.spec.inputs, *package.spec.conditions]:
        assert f"`{item.name}`" in card
    assert "None" not in card


def test_provenance() -> None:
    provenance = Provenance(basecast="0.1", command="train it", sources={"genes.gtf": "abc"}, note="made on a whim")
    card = card_of(package_of("spliceai", provenance=provenance, parents=("other",), citation="Us 2026").spec)
    for words in (
        "- Made on a whim.",
        "`train it`",
        "`genes.gtf`, SHA-256 `abc`",
        "Made from: other.",
        "cite: Us 2026.",
    ):
        assert words in card


def test_notes_are_kept() -> None:
    spec = package_of("spliceai").spec
    assert notes_of(card_of(spec)) == ""
    notes = "Measured:\n\n### On chr1\n\n0.9"
    again = notes_of(card_of(spec, notes=notes))
    assert again == notes
    assert notes_of(card_of(spec, notes=again)) == notes
    by_hand = "---\nlicense: mit\n---\n\n# My model\n\nIt is good.\n\n## Measured\n\n0.9\n"
    assert notes_of(by_hand) == "It is good.\n\n### Measured\n\n0.9"
