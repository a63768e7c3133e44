"""Models brought here: from a hub, a web server or a folder, whole and checked, to the cache or another folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pydantic

from basecast.errors import InputError, UsageError
from basecast.files import locked
from basecast.spec import ModelSpec
from basecast.zoo import store
from basecast.zoo.catalogue import embedded, is_path, name_of
from basecast.zoo.download import NoSuchFileError, Progress, download, is_offline, room_for
from basecast.zoo.hub import snapshot
from basecast.zoo.known import Known, known
from basecast.zoo.package import CONFIG, SUMS, digest_of, read_sums, require_new, verify_package


@dataclass(frozen=True)
class Fetched:
    """What ``get`` did; of ``first_seen`` nobody published a checksum: what came is held against what comes later."""

    name: str
    folder: Path
    source: str
    licence: str
    n_files: int
    n_bytes: int
    was_there: bool
    first_seen: tuple[str, ...] = ()


class _Source(NamedTuple):
    """A folder, here or (with a slash at its end) on a server, and the commit it is of."""

    place: str
    commit: str = ""
    token: str = ""


def get(
    reference: str, output: Path | None = None, *, accept_licence: bool = False, progress: Progress | None = None
) -> Fetched:
    """Bring a model here, so that ``--model NAME`` finds it without a network.

    Args:
        reference: a name of the catalogue or ``hf:OWNER/NAME``, either with ``@REVISION``; the URL of a package's
            folder; or a folder, written as a path (with a slash).
        output: a folder to make instead of one in the cache.
        accept_licence: agree to non-commercial terms; once is enough.
        progress: called with the bytes that are there so far.

    Raises:
        UsageError: there is no such name; the licence has not been accepted; the network is forbidden.
        InputError: a file is not there or not what it must be; the disk is full.
        BasecastError: the network does not work; the same call goes on where it stood.
    """
    name = name_of(reference)
    if name in embedded():
        raise UsageError(f"{name} is the name of a model that ships with basecast: there is nothing to get")
    entry = known().get(name.partition("@")[0])
    store.require_accepted(name, entry.licence if entry else "", reference, accept=accept_licence)
    with locked(store.folder_of(name)):
        sums = _expected(name, entry)
        found = _already_there(name, reference, output or store.folder_of(name), sums)
        if found:
            store.require_accepted(name, found.licence, reference, accept=accept_licence)
            return found
        return _fetch(_source(reference, name, entry), reference, name, sums, output, accept_licence, progress)


def _fetch(
    source: _Source,
    reference: str,
    name: str,
    expected: Mapping[str, str] | None,
    output: Path | None,
    accept_licence: bool,
    progress: Progress | None,
) -> Fetched:
    """Every file of a source into a folder beside the one to be, which then takes its name."""
    target = output or store.folder_of(name)
    _refuse_another(name, source, target, output is not None)
    staging = target.with_name(f".{target.name}.partial")
    with room_for(staging):
        staging.mkdir(parents=True, exist_ok=True)
    if expected is None:
        sums = _listed(source, staging)
        _bring(source, CONFIG, sums[CONFIG], staging, target, None)
        licence = _licence_in(staging / CONFIG)
        store.require_accepted(name, licence, reference, accept=accept_licence)
    else:
        sums, licence = dict(expected), known()[name.partition("@")[0]].licence
    n_bytes = 0
    for file, digest in sums.items():
        _bring(source, file, digest, staging, target, _beyond(n_bytes, progress))
        n_bytes += (staging / file).stat().st_size
    first_seen = tuple(file for file, digest in sums.items() if not digest)
    if expected is not None:
        sums = {file: digest_of(staging / file) for file in sums}
        (staging / SUMS).write_text("".join(f"{digest}  {file}\n" for file, digest in sums.items()))
    _put(staging, target, set(sums))
    if not output or first_seen:
        facts = {"reference": reference, "source": source.place, "commit": source.commit, "licence": licence}
        store.remember(store.Record(name=name, sums=sums, **facts))
    return Fetched(name, target, source.place, licence, len(sums), n_bytes, was_there=False, first_seen=first_seen)


def _expected(name: str, entry: Known | None) -> dict[str, str] | None:
    """What the checkpoints of a catalogue entry must be, '' where not known; None where ``SHA256SUMS`` will say it.

    Published checksums are those of the revision that is taken by default; first seen ones are of the name as asked.
    """
    if not (entry and entry.sums):
        return None
    is_default = name.partition("@")[2] in ("", entry.revision)
    record = store.record_of(name)
    seen = record.sums if record else {}
    return {file: (digest if is_default else "") or seen.get(file, "") for file, digest in entry.sums.items()}


def _already_there(name: str, reference: str, target: Path, sums: Mapping[str, str] | None) -> Fetched | None:
    """The model, if its folder is whole and is what it must be, or what a newer one may not be looked for."""
    record = store.record_of(name)
    try:
        here = read_sums(target)
        verify_package(target)
    except InputError:
        return None
    if sums is None:
        commit = name.partition("@")[2]
        if is_path(reference) or not (is_offline() or (record and commit == record.commit and len(commit) == 40)):
            return None
        licence = _licence_in(target / CONFIG)
    elif sums.keys() == here.keys() and all(digest in ("", here[file]) for file, digest in sums.items()):
        licence = known()[name.partition("@")[0]].licence
    else:
        return None
    n_bytes = sum((target / file).stat().st_size for file in here)
    source = record.source if record else str(target)
    return Fetched(name, target, source, licence, len(here), n_bytes, was_there=True)


def _source(reference: str, name: str, entry: Known | None) -> _Source:
    """Where the files of a reference are.

    Raises:
        UsageError: there is no such folder, or it is elsewhere and the network is forbidden.
        InputError: the folder is no package; the hub has no such repository or revision.
    """
    if is_path(reference):
        folder = Path(reference).resolve()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {reference} (a hub's repository is hf:OWNER/NAME)")
        if not (folder / SUMS).exists() and not (entry and entry.sums):
            raise InputError(f"{folder} is no package (it has no {SUMS}): make one of it with basecast zoo import")
        return _Source(str(folder))
    if is_offline():
        own = quote(name, safe="@")
        raise UsageError(
            f"{name} is not in {store.folder_of(name).parent}, and BASECAST_OFFLINE forbids to fetch it: run "
            f"`basecast zoo get {reference} -o {own}` where there is a network, bring that folder here, then run "
            f"`basecast zoo get ./{own}`"
        )
    if re.match("https?://", reference):
        return _Source(reference.removesuffix(SUMS).rstrip("/") + "/")
    where, _, revision = name.partition("@")
    where = entry.url if entry else where
    if where.startswith("hf:"):
        found = snapshot(where.removeprefix("hf:"), revision)
        return _Source(found.url, found.commit, found.token)
    revision = revision or (entry.revision if entry else "")
    return _Source(where.format(revision=quote(revision)), revision)


def _refuse_another(name: str, source: _Source, target: Path, is_own: bool) -> None:
    """Raises UsageError where something else would be overwritten."""
    if is_own:
        require_new(target)
    record = store.record_of(name)
    says_whose = name.startswith("hf:") or name.partition("@")[0] in known()
    if record and target.exists() and not (is_own or says_whose or record.source == source.place):
        raise UsageError(f"there is a {name} already, from {record.source}: give --output, or remove {target}")


def _listed(source: _Source, staging: Path) -> dict[str, str]:
    """What the package's own list says that its files must be."""
    try:
        _bring(source, SUMS, "", staging, staging, None)
    except NoSuchFileError:
        raise InputError(
            f"there is no package at {source.place}: it has no {SUMS} (HTTP 404); check the name"
        ) from None
    sums = read_sums(staging)
    if CONFIG not in sums:
        raise InputError(f"{source.place} is no package: its {SUMS} lists no {CONFIG}")
    return sums


