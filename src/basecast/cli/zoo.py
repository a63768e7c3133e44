"""``basecast zoo``: the models that are here."""

from __future__ import annotations

import json
from pathlib import Path

from cyclopts import App

zoo = App(name="zoo", help="List, inspect, import and verify models.", help_format="plaintext")


@zoo.command(name="list")
def list_models() -> int:
    """Models that ship with basecast, by the name that --model takes."""
    from basecast.zoo.catalogue import embedded, load_model

    for name in embedded():
        spec = load_model(name).spec
        print(f"{name}\t{spec.species}\t{spec.licence}\t{', '.join(output.name for output in spec.outputs)}")
    return 0


@zoo.command
def info(model: str, /) -> int:
    """What is known of a model, as JSON: inputs, outputs, reach, licence, lineage.

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder or a foreign checkpoint.
    """
    from basecast.zoo.catalogue import load_model

    package = load_model(model)
    print(json.dumps(package.spec.model_dump(mode="json") | {"sha256": package.digest}, indent=1))
    return 0


@zoo.command(name="import")
def import_model(source: str, target: str, /, *, name: str | None = None, licence: str | None = None) -> int:
    """Turn a foreign checkpoint into a package folder.

    Parameters
    ----------
    source:
        OpenSpliceAI .pt or .pth, Illumina SpliceAI .h5, or a folder of several (an ensemble).
    target:
        The folder to make.
    name:
        The package's name, by default that of the folder.
    licence:
        SPDX identifier of the weights' licence, where it is not the one the format's authors published under.
    """
    from dataclasses import replace

    from basecast.zoo.catalogue import load_model
    from basecast.zoo.package import save_package

    package = load_model(source)
    changes = {"name": name or Path(target).name} | ({"licence": licence} if licence else {})
    save_package(Path(target), replace(package, spec=package.spec.model_copy(update=changes)))
    print(f"{target}: {len(package.networks)} members, licence {changes.get('licence', package.spec.licence)}")
    return 0


@zoo.command
def verify(model: str, /) -> int:
    """Check a package's files against its checksums.

    Parameters
    ----------
    model:
        A name of `basecast zoo list` or a package folder.
    """
    from basecast.zoo.catalogue import embedded
    from basecast.zoo.package import load_package, verify_package

    folder = embedded().get(model, Path(model))
    names = verify_package(folder)
    load_package(folder)
    print(f"{folder}: {len(names)} files are what they were")
    return 0
