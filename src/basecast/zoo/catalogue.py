"""What ``--model`` may be: a name that ships with basecast or was fetched, a package folder, a foreign checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from basecast.errors import InputError, UsageError
from basecast.spec import LocalReach, ModelSpec
from basecast.zoo import store
from basecast.zoo.importers import baskerville, borzoi_torch, openspliceai, spliceai_keras
from basecast.zoo.known import Known, known
from basecast.zoo.package import CONFIG, SUMS, Package, load_package, verify_package


def _keras(paths: list[Path]) -> Package:
    """Illumina's models have no settings beside them."""
    is_baskerville = (paths[0].parent / baskerville.PARAMS).is_file()
    return baskerville.load(paths) if is_baskerville else spliceai_keras.load(paths)


_IMPORTERS: tuple[tuple[tuple[str, ...], Callable[[list[Path]], Package]], ...] = (
    (openspliceai.SUFFIXES, openspliceai.load),
    (spliceai_keras.SUFFIXES, _keras),
    (borzoi_torch.SUFFIXES, borzoi_torch.load),
)

_NAME = r"\w[\w.-]{0,95}"
_ON_HUB = r"hf:[\w.-]+/[\w.-]+(@.+)?"


def embedded() -> dict[str, Path]:
    """Name -> folder of every package that ships with basecast."""
    root = Path(str(resources.files("basecast.zoo") / "embedded"))
    return {config.parent.name: config.parent for config in sorted(root.glob(f"*/{CONFIG}"))}


def is_path(reference: str) -> bool:
    """Whether ``zoo get`` takes it for a folder."""
    return "/" in reference and not re.match("hf:|https?://", reference)


def is_url(reference: str) -> bool:
    """Whether it is the address of a package on a web server."""
    return re.match("https?://", reference) is not None


def name_of(reference: str) -> str:
    """The name under which a model is kept: the reference itself, of a URL or a folder its last part.

    Raises:
        UsageError: it is neither, nor a name of the catalogue; or a URL or folder ends in no name.
    """
    if is_url(reference):
        name = reference.removesuffix("/" + SUMS).rstrip("/").partition("://")[2].partition("/")[2].rpartition("/")[2]
        if re.search(r"[?#\s]|://[^/]*@", reference) or not re.fullmatch(_NAME, name):
            raise UsageError(
                f"{reference} does not end in a name to keep a model under: give the URL of the package's own folder, "
                "without a query, a user or a password"
            )
        return name
    if is_path(reference):
        name = unquote(Path(reference).resolve().name)
        if not (re.fullmatch(rf"{_NAME}(@.+)?", name) or re.fullmatch(_ON_HUB, name)):
            raise UsageError(
                f"{reference} does not end in a name to keep a model under: give a folder whose name has letters, "
                "digits, '.', '_' and '-'"
            )
        return name
    names = known().keys() | embedded().keys()
    if re.fullmatch(_ON_HUB, reference) or reference.partition("@")[0] in names:
        return reference
    raise UsageError(
        f"there is no model {reference!r} to get: give hf:OWNER/NAME, the URL or path of a package (./NAME), or a name "
        "of basecast zoo list"
    )


def find_model(reference: str | Path) -> Path:
    """The folder or file of a model: by path, or by the name under which it ships or was fetched.

    Nothing is fetched here.

    Raises:
        UsageError: there is none; the message says how to get it. Or its licence has not been accepted.
    """
    path, name = Path(reference), str(reference)
    if path.exists():
        return path
    ours = embedded()
    if name in ours:
        return ours[name]
    here = store.fetched()
    if is_url(name):
        name = next((n for n, record in here.items() if record.reference == name), name)
    if name in here:
        entry, record = known().get(name.partition("@")[0]), here[name]
        store.require_accepted(name, record.licences, record.reference, entry.homepage if entry else record.source)
        return store.folder_of(name)
    if re.match("hf:|https?://", name) or name.partition("@")[0] in known():
        raise UsageError(f"{name} has not been fetched yet: run `basecast zoo get {name}` once")
    raise UsageError(
        f"there is no model {name!r}: give a path, or one of {', '.join([*ours, *here])}; basecast zoo list names "
        "those that can be fetched"
    )


