"""Folders as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock import errors
from interlock.context.context import Context
from interlock.context.document import Unreadable
from interlock.context.sources import read_folder


async def test_a_folder_becomes_documents(tmp_path: Path, context: Context) -> None:
    folder = tmp_path / "docs"
    files: dict[str, bytes] = {
        "pumps/seal.md": b"\xef\xbb\xbf# Seal kits #\n\nChange the seal.",
        "note.txt": b"A plain note.",
        "secret.md": b"---\nlabels: [role:hr]\nas_of: 2026-01-02\nid: other\n---\n# Salaries\nTable.",
        "faq.jsonl": b'{"id": "q1", "text": "How?"}\n\n{broken\n[1]\n',
        "latin.txt": b"\xff\xfe\x00",
        "front.md": b"---\n[unclosed\n---\ntext",
        "list.md": b"---\n- a\n---\ntext",
        ".hidden/x.md": b"hidden",
        "image.png": b"\x89PNG",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "outside.md").write_text("outside")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")

    found = await read_folder(folder)

    good: list[Any] = [one for one in found if not isinstance(one, Unreadable)]
    assert [(one["id"], one.get("title")) for one in good] == [
        ("q1", None), ("note.txt", "note"), ("pumps/seal.md", "Seal kits"), ("secret.md", "Salaries"),
    ]  # fmt: skip
    bad = [one.id for one in found if isinstance(one, Unreadable)]
    assert bad == ["faq.jsonl:3", "faq.jsonl:4", "front.md", "latin.txt", "list.md"]
    report = await context.ingest("docs", found)
    assert (report.ingested, len(report.skipped)) == (4, 5)
    assert [fact.document_id for fact in await context.query("salaries table", k=9)].count("secret.md") == 0


async def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="there is no folder"):
        await read_folder(tmp_path / "nowhere")
