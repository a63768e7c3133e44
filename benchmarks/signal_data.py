"""Bins of tracks, beside a plain loop over pybigtools in the same run.

    python benchmarks/signal_data.py [--shared DATA] [--resolution N] [--repeats N]

The stranded PRO-seq of *S. pombe*: 14 bigWigs with a value at each base that has reads. The loop reads stretches of
half a million bases, takes the signs off and sums bins, as a person would write it; ours also looks for what is wrong
and applies a transform. Told are millions of bases of a track a second, of one process, once the sums were found equal.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybigtools
from numpy.typing import NDArray

from basecast.data.signal_bins import column
from basecast.data.signal_targets import TargetRow
from basecast.genome.intervals import Interval
from basecast.genome.signal import BigWig
from basecast.spec.model import TargetTransform
from delta_fields import shared_data

PIECE = 524_288


def stretches(lengths: dict[str, int], resolution: int) -> list[Interval]:
    ends = {contig: length // resolution * resolution for contig, length in lengths.items()}
    return [Interval(c, at, min(at + PIECE, end)) for c, end in ends.items() for at in range(0, end, PIECE)]


def ours(path: Path, wanted: list[Interval], resolution: int) -> list[NDArray[np.float32]]:
    target = TargetRow({"identifier": path.stem}, path, 0, TargetTransform())
    return [column(target, stretch.contig, stretch, resolution).values for stretch in wanted]


def plain(path: Path, wanted: list[Interval], resolution: int) -> list[NDArray[np.float32]]:
    found = []
    with pybigtools.open(str(path)) as file:
        for contig, start, end in wanted:
            values = np.abs(np.nan_to_num(np.asarray(file.values(contig, start, end, fillna=None), dtype=np.float32)))
            found.append(values.reshape(-1, resolution).sum(axis=1, dtype=np.float64).astype(np.float32))
    return found


def seconds(read: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        read()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=None)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    folder = shared_data(given.shared) / "spombe" / "proseq"
    bases, mine, theirs = 0, 0.0, 0.0
    for path in sorted(folder.glob("*.bw")):
        wanted = stretches(BigWig(path).lengths, given.resolution)
        pairs = zip(ours(path, wanted, given.resolution), plain(path, wanted, given.resolution), strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            raise SystemExit(f"the sums of {path.name} differ")
        bases += sum(stretch.end - stretch.start for stretch in wanted)
        mine += seconds(lambda path=path, wanted=wanted: ours(path, wanted, given.resolution), given.repeats)
        theirs += seconds(lambda path=path, wanted=wanted: plain(path, wanted, given.resolution), given.repeats)
    print("| | Mb of a track a second | of the plain loop |\n|---|---|---|")
    print(f"| plain loop over pybigtools {pybigtools.__version__} | {bases / theirs / 1e6:.0f} | 1 |")
    print(f"| basecast | {bases / mine / 1e6:.0f} | {theirs / mine:.2f} |")


if __name__ == "__main__":
    main()
