"""``--help`` as a person reads it: what a verb does, examples that can be pasted, every option explained."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cyclopts import App

from basecast.cli.main import app
from conftest import Run

_HEAVY = {"torch", "numpy", "polars", "pysam", "h5py", "pydantic"}
_PAGES = """
import sys
from basecast.cli.main import main
for page in sys.argv[1:]:
    assert main([*page.split(), "--help"]) == 0
print({name.split(".")[0] for name in sys.modules})
"""


def pages(node: App = app, path: str = "") -> Iterator[tuple[str, App]]:
    """Every verb, group of verbs and sub-verb, as it is typed."""
    yield path.strip(), node
    for name in node:
        if not name.startswith("-"):
            yield from pages(node[name], f"{path} {name}")


PAGES = dict(pages())
VERBS = {path: node for path, node in PAGES.items() if node.default_command is not None}


def examples(text: str) -> list[list[str]]:
    """The words of each example, as a shell takes them; what comes after ``>`` is the shell's."""
    found = re.findall(r"^Example[^\n]*:\n((?:  .+\n)+)", text, re.MULTILINE)
    words = [shlex.split(command.replace("\\\n", "")) for command in found]
    return [command[: command.index(">")] if ">" in command else command for command in words]


def read(run: Run, path: str, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = run(*path.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def test_the_verbs_are_found() -> None:
    assert {"variant", "predict", "saturate", "merge", "demo", "completion", "zoo import"} <= VERBS.keys()
    assert {"create-data", "train", "transfer", "distill", "evaluate", "calibrate"} <= VERBS.keys()
    assert set(PAGES) - set(VERBS) == {"", "data", "zoo"}


@pytest.mark.parametrize("columns", [80, 120, 240])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_the_terminal(path: str, columns: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = read(run, path, monkeypatch, columns).splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    assert all(line == line.rstrip() and line.isascii() for line in lines)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_how_it_is_called_and_what_it_does(path: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, summary, *rest = read(run, path, monkeypatch).split("\n\n")
    assert re.match(rf"Usage: basecast {path}\b" if path else "Usage: basecast COMMAND", usage)
    assert "\n" not in summary
    assert summary.endswith(".")
    assert rest


@pytest.mark.parametrize("columns", [80, 240])
@pytest.mark.parametrize("path", VERBS)
def test_its_examples_are_commands(path: str, columns: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examples(read(run, path, monkeypatch, columns))
    assert found
    for name, *words in found:
        assert name == "basecast"
        verb, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        assert verb == VERBS[path].default_command


@pytest.mark.parametrize("path", VERBS)
def test_every_option_is_explained(path: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said = " ".join(read(run, path, monkeypatch).split())
    for argument in VERBS[path].assemble_argument_collection(parse_docstring=True):
        if argument.parse and argument.show:
            assert argument.parameter.help, argument.name
            assert " ".join(argument.parameter.help.split()) in said


@pytest.mark.parametrize("path", ["variant", "predict", "saturate"])
def test_many_options_come_in_groups(path: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = re.findall(r"^(\w+):$", read(run, path, monkeypatch), re.MULTILINE)
    assert [title for title in titles if title != "Example"] == ["Input", "Model", "Output", "Device", "Run"]


def test_the_first_page_lists_verbs_in_the_order_of_use_and_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = read(run, "", monkeypatch)
    verbs = ["coverage", "create-data", "data", "train", "transfer", "distill", "calibrate", "evaluate"]
    verbs += ["predict", "variant", "saturate"]
    assert re.findall(r"^  (\w[\w-]*)  +\S", said, re.MULTILINE) == [*verbs, "merge", "zoo", "demo", "completion"]
    assert re.search(r"Exit codes: 0 .*\b137\sout\sof\smemory", said, re.DOTALL)
    assert examples(said)


def test_help_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", _PAGES, *PAGES], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    modules = set(re.findall(r"'([^']+)'", done.stdout.splitlines()[-1]))
    assert "basecast" in modules
    assert not modules & _HEAVY
