"""How ``--help`` reads: what a verb does, examples to copy, and its options by group, in lines without boxes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_WIDEST, _LABEL = 100, 26  # columns of a line, and of an option's name; a longer name has a line of its own
_GLUE = "\0"  # a space that no line ends at
_EXAMPLE = re.compile(r"(Example[^:]*): (basecast .*)", re.DOTALL)
_UNIT = re.compile(r"-\S+ [^-\s]\S*|> \S+|\S+")  # an option stays with its value
ABOUT = """From DNA sequence to function.

Example (no input needed): basecast demo

Example (a verb's own page): basecast variant --help

Exit codes: 0 done; 1 bad input; 2 usage; 3 finished, but nothing could be scored; 130 or 143 interrupted (the same
command goes on where it stood); 137 out of memory.

BASECAST_CACHE is the folder for what can be made again. With BASECAST_OFFLINE=1 nothing is fetched.
"""


class Manual:
    """The help formatter of cyclopts' protocol. A paragraph ``Example: basecast ...`` of a docstring is a command."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        _say(console, _wrapped(f"Usage: {_plain(usage)}", _width(console), "    "))

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        for paragraph in _plain(description).split("\n\n"):
            if example := _EXAMPLE.fullmatch(paragraph):
                _say(console, [f"{example[1]}:", *_command(example[2], _width(console))])
            else:
                _say(console, _wrapped(paragraph, _width(console)))

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        aligned = any(entry.positive_shorts for entry in panel.entries)
        labels = [_label(entry, aligned) for entry in panel.entries]
        column = min(max(map(len, labels), default=0), _LABEL) + 4
        lines = [f"{_plain(panel.title)}:"]
        for label, entry in zip(labels, panel.entries, strict=True):
            text = _wrapped(_about(entry), _width(console) - column) or [""]
            if len(label) > _LABEL:
                lines.append(f"  {label}")
                label = ""
            lines.append(f"  {label:{column - 2}}{text[0]}".rstrip())
            lines += [" " * column + more for more in text[1:]]
        _say(console, lines if labels else [])


def _label(entry: HelpEntry, aligned: bool) -> str:
    """``-R, --reference FASTA``; where some options have a short name, the long ones stand below each other."""
    if entry.positional_label:
        return entry.positional_label
    indent = "    " if aligned and not entry.positive_shorts and entry.names[0].startswith("-") else ""
    value = "|".join(entry.choices or ()) or entry.metavar or ""
    return f"{indent}{', '.join((*entry.shorts, *entry.names))} {value}".rstrip()


def _about(entry: HelpEntry) -> str:
    default = [f"[default:{_GLUE}{entry.default}]"] if entry.default not in (None, "False") else []
    return " ".join([_plain(entry.description), *default, *(["[required]"] if entry.required else [])])


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return [line.replace(_GLUE, " ") for line in lines]


def _command(text: str, width: int) -> list[str]:
    """A command in lines that a shell joins again."""
    lines = ["  "]
    for unit in _UNIT.findall(text):
        if len(lines[-1]) + len(unit) > width - 2:
            lines[-1] += "\\"
            lines.append("      ")
        lines[-1] += f"{unit} "
    return [line.rstrip() for line in lines]


def _plain(text: Any) -> str:
    text = getattr(text, "primary_renderable", text)
    return str(getattr(text, "plain", text) or "").strip()


def _width(console: Console) -> int:
    return min(console.width, _WIDEST)


def _say(console: Console, lines: Sequence[str]) -> None:
    """One block, an empty line after it."""
    if lines:
        console.print(*lines, "", sep="\n", markup=False, highlight=False, soft_wrap=True)
