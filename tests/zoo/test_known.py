"""The catalogue says what is true of the published files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from basecast.zoo.importers import openspliceai, spliceai_keras
from basecast.zoo.known import known
from basecast.zoo.licences import is_known, kind_of

SPECIES = ("mane", "mouse", "zebrafish", "honeybee", "arabidopsis")
CONTEXTS = (80, 400, 2000, 10000)


def test_every_published_model_has_a_name() -> None:
    names = {f"openspliceai-{species}-{context}" for species in SPECIES for context in CONTEXTS}
    assert known().keys() == names | {"spliceai-illumina-10000"}
    for name, entry in known().items():
        assert entry.name == name
        assert name.endswith(f"-{entry.context}")
        assert len(entry.sums) == 5
        assert entry.species
        assert is_known(entry.licence)
        assert entry.url.startswith("https://")
        assert entry.url.endswith("/")
        assert "{revision}" in entry.url
        assert all(re.fullmatch("([0-9a-f]{64})?", digest) for digest in entry.sums.values())
    suffixes = {"openspliceai": openspliceai.SUFFIXES, "spliceai": spliceai_keras.SUFFIXES}
    assert all(file.endswith(suffixes[name.partition("-")[0]]) for name, e in known().items() for file in e.sums)
    assert {name for name, e in known().items() if kind_of(e.licence) == "non-commercial"} == {
        "spliceai-illumina-10000"
    }


@pytest.mark.parametrize("context", [*CONTEXTS, "illumina"])
def test_the_checksums_are_those_of_the_files(context: int | str, shared_data: Path) -> None:
    if context == "illumina":
        folder, entry = shared_data / "weights" / "spliceai-illumina", known()["spliceai-illumina-10000"]
    else:
        folder = shared_data / "weights" / "openspliceai-mane" / f"{context}nt"
        entry = known()[f"openspliceai-mane-{context}"]
    assert entry.sums == {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in entry.sums}
