"""A Basenji-type model of PRO-seq in *S. pombe*, against replicates, baselines and itself with a shorter sight.

    python benchmarks/pombe_signal.py [--shared DATA] [--work FOLDER] [--step STEP ...]

Contigs I and II train and validate, III is test; the COMBINED tracks, which hold the replicates, are left out of
training. Told is, by condition and strand, on log(1 + x) of sums of 128 bp and on the sums themselves: the correlation
of the prediction of each replicate with that replicate and with the other, of the replicates with each other, and the
mean of the former by the square root of the latter. Beside the model stand a ridge regression on words of 1 to 6 bases
and GC of what the model sees, and the mean of the other conditions, which is no prediction from sequence.

Steps, in this order; what is done is not done again while its result lies in ``--work``:

    data         create-data on the bigWigs
    train-7      a model with seven dilated layers, as Basenji counts them; train-6 ... train-1 with fewer
    evaluate-7   on contig III; likewise evaluate-6 ... evaluate-1
    ridge        the baseline
    report       all numbers that there are, and the figure of accuracy by sight
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from basecast.data.store import Dataset
from basecast.evaluation.replicates import Crossed, Pair, by_description
from basecast.evaluation.signal_measures import Accuracy, correlation
from basecast.figures.canvas import COLOURS, panels, png
from basecast.models.basenji import small
from delta_fields import shared_data
from kmer_ridge import PENALTIES, Ridge, chunks, targets
from running import run_basecast

LAYERS = (7, 6, 5, 4, 3, 2, 1)
STEPS = ("data", *(f"{verb}-{n}" for n in LAYERS for verb in ("train", "evaluate")), "ridge", "report")
NAME = re.compile(r"PROseq_(?P<condition>.+)_(?P<replicate>rep\d|COMBINED)_(?P<strand>plus|minus)\.bw")
SCALES = ("log(1 + x)", "x")
OTHERS = "mean of the other conditions (not from sequence)"


def write_targets(path: Path, folder: Path) -> None:
    """A table of tracks from the names of the bigWigs."""
    lines = ["identifier\tfile\tclip\tclip_soft\tsum_stat\tstrand_pair\tdescription"]
    for file in sorted(folder.glob("*.bw")):
        found = NAME.fullmatch(file.name)
        if found is None:
            raise SystemExit(f"{file} is not named PROseq_CONDITION_REPLICATE_STRAND.bw")
        name = file.stem.removeprefix("PROseq_")
        stem, strand = name.rsplit("_", 1)
        mate = f"{stem}_{'minus' if strand == 'plus' else 'plus'}"
        condition = found["condition"].removeprefix("30C_").replace("_", " ")
        condition += " combined" if found["replicate"] == "COMBINED" else ""
        lines.append(f"{name}\t{file.resolve()}\t384\t64\tsum\t{mate}\tPROseq:{condition}")
    path.write_text("\n".join(lines) + "\n")


def make_data(work: Path, pombe: Path) -> None:
    write_targets(work / "targets.tsv", pombe / "proseq")
    run_basecast(
        *("create-data", "-R", pombe / "genome.fa.gz", "--targets", work / "targets.tsv", "-O", work / "data"),
        *("--contigs", "I", "II", "III", "--test-contigs", "III", "--contig-aliases", pombe / "chrom_alias.tsv"),
        *("--window", 16_384, "--flank", 32_768, "--validation-share", 0.1, "--threads", 1),
        *("--species", "Schizosaccharomyces pombe", "--genome-build", "ASM294v2"),
        log=work / "data.log",
    )


def combined(data: Path) -> list[str]:
    return [t.name for t in Dataset(data / "train.h5").header.outputs[0].tracks if "COMBINED" in t.name]


def train(work: Path, data: Path, layers: int, options: argparse.Namespace) -> None:
    """The first layer that Basenji counts is the last of its tower, at rate 1."""
    dilations = small().dilations[: layers - 1]
    run_basecast(
        *("train", "--data", data, "-O", work / f"model-{layers}", "--family", "basenji", "--size", "small"),
        *("--config", f"dilations={json.dumps(list(dilations))}", "--leave-out-tracks", ",".join(combined(data))),
        *("--epochs", options.epochs, "--seed", options.seed, "--threads", options.threads),
        *shlex.split(options.train),
        log=work / f"train-{layers}.log",
    )


def evaluate(work: Path, data: Path, layers: int, options: argparse.Namespace) -> None:
    run_basecast(
        *("evaluate", "-m", work / f"model-{layers}", "-d", data, "-O", work / f"evaluation-{layers}", "--rc"),
        *("--threads", options.threads),
        log=work / f"evaluate-{layers}.log",
    )


def kept_tracks(dataset: Dataset) -> list[int]:
    return [i for i, track in enumerate(dataset.header.outputs[0].tracks) if "COMBINED" not in track.name]


def measured(dataset: Dataset) -> NDArray[np.float64]:
    """log(1 + x), then x, of every bin and track that is kept."""
    resolution = dataset.header.outputs[0].resolution
    kept = kept_tracks(dataset)
    return np.concatenate([targets(dataset, *at, kept) for at in chunks(dataset, resolution)])


def known(dataset: Dataset) -> NDArray[np.bool_]:
    lengths = enumerate(dataset.lengths.tolist())
    return np.concatenate([dataset.valid(row, 0, length, "signal") for row, length in lengths])


def fit_ridge(work: Path, data: Path) -> None:
    """For each track and scale the penalty that is best on the validation data."""
    splits = {name: Dataset(data / f"{name}.h5") for name in ("train", "validation", "test")}
    kept = kept_tracks(splits["train"])
    ridge = Ridge(splits["train"], kept, max(small().sight) // 128 + 1)
    wanted, is_known = measured(splits["validation"]), known(splits["validation"])
    best = np.full(2 * len(kept), -math.inf)
    chosen, weights = np.zeros(2 * len(kept)), np.zeros((ridge.scale.size, 2 * len(kept)))
    for penalty in PENALTIES:
        found = ridge.solved(penalty)
        r = correlation(ridge.predict(splits["validation"], found)[is_known], wanted[is_known])
        print(f"ridge, penalty {penalty:g}: validation {np.nanmean(r[: len(kept)]):.4f} on {SCALES[0]}", flush=True)
        better = r > best
        best[better], chosen[better], weights[:, better] = r[better], penalty, found[:, better]
    predictions = ridge.predict(splits["test"], weights) + ridge.aim
    with (work / "ridge.npz").open("wb") as file:
        np.savez(file, predictions=predictions, penalty=chosen, validation=best)


def from_others(dataset: Dataset, train_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each track the mean over tracks of other conditions and of its strand, all scaled to one depth."""
    output, kept = dataset.header.outputs[0], kept_tracks(dataset)
    tracks = [output.tracks[i] for i in kept]
    sums = measured(dataset)[:, len(kept) :]
    found = np.zeros_like(sums)
    for i, track in enumerate(tracks):
        others = [j for j, x in enumerate(tracks) if x.strand == track.strand and x.description != track.description]
        found[:, i] = (sums[:, others] / train_means[others]).mean(axis=1) * train_means[i]
    return np.concatenate([np.log1p(found), found], axis=1)


