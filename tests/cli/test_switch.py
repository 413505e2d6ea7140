"""`interlock switch`: set by command, listed, and told with its history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.conftest import Run


def test_the_history_of_a_switch_is_told_from_the_ledger(cli: Run, waiting: Path) -> None:
    for state, comment in (("off", "wrong prices"), ("on", "")):
        cli("switch", "system:shop", state, "--by", "person:bo", "--comment", comment, "--home", waiting)
    cli("switch", "all", "drain", "--by", "person:bo", "--home", waiting)
    found = cli("switch", "--history", "--home", waiting, "--json").json["items"]
    assert [(s["target"], s["before"], s["state"], s["by"]) for s in found] == [
        ("system:shop", "on", "off", "person:bo"),
        ("system:shop", "off", "on", "person:bo"),
        ("all", "on", "drain", "person:bo"),
    ]
    one = cli("switch", "system:shop", "--history", "--home", waiting)
    assert "wrong prices" in one.out and "drain" not in one.out
    assert cli("switch", "nonsense", "--history", "--home", waiting, code=2).err


def test_without_an_engine_the_cases_that_go_on_are_driven_until_they_settle(
    waiting: Path, cli: Run, process: Run, orders: Any, tmp_path: Path
) -> None:
    erp = tmp_path / "erp.txt"
    cli("switch", "tool:erp.create_po", "off", "--by", "person:bo", "--comment", "wrong", "--home", waiting)
    cli("run", "orders", "--input", orders([("acme", 77, "later")]), "--home", waiting, code=None)
    listed = cli("cases", "--status", "waiting", "--home", waiting)
    assert "tool:erp.create_po is set to off by person:bo: wrong" in listed.out
    assert not erp.exists() or " 77\n" not in erp.read_text()
    said = process("switch", "tool:erp.create_po", "on", "--by", "person:bo", "--home", waiting).err
    assert said.count("is completed") == 1
    assert erp.read_text().count(" 77\n") == 1
