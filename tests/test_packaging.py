"""Containers and the Bioconda recipe: linted, and held against pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import basecast

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "packaging" / "basecast.def").read_text()
RECIPE = (ROOT / "packaging" / "bioconda" / "meta.yaml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


def linter(name: str) -> str:
    """The program, from this environment or the machine."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def faults(name: str, *options: str, text: str) -> str:
    """What a linter says of ``text``."""
    done = subprocess.run([linter(name), *options, "-"], input=text, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


# ---- Docker


def test_hadolint_finds_no_fault() -> None:
    assert faults("hadolint", text=DOCKERFILE) == ""
    assert "DL3042" in faults("hadolint", text=DOCKERFILE.replace("--no-cache-dir", ""))


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copies = re.findall(r"^COPY (?!--from=wheel )(.*) \S+$", DOCKERFILE, re.MULTILINE)
    copied = [name for names in copies for name in names.split()]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert "**/*.so" in ignored, "a library of the host may be one for another processor"
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == set(copied_by_apptainer())


def test_docker_runs_basecast_as_nobody() -> None:
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.MULTILINE)
    assert "ENTRYPOINT" not in DOCKERFILE, "Nextflow and WDL start the image with a shell"
    assert 'CMD ["basecast", "--help"]' in DOCKERFILE


def test_only_the_stage_that_makes_the_wheel_has_a_compiler() -> None:
    _, wheel, image = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    assert wheel.startswith("${BASE} AS wheel\n")
    (folder,) = re.findall(r"pip wheel .*--wheel-dir (\S+) \.\n", wheel)
    assert f"COPY --from=wheel {folder} wheel\n" in image
    assert "gcc" in wheel
    assert "gcc" not in image


