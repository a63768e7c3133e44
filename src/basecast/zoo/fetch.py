"""Models brought here: from a hub, a web server or a folder, whole and checked, to the cache or another folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from basecast.errors import InputError, UsageError
from basecast.files import cache_folder, digest_of, locked
from basecast.spec import ModelSpec
from basecast.zoo import store
from basecast.zoo.catalogue import embedded, imported, is_path, is_url, name_of
from basecast.zoo.download import NoSuchFileError, Progress, download, is_offline, room_for
from basecast.zoo.hub import snapshot
from basecast.zoo.known import Known, known
from basecast.zoo.package import CARD, CONFIG, LONGEST_SUMS, SUMS, read_sums, require_new, verify_package


@dataclass(frozen=True)
class Fetched:
    """What ``get`` did; ``licences`` are those of the model and of its nodes."""

    name: str
    folder: Path
    source: str
    licences: tuple[str, ...]
    n_files: int
    n_bytes: int
    was_there: bool


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
    if output:
        require_new(output)
    entry = _entry(reference, name)
    if entry:
        store.require_accepted(name, (entry.licence,), reference, entry.homepage, accept=accept_licence)
    with locked(cache_folder("models", "locks") / quote(name, safe="@")):
        record = None if output else store.fetched().get(name)
        if record:
            _refuse_another(record, reference, entry)
        if record and not is_path(reference) and _is_enough(record, entry):
            store.require_accepted(name, record.licences, reference, record.source, accept=accept_licence)
            return _done(record, was_there=True)
        source = _source(reference, name, entry)
        return _fetch(source, reference, name, entry, output, accept_licence, progress)


def _fetch(
    source: _Source,
    reference: str,
    name: str,
    entry: Known | None,
    output: Path | None,
    accept_licence: bool,
    progress: Progress | None,
) -> Fetched:
    """Every file of a source into a folder beside the one to be, which then takes its name."""
    target = output or store.folder_of(name)
    staging = target.with_name(f".{target.name}.partial")
    with room_for(staging):
        staging.mkdir(parents=True, exist_ok=True)
    try:
        sums = _sums_of(entry, name) if entry else _listed(source, staging)
        licences = (entry.licence,) if entry else _licences(source, sums, staging, target)
        store.require_accepted(
            name, licences, reference, entry.homepage if entry else source.place, accept=accept_licence
        )
        was_there = _is_whole(target, sums)
        if was_there:
            shutil.rmtree(staging)
        else:
            _bring_all(source, sums, staging, target, progress)
            if entry:
                _require_checkpoints(source, sums, staging)
            with room_for(target):
                _put(staging, target, set(sums))
    finally:
        with contextlib.suppress(OSError):
            staging.rmdir()  # if nothing came, nothing stays
    record = store.Record(name=name, reference=reference, source=source.place, commit=source.commit, licences=licences)
    if not output:
        store.remember(record)
    return _done(record, target, was_there=was_there)


def _done(record: store.Record, folder: Path | None = None, *, was_there: bool) -> Fetched:
    folder = folder or store.folder_of(record.name)
    sizes = [(folder / file).stat().st_size for file in read_sums(folder)]
    return Fetched(record.name, folder, record.source, record.licences, len(sizes), sum(sizes), was_there)


def _entry(reference: str, name: str) -> Known | None:
    """The catalogue's entry; a package, or whatever a URL names, is not the catalogue's, whatever it is called."""
    if is_url(reference) or (is_path(reference) and (Path(reference) / CONFIG).exists()):
        return None
    return known().get(name.partition("@")[0])


def _sums_of(entry: Known, name: str) -> dict[str, str]:
    """What the checkpoints must be, '' where not known: checksums are those of the revision that is the default."""
    is_default = name.partition("@")[2] in ("", entry.revision)
    return {file: digest if is_default else "" for file, digest in entry.sums.items()}


def _is_whole(folder: Path, sums: Mapping[str, str]) -> bool:
    """Whether a folder has these files and no others, as they must be."""
    try:
        verify_package(folder)
        return read_sums(folder) == sums
    except InputError:
        return False


def _is_enough(record: store.Record, entry: Known | None) -> bool:
    """Whether what is here is whole, and is what is asked for without asking where it came from."""
    folder, revision = store.folder_of(record.name), record.name.partition("@")[2]
    try:
        here = read_sums(folder)
    except InputError:
        return False
    if entry:
        wanted = {file: digest or here.get(file) for file, digest in _sums_of(entry, record.name).items()}
        return here == wanted and _is_whole(folder, here)
    return (is_offline() or (len(revision) == 40 and revision == record.commit)) and _is_whole(folder, here)


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
        if not entry and not (folder / SUMS).exists():
            raise InputError(f"{folder} is no package (it has no {SUMS}): make one of it with basecast zoo import")
        if entry and (folder / SUMS).exists():
            verify_package(folder)
        return _Source(str(folder))
    if is_offline():
        own = quote(name, safe="@")
        raise UsageError(
            f"{name} is not in {store.folder_of(name).parent}, and BASECAST_OFFLINE forbids to fetch it: run "
            f"`basecast zoo get {reference} -o {own}` where there is a network, bring that folder here, then run "
            f"`basecast zoo get ./{own}`"
        )
    if is_url(reference):
        return _Source(_place(reference))
    where, _, revision = name.partition("@")
    if entry:
        revision = revision or entry.revision
        return _Source(entry.url.format(revision=quote(revision)), revision)
    found = snapshot(where.removeprefix("hf:"), revision)
    return _Source(found.url, found.commit, found.token)


def _place(reference: str) -> str:
    """Of a URL or a folder: what its record says of where it came from."""
    return reference.removesuffix("/" + SUMS).rstrip("/") + "/" if is_url(reference) else str(Path(reference).resolve())


def _refuse_another(record: store.Record, reference: str, entry: Known | None) -> None:
    """Raises UsageError where something else would be overwritten; names of a hub and the catalogue say whose it is."""
    if not entry and not record.name.startswith("hf:") and record.source != _place(reference):
        raise UsageError(
            f"there is a {record.name} already, from {record.source}: give --output, or remove "
            f"{store.folder_of(record.name)}"
        )


def _listed(source: _Source, staging: Path) -> dict[str, str]:
    """What the package's own list says that its files must be."""
    try:
        _bring(source, SUMS, "", staging, staging, None)
    except NoSuchFileError:
        raise InputError(
            f"there is no package at {source.place}: it has no {SUMS} (HTTP 404); check the name"
        ) from None
    try:
        sums = read_sums(staging)
        if CONFIG not in sums:
            raise InputError(f"{source.place} is no package: its {SUMS} lists no {CONFIG}")
    except InputError:
        (staging / SUMS).unlink()
        raise
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
        longest = LONGEST_SUMS if file.rpartition("/")[2] in (SUMS, CARD) else None
        download(
            source.place + quote(file), target, sha256=sha256, token=source.token, longest=longest, progress=progress
        )
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
    with room_for(target):
        partial.replace(target)


