"""Folders of files as documents: `.md` and `.txt` are one document each, a `.jsonl` holds one per line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from interlock import errors
from interlock.context.document import Unreadable
from interlock.context.ingest import RawDocument

__all__ = ["read_folder", "scan_folder"]

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_HEADING = re.compile(r"^#\s+(.+?)\s*#*$", re.MULTILINE)


async def read_folder(folder: Path) -> list[RawDocument]:
    """All documents below a folder, by path, ready for `ingest`. Raises NotFound when there is no such folder."""
    return await asyncio.to_thread(lambda: list(scan_folder(folder)))


def scan_folder(folder: Path) -> Iterator[RawDocument]:
    """As `read_folder`, one by one, blocking. The id of a file is its path; what cannot be read is `Unreadable`.

    A text may begin with YAML between `---` lines: title, labels, version, as_of, trust, metadata.
    Hidden files and links that lead out of the folder are left out.
    """
    if not folder.is_dir():
        raise errors.NotFound(f"there is no folder {folder}", "give a folder of .md, .txt and .jsonl files")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        if path.resolve().is_relative_to(folder.resolve()):
            yield from _documents(path, name.as_posix())


def _documents(path: Path, name: str) -> Iterator[RawDocument]:
    read = {".md": _text, ".txt": _text, ".jsonl": _lines}.get(path.suffix.lower())
    if read is None:
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        yield Unreadable(name, f"cannot be read: {exc}")
        return
    yield from read(name, text)


def _text(name: str, text: str) -> Iterator[RawDocument]:
    front = _FRONT.match(text)
    try:
        fields = _fields(front.group(1)) if front else {}
    except (yaml.YAMLError, ValueError) as exc:
        yield Unreadable(name, f"its front matter is no YAML of fields: {exc}")
        return
    body = text[front.end() :] if front else text
    heading = _HEADING.search(body)
    title = heading.group(1) if heading else Path(name).stem
    yield {"title": title, **fields, "id": name, "text": body}


def _fields(front: str) -> Mapping[str, Any]:
    fields = yaml.safe_load(front) or {}
    if not isinstance(fields, Mapping):
        raise ValueError("not a mapping")  # noqa: TRY004 - the file is wrong, not the call
    return fields


def _lines(name: str, text: str) -> Iterator[RawDocument]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            yield Unreadable(f"{name}:{number}", f"no JSON: {exc}")
            continue
        yield document if isinstance(document, Mapping) else Unreadable(f"{name}:{number}", "no JSON object")
