"""Test vectors: a package passes its own, and whatever is wrong with a package fails them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import graph_package, package_of

from basecast.acceptance.vectors import Compared, _some_tracks, check, kept_or_made, make, require_agreement
from basecast.errors import InputError, UsageError
from basecast.genome.reference import Genome
from basecast.spec import Calibration, ReverseComplement
from basecast.zoo.catalogue import embedded, load_model
from basecast.zoo.package import SUMS, Package
from basecast.zoo.scene import made_up
from basecast.zoo.vectors import BASES, CONTIG, TOLERANCE, VECTORS, Vectors, read_vectors, weakness

NAME = "human-400"
KINDS = ("spliceai", "toy_binned", "toy_mixing", "toy_track", "graph", "members")


def of_kind(kind: str) -> Package:
    if kind == "graph":
        return graph_package()
    return package_of("spliceai", members=2) if kind == "members" else package_of(kind)


@pytest.fixture(scope="module", params=KINDS)
def carried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Path]:
    """A package of each kind, and a folder with its vectors."""
    package, folder = of_kind(request.param), tmp_path_factory.mktemp("carried")
    write(folder, make(package, device="cpu").files)
    return package, folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / SUMS).write_text("".join(f"{'0' * 64}  {name}\n" for name in files))


def failures(package: Package, folder: Path) -> list[Compared]:
    return [one for one in check(package, folder, device="cpu") if not one.agrees]


def test_what_ships_carries_vectors_and_passes(tmp_path: Path) -> None:
    for name, folder in embedded().items():
        compared = check(load_model(name), folder, device="cpu")
        assert {one.vector for one in compared} >= {"plus strand", "minus strand", "variants"}
        assert max(one.largest for one in compared) < TOLERANCE / 10
        require_agreement(name, compared)


def test_vectors_are_small_and_tell_something(carried: tuple[Package, Path]) -> None:
    package, folder = carried
    vectors = read_vectors(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20_000
    genome = Genome(folder / BASES)
    bases = genome.tokens(CONTIG, 0, genome.lengths[CONTIG])
    assert weakness(package.spec, bases, vectors) == ""
    assert set(bases.tolist()) == {0, 1, 2, 3, 4}
    assert {output.name for output in package.spec.outputs} == set(vectors.vectors[0].outputs)
    assert len(vectors.vectors) == 2 + (len(package.networks) if len(package.networks) > 1 else 0)
    assert len(vectors.scores) == (6 if package.spec.name == "spliceai" else 0)
    assert failures(package, folder) == []


def test_vectors_are_made_the_same_way_twice() -> None:
    first, again = (make(package_of("toy_binned"), device="cpu").files for _ in range(2))
    assert first == again


def test_other_weights_fail(carried: tuple[Package, Path]) -> None:
    package, folder = carried
    if package.nodes:
        other = replace(package, nodes={**package.nodes, "first": package_of("spliceai", seed=9)})
    else:
        other = package_of(package.spec.name, members=len(package.networks), seed=9)
    found = failures(other, folder)
    assert {one.output for one in found} >= {output.name for output in package.spec.outputs}
    with pytest.raises(InputError, match=rf"{package.spec.name} fails its test vector 'plus strand': in .* instead of"):
        require_agreement(other.spec.name, found)


@pytest.fixture(scope="module")
def demo() -> Package:
    return load_model(NAME)


def altered(package: Package, change: Callable[[dict[str, torch.Tensor]], Any]) -> Package:
    """The package with other weights in its first member."""
    source = package.networks[0]
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    change(state)
    network = type(source)(source.config).eval().requires_grad_(False)
    network.load_state_dict(state)
    return replace(package, networks=(network, *package.networks[1:]))


def with_spec(package: Package, **changes: Any) -> Package:
    return replace(package, spec=package.spec.model_copy(update=changes))


def with_output(package: Package, **changes: Any) -> Package:
    (output,) = package.spec.outputs
    return with_spec(package, outputs=(output.model_copy(update=changes),))


def with_config(package: Package, **changes: Any) -> Package:
    network = package.networks[0]
    other = type(network)(network.config.model_copy(update=changes)).eval().requires_grad_(False)
    other.load_state_dict(network.state_dict())
    return replace(package, networks=(other,))


def permute(name: str, order: list[int], dim: int) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        for key in state:
            if key.startswith(name) and state[key].ndim > dim:
                state[key] = state[key].index_select(dim, torch.tensor(order))

    return change


def flip_kernels(state: dict[str, torch.Tensor]) -> None:
    """What a network that reads the other strand has: kernels back to front, T for A."""
    for key, tensor in state.items():
        if tensor.ndim == 3:
            state[key] = tensor.flip(2)
    state["stem.weight"] = state["stem.weight"].flip(1)


SABOTAGE: dict[str, Callable[[Package], Package]] = {
    "acceptor and donor swapped": lambda p: altered(p, permute("head", [0, 2, 1], 0)),
    "classes turned": lambda p: altered(p, permute("head", [1, 2, 0], 0)),
    "bases in another order": lambda p: altered(p, permute("stem.weight", [0, 2, 1, 3], 1)),
    "kernels back to front": lambda p: altered(p, flip_kernels),
    "a kernel shifted by one": lambda p: altered(
        p, lambda state: state.update({"units.7.conv2.weight": state["units.7.conv2.weight"].roll(1, 2)})
    ),
    "two units swapped": lambda p: altered(
        p,
        lambda state: state.update(
            dict(state)
            | {k.replace("units.1.", "units.2."): v for k, v in state.items() if k.startswith("units.1.")}
            | {k.replace("units.2.", "units.1."): v for k, v in state.items() if k.startswith("units.2.")}
        ),
    ),
    "a skip forgotten": lambda p: altered(p, lambda state: state["skips.1.weight"].zero_()),
    "batch statistics forgotten": lambda p: altered(p, lambda state: state["units.3.norm1.running_mean"].zero_()),
    "one weight off": lambda p: altered(p, lambda state: state["head.bias"].add_(torch.tensor([0, 0.02, 0]))),
    "another link": lambda p: with_output(p, link="sigmoid"),
    "no link": lambda p: with_output(p, link="identity"),
    "another epsilon": lambda p: with_config(p, norm_epsilon=1e-3),
    "another activation": lambda p: with_config(p, activation="relu"),
    "a temperature": lambda p: with_spec(p, calibration=Calibration(temperature={"splice": (1.1,)})),
    "a permutation on the minus strand": lambda p: with_output(
        p, reverse_complement=ReverseComplement(permutation=(0, 2, 1))
    ),
    "a shift on the minus strand": lambda p: with_output(p, reverse_complement=ReverseComplement(shift=1)),
    "genes not masked": lambda p: with_spec(p, mask="none"),
}


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_sabotage_is_seen(sabotage: str, demo: Package) -> None:
    found = failures(SABOTAGE[sabotage](demo), embedded()[NAME])
    assert found, "the vectors do not tell"
    with pytest.raises(InputError, match=rf"{NAME} fails its test vector '{found[0].vector}'.*tolerance"):
        require_agreement(NAME, found)
    strands = {one.vector for one in found}
    if "minus strand" in sabotage:
        assert "plus strand" not in strands
    if sabotage == "genes not masked":
        assert strands == {"variants"}, "only the variants are masked"


def test_tracks_of_other_names_are_seen(demo: Package) -> None:
    neither, acceptor, donor = demo.spec.outputs[0].tracks
    with pytest.raises(
        InputError, match=r"fails its test vector 'plus strand': config.json has the tracks .* of splice"
    ):
        check(with_output(demo, tracks=(neither, donor, acceptor)), embedded()[NAME], device="cpu")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Path]:
    package, folder = package_of("spliceai", members=3), tmp_path_factory.mktemp("ensemble")
    write(folder, make(package, device="cpu").files)
    return package, folder


def test_swapped_members_are_seen(ensemble: tuple[Package, Path]) -> None:
    package, folder = ensemble
    first, second, third = package.networks
    found = failures(replace(package, networks=(second, first, third)), folder)
    assert {one.vector for one in found} == {"model-0.safetensors alone", "model-1.safetensors alone"}


def test_a_member_twice_is_seen(ensemble: tuple[Package, Path]) -> None:
    package, folder = ensemble
    first, second, _ = package.networks
    found = {one.vector for one in failures(replace(package, networks=(first, second, second)), folder)}
    assert found == {"plus strand", "minus strand", "variants", "model-2.safetensors alone"}


def test_a_member_that_is_not_there(ensemble: tuple[Package, Path]) -> None:
    package, folder = ensemble
    fewer = with_spec(replace(package, networks=package.networks[:2]), members=package.spec.members[:2])
    with pytest.raises(InputError, match=r"has no member model-2.safetensors"):
        check(fewer, folder, device="cpu")


def test_a_strand_rule_of_a_stranded_model(tmp_path: Path) -> None:
    package = package_of("toy_binned")
    write(tmp_path, make(package, device="cpu").files)
    for rule in (ReverseComplement(permutation=(1, 0, 2)), ReverseComplement(shift=1)):
        assert {one.vector for one in failures(with_output(package, reverse_complement=rule), tmp_path)} == {
            "minus strand"
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(embedded()[NAME] / "acceptance", tmp_path / "acceptance")
    shutil.copy(embedded()[NAME] / SUMS, tmp_path)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / VECTORS).read_text())
    change(content)
    (folder / VECTORS).write_text(json.dumps(content))


def flatten(content: dict[str, Any]) -> None:
    for vector in content["vectors"]:
        values = vector["outputs"]["splice"]["values"]
        vector["outputs"]["splice"]["values"] = [[0.99, 0.005, 0.005] for _ in values]


def set_values(to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["vectors"][0]["outputs"]["splice"]["values"][0][0] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flatten, "an output has no peak: its largest value is 0.0% of it above its median"),
        (lambda content: content["vectors"].pop(), "a strand is missing"),
        (lambda content: content.update(vectors=[]), "a strand is missing"),
        (lambda content: content.update(scores=[]), "no variant has a score"),
        (lambda content: [one.update(score=[0.0] * 4) for one in content["scores"]], "no variant has an effect"),
        (lambda content: content["vectors"][0].update(outputs={}), "plus strand has no values of splice"),
        (set_values(float("nan")), "values of splice that are no numbers"),
        (lambda content: [one.update(start=-5000, end=-4000) for one in content["vectors"]], "are not there"),
        (lambda content: content["vectors"][0].update(end=10**13), "plus strand is of bases that are not there"),
    ],
)
def test_vectors_that_prove_nothing(
    folder: Path, demo: Package, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    edit(folder, change)
    with pytest.raises(InputError, match=rf"vectors.json proves nothing: .*{words}"):
        check(demo, folder, device="cpu")


@pytest.mark.parametrize("kind", ["no N", "all N", "palindrome", "three bases"])
def test_bases_that_prove_nothing(folder: Path, demo: Package, kind: str) -> None:
    path = folder / BASES
    text = "".join(path.read_text().splitlines()[1:])
    half = text[: len(text) // 2]
    text = {
        "no N": text.replace("N", "A"),
        "all N": text[:50] + "N" * (len(text) - 100) + text[-50:],
        "palindrome": half + half[::-1].translate(str.maketrans("ACGT", "TGCA")),
        "three bases": text.replace("G", "A"),
    }[kind]
    path.write_text(f">{CONTIG}\n{text}\n")
    edit(folder, lambda content: [one.update(start=0, end=len(text)) for one in content["vectors"]])
    words = {
        "no N": "no N among",
        "all N": "hardly anything else",
        "palindrome": "own reverse",
        "three bases": "four bases",
    }
    with pytest.raises(InputError, match=rf"proves nothing: .*{words[kind]}"):
        check(demo, folder, device="cpu")


def test_no_vectors_or_damaged_ones(folder: Path, demo: Package, tmp_path: Path) -> None:
    ragged = (folder / VECTORS).read_text().replace("],[", "],[1,", 1)
    for content in ("", "{}", '{"version": 2}', "[]", ragged, ragged.replace("[[", "[", 1)):
        (folder / VECTORS).write_text(content)
        with pytest.raises(InputError, match="holds no test vectors that this version"):
            check(demo, folder)
    for wrong in ({"distance": -1}, {"inputs": {"track": [[1, 2], [1]]}}, {"inputs": {"track": []}}):
        content = {**json.loads((embedded()[NAME] / VECTORS).read_text()), **wrong}
        (folder / VECTORS).write_text(json.dumps(content))
        with pytest.raises(InputError, match="holds no test vectors that this version"):
            check(demo, folder)
    (folder / VECTORS).unlink()
    with pytest.raises(InputError, match="carries no test vectors"):
        check(demo, folder)


def test_bases_without_the_contig(folder: Path, demo: Package) -> None:
    path = folder / BASES
    path.write_text(path.read_text().replace(f">{CONTIG}", ">other"))
    with pytest.raises(InputError, match=rf"bases.fa has no contig {CONTIG} of up to"):
        check(demo, folder, device="cpu")


@pytest.mark.parametrize("name", [VECTORS, BASES])
def test_vectors_that_the_package_does_not_list(folder: Path, demo: Package, name: str) -> None:
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if name not in line))
    with pytest.raises(InputError, match=rf"{name} is not listed in SHA256SUMS"):
        check(demo, folder, device="cpu")


def test_a_score_elsewhere_or_nowhere_is_seen(folder: Path, demo: Package) -> None:
    best = max(read_vectors(folder).scores, key=lambda one: max(one.score))
    i = best.score.index(max(best.score))

    def move(content: dict[str, Any]) -> None:
        for one in content["scores"]:
            if (one["record"], one["allele"]) == (best.record, best.allele):
                one["position"][i] += 1

    edit(folder, move)
    (found,) = failures(demo, folder)
    assert (found.vector, found.largest) == ("variants", np.inf)
    edit(folder, lambda content: content["scores"][0].update(symbol="ELSEWHERE"))
    assert "has no score" in failures(demo, folder)[0].where


def test_what_is_carried_is_kept_and_must_pass(demo: Package) -> None:
    kept = kept_or_made(demo, device="cpu")
    assert kept.files[VECTORS] == (embedded()[NAME] / VECTORS).read_bytes()
    with pytest.raises(InputError, match="fails its test vector"):
        kept_or_made(SABOTAGE["classes turned"](demo), device="cpu")
    package = package_of("toy_binned")
    assert kept_or_made(package, device="cpu").files == make(package, device="cpu").files


def test_a_model_that_says_nothing() -> None:
    silent = altered(package_of("spliceai"), lambda state: [x.zero_() for name, x in state.items() if "head" in name])
    with pytest.raises(InputError, match=r"cannot have test vectors, .*: splice has one value"):
        make(silent, device="cpu")


def test_a_package_that_cannot_be_run_alone() -> None:
    with pytest.raises(UsageError, match="run the graph that has both"):
        make(package_of("toy_refiner"), device="cpu")


def test_the_made_up_genes_have_their_signals() -> None:
    scene = made_up(0, 300, 200)
    text = scene.files()[BASES]
    assert (scene.start, len(scene.bases) - scene.end) == (300, 200)
    for gene in scene.genes:
        (_, donor), (acceptor, _) = gene.exons[:2]
        assert gene.bases[donor : donor + 2].tolist() == [2, 3]
        assert gene.bases[acceptor - 2 : acceptor].tolist() == [0, 2]
        first, last = gene.on_contig(donor, donor + 2)
        assert scene.bases[first:last].tolist() == ([2, 3] if gene.strand == "+" else [0, 1])
    assert max(map(len, text.splitlines())) == 60


def test_published_ensembles_pass_and_members_differ(shared_data: Path, tmp_path: Path) -> None:
    package = load_model(shared_data / "weights" / "openspliceai-mane" / "80nt")
    made = make(package, device="cpu")
    assert Vectors.model_validate_json(made.files[VECTORS]).clarity() > 0.5
    write(tmp_path, made.files)
    other = replace(package, networks=(package.networks[0], *package.networks[:4]))
    assert failures(other, tmp_path)


def test_of_many_tracks_a_few_are_enough_with_those_that_swap() -> None:
    spec = package_of("toy_binned").spec.outputs[0]
    n = 40
    many = spec.model_copy(
        update={
            "tracks": tuple(spec.tracks[0].model_copy(update={"name": f"track {i}"}) for i in range(n)),
            "reverse_complement": ReverseComplement(permutation=tuple(i ^ 1 for i in range(n))),
        }
    )
    chosen = _some_tracks(many)
    assert {0, n - 1} <= set(chosen)
    assert len(chosen) <= 16
    assert {i ^ 1 for i in chosen} == set(chosen)
