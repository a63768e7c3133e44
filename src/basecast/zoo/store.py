"""Models that were fetched: each a folder of the cache, and beside it a record of where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from basecast.errors import InputError, UsageError
from basecast.files import cache_folder, whole_file
from basecast.spec.model import Frozen
from basecast.zoo.licences import in_words, kind_of


class Record(Frozen):
    """Where a model came from: ``reference`` as it was asked for, ``source`` as it was found.

    ``sums`` are the checksums that its files had when they were first fetched.
    """

    name: str
    reference: str
    source: str
    commit: str = ""
    licence: str
    sums: Mapping[str, str]


def folder_of(name: str) -> Path:
    """Where a fetched model of that name lies, or would."""
    return cache_folder("models") / quote(name, safe="@")


def record_of(name: str) -> Record | None:
    """What is remembered of a model that was fetched, whether or not its folder is still there."""
    return _read(_beside(name))


def remember(record: Record) -> None:
    """Keep what is known of a model beside its folder."""
    with whole_file(_beside(record.name)) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n")


def fetched() -> dict[str, Record]:
    """Name -> record of every model that is here; none where there can be no cache."""
    try:
        cache_folder("models")
    except InputError:
        return {}
    records = (_read(path) for path in sorted(cache_folder("models").glob("*.json")))
    return {record.name: record for record in records if record and folder_of(record.name).is_dir()}


def require_accepted(name: str, licence: str, reference: str, *, accept: bool = False) -> None:
    """Stop before a model under non-commercial terms is used, until somebody has agreed to them; once is enough.

    Raises:
        UsageError: nobody has; the message says what the licence forbids and how to agree.
    """
    if kind_of(licence) != "non-commercial":
        return
    accepted = cache_folder("models", "accepted") / f"{quote(name.partition('@')[0], safe='')}.json"
    if accepted.exists() and json.loads(accepted.read_text()) == licence:
        return
    if not accept:
        raise UsageError(
            f"the weights of {name} are under {in_words(licence)}: if your use keeps to that, agree once with "
            f"basecast zoo get {reference} --accept-licence"
        )
    with whole_file(accepted) as partial:
        partial.write_text(json.dumps(licence))


def _beside(name: str) -> Path:
    return folder_of(name).with_name(f"{quote(name, safe='@')}.json")


def _read(path: Path) -> Record | None:
    try:
        return Record.model_validate_json(path.read_text())
    except (FileNotFoundError, ValidationError):
        return None
