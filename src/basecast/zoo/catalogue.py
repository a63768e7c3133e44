"""What ``--model`` may be: a name that ships with basecast, a package folder, or a foreign checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from basecast.errors import InputError, UsageError
from basecast.zoo.importers import openspliceai, spliceai_keras
from basecast.zoo.package import CONFIG, Package, load_package

_IMPORTERS: tuple[tuple[tuple[str, ...], Callable[[list[Path]], Package]], ...] = (
    (openspliceai.SUFFIXES, openspliceai.load),
    (spliceai_keras.SUFFIXES, spliceai_keras.load),
)


def embedded() -> dict[str, Path]:
    """Name -> folder of every package that ships with basecast."""
    root = Path(str(resources.files("basecast.zoo") / "embedded"))
    return {config.parent.name: config.parent for config in sorted(root.glob(f"*/{CONFIG}"))}


def load_model(reference: str | Path) -> Package:
    """A model by its embedded name, its package folder, or a foreign checkpoint file or folder.

    Foreign: OpenSpliceAI ``.pt``/``.pth``, Illumina SpliceAI Keras ``.h5``; a folder of several is an ensemble.

    Raises:
        UsageError: there is no such name, file or folder.
        InputError: the files are not what they should be.
    """
    path = Path(reference)
    if not path.exists():
        ours = embedded()
        if str(reference) in ours:
            return load_package(ours[str(reference)])
        raise UsageError(f"there is no model {str(reference)!r}: give a path, or one of {', '.join(ours)}")
    if (path / CONFIG).exists():
        return load_package(path)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    found = [(load, chosen) for suffixes, load in _IMPORTERS if (chosen := [p for p in files if p.suffix in suffixes])]
    if len(found) > 1:
        raise InputError(f"{path} holds checkpoints of several formats: name one file, or sort them into folders")
    if not found:
        raise InputError(
            f"{path} is no model: a package folder has a {CONFIG}, "
            "OpenSpliceAI checkpoints end in .pt or .pth, Illumina's in .h5"
        )
    load, chosen = found[0]
    return load(chosen)
