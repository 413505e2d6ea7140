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
FENCE = re.compile(r"^```(\w+)( continued)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[Any]:
    """All fenced blocks of a language, as (document, code, output) parameters named by document and line.

    A `continued` block follows on the one before it; the output is a `text` block that stands right behind.
    """
    found: list[Any] = []
    for name in DOCUMENTS:
        text, before = (ROOT / name).read_text(encoding="utf-8"), ""
        for match in (m for m in FENCE.finditer(text) if m[1] == language):
            before = before + match[3] if match[2] else match[3]
            after = FENCE.match(text, match.end() + 2)
            output = after[3] if after and after[1] == "text" else None
            found.append(pytest.param(name, before, output, id=f"{name}:{text.count(chr(10), 0, match.start()) + 1}"))
    return found


@pytest.mark.parametrize(("document", "code", "output"), blocks("python"))
def test_python_in_a_document_works(document: str, code: str, output: str | None, tmp_path: Path) -> None:
    """A whole program (it calls `run`) is run; a fragment, which may await, must at least compile."""
    compile(code, document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not re.search(r"^(interlock\.|asyncio\.)?run\(", code, re.MULTILINE):
        return
    program = tmp_path / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(program)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert output in (None, done.stdout)


@pytest.mark.parametrize(("document", "code", "output"), [*blocks("json"), *blocks("yaml")])
def test_data_in_a_document_parses(document: str, code: str, output: str | None) -> None:
    assert isinstance(yaml.safe_load(code), dict | list), document  # JSON is YAML


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (ROOT / name).parent.joinpath(target).exists()] == []


def is_path(word: str) -> bool:
    """A word in backticks that means a file or folder of the repository."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]*)+", word)) and word.split("/", maxsplit=1)[0] in tops


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