def test_it_runs_with_what_the_image_sets_and_nothing_else(tmp_path: Path) -> None:
    (settings,) = re.findall(r"^ENV (BASECAST_CACHE=.*)$", DOCKERFILE, re.MULTILINE)
    environment = dict(setting.split("=") for setting in settings.split())
    assert environment["BASECAST_CACHE"].startswith("/tmp/")
    environment |= {"BASECAST_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "basecast", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "basecast-demo"}


# ---- Apptainer


def sections() -> dict[str, str]:
    """Name -> text of each section; '' is the header."""
    names_and_texts = re.split(r"^%(\w+)\n", DEFINITION, flags=re.MULTILINE)
    return {"": names_and_texts[0]} | dict(zip(names_and_texts[1::2], names_and_texts[2::2], strict=True))


def arguments() -> dict[str, str]:
    lines = sections()["arguments"].split()
    return dict(line.split("=", 1) for line in lines)


def copied_by_apptainer() -> list[str]:
    pairs = [line.split() for line in sections()["files"].splitlines() if line.strip()]
    assert all(target == f"/opt/basecast/source/{source}" for source, target in pairs)
    return [source for source, _ in pairs]


def test_the_definition_has_its_sections() -> None:
    assert sections()[""].split() == ["Bootstrap:", "docker", "From:", "{{", "BASE", "}}"]
    assert set(sections()) - {""} == {"arguments", "help", "files", "post", "environment", "runscript", "test"}
    assert set(re.findall(r"\{\{ (\w+) \}\}", DEFINITION)) == arguments().keys()


def test_both_containers_are_made_of_the_same() -> None:
    defaults = dict(re.findall(r"^ARG (BASE|TORCH_INDEX)=(\S+)$", DOCKERFILE, re.MULTILINE))
    assert arguments() == defaults
    docker = re.sub(r"\\\n\s*", "", DOCKERFILE)
    for script in (docker, sections()["post"]):
        assert re.search(
            r'pip install --no-cache-dir --index-url "\S.*" "\$\(grep .\^torch==. constraints.txt\)"\n', script
        )
        assert re.search(r"pip install --no-cache-dir --constraint constraints.txt (\.|wheel/\*\.whl)\n", script)
    python = re.fullmatch(r"python:(\d+)\.(\d+)-slim", defaults["BASE"])
    floor = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert python is not None
    assert floor is not None
    assert tuple(map(int, python.groups())) >= tuple(map(int, floor.groups()))


def test_apptainer_takes_away_the_compiler_that_it_brought() -> None:
    post = sections()["post"]
    brought, taken = re.findall(r'test -n "\$had_compiler" \|\| apt-get (?:install|purge) -y --\S+ (.*)\n', post)
    assert brought == taken == "gcc libc6-dev"
    assert post.index("apt-get purge") > post.index("--constraint constraints.txt .\n")


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_shellcheck_finds_no_fault(name: str) -> None:
    script = re.sub(r"\{\{ (\w+) \}\}", lambda found: arguments()[found[1]], sections()[name])
    assert faults("shellcheck", "--shell=sh", text=script) == ""
    assert "SC2086" in faults("shellcheck", "--shell=sh", text=f"{script}\ncat $1\n")


# ---- Bioconda


def recipe(**release: str) -> dict[str, Any]:
    """The recipe as conda-build reads it; ``release`` fills in what a release does."""
    jinja2, yaml = pytest.importorskip("jinja2"), pytest.importorskip("yaml")
    text = RECIPE
    for name, value in release.items():
        text, n = re.subn(rf'(?<={{% set {name} = )".*?"', f'"{value}"', text)
        assert n == 1
    rendered = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    functions = {
        "pin_subpackage": lambda name, max_pin: f"{name} {max_pin}",
        "compiler": lambda language: f"{language}-compiler",
        "stdlib": lambda language: f"{language}-stdlib",
    }
    return yaml.safe_load(rendered.render(PYTHON="python", **functions))


def requirements(specifications: list[str]) -> dict[str, str]:
    """Name -> version of conda's or pip's requirements."""
    found = [re.fullmatch(r"([\w-]+?) ?((?:[<>=!~]=?[\w.,*]+)?)", specification) for specification in specifications]
    return {match[1]: match[2] for match in found if match}


def test_the_recipe_asks_for_what_the_project_asks_for() -> None:
    project, wanted = PROJECT["project"], recipe()["requirements"]
    assert all(" >=" in line for line in wanted["run"] if line != "python")
    ours = {CONDA_NAMES.get(name, name): floor for name, floor in requirements(project["dependencies"]).items()}
    assert len(ours) == len(project["dependencies"])
    python = {"python": ""}  # conda builds for each; those below the floor are skipped
    assert f"\n  skip: True  # [py < {project['requires-python'].removeprefix('>=').replace('.', '')}]\n" in RECIPE
    assert requirements(wanted["run"]) == python | ours
    assert requirements(wanted["host"]) == python | requirements(PROJECT["build-system"]["requires"]) | {"pip": ""}


def test_the_recipe_describes_the_project() -> None:
    project, found = PROJECT["project"], recipe()
    assert found["package"] == {"name": project["name"], "version": basecast.__version__}
    assert found["about"]["license"] == project["license"]
    assert found["about"]["summary"] == project["description"]
    assert [found["about"]["license_file"]] == project["license-files"]
    assert (ROOT / found["about"]["license_file"]).exists()
    entry_points = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert found["build"]["entry_points"] == entry_points


def test_the_recipe_has_what_bioconda_asks_for() -> None:
    found = recipe()
    assert found["build"]["number"] == 0
    assert "noarch" not in found["build"], "it is compiled"
    assert found["requirements"]["build"] == ["c-compiler", "c-stdlib"]
    assert found["build"]["run_exports"] == ["basecast x.x"]  # breaking changes come with 0.x
    assert found["test"]["imports"] == ["basecast"]
    assert {"basecast --version", "pip check"} <= set(found["test"]["commands"])


def test_a_release_is_filled_in_whole_or_not_at_all() -> None:
    found = recipe()
    filled = {found["source"]["url"], found["source"]["sha256"], found["about"]["home"]}
    assert filled == {None} or None not in filled
