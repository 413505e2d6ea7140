"""The repository itself is under test here: what it ships, what its checks find, what its files say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [link.name for link in sorted((ROOT / "interlock").iterdir()) if link.is_symlink()]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def layers() -> list[str]:
    """Names of the layer folders, as linked below `interlock/`."""
    return LAYERS


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[str]:
    """Every tracked file that is still there, as a path relative to the root."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True).stdout
    return [name for name in names.split("\0") if name and (root / name).exists()]


@pytest.fixture
def skeleton(root: Path, layers: list[str], tmp_path: Path) -> Path:
    """A copy with our settings, the links and empty layers: a fault is planted in it, and quickly found."""
    package = tmp_path / "interlock"
    package.mkdir()
    shutil.copy(root / "pyproject.toml", tmp_path)
    (package / "py.typed").touch()
    for module in ("__init__", "errors", "ids", "money", "clock", "settings", "tables", "plane", "guest", "testing"):
        (package / f"{module}.py").touch()
    for layer in [*layers, "tests", "bench"]:
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "__init__.py").touch()
    for layer in layers:
        (package / layer).symlink_to(f"../{layer}")
    (package / "cli").mkdir()
    (package / "cli" / "__init__.py").touch()
    (package / "errors.py").write_text("import interlock.ids\n", encoding="utf-8")
    return tmp_path
