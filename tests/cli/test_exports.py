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


def test_an_export_of_a_case_proves_that_it_is_whole(
    exported: tuple[str, ...], waiting: Path, cli: Any, tmp_path: Path
) -> None:
    case = cli("cases", "--home", waiting, "--json").json["items"][0]["id"]
    file = tmp_path / "case.jsonl"
    file.write_text(cli("audit", "export", "--proof", "--case", case, "--home", waiting).out)
    checked = ("audit", "verify", "--export", file, "--key", waiting / "seal_keys", "--anchor", exported[5])
    assert "verified; sealed up to event" in cli(*checked).out
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2] + lines[3:]))
    assert "events are missing, or too many" in cli(*checked, code=1).out
    cli("audit", "export", "--proof", "--since", "2026-01-01", "--home", waiting, code=2)


def test_old_events_are_archived_by_command(
    exported: tuple[str, ...], waiting: Path, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ("audit", "archive", "--by", "person:bo", "--home", waiting, "--before", "2100-01-01")
    assert "183 days" in cli(*late, code=2).err
    monkeypatch.setenv("INTERLOCK_RETENTION_DAYS", "0")
    moved = cli("audit", "archive", "--by", "person:bo", "--home", waiting, "--json").json
    (file,) = (waiting / "archives").iterdir()
    assert (moved["files"], moved["kept"] > 0) == ([file.name], True)
    rest = tmp_path / "rest.jsonl"
    rest.write_text(cli("audit", "export", "--home", waiting).out)
    proved = ("--key", waiting / "seal_keys", "--anchor", exported[5])
    assert "verified" in cli("audit", "verify", "--home", waiting).out
    assert "verified" in cli("audit", "verify", "--export", file, "--export", rest, *proved).out
    assert "verified" in cli("audit", "verify", "--export", rest, "--partial", *proved).out
    assert "verified" in cli("audit", "verify", "--export", file, "--archive", *proved).out
    assert "BROKEN" in cli("audit", "verify", "--export", file, *proved, code=1).out


def test_an_open_case_is_not_erased_by_command(waiting: Path, cli: Any) -> None:
    case = cli("cases", "--status", "waiting", "--home", waiting, "--json").json["items"][0]["id"]
    erase = ("audit", "erase", "--by", "person:bo", "--comment", "asked", "--home", waiting)
    assert "has not ended" in cli(*erase, "--case", case, code=1).err
    assert "say what to erase" in cli(*erase, code=2).err
    cli("cases", "cancel", case, "--by", "person:bo", "--home", waiting)
    assert cli(*erase, "--case", case).out.split() == [case]
    assert "verified" in cli("audit", "verify", "--home", waiting).out
