"""The lock files: complete, hashed, free of addresses, and one in agreement with the other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LOCKS = ["requirements.lock", "requirements-dev.lock"]


def pins(path: Path) -> dict[str, tuple[str, int]]:
    """Package -> (version and marker, number of hashes)."""
    found: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()):
        head, *rest = block.replace("\\\n", "\n").split("\n")
        name, _, version = head.strip().partition("==")
        found[name] = (version, sum("--hash=sha256:" in line for line in rest))
    return found


def normal(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_every_package_and_no_address(root: Path, lock: str) -> None:
    text = (root / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert {line.split("=")[0].strip() for line in text.splitlines() if line.strip().startswith("--")} == {"--hash"}
    found = pins(root / lock)
    assert len(found) > 50
    assert [name for name, (version, hashes) in found.items() if not version or not hashes] == []


def test_the_run_time_lock_is_a_part_of_the_development_lock(root: Path) -> None:
    run, dev = (pins(root / lock) for lock in LOCKS)
    assert {name: pin for name, pin in run.items() if dev.get(name, ("", 0))[0].split()[0] != pin[0].split()[0]} == {}
    assert len(run) < len(dev)


def test_every_dependency_is_locked(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run, dev = (pins(root / lock) for lock in LOCKS)
    assert [name for name in map(normal, project["dependencies"]) if name not in run] == []
    assert [name for name in map(normal, project["optional-dependencies"]["dev"]) if name not in dev] == []


def test_the_run_time_lock_can_build_the_project_and_holds_no_development_tool(root: Path) -> None:
    run = pins(root / "requirements.lock")
    assert "setuptools" in run
    assert {"langgraph-api", "langgraph-runtime-inmem", "langgraph-cli", "pytest", "mypy"} & set(run) == set()


def test_what_the_lock_installs_lacks_nothing() -> None:
    """Packages are installed without looking for what they need: all of it has to be in the lock."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
