"""The kernels of a run: found once, in its plan, and taken on by whoever goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import engine_of, on, values
from toys import package_of

from basecast.errors import UsageError
from basecast.inference.engine import Engine
from basecast.inference.jobs import Job, Shard, carry_out, parts_of
from basecast.inference.native import library
from basecast.inference.shards import RunSettings
from basecast.inference.tuning import Tuning

compiled = pytest.mark.skipif(not library.available(), reason="installed without the compiled kernels")


def other(tuning: Tuning) -> Tuning:
    """A table that prefers the direct method everywhere."""
    return tuning.model_copy(update={"nanoseconds": {name: {"direct": 1.0} for name in tuning.nanoseconds}})


class Asked:
    """Two shards of requests to an engine; the second fails until it is told not to."""

    def __init__(self, engine: Engine, fails: bool = False) -> None:
        self.engine, self.fails = engine, fails

    def shards(self) -> Iterator[Shard]:
        yield 0, [100]
        yield 1, [900]

    def worker(self, items: list[Any]) -> bytes:
        if self.fails and items == [900]:
            raise ValueError("stopped here")
        self.engine.forget()
        return values(self.engine, on(items[0], items[0] + 300)).tobytes()

    def run(self, folder: Path, **settings: Any) -> dict[str, Any]:
        job = Job({"model": "x"}, {}, self.shards, self.worker, {}, engine=self.engine)
        run = RunSettings(**settings)
        with parts_of(job, str(folder / "out"), run) as parts:
            carry_out(job, parts, run)
            return json.loads((parts.folder / "plan.json").read_text())


@compiled
@pytest.mark.parametrize("split", [None, "2/2"])
def test_who_goes_on_takes_the_kernels_of_the_plan(split: str | None, tmp_path: Path) -> None:
    package = package_of("spliceai", seed=5)
    begun = other(engine_of(package).tuning)
    first = engine_of(package, tuning=begun)
    if split:
        plan = Asked(first).run(tmp_path, split="1/2")
    else:
        with pytest.raises(ValueError, match="stopped here"):
            Asked(first, fails=True).run(tmp_path)
        plan = json.loads((tmp_path / "out.basecast" / "plan.json").read_text())
    assert plan["chosen"]["kernels"] == begun.model_dump(mode="json")
    second = engine_of(package)
    assert second.tuning != begun
    assert Asked(second).run(tmp_path, split=split)["chosen"] == plan["chosen"]
    assert second.tuning == begun
    np.testing.assert_array_equal(values(second, on(900, 1200)), values(first, on(900, 1200)))


@compiled
def test_a_pinned_table_that_is_not_the_plan_s_is_refused(tmp_path: Path) -> None:
    package = package_of("spliceai")
    found = engine_of(package).tuning
    with pytest.raises(ValueError, match="stopped here"):
        Asked(engine_of(package), fails=True).run(tmp_path)
    with pytest.raises(UsageError, match=r"another kernel table than --tuning names: .* --restart"):
        Asked(engine_of(package, tuning=other(found))).run(tmp_path)
    Asked(engine_of(package, tuning=found)).run(tmp_path)


def test_a_batch_that_did_not_fit_is_in_the_plan_and_not_tried_again(tmp_path: Path) -> None:
    engine = engine_of(package_of("spliceai"))
    forward = engine._forward

    def greedy(batch: list[Any], *rest: Any) -> Any:
        if len(batch) > 2:
            raise MemoryError
        return forward(batch, *rest)

    engine._forward = greedy  # type: ignore[method-assign]
    asked = Asked(engine)
    asked.worker = lambda items: bytes(len(engine.evaluate([on(s, s + 50) for s in range(0, 800, 100)])))  # type: ignore[method-assign]
    plan = asked.run(tmp_path)
    assert plan["notes"] == {"largest batch": 2}
    later = engine_of(package_of("spliceai"))
    assert later.largest_batch > 2
    Asked(later).run(tmp_path)
    assert later.largest_batch == 2
