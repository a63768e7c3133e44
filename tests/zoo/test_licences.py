"""Licences by their names."""

from __future__ import annotations

import pytest

from basecast.zoo.licences import hub_front_matter, in_words, is_known, kind_of, may_become


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("Apache-2.0", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("CC0-1.0", "permissive"),
        ("GPL-3.0-only", "copyleft"),
        ("AGPL-3.0-or-later", "copyleft"),
        ("CC-BY-SA-4.0", "copyleft"),
        ("CC-BY-NC-4.0", "non-commercial"),
        ("cc-by-nc-sa-4.0", "non-commercial"),
        ("PolyForm-Noncommercial-1.0.0", "non-commercial"),
        ("PolyForm-Strict-1.0.0", "non-commercial"),
        ("CC-BY-ND-4.0", "no-derivatives"),
        ("CC-BY-NC-ND-4.0", "non-commercial"),
        ("LicenseRef-Ours", "unknown"),
        ("NCSA", "permissive"),
    ],
)
def test_what_a_licence_asks_for(licence: str, kind: str) -> None:
    assert kind_of(licence) == kind
    assert licence in in_words(licence)


@pytest.mark.parametrize(
    ("licence", "own", "may"),
    [
        ("MIT", "CC-BY-NC-4.0", True),
        ("GPL-3.0-only", "GPL-3.0-only", True),
        ("GPL-3.0-only", "CC-BY-NC-4.0", False),
        ("GPL-3.0-only", "MIT", False),
        ("GPL-3.0-only", "GPL-3.0-or-later", False),
        ("GPL-3.0-or-later", "GPL-3.0-only", True),
        ("CC-BY-NC-4.0", "GPL-3.0-only", False),
        ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", True),
        ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", False),
        ("CC-BY-ND-4.0", "CC-BY-ND-4.0", False),
        ("PolyForm-Strict-1.0.0", "PolyForm-Strict-1.0.0", False),
        ("LicenseRef-Theirs", "MIT", False),
        ("LicenseRef-Theirs", "LicenseRef-Theirs", True),
        ("unknown", "MIT", False),
    ],
)
def test_under_what_made_weights_may_be_given_out(licence: str, own: str, may: bool) -> None:
    assert may_become(licence, own) == may


@pytest.mark.parametrize("licence", ["", "unknown", "NOASSERTION", "free", "Apache 2", "LicenseRef-", "other"])
def test_no_licence(licence: str) -> None:
    assert not is_known(licence)
    assert in_words(licence)


@pytest.mark.parametrize(
    ("licence", "lines"),
    [
        ("Apache-2.0", ["license: apache-2.0"]),
        ("GPL-3.0-only", ["license: gpl-3.0"]),
        ("CC-BY-NC-4.0", ["license: cc-by-nc-4.0"]),
        ("PDDL-1.0", ["license: pddl"]),
        (
            "PolyForm-Strict-1.0.0",
            [
                "license: other",
                "license_name: polyform-strict-1.0.0",
                "license_link: https://spdx.org/licenses/PolyForm-Strict-1.0.0.html",
            ],
        ),
        ("LicenseRef-Ours", ["license: other", "license_name: licenseref-ours"]),
    ],
)
def test_the_hub_s_own_words(licence: str, lines: list[str]) -> None:
    assert is_known(licence)
    assert hub_front_matter(licence) == lines
