"""What the engine promises beyond the matrix: values, calibration, graphs, errors that name the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from asking import HALF, TOKENS, engine_of, on, values, with_spec
from torch import Tensor, nn
from toys import RATE, Signal, graph_package, package_of, request_of

from basecast.errors import InputError, UsageError
from basecast.genome.sequence import encode, reverse_complement
from basecast.genome.source import Text
from basecast.inference.engine import Engine
from basecast.inference.native import library
from basecast.inference.request import Request, flip
from basecast.inference.tuning import Tuning
from basecast.spec import (
    Calibration,
    Input,
    LocalReach,
    Member,
    ModelSpec,
    Node,
    Output,
    ReverseComplement,
    Track,
)
from basecast.zoo.package import Package


def test_what_is_not_known_of_a_track_is_the_missing_value() -> None:
    package = package_of("toy_track")
    level = np.zeros((2, 4000))
    level[:, 120:130] = np.nan
    filled = np.where(np.isnan(level), -1.0, level)
    ask = [on(100, 150, tracks={"conservation": Signal(x)}) for x in (level, filled, np.zeros((2, 4000)))]
    unknown, missing, zeros = (found["rate"] for found in engine_of(package).evaluate(ask))
    np.testing.assert_array_equal(unknown, missing)
    assert np.abs(unknown - zeros).max() > 1e-3


def test_outside_a_contig_is_n() -> None:
    engine = engine_of(package_of("spliceai"))
    outside = Text("N" * 60 + "ACGTTGCATC" * 3, start=-60)
    np.testing.assert_array_equal(
        values(engine, Request(Text("ACGTTGCATC" * 3), "sequence", -20, 10)),
        values(engine, Request(outside, "sequence", -20, 10)),
    )


def test_precisions_are_close_and_not_the_same() -> None:
    """By torch's kernels: compiled ones compute in single precision where bf16 is allowed."""
    package = package_of("spliceai", seed=5)
    found = {
        p: values(engine_of(package, precision=p, tuning=Tuning()), on(100, 600)) for p in ("fp64", "fp32", "bf16")
    }
    assert found["fp64"].dtype == np.float64
    assert found["fp32"].dtype == found["bf16"].dtype == np.float32
    assert 0 < np.abs(found["fp32"] - found["fp64"]).max() < 1e-5
    assert 1e-5 < np.abs(found["bf16"] - found["fp64"]).max() < 0.1
    assert np.ptp(found["fp64"][:, 1]) > 0.05


@pytest.mark.skipif(not library.available(), reason="there are no compiled kernels for this machine")
def test_compiled_kernels_compute_bf16_in_single_precision() -> None:
    package = package_of("spliceai", seed=5)
    fp32, bf16 = (values(engine_of(package, precision=p), on(100, 600)) for p in ("fp32", "bf16"))
    np.testing.assert_array_equal(bf16, fp32)
    assert np.ptp(fp32[:, 1]) > 0.05


def test_a_package_is_left_as_it_was() -> None:
    package = package_of("spliceai")
    network = package.networks[0].half().train().requires_grad_(True)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    threads = torch.get_num_threads()
    found = values(engine_of(package, precision="fp64", mode="full", threads=threads + 1), on(0, 500))
    assert torch.get_num_threads() == threads
    assert network.training
    assert all(parameter.requires_grad and parameter.dtype == torch.float16 for parameter in network.parameters())
    assert all(m.training for m in network.modules())
    assert all(m.padding == (0,) for m in network.modules() if isinstance(m, nn.Conv1d))
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    network.float().eval()
    np.testing.assert_allclose(values(engine_of(package, precision="fp64"), on(0, 500)), found, rtol=0, atol=1e-12)


