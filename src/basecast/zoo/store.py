"""Models that were fetched: the cache keeps their folders, where each came from, and which terms were accepted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from basecast.errors import InputError, UsageError
from basecast.files import cache_folder, whole_file
from basecast.spec.model import Frozen
from basecast.zoo.licences import in_words, kind_of


class Record(Frozen):
    """Where a model came from: ``reference`` as it was asked for, ``source`` as it was found.

    ``licences`` are its own and those of its nodes.
    """

    name: str
    reference: str
    source: str
    commit: str = ""
    licences: tuple[str, ...]


def folder_of(name: str) -> Path:
    """Where a fetched model of that name lies, or would."""
    return cache_folder("models", "packages") / quote(name, safe="@")


def remember(record: Record) -> None:
    """Keep what is known of a model."""
    path = cache_folder("models", "records") / f"{quote(record.name, safe='@')}.json"
    with whole_file(path) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n")


def fetched() -> dict[str, Record]:
    """Name -> record of every model that is here; none where there can be no cache."""
    try:
        folder = cache_folder("models", "records")
    except InputError:
        return {}
    records = (_read(path) for path in sorted(folder.glob("*.json")))
    return {record.name: record for record in records if record and folder_of(record.name).is_dir()}


def require_accepted(name: str, licences: Iterable[str], reference: str, terms: str, *, accept: bool = False) -> None:
    """Stop before a model under non-commercial terms is used, until somebody has agreed to them; once is enough.

    Args:
        terms: where they can be read.

    Raises:
        UsageError: nobody has; the message says what the licence forbids and how to agree.
    """
    path = cache_folder("models", "accepted") / f"{quote(name.partition('@')[0], safe='')}.json"
    accepted = set(json.loads(path.read_text())) if path.exists() else set()
    asked = {licence for licence in licences if kind_of(licence) == "non-commercial"} - accepted
    if not asked:
        return
    if not accept:
        raise UsageError(
            f"the weights of {name} are under {' and '.join(in_words(one) for one in sorted(asked))}; see {terms}. If "
            f"your use keeps to that, agree once with basecast zoo get {reference} --accept-licence"
        )
    with whole_file(path) as partial:
        partial.write_text(json.dumps(sorted(accepted | asked)))


def _read(path: Path) -> Record | None:
    try:
        return Record.model_validate_json(path.read_text())
    except (FileNotFoundError, ValidationError):
        return None
