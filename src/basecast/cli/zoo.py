"""``basecast zoo``: models as packages, here and elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from basecast.cli.console import Console
from basecast.errors import BasecastError, counted

zoo = App(
    name="zoo", help="Find, fetch, inspect, import, check and publish models.", help_format="plaintext", sort_key=4
)

_AcceptLicence = Annotated[bool, Parameter(negative="")]


@zoo.command(name="list")
def list_models() -> int:
    """List models: those that ship with basecast, were fetched, or can be.

    Columns: name as --model takes it, state, species, context in bases, licence of the weights, outputs.

    Example: basecast zoo list
    """
    from basecast.zoo.catalogue import listing

    rows = list(listing())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if sys.stdout.isatty() else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] if widths else row
        print(("  " if widths else "\t").join(cells).rstrip())
    return 0


@zoo.command
def info(model: str, /) -> int:
    """Show what is known of a model, as JSON.

    Inputs, outputs, reach, licence, lineage; of one not fetched yet, its source.

    Example: basecast zoo info human-400

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder or a foreign checkpoint.
    """
    from basecast.zoo.catalogue import describe

    print(json.dumps(describe(model), indent=1))
    return 0


@zoo.command
def get(
    model: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["-o", "--output"])] = None,
    accept_licence: _AcceptLicence = False,
) -> int:
    """Fetch a model once, so that -m NAME finds it from then on without a network.

    What an interrupted download has left is gone on with. Every file is held against its checksum, where one is
    published.

    Example: basecast zoo get openspliceai-mane-10000

    Parameters
    ----------
    model:
        A name of `basecast zoo list` or hf:OWNER/NAME, either with @REVISION; the URL of a package's folder; or a
        folder, as ./FOLDER.
    output:
        Make this folder instead of keeping the model in the cache.
    accept_licence:
        Agree to the terms of weights that are for non-commercial use only. Once is enough.
    """
    from basecast.zoo.fetch import get as fetch
    from basecast.zoo.licences import in_words

    console = Console()
    with console.progress(f"bytes of {model}") as progress:
        found = fetch(model, output, accept_licence=accept_licence, progress=progress)
    size = f"{counted(found.n_files, 'file')}, {found.n_bytes / 1e6:.1f} MB"
    print(f"{found.name}: {size}, {'here already' if found.was_there else f'from {found.source}'}")
    print(f"licence: {'; '.join(map(in_words, found.licences))}")
    print(f"use it with: -m {output or found.name}")
    return 0


@zoo.command(name="import")
def import_model(source: str, target: str, /, *, name: str | None = None, licence: str | None = None) -> int:
    """Turn a foreign checkpoint into a package folder.

    The package gets test vectors of what the checkpoint computes now.

    Example: basecast zoo import model_10000nt_rs10.pt my-model

    Parameters
    ----------
    source:
        OpenSpliceAI .pt or .pth, Illumina SpliceAI .h5, a folder of several (an ensemble), or a fetched model;
        baskerville .h5 with its params.json beside it, or .safetensors of Borzoi or Flashzoi in PyTorch.
    target:
        The folder to make.
    name:
        The package's name, by default that of the folder.
    licence:
        SPDX identifier of the weights' licence, where it is not the one the format's authors published under.
    """
    from dataclasses import replace

    from basecast.acceptance import vectors as acceptance
    from basecast.zoo.catalogue import load_model
    from basecast.zoo.package import require_new, save_package

    require_new(Path(target))
    package = load_model(source)
    changes = {"name": name or Path(target).name} | ({"licence": licence} if licence else {})
    package = replace(package, spec=package.spec.model_copy(update=changes))
    try:
        files = acceptance.kept_or_made(package).files
    except BasecastError as error:
        Console().say(f"{target} gets no test vectors: {error}", level="warning")
        files = {}
    save_package(Path(target), package, files=files)
    print(f"{target}: {counted(len(package.networks), 'member')}, licence {package.spec.licence}")
    return 0


@zoo.command
def verify(model: str, /, *, run: Annotated[bool, Parameter(negative="")] = False, device: str = "auto") -> int:
    """Check a package's files, and with --run what it computes.

    Files are held against the package's checksums, results against its test vectors.

    Example: basecast zoo verify --run human-400

    Parameters
    ----------
    model:
        A name of `basecast zoo list` or a package folder.
    run:
        Run the model on the package's own bases and variants too, and print the largest difference of each output.
    device:
        With --run: auto, cpu, cuda or cuda:N.
    """
    from basecast.zoo.catalogue import find_model, load_model
    from basecast.zoo.package import read_sums

    package, folder = load_model(model), find_model(model)
    names = [name for name, digest in read_sums(folder).items() if digest]
    print(f"{folder}: {counted(len(names), 'file')} {'is' if len(names) == 1 else 'are'} what they were")
    if run:
        from basecast.acceptance import vectors as acceptance

        compared = acceptance.check(package, folder, device=device)
        for one in compared:
            print(one)
        acceptance.require_agreement(package.spec.name, compared)
        print(f"{package.spec.name} computes what its authors saw")
    return 0


@zoo.command
def publish(model: str, folder: Path, /, *, repository: str = "") -> int:
    """Make a folder that a hub takes as it is.

    It holds the config, weights, model card, checksums and test vectors. What nobody may give out, or what says too
    little of itself, is refused: an unknown licence, one that the models it comes from do not allow, no provenance. Its
    card may be edited afterwards.

    Example: basecast zoo publish my-model hub/my-model --repository me/my-model

    Parameters
    ----------
    model:
        A name of `basecast zoo list`, a package folder or a foreign checkpoint.
    folder:
        The folder to make; upload it with `hf upload OWNER/NAME FOLDER`, or put it on any web server.
    repository:
        OWNER/NAME on the hub, for the commands that the card shows.
    """
    from basecast.acceptance import vectors as acceptance
    from basecast.zoo.catalogue import load_model
    from basecast.zoo.package import require_new
    from basecast.zoo.publish import publish as write
    from basecast.zoo.publish import require_publishable

    require_new(folder)
    package = load_model(model)
    require_publishable(package)
    made = acceptance.kept_or_made(package)
    write(package, folder, made.files, [str(one) for one in made.compared], repository)
    print(f"{folder}: {package.spec.name}, {package.spec.licence}, {counted(len(made.compared), 'acceptance result')}")
    return 0