def test_members_are_averaged_where_they_list_an_output() -> None:
    package = package_of("toy_mixing", members=3, seed=2)
    listed = (("splice", "coverage", "contacts", "junctions"), ("coverage",), ("coverage", "contacts"))
    members = tuple(Member(file=f"m{i}", outputs=names) for i, names in enumerate(listed))
    mixed = with_spec(package, members=members)
    request = request_of(package, Text(TOKENS), 512, 1024)
    together = engine_of(mixed, precision="fp64").evaluate([request])[0]
    alone = []
    for network in package.networks:
        single = Package(package_of("toy_mixing").spec, (network,))
        alone.append(engine_of(single, precision="fp64").evaluate([request])[0])
    for name, found in together.items():
        mean = np.mean([alone[i][name] for i in range(3) if name in listed[i]], axis=0)
        np.testing.assert_allclose(found, mean, rtol=0, atol=1e-12)
    assert np.abs(alone[0]["coverage"] - alone[1]["coverage"]).max() > 1e-3
    one_hot = torch.eye(4)[torch.from_numpy(TOKENS[384:1152].astype(np.int64))].T[None]
    logits = mixed.network(one_hot, {"organism": torch.tensor([0])})
    np.testing.assert_allclose(torch.softmax(logits["splice"], 1)[0].T, together["splice"], atol=1e-5)
    np.testing.assert_allclose(nn.functional.softplus(logits["coverage"])[0].T, together["coverage"], atol=1e-5)


@pytest.mark.parametrize("temperature", [(2.0,), (0.5, 1.0, 4.0)])
@pytest.mark.parametrize("members", [1, 3])
def test_calibration_divides_the_mean_logits_before_the_link_or_is_ignored(
    temperature: tuple[float, ...], members: int
) -> None:
    package = package_of("spliceai", members=members)
    hot = with_spec(package, calibration=Calibration(temperature={"splice": temperature}))
    one_hot = torch.eye(4, dtype=torch.float64)[torch.from_numpy(TOKENS[: 2 * HALF + 300].astype(np.int64))].T[None]
    divisor = torch.tensor(temperature, dtype=torch.float64)[:, None]
    logits = [network.double()(one_hot)[0] for network in package.networks]
    expected = torch.softmax(torch.stack(logits).mean(0) / divisor, 0).T
    request = on(HALF, HALF + 300)
    calibrated = values(engine_of(hot, precision="fp64"), request)
    np.testing.assert_allclose(calibrated, expected, rtol=0, atol=1e-12)
    if len(temperature) == 1:  # of an ensemble it is on its mean log-probability
        pooled = torch.stack([torch.log_softmax(x, 0) for x in logits]).mean(0) / temperature[0]
        np.testing.assert_allclose(calibrated, torch.softmax(pooled, 0).T, rtol=0, atol=1e-12)
    ignored = values(engine_of(hot, precision="fp64", calibrated=False), request)
    np.testing.assert_array_equal(ignored, values(engine_of(package, precision="fp64"), request))
    assert np.abs(calibrated - ignored).max() > 1e-3
    some = engine_of(hot, precision="fp64").evaluate([request], tracks={"splice": [2, 0]})[0]["splice"]
    np.testing.assert_allclose(some, calibrated[:, [2, 0]], rtol=0, atol=1e-12)


def test_a_temperature_a_track_follows_the_tracks_chosen() -> None:
    package = package_of("toy_binned")
    hot = with_spec(package, calibration=Calibration(temperature={"coverage": (0.25, 1.0, 4.0)}))
    engine = engine_of(hot, precision="fp64")
    whole = engine.evaluate([on(100, 180)])[0]["coverage"]
    some = engine.evaluate([on(100, 180)], tracks={"coverage": [2, 0]})[0]["coverage"]
    np.testing.assert_allclose(some, whole[:, [2, 0]], rtol=0, atol=1e-12)
    plain = values(engine_of(package, precision="fp64"), on(100, 180), "coverage")
    assert np.abs(plain - whole).max(axis=0)[0] > 1e-3
    assert np.abs(plain - whole).max(axis=0)[1] == 0


def test_a_graph_of_three_packages() -> None:
    """The second reads the first and the third reads the second: values are those of running them by hand."""
    two = graph_package()
    third = package_of("toy_track", seed=8)
    fed = Input(name="conservation", kind="scores", channels=2, node="second", output="rate")
    third = with_spec(third, inputs=(Input(name="sequence"), fed))
    nodes = {**two.nodes, "third": third}
    spec = two.spec.model_copy(update={"nodes": tuple(Node(name=name, package=name) for name in nodes)})
    whole = values(engine_of(Package(spec, nodes=nodes), precision="fp64"), on(200, 240), "rate")
    seconds = values(engine_of(two, precision="fp64"), on(196, 244), "rate")
    one_hot = torch.eye(4, dtype=torch.float64)[torch.from_numpy(TOKENS[196:244].astype(np.int64))].T[None]
    logits = third.networks[0].double()(one_hot, {"conservation": torch.from_numpy(seconds.T.copy())[None]})
    np.testing.assert_allclose(whole, logits.exp()[0].T, rtol=1e-10)
    assert np.ptp(whole) > 1e-2