Cells = dict[str, float]


def agreement(dataset: Dataset, predictions: NDArray[np.float64]) -> dict[tuple[str, str, str], Cells]:
    """(condition, strand, scale) -> correlations, of predictions of log(1 + x) and of x (bins, 2 tracks)."""
    kept = kept_tracks(dataset)
    tracks = [dataset.header.outputs[0].tracks[i] for i in kept]
    seen, is_known, n = measured(dataset), known(dataset), len(kept)
    pairs = by_description(tracks)
    found: dict[tuple[str, str, str], Cells] = {}
    for scale, columns in zip(SCALES, (slice(0, n), slice(n, 2 * n)), strict=True):
        x, y = predictions[is_known, columns], seen[is_known, columns]
        own, crossed = Accuracy(n), Crossed(pairs)
        own.plain.add(x, y)
        own.log.add(x, y)
        crossed.add(x, y)
        for pair, (plain, _) in zip(pairs, crossed.agreements(own), strict=True):
            found[_key(tracks, pair, scale)] = {
                "pred 1, rep 1": plain.own[0],
                "pred 2, rep 2": plain.own[1],
                "pred 1, rep 2": plain.other[0],
                "pred 2, rep 1": plain.other[1],
                "rep 1, rep 2": plain.replicates,
                "corrected": plain.corrected,
            }
        in_pairs = {i for pair in pairs for i in (pair.first, pair.second)}
        for i in set(range(n)) - in_pairs:
            found[_key(tracks, Pair("", i, i), scale)] = {"pred 1, rep 1": float(own.plain.pearson[i])}
    return found


