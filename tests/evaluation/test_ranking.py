"""Rankings with weights of records, against the records copied."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from basecast.evaluation import metrics
from basecast.evaluation import ranking as ranks
from basecast.evaluation.metrics import top_k_accuracy
from basecast.evaluation.ranking import Ranking

RNG = np.random.default_rng(0)


def positions(n: int, n_sites: int, decimals: int = 9) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores that tell sites from others, but not always; few ``decimals`` make ties."""
    rng = np.random.default_rng(1)
    is_site = np.arange(n) % (n // n_sites) == 0
    scores = 1 / (1 + np.exp(6 - rng.normal(0, 2, n) - is_site * rng.normal(8, 3, n)))
    return np.round(scores, decimals).astype(np.float32), is_site


@pytest.mark.parametrize("full", [0, 1000], ids=["by entries", "by tables"])
@pytest.mark.parametrize("decimals", [9, 2])
def test_weights_of_records_are_copies_of_them(decimals: int, full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_FULL", full)
    scores, is_site = positions(5_000, 200, decimals)
    record = np.sort(RNG.integers(0, 20, 5_000)).astype(np.int32)
    weights = RNG.integers(0, 4, (20, 3))
    ranking = Ranking.of(scores, is_site, record, np.zeros(20, dtype=np.int64))
    found = ranking.measured(metrics.TOP, weights)
    for draw in range(3):
        copied = np.repeat(np.arange(5_000), weights[record, draw])
        expected = [average_precision_score(is_site[copied], scores[copied])]
        expected += [top_k_accuracy(scores[copied], is_site[copied], k) for k in metrics.TOP]
        np.testing.assert_allclose(found[:, draw], expected, rtol=0, atol=1e-12)
    assert len(set(found[2])) == 3


def test_many_draws_are_those_that_are_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, is_site = positions(2_000, 60)
    ranking = Ranking.of(scores, is_site, np.arange(2_000, dtype=np.int32) // 100, np.zeros(20, dtype=np.int64))
    weights = RNG.multinomial(20, np.full(20, 0.05), size=7).T
    whole = ranking.measured((1.0,), weights)
    monkeypatch.setattr(ranks, "_AT_ONCE", 6 * ranking.n_steps)
    alone = np.hstack([ranking.measured((1.0,), weights[:, [i]]) for i in range(7)])
    for found in (ranking.measured((1.0,), weights), alone):
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-14)
    assert np.ptp(whole[0]) > 0.01
