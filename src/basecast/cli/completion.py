"""``basecast completion``: what the TAB key offers, as a script for a shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]


def completion_of(app: App) -> Callable[[Shell], int]:
    """The verb that prints the completion of ``app``."""

    def completion(shell: Shell, /) -> int:
        """Print what completes verbs, options and file names as you type.

        Example (bash): basecast completion bash > ~/.local/share/bash-completion/completions/basecast

        Example (zsh): basecast completion zsh > "${fpath[1]}/_basecast"

        Example (fish): basecast completion fish > ~/.config/fish/completions/basecast.fish

        Parameters
        ----------
        shell:
            The shell that is to read it.
        """
        print(script(app, shell), end="")
        return 0

    return completion


def script(app: App, shell: Shell) -> str:
    """The completion of ``app`` in the language of ``shell``.

    cyclopts offers file names only where a value is a ``Path``. Most of ours are text (``-``, a model's name), so here
    every value may be a file unless it is one of a few words.
    """
    text = app.generate_completion(shell=shell)
    name = app.name[0]
    if shell == "bash":  # readline's file names know folders and spaces, compgen's do not
        text = text.replace('COMPREPLY=( $(compgen -f -- "${cur}") )', "COMPREPLY=()")
        return text.replace("complete -F", "complete -o default -F")
    if shell == "zsh":
        value, place = r"\]:[\w-]+", r"^ +'[\d*]+:(?:[^:\\\n]|\\.)+"
        text = re.sub(rf"(?:{value}|{place})(?='( \\)?$)", r"\g<0>:_files", text, flags=re.MULTILINE)
        text = text.replace(f"_cyclopts_{name}", f"_{name}").rstrip()
        # a file in $fpath is run at the first TAB; a sourced one only says what it is for
        return f'{text}\n\nif [ "$funcstack[1]" = _{name} ]; then _{name}; else compdef _{name} {name}; fi\n'
    groups = re.findall(r"^# Subcommands for: (.+)$", text, re.MULTILINE)
    verbs_wanted = ["__fish_use_subcommand", *(f"__fish_{name}_using_command {group}" for group in groups)]
    return text.rstrip() + "".join(f"\ncomplete -c {name} -n '{condition}' -f" for condition in verbs_wanted) + "\n"
