"""The imports of the code against the table of rooms in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "basecast"


def floors(page: str) -> dict[str, int]:
    """Room -> floor, from the page's table."""
    return {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `(\w+)/?` \|", page, re.MULTILINE)}


FLOORS = floors((ROOT / "docs" / "architecture.md").read_text())
MODULES = {path: path.relative_to(SOURCE).with_suffix("").parts for path in sorted(SOURCE.rglob("*.py"))}


def imports(path: Path) -> set[tuple[str, ...]]:
    """The modules of basecast that a file imports, as (room, module ...)."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            names = [module] if module != "basecast" else [f"basecast.{alias.name}" for alias in node.names]
            names += [f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in _known()]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {tuple(name.split(".")[1:]) for name in names if name.startswith("basecast.")}
    return {module for module in found if module != ("__version__",)}


def _known() -> set[str]:
    return {".".join(("basecast", *parts)) for parts in MODULES.values()}


def violations(room: str, imported: set[tuple[str, ...]]) -> list[str]:
    """What a file of ``room`` imports that is not below it."""
    floor = FLOORS[room]
    above = [m for m in sorted(imported) if m[0] != room and FLOORS.get(m[0], 99) >= max(floor, 1)]
    return [".".join(m) for m in above]


@pytest.mark.parametrize(
    "path", [p for p, parts in MODULES.items() if not parts[0].startswith("__")], ids=lambda p: p.stem
)
def test_a_room_imports_only_lower_floors(path: Path) -> None:
    room = MODULES[path][0]
    assert room in FLOORS, f"{room} is not in the table of docs/architecture.md"
    assert not violations(room, imports(path))


def test_a_wrong_import_would_be_seen() -> None:
    assert violations("genome", {("models", "layers"), ("files",)}) == ["models.layers"]
    assert violations("models", {("data", "simulated")}) == ["data.simulated"]


def test_rooms_have_no_circles() -> None:
    graph = {parts: {m for m in imports(path) if m in set(MODULES.values())} for path, parts in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError on a circle
    assert len(order) >= len(MODULES) > 30


@pytest.mark.parametrize("room", ["genome", "spec"])
def test_the_ground_floor_knows_no_torch(room: str) -> None:
    for path, parts in MODULES.items():
        if parts[0] == room:
            assert not re.search(r"^\s*(import|from) torch", path.read_text(), re.MULTILINE), path


def test_importing_basecast_is_light_and_silent() -> None:
    code = "import basecast.cli.main, sys; print([m for m in ('torch', 'polars', 'pysam') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_files_stay_short() -> None:
    long = {path.name: n for path in MODULES if (n := len(path.read_text().splitlines())) > 400}
    assert not long
