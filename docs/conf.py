"""Sphinx: the pages of this folder, and the API from docstrings. `make docs` builds it with warnings as errors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ["COLUMNS"] = "92"  # of --help, which fits a page then
sys.path.insert(0, str(HERE.parent / "src"))

import basecast  # noqa: E402
from basecast.cli.main import app  # noqa: E402

project, author, release = "Basecast", "The Basecast developers", basecast.__version__
copyright = "The Basecast developers, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Basecast {release}"
html_show_sphinx = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
nitpicky = False


def write_help(verbs: tuple[str, ...]) -> None:
    """What `basecast VERB --help` says, for the page of the verb."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        app(["--help"] if not verbs else [*verbs, "--help"], exit_on_error=False)
    folder = HERE / "_build" / "help"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{'-'.join(verbs) or 'basecast'}.txt").write_text(said.getvalue())


_ZOO = tuple(("zoo", verb) for verb in ("get", "list", "info", "import", "verify", "publish"))
_MAKING = ("coverage", "create-data", "train", "transfer", "distill", "calibrate", "evaluate")
for verb in (*_MAKING, "variant", "saturate", "predict", "merge", "completion"):
    write_help((verb,))
for verbs in ((), ("data", "check"), *_ZOO):
    write_help(verbs)
