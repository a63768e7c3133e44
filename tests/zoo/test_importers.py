"""Other people's checkpoints: every form is read, nothing in them is run, and what is no checkpoint is named."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from checkpoints import write_keras, write_openspliceai
from formula import formula_weight, openspliceai_shapes

from basecast.errors import InputError
from basecast.zoo.importers import openspliceai, spliceai_keras
from basecast.zoo.package import Package


def answer(package: Package, context: int) -> np.ndarray:
    letters = torch.randint(4, (1, context + 50), generator=torch.Generator().manual_seed(0))
    return torch.softmax(package.network(torch.eye(4)[letters].mT), 1).numpy()


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write_openspliceai(tmp_path / "model_80nt.pt", 80)
    return tmp_path / "model_80nt.pt"


@pytest.mark.parametrize(("context", "units"), [(80, 4), (400, 8), (2000, 12), (10000, 16)])
def test_openspliceai_of_every_size(context: int, units: int, tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "m.pt", context)
    package = openspliceai.load([tmp_path / "m.pt"])
    assert package.spec.architecture is not None
    assert package.spec.reach.model_dump()["left"] == context // 2
    state = package.network.state_dict()
    weights = dict(openspliceai_shapes(context))
    assert len(state) == len(weights)
    assert sum(x.numel() for x in state.values()) == sum(int(np.prod(shape)) for shape in weights.values())
    index = units - 1 + (units - 1) // 4  # their list holds the skips among the units
    theirs = f"residual_units.{index}.conv2.weight"
    np.testing.assert_array_equal(state[f"units.{units - 1}.conv2.weight"], formula_weight(theirs, weights[theirs]))
    theirs = f"residual_units.{index + 1}.conv.bias"
    np.testing.assert_array_equal(state[f"skips.{units // 4}.bias"], formula_weight(theirs, weights[theirs]))
    norm = package.network.get_submodule("units.0.norm1")
    assert norm.eps == 1e-5
    assert package.network.get_submodule("units.0.activation1").negative_slope == 0.1


def test_what_is_known_of_an_openspliceai_checkpoint(plain: Path) -> None:
    package = openspliceai.load([plain])
    assert package.spec.name == "model_80nt"
    assert package.spec.licence == "GPL-3.0-only"
    assert package.spec.mask == "gene"
    assert list(package.spec.provenance.sources) == ["model_80nt.pt"]
    assert package.spec.calibration.temperature == {}
    assert package.source == str(plain)
    assert not package.network.training
    assert np.ptp(answer(package, 80)[:, 1:]) > 0.1


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("temperature", [torch.tensor([1.5, 0.5, 2.0]), 1.25, None])
def test_the_versioned_form(plain: Path, tmp_path: Path, temperature: Any, suffix: str) -> None:
    versioned = {
        "format_version": 1,
        "state_dict": state_of(plain),
        "flanking_size": 80,
        "temperature": temperature,
        "class_names": ["non_splice", "acceptor", "donor"],
        "openspliceai_version": "0.1.0",
    }
    path = (tmp_path / "versioned").with_suffix(suffix)
    torch.save(versioned, path)
    package = openspliceai.load([path])
    np.testing.assert_array_equal(answer(package, 80), answer(openspliceai.load([plain]), 80))
    expected = {None: {}}.get(temperature) if temperature is None else {"splice": tuple(np.ravel(temperature).tolist())}
    assert package.spec.calibration.temperature == expected


@pytest.mark.parametrize("temperature", [0.0, [1.0, 1.0], [1.0, -1.0, 1.0], float("nan"), float("inf"), "hot", []])
def test_a_temperature_that_cannot_be(plain: Path, tmp_path: Path, temperature: Any) -> None:
    torch.save({"format_version": 1, "state_dict": state_of(plain), "temperature": temperature}, tmp_path / "v.pt")
    with pytest.raises(InputError, match=r"v.pt has a temperature of .*one or three positive"):
        openspliceai.load([tmp_path / "v.pt"])


def test_another_version_of_the_form(plain: Path, tmp_path: Path) -> None:
    torch.save({"format_version": 2, "state_dict": state_of(plain)}, tmp_path / "v.pt")
    with pytest.raises(InputError, match="checkpoint format 2; only 1 is known"):
        openspliceai.load([tmp_path / "v.pt"])


def test_several_are_an_ensemble(plain: Path, tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "other.pt", 80, salt="other")
    package = openspliceai.load([plain, tmp_path / "other.pt"])
    assert package.spec.name == "openspliceai-80"
    assert [member.outputs for member in package.spec.members] == [("splice",)] * 2
    assert package.source == str(tmp_path)
    alone = [answer(openspliceai.load([path]), 80) for path in (plain, tmp_path / "other.pt")]
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    np.testing.assert_allclose(answer(package, 80), np.mean(alone, axis=0), atol=1e-6)


def test_members_that_do_not_go_together(plain: Path, tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "large.pt", 400)
    with pytest.raises(InputError, match=r"large.pt has a context of 400, .*80: an ensemble's members are of one size"):
        openspliceai.load([plain, tmp_path / "large.pt"])
    torch.save({"format_version": 1, "state_dict": state_of(plain), "temperature": 2.0}, tmp_path / "v.pt")
    with pytest.raises(InputError, match="another temperature"):
        openspliceai.load([plain, tmp_path / "v.pt"])


def change(state: dict[str, torch.Tensor], name: str, to: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {key: to if key == name else x for key, x in state.items() if key != name or to is not None}


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("final_conv.weight", torch.zeros(4, 32, 1), r"weight head.weight has shape \(4, 32, 1\)"),
        ("final_conv.bias", None, r"missing \['head.bias'\]"),
        ("initial_conv.weight", torch.zeros(16, 4, 1), r"the config asks for \(16"),
        ("initial_conv.weight", torch.tensor(1.0), "other shapes"),
        ("initial_conv.weight", None, "is not an OpenSpliceAI checkpoint"),
        ("residual_units.0.conv1.weight", torch.zeros(32, 32, 12), "other shapes"),
        ("residual_units.0.conv1.weight", torch.zeros(32, 32, 13), r"unit.*shape"),
        ("residual_units.0.conv1.weight", torch.tensor(1.0), "other shapes"),
        ("residual_units.3.conv1.weight", None, "does not hold this network's weights"),
    ],
)
def test_another_shape(plain: Path, tmp_path: Path, name: str, to: torch.Tensor | None, words: str) -> None:
    torch.save(change(state_of(plain), name, to), tmp_path / "changed.pt")
    with pytest.raises(InputError, match=rf"changed.pt.*{words}"):
        openspliceai.load([tmp_path / "changed.pt"])


@pytest.mark.parametrize(
    "content",
    [{}, {"a": torch.zeros(1)}, [1], torch.zeros(3), {"a": 1}, {1: torch.zeros(1)}, {"format_version": 1}],
)
def test_other_things_that_torch_saved(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"m.pt (is not an OpenSpliceAI checkpoint|holds no state dict of tensors)"):
        openspliceai.load([tmp_path / "m.pt"])


class Code:
    """Unpickled by ``pickle``, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "inside"])
