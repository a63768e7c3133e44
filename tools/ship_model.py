"""A trained and calibrated package, with what it was measured to be worth, as one that ships.

python tools/ship_model.py calibrated/human-400 human-400-numbers ready/human-400
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from basecast.acceptance.ship import ship
from basecast.zoo.card import notes_of
from basecast.zoo.package import CARD, load_package

_METRICS = {
    "top-0.5": "top-0.5L",
    "top-1": "top-1L",
    "top-2": "top-2L",
    "top-4": "top-4L",
    "auprc": "AUPRC",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "ece": "ECE",
}
_PURPOSE = """### What it is for

{use}

### Data

{data} {averaged}

It was trained by the basecast project, from random weights, on public data that anyone can fetch; no other model had a
part in it. It is **not a medical device**: it has not been validated for clinical use, and it sees {half} bases on each
side of a position, so that what lies further away (distant branch points, deep-intronic enhancers, competing sites) is
not known to it. It knows no tissue. Models with a longer context that were trained on whole genomes are better.
"""
_USES = {
    "Homo sapiens": (
        "Splice sites of human genes, and what variants do to them, where a small model that ships with the package\n"
        "and runs anywhere is enough: first looks, tutorials, tests. It learned from fewer than 400 genes. For what\n"
        "matters, give a model of the whole genome with `-m` (`basecast zoo list`)."
    ),
    "Schizosaccharomyces pombe": (
        "Splice sites of fission yeast and what variants do to them; and an example of a model made for another\n"
        "genome than the human one with a few commands. Half of the genes it is measured on have no intron."
    ),
}


_DATA = {
    "Homo sapiens": (
        "The curated genes of the Locus Reference Genomic set on GRCh38, one transcript each (tag `LRG_t1`). Held out\n"
        "for the numbers below: chromosomes 1, 3 and 5 (7 and 9 are not in the set). Validation is a tenth of the\n"
        "other genes, drawn so that overlapping genes stay together; paralogs may stand on both sides. Bases of other\n"
        "genes on the same strand count neither in the loss nor in the numbers; outside the gene there is N."
    ),
    "Schizosaccharomyces pombe": (
        "The protein-coding genes of ASM294v2 (PomBase), one transcript each. Held out for the numbers below:\n"
        "chromosome III. Validation is a tenth of the genes of chromosomes I and II, drawn so that overlapping genes\n"
        "stay together; paralogs may stand on both sides. Outside the gene there is N."
    ),
}
_AVERAGED = "The weights that were validated and kept are a moving average of those trained (decay 0.999)."


def table(document: dict[str, Any]) -> str:
    """Rows of metrics with their intervals, columns of classes."""
    rows = [row for row in document["rows"] if row["by"] == "all" and not row["than"]]
    classes = list(document["classes"][1:])
    found = {(row["class"], row["metric"]): row for row in rows}
    lines = ["| | " + " | ".join(classes) + " |", "|---" * (1 + len(classes)) + "|"]
    for metric, name in _METRICS.items():
        cells = [found.get((label, metric)) for label in classes]
        if all(cells):
            lines.append(f"| {name} | " + " | ".join(_cell(cell) for cell in cells if cell) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    return "-" if row["value"] is None else f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def main() -> None:
    """Write the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("numbers", type=Path, help="folder of 'basecast evaluate'")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    package = load_package(options.package)
    document = json.loads((options.numbers / "evaluation.json").read_text())
    if document["models"][0]["digest"] != package.digest:
        raise SystemExit(f"{options.numbers} is of another model than {options.package}: evaluate this one")
    data = document["data"][0]
    sites = [row for row in document["rows"] if row["by"] == "all" and row["metric"] == "top-1" and not row["than"]]
    counts = ", ".join(f"{row['sites']:,} {row['class']}s" for row in sites if row["class"] in document["classes"])
    measured = f"""### Measured

On the held-out test split: {data["positions"]:,} bases of {data["records"]:,} genes or groups of overlapping ones, \
{counts}; every base once. In brackets the middle 95 % of {document["draws"]:,} draws of the genes.

{table(document)}

By `{document["command"]}`.
"""
    half = package.spec.reach.left if package.spec.reach.kind == "local" else 0
    purpose = _PURPOSE.format(
        use=_USES[package.spec.species], data=_DATA[package.spec.species], averaged=_AVERAGED, half=half
    )
    told = notes_of((options.package / CARD).read_text())
    extra = {
        path.relative_to(options.package).as_posix(): path.read_bytes()
        for folder in ("training", "calibration")
        for path in sorted((options.package / folder).glob("*"))
    }
    spec = package.spec  # the package before calibration is no parent of its own
    known = spec.provenance.model_copy(
        update={
            "command": "tools/make_models.sh DATA",
            "note": "trained by the basecast project from random weights; not a medical device",
            "sources": {name: x for name, x in spec.provenance.sources.items() if not name.endswith("(package)")},
        }
    )
    spec = spec.model_copy(
        update={"parents": tuple(name for name in spec.parents if name != spec.name), "provenance": known}
    )
    package = replace(package, spec=spec)
    if why := ship(options.out, package, f"{purpose}\n{told}\n\n{measured}", extra, device="cpu"):
        raise SystemExit(why)


if __name__ == "__main__":
    main()
