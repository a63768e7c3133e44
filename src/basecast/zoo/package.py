"""A model as a folder: ``config.json``, weights in safetensors, ``README.md`` (the card) and ``SHA256SUMS``.

Loading runs no code from the package: JSON and tensors are all it holds.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from basecast.errors import InputError, UsageError
from basecast.files import digest_of, sha256_of
from basecast.models.ensemble import Ensemble
from basecast.models.network import Network
from basecast.models.registry import build
from basecast.spec import ModelSpec
from basecast.zoo.card import card_of

CONFIG, CARD, SUMS = "config.json", "README.md", "SHA256SUMS"
ATTRIBUTES = ".gitattributes"
"""What a hub reads and rewrites: no part of the model, so ``SHA256SUMS`` does not list it."""
LONGEST_SUMS = 1_000_000
"""Bytes of a ``SHA256SUMS``, or of a card; a longer one is none."""


@dataclass(frozen=True, eq=False)
class Package:
    """A model in memory: what it is, and one network a member (or, of a composite, one package a node)."""

    spec: ModelSpec
    networks: tuple[Network, ...] = ()
    nodes: Mapping[str, Package] = field(default_factory=dict)
    source: str = "memory"

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 over every weight of every member, in order."""
        digest = hashlib.sha256()
        for network in self.networks:
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the spec and every weight: the same for the same model, wherever it was loaded from."""
        digest = hashlib.sha256(self.spec.model_dump_json(exclude={"name", "provenance"}).encode())
        digest.update(self.weights_digest.encode())
        for name, node in self.nodes.items():
            digest.update(f"{name} {node.digest}".encode())
        return digest.hexdigest()

    @property
    def network(self) -> nn.Module:
        """The model as a plain module from one-hot (batch, 4, length) to logits; of several members, their ensemble."""
        if not self.networks:
            raise UsageError(f"{self.spec.name} is a graph of packages: take the network of one of {list(self.nodes)}")
        if len(self.networks) == 1:
            return self.networks[0]
        return Ensemble(self.networks, self.spec)


def save_package(
    folder: Path, package: Package, card: str | None = None, files: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Write a package; the folder appears whole or not at all.

    Args:
        card: the text of ``README.md``; by default what the spec knows.
        files: more files by name, such as test vectors; they are listed in ``SHA256SUMS`` as all are.

    Raises:
        UsageError: the folder is there already.
    """
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(content)
        _write(staging, package, card)
        staging.chmod(0o755)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_new(folder: Path) -> None:
    """Raises UsageError where a folder that is to be made is there already."""
    if folder.exists():
        raise UsageError(f"{folder} is there already: choose another name or remove it")


def _write(folder: Path, package: Package, card: str | None) -> None:
    spec = package.spec
    (folder / CONFIG).write_text(spec.model_dump_json(indent=1) + "\n")
    (folder / CARD).write_text(card or card_of(spec))
    for member, network in zip(spec.members, package.networks, strict=True):
        save_file({name: x.contiguous() for name, x in network.state_dict().items()}, folder / member.file)
        (folder / member.file).chmod(0o644)  # safetensors leaves it to the owner alone
    for node in spec.nodes:
        (folder / node.package).mkdir()
        _write(folder / node.package, package.nodes[node.name], None)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (SUMS, ATTRIBUTES))
    lines = [f"{digest_of(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / SUMS).write_text("".join(lines))


def verify_package(folder: Path) -> list[str]:
    """Check every file that ``SHA256SUMS`` lists; what was checked, by name. Others are never read.

    A card must be there, and may be any: its authors edit it where the package lies.

    Raises:
        InputError: a file is missing, or not what it was when the package was made.
    """
    sums = read_sums(folder)
    for name, digest in sums.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{folder / SUMS} lists {name!r}, which lies outside the package: do not trust it")
        if not path.is_file():
            raise InputError(f"{path} is missing from the package: fetch it again")
        if digest and digest_of(path) != digest:
            raise InputError(f"{path} is not the file that {SUMS} was made for (checksum differs): fetch it again")
    return [name for name, digest in sums.items() if digest]


def read_sums(folder: Path) -> dict[str, str]:
    """File -> SHA-256, as a package's ``SHA256SUMS`` lists them; '' of a card, which may be any.

    Raises:
        InputError: there is none, it is no such list, or a name leads out of the package.
    """
    path = folder / SUMS
    try:
        if path.stat().st_size > LONGEST_SUMS:
            raise InputError(f"{path} is no list of checksums: it is longer than {LONGEST_SUMS:,} bytes")
        lines = path.read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is no package: it has no {SUMS}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no list of checksums: fetch it again") from None
    sums = {}
    for line in lines:
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.*)", line)
        if not found:
            raise InputError(f"{path} is no list of checksums: {line[:40]!r} is no SHA-256 in hex and a file")
        digest, name = found.groups()
        if not _is_file_name(name):
            raise InputError(f"{path} lists {name[:80]!r}, which is no file of a package: do not trust it")
        sums[name] = "" if PurePosixPath(name).name == CARD else digest
    folders = {parent.as_posix() for name in sums for parent in PurePosixPath(name).parents}
    if both := sorted(folders & sums.keys()):
        raise InputError(f"{path} lists {both[0]!r} both as a file and as a folder: do not trust it")
    return sums


