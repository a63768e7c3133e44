"""The wheel, the editable install and the sdist, each with its compiled kernels or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import basecast

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
NATIVE = "basecast/inference/native"
LIBRARY = f"{NATIVE}/_convolution.so"
BUILD = [sys.executable, "-m", "hatchling", "build"]
PURE = f"basecast-{basecast.__version__}-py3-none-any.whl"
# without the machine's own choices
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("CC", "BASECAST_NO_NATIVE")}

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))) or os.uname().machine not in ("x86_64", "aarch64", "arm64"),
    reason="needs a C compiler and a processor that the kernels are written for",
)


def built(to: Path, target: str = "wheel", root: Path = ROOT, **environment: str) -> tuple[Path, str]:
    """The one file that a build of ``root`` gives in the folder ``to``, and what it says on stderr."""
    command = [*BUILD, "--target", target, "--directory", str(to)]
    done = subprocess.run(
        command, cwd=root, env=ENVIRONMENT | environment, check=True, capture_output=True, text=True, timeout=60
    )
    (made,) = to.iterdir()
    return made, done.stderr


def inside(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def level(library: Path) -> str:
    """What the processor can do, as a process of its own asks the library."""
    code = (
        "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]);"
        "library.best_level.restype = ctypes.c_char_p; level = library.best_level().decode(); print(level);"
        "[getattr(library, f'convolve_{level}_{real}') for real in ('f32', 'f64') if level]"
    )
    command = [sys.executable, "-c", code, str(library)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a build reads."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so*"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, root)
    return root


def editable(root: Path, to: Path, **environment: str) -> None:
    """What `pip install --editable` asks for, by the standard's own call."""
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    to.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, str(to)]
    subprocess.run(command, cwd=root, env=ENVIRONMENT | environment, check=True, capture_output=True, timeout=60)


# ---- the wheel


@needs_compiler
def test_the_wheel_holds_the_package_its_kernels_and_nothing_else(tmp_path: Path) -> None:
    wheel, said = built(tmp_path)
    assert "warning" not in said
    name, tag = wheel.name.split("-py3-none-")
    assert name == f"basecast-{basecast.__version__}"
    assert tag != "any.whl"
    assert "manylinux" not in tag, "it is linked against this machine's C library"
    found, source = inside(wheel), ROOT / "src"
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name and not name.endswith((".c", ".so"))}
    assert found == ours | {LIBRARY}
    assert all(name.endswith((".py", "/py.typed")) for name in found - {LIBRARY} if "/zoo/embedded/" not in name)
    with zipfile.ZipFile(wheel) as archive:
        assert f"basecast-{basecast.__version__}.dist-info/licenses/LICENSE" in archive.namelist()
        assert "Root-Is-Purelib: false" in archive.read(f"basecast-{basecast.__version__}.dist-info/WHEEL").decode()
        library = archive.extract(LIBRARY, tmp_path)
    assert wheel.stat().st_size < 3e6
    assert level(Path(library)) in {"avx512", "avx2", "neon", ""}


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PATH": ""}, id="no-compiler"),
        pytest.param({"CC": "no-such-compiler -x"}, id="not-there"),
        pytest.param({"CC": f"{sys.executable} -c raise(SystemExit(1))"}, id="fails"),
    ],
)
def test_without_a_working_compiler_the_wheel_is_pure_and_says_so(tmp_path: Path, environment: dict[str, str]) -> None:
    wheel, said = built(tmp_path, **environment)
    assert wheel.name == PURE
    assert not any(name.endswith(".so") for name in inside(wheel)), "the library of the checkout is not this wheel's"
    (line,) = (line for line in said.splitlines() if line.startswith("basecast:"))
    assert "scores are the same, only slower" in line
    assert "install gcc or clang" in line


def test_the_kernels_can_be_left_out(tmp_path: Path) -> None:
    wheel, said = built(tmp_path, BASECAST_NO_NATIVE="1")
    assert wheel.name == PURE
    assert said.count("\n") <= 1
    assert "slower" not in said


def test_the_sdist_has_the_sources_and_no_library(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src" / LIBRARY).write_bytes(b"of this machine")
    sdist, _ = built(tmp_path / "dist", target="sdist", root=checkout)
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"hatch_build.py", *(f"src/{NATIVE}/{name}.c" for name in ("convolution", "levels"))} <= names
    assert f"src/{LIBRARY}" not in names


# ---- in place


@needs_compiler
def test_an_editable_install_compiles_in_place(checkout: Path, tmp_path: Path) -> None:
    library = checkout / "src" / LIBRARY
    library.write_bytes(b"of older sources")
    editable(checkout, tmp_path / "dist")
    assert level(library) in {"avx512", "avx2", "neon", ""}
    assert not [path for path in library.parent.iterdir() if path.suffix not in (".c", ".py") and path != library]
    assert not [name for wheel in (tmp_path / "dist").iterdir() for name in inside(wheel) if name.endswith(".so")]


@pytest.mark.parametrize(
    "environment", [{"CC": "no-such-compiler"}, {"BASECAST_NO_NATIVE": "1"}], ids=["CC", "left-out"]
)
def test_an_older_library_does_not_stay(checkout: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    library = checkout / "src" / LIBRARY
    library.write_bytes(b"of older sources")
    editable(checkout, tmp_path / "dist", **environment)
    assert not library.exists()


@needs_compiler
def test_sources_that_do_not_compile_leave_nothing(checkout: Path) -> None:
    library = checkout / "src" / LIBRARY
    library.write_bytes(b"of older sources")
    (library.parent / "levels.c").write_text("this is not C\n")  # the last to be compiled
    command = [sys.executable, "hatch_build.py"]
    done = subprocess.run(command, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error:" in done.stderr, "what the compiler says"
    assert "failed; scores are the same, only slower" in done.stderr.splitlines()[-1]
    assert sorted(path.suffix for path in library.parent.iterdir() if path.suffix != ".py") == [".c", ".c"]
