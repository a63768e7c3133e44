"""How long fragments are, from single reads: their two ends lie that far apart.

Kharchenko et al. 2008, Nature Biotechnology 26:1351: forward and reverse 5' ends are correlated at every distance. A
second peak lies at the length of the reads themselves, where it is not fragments that end together but what can be
mapped; it is bridged.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray

from basecast.coverage.gc import gaussian
from basecast.errors import BasecastError

_SD = 12.0  # of the smoothing of the curve, bases
_MARGIN = 36  # three of them
_PHANTOM = 10  # bases around the read length that are bridged
_ENOUGH = 200_000_000  # pairs; more do not change the curve
_AT_ONCE = 4_000_000
_CLEAR = 6.0  # a peak's prominence over the noise of the curve


class FragmentLength:
    """Forward and reverse 5' ends, tallied by the length of the fragment between them.

    Args:
        shortest, longest: fragments that are looked for, bases, both ends of the range included.
        read_length: of the reads, where its phantom peak is to be bridged.
    """

    def __init__(self, shortest: int = 50, longest: int = 500, read_length: int | None = None) -> None:
        if not 1 <= shortest < longest:
            raise ValueError(f"fragments cannot be {shortest} to {longest} bases long")
        self.shortest, self.longest, self.read_length = shortest, longest, read_length
        self._first = max(shortest - _MARGIN, 1)
        self._tally = np.zeros(longest + _MARGIN + 1 - self._first)
        self._pairs = 0

    def add(
        self,
        forward: Int64[np.ndarray, " f"],
        forward_counts: Float[np.ndarray, " f"],
        reverse: Int64[np.ndarray, " r"],
        reverse_counts: Float[np.ndarray, " r"],
    ) -> None:
        """5' ends of a stretch of one contig, of reads with one place only.

        Args:
            forward: first bases of forward reads, ascending, each once.
            reverse: last bases of reverse reads (their 5' end, inside the read), ascending, each once.
            forward_counts, reverse_counts: reads there.
        """
        # roots: a tower of duplicates is not to speak for the whole genome
        left, right = np.sqrt(forward_counts), np.sqrt(reverse_counts)
        begin = np.searchsorted(reverse, forward + self._first - 1)
        end = np.searchsorted(reverse, forward + self.longest + _MARGIN)
        before = np.concatenate([[0], np.cumsum(end - begin)])
        at = 0
        while at < forward.size and self._pairs < _ENOUGH:
            to = max(int(np.searchsorted(before, before[at] + _AT_ONCE, "right")) - 1, at + 1)
            n = (end - begin)[at:to]
            first = np.repeat(np.arange(at, to), n)
            second = np.arange(before[at], before[to]) - np.repeat(before[at:to] - begin[at:to], n)
            length = reverse[second] - forward[first] + 1  # both ends are inside the fragment
            self._tally += np.bincount(length - self._first, left[first] * right[second], self._tally.size)
            self._pairs += int(before[to] - before[at])
            at = to

    def merge(self, other: FragmentLength) -> None:
        """Take the pairs of another tally of the same lengths too."""
        self._tally += other._tally
        self._pairs += other._pairs

    @property
    def curve(self) -> tuple[Int64[np.ndarray, " lengths"], Float64[np.ndarray, " lengths"]]:
        """Lengths from the shortest to the longest, and the smoothed tally over that of the mean length."""
        lengths = np.arange(self._first, self._first + self._tally.size)
        tally = self._tally
        if self.read_length is not None:
            phantom = np.abs(lengths - self.read_length) <= _PHANTOM
            tally = tally.copy()
            if phantom.any() and not phantom.all():
                tally[phantom] = np.interp(lengths[phantom], lengths[~phantom], _smooth(tally[~phantom]))
        inside = slice(self.shortest - self._first, self.longest - self._first + 1)
        smooth = _smooth(tally)[inside]
        return lengths[inside], smooth / max(float(smooth.mean()), 1e-300)

    @property
    def length(self) -> int:
        """The length at the clearest peak of the curve, bases.

        Raises:
            BasecastError: there is no peak, as where reads lie evenly or are few.
        """
        lengths, curve = self.curve
        peak, prominence = _clearest(curve)
        unit = max(float(self._tally.mean()), 1e-300)
        noise = np.diff(self._tally, 2) / np.sqrt(6) / unit * np.sqrt((gaussian(_SD) ** 2).sum())
        if prominence <= _CLEAR * 1.4826 * float(np.median(np.abs(noise))) or not self._pairs:
            raise BasecastError(
                f"the fragment length cannot be learnt from {self._pairs:,} pairs of reads on opposite strands, "
                f"which show no peak at {self.shortest}..{self.longest} bases: give the length"
            )
        return int(lengths[peak])


def _smooth(tally: Float64[np.ndarray, " lengths"]) -> Float64[np.ndarray, " lengths"]:
    weights = gaussian(_SD)
    return np.convolve(tally, weights, "same") / np.convolve(np.ones_like(tally), weights, "same")


def _clearest(curve: Float64[np.ndarray, " lengths"]) -> tuple[int, float]:
    """The inner maximum that stands highest over the deeper of the two ways to something higher, and how high."""
    best, most = 0, 0.0
    for i in range(1, curve.size - 1):
        if curve[i - 1] < curve[i] >= curve[i + 1]:
            left, right = curve[:i][::-1], curve[i + 1 :]
            lowest = [side[: _until(side > curve[i])].min() for side in (left, right)]
            prominence = float(curve[i] - max(lowest))
            if prominence > most:
                best, most = i, prominence
    return best, most


def _until(higher: NDArray[np.bool_]) -> int:
    return int(higher.argmax()) if higher.any() else higher.size
