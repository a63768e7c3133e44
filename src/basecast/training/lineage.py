"""Whom a model comes from, and the licence that follows: the strictest of its line."""

from __future__ import annotations

from collections.abc import Sequence

from basecast.errors import UsageError
from basecast.spec import ModelSpec
from basecast.zoo.licences import in_words, may_become

Ancestor = tuple[str, str]
"""Name and licence."""


def inherited(spec: ModelSpec, ancestors: Sequence[Ancestor]) -> ModelSpec:
    """The spec of what is made from others: it names them, and is under its own licence if theirs allow that.

    A spec without a licence takes the strictest of theirs.

    Raises:
        UsageError: its licence, or none of theirs, suits all of them; the message says which does not.
    """
    if not ancestors:
        return spec
    names = dict.fromkeys((*spec.parents, *(name for name, _ in ancestors)))
    licences = list(dict.fromkeys(licence for _, licence in ancestors))
    wanted = [spec.licence] if spec.licence else licences
    suits = [own for own in wanted if all(may_become(licence, own) for licence in licences)]
    if not suits:
        refused = next((a for a in ancestors if not may_become(a[1], wanted[0])), ancestors[0])
        raise UsageError(
            f"{refused[0]} is under {in_words(refused[1])}: what is made from it cannot be under {wanted[0]}; "
            + ("leave --licence out to take its own" if spec.licence else "take models whose licences agree")
        )
    return spec.model_copy(update={"parents": tuple(names), "licence": suits[0]})
