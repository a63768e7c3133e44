"""bigWigs to the values of bins: what is in the file, held to be a signal, then each track's own transform."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from basecast.data.signal_targets import TargetRow
from basecast.errors import BasecastError, InputError
from basecast.genome.intervals import Interval
from basecast.genome.reference import Genome
from basecast.genome.signal import BigWig
from basecast.spec.model import TargetTransform

_AHEAD = 2  # stretches that are read while one is written
_SMALL = 200_000_000  # bases times tracks that are read before other processes would have begun


class Column(NamedTuple):
    """One track in the bins of a stretch, and what was met on the way.

    Attributes:
        values: in model space, shape (bins,).
        covered: bases with a value in the file.
        total: sum of all bases, without a sign.
        above, below: a position (1-based) with a value above or below 0; 0 where there is none.
    """

    values: Float32[np.ndarray, " bins"]
    covered: int
    total: float
    above: int
    below: int


def column(target: TargetRow, contig: str, stretch: Interval, resolution: int) -> Column:
    """One track in a stretch of a contig, which is a whole number of bins; ``contig`` is its name in the bigWig.

    Bases without a value are 0, and a signal that is below 0 counts without its sign.

    Raises:
        InputError: the file is damaged there, or has a value that is not finite.
    """
    read = _opened(target.path, target.path.stat().st_mtime_ns).values(contig, stretch.start, stretch.end)
    missing = np.isnan(read)
    found = np.where(missing, np.float32(0), read)
    lowest, highest = int(found.argmin()), int(found.argmax())
    for at in (lowest, highest):
        if np.isinf(found[at]):
            raise InputError(
                f"{target.path} has an infinite value at {contig}:{stretch.start + at + 1}: make the bigWig again "
                "without it"
            )
    above = stretch.start + highest + 1 if found[highest] > 0 else 0
    below = stretch.start + lowest + 1 if found[lowest] < 0 else 0
    if below:
        np.abs(found, out=found)
    bins = statistic_of(found, resolution, target.transform.statistic)
    return Column(
        values=target.transform.apply(bins).astype(np.float32),
        covered=missing.size - int(np.count_nonzero(missing)),
        total=float((bins if target.transform.statistic == "sum" else found).sum(dtype=np.float64)),
        above=above,
        below=below,
    )


@lru_cache(maxsize=64)
def _opened(path: Path, changed: int) -> BigWig:
    return BigWig(path)


def statistic_of(values: Float32[np.ndarray, " bases"], resolution: int, statistic: str) -> Float[np.ndarray, " bins"]:
    """``sum``, ``mean``, ``median`` or ``max`` of each bin, in float64."""
    bins = values.reshape(-1, resolution)
    if statistic == "max":
        return bins.max(axis=1).astype(np.float64)
    if statistic == "median":
        return np.median(bins.astype(np.float64), axis=1)
    total = bins.sum(axis=1, dtype=np.float64)
    return total / resolution if statistic == "mean" else total


def clipped(values: Float[np.ndarray, "*shape"], transform: TargetTransform | None) -> tuple[int, int]:
    """How many values in model space a soft clip made smaller, and how many lie at the clip."""
    if transform is None:
        return 0, 0
    x = values / np.float32(transform.scale) if transform.scaled_last else values
    soft = 0 if transform.soft_clip is None else int((x > transform.soft_clip).sum())
    hard = 0 if transform.clip is None else int((x >= transform.clip * (1 - 1e-6)).sum())
    return soft, hard


def contig_names(target: TargetRow, genome: Genome, contigs: Sequence[str]) -> dict[str, str]:
    """For each of some contigs of a genome its name in a bigWig.

    Raises:
        InputError: the file lacks some of them, or has one of another length.
    """
    lengths = BigWig(target.path).lengths
    names = {own: name for name in reversed(lengths) if (own := genome.resolve(name)) is not None}
    names |= {name: name for name in lengths if name in genome.lengths}
    if missing := [contig for contig in contigs if contig not in names]:
        has = ", ".join(list(lengths)[:3]) + (", ..." if len(lengths) > 3 else "")
        raise InputError(
            f"{target.path} lacks {_some(missing)} of {genome.path}; it has {has}: give --contig-aliases where they "
            "only have other names, or name with --contigs those that all tracks have"
        )
    for contig in contigs:
        if lengths[names[contig]] != genome.lengths[contig]:
            raise InputError(
                f"{names[contig]} of {target.path} has {lengths[names[contig]]:,} bases, and {contig} of {genome.path} "
                f"{genome.lengths[contig]:,}: is it of another genome build?"
            )
    return {contig: names[contig] for contig in contigs}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _columns(
    targets: Sequence[TargetRow], names: Sequence[Mapping[str, str]], stretch: Interval, resolution: int
) -> list[Column]:
    return [
        column(target, own[stretch.contig], stretch, resolution) for target, own in zip(targets, names, strict=True)
    ]


def columns_of(
    targets: Sequence[TargetRow],
    names: Sequence[Mapping[str, str]],
    stretches: Sequence[Interval],
    resolution: int,
    threads: int = 1,
) -> Generator[list[Column]]:
    """For each stretch the columns of all tracks, read by as many processes.

    Args:
        names: for each track its file's names of the contigs.

    Raises:
        InputError: as `column` does.
        BasecastError: a process was killed.
    """
    work = len(targets) * sum(stretch.end - stretch.start for stretch in stretches)
    if threads == 1 or work <= _SMALL:
        for stretch in stretches:
            yield _columns(targets, names, stretch, resolution)
        return
    size = min(-(-len(targets) // threads), 64)
    parts = [slice(at, at + size) for at in range(0, len(targets), size)]
    with ProcessPoolExecutor(threads, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: deque[list[Future[list[Column]]]] = deque()

        def first() -> list[Column]:
            return [found for future in ahead.popleft() for found in future.result()]

        try:
            for stretch in stretches:
                ahead.append([pool.submit(_columns, targets[part], names[part], stretch, resolution) for part in parts])
                if len(ahead) > _AHEAD:
                    yield first()
            while ahead:
                yield first()
        except BrokenProcessPool as error:
            raise BasecastError(f"a process that reads tracks was killed ({error}): give fewer --threads") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
