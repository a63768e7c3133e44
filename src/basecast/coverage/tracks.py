"""What is counted at positions becomes coverage, stretch by stretch: no array is as long as a contig."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from basecast.coverage.duplicates import clip, limits
from basecast.coverage.gc import GCFit, GCModel, gc_fraction
from basecast.coverage.joining import Lane
from basecast.coverage.layout import Layout
from basecast.coverage.settings import CoverageSettings
from basecast.coverage.smoothing import reach, smoothed
from basecast.errors import InputError
from basecast.genome.reference import Genome

SPAN = np.dtype([("contig", "<i4"), ("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
"""Bases of a contig that have one value."""
_STRETCH = 1 << 20
_FIT_STRETCH = 1 << 23
_NOTHING = 1e-6  # less is taken for none: what Fourier transforms leave


class Sums(NamedTuple):
    """All that was counted in a part, what is left of it after clipping, and what that became without GC's effect."""

    counted: float
    clipped: float
    corrected: float


def fit_gc(lane: Lane, number: int, layout: Layout, settings: CoverageSettings, genome: Genome) -> GCFit:
    """What a part tells of the effect of GC.

    Raises:
        InputError: the genome has not the contig of some reads.
    """
    fit = GCFit(settings.gc_sigma)
    for contig, start, end in layout.stretches(number, _FIT_STRETCH):
        offset = int(layout.bounds[contig]) + start
        name = layout.names[contig]
        first, last = np.searchsorted(lane.single_at, [offset, offset + end - start])
        if genome.resolve(name) is None:
            if first == last:
                continue
            raise InputError(
                f"reads are aligned to contig {name!r}, which {genome.path} has not: give the genome that they were "
                "aligned to"
            )
        coverage = np.zeros(end - start, np.float32)
        coverage[lane.single_at[first:last] - offset] = lane.single[first:last]
        usable = np.ones(end - start, bool)
        first, last = np.searchsorted(lane.shared_at, [offset, offset + end - start])
        usable[lane.shared_at[first:last] - offset] = False
        fit.add(coverage, genome.tokens(name, start, end), usable)
    return fit


def track(
    lane: Lane, number: int, layout: Layout, settings: CoverageSettings, genome: Genome | None, model: GCModel | None
) -> tuple[NDArray[np.void], Sums]:
    """Coverage of a part, clipped, corrected by ``model`` and smoothed, as asked for: records of ``SPAN``."""
    if not (settings.clip or settings.smooth or settings.event == "reads" or model):
        total = float(lane.values.sum())
        return _single_spans(lane, layout), Sums(total, total, total)
    halo = reach(settings.smooth) + (reach(settings.sigma) if settings.clip else 0)
    most = limits(settings.clip) if settings.clip else None
    found = []
    counted, clipped, corrected = 0.0, 0.0, 0.0
    for contig, low, high, core, values in _stretches(lane, number, layout, halo, settings.event == "reads"):
        length = int(layout.bounds[contig + 1] - layout.bounds[contig])
        counted += float(values[core].sum())
        if most is not None:
            values = clip(values, smoothed(values, settings.sigma, low == 0, high == length), most)
        clipped += float(values[core].sum())
        if model is not None and genome is not None:
            values = values * _correction(model, genome, layout.names[contig], low, high, settings.gc_sigma)
        corrected += float(values[core].sum())
        if settings.smooth:
            values = smoothed(values, settings.smooth, low == 0, high == length)
        found.append(_spans(contig, low + core.start, values[core]))
    return np.concatenate([np.empty(0, SPAN), *found]), Sums(counted, clipped, corrected)


def _single_spans(lane: Lane, layout: Layout) -> NDArray[np.void]:
    """Where positions are all there is, no base between them need be looked at."""
    contigs = layout.contig_of(lane.at)
    heights = lane.values.astype(np.float32)
    is_first = np.append(True, (np.diff(lane.at) > 1) | np.diff(contigs).astype(bool) | (np.diff(heights) != 0))
    firsts = np.flatnonzero(is_first[: len(lane.at)])
    found = np.empty(len(firsts), SPAN)
    found["contig"], found["value"] = contigs[firsts], heights[firsts]
    found["start"] = lane.at[firsts] - layout.bounds[contigs[firsts]]
    found["end"] = found["start"] + np.diff(np.append(firsts, len(lane.at)))
    return found


def _stretches(
    lane: Lane, number: int, layout: Layout, halo: int, is_change: bool
) -> Iterator[tuple[int, int, int, slice, Float64[np.ndarray, " bases"]]]:
    """Stretches where something is, with a halo: contig, first base and end, what is not halo, and values."""
    levels = np.append(0, np.cumsum(lane.values)) if is_change else None
    for contig, start, end in layout.stretches(number, _STRETCH):
        offset, stop = (int(bound) for bound in layout.bounds[contig : contig + 2])
        low, high = max(start - halo, 0), min(end + halo, stop - offset)
        first, last = np.searchsorted(lane.at, [offset + low, offset + high])
        level = 0.0 if levels is None else float(levels[first])
        if first == last and level < _NOTHING:
            continue
        values = np.zeros(high - low)
        values[lane.at[first:last] - offset - low] = lane.values[first:last]
        if levels is not None:
            values[0] += level
            values = np.cumsum(values)
        yield contig, low, high, slice(start - low, end - low), values


def _correction(
    model: GCModel, genome: Genome, name: str, low: int, high: int, sigma: float
) -> Float64[np.ndarray, " bases"]:
    margin = reach(sigma)
    shares = gc_fraction(genome.tokens(name, low - margin, high + margin), sigma)
    return model.correction(shares[margin : len(shares) - margin])


def _spans(contig: int, start: int, values: Float64[np.ndarray, " bases"]) -> NDArray[np.void]:
    heights = np.where(values < _NOTHING, 0, values).astype(np.float32)
    cuts = np.flatnonzero(np.append(True, heights[1:] != heights[:-1]))
    found = np.empty(len(cuts), SPAN)
    found["contig"], found["start"], found["value"] = contig, start + cuts, heights[cuts]
    found["end"] = start + np.append(cuts[1:], len(heights))
    return found[found["value"] != 0]
