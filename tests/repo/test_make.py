"""Set-up from the Makefile: what it installs for whom, and what it says on a machine that lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def bare(root: Path, tmp_path: Path) -> Path:
    """A folder with what set-up reads, and no environment."""
    for name in ("Makefile", "requirements.lock", "requirements-dev.lock", "pyproject.toml", "setup.py"):
        shutil.copy(root / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")} | extra
    return subprocess.run(["make", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_demo_installs_the_run_time_lock_only(bare: Path) -> None:
    done = make(bare, "--dry-run", "demo")
    assert done.returncode == 0, done.stderr
    assert "--no-deps --require-hashes --requirement requirements.lock" in done.stdout
    assert "requirements-dev.lock" not in done.stdout
    assert "--no-deps --no-build-isolation --editable ." in done.stdout


def test_test_installs_the_development_lock_by_hash(bare: Path) -> None:
    done = make(bare, "--dry-run", "test")
    assert "--no-deps --require-hashes --requirement requirements-dev.lock" in done.stdout


def test_no_usable_python_is_explained(bare: Path) -> None:
    done = make(bare, "demo", "PYTHON=/nowhere/python3")
    assert done.returncode != 0
    assert "needs Python 3.11" in done.stderr
    assert "apt install python3-venv" in done.stderr
    assert not (bare / ".venv").exists()


def test_a_python_without_the_venv_module_is_passed_over(bare: Path) -> None:
    """Debian ships `venv` without `ensurepip`: such an interpreter runs, but cannot make an environment."""
    folder = bare / "bin"
    folder.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14", "python"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    done = make(bare, "demo", PATH=f"{folder}:/usr/bin:/bin")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr


def test_an_interpreter_can_be_named(bare: Path) -> None:
    done = make(bare, "--dry-run", "demo", PYTHON="/opt/python3.12")
    assert '"/opt/python3.12" -m venv' in done.stdout


def test_help_lists_the_commands(bare: Path) -> None:
    listed = {line.split()[1] for line in make(bare).stdout.splitlines()}
    assert {"demo", "test", "check", "bench", "lock"} <= listed