def _key(tracks: Any, pair: Pair, scale: str) -> tuple[str, str, str]:
    track = tracks[pair.first]
    return track.description.partition(":")[2], track.strand, scale


def of_evaluation(dataset: Dataset, folder: Path) -> dict[tuple[str, str, str], Cells]:
    """The same numbers of ``basecast evaluate``."""
    document = json.loads((folder / "evaluation.json").read_text())
    tracks = {track.name: track for track in dataset.header.outputs[0].tracks}
    found: dict[tuple[str, str, str], Cells] = {}
    for row in document["tracks"]:
        track = tracks[row["track"]]
        for scale, name in zip(SCALES, ("pearson_log", "pearson_measured"), strict=True):
            key = (track.description.partition(":")[2], track.strand, scale)
            found[key] = {"pred 1, rep 1": row[name]}
    for row in document["replicates"]:
        track = tracks[row["first"]]
        scale = {"log2": SCALES[0], "measured": SCALES[1]}[row["scale"]]
        found[track.description.partition(":")[2], track.strand, scale] = {
            "pred 1, rep 1": row["prediction_first"],
            "pred 2, rep 2": row["prediction_second"],
            "pred 1, rep 2": row["first_prediction_second"],
            "pred 2, rep 1": row["second_prediction_first"],
            "rep 1, rep 2": row["replicates"],
            "corrected": row["corrected"],
        }
    return found


def report(work: Path, data: Path) -> None:
    test = Dataset(data / "test.h5")
    means = measured(Dataset(data / "train.h5")).mean(axis=0)[len(kept_tracks(test)) :]
    methods: dict[str, Mapping[tuple[str, str, str], Cells]] = {}
    if (work / "evaluation-7").exists():
        methods["model"] = of_evaluation(test, work / "evaluation-7")
    if (work / "ridge.npz").exists():
        with np.load(work / "ridge.npz") as stored:
            methods["ridge, 1-6-mers + GC"] = agreement(test, stored["predictions"])
    methods[OTHERS] = agreement(test, from_others(test, means))
    columns = ("pred 1, rep 1", "pred 2, rep 2", "pred 1, rep 2", "pred 2, rep 1", "rep 1, rep 2", "corrected")
    lines = [f"| what | condition | strand | {' | '.join(columns)} |", f"|{'---|' * (3 + len(columns))}"]
    for scale in SCALES:
        lines += (
            ["", f"Correlations of {scale}, where x is the sum of 128 bp, on contig III", "", *lines[:2]]
            if scale != SCALES[0]
            else []
        )
        for method, found in methods.items():
            for (condition, strand, of), cells in found.items():
                if of == scale:
                    told = [f"{cells[name]:.3f}" if name in cells else "" for name in columns]
                    lines.append(f"| {method} | {condition} | {strand} | {' | '.join(told)} |")
    text = f"Correlations of {SCALES[0]}, where x is the sum of 128 bp, on contig III\n\n" + "\n".join(lines) + "\n"
    text += means_of(methods) + sight(work, test)
    (work / "report.md").write_text(text)
    print(text)


