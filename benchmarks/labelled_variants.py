"""Models on variants whose effect on splicing was measured, on held-out chromosomes only.

    python benchmarks/labelled_variants.py --model human-400 --model ../shared/data/weights/openspliceai-mane/400nt

Of the 1,004 variants of the CI-SpliceAI set those on chromosomes 1, 3, 5, 7 and 9, which no model here was trained on;
the score of a variant is its largest |delta| within 50 bases. Prints AUROC and AUPRC with the middle 95 % of 1,000
draws of the variants, and of each model minus the first on the same draws. Few variants, most of them of a few genes:
wide intervals are what is to be expected.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import basecast as bc
from basecast.evaluation.bootstrap import interval
from basecast.evaluation.metrics import average_precision
from basecast.genome.annotation import Annotation
from delta_fields import shared_data

HELD_OUT = ("chr1", "chr3", "chr5", "chr7", "chr9")
DRAWS = 1000


def labelled(path: Path) -> list[tuple[tuple[str, int, str, str], bool]]:
    """Variants on held-out chromosomes, and whether they affect splicing."""
    with gzip.open(path, "rt") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]
    return [
        ((contig, int(pos), ref, alt), ";AFFECTS=1;" in f";{info};")
        for contig, pos, _, ref, alt, _, _, info in rows
        if contig.split("_")[0] in HELD_OUT
    ]


def scores(model: str, variants: list[tuple[str, int, str, str]], human: Path) -> NDArray[np.float64]:
    """The largest delta of each variant; 0 where a model has none."""
    annotation = Annotation.read(human / "GRCh38_regions.lrg.gff3.gz", canonical_tag="LRG_t1")
    found = bc.score_variants(variants, model=model, genome=str(human / "GRCh38_regions.fa.gz"), annotation=annotation)
    table, best = found.table, dict.fromkeys(variants, 0.0)
    columns = [name for name in table.columns if name.startswith("DS_")]
    for row in table.iter_rows(named=True):
        key = (row["contig"], row["position"], row["ref"], row["alt"])
        values = [row[name] for name in columns if row[name] is not None]
        if key in best and values:
            best[key] = max(best[key], *values)
    return np.array([best[v] for v in variants])


def auroc(values: NDArray[np.float64], is_one: NDArray[np.bool_]) -> float:
    """The chance that a variant with an effect scores higher than one without; ties count half."""
    more = values[is_one][:, None] - values[~is_one][None]
    return float(((more > 0) + 0.5 * (more == 0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--model", action="append", required=True, help="several are compared with the first")
    options = parser.parse_args()
    human = shared_data(options.shared) / "human"
    known = labelled(human / "variants" / "ci_spliceai.on_regions.vcf.gz")
    variants, is_one = [v for v, _ in known], np.array([affects for _, affects in known])
    rng = np.random.default_rng(0)
    drawn = [np.arange(len(known)), *rng.integers(0, len(known), (DRAWS, len(known)))]
    drawn = [rows for rows in drawn if 0 < is_one[rows].sum() < len(rows)]
    print(f"{len(known)} variants, {is_one.sum()} with an effect; {len({v[0] for v in variants})} regions\n")
    print("| model | AUROC | AUPRC | AUROC minus the first's | AUPRC minus the first's |\n|---|---|---|---|---|")
    first: list[NDArray[np.float64]] = []
    for model in options.model:
        values = scores(model, variants, human)
        each = [
            np.array([measure(values[rows], is_one[rows]) for rows in drawn]) for measure in (auroc, average_precision)
        ]
        first = first or each
        cells = [*each, *(x - y for x, y in zip(each, first, strict=True))]
        told = (f"{x[0]:+.3f} ({interval(x[1:])[0]:+.3f} to {interval(x[1:])[1]:+.3f})" for x in cells)
        print(f"| {Path(model).name} | " + " | ".join(told) + " |", flush=True)


if __name__ == "__main__":
    main()