def _beyond(start: int, progress: Progress | None) -> Progress | None:
    return (lambda done: progress(start + done)) if progress else None


def _licences(source: _Source, sums: Mapping[str, str], staging: Path, old: Path) -> tuple[str, ...]:
    """Those of a package and its nodes, once each; their configs are brought first."""
    found = []
    for file in [CONFIG, *(file for file in sums if file.endswith(f"/{CONFIG}"))]:
        _bring(source, file, sums[file], staging, old, None)
        try:
            found.append(ModelSpec.model_validate_json((staging / file).read_bytes()).licence)
        except ValueError as error:
            raise InputError(f"{staging / file} is not a valid model: {error}") from None
    return tuple(dict.fromkeys(found))


def _bring_all(source: _Source, sums: Mapping[str, str], staging: Path, old: Path, progress: Progress | None) -> None:
    n_bytes = 0
    for file, digest in sums.items():
        _bring(source, file, digest, staging, old, _beyond(n_bytes, progress))
        n_bytes += (staging / file).stat().st_size


def _require_checkpoints(source: _Source, sums: Mapping[str, str], staging: Path) -> None:
    """Read what the catalogue may know no checksums of, then write down those that it has.

    Raises:
        InputError: it is no model, and was not kept.
    """
    for path in staging.iterdir():
        if path.is_file() and path.name not in sums:
            path.unlink()
    try:
        imported(staging)
    except InputError as error:
        shutil.rmtree(staging)
        raise InputError(f"{source.place} does not give the model's files, none was kept: {error}") from None
    with room_for(staging):
        (staging / SUMS).write_text("".join(f"{digest_of(staging / file)}  {file}\n" for file in sums))


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
