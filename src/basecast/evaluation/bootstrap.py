"""How sure a number is: records are drawn again and again, with replacement, and everything is measured anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

_LEVEL = 95.0


def draws(sizes: Sequence[int], n: int, seed: int) -> Int[np.ndarray, "records draws"]:
    """How often each record is counted: once in the first column, then in each of ``n`` draws.

    Args:
        sizes: records of each data set; of each as many are drawn as it has.
        seed: of the draws; the same for models that are to be compared pair by pair.
    """
    rng = np.random.default_rng(seed)
    each = [rng.multinomial(size, np.full(size, 1 / size), size=n).T for size in sizes if size]
    drawn = np.concatenate([np.zeros((0, n), dtype=np.int64), *each]).astype(np.int32)
    return np.concatenate([np.ones((len(drawn), 1), dtype=np.int32), drawn], axis=1)


def interval(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The middle 95 % of what the draws gave; nan where none gave a number."""
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [(100 - _LEVEL) / 2, (100 + _LEVEL) / 2])
    return float(low), float(high)
