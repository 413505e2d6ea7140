"""The documents say what is so: their code runs, their paths and commands exist, their tables agree with the code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock.settings import Price, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[Any]:
    """All fenced blocks of these languages, as (document, code) parameters named by document and line."""
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(name, match[2], id=f"{name}:{line}"))
    return found


@pytest.mark.parametrize(("document", "code"), blocks("python"))
def test_python_in_a_document_works(document: str, code: str, tmp_path: Path) -> None:
    """A whole program (it calls `run`) is run; a fragment, which may await, must at least compile."""
    compile(code, document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not re.search(r"^(interlock\.|asyncio\.)?run\(", code, re.MULTILINE):
        return
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(program)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("document", "code"), blocks("json"))
def test_json_in_a_document_parses(document: str, code: str) -> None:
    assert json.loads(code) is not None, document


@pytest.mark.parametrize(("document", "code"), blocks("yaml"))
def test_yaml_in_a_document_parses(document: str, code: str) -> None:
    assert yaml.safe_load(code) is not None, document


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (ROOT / name).parent.joinpath(target).exists()] == []


def is_path(word: str) -> bool:
    """A word in backticks that means a file or folder of the repository."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]*)+", word)) and word.split("/")[0] in tops


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_in_documents_exist(name: str) -> None:
    words = set(re.findall(r"`([^`\n]+)`", (ROOT / name).read_text(encoding="utf-8")))
    assert sorted(word for word in words if is_path(word) and not (ROOT / word).exists()) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_in_documents_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets


def rows(name: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its two head lines."""
    section = (ROOT / name).read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shown(default: object) -> str:
    return "none" if default is None else f"`{json.dumps(default)}`"


def test_every_setting_is_documented_as_it_is() -> None:
    expected = [
        [f"`{name}`", f"`INTERLOCK_{name.upper()}`", shown(field.get_default()), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert rows("docs/settings.md", "Settings of a plane") == expected


def test_every_part_of_a_price_is_documented() -> None:
    documented = {row[0].strip("`") for row in rows("docs/settings.md", "Prices")}
    assert documented == set(Price.model_fields)
