"""A spec is data: it survives JSON, and says no to what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from basecast.spec import (
    Architecture,
    Calibration,
    Condition,
    Input,
    LocalReach,
    Member,
    ModelSpec,
    Node,
    Output,
    Provenance,
    ReverseComplement,
    TargetTransform,
    Track,
    WindowReach,
)

TRACKS = (Track(name="plus", strand="+"), Track(name="minus", strand="-"))


def spec_of(**changes: Any) -> ModelSpec:
    return ModelSpec(
        **{
            "name": "m",
            "licence": "MIT",
            "architecture": Architecture(family="spliceai", config={"widths": [3]}),
            "reach": LocalReach(left=1, right=2),
            "outputs": (Output(name="a", tracks=TRACKS),),
            "members": (Member(file="model.safetensors", outputs=("a",)),),
            **changes,
        }
    )


def test_everything_comes_back_from_json() -> None:
    spec = spec_of(
        inputs=(
            Input(name="sequence"),
            Input(name="atac", kind="track", channels=2, resolution=4, missing=-1.0),
            Input(name="sites", kind="scores", channels=3, node="first", output="splice"),
        ),
        conditions=(Condition(name="organism", values=("human", "mouse")),),
        reach=WindowReach(lengths=(1024, 2048), crop=128),
        outputs=(
            Output(
                name="a",
                tracks=TRACKS,
                resolution=32,
                crop=2,
                link="softplus",
                reverse_complement=ReverseComplement(permutation=(1, 0), shift=1),
            ),
            Output(name="b", tracks=TRACKS, axes="site_pair", auxiliary=("a",)),
        ),
        members=(Member(file="x.safetensors", outputs=("a", "b")), Member(file="y.safetensors", outputs=("b",))),
        calibration=Calibration(temperature={"a": (1.5,), "b": (1.0, 2.0)}),
        mask="gene",
        provenance=Provenance(sources={"genome.fa": "00"}),
    )
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    graph = spec_of(architecture=None, members=(), nodes=(Node(name="n", package="n"),))
    assert ModelSpec.model_validate_json(graph.model_dump_json()) == graph
    assert '"spec_version":1' in graph.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": None}, "either an architecture or nodes"),
        ({"nodes": (Node(name="n", package="n"),)}, "either an architecture or nodes"),
        ({"inputs": (Input(name="atac", kind="track"),)}, "first input is the sequence"),
        ({"outputs": (Output(name="a", tracks=TRACKS), Output(name="a", tracks=TRACKS))}, "one name each"),
        ({"outputs": (Output(name="a", tracks=TRACKS, auxiliary=("z",)),)}, r"fed with \['z'\]"),
        ({"members": (Member(file="m", outputs=("a", "z")),)}, r"lists outputs \['z'\]"),
        ({"members": ()}, r"no member lists the outputs \['a'\]"),
        ({"calibration": Calibration(temperature={"z": (1.0,)})}, "temperature of 'z'"),
        ({"calibration": Calibration(temperature={"a": (1.0, 1.0, 1.0)})}, "one a track"),
        ({"calibration": Calibration(temperature={"a": (0.0,)})}, "positive"),
        ({"calibration": Calibration(temperature={"a": (1.0, float("nan"))})}, "positive"),
        ({"spec_version": 2}, "spec_version"),
        ({"outputs": ()}, "at least 1"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    spec_of()
    with pytest.raises(ValidationError, match=words):
        spec_of(**changes)


def test_the_licence_has_no_default() -> None:
    with pytest.raises(ValidationError, match="licence"):
        ModelSpec.model_validate({**spec_of().model_dump(), "licence": None})


def test_a_spec_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec_of().name = "other"


@pytest.mark.parametrize("order", [(0,), (1, 1), (0, 2), (-1, 0), (1, 0, 2)])
def test_a_permutation_done_twice_is_the_identity_or_refused(order: tuple[int, ...]) -> None:
    Output(name="a", tracks=TRACKS, reverse_complement=ReverseComplement(permutation=(1, 0)))
    with pytest.raises(ValidationError, match="done twice"):
        Output(name="a", tracks=TRACKS, reverse_complement=ReverseComplement(permutation=order))
    three = (*TRACKS, Track(name="x"))
    with pytest.raises(ValidationError, match="done twice"):
        Output(name="a", tracks=three, reverse_complement=ReverseComplement(permutation=(1, 2, 0)))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\n", "a\\b"])
def test_members_and_nodes_lie_in_the_package(name: str) -> None:
    assert Member(file="model-0.safetensors", outputs=()).file == Node(name="n", package="model-0.safetensors").package
    with pytest.raises(ValidationError):
        Member(file=name, outputs=())
    with pytest.raises(ValidationError):
        Node(name="n", package=name)


def test_scores_name_their_node_and_only_they_do() -> None:
    for fields in ({"kind": "scores"}, {"kind": "scores", "node": "n"}, {"kind": "track", "node": "n", "output": "o"}):
        with pytest.raises(ValidationError, match="go with kind 'scores'"):
            Input(name="x", **fields)


def test_an_unknown_output_is_named_with_those_there_are() -> None:
    assert spec_of().output("a").tracks == TRACKS
    with pytest.raises(KeyError, match=r"no output 'z', only \['a'\]"):
        spec_of().output("z")


def test_window_lengths() -> None:
    listed = WindowReach(lengths=(512, 1024), crop=100)
    assert [listed.length_for(span) for span in (1, 312, 313, 824, 825)] == [512, 512, 1024, 1024, 1024]
    free = WindowReach(multiple_of=128, crop=10)
    assert [free.length_for(span) for span in (1, 108, 109)] == [128, 128, 256]


@pytest.mark.parametrize("scaled_last", [False, True])
@pytest.mark.parametrize("soft_clip", [None, 16.0])
@pytest.mark.parametrize("power", [1.0, 0.75, 0.5])
def test_transform_and_its_inverse(power: float, soft_clip: float | None, scaled_last: bool) -> None:
    transform = TargetTransform(scale=0.5, power=power, soft_clip=soft_clip, scaled_last=scaled_last)
    signal = np.concatenate([np.linspace(0, 50, 500, endpoint=False), np.geomspace(50, 1e5, 100)])
    there = transform.apply(signal)
    assert (np.diff(there) > 0).all()
    assert soft_clip is None or there.max() < np.power(signal.max() * 0.5, power), "the clip must have worked"
    np.testing.assert_allclose(transform.invert(there), signal, rtol=1e-9, atol=1e-12)
    single = signal.astype(np.float32)
    assert transform.apply(single).dtype == transform.invert(single).dtype == np.float32
    np.testing.assert_allclose(transform.invert(transform.apply(single)), single, rtol=2e-5, atol=1e-5)


def test_transform_by_hand() -> None:
    transform = TargetTransform(scale=2.0, power=0.5, soft_clip=4.0, clip=8.0)
    # (1 + 2 x)^0.5 - 1, and above 4 its excess grows as a square root: 4 - 1 + sqrt(10 - 4 + 1); nothing is above 8
    np.testing.assert_allclose(transform.apply(np.array([0.0, 4.0, 60.0, 1e5])), [0, 2, 3 + 7**0.5, 8])
    published = TargetTransform(scale=2.0, power=0.5, soft_clip=4.0, clip=8.0, scaled_last=True)
    # x^0.5, then 4 + sqrt(10 - 4), then 8 at most, all times 2
    np.testing.assert_allclose(published.apply(np.array([0.0, 4.0, 100.0, 1e5])), [0, 4, 8 + 2 * 6**0.5, 16])
