"""Compiles the convolutions in C: into every wheel, and in place for an editable install or `python hatch_build.py`.

An install without them gives the same scores, only slower, so that nothing here makes an install fail.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

SOURCES = Path(__file__).parent / "src" / "basecast" / "inference" / "native"
LIBRARY = SOURCES / "_convolution.so"  # under this name on every system: ctypes does not mind

# instruction set -> options, bytes of a vector; levels.c chooses among them
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
X86_64 = {"avx512": (AVX512, 64), "avx2": ([*AVX2, "-DFEW_REGISTERS"], 32)}
AARCH64: dict[str, tuple[list[str], int]] = {"neon": ([], 16)}
MACHINES = {"x86_64": X86_64, "amd64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}
# in the names of functions -> real type, integers of its size, bytes
REALS = {"f32": ("float", "int32_t", 4), "f64": ("double", "int64_t", 8)}
OPTIONS = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-Wall", "-Wextra"]


class NotCompiled(Exception):
    """Why there is no library, in some words."""


def compiler() -> list[str]:
    """The C compiler's command: $CC, else the first that is there.

    Raises:
        NotCompiled: there is none.
    """
    if command := shlex.split(os.environ.get("CC", "")):
        return command
    found = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if found is None:
        raise NotCompiled("there is no C compiler")
    return [found]


def compile_library(library: Path) -> None:
    """Compiles every level and real type into ``library``, which appears whole; what the compiler says goes to stderr.

    Raises:
        NotCompiled: there is no compiler, it fails, or the machine is none that the kernels are written for.
    """
    levels = MACHINES.get(platform.machine().lower())
    if levels is None:
        raise NotCompiled(f"they are not written for {platform.machine()}")
    command = compiler()
    part = library.with_name(f"{library.name}.{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        try:
            for level, (options, width) in levels.items():
                for name, (real, integer, size) in REALS.items():
                    objects.append(f"{folder}/{level}_{name}.o")
                    defined = [f"-DSUFFIX=_{level}_{name}", f"-DREAL={real}", f"-DBITS={integer}"]
                    defined.append(f"-DLANES={width // size}")
                    source = ["-c", str(SOURCES / "convolution.c"), "-o", objects[-1]]
                    subprocess.run([*command, *OPTIONS, *options, *defined, *source], check=True)
            whole = ["-shared", str(SOURCES / "levels.c"), *objects, "-o", str(part)]
            subprocess.run([*command, *OPTIONS, *whole], check=True)
            part.replace(library)
        except subprocess.CalledProcessError as error:
            raise NotCompiled(f"{shlex.join(command)} failed") from error
        except OSError as error:
            raise NotCompiled(f"of {error}") from error
        finally:
            part.unlink(missing_ok=True)


def compile_in_place() -> None:
    """The library among the sources, made anew; an older one does not outlive its sources.

    Raises:
        NotCompiled: as `compile_library`; then there is none.
    """
    try:
        compile_library(LIBRARY)
    except NotCompiled:
        LIBRARY.unlink(missing_ok=True)
        raise


def warning(reason: NotCompiled) -> str:
    return (
        f"basecast: built without its C kernels, because {reason}; scores are the same, only slower. "
        "To have them install gcc or clang, then run pip install again with --force-reinstall --no-cache-dir"
    )


class CompiledKernels(BuildHookInterface[Any]):
    """The library in a wheel, which then is one for this platform and any Python 3."""

    folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if os.environ.get("BASECAST_NO_NATIVE") == "1":
            if version == "editable":
                LIBRARY.unlink(missing_ok=True)
            return
        try:
            if version == "editable":
                compile_in_place()
                return
            self.folder = tempfile.TemporaryDirectory()
            library = Path(self.folder.name) / LIBRARY.name
            compile_library(library)
        except NotCompiled as reason:
            self.app.display_warning(warning(reason))
            return
        tags = (tag.platform for tag in sys_tags())
        plain = next(tag for tag in tags if not tag.startswith(("manylinux", "musllinux")))
        build_data["force_include"][str(library)] = LIBRARY.relative_to(SOURCES.parents[2]).as_posix()
        build_data |= {"pure_python": False, "tag": f"py3-none-{plain}"}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.folder is not None:
            self.folder.cleanup()


if __name__ == "__main__":
    try:
        compile_in_place()
    except NotCompiled as reason:
        sys.exit(warning(reason))
