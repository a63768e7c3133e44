"""Kernel tables: read, written, refused, and what they decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from altering import COMPILED, CONFIGS, DTYPES, network_of, package, program_for, table
from asking import engine_of, on, values
from torch import nn
from toys import graph_package

from basecast.errors import InputError, UsageError
from basecast.inference import tuning as tuning_module
from basecast.inference.native import library
from basecast.inference.native.library import DIRECT, SIZES
from basecast.inference.program import Step
from basecast.inference.tuning import Tuning, _name, measured

CPU = torch.device("cpu")
compiled = pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels for this machine")


def step_of(taps: int, dilation: int, inputs: int = 8, outputs: int = 8) -> Step:
    weight = torch.zeros(outputs, inputs, taps, dtype=torch.float64)
    return Step(0, weight, weight[:, 0, 0], dilation, dilation * (taps - 1) // 2, 0)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where Basecast was installed without its kernels."""

    def missing() -> Any:
        raise OSError("no such file")

    library.available.cache_clear()
    monkeypatch.setattr(library, "_library", missing)
    yield
    monkeypatch.undo()
    library.available.cache_clear()


def test_a_table_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    there = Tuning(instructions="avx2", nanoseconds={"11x32x32 fp32": {"direct": 17.25, "64": 1e-3, "128": 3.0}})
    there.write(tmp_path / "kernels.json")
    assert Tuning.read(tmp_path / "kernels.json") == there
    assert json.loads((tmp_path / "kernels.json").read_text()) == there.model_dump(mode="json")
    Tuning().write(tmp_path / "torch.json")
    assert Tuning.read(tmp_path / "torch.json") == Tuning()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"speed": 3}',
        b'{"instructions": 5}',
        b'{"nanoseconds": {"11x32x32 fp32": 3}}',
        b'{"nanoseconds": {"11x32x32 fp32": {"direct": "fast"}}}',
        b">chr1\nACGT\n",
        b"\x1f\x8b\x08\x00\xff\xfe",
    ],
    ids=["empty", "cut", "list", "null", "other", "number", "flat", "word", "fasta", "binary"],
)
def test_a_file_that_is_no_table_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"kernels\.json is no kernel table .*give another path to have one"):
        Tuning.read(path)


@compiled
@pytest.mark.parametrize(
    "costs",
    [{}, {"banana": 1.0}, {"48": 1.0}, {"-32": 1.0}, {"32": 1.0}],
    ids=["none", "a_word", "no_power", "negative", "less_than_the_taps"],
)
def test_methods_that_there_are_not_are_refused_before_anything_runs(costs: dict[str, float]) -> None:
    """A block of fewer rows than the layer has taps, or of a size that is none, has no transform."""
    network = network_of(CONFIGS["long_taps"])
    program = program_for(network)
    good = table(program, COMPILED[0], "fp32")
    (long,) = {_name(step, COMPILED[0], "fp32") for step in program.steps if step.weight.shape[2] == 41}
    good.check([program], CPU, "fp32")
    with pytest.raises((UsageError, InputError), match="kernel table"):
        Tuning(instructions=COMPILED[0], nanoseconds={**good.nanoseconds, long: costs}).check([program], CPU, "fp32")


@compiled
def test_a_table_of_another_machine_model_precision_or_device_is_refused() -> None:
    program = program_for(network_of(CONFIGS["tiny"]))
    here = table(program, COMPILED[0], "fp32")
    with pytest.raises(UsageError, match=r"measured with avx1024, this machine has \w+.*: pin one .* --tuning FILE"):
        here.model_copy(update={"instructions": "avx1024"}).check([program], CPU, "fp32")
    with pytest.raises(UsageError, match=r"no layer .*measured for another model or precision"):
        here.check([program], CPU, "fp64")
    with pytest.raises(UsageError, match=r"no layer .*measured for another model or precision"):
        here.check([program_for(network_of(CONFIGS["wide"]))], CPU, "fp32")
    with pytest.raises(UsageError, match=r"table is of a CPU .* this run is on cuda"):
        here.check([program], torch.device("cuda"), "fp32")
    here.check([program], CPU, "bf16")
    Tuning().check([program], torch.device("cuda"), "fp32")
    with pytest.raises(UsageError, match="measured for another model"):
        engine_of(package(CONFIGS["wide"]), tuning=here).evaluate([on(100, 200)])
    with pytest.raises(UsageError, match="avx1024"):
        engine_of(package(CONFIGS["tiny"])).use(here.model_copy(update={"instructions": "avx1024"}))


def test_without_compiled_kernels_the_remedy_says_so(no_library: None) -> None:
    with pytest.raises(UsageError, match="installed without its compiled kernels"):
        Tuning(instructions="avx512").check([], CPU, "fp32")


