"""What is tracked below the layers is what is shipped: in the sdist, and in the wheel that is built from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def built(root: Path, tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel, built from a copy of the tracked files: no stale `build/` can help."""
    copy = tmp_path_factory.mktemp("source")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name, follow_symlinks=False)
    out = copy / "out"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def shipped(root: Path, tracked: list[str], layers: list[str]) -> dict[str, str]:
    """Tracked file -> its path in the wheel, for all files of the package and its layers."""
    files = [name for name in tracked if not (root / name).is_symlink()]
    inside = {name: f"interlock/{name}" for name in files if name.split("/")[0] in layers}
    return inside | {name: name for name in files if name.startswith("interlock/")}


def test_every_tracked_file_of_the_layers_is_in_the_wheel(built: Path, shipped: dict[str, str]) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(shipped) > 10
    assert sorted(path for path in shipped.values() if path not in names) == []


def test_every_tracked_file_of_the_layers_is_in_the_sdist(built: Path, shipped: dict[str, str]) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted(name for name in shipped if name not in names) == []


def test_the_wheel_holds_one_import_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"interlock"}


def test_the_wheel_works_away_from_the_repository(built: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere and put first on the path, every layer is imported from the wheel."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import interlock.storage as s, interlock.errors as e; print(s.__file__); print(e.__file__)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
