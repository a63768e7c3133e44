"""MYBPC3 c.1227-13G>A: the cryptic acceptor and the lost one, beside what OpenSpliceAI published.

    python benchmarks/parity_mybpc3.py [--shared DIR] [--rules spliceai|basecast]

Scores the one record with the weights of OpenSpliceAI (MANE, 10,000 nt, five members) and of Illumina, D = 50, and
prints the REF and ALT probabilities of both acceptors. Ends with status 1 where the two sites are not 11 bases apart,
or the cryptic acceptor does not rise, or the annotated one fall, across 0.5 with OpenSpliceAI's weights.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from delta_fields import plain_copy, shared_data
from running import run_basecast

PUBLISHED = {"cryptic": (0.000, 0.998), "annotated": (0.968, 0.011)}
WEIGHTS = {"OpenSpliceAI": "openspliceai-mane/10000nt", "Illumina": "spliceai-illumina"}
EVENT = {"cryptic": "AG", "annotated": "AL"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--work", type=Path, default=Path("parity-work/mybpc3"), help="where files are kept")
    parser.add_argument("--rules", choices=["spliceai", "basecast"], default="spliceai")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    data, work = shared_data(options.shared), options.work.resolve()
    fasta = plain_copy(data / "human" / "GRCh38_regions.fa.gz", work)
    rows = ["| weights | acceptor | DP | REF | ALT | published by OpenSpliceAI |", "|---|---|---|---|---|---|"]
    failures = []
    for name, folder in WEIGHTS.items():
        out = work / f"{name}.tsv"
        run_basecast(
            *("variant", "-I", data / "human" / "variants" / "seed_examples.vcf", "-O", out, "-R", fasta),
            *("-A", data / "human" / "GRCh38_regions.genes.tsv", "--model", data / "weights" / folder, "-D", 50),
            *("--rules", options.rules, "--probabilities", "--decimals", 4, "--device", options.device),
        )
        with out.open() as lines:
            row = next(csv.DictReader(lines, delimiter="\t"))
        places = {site: int(row[f"DP_{event}"]) for site, event in EVENT.items()}
        values = {site: (float(row[f"REF_{event}"]), float(row[f"ALT_{event}"])) for site, event in EVENT.items()}
        for site, (ref, alt) in values.items():
            there = "{:.3f} -> {:.3f}".format(*PUBLISHED[site])
            rows.append(f"| {name} | {site} | {places[site]:+d} | {ref:.3f} | {alt:.3f} | {there} |")
        if abs(places["cryptic"] - places["annotated"]) != 11:
            failures.append(f"{name}: the two acceptors are not 11 bases apart: {places}")
        if name == "OpenSpliceAI":
            for site, (ref, alt) in values.items():
                if (ref > 0.5) == (alt > 0.5) or (ref > 0.5) != (site == "annotated"):
                    failures.append(f"{name}: the {site} acceptor goes from {ref:.3f} to {alt:.3f}")
    print("", *rows, *failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
