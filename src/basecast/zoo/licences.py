"""What licences of weights mean to who fetches, uses and publishes a model. Not legal advice: names and plain words."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["permissive", "copyleft", "no-derivatives", "non-commercial", "unknown"]

# SPDX identifiers, lower case and without -only or -or-later, that the Hugging Face hub knows by the same name.
_HUB = frozenset(
    """
    apache-2.0 mit bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib unlicense ncsa cc0-1.0 pddl-1.0 odc-by-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nd-4.0
    cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 epl-2.0 eupl-1.1 artistic-2.0 ecl-2.0
    """.split()  # noqa: SIM905
)
_HUB_NAMES = {"pddl-1.0": "pddl", "odc-by-1.0": "odc-by"}
_OTHERS = frozenset(
    ["polyform-noncommercial-1.0.0", "polyform-strict-1.0.0", "cc-by-nd-3.0", "eupl-1.2", "0bsd", "blueoak-1.0.0"]
)


def is_known(licence: str) -> bool:
    """Whether it is an SPDX identifier that means something here, or a ``LicenseRef-`` of the publisher's own."""
    return _bare(licence) in _HUB | _OTHERS or re.fullmatch(r"LicenseRef-[\w.-]+", licence) is not None


def kind_of(licence: str) -> Kind:
    """What a licence asks for, the first of all that it does for who uses the weights."""
    bare = _bare(licence)
    if re.search(r"(^|-)nc(-|$)|noncommercial|non-commercial|^polyform-strict", bare):
        return "non-commercial"
    if _forbids_derivatives(bare):
        return "no-derivatives"
    if re.match(r"a?gpl|lgpl|mpl|epl|eupl|cc-by-sa", bare):
        return "copyleft"
    return "permissive" if bare in _HUB | _OTHERS else "unknown"


def may_become(licence: str, own: str) -> bool:
    """Whether weights made from what is under a licence may be given out under ``own``.

    Copyleft, share-alike and unknown terms stay what they are. Where this is simpler than the law, it is stricter.
    """
    bare, kind = _bare(licence), kind_of(licence)
    if _forbids_derivatives(bare):
        return False
    if kind == "permissive":
        return True
    if kind == "non-commercial" and "-sa" not in bare:
        return kind_of(own) == "non-commercial"
    return own.lower() == licence.lower() or (licence.lower().endswith("-or-later") and _bare(own) == bare)


def _forbids_derivatives(bare: str) -> bool:
    return re.search(r"(^|-)nd(-|$)|^polyform-strict", bare) is not None


def in_words(licence: str) -> str:
    """The licence and what it asks for, for a line that a person reads."""
    asks = {
        "non-commercial": "it forbids use for commercial advantage or payment",
        "copyleft": "what you distribute of it or made from it stays under the same terms",
        "no-derivatives": "it forbids to distribute what is made from it",
        "unknown": "its terms are its own: read them",
    }.get(kind_of(licence) if licence else "permissive")
    return f"{licence} ({asks})" if asks else licence or "no licence named"


def hub_front_matter(licence: str) -> list[str]:
    """The lines of a model card's front matter that name the licence in the hub's own words."""
    bare = _bare(licence)
    if bare in _HUB:
        return [f"license: {_HUB_NAMES.get(bare, bare)}"]
    own = licence.startswith("LicenseRef-")
    link = [] if own else [f"license_link: https://spdx.org/licenses/{licence}.html"]
    return ["license: other", f"license_name: {bare}", *link]


def _bare(licence: str) -> str:
    return licence.lower().removesuffix("-only").removesuffix("-or-later")
