"""What tracked files may not contain, and what the files that describe the project must agree on."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

# Where packages come from is the business of each machine, never of this repository.
INDEX = re.compile(
    r"(pypi|pythonhosted|npmjs|artifactory|devpi)\.[a-z]{2,}|(index[-_]url|find[-_]links)\s*=", re.IGNORECASE
)
DRAWERS = {"utils", "core", "common", "helpers", "manager", "util", "helper"}


def texts(root: Path, tracked: list[str]) -> list[tuple[str, str]]:
    files = [name for name in tracked if (root / name).is_file() and not (root / name).is_symlink()]
    return [(name, (root / name).read_text(encoding="utf-8", errors="replace")) for name in files]


def test_no_tracked_file_names_a_package_index(root: Path, tracked: list[str]) -> None:
    assert [
        name for name, text in texts(root, tracked) if INDEX.search(text) and name != "tests/repo/test_files.py"
    ] == []


def test_links_lead_to_the_layers_and_nowhere_else(root: Path, tracked: list[str], layers: list[str]) -> None:
    links = {name: (root / name).readlink() for name in tracked if (root / name).is_symlink()}
    assert links == {f"interlock/{layer}": Path("..") / layer for layer in layers}


def test_every_folder_below_a_layer_is_a_package(root: Path, tracked: list[str], layers: list[str]) -> None:
    modules = [Path(name) for name in tracked if name.endswith(".py") and name.split("/")[0] in (*layers, "interlock")]
    folders = {parent for path in modules for parent in path.parents if parent != Path()}
    assert sorted(str(folder) for folder in folders if not (root / folder / "__init__.py").exists()) == []


def test_no_module_is_a_drawer(tracked: list[str]) -> None:
    names = {name: {*Path(name).parent.parts, Path(name).stem} for name in tracked if name.endswith(".py")}
    assert [name for name, parts in names.items() if parts & DRAWERS] == []


def test_setup_py_and_the_layers_agree(root: Path, layers: list[str]) -> None:
    text = (root / "setup.py").read_text(encoding="utf-8")
    listed = re.findall(r'"(\w+)"', text[text.index("LAYERS") : text.index("FOUND")])
    assert sorted(listed) == layers
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert set(layers) <= set(tools["pyright"]["include"])
    assert set(layers) <= set(tools["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])


def test_langgraph_json_names_graphs_by_module(root: Path) -> None:
    config = json.loads((root / "langgraph.json").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"interlock(\.\w+)+:\w+", graph) for graph in config["graphs"].values())
    assert re.fullmatch(r"interlock(\.\w+)+:\w+", config["http"]["app"])
    assert config["env"]["LANGGRAPH_STRICT_MSGPACK"] == "true"


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md"])
def test_a_reader_finds_the_usual_files(root: Path, tracked: list[str], name: str) -> None:
    assert name in tracked
    assert (root / name).stat().st_size > 300
