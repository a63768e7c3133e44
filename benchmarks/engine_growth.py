"""How wall time and peak memory of Basecast grow with its input, with one 10,000 nt model, as a table and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine_inputs import growing, write_genome
from engine_runs import Bench, table

MOST = 1.1  # of cost a unit, and of memory, at the largest over the middle
UNITS = {"variants": 1, "Mb of one strand": 1e6}


class Point(NamedTuple):
    kind: str
    amount: float
    wall: float  # seconds
    memory: int  # bytes


def measure_growth(bench: Bench) -> list[Point]:
    """Three sizes of either verb; what grows faster than the input, or holds more memory, is a failure."""
    options = bench.options
    model = min(bench.weights.glob("*.pt"))
    records = growing(bench.genome, bench.genes, max(options.growth_variants))
    points = []
    for count in options.growth_variants:
        ran = bench.our_variants(f"growth.{count}", "fp32", bench.vcf("growth", records[:count]), model)
        points.append(Point("variants", count, ran.wall, ran.memory))
    for megabases in options.growth_genome:
        fasta = write_genome(bench.work / f"growth.{megabases}.fa", bench.genome, round(megabases * 1e6))
        ran = bench.our_sites(f"growth.{megabases}", "fp32", fasta, model)
        points.append(Point("Mb of one strand", megabases, ran.wall, ran.memory))
    for kind in UNITS:
        small, middle, large = (point for point in points if point.kind == kind)
        before = (middle.wall - small.wall) / (middle.amount - small.amount)
        after = (large.wall - middle.wall) / (large.amount - middle.amount)
        bench.check(after <= MOST * before, f"{kind}: {before:.3g} s each up to the middle size, then {after:.3g} s")
        ratio = large.memory / middle.memory
        bench.check(ratio <= MOST, f"{kind}: peak memory at the largest size is {ratio:.2f} x that at the middle one")
    return points


def growth_table(points: Sequence[Point]) -> list[str]:
    def cells(point: Point, last: Point | None) -> Iterator[str]:
        yield f"{point.amount:,g} {point.kind}"
        yield f"{point.wall:.1f}"
        is_next = last is not None and last.kind == point.kind
        yield f"{(point.wall - last.wall) / (point.amount - last.amount):.3g}" if last and is_next else ""
        yield f"{point.memory / 2**20:.0f}"

    columns = ["input, one model, fp32", "wall s", "s each beyond the size before", "peak MiB"]
    return table(columns, (list(cells(*pair)) for pair in zip(points, [None, *points], strict=False)))


def draw(points: Sequence[Point], path: Path) -> None:
    """Wall time beside a straight line, and memory from zero, of either verb."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    figure, axes = pyplot.subplots(2, len(UNITS), figsize=(8, 5), sharex="col", layout="constrained")
    for column, (kind, verb) in enumerate(zip(UNITS, ("variant", "predict"), strict=True)):
        chosen = [point for point in points if point.kind == kind]
        amounts = [point.amount for point in chosen]
        wall, memory = axes[0, column], axes[1, column]
        largest = chosen[-1]
        line = [largest.wall * amount / largest.amount for amount in amounts]
        wall.loglog(amounts, line, "--", color="0.6", label="in proportion to the largest")
        wall.loglog(amounts, [point.wall for point in chosen], "o-", color="C0", label="measured")
        wall.set_title(f"basecast {verb}")
        wall.yaxis.set_major_formatter(plain)
        wall.yaxis.set_minor_formatter(NullFormatter())
        wall.legend(frameon=False)
        sizes = [point.memory / 2**20 for point in chosen]
        memory.semilogx(amounts, sizes, "o-", color="C1")
        memory.set_ylim(0, 1.3 * max(sizes))
        memory.set_xlabel(kind)
        memory.set_xticks(amounts, [f"{amount:,g}" for amount in amounts])
        memory.minorticks_off()
        for axis, values, digits in ((wall, [p.wall for p in chosen], "{:,.0f} s"), (memory, sizes, "{:,.0f}")):
            for amount, value in zip(amounts, values, strict=True):
                axis.annotate(
                    digits.format(value), (amount, value), (0, 7), textcoords="offset points", ha="center", fontsize=8
                )
            axis.spines[["top", "right"]].set_visible(False)
            axis.margins(x=0.12, y=0.15)
    axes[0, 0].set_ylabel("wall time, s")
    axes[1, 0].set_ylabel("peak memory, MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
