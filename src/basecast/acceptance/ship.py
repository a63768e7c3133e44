"""Models as they leave the house: with a card, and with test vectors where they can have some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from basecast.acceptance.vectors import make
from basecast.errors import InputError
from basecast.zoo.card import card_of
from basecast.zoo.package import Package, save_package


def ship(
    target: Path,
    package: Package,
    notes: str,
    extra: Mapping[str, bytes] = MappingProxyType({}),
    *,
    device: str = "auto",
) -> str:
    """Write a package with its card and, where they can be made, its test vectors.

    Args:
        notes: what the card says beyond what the spec knows.
        extra: more files by name.

    Returns:
        Why it has no test vectors; empty where it has.
    """
    try:
        made, why = make(package, device=device), ""
    except InputError as error:
        made, why = None, str(error)
    vectors = made.files if made else {}
    card = card_of(package.spec, acceptance=[str(one) for one in made.compared] if made else [], notes=notes)
    save_package(target, package, card, {**vectors, **extra})
    return why