def fed_by_a_track_model(shift: int) -> Package:
    first = package_of("toy_track", seed=1)
    rule = ReverseComplement(shift=shift)
    first = with_spec(first, outputs=(RATE.model_copy(update={"reverse_complement": rule}),))
    fed = Input(name="conservation", kind="scores", channels=2, node="first", output="rate")
    second = with_spec(package_of("toy_track", seed=2), inputs=(Input(name="sequence"), fed))
    nodes = (Node(name="first", package="first"), Node(name="second", package="second"))
    spec = ModelSpec(
        name="g", licence="MIT", nodes=nodes, reach=LocalReach(left=8, right=8), outputs=second.spec.outputs
    )
    return Package(spec, nodes={"first": first, "second": second})


@pytest.mark.parametrize("shift", [0, 3, -2])
def test_tracks_reach_the_nodes_of_a_graph_on_both_strands(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    package = fed_by_a_track_model(shift)
    level = np.random.default_rng(3).normal(size=(2, 4000))

    def ask(tokens: np.ndarray, level: np.ndarray, start: int, end: int, strand: str) -> np.ndarray:
        request = on(start, end, strand, tokens, tracks={"conservation": Signal(level)})
        return values(engine_of(package, precision="fp64"), request, "rate")

    minus = ask(TOKENS, level, 1000, 1040, "-")
    plus = ask(reverse_complement(TOKENS), level[:, ::-1], 4000 - 1040, 4000 - 1000, "+")
    np.testing.assert_allclose(minus, plus[::-1], rtol=1e-10)
    assert np.abs(minus - ask(TOKENS, level, 1000, 1040, "+")).max() > 1e-2
    monkeypatch.setattr(Engine, "longest_tile", 7)
    np.testing.assert_allclose(ask(TOKENS, level, 1000, 1040, "-"), minus, rtol=1e-10)


def test_pairs_of_positions_are_those_of_the_stretch() -> None:
    package = package_of("toy_mixing")
    engine = engine_of(package, precision="fp64")
    wide = engine.evaluate([request_of(package, Text(TOKENS), 512, 1024)])[0]["contacts"]
    narrow = engine.evaluate([request_of(package, Text(TOKENS), 640, 896)])[0]["contacts"]
    assert wide.shape == (4, 4, 2)
    np.testing.assert_allclose(narrow, wide[1:3, 1:3], rtol=0, atol=1e-12)
    assert np.ptp(narrow) > 1e-3
    for name in ("contacts", "junctions"):
        with pytest.raises(UsageError, match=f"{name} of toy_mixing is given a window at a time"):
            engine.evaluate([request_of(package, Text(TOKENS), 512, 2048)], [name])
    assert engine.evaluate([request_of(package, Text(TOKENS), 512, 2048)], ["splice"])[0]["splice"].shape == (1536, 2)


@pytest.mark.parametrize(
    ("outputs", "tracks", "words"),
    [
        (["psi"], None, r"spliceai has no output 'psi', only \['splice'\]"),
        (None, {"psi": [0]}, r"spliceai has no output 'psi'"),
        (None, {"splice": [3]}, r"splice of spliceai has tracks 0 to 2, not \[3\]"),
        (None, {"splice": [-1]}, r"tracks 0 to 2"),
    ],
)
def test_outputs_and_tracks_that_the_model_does_not_have(
    outputs: list[str] | None, tracks: dict[str, list[int]] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        engine_of(package_of("spliceai")).evaluate([on(0, 100)], outputs, tracks)


def test_conditions_and_inputs_that_are_missing() -> None:
    mixing = engine_of(package_of("toy_mixing"))
    for given in ({}, {"organism": "yeast"}):
        with pytest.raises(UsageError, match="needs organism, one of human, mouse"):
            mixing.evaluate([on(512, 1024, conditions=given)])
    with pytest.raises(UsageError, match="needs the input track 'conservation'"):
        engine_of(package_of("toy_track")).evaluate([on(0, 100)])
    with pytest.raises(UsageError, match="fed with scores of 'first'"):
        engine_of(package_of("toy_refiner")).evaluate([on(0, 100)])


def test_options_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no mode 'full'"):
        engine_of(package_of("toy_mixing"), mode="full")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="device cuda is not there"):
        engine_of(package_of("spliceai"), device="cuda")
    with pytest.raises(ValueError, match="whole number"):
        engine_of(package_of("toy_binned")).evaluate([on(0, 6)])


@pytest.mark.parametrize(
    "changes",
    [
        {"reach": LocalReach(left=HALF - 1, right=HALF)},
        {"reach": LocalReach(left=HALF, right=HALF + 4)},
        {"outputs": (Output(name="splice", tracks=tuple(Track(name=n) for n in "nad"), crop=1),)},
    ],
)
def test_a_config_that_is_not_this_network_s_is_found_out(changes: dict[str, Any]) -> None:
    package = with_spec(package_of("spliceai"), **changes)
    with pytest.raises(InputError, match=r"gives \d+ bins of splice where its config promises"):
        engine_of(package).evaluate([on(100, 200)])


def test_no_requests_no_values() -> None:
    engine = engine_of(package_of("spliceai"))
    assert engine.evaluate([]) == []


def test_flip_by_hand() -> None:
    output = Output(
        name="a",
        tracks=(Track(name="plus", strand="+"), Track(name="minus", strand="-"), Track(name="both")),
        reverse_complement=ReverseComplement(permutation=(1, 0, 2), shift=1),
    )
    found = flip(np.array([[1.0, 10, 100], [2, 20, 200], [3, 30, 300]]), output)
    np.testing.assert_array_equal(found, [[10, 1, 100], [30, 3, 300], [20, 2, 200]])
    some = flip(
        np.array([[10.0, 1], [20, 2]]),
        output.model_copy(update={"reverse_complement": ReverseComplement(permutation=(1, 0, 2))}),
        [1, 0],
    )
    np.testing.assert_array_equal(some, [[2, 20], [1, 10]])
    with pytest.raises(UsageError, match="choose both strands"):
        flip(np.array([[1.0], [2]]), output, [0])


def test_flip_turns_both_axes_of_pairs() -> None:
    pairs = Output(name="a", tracks=(Track(name="x"),), axes="position_pair")
    np.testing.assert_array_equal(flip(np.array([[1, 2], [3, 4]])[..., None], pairs)[..., 0], [[4, 3], [2, 1]])
    scalar = Output(name="a", tracks=(Track(name="x"), Track(name="y")), axes="scalar")
    swapped = scalar.model_copy(update={"reverse_complement": ReverseComplement(permutation=(1, 0))})
    np.testing.assert_array_equal(flip(np.array([1, 2]), scalar), [1, 2])
    np.testing.assert_array_equal(flip(np.array([1, 2]), swapped), [2, 1])


def test_a_donor_of_the_minus_strand_stands_where_its_base_is() -> None:
    """A network that calls ``A`` a donor finds, on the minus strand, the ``T`` of the text."""
    package = package_of("spliceai")

    class CallsA(type(package.networks[0])):  # type: ignore[misc]
        def stages(self) -> tuple[()]:
            return ()  # else they and ``join`` are all of ``embed``

        def embed(self, one_hot: Tensor, conditions: Any = None) -> Tensor:
            return one_hot[..., HALF:-HALF]

        def heads(self, embedding: Tensor, *rest: Any) -> dict[str, Tensor]:
            a = 9 * embedding[:, :1]
            return {"splice": torch.cat([torch.zeros_like(a), torch.zeros_like(a), a], 1)}

    caller = Package(package.spec, (CallsA(package.networks[0].config),))
    tokens = encode("GGAGGTTGGC" * 4)
    found = engine_of(caller).evaluate([on(10, 20, strand, tokens) for strand in "+-"])
    donors = [np.flatnonzero(one["splice"][:, 2] > 0.5).tolist() for one in found]
    assert donors == [[2], [5, 6]]
