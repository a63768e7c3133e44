"""A package made ready for a hub: card, licence, lineage and test vectors, or the reason why it is not ready."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from basecast.errors import InputError
from basecast.spec import ModelSpec
from basecast.zoo.card import card_of, notes_of
from basecast.zoo.catalogue import embedded
from basecast.zoo.known import known
from basecast.zoo.licences import is_known, is_stricter
from basecast.zoo.package import CARD, CONFIG, Package, save_package

_ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def require_publishable(spec: ModelSpec) -> None:
    """Stop before something is given out that nobody may give out, or that says too little of itself.

    Raises:
        InputError: licence, name or provenance is missing or wrong; the message says how to mend it.
    """
    problems = []
    if not is_known(spec.licence):
        problems.append(f"the licence {spec.licence!r} is no SPDX identifier (zoo import --licence sets it)")
    if not re.fullmatch(r"[\w][\w.-]{0,95}", spec.name):
        problems.append(f"the name {spec.name!r} is none that a hub takes (zoo import --name sets it)")
    if not (spec.provenance.note or spec.provenance.sources or spec.provenance.command):
        problems.append("its provenance is empty: a card must say what the weights were made from")
    for ancestor, licence in _ancestors(spec).items():
        if is_stricter(licence, spec.licence):
            problems.append(f"it says {spec.licence}, but comes from {ancestor}, which is under {licence}")
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
    require_publishable(package.spec)
    before = Path(package.source)
    notes = notes_of((before / CARD).read_text()) if (before / CONFIG).exists() and (before / CARD).exists() else ""
    card = card_of(package.spec, repository=repository, acceptance=acceptance, notes=notes)
    save_package(folder, package, card, {**files, ".gitattributes": _ATTRIBUTES.encode()})


def _ancestors(spec: ModelSpec) -> dict[str, str]:
    """Models that this one comes from, by its parents' names and its sources' checksums -> their licences."""
    found = {parent: known()[parent].licence for parent in spec.parents if parent in known()}
    for parent in set(spec.parents) & embedded().keys():
        found[parent] = ModelSpec.model_validate_json((embedded()[parent] / CONFIG).read_text()).licence
    digests = set(spec.provenance.sources.values())
    for entry in known().values():
        if digests & {digest for digest in entry.sums.values() if digest}:
            found[entry.name] = entry.licence
    return found