def test_the_cheapest_method_by_hand() -> None:
    """Five taps: a block of 32 rows gives 28, one of 64 gives 60; of dilation 3 each third row is a sequence."""
    dense, wide = step_of(5, 1), step_of(5, 3)
    costs = {"direct": 1.0, "32": 10.0, "64": 15.0}
    chosen = Tuning(instructions="avx2", nanoseconds={_name(dense, "avx2", "fp32"): costs})
    outputs = np.array([1, 9, 11, 28, 29, 60, 61, 88, 89])
    expected = [DIRECT, DIRECT, 32, 32, 64, 64, 32, 64, 64]  # of equal ones the first
    assert chosen.compiled(dense, outputs, "fp32").tolist() == expected
    for n, method in zip(outputs, chosen.compiled(wide, outputs, "fp32"), strict=True):
        phases = [len(range(phase, n, 3)) for phase in range(3)]
        each = {DIRECT: float(n)} | {
            size: cost * sum(-(-rows // (size - 4)) for rows in phases) for size, cost in ((32, 10.0), (64, 15.0))
        }
        assert each[int(method)] == min(each.values())
    assert len(set(chosen.compiled(wide, np.arange(400), "fp32"))) > 1


def test_torch_s_ways_by_hand() -> None:
    step = step_of(5, 3)
    name = _name(step, "", "bf16")
    assert not Tuning().is_flat(step, "bf16")
    assert not Tuning(nanoseconds={name: {"conv1d": 1, "conv2d": 2}}).is_flat(step, "bf16")
    faster = Tuning(nanoseconds={name: {"conv1d": 2, "conv2d": 1}})
    assert faster.is_flat(step, "bf16")
    assert not faster.is_flat(step, "fp32"), "what is measured in one precision says nothing of another"
    assert not faster.is_flat(step_of(5, 1), "bf16")


@compiled
@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
def test_what_is_measured_is_each_layer_once(precision: str, own_cache: Path) -> None:
    programs = [program_for(network_of(CONFIGS[name])) for name in ("tiny", "tiny", "one_base_stages")]
    found = measured(programs, CPU, precision)
    assert found.instructions == COMPILED[0]
    layers = {tuple(step.weight.shape) for program in programs for step in program.steps}
    assert len(found.nanoseconds) == len(layers)
    for costs in found.nanoseconds.values():
        assert "direct" in costs
        assert all(0 < cost < 1e9 for cost in costs.values())
        assert {int(size) for size in costs if size != "direct"} <= set(SIZES)
    found.check(programs, CPU, precision)
    assert measured(programs, CPU, precision) == found, "what is measured is remembered"


def test_what_is_measured_of_torch(own_cache: Path, no_library: None) -> None:
    programs = [program_for(network_of(CONFIGS["tiny"]))]
    found = measured(programs, CPU, "fp32")
    assert found.instructions == ""
    assert all(costs.keys() == {"conv1d", "conv2d"} for costs in found.nanoseconds.values())
    assert len(found.nanoseconds) == len({_name(step, "", "fp32") for step in programs[0].steps})
    assert measured(programs, CPU, "fp64") == Tuning()
    assert measured([], CPU, "fp32") == Tuning()


@pytest.mark.parametrize("precision", DTYPES)
def test_a_missing_library_changes_no_value(precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path))
    chosen = package(CONFIGS["80nt"])
    before = values(engine_of(chosen, precision=precision), on(100, 400))

    def missing() -> Any:
        raise OSError("no such file")

    library.available.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(library, "_library", missing)
        engine = engine_of(chosen, precision=precision)
        after = values(engine, on(100, 400))
        assert engine.tuning.instructions == ""
    library.available.cache_clear()
    tolerance = {"fp64": 1e-10, "fp32": 1e-5}[precision] * np.abs(before).max()
    np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)
    assert np.ptp(before) > 1e-2


@compiled
def test_the_same_table_gives_the_same_bytes_whatever_the_machine_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = package(CONFIGS["wide"])
    pinned = table(program_for(chosen.networks[0]), COMPILED[-1], "fp32")

    def fail(*_: Any) -> Any:
        raise AssertionError("nothing is measured where a table is given")

    monkeypatch.setattr(tuning_module, "_compiled", fail)
    first, second = (values(engine_of(chosen, tuning=pinned), on(100, 400)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    engine = engine_of(chosen)
    engine.use(Tuning.model_validate_json(pinned.model_dump_json()))
    np.testing.assert_array_equal(values(engine, on(100, 400)), first)
    assert engine.tuning == pinned
    assert np.ptp(first) > 1e-2


@compiled
def test_one_table_for_several_packages() -> None:
    programs = [program_for(network_of(CONFIGS[name])) for name in ("tiny", "wide")]
    tables = [table(program, COMPILED[0], "fp32").nanoseconds for program in programs]
    both = Tuning(instructions=COMPILED[0], nanoseconds=tables[0] | tables[1])
    both.check(programs, CPU, "fp32")
    assert both.instructions == COMPILED[0]


def test_a_graph_of_which_one_package_is_for_torch_is_run() -> None:
    """The first has an activation that the library does not know, the second is no program at all."""
    graph = graph_package()
    for unit in graph.nodes["first"].networks[0].units:
        unit.activation1, unit.activation2 = nn.GELU(), nn.GELU()
    exact, found = (values(engine_of(graph, precision=p), on(100, 200), "rate") for p in ("fp64", "fp32"))
    np.testing.assert_allclose(found, exact, rtol=1e-4)
    assert np.abs(exact - values(engine_of(graph_package(), precision="fp64"), on(100, 200), "rate")).max() > 1e-3


def test_a_torch_table_of_another_model_is_refused() -> None:
    program = program_for(network_of(CONFIGS["tiny"]))
    good = {_name(step, "", "fp32"): {"conv1d": 2.0, "conv2d": 1.0} for step in program.steps}
    Tuning(nanoseconds=good).check([program], CPU, "fp32")
    for bad in ({"9d9x9x9 fp32": {"conv1d": 1.0}}, {name: {"banana": 1.0} for name in good}):
        with pytest.raises(UsageError, match="kernel table"):
            Tuning(nanoseconds=bad).check([program], CPU, "fp32")
