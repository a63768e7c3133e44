"""The model card (``README.md``): what a spec knows, for a person, with the front matter that hubs read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from basecast.spec import LocalReach, ModelSpec, Output
from basecast.zoo.licences import hub_front_matter, in_words, kind_of

_MADE = "<!-- made by basecast from config.json; what stands under Notes is kept -->"
_NOTES = "\n## Notes\n"
_SPLICE = "splice"
_DISTANCE = 50  # that `variant` looks for sites in by default


def card_of(spec: ModelSpec, *, repository: str = "", acceptance: Sequence[str] = (), notes: str = "") -> str:
    """A card.

    Args:
        repository: ``OWNER/NAME`` of the hub where the package will lie.
        acceptance: what its test vectors gave, a line each.
        notes: what the authors have to say, kept as it is.
    """
    sections = {
        "What it is": _what(spec),
        "Inputs and outputs": _inputs(spec) + _outputs(spec),
        "Use": _use(spec, f"hf:{repository or f'OWNER/{spec.name}'}"),
        "Training data and provenance": _provenance(spec),
        "Licence and lineage": _lineage(spec),
        "Acceptance": [*acceptance] or ["This package carries no test vectors."],
    }
    text = "".join(f"\n## {title}\n\n{_lines(lines)}" for title, lines in sections.items())
    more = f"{_NOTES}\n{notes.strip()}\n" if notes else ""
    return f"{_front_matter(spec)}\n# {spec.name}\n\n{_MADE}\n{text}{more}"


def notes_of(card: str) -> str:
    """What a card says beyond what ``card_of`` makes: its Notes; all of one that was written by hand."""
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    if _MADE in body:
        return body.partition(_NOTES)[2].strip()
    body = re.sub(r"\A\s*# .*\n", "", body)
    return re.sub(r"^(#+ )", r"#\1", body, flags=re.MULTILINE).strip()


def _front_matter(spec: ModelSpec) -> str:
    tags = ["basecast", "biology", "genomics", "dna"]
    tags += ["splicing"] if any(output.name == _SPLICE for output in spec.outputs) else []
    tags += [re.sub(r"\W+", "-", spec.species.lower())] if spec.species else []
    lines = [*hub_front_matter(spec.licence), "library_name: basecast", "tags:", *(f"- {tag}" for tag in tags)]
    return "---\n" + "".join(f"{line}\n" for line in lines) + "---\n"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _what(spec: ModelSpec) -> list[str]:
    if spec.architecture is None:
        made = "A graph of packages: " + ", ".join(node.name for node in spec.nodes)
    else:
        made = f"A network of the family `{spec.architecture.family}`"
    if len(spec.members) > 1:
        made += f", {len(spec.members)} members whose values are averaged"
    facts = {"species": spec.species, "genome build": spec.genome_build}
    about = "; ".join(f"{name}: {value}" for name, value in facts.items() if value)
    return [f"{made}.{f' {about[0].upper()}{about[1:]}.' if about else ''}"]


def _inputs(spec: ModelSpec) -> list[str]:
    lines = ["- Input `sequence`: one-hot A, C, G, T; N, and what lies beyond a contig, is all zeros."]
    for item in spec.inputs[1:]:
        lines.append(
            f"- Input `{item.name}` ({item.kind}): {item.channels} channels, {item.resolution} bp a bin, "
            f"{item.missing:g} where there is no value."
        )
    for condition in spec.conditions:
        lines.append(f"- Condition `{condition.name}`: {', '.join(condition.values)}.")
    reach = spec.reach
    if isinstance(reach, LocalReach):
        lines.append(f"- Reach: {reach.left:,} bases before an output's and {reach.right:,} after.")
    else:
        lengths = ", ".join(f"{n:,}" for n in reach.lengths) or f"multiples of {reach.multiple_of:,}"
        lines.append(f"- Reach: whole windows of {lengths} bases; {reach.crop:,} at each end give nothing.")
    if spec.mask == "gene":
        lines.append("- Bases outside the gene are N, in training and in use.")
    lines.append("- Positions are 0-based, stretches half-open; values stand in the order of the contig.")
    if any(output.name == _SPLICE for output in spec.outputs):
        lines.append("- A donor is the last base of an exon, an acceptor the first, on the strand that is read.")
    return lines


def _outputs(spec: ModelSpec) -> list[str]:
    head = ["", "| output | tracks | axes | bp a bin | values | on the minus strand |", "|---|---|---|---|---|---|"]
    return head + [_output(output) for output in spec.outputs]


def _output(output: Output) -> str:
    names = [track.name for track in output.tracks]
    tracks = ", ".join(names[:6]) + (f" ... ({len(names)})" if len(names) > 6 else "")
    unit = output.tracks[0].unit or output.link
    rule = "tracks swap" if output.reverse_complement.permutation else "as on the plus strand"
    return f"| `{output.name}` | {tracks} | {output.axes} | {output.resolution} | {unit} | {rule} |"


def _use(spec: ModelSpec, reference: str) -> list[str]:
    accept = " --accept-licence" if kind_of(spec.licence) == "non-commercial" else ""
    run = f"basecast zoo verify --run {reference}"
    if any(output.name == _SPLICE for output in spec.outputs):
        reach = spec.reach.left if isinstance(spec.reach, LocalReach) else _DISTANCE
        distance = f" -D {reach}" if reach < _DISTANCE else ""
        run = f"basecast variant -I in.vcf.gz -O out.vcf.gz -R genome.fa -A genes.gtf.gz{distance} -m {reference}"
    return ["```", f"basecast zoo get {reference}{accept}", run, "```"]


def _provenance(spec: ModelSpec) -> list[str]:
    known = spec.provenance
    lines = [f"- {known.note[0].upper()}{known.note[1:]}."] if known.note else []
    lines += [f"- Made with basecast {known.basecast}."] if known.basecast else []
    lines += [f"- Command: `{known.command}`"] if known.command else []
    lines += [f"- From `{name}`, SHA-256 `{digest}`" for name, digest in known.sources.items()]
    return lines or ["Nothing is recorded."]


def _lineage(spec: ModelSpec) -> list[str]:
    lines = [f"- Licence of the weights: {in_words(spec.licence)}."]
    lines += [f"- Made from: {', '.join(spec.parents)}."] if spec.parents else []
    lines += [f"- To cite: {spec.citation}."] if spec.citation else []
    return lines
