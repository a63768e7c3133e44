"""Train the small model that ships with basecast, from public human genes, and write its package.

    python tools/train_embedded_model.py --genome regions.fa.gz --annotation regions.lrg.gff3.gz \
        --work work/ --minutes 40 --package src/basecast/zoo/embedded/human-400-demo

Contigs are regions named ``chrom_start_end``; genes of chromosomes 1, 3, 5, 7 and 9 are held out for the numbers in the
card. A run that is stopped goes on from ``--work``. What is measured and how to read it, the card says.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import basecast
from basecast.acceptance import vectors as acceptance
from basecast.genome.annotation import Annotation, Transcript
from basecast.genome.reference import Genome
from basecast.genome.sequence import N, Tokens, reverse_complement
from basecast.genome.source import Masked
from basecast.inference.engine import Engine, Request
from basecast.models.layers import make_one_hot
from basecast.models.spliceai import CLASSES, SpliceAI, published, spec
from basecast.spec import Provenance
from basecast.zoo.package import Package, fill, save_package

TEST_CHROMOSOMES = ("chr1", "chr3", "chr5", "chr7", "chr9")
NEITHER, ACCEPTOR, DONOR = range(3)
CONTEXT = 400
OUTPUTS = 200  # positions of a window: short, so that half of all windows can hold one of the rare sites
BATCH = 48
SITE_SHARE = 0.5
VALIDATION_BATCHES = 40


@dataclass
class Genes:
    """Genes end to end on one axis, each as it is read, with N between them.

    Attributes:
        tokens: shape (length,).
        labels: class of each position, shape (length,).
        inside: whether the position is in a gene, shape (length,).
        weights: what a window centred here counts, so that the expected loss is that of uniform sampling.
    """

    tokens: Tokens
    labels: NDArray[np.uint8]
    inside: NDArray[np.bool_]
    weights: NDArray[np.float32]
    sites: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, genome: Genome, transcripts: list[Transcript]) -> Genes:
        gap = np.full(CONTEXT // 2 + OUTPUTS, N, dtype=np.uint8)
        tokens, labels, inside = [gap], [np.zeros_like(gap)], [np.zeros(gap.size, dtype=bool)]
        for transcript in transcripts:
            bases, classes = as_read(genome, transcript)
            tokens += [bases, gap]
            labels += [classes, np.zeros_like(gap)]
            inside += [np.ones(bases.size, dtype=bool), np.zeros(gap.size, dtype=bool)]
        every, where = np.concatenate(labels), np.concatenate(inside)
        sites, places = np.flatnonzero(every), np.flatnonzero(where)
        # A centre is drawn uniformly (density 1 / places) or within half a window of a drawn site.
        near = np.convolve(every > 0, np.ones(OUTPUTS), mode="same") / (sites.size * OUTPUTS)
        weights = 1 / (1 - SITE_SHARE + SITE_SHARE * near * places.size)
        return cls(np.concatenate(tokens), every, where, weights.astype(np.float32), sites, places)

    def draw(
        self, rng: np.random.Generator, n: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Tokens (n, OUTPUTS + CONTEXT), labels (n, OUTPUTS) and weights (n, OUTPUTS), 0 outside genes."""
        n_sites = round(n * SITE_SHARE)
        near = rng.choice(self.sites, n_sites) + rng.integers(-OUTPUTS // 2 + 1, OUTPUTS // 2 + 1, n_sites)
        centres = np.concatenate([near, rng.choice(self.places, n - n_sites)])
        outputs = (centres - OUTPUTS // 2)[:, None] + np.arange(OUTPUTS)
        inputs = (outputs[:, :1] - CONTEXT // 2) + np.arange(OUTPUTS + CONTEXT)
        weights = self.weights[centres][:, None] * self.inside[outputs]
        return self.tokens[inputs], self.labels[outputs], weights.astype(np.float32)


def as_read(genome: Genome, transcript: Transcript) -> tuple[Tokens, NDArray[np.uint8]]:
    """Bases and classes of a gene from its 5' end to its 3' end."""
    bases = genome.tokens(transcript.contig, transcript.start, transcript.end)
    classes = site_classes(transcript)
    return (bases, classes) if transcript.strand == "+" else (reverse_complement(bases), classes[::-1].copy())


def site_classes(transcript: Transcript) -> NDArray[np.uint8]:
    """Class of each base of a transcript, in the order of the contig."""
    classes = np.zeros(transcript.end - transcript.start, dtype=np.uint8)
    classes[transcript.acceptors - transcript.start] = ACCEPTOR
    classes[transcript.donors - transcript.start] = DONOR
    return classes


def split(annotation: Annotation, seed: int) -> tuple[list[Transcript], list[Transcript], list[Transcript]]:
    """Training, validation (a tenth of the rest, drawn by gene) and test transcripts with an intron."""
    spliced = [t for t in annotation.transcripts if len(t.exons) > 1]
    test = [t for t in spliced if t.contig.split("_")[0] in TEST_CHROMOSOMES]
    rest = [t for t in spliced if t.contig.split("_")[0] not in TEST_CHROMOSOMES]
    order = np.random.default_rng(seed).permutation(len(rest))
    n_validation = len(rest) // 10
    return [rest[i] for i in order[n_validation:]], [rest[i] for i in order[:n_validation]], test


def loss_of(
    network: nn.Module, batch: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]
) -> torch.Tensor:
    """Weighted cross-entropy, nats a kilobase."""
    tokens, labels, weights = (torch.from_numpy(array) for array in batch)
    each = nn.functional.cross_entropy(network(make_one_hot(tokens)), labels.long(), reduction="none")
    return (each * weights).sum() * 1000 / weights.numel()


class Run:
    """A training run that can be stopped and taken up again; its length is counted in minutes of training."""

    def __init__(self, work: Path, minutes: float, channels: int, seed: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.network = SpliceAI(published(CONTEXT, channels=channels))
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate)
        self.rng = np.random.default_rng(seed)
        self.seconds, self.rate = minutes * 60, rate
        self.steps, self.elapsed, self.best = 0, 0.0, math.inf
        self.checkpoint, self.best_weights = work / "checkpoint.pt", work / "best.pt"
        work.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            kept = torch.load(self.checkpoint, weights_only=True)
            self.network.load_state_dict(kept["network"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.steps, self.elapsed, self.best = kept["steps"], kept["elapsed"], kept["best"]
            self.rng = np.random.default_rng([seed, self.steps])

    def train(self, training: Genes, validation: Genes, every: float) -> None:
        """Steps until the time is used up; every ``every`` seconds validation, and a checkpoint."""
        saved = self.elapsed
        while self.elapsed < self.seconds:
            began = time.monotonic()
            progress = self.elapsed / self.seconds
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate * min((self.steps + 1) / 50, (1 + math.cos(math.pi * progress)) / 2)
            loss = loss_of(self.network, training.draw(self.rng, BATCH))
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
            self.optimiser.step()
            self.steps += 1
            self.elapsed += time.monotonic() - began
            if self.elapsed - saved >= every or self.elapsed >= self.seconds:
                self.save(self.validate(validation))
                saved = self.elapsed

    def validate(self, genes: Genes) -> float:
        """Loss on the same windows each time."""
        rng = np.random.default_rng(0)
        self.network.eval()
        with torch.inference_mode():
            losses = [loss_of(self.network, genes.draw(rng, BATCH)).item() for _ in range(VALIDATION_BATCHES)]
        self.network.train()
        return float(np.mean(losses))

    def save(self, loss: float) -> None:
        print(f"{self.elapsed / 60:6.1f} min  step {self.steps:6d}  validation loss {loss:.4f}", flush=True)
        if loss < self.best:
            self.best = loss
            torch.save(self.network.state_dict(), self.best_weights)
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state | {"steps": self.steps, "elapsed": self.elapsed, "best": self.best}, partial)
        partial.replace(self.checkpoint)


@dataclass
class Found:
    """How well the sites of one class are told from all other positions of the genes."""

    sites: int
    top1: float
    auprc: float
    above_half: float


def measure(package: Package, genome: Genome, transcripts: list[Transcript]) -> tuple[dict[str, Found], int]:
    """Of acceptors and donors, over every position of the transcripts' genes; and the number of positions."""
    engine = Engine(package, device="cpu", threads=torch.get_num_threads())
    labels, scores = [], []
    for t in transcripts:
        source = Masked(genome, t.contig, t.start, t.end)
        request = Request(source, t.contig, t.start, t.end, "+" if t.strand == "+" else "-")
        scores.append(engine.evaluate([request])[0]["splice"])
        labels.append(site_classes(t))
    label, score = np.concatenate(labels), np.concatenate(scores)
    return {CLASSES[c]: found(score[:, c], label == c) for c in (ACCEPTOR, DONOR)}, label.size


def found(scores: NDArray[np.float32], is_site: NDArray[np.bool_]) -> Found:
    """Top-1 accuracy (Jaganathan et al. 2019), average precision, and the share of sites above one half."""
    ranked = is_site[np.argsort(-scores, kind="stable")]
    n = int(ranked.sum())
    precision = np.cumsum(ranked) / np.arange(1, ranked.size + 1)
    return Found(n, float(ranked[:n].mean()), float(precision[ranked].mean()), float((scores[is_site] > 0.5).mean()))


def card(name: str, facts: dict[str, str], results: dict[str, Found]) -> str:
    rows = "".join(
        f"| {site} | {r.sites:,} | {r.top1:.3f} | {r.auprc:.3f} | {r.above_half:.3f} |\n" for site, r in results.items()
    )
    return f"""---
license: apache-2.0
library_name: basecast
---

# {name}

A small splice-site model of the SpliceAI family (Jaganathan et al. 2019): eight residual units of
{facts["channels"]} channels that see {CONTEXT // 2} bases on each side of a position and give the probabilities of
neither, acceptor (first base of an exon) and donor (last base of an exon).

## What it is for

For `basecast demo`, tutorials and tests: it is small, ships with basecast, and was trained by this project for minutes
on a CPU. It is **not for clinical use and not for research conclusions**: models with a longer context that were
trained on the whole genome are far better. Give one of those to `--model`.

## Data

- Genes: {facts["genes"]}, one transcript each (tag `LRG_t1`), of the public Locus Reference Genomic annotation on
  GRCh38.
- Split by chromosome: held out for the numbers below are {", ".join(TEST_CHROMOSOMES)}
  ({facts["test"]} genes); the rest is training ({facts["training"]} genes) and validation
  ({facts["validation"]} genes, a tenth drawn by gene). Paralogs were not removed.
- Bases outside a gene are N, in training and in use (`mask: gene`). Sites of other transcripts count as no sites.

## Training

{facts["steps"]} steps of {BATCH} windows of {OUTPUTS} positions in {facts["minutes"]} minutes
({facts["hardware"]}); AdamW, learning rate {facts["rate"]} falling to 0 along a cosine, cross-entropy; half of the
windows lie around a site and are weighted down so that the expected loss is that of uniformly drawn windows. The
weights with the lowest validation loss were kept ({facts["loss"]}).

## Measured

All {facts["positions"]} positions of the {facts["test"]} held-out genes:

| site | sites | top-1 accuracy | AUPRC | share of sites with p > 0.5 |
|---|---|---|---|---|
{rows}
These genes are well-studied disease genes: the numbers cannot be compared with those published for all genes.

Made with basecast {basecast.__version__} by

    {facts["command"]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", type=Path, required=True)
    parser.add_argument("--annotation", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; a run goes on from there")
    parser.add_argument("--package", type=Path, required=True, help="folder to write, must not be there")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="more than the free cores makes it slower")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    genome = Genome(options.genome)
    annotation = Annotation.read(options.annotation, canonical_tag="LRG_t1").on(genome)
    training, validation, test = split(annotation, options.seed)
    run = Run(options.work, options.minutes, options.channels, options.seed, options.rate)
    run.train(Genes.of(genome, training), Genes.of(genome, validation), every=120)

    network = SpliceAI(published(CONTEXT, channels=options.channels))
    fill(network, torch.load(run.best_weights, weights_only=True), run.best_weights)
    name = options.package.name
    command = (
        f"python tools/train_embedded_model.py --genome {options.genome.name} --annotation {options.annotation.name} "
        f"--work WORK --package {name} --minutes {options.minutes:g} --channels {options.channels} "
        f"--rate {options.rate:g} --seed {options.seed}"
    )
    described = spec(
        network.config,
        name=name,
        species="Homo sapiens",
        genome_build="GRCh38",
        licence="Apache-2.0",
        provenance=Provenance(
            basecast=basecast.__version__,
            command=command,
            sources={options.genome.name: genome.digest, options.annotation.name: annotation.digest},
            note="trained by the basecast project for the demo and tests; not for clinical use",
        ),
    )
    package = Package(described, (network,))
    results, n_positions = measure(package, genome, test)
    for site, result in results.items():
        print(site, asdict(result), flush=True)
    facts = {
        "channels": str(options.channels),
        "genes": str(len(training) + len(validation) + len(test)),
        "training": str(len(training)),
        "validation": str(len(validation)),
        "test": str(len(test)),
        "steps": f"{run.steps:,}",
        "minutes": f"{run.elapsed / 60:.0f}",
        "hardware": f"CPU, {options.threads} thread",
        "rate": f"{options.rate:g}",
        "loss": f"{run.best:.3f} nats a kilobase",
        "positions": f"{n_positions:,}",
        "command": command,
    }
    save_package(options.package, package, card(name, facts, results), files=acceptance.make(package).files)


if __name__ == "__main__":
    main()