def _is_file_name(name: str) -> bool:
    """Whether it is a plain name below the package's folder."""
    parts = name.split("/")
    is_plain = all(re.fullmatch(r"[\w.-]+", part) and part not in (".", "..") for part in parts)
    return is_plain and len(name) <= 200 and name != SUMS


def load_package(folder: Path) -> Package:
    """A package from its folder, every file checked first.

    Raises:
        InputError: a checksum, the config or a weight's shape is wrong; the message names the file.
    """
    listed = verify_package(folder)
    return _load(folder, {folder / name for name in listed})


def _load(folder: Path, listed: set[Path]) -> Package:
    config = folder / CONFIG
    if config not in listed:
        raise InputError(f"{config} is not listed in {SUMS}: the package is not whole, fetch it again")
    try:
        spec = ModelSpec.model_validate_json(config.read_text())
    except ValueError as error:
        raise InputError(f"{config} is not a valid model: {error}") from None
    make = spec.architecture and partial(build, spec.architecture)
    networks = [_network(make, folder / member.file, listed) for member in spec.members] if make else []
    nodes = {node.name: _load(folder / node.package, listed) for node in spec.nodes}
    return Package(spec, tuple(networks), nodes, str(folder))


def _network(make: Callable[[], Network], path: Path, listed: set[Path]) -> Network:
    if path not in listed:
        raise InputError(f"{path} is not listed in {SUMS}: the package is not whole, fetch it again")
    try:
        return filled(make, load_file(path), path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from None
    except (ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{path.parent / CONFIG} is not a valid model: {error}") from None


def filled(make: Callable[[], Network], weights: Mapping[str, torch.Tensor], path: Path) -> Network:
    """A network with weights from a file, which are compared before a network of whatever size takes memory.

    Raises:
        InputError: a weight is missing, too many, or of another shape.
    """
    with torch.device("meta"):
        _require_shapes(make(), weights, path)
    network = make()
    fill(network, weights, path)
    return network


def fill(network: Network, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put weights into a network, every one and no other, and make it ready to answer (eval, no gradients kept).

    Raises:
        InputError: a weight is missing, too many, or of another shape.
    """
    _require_shapes(network, weights, path)
    network.load_state_dict(dict(weights))
    network.eval().requires_grad_(False)


def _require_shapes(network: Network, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    own = network.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or extra:
        raise InputError(f"{path} does not hold this network's weights: missing {missing[:3]}, unknown {extra[:3]}")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise InputError(
                f"{path}: weight {name} has shape {tuple(weights[name].shape)}, "
                f"the config asks for {tuple(tensor.shape)}"
            )


def common_source(paths: Sequence[Path]) -> dict[str, str]:
    """File name -> sha256, for the provenance of what was imported."""
    return {path.name: sha256_of(path) for path in paths}
