"""What is kept of a model's answers on labelled records: enough to measure it, and any resampling of its records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy.typing import NDArray

from basecast.data.store import Sites
from basecast.evaluation import metrics
from basecast.evaluation.metrics import SiteScores

_COLUMNS: dict[str, str] = {
    "record": "int64",
    "label": "uint8",
    "motif": "uint8",
    "intron": "int32",
    "place": "uint8",
    "probability": "float32",
}


class Found(NamedTuple):
    """Every site, with what the store knows of it and the probability that the model gives its class there."""

    record: Integer[np.ndarray, " sites"]
    label: Integer[np.ndarray, " sites"]
    motif: Integer[np.ndarray, " sites"]
    intron: Integer[np.ndarray, " sites"]
    place: Integer[np.ndarray, " sites"]
    probability: Float[np.ndarray, " sites"]


class Tally:
    """The answers of one model on ``n_records`` records, one class of ``n_classes`` a position; class 0 is no site.

    Attributes:
        positions: labelled positions of each record.
        confusion: of each record, true class by class of highest probability.
        likelihood, brier: of each record, summed over its positions: negative log-likelihood, Brier score.
        scores: of each class but the first.
    """

    def __init__(self, n_records: int, n_classes: int, capacity: int | None = None) -> None:
        self.positions = np.zeros(n_records, dtype=np.int64)
        self.confusion = np.zeros((n_records, n_classes, n_classes), dtype=np.int64)
        self.likelihood, self.brier = np.zeros(n_records), np.zeros(n_records)
        self.scores = [SiteScores(capacity) if capacity else SiteScores() for _ in range(n_classes - 1)]
        self._found: list[Found] = []

    def add(
        self,
        record: int,
        probabilities: Float[np.ndarray, "positions classes"],
        labels: Integer[np.ndarray, " positions"],
        valid: Bool[np.ndarray, " positions"],
        sites: Sites,
    ) -> None:
        """All positions of one record; what is not valid does not count."""
        known, true = probabilities[valid], labels[valid]
        self.positions[record] = true.size
        self.confusion[record] = metrics.confusion(known, true)
        self.likelihood[record] = metrics.negative_log_likelihood(known, true)
        self.brier[record] = metrics.brier(known, true)
        for number, scores in enumerate(self.scores, 1):
            scores.add(known[:, number], true == number, record)
        kept = valid[sites.position]
        label = sites.label[kept]
        self._found.append(
            Found(
                np.full(label.size, record, dtype=np.int64),
                label,
                sites.motif[kept],
                sites.intron[kept],
                sites.place[kept],
                probabilities[sites.position[kept], label].astype(np.float32),
            )
        )

    @property
    def found(self) -> Found:
        """The sites of all records."""
        columns = [np.concatenate(x) for x in zip(*self._found, strict=True)] if self._found else []
        return Found(*(columns or [np.zeros(0, dtype=kind) for kind in _COLUMNS.values()]))

    def to_bytes(self, records: Sequence[int]) -> bytes:
        """What is kept of these records, which are all that were added."""
        at = np.array(records, dtype=np.int64)
        arrays: dict[str, NDArray[np.generic]] = {
            "records": at,
            **{name: getattr(self, name)[at] for name in ("positions", "confusion", "likelihood", "brier")},
            **{f"site_{name}": column for name, column in self.found._asdict().items()},
        }
        for number, scores in enumerate(self.scores, 1):
            arrays |= {f"class_{number}_{name}": x for name, x in scores.arrays().items()}
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        return content.getvalue()

    def add_bytes(self, payload: bytes) -> None:
        """What ``to_bytes`` gave of records that are not here yet."""
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            at = arrays["records"]
            for name in ("positions", "confusion", "likelihood", "brier"):
                getattr(self, name)[at] = arrays[name]
            self._found.append(Found(*(arrays[f"site_{name}"] for name in Found._fields)))
            for number, scores in enumerate(self.scores, 1):
                begin = f"class_{number}_"
                given = {name.removeprefix(begin): arrays[name] for name in arrays.files if name.startswith(begin)}
                scores.merge(SiteScores.of_arrays(given))
