"""Fixtures that every test may use. Caches go to a folder of the session's own; the shared data is optional."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers of pytest share the cores; before torch is imported
# shapes in signatures are checked as tests run; before any import of basecast
install_import_hook([f"basecast.{room}" for room in ("spec", "models", "zoo", "inference")], "beartype.beartype")
_SHARING = ("models", "parity", "inference", "data", "training", "evaluation")  # rooms whose tests share helpers
sys.path += [str(Path(__file__).parent / room) for room in _SHARING]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["BASECAST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real genomes and published scores; the test is skipped where it is missing."""
    folder = Path(os.environ.get("BASECAST_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("needs the shared data (set BASECAST_SHARED to its folder)")
    return folder