def test_a_pickle_with_code_is_refused_and_not_run(plain: Path, form: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "m.pt", tmp_path / "trace"
    content: Any = Code(trace)
    if form == "inside":
        torch.save({**state_of(plain), "extra": content}, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match=r"m.pt is refused: .*would run its code \(.*mkdir\).*Save the state dict"):
        openspliceai.load([path])
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))
    assert trace.exists(), "the code would have worked"


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"refused: .*\(torch.nn.modules.linear.Linear\)"):
        openspliceai.load([tmp_path / "m.pt"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 60, 0.5, 0.99, -20])
def test_truncated(plain: Path, keep: float, legacy: bool, tmp_path: Path) -> None:
    torch.save(state_of(plain), plain, _use_new_zipfile_serialization=not legacy)
    content = plain.read_bytes()
    kept = int(keep * len(content)) if 0 < keep < 1 else int(keep)
    (tmp_path / "cut.pt").write_bytes(content[:kept])
    with pytest.raises(InputError, match=r"cut.pt is not a PyTorch checkpoint, or a damaged one"):
        openspliceai.load([tmp_path / "cut.pt"])


@pytest.mark.parametrize("content", [b"hello there\n", b"\0" * 100, b"PK\3\4" + b"\0" * 100, pickle.dumps(3)])
def test_no_checkpoint_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"m.pt is not a PyTorch checkpoint"):
        openspliceai.load([tmp_path / "m.pt"])


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "spliceai1.h5"
    write_keras(path)
    return path


