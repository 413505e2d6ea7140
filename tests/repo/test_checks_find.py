"""A fault planted in each layer is found: checkers that are blind behind the links would pass everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WRONG = "planted: int = 'text'\n"


def run(folder: Path, *command: str) -> tuple[int, str]:
    """Run a tool of this environment in a folder; its exit code and all it printed."""
    program = str(Path(sys.executable).with_name(command[0]))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE_"))}
    done = subprocess.run([program, *command[1:]], cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_mypy_finds_a_type_error_in_every_layer(skeleton: Path, layers: list[str]) -> None:
    for layer in layers:
        (skeleton / layer / "planted.py").write_text(WRONG, encoding="utf-8")
    code, text = run(skeleton, "mypy", "--no-incremental", "-p", "interlock")
    assert code == 1, text
    assert set(re.findall(r"interlock/(\w+)/planted\.py:1: error", text)) == set(layers)


def test_pyright_finds_a_type_error_in_every_layer(skeleton: Path, layers: list[str]) -> None:
    folders = [*layers, "tests", "bench", "interlock/cli"]
    for folder in folders:
        (skeleton / folder / "planted.py").write_text(WRONG, encoding="utf-8")
    code, text = run(skeleton, "pyright", "--pythonpath", sys.executable)
    assert code == 1, text
    found = set(re.findall(rf"{re.escape(str(skeleton))}/(\S+)/planted\.py:1:\d+ - error", text))
    assert set(folders) <= found, text


def test_pyright_needs_no_network(skeleton: Path) -> None:
    """The compiler and its node come with the lock file; a fresh home has nothing to download into."""
    home = skeleton / "home"
    home.mkdir()
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**os.environ, **proxies, "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    program = str(Path(sys.executable).with_name("pyright"))
    done = subprocess.run([program, "--version"], env=env, capture_output=True, text=True, check=False)
    assert re.match(r"pyright \d", done.stdout), done.stdout + done.stderr
    assert list(home.iterdir()) == []


def lint_imports(folder: Path) -> tuple[int, str]:
    return run(folder, "lint-imports", "--no-logo", "--no-cache")


def test_an_empty_house_keeps_every_contract(skeleton: Path) -> None:
    code, text = lint_imports(skeleton)
    assert code == 0, text
    assert " 0 broken" in text


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("storage", "import interlock.graphs.planted", "Layers import downwards only"),
        ("oversight", "import interlock.tools.planted", "Layers import downwards only"),
        ("tools", "import interlock.context.planted", "Layers import downwards only"),
        ("graphs", "import interlock.plane", "Layers import downwards only"),
        ("server", "import interlock.evals.planted", "Layers import downwards only"),
        ("evals", "import interlock.examples.planted", "Layers import downwards only"),
        ("agents", "from interlock import Workflow", "No layer imports the lazy entrance"),
        ("oversight", "from langgraph.types import interrupt", "Oversight never imports LangGraph"),
        ("graphs", "import chromadb.config", "Only context/ imports Chroma"),
        ("cli", "from fastapi import FastAPI", "Only server/ and examples/ import FastAPI"),
        ("agents", "from opentelemetry import trace", "Only observability/trace.py imports OpenTelemetry"),
        ("graphs", "import langsmith", "Only observability/trace.py and evals/ import LangSmith"),
        ("oversight", "import sqlite3", "Only storage/ and examples/ import database drivers"),
        ("context", "from sqlalchemy import text", "Only storage/ and examples/ import database drivers"),
    ],
)
def test_import_linter_finds(skeleton: Path, layers: list[str], module: str, line: str, contract: str) -> None:
    for layer in layers:
        (skeleton / layer / "planted.py").touch()
    (skeleton / "interlock" / module / "planted.py").write_text(f"{line}\n", encoding="utf-8")
    code, text = lint_imports(skeleton)
    assert code == 1, text
    assert re.search(rf"^{re.escape(contract)}.* BROKEN", text, re.MULTILINE), text


def test_import_linter_finds_a_module_without_a_place(skeleton: Path) -> None:
    (skeleton / "interlock" / "drawer.py").touch()
    code, text = lint_imports(skeleton)
    assert code == 1
    assert "interlock.drawer" in text


def test_allowed_imports_pass(skeleton: Path) -> None:
    allowed = {
        "context/store.py": "import chromadb\n",
        "server/app.py": "import fastapi\nimport interlock.plane\n",
        "examples/cmms.py": "import fastapi\nimport sqlite3\nfrom interlock import Workflow\n",
        "observability/trace.py": "import opentelemetry\nimport langsmith\n",
        "storage/database.py": "import sqlite3\nimport alembic\n",
        "interlock/cli/demo.py": "import interlock.examples.cmms\n",
    }
    for name, text in allowed.items():
        (skeleton / name).write_text(text, encoding="utf-8")
    code, output = lint_imports(skeleton)
    assert code == 0, output


def test_bare_layer_imports_are_refused(skeleton: Path, layers: list[str]) -> None:
    planted = skeleton / "tests" / "planted.py"
    planted.write_text("".join(f"import {layer}\n" for layer in layers), encoding="utf-8")
    code, text = run(skeleton, "ruff", "check", "--select", "TID251", "--output-format", "concise", "tests")
    assert code == 1, text
    assert text.count("TID251") == len(layers), text
