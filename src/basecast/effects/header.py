"""What a header says of the run behind an INFO key: written by ``run_lines``, read again by ``runs_in``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from basecast import __version__
from basecast.effects.scorer import Scorer
from basecast.genome.vcf_header import text

MASKS = {"raw": "0", "masked": "1", "both": "both"}
"""Masks as the command line and headers name them."""

_COMMAND = "@command@"
"""Stands in header lines for the command, in which processes of one run may differ."""

_LINE = re.compile(r"##basecast_(run|annotation|reference)=<ID=([^,>]+),(.*)>\s*")
_FIELD = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def run_lines(scorer: Scorer, key: str, device: str) -> list[str]:
    """Header lines of the INFO key ``key`` that say what is run on what; ``with_command`` puts the command in.

    Args:
        device: the kind that the model is run on.
    """
    settings, spec, annotation = scorer.settings, scorer.package.spec, scorer.annotation

    def line(kind: str, **fields: str) -> str:
        quoted = ",".join(f'{name}="{_escaped(value)}"' for name, value in fields.items())
        return f"##basecast_{kind}=<ID={key},{quoted}>"

    return [
        line(
            "run",
            Version=__version__,
            Command=_COMMAND,
            Model=spec.name,
            ModelSha256=scorer.package.digest,
            Licence=spec.licence,
            Rules=settings.rules,
            D=str(settings.distance),
            M=MASKS[settings.mask],
            Mask=spec.mask,
            Precision=settings.precision,
            Device=device,
        ),
        line("annotation", File=str(annotation.path), Sha256=annotation.digest, Transcripts=annotation.selection),
        line("reference", File=str(scorer.genome.path), Sha256=scorer.genome.digest),
    ]


def with_command(lines: Iterable[str], command: str) -> list[str]:
    """The lines with the command that was given."""
    return [line.replace(_COMMAND, _escaped(command)) for line in lines]


def runs_in(header: Iterable[bytes]) -> dict[str, dict[str, str]]:
    """By INFO key what the lines of ``run_lines`` say in a header, as ``run.D`` or ``reference.Sha256``."""
    runs: dict[str, dict[str, str]] = {}
    for line in header:
        if match := _LINE.fullmatch(text(line)):
            kind, key, fields = match.groups()
            said = {f"{kind}.{name}": re.sub(r"\\(.)", r"\1", value) for name, value in _FIELD.findall(fields)}
            runs.setdefault(key, {}).update(said)
    return runs


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
