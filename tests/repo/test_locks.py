"""The lock files: complete, hashed, free of addresses, and one in agreement with the other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

LOCKS = ["requirements.lock", "requirements-dev.lock"]


def pins(path: Path) -> dict[str, tuple[str, int]]:
    """Package -> (version and marker, number of hashes)."""
    found: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()):
        head, *rest = block.replace("\\\n", "\n").split("\n")
        name, _, version = head.strip().partition("==")
        found[normal(name)] = (version, sum("--hash=sha256:" in line for line in rest))
    return found


def normal(requirement: str) -> str:
    """The name of a requirement, without extras and version."""
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


def test_packages_that_are_needed_with_extras_are_pinned_with_them(root: Path) -> None:
    """Else pip looks for the newest of them, and refuses it on the day it is newer than the pin."""
    names = re.findall(r"^([\w.-]+)(\[[^]]+\])?==", (root / LOCKS[1]).read_text(encoding="utf-8"), re.MULTILINE)
    pinned = {normal(name): set(re.findall(r"[\w-]+", extras)) for name, extras in names}
    needed = [
        (Requirement(text), normal(wheel.name))
        for wheel in distributions()
        for text in (wheel.requires or ())
        if normal(wheel.name) in pinned and "[" in text
    ]
    chosen = [(want, wheel) for want, wheel in needed if applies(want, pinned[wheel])]
    assert len(chosen) > 3
    assert [str(want) for want, _ in chosen if not want.extras <= pinned.get(normal(want.name), set())] == []


def applies(want: Requirement, extras: set[str]) -> bool:
    return want.marker is None or any(want.marker.evaluate({"extra": extra}) for extra in ("", *extras))
