"""Completion in real shells: what TAB offers, and what it types."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cyclopts import App

from basecast.cli.completion import Shell, script
from basecast.cli.main import app
from conftest import Run

_EVERYWHERE = {"--help", "-h", "--version"}


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell}")
    return path


def verbs(node: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every verb and sub-verb."""
    for name in node:
        if not name.startswith("-"):
            yield (*path, name), node[name]
            yield from verbs(node[name], (*path, name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, and files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    shell: Shell
    for shell in ("bash", "zsh", "fish"):
        (folder / f"complete.{shell}").write_text(script(app, shell))
    (folder / "annotation").mkdir()
    for name in ("genome.fa", "two words.fa", "annotation/genes.gtf"):
        (folder / name).touch()
    return folder


def offered_by_bash(folder: Path, *words: str) -> list[str]:
    """What bash is told when the last of ``words`` is completed."""
    code = (
        'source complete.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _basecast; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", code, "bash", "basecast", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == ""
    return done.stdout.split()


def offered_by_fish(folder: Path, *words: str) -> list[str]:
    code = "source complete.fish; complete -C (string join ' ' -- $argv)"
    command = [needs("fish"), "--no-config", "-c", code, "basecast", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


OFFERED = {"bash": offered_by_bash, "fish": offered_by_fish}


@contextlib.contextmanager
def person(shell: str, folder: Path, setup: str) -> Iterator[Callable[[str], list[str]]]:
    """Who types lines, with their TABs, into a shell; the words that ``basecast`` then gets."""
    start = [needs(shell), *{"bash": ("--norc", "--noprofile"), "zsh": ("-f",)}[shell], "-i"]
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "vt100", "HOME": str(folder), "INPUTRC": os.devnull}
    process = subprocess.Popen(start, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
    os.close(theirs)

    def answer(line: str, pattern: str) -> str:
        os.write(ours, f"{line}\n".encode())
        said, until = "", time.monotonic() + 30
        while (found := re.search(pattern, said)) is None:
            assert select.select([ours], [], [], max(until - time.monotonic(), 0))[0], said
            said += os.read(ours, 4096).decode()
        return found[0]

    try:
        answer(f"{setup}; basecast() {{ printf '<%s>' \"$@\"; echo ' got'; }}; echo ready''now", "readynow")
        yield lambda line: re.findall("<([^>]*)>", answer(f"basecast {line}", "<.*> got"))
    finally:
        process.kill()
        process.wait()
        os.close(ours)


_ZSH = "autoload -Uz compinit; compinit -u -D"
SETUP = {
    "bash": {"sourced": "source ./complete.bash"},
    "zsh": {
        "sourced": f"{_ZSH}; source ./complete.zsh",
        "in fpath": f"mkdir site; cp complete.zsh site/_basecast; fpath=($PWD/site $fpath); {_ZSH}",
    },
}


@pytest.mark.parametrize(("shell", "how"), [(shell, how) for shell, ways in SETUP.items() for how in ways])
def test_a_person_types(shell: str, how: str, folder: Path) -> None:
    with person(shell, folder, SETUP[shell][how]) as types:
        for line, words in {
            "zoo veri\t": ["zoo", "verify"],
            "variant --refe\t genome.fa": ["variant", "--reference", "genome.fa"],
            "variant -M bo\t": ["variant", "-M", "both"],
            "variant -R gen\t": ["variant", "-R", "genome.fa"],
            "variant -R two\t": ["variant", "-R", "two words.fa"],
            "variant -A anno\tge\t": ["variant", "-A", "annotation/genes.gtf"],
            "zoo info gen\t": ["zoo", "info", "genome.fa"],
            "zoo import genome.fa two\t": ["zoo", "import", "genome.fa", "two words.fa"],
        }.items():
            assert types(line) == words


@pytest.mark.parametrize("shell", OFFERED)
def test_every_verb_is_offered_and_only_verbs(shell: str, folder: Path) -> None:
    groups = {path[:-1] for path, _ in verbs()}
    assert groups == {(), ("data",), ("zoo",)}
    for group in groups:
        expected = {path[-1] for path, _ in verbs() if path[:-1] == group}
        assert set(OFFERED[shell](folder, *group, "")) == expected


@pytest.mark.parametrize("shell", OFFERED)
def test_every_option_is_offered(shell: str, folder: Path) -> None:
    for path, verb in verbs():
        if verb.default_command is None:
            continue
        given = [argument for argument in verb.assemble_argument_collection() if argument.parse]
        names = {name for argument in given for name in argument.names}
        offered = set(OFFERED[shell](folder, *path, "-")) | set(OFFERED[shell](folder, *path, "--"))
        assert {name for name in names if name.startswith("-")} | _EVERYWHERE == offered, path


@pytest.mark.parametrize("shell", OFFERED)
def test_a_value_of_a_few_words(shell: str, folder: Path) -> None:
    assert OFFERED[shell](folder, "variant", "--rules", "") == ["basecast", "baskerville", "spliceai"]
    assert OFFERED[shell](folder, "variant", "-M", "b") == ["both"]


def test_fish_offers_files(folder: Path) -> None:
    for words in (("variant", "-R"), ("zoo", "info")):
        assert offered_by_fish(folder, *words, "gen") == ["genome.fa"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_verb_prints_the_script(shell: Shell, run: Run) -> None:
    ran = run("completion", shell)
    assert (ran.code, ran.out, ran.err) == (0, script(app, shell), "")
    done = subprocess.run([needs(shell), "-n"], input=ran.out, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_a_usage_error(run: Run) -> None:
    ran = run("completion", "tcsh")
    assert ran.code == 2
    assert '"bash", "zsh", "fish"' in ran.err
