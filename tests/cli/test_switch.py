"""`interlock switch`: set by command, listed, and told with its history."""

from __future__ import annotations

from pathlib import Path

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
