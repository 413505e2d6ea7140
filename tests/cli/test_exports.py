"""`interlock audit verify --export` and `audit key`: what auditors do with an export and public keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def exported(waiting: Path, cli: Any, tmp_path: Path) -> tuple[str, ...]:
    """The command that checks an export of a home with its keys and its anchor."""
    cli("switch", "agent:x", "drain", "--by", "person:bo", "--home", waiting)  # a command that ends with a seal
    (tmp_path / "export.jsonl").write_text(cli("audit", "export", "--home", waiting).out)
    anchor = cli("audit", "key", "--home", waiting, "--json").json["anchor"]
    return ("audit", "verify", "--export", str(tmp_path / "export.jsonl"), "--anchor", anchor)


def test_an_export_is_checked_with_the_keys_of_its_home(exported: tuple[str, ...], waiting: Path, cli: Any) -> None:
    (key,) = cli("audit", "key", "--home", waiting).out.split()
    assert "verified; sealed up to event" in cli(*exported, "--key", key).out
    assert cli(*exported, "--key", waiting / "seal_keys", "--json").json["ok"] is True


def test_an_older_key_still_counts_after_a_new_one(exported: tuple[str, ...], waiting: Path, cli: Any) -> None:
    cli("audit", "key", "--rotate", "--home", waiting)
    assert len(cli("audit", "key", "--home", waiting).out.split()) == 2
    assert cli(*exported, "--key", waiting / "seal_keys", "--json").json["ok"] is True


def test_a_cut_export_is_broken(exported: tuple[str, ...], waiting: Path, cli: Any) -> None:
    file = Path(exported[3])
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-3]))
    assert "BROKEN at event" in cli(*exported, "--key", waiting / "seal_keys", code=1).out


@pytest.mark.parametrize(
    "keys", [(), ("--key", "nowhere"), ("--key", str(Path(__file__)))], ids=["none", "gone", "odd"]
)
def test_an_export_needs_its_keys(exported: tuple[str, ...], cli: Any, keys: tuple[str, ...]) -> None:
    assert "interlock audit key" in cli(*exported, *keys, code=2).err
