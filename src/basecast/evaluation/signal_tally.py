"""What is kept of a model's answers on records with signals: enough for every number that is told."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from basecast.evaluation.replicates import Crossed, Pair
from basecast.evaluation.signal_answers import Piece
from basecast.evaluation.signal_genes import Genes, GeneSums
from basecast.evaluation.signal_measures import Accuracy, Moments, log2_of
from basecast.inference.untransform import untransformed
from basecast.spec import Output

MOST_RANKED = 1 << 26
"""Values that are kept for ranks, over bins and tracks; of more bins one of so many is kept that they fit."""


def apart(n_bins: int, n_tracks: int) -> int:
    """Of so many bins of a record one is kept for ranks."""
    return max(-(-n_bins * n_tracks // MOST_RANKED), 1)


class SignalTally:
    """The answers of one model, of the ``tracks`` of the data's ``output``.

    Attributes:
        taught: prediction and target as the model was taught them.
        measured: the same with the target's transform undone.
        crossed: of pairs of replicates.
        sums: of genes, on the scale that was measured; None without genes.
        levels: of each piece its record, start, end, and the mean of log2(1 + x) of what was measured.
    """

    def __init__(
        self,
        output: Output,
        tracks: Sequence[int],
        pairs: Sequence[Pair] = (),
        genes: Genes | None = None,
        every: int = 1,
    ) -> None:
        self._output, self._tracks, self._genes, self._every = output, list(tracks), genes, every
        n = len(tracks)
        self.taught, self.measured, self.crossed = Moments(n), Accuracy(n), Crossed(pairs)
        self.sums = GeneSums(len(genes), n) if genes else None
        self.levels: list[tuple[int, int, int, float]] = []
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]] = []

    def add(
        self,
        piece: Piece,
        predictions: Float[np.ndarray, "bins tracks"],
        targets: Float[np.ndarray, "bins tracks"],
        valid: Bool[np.ndarray, " bins"],
    ) -> None:
        """All bins of a piece, in model space; what is not valid does not count."""
        scale = (self._output, self._tracks)
        said, seen = (untransformed(x.astype(np.float64), *scale) for x in (predictions, targets))
        self.taught.add(predictions[valid], targets[valid])
        self.measured.add(said[valid], seen[valid])
        self.crossed.add(said[valid], seen[valid])
        if self._genes is not None and self.sums is not None:
            gene, at = self._genes.within(piece, self._output.resolution)
            self.sums.add(gene, said[at], seen[at], valid[at])
        self.levels.append((*piece, float(log2_of(seen[valid]).mean()) if valid.any() else 0.0))
        first = piece.start // self._output.resolution
        kept = np.flatnonzero(valid & ((np.arange(len(valid)) + first) % self._every == 0))
        self._kept.append((first + kept, predictions[kept].astype(np.float32), targets[kept].astype(np.float32)))

    def kept(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Of bins that are kept for ranks: which of its record each is, and what was predicted and taught."""
        if len(self._kept) > 1:
            first, second, third = (np.concatenate(x) for x in zip(*self._kept, strict=True))
            self._kept = [(first, second, third)]
        if not self._kept:
            none = np.zeros((0, len(self._tracks)), dtype=np.float32)
            return np.zeros(0, dtype=np.int64), none, none
        return self._kept[0]

    def as_measured(self, values: Float[np.ndarray, "bins tracks"]) -> Float[np.ndarray, "bins tracks"]:
        """What was predicted or taught on the scale that was measured, in float64."""
        return untransformed(values.astype(np.float64), self._output, self._tracks)

    def as_counts(self, targets: Float[np.ndarray, "bins tracks"]) -> Float[np.ndarray, "bins tracks"]:
        """What was measured, summed over a bin where the data have its mean or median."""
        kinds = [self._output.tracks[i].transform for i in self._tracks]
        per_base = [kind is not None and kind.statistic in ("mean", "median") for kind in kinds]
        return self.as_measured(targets) * np.where(per_base, self._output.resolution, 1)

    def to_bytes(self) -> bytes:
        """All of it."""
        bins, predictions, targets = self.kept()
        arrays: dict[str, NDArray[Any]] = {
            "taught": self.taught.to_array(),
            "measured": self.measured.to_array(),
            "crossed": self.crossed.accuracy.to_array(),
            "levels": np.array(self.levels),
            "bins": bins,
            "predictions": predictions,
            "targets": targets,
        }
        if self.sums is not None:
            some = np.flatnonzero(
                (self.sums.predicted != 0).any(axis=1) | (self.sums.measured != 0).any(axis=1) | (self.sums.missing > 0)
            )
            arrays |= {
                "genes": some,
                **{f"gene_{name}": getattr(self.sums, name)[some] for name in ("predicted", "measured", "missing")},
            }
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        return content.getvalue()

    def add_bytes(self, payload: bytes) -> None:
        """What ``to_bytes`` gave of other pieces."""
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            self.taught.merge(Moments.of_array(arrays["taught"]))
            self.measured.merge(Accuracy.of_array(arrays["measured"]))
            self.crossed.accuracy.merge(Accuracy.of_array(arrays["crossed"]))
            self.levels += [(int(a), int(b), int(c), float(level)) for a, b, c, level in arrays["levels"]]
            self._kept.append((arrays["bins"], arrays["predictions"], arrays["targets"]))
            if self.sums is not None:
                for name in ("predicted", "measured", "missing"):
                    getattr(self.sums, name)[arrays["genes"]] += arrays[f"gene_{name}"]
