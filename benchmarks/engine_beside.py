"""One kind of work done by Basecast and by openspliceai: how long either took, and whether both say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from delta_fields import Delta, Scored, compare_deltas
from engine_arithmetic import Arithmetic, Costs, of_genome, of_variants
from engine_inputs import sample, scattered, write_genome
from engine_runs import DISTANCE, THRESHOLD, Bench, Measured, scores
from parity_openspliceai import LIMIT, Made, read_fasta
from predict_openspliceai import PeerRow, Site, compare, our_rows, peer_rows
from running import has_verb

BENT = 0.1  # of a time, from the straight line through three


@dataclass(frozen=True)
class Row:
    """What a table says of one kind of work. Times are wall seconds."""

    work: str
    amount: int
    unit: str
    ours: dict[str, Measured]  # by precision
    our_start: float  # of the least work there is
    peer_wall: float
    peer_start: float
    peer_memory: int  # bytes, of the largest run
    is_extrapolated: bool
    compared: int  # alleles or sites
    worst: float  # difference from the peer
    rounding: tuple[float, float] | None  # of bf16 from fp32: the largest difference and the 99.9th percentile
    arithmetic: Arithmetic
    notes: list[str]

    @property
    def ratios(self) -> dict[str, float]:
        return {precision: self.peer_wall / ran.wall for precision, ran in self.ours.items()}


def straight(bench: Bench, work: str, walls: Mapping[int, float], amount: int) -> tuple[float, str]:
    """Seconds of so much, by the straight line through the sizes that were timed, and how good that is."""
    slope, start = np.polyfit(list(walls), list(walls.values()), 1)
    bent = max(abs(start + slope * n - wall) / wall for n, wall in walls.items())
    told = ", ".join(f"{n:,}: {wall:.1f} s" for n, wall in walls.items())
    bench.check(
        bent <= BENT and slope > 0, f"{work}: openspliceai's times ({told}) are off a line: time it --whole {work}"
    )
    return float(start + slope * amount), f"timed on {told}: {slope:.3g} s each, within {bent:.1%} of a line"


def restricted(found: Mapping[Scored, Delta], records: Sequence[Made]) -> dict[Scored, Delta]:
    """The scores of some records."""
    given = {record[:4] for record in records}
    return {name: delta for name, delta in found.items() if name[:4] in given}


def largest_and_tail(differences: Sequence[float]) -> tuple[float, float]:
    return max(differences), float(np.percentile(differences, 99.9))


def time_variants(bench: Bench, work: str, records: list[Made], cost: Costs, region: str | None = None) -> Row:
    """A VCF by both programs; where ``region`` is given, all SNVs of which it holds, ours by ``saturate``."""
    options = bench.options
    vcf, one = bench.vcf(work, records), bench.vcf("start", scattered(bench.genome, bench.genes, 1))
    our_start, peer_start = bench.our_variants("start", "fp32", one), bench.peer_variants("start", one, 1)
    if region is not None and has_verb("saturate"):
        ours = {p: bench.our_saturation(work, p, region) for p in options.precision}
    else:
        ours = {p: bench.our_variants(work, p, vcf) for p in options.precision}
    found = {p: scores(ran, "SpliceAI") for p, ran in ours.items()}

    samples = [sample(records, n) for n in sorted(options.sample)]
    files, middle = [bench.vcf(f"{work}.sample", chosen) for chosen in samples], len(samples) // 2
    trials = {b: bench.peer_variants(f"{work}.{len(samples[middle])}", files[middle], b) for b in options.batches}
    best = min(trials, key=lambda b: trials[b].wall)
    told = ", ".join(f"-b {b}: {ran.wall:.1f} s" for b, ran in trials.items())
    notes = [f"{work}: openspliceai on the same {len(samples[middle])} records, {told}"]
    if is_whole := work in options.whole:
        runs = [bench.peer_variants(work, vcf, best)]
    else:
        runs = [
            bench.peer_variants(f"{work}.{len(chosen)}", file, best)
            for chosen, file in zip(samples, files, strict=True)
        ]
    theirs = [scores(ran, "OpenSpliceAI") for ran in (*runs, *trials.values())]
    if is_whole:
        peer_wall = runs[0].wall
    else:
        walls = {len(fields): ran.wall for fields, ran in zip(theirs, runs, strict=False)}
        peer_wall, how = straight(bench, work, walls, len(found["fp32"]))
        notes.append(f"{work}: openspliceai -b {best} {how}")

    given = [records] if is_whole else samples
    compared = [
        compare_deltas(fields, restricted(found["fp32"], chosen), LIMIT)
        for fields, chosen in zip(theirs, (*given, *[samples[middle]] * len(trials)), strict=True)
    ]
    bench.failures += [f"{work}: {text}" for one in compared for text in one.amiss]
    equal, counted = (sum(getattr(one, name) for one in compared) for name in ("dp_equal", "dp_counted"))
    bench.check(counted > 0, f"{work}: no delta score of 0.001 or more was compared")
    notes.append(f"{work}: DP equal in {equal} of {counted} fields with DS >= 0.001")
    rounding = None
    if "bf16" in found:
        rounding = largest_and_tail(compare_deltas(found["fp32"], found["bf16"], 1.0).differences)
    return Row(
        work=work,
        amount=len(found["fp32"]),
        unit="alleles",
        ours=ours,
        our_start=our_start.wall,
        peer_wall=peer_wall,
        peer_start=peer_start.wall,
        peer_memory=max(ran.memory for ran in runs),
        is_extrapolated=not is_whole,
        compared=len({name for fields in theirs for name in fields}),
        worst=max(one.worst for one in compared),
        rounding=rounding,
        arithmetic=of_variants(cost, found["fp32"], DISTANCE),
        notes=notes,
    )


def time_genome(bench: Bench, cost: Costs) -> Row:
    """One strand of a long contig by both programs, and every site of the largest size that the peer did."""
    options, work = bench.options, "genome"

    def fasta_of(megabases: float) -> Path:
        return write_genome(bench.work / f"genome.{megabases:g}.fa", bench.genome, round(megabases * 1e6))

    fasta, least = fasta_of(options.genome), fasta_of(0.001)
    our_start, peer_start = bench.our_sites("start", "fp32", least), bench.peer_sites("start", least)
    ours = {p: bench.our_sites(work, p, fasta) for p in options.precision}
    is_whole = work in options.whole
    sizes = [options.genome] if is_whole else sorted(options.sample_genome)
    runs = {round(size * 1e6): bench.peer_sites(f"{work}.{size:g}", fasta_of(size)) for size in sizes}
    peer_wall, notes = max(ran.wall for ran in runs.values()), []
    if not is_whole:
        walls = {bases: ran.wall for bases, ran in runs.items()}
        peer_wall, how = straight(bench, work, walls, round(options.genome * 1e6))
        notes.append(f"{work}: openspliceai {how}; its memory is that of the largest")

    same = fasta_of(sizes[-1])
    mine = ours["fp32"] if is_whole else bench.our_sites(f"{work}.{sizes[-1]:g}", "fp32", same)
    lengths = {name: len(sequence) for name, sequence in read_fasta(same).items()}
    theirs: dict[Site, list[PeerRow]] = defaultdict(list)
    for site, row in peer_rows(Path(runs[round(sizes[-1] * 1e6)].out), lengths):
        theirs[site].append(row)
    result = compare(theirs, our_rows(Path(mine.out)), lengths, options.context // 2, THRESHOLD)
    bench.failures += [f"{work}: {text}" for text in result.differ + result.amiss]
    bench.check(bool(result.equal), f"{work}: no site was compared")
    rounding = None
    if "bf16" in ours:
        fp32, bf16 = (our_rows(Path(ours[p].out)) for p in ("fp32", "bf16"))
        # a site without a row has less than the threshold: so much at most is its difference overstated
        rounding = largest_and_tail([abs(fp32.get(s, 0.0) - bf16.get(s, 0.0)) for s in fp32.keys() | bf16.keys()])
    return Row(
        work=work,
        amount=round(options.genome * 1e6),
        unit="bases",
        ours=ours,
        our_start=our_start.wall,
        peer_wall=peer_wall,
        peer_start=peer_start.wall,
        peer_memory=max(ran.memory for ran in runs.values()),
        is_extrapolated=not is_whole,
        compared=result.equal + len(result.differ),
        worst=result.worst,
        rounding=rounding,
        arithmetic=of_genome(cost, [len(sequence) for sequence in read_fasta(fasta).values()]),
        notes=notes,
    )