def load_model(reference: str | Path) -> Package:
    """A model by its name, its package folder, or a foreign checkpoint file or folder.

    Names are those of models that ship with basecast or were fetched with ``zoo get``; nothing is fetched here.
    Foreign: OpenSpliceAI ``.pt``/``.pth``, Illumina SpliceAI Keras ``.h5``, baskerville Keras ``.h5`` with its
    ``params.json`` beside it, borzoi-pytorch ``.safetensors``; a folder of several is an ensemble.

    Raises:
        UsageError: there is no such name, file or folder.
        InputError: the files are not what they should be.
    """
    path = find_model(reference)
    if (path / CONFIG).exists():
        return load_package(path)
    if (path / SUMS).exists():
        verify_package(path)
    package = imported(path)
    entry = None if Path(reference).exists() else known().get(str(reference).partition("@")[0])
    if entry is None:
        return package
    facts = {"name": str(reference), "species": entry.species, "genome_build": entry.genome_build}
    return replace(package, spec=package.spec.model_copy(update=facts))


def describe(reference: str) -> dict[str, Any]:
    """What is known of a model, as plain values: its spec and digest; of one not fetched yet, what the catalogue knows.

    Raises:
        UsageError, InputError: as ``load_model``.
    """
    entry = known().get(reference.partition("@")[0])
    record = None if Path(reference).exists() else store.fetched().get(reference)
    if entry and not record and not Path(reference).exists():
        return {**entry.model_dump(), "state": "not fetched", "get": f"basecast zoo get {reference}"}
    package = load_model(reference)
    origin = {"source": record.source, "commit": record.commit} if record else {}
    return {**package.spec.model_dump(mode="json"), "sha256": package.digest, **origin}


def imported(path: Path) -> Package:
    """A foreign checkpoint, or a folder of them, as a package.

    Raises:
        InputError: there is none, it is damaged, or they are of several formats.
    """
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    found = [(load, chosen) for suffixes, load in _IMPORTERS if (chosen := [p for p in files if p.suffix in suffixes])]
    if len(found) > 1:
        raise InputError(f"{path} holds checkpoints of several formats: name one file, or sort them into folders")
    if not found:
        raise InputError(
            f"{path} is no model: a package folder has a {CONFIG}, "
            "OpenSpliceAI checkpoints end in .pt or .pth, Illumina's and baskerville's in .h5, Borzoi's in .safetensors"
        )
    load, chosen = found[0]
    return load(chosen)


State = Literal["ships", "fetched", "known"]


class Listed(NamedTuple):
    """A line of ``zoo list``."""

    name: str
    state: State
    species: str
    context: str
    licence: str
    outputs: str


def listing() -> Iterator[Listed]:
    """Models that ship, then those that were fetched, then those that can be."""
    for name, folder in embedded().items():
        yield _listed(name, "ships", folder)
    here = store.fetched()
    for name in here:
        yield _listed(name, "fetched", store.folder_of(name))
    for name, entry in known().items():
        if name not in here:
            yield _known(name, "known", entry)


def _listed(name: str, state: State, folder: Path) -> Listed:
    if not (folder / CONFIG).exists() and (entry := known().get(name.partition("@")[0])):
        return _known(name, state, entry)
    try:
        spec = ModelSpec.model_validate_json((folder / CONFIG).read_text())
    except (OSError, ValueError):
        return Listed(name, state, "damaged: basecast zoo verify", "", "", "")
    reach = spec.reach
    context = reach.left + reach.right if isinstance(reach, LocalReach) else max(reach.lengths, default=0)
    return Listed(name, state, spec.species, str(context), spec.licence, ", ".join(o.name for o in spec.outputs))


def _known(name: str, state: State, entry: Known) -> Listed:
    return Listed(name, state, entry.species, str(entry.context), entry.licence, "splice")