def means_of(methods: Mapping[str, Mapping[tuple[str, str, str], Cells]]) -> str:
    """Of each method the mean over tracks of r with the own replicate, and over pairs of the corrected."""
    lines = [
        "",
        "| what | scale | mean r, own replicate | with the other replicate | corrected |",
        "|---|---|---|---|---|",
    ]
    for method, found in methods.items():
        for scale in SCALES:
            rows = [cells for (_, _, of), cells in found.items() if of == scale]
            groups = (("pred 1, rep 1", "pred 2, rep 2"), ("pred 1, rep 2", "pred 2, rep 1"), ("corrected",))
            told = [np.mean([row[name] for row in rows for name in names if name in row]) for names in groups]
            lines.append(f"| {method} | {scale} | {' | '.join(f'{value:.3f}' for value in told)} |")
    return "\n".join(lines) + "\n"


def sight(work: Path, test: Dataset) -> str:
    """Accuracy by how far a bin sees, of the layers that there are: a table, and ``sight.png``."""
    found: dict[int, dict[str, float]] = {}
    for layers in reversed(LAYERS):
        path = work / f"evaluation-{layers}" / "evaluation.json"
        if path.exists():
            rows = json.loads(path.read_text())["tracks"]
            found[layers] = {row["track"]: row["pearson_log"] for row in rows}
    if not found:
        return ""
    far = {layers: sum(small().with_dilated(layers - 1).sight) / 1000 for layers in found}
    lines = ["", "| dilated layers | a bin sees (kb) | mean r, log(1 + x) | tracks better than one layer less |"]
    lines.append("|---|---|---|---|")
    for layers, by_track in found.items():
        less = found.get(layers - 1)
        better = "" if less is None else f"{sum(r > less[t] for t, r in by_track.items())} of {len(by_track)}"
        lines.append(f"| {layers} | {far[layers]:.1f} | {np.mean(list(by_track.values())):.4f} | {better} |")
    figure, (ax,) = panels(1, 4.6, 3.6)
    for track in next(iter(found.values())):
        values = [by_track[track] for by_track in found.values()]
        ax.plot([far[n] for n in found], values, color=COLOURS[6], linewidth=0.6, alpha=0.6)
    values = [float(np.mean(list(by_track.values()))) for by_track in found.values()]
    ax.plot([far[n] for n in found], values, color=COLOURS[0], marker="o", linewidth=2, label="mean over tracks")
    ax.set_xscale("log")
    ax.set_xticks([far[n] for n in found], [f"{far[n]:.1f}\n{n}" for n in found], fontsize=7)
    ax.minorticks_off()
    ax.set(xlabel="a bin sees (kb), with so many dilated layers", ylabel="r of log(1 + x), contig III")
    ax.legend(fontsize=7, frameon=False)
    (work / "sight.png").write_bytes(png(figure))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--work", type=Path, default=Path("parity-work/pombe-signal"), help="where files are kept")
    parser.add_argument("--data", type=Path, help="a dataset that step data made before; by default WORK/data")
    parser.add_argument("--step", nargs="+", choices=STEPS, default=STEPS, help="by default all")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", default="", help="more options of basecast train, as one word")
    options = parser.parse_args()
    os.nice(10)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    data: Path = options.data or work / "data"
    for step in options.step:
        verb, _, layers = step.partition("-")
        if step == "data" and not data.exists():
            make_data(work, shared_data(options.shared) / "spombe")
        elif verb == "train" and not (work / f"model-{layers}").exists():
            train(work, data, int(layers), options)
        elif verb == "evaluate" and not (work / f"evaluation-{layers}").exists():
            evaluate(work, data, int(layers), options)
        elif step == "ridge" and not (work / "ridge.npz").exists():
            fit_ridge(work, data)
        elif step == "report":
            report(work, data)


if __name__ == "__main__":
    main()
