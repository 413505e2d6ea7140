"""Guides to failure codes, as documents for the data context: written pages, or else what a plant's code table says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from interlock.context.ingest import RawDocument
from interlock.context.sources import scan_folder
from interlock.tables import Line, lines

__all__ = ["read_guides"]

FOLDER = "guides"
CODES = "failure_codes.csv"
_COLUMNS = ("category", "primary_code", "primary_code_description", "secondary_code", "secondary_code_description")


def read_guides(folder: Path) -> list[RawDocument]:
    """The guides of a reference folder; blocking. Raises InputError for a malformed code table."""
    if (folder / FOLDER).is_dir():
        return list(scan_folder(folder / FOLDER))
    return list(_from_codes(folder / CODES)) if (folder / CODES).exists() else []


def _from_codes(path: Path) -> Iterator[RawDocument]:
    """One document per primary code, with its secondary codes."""
    of_code: dict[str, list[Line]] = {}
    for line in lines(path, _COLUMNS):
        of_code.setdefault(line.text("primary_code"), []).append(line)
    for code, rows in of_code.items():
        title = f"{code} {rows[0]['primary_code_description']}"
        kinds = "".join(f"\n- {row['secondary_code']}: {row['secondary_code_description']}" for row in rows)
        text = f"{title}, of the category {rows[0]['category']}. It shows as:{kinds}"
        yield {"id": code, "title": title, "text": text, "trust": "plant", "metadata": {"code": code}}
