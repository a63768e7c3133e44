"""One student of an ensemble beside its teachers, which are the same network trained on labels for as many steps.

    python benchmarks/distillation.py --data pombe --teacher seed-10 --teacher seed-11 --teacher seed-12

DATA is a folder of `basecast create-data`; the teachers are packages of one architecture, trained on its genes with
windows of 1,000 positions, 128 a step, for EPOCHS passes. A student sees each record and a mutated copy of it for half
as many passes: as many steps. With `--half` there is a student of half the width too. Each run goes on where it stood.
Prints `basecast evaluate` of all on the test split, and the share of the gap between the mean teacher and the ensemble
that the student wins back.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from basecast.zoo.package import Package, load_package, save_package
from running import run_basecast

RECIPE = ("--sampling", "grid", "--window", 1000, "--batch-size", 128, "--rate", 0.001, "--schedule", "cosine")


def ensemble(folders: list[Path], target: Path) -> None:
    """One package of several with one member each."""
    packages = [load_package(folder) for folder in folders]
    (member,) = packages[0].spec.members
    members = tuple(member.model_copy(update={"file": f"model-{i}.safetensors"}) for i in range(len(packages)))
    spec = packages[0].spec.model_copy(update={"name": target.name, "members": members})
    save_package(target, Package(spec, tuple(package.networks[0] for package in packages)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, action="append", required=True)
    parser.add_argument("--work", type=Path, default=Path("distillation-work"))
    parser.add_argument("--epochs", type=int, default=10, help="passes of the teachers")
    parser.add_argument("--half", action="store_true", help="a student of 16 channels too")
    parser.add_argument("--context", type=int, default=80)
    options = parser.parse_args()
    data, work = options.data.resolve(), options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "ensemble").exists():
        ensemble(options.teacher, work / "ensemble")
    taught = ("--teacher", work / "ensemble", "--data", data, "--labels", work / "labels", *RECIPE, "--threads", 1)
    taught = (*taught, "--epochs", options.epochs // 2, "--context", options.context)
    runs = {"student": ("distill", *taught, "--channels", 32)}
    if options.half:
        runs["half"] = ("distill", *taught, "--channels", 16)
    for name, command in runs.items():
        if not (work / name).exists():
            run_basecast(*command, "-O", work / name)
    models = [*options.teacher, *(work / name for name in ("ensemble", *runs))]
    if not (work / "numbers").exists():
        asked = [part for model in models for part in ("-m", model)]
        run_basecast("evaluate", *asked, "--data", data, "-O", work / "numbers")
    document = json.loads((work / "numbers" / "evaluation.json").read_text())
    rows = [r for r in document["rows"] if r["by"] == "all" and r["class"] == "mean" and not r["than"]]
    found = {(row["model"], row["metric"]): row["value"] for row in rows}
    names = [model["name"] for model in document["models"]]
    print("| model | top-1 | AUPRC |\n|---|---|---|")
    for name in names:
        print(f"| {name} | {found[name, 'top-1']:.4f} | {found[name, 'auprc']:.4f} |")
    teachers = [found[name, "auprc"] for name in names[: len(options.teacher)]]
    mean, together, student = sum(teachers) / len(teachers), found["ensemble", "auprc"], found["student", "auprc"]
    gap = together - mean
    print(f"\nmean teacher {mean:.4f}, ensemble {together:.4f}, student {student:.4f}: ", end="")
    print(f"{(student - mean) / gap:.0%} of the gap won back" if gap > 0 else "no gap to win back")


if __name__ == "__main__":
    main()
