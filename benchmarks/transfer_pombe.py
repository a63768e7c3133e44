"""A human model trained on to *S. pombe*, beside the same network from scratch: how each does after every epoch.

    python benchmarks/transfer_pombe.py --data POMBE [--epochs 2] [--samples 4000] [--figure CURVES.png]

``POMBE`` is a folder of ``basecast create-data`` (tools/make_models.sh makes one: contigs I and II train and validate,
III is test). All runs see the same number of windows, in as many steps. What is told is of the validation genes, by
epoch, and of the test genes, of each run's best epoch, with the paired difference from the first.

What is done is not done again while its result lies in ``--work``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from basecast.evaluation.answers import EngineSettings
from basecast.evaluation.evaluate import evaluate
from basecast.evaluation.evaluation import EvaluateSettings
from basecast.evaluation.measures import ALL, MEAN
from basecast.figures.canvas import COLOURS, panels, png
from delta_fields import shared_data
from running import run_basecast

SHOWN = (("validation_loss", "loss"), ("top1", "top-1"), ("auprc", "AUPRC"))
CLASSES = ("acceptor", "donor")


def history(log: Path) -> list[dict[str, float]]:
    """The lines of a run's messages that tell of an epoch, with means over the classes."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    epochs = [line for line in lines if line.get("kind") == "epoch"]
    return [
        {
            "epoch": line["epoch"],
            "validation_loss": line["validation_loss"],
            **{name: sum(line[f"validation_{name}_{x}"] for x in CLASSES) / 2 for name in ("top1", "auprc")},
        }
        for line in epochs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of create-data")
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-3, 1e-4], help="of transfer; scratch has the first"
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4_000, help="windows of an epoch, 400 positions each")
    parser.add_argument("--figure", type=Path, help="PNG to write the curves to")
    parser.add_argument("--work", type=Path, default=Path("parity-work/transfer"), help="where files are kept")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    parent = shared_data(options.shared) / "weights" / "openspliceai-mane" / "400nt"
    budget = ("--sampling", "biased", "--window", 400, "--samples-per-epoch", options.samples, "--batch-size", 64)
    budget += ("--epochs", options.epochs, "--seed", 1, "--threads", 1, "--log-format", "json", "--data", options.data)
    verbs = {f"scratch, rate {options.rates[0]:g}": ("train", "--context", 400, "--rate", options.rates[0])}
    verbs |= {f"transfer, rate {rate:g}": ("transfer", "--model", parent, "--rate", rate) for rate in options.rates}
    models, curves = {}, {}
    for number, (name, verb) in enumerate(verbs.items()):
        out = options.work / f"{verb[0]}-{number}"
        log = options.work / f"{out.name}.log"
        if not out.exists():
            run_basecast(*verb, *budget, "--output", out, log=log)
        models[name], curves[name] = out, history(log)
    print(f"\n| validation | epoch | {' | '.join(title for _, title in SHOWN)} |\n|{'---|' * (2 + len(SHOWN))}")
    for name, epochs in curves.items():
        for line in epochs:
            print(f"| {name} | {line['epoch']} | {' | '.join(f'{line[key]:.4g}' for key, _ in SHOWN)} |")
    if options.figure:
        figure, axes = panels(len(SHOWN), 3.4, 3.0)
        for ax, (key, title) in zip(axes, SHOWN, strict=True):
            for (name, epochs), colour in zip(curves.items(), COLOURS, strict=False):
                points = [epoch["epoch"] for epoch in epochs], [epoch[key] for epoch in epochs]
                ax.plot(*points, color=colour, marker="o", markersize=3, label=name)
            ax.set(xlabel="epoch", ylabel=title, xticks=range(1, options.epochs + 1))
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(curves), fontsize=7, frameon=False)
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        options.figure.write_bytes(png(figure))
    target = options.work / f"evaluation-{options.epochs}-{options.samples}"
    settings, engine = EvaluateSettings(), EngineSettings(threads=1)
    evaluation = evaluate([options.data], target, models=list(models.values()), settings=settings, engine=engine)
    wanted = [(MEAN, "top-1"), (MEAN, "auprc"), (ALL, "nll")]
    print(f"\n| test | {' | '.join(metric for _, metric in wanted)} |\n|{'---|' * (1 + len(wanted))}")
    for than in ("", evaluation.models[0].name):
        for model, name in zip(evaluation.models, models, strict=True):
            rows = {
                (row.label, row.metric): row
                for row in evaluation.rows
                if (row.model, row.than, row.by) == (model.name, than, "all")
            }
            if rows:
                told = [f"{rows[key].value:.4g} ({rows[key].low:.4g} to {rows[key].high:.4g})" for key in wanted]
                print(f"| {name}{' less the first' if than else ''} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
