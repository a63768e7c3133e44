"""A package made ready for a hub: card, licence, lineage and test vectors, or the reason why it is not ready."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from basecast.errors import InputError
from basecast.spec import ModelSpec
from basecast.zoo import store
from basecast.zoo.card import card_of, notes_of
from basecast.zoo.catalogue import embedded
from basecast.zoo.known import known
from basecast.zoo.licences import in_words, is_known, may_become
from basecast.zoo.package import ATTRIBUTES, CARD, CONFIG, Package, save_package

_LARGE_FILES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def require_publishable(package: Package) -> None:
    """Stop before something is given out that nobody may give out, or that says too little of itself.

    Raises:
        InputError: licence, name or provenance is missing or wrong; the message says how to mend it.
    """
    spec, problems = package.spec, []
    if not is_known(spec.licence):
        problems.append(f"the licence {spec.licence!r} is no SPDX identifier (zoo import --licence sets it)")
    if not re.fullmatch(r"[\w][\w.-]{0,95}", spec.name):
        problems.append(f"the name {spec.name!r} is none that a hub takes (zoo import --name sets it)")
    if not (spec.provenance.note or spec.provenance.sources or spec.provenance.command):
        problems.append("its provenance is empty: a card must say what the weights were made from")
    for ancestor, licence in sorted(set(_ancestors(package))):
        if not may_become(licence, spec.licence):
            problems.append(f"it says {spec.licence}, but comes from {ancestor}, which is under {in_words(licence)}")
    if problems:
        raise InputError(f"{spec.name} is not ready to be published: {'; '.join(problems)}")


def publish(
    package: Package, folder: Path, files: Mapping[str, bytes], acceptance: Sequence[str], repository: str = ""
) -> None:
    """Write a folder that a hub takes as it is.

    Args:
        files: the test vectors by name.
        acceptance: what they gave, for the card.
        repository: ``OWNER/NAME`` on the hub, for the card.

    Raises:
        InputError: the package is not ready.
        UsageError: the folder is there already.
    """
    require_publishable(package)
    before = Path(package.source)
    notes = (
        notes_of((before / CARD).read_text(errors="replace"))
        if (before / CONFIG).exists() and (before / CARD).exists()
        else ""
    )
    card = card_of(package.spec, repository=repository, acceptance=acceptance, notes=notes)
    save_package(folder, package, card, {**files, ATTRIBUTES: _LARGE_FILES.encode()})


def _ancestors(package: Package) -> Iterator[tuple[str, str]]:
    """Models that this one comes from and their licences: its nodes, and whom its parents and sources' sums name."""
    spec, here = package.spec, store.fetched()
    for parent in spec.parents:
        if entry := known().get(parent.partition("@")[0]):
            yield parent, entry.licence
        if parent in here:
            yield from ((parent, licence) for licence in here[parent].licences)
        if parent in embedded():
            yield parent, ModelSpec.model_validate_json((embedded()[parent] / CONFIG).read_text()).licence
    digests = set(spec.provenance.sources.values())
    for entry in known().values():
        if digests & {digest for digest in entry.sums.values() if digest}:
            yield entry.name, entry.licence
    for node in package.nodes.values():
        yield node.spec.name, node.spec.licence
        yield from _ancestors(node)
