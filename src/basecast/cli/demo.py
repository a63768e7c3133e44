"""``basecast demo``: everything once, with no input at all."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from basecast.cli.options import DEFAULT_MODEL

_SHOWN = 12


def demo(*, output: Annotated[str, Parameter(metavar="FOLDER")] = "basecast-demo") -> int:
    """Score simulated variants of a simulated genome and show the strongest effects.

    Nothing is fetched: the genome is made up, and the model ships with basecast. Its card (`basecast zoo info
    human-400`) says what it was trained on and how far it can be trusted.

    Example: basecast demo --output basecast-demo

    Parameters
    ----------
    output:
        The folder to write genome.fa, genes.gtf, variants.vcf and scored.vcf.gz into.
    """
    import polars as pl

    from basecast.data.simulated import simulate
    from basecast.effects.annotate import annotate_variants
    from basecast.effects.output import OutputSettings
    from basecast.effects.scorer import VariantSettings, score_variants
    from basecast.genome.annotation import Annotation
    from basecast.genome.reference import Genome
    from basecast.zoo.catalogue import load_model

    files = simulate(Path(output))
    scored = Path(output) / "scored.vcf.gz"
    ground: dict[str, Any] = {
        "model": load_model(DEFAULT_MODEL),
        "genome": Genome(files.genome),
        "annotation": Annotation.read(files.genes),
        "settings": VariantSettings(),
    }
    written = OutputSettings(
        probabilities=True, overwrite_info=True, command=shlex.join(["basecast", "demo", "--output", output])
    )
    summary = annotate_variants(files.variants, scored, output=written, **ground)
    table = score_variants(files.variants, **ground).table
    strongest = pl.max_horizontal("^DS_.*$")
    alleles = f"{summary.scored} of {summary.alleles} simulated alleles"
    print(f"{alleles} scored by {DEFAULT_MODEL} on {summary.device}; the strongest:")
    _show(table.sort(strongest, descending=True, nulls_last=True), files.truth)
    print(f"without a score: {', '.join(f'{n} {reason}' for reason, n in summary.statuses.items()) or 'none'}\n")
    for what, path in {
        "genome": files.genome,
        "genes": files.genes,
        "variants": files.variants,
        "scores": scored,
    }.items():
        print(f"{what:9}{path}")
    variants, genome, genes = (shlex.quote(str(path)) for path in (files.variants, files.genome, files.genes))
    print(
        f"\nThe same by hand:\n  basecast variant -I {variants} -O scored.vcf.gz \\\n"
        f"    -R {genome} -A {genes} -m {DEFAULT_MODEL} --probabilities"
    )
    return 0


def _show(table: Any, truth: Sequence[str]) -> None:
    """The first rows, one line an allele: what it was made to be, its strongest event, REF and ALT there."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from basecast.effects.splicing import EVENTS, LABELS

    shown = Table("variant", "gene", "made to be", "strongest effect", "at", "delta", "REF", "ALT", box=SIMPLE_HEAD)
    for row in table.head(_SHOWN).iter_rows(named=True):
        label = max(LABELS, key=lambda label: row[f"DS_{label}"])
        event = EVENTS[LABELS.index(label)].replace("_", " ")
        place = f"{row['position'] + row[f'DP_{label}']}"
        shown.add_row(
            f"{row['contig']}:{row['position']} {_short(row['ref'])}>{_short(row['alt'])}",
            row["symbol"],
            truth[row["record"] - 1].replace("_", " "),
            event,
            place,
            *(f"{row[f'{kind}_{label}']:.2f}" for kind in ("DS", "REF", "ALT")),
        )
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100).print(shown)


def _short(allele: str) -> str:
    return allele if len(allele) <= 6 else f"{allele[:3]}..({len(allele)})"