def _bring(source: _Source, file: str, sha256: str, staging: Path, old: Path, progress: Progress | None) -> None:
    """One file into the staging folder, unless it is there or in the folder that is to be replaced."""
    target = staging / file
    if sha256 and target.is_file() and digest_of(target) == sha256:
        return
    with room_for(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if sha256 and (old / file).is_file() and digest_of(old / file) == sha256:
        place = old
    elif source.place.endswith("/"):
        download(source.place + quote(file), target, sha256=sha256, token=source.token, progress=progress)
        return
    else:
        place = Path(source.place)
    partial = target.with_name(f".{target.name}.part")
    if not (place / file).is_file():
        raise InputError(f"{place / file} is missing: the folder is not whole")
    with room_for(partial):
        shutil.copyfile(place / file, partial)
    if sha256 and (digest := digest_of(partial)) != sha256:
        partial.unlink()
        raise InputError(
            f"{place / file} is not what its checksum says (sha256 {digest[:16]}..., not {sha256[:16]}...): fetch again"
        )
    partial.replace(target)


def _beyond(start: int, progress: Progress | None) -> Progress | None:
    return (lambda done: progress(start + done)) if progress else None


def _licence_in(config: Path) -> str:
    try:
        return ModelSpec.model_validate_json(config.read_text()).licence
    except (pydantic.ValidationError, ValueError) as error:
        raise InputError(f"{config} is not a valid model: {error}") from None


def _put(staging: Path, target: Path, files: set[str]) -> None:
    """The finished folder under its name, without what earlier tries left in it; an older one gives way."""
    for path in [path for path in staging.rglob("*") if path.is_file()]:
        if path.relative_to(staging).as_posix() not in {*files, SUMS}:
            path.unlink()
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)
