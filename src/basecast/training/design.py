"""What a new network is to be: a family, one of its sizes, and what differs from that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from basecast.errors import InputError, UsageError
from basecast.models.registry import families
from basecast.spec import ModelSpec, Output

OF_CLASSES, OF_SIGNALS = ("spliceai", "400"), ("basenji", "small")
"""Family and size by default."""


def designed(
    outputs: Sequence[Output],
    *,
    family: str | None = None,
    size: str | None = None,
    config: Mapping[str, Any] | None = None,
    **card: Any,
) -> ModelSpec:
    """The spec of a new model.

    Args:
        outputs: what the data have and the model is to give.
        family, size: of the registry; by default what suits the outputs.
        config: fields of the family's config that are to be other than those of the size.
        card: what the sizes do not tell: name, licence ...

    Raises:
        UsageError: there is no such family, size or field, or the family cannot give such outputs.
    """
    known, default = families(), OF_CLASSES if outputs[0].has_classes else OF_SIGNALS
    name = family or default[0]
    if name not in known:
        raise UsageError(f"there is no family {name!r}, only {', '.join(sorted(known))}")
    sizes = known[name].sizes
    chosen = size or (default[1] if name == default[0] else "small" if "small" in sizes else next(iter(sizes)))
    if chosen not in sizes:
        raise UsageError(f"there is no {name} of the size {chosen!r}, only {', '.join(sizes)}")
    try:
        settled = known[name].config.model_validate({**sizes[chosen]().model_dump(), **(config or {})})
        return known[name].spec(settled.with_outputs(outputs), outputs=outputs, **card)  # type: ignore[attr-defined]
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"])) or "its config"
        if what["type"] == "extra_forbidden" and len(what["loc"]) == 1:
            fields = ", ".join(known[name].config.model_fields)
            raise UsageError(f"the config of {name} has no field {where!r}, only {fields}") from None
        raise UsageError(f"{name} cannot be so: {where}: {what['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def fields_of(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of a config from ``KEY=VALUE``, whose value is JSON or else a text, and from files of a JSON object.

    Raises:
        InputError: a file is not there or holds no JSON object.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, is_one, value = text.partition("=")
        if is_one:
            found[key] = _value(value)
            continue
        try:
            given = json.loads(Path(text).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"--config {text} is neither KEY=VALUE nor a file of JSON ({error})") from None
        if not isinstance(given, dict):
            raise InputError(f'{text} holds no JSON object, such as {{"channels": 64}}')
        found |= given
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