def test_keras_layers_are_ours_in_order(keras: Path) -> None:
    package = spliceai_keras.load([keras])
    assert package.spec.licence == "CC-BY-NC-4.0"
    assert package.spec.reach.model_dump()["left"] == 5000
    state = package.network.state_dict()
    for ours, number, shape in (
        ("stem", 1, (1, 4, 32)),
        ("skips.0", 2, (1, 32, 32)),
        ("units.0.conv1", 3, (11, 32, 32)),
        ("units.3.conv2", 10, (11, 32, 32)),
        ("skips.1", 11, (1, 32, 32)),
        ("units.4.conv1", 12, (11, 32, 32)),
        ("units.15.conv2", 37, (41, 32, 32)),
        ("skips.4", 38, (1, 32, 32)),
        ("head", 39, (1, 32, 3)),
    ):
        kernel = formula_weight(f"conv1d_{number}/kernel:0", shape)
        np.testing.assert_array_equal(state[f"{ours}.weight"], kernel.transpose(2, 1, 0))
    for ours, number in (("units.0.norm1", 1), ("units.0.norm2", 2), ("units.15.norm2", 32)):
        for leaf, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_var", "moving_variance")):
            expected = formula_weight(f"batch_normalization_{number}/{theirs}:0", (32,))
            np.testing.assert_array_equal(state[f"{ours}.{leaf}"], expected)
    assert package.network.get_submodule("units.0.norm1").eps == 1e-3
    assert type(package.network.get_submodule("units.0.activation1")) is torch.nn.ReLU
    assert np.ptp(answer(package, 10000)[:, 1:]) > 0.01


def test_keras_files_are_an_ensemble(keras: Path) -> None:
    package = spliceai_keras.load([keras, keras])
    assert package.spec.name == "spliceai-10000"
    assert len(package.networks) == len(package.spec.members) == 2
    assert package.source == str(keras.parent)


def altered(keras: Path, path: Path, change: Any) -> Path:
    path.write_bytes(keras.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(name: str, data: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


def enlarge(name: str) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape=(10**12,), chunks=(1024,), dtype="f4")  # takes no room in the file

    return change


KERNEL = "model_weights/conv1d_5/conv1d_5/kernel:0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("model_weights/conv1d_39"), "no layer 'conv1d_39/kernel'"),
        (lambda file: file.pop("model_weights/batch_normalization_32"), "no layer 'batch_normalization_32/gamma'"),
        (lambda file: file.pop("model_weights"), "no layer 'conv1d_1/kernel'"),
        (replace(KERNEL, np.zeros((11, 32, 16), "f4")), r"weight units.1.conv1.weight has shape \(16, 32, 11\)"),
        (replace(KERNEL, np.zeros(3, "f4")), "a layer is no array of its kind"),
        (replace(KERNEL, b"text"), "a layer is no array of its kind"),
        (replace("model_weights", np.zeros(3, "f4")), "no layer 'conv1d_1/kernel'"),
        (enlarge(KERNEL), r"its /model_weights/conv1d_5/conv1d_5/kernel:0 has the shape \(1000000000000,\)"),
    ],
)
def test_keras_of_another_make(keras: Path, tmp_path: Path, change: Any, words: str) -> None:
    path = altered(keras, tmp_path / "m.h5", change)
    with pytest.raises(InputError, match=rf"m.h5.*{words}"):
        spliceai_keras.load([path])


def test_an_hdf5_file_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["X0"] = np.zeros((2, 10))
    with pytest.raises(InputError, match=r"m.h5 is not a SpliceAI model"):
        spliceai_keras.load([tmp_path / "m.h5"])


@pytest.mark.parametrize("keep", [0, 100, 100_000, -1])
def test_no_or_truncated_hdf5(keras: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "m.h5").write_bytes(keras.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"m.h5 is not a Keras .h5 file"):
        spliceai_keras.load([tmp_path / "m.h5"])


def test_published_weights_load(shared_data: Path) -> None:
    folder = shared_data / "weights" / "openspliceai-mane" / "80nt"
    package = openspliceai.load(sorted(folder.glob("*.pt")))
    assert len(package.networks) == 5
    assert np.ptp(answer(package, 80)) > 0.5
    package = spliceai_keras.load(sorted((shared_data / "weights" / "spliceai-illumina").glob("*.h5")))
    assert len(package.networks) == 5
    assert answer(package, 10000)[:, 0].mean() > 0.9, "random bases hold few splice sites"


def test_a_checkpoint_of_a_network_that_no_memory_holds(plain: Path, tmp_path: Path) -> None:
    state = change(state_of(plain), "initial_conv.weight", torch.zeros(1_000_000, 4, 1))
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"m.pt.*has shape"):
        openspliceai.load([tmp_path / "m.pt"])
