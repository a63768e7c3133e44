"""How many alleles a second ``variant`` scores with a signal model, and a plain loop over tensors that are in memory.

Both run the same network on the same windows in the same precision and batch. The loop has its tokens as tensors
before the clock starts, runs REF and ALT of every allele, as published tools do, and leaves its scores in memory;
Basecast reads a VCF and a FASTA, runs REF once a place, keeps parts, and writes Parquet. They must give the same
scores. With one ALT a record both do the same work; with more, the loop runs REF again. On a CPU the ratio is of CPU
seconds too, which others on the machine disturb less. Run as ``python benchmarks/variants_signal.py [--device cuda]``;
weights are random, for they change no time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from basecast.effects.annotate import annotate_variants
from basecast.effects.frame import Pair
from basecast.effects.signal import scores
from basecast.effects.signal_output import SignalOutput
from basecast.effects.signal_scorer import SignalScorer, SignalSettings
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader
from basecast.inference.tiling import tiles
from basecast.models.layers import make_one_hot
from basecast.models.network import LINKS
from basecast.models.registry import families
from basecast.zoo.package import Package

LIMIT = 0.9
STATISTICS = ("SAD", "D2")


def package_of(family: str, size: str) -> Package:
    known = families()[family]
    config = known.sizes[size]()
    torch.manual_seed(0)
    network = known.network(config).eval().requires_grad_(False)
    return Package(known.spec(config, name=f"{family}-{size}", licence="MIT"), (network,))


def write_inputs(folder: Path, n_records: int, n_alts: int, window: int) -> tuple[Path, Path]:
    """A genome in which no two variants are close, and SNVs of it with so many ALTs each."""
    rng = np.random.default_rng(0)
    letters = "".join(rng.choice(list("ACGT"), 2 * window + 5000 * n_records))
    genome, variants = folder / "genome.fa", folder / f"{n_alts}.vcf"
    genome.write_text(f">chr\n{letters}\n")
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for at in range(window, window + 5000 * n_records, 5000):
        alts = [base for base in "ACGT" if base != letters[at]][:n_alts]
        lines.append(f"chr\t{at + 1}\t.\t{letters[at]}\t{','.join(alts)}\t.\t.\t.")
    variants.write_text("\n".join(lines) + "\n")
    return genome, variants


class PlainLoop:
    """The network over windows whose tokens are tensors already: REF and ALT of every allele."""

    def __init__(self, package: Package, genome: Path, variants: Path, device: str, batch: int) -> None:
        self.device = torch.device(device)
        (self.output,) = package.spec.outputs
        self.network = package.network.to(self.device)
        scorer = SignalScorer(package, genome, None, SignalSettings(device=device))
        with VariantReader(variants) as reader:
            pairs = [pair for record in reader for pair in scorer._cases(record) if isinstance(pair, Pair)]
        windows = []
        for pair in pairs:
            for request in pair.requests:
                (tile,) = tiles(package.spec, request.start, request.end, request.end - request.start)
                windows.append(request.source.tokens(request.contig, tile.window_start, tile.window_end))
        self.skip = (tile.start - tile.seen_start) // self.output.resolution - self.output.crop
        self.n_bins = (tile.end - tile.start) // self.output.resolution
        self.batches = [
            torch.from_numpy(np.stack(windows[first : first + batch])) for first in range(0, len(windows), batch)
        ]

    def __call__(self) -> NDArray[np.float32]:
        found: list[NDArray[np.float32]] = []
        with torch.inference_mode():
            for tokens in self.batches:
                logits = self.network(make_one_hot(tokens.to(self.device), torch.float32)).float()
                values = LINKS[self.output.link](logits, 1).mT[:, self.skip : self.skip + self.n_bins]
                found += list(values.cpu().numpy())
        return np.stack([scores(STATISTICS, *found[i : i + 2])[: len(STATISTICS)] for i in range(0, len(found), 2)])


def batch_of(package: Package, genome: Path, variants: Path, device: str, memory: int | None) -> int:
    """How many windows the engine runs at once."""
    scorer = SignalScorer(package, genome, None, SignalSettings(device=device, memory=memory, threads=1))
    sizes: list[int] = []
    forward = scorer.engine._forward
    scorer.engine._forward = lambda batch, *rest: sizes.append(len(batch)) or forward(batch, *rest)  # type: ignore[method-assign,assignment,func-returns-value]
    with VariantReader(variants) as reader:
        shard = next(iter(scorer.cut(device).spans(iter(reader))))[0]
    scorer.rows(shard)
    return max(sizes)


class Took(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds


def timed(run: Callable[[], object]) -> tuple[Took, object]:
    began, cpu = time.perf_counter(), time.process_time()
    found = run()  # its values are in memory, so a GPU is done
    return Took(time.perf_counter() - began, time.process_time() - cpu), found


def compared(package: Package, folder: Path, n_alts: int, options: argparse.Namespace) -> float:
    """The speed of Basecast as a multiple of the loop's; best of the repeats of each."""
    window = SignalScorer(package, *_empty(folder), SignalSettings(device=options.device)).frame.window
    genome, variants = write_inputs(folder, options.records, n_alts, window)
    batch = batch_of(package, genome, variants, options.device, options.memory)
    loop = PlainLoop(package, genome, variants, options.device, batch)
    target = folder / f"{n_alts}.parquet"
    settings = SignalSettings(statistics=STATISTICS, device=options.device, memory=options.memory, threads=1)

    def ours() -> NDArray[np.float32]:
        annotate_variants(
            variants, target, model=package, genome=Genome(genome), settings=settings, output=SignalOutput()
        )
        found = pl.read_parquet(target, columns=["raw_score"])["raw_score"].to_numpy()
        return found.reshape(-1, len(STATISTICS), len(package.spec.outputs[0].tracks))

    loop()
    runs: dict[str, list[Took]] = {"loop": [], "basecast": []}
    for _ in range(options.repeats):
        for name, run in (("loop", loop), ("basecast", ours)):
            took, found = timed(run)
            runs[name].append(took)
            if name == "loop":
                wanted = np.asarray(found)
        scale = np.abs(wanted).max()
        worst = float(np.abs(np.asarray(found) - wanted).max() / scale)
        assert worst < 1e-3, f"scores differ by {worst} of the largest"
        assert scale > 0
    n = options.records * n_alts
    best = {name: Took(*(min(x[i] for x in each) for i in range(2))) for name, each in runs.items()}
    ratio = Took(*(best["loop"][i] / best["basecast"][i] for i in range(2)))
    print(
        f"{n_alts} ALT a record, {n} alleles, windows of {window:,}, batch {batch}: "
        f"loop {n / best['loop'].wall:.2f}/s, basecast {n / best['basecast'].wall:.2f}/s; "
        f"{ratio.wall:.2f}x by the clock, {ratio.cpu:.2f}x by CPU seconds; scores alike to {worst:.1e} of the largest"
    )
    return max(ratio) if options.device == "cpu" else ratio.wall


def _empty(folder: Path) -> tuple[Path, None]:
    path = folder / "empty.fa"
    path.write_text(">chr\nACGT\n")
    return path, None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="basenji")
    parser.add_argument("--size", default="small")
    parser.add_argument("--records", type=int, default=24)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=int, help="bytes")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # one window, one thread: in either program
    package = package_of(options.family, options.size)
    with tempfile.TemporaryDirectory() as folder:
        ratios = [compared(package, Path(folder), n_alts, options) for n_alts in (1, 3)]
    return 0 if min(ratios) >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
