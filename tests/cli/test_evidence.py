"""What people see of where values come from: of an approval's arguments, and of a whole case."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def approval(waiting: Path, cli: Any) -> dict[str, Any]:
    (item,) = cli("approvals", "--home", waiting, "--json").json["items"]
    return dict(item)


def test_an_approval_says_where_its_arguments_come_from(waiting: Path, cli: Any) -> None:
    item = approval(waiting, cli)
    told = item["evidence"]["sources"]
    assert {name: [(one["value"], one["origin"], one["trusted"]) for one in of] for name, of in told.items()} == {
        "supplier": [("acme", "input", True)],
        "total": [("250000", "input", True)],
    }
    shown = cli("inbox", "show", item["id"], "--home", waiting).out
    at = told["supplier"][0]["at"]
    assert f"supplier  acme: input of {item['requester']}, {at}, trusted" in shown
    assert "comes from" in shown and '"sources"' not in shown


def test_the_facts_of_a_case_are_listed(waiting: Path, cli: Any) -> None:
    (case,) = cli("cases", "--status", "completed", "--home", waiting, "--json").json["items"]
    (fact,) = cli("cases", "show", case["id"], "--facts", "--home", waiting, "--json").json["items"]
    assert (fact["kind"], fact["source"], fact["trust"]) == ("tool", "erp.create_po", "untrusted")
    assert fact["at"] and fact["value"] == "PO-acme-100"
    shown = cli("cases", "show", case["id"], "--facts", "--home", waiting).out
    assert "PO-acme-100" in shown and "untrusted" in shown


def test_a_case_that_was_told_nothing_has_no_facts(waiting: Path, cli: Any) -> None:
    item = approval(waiting, cli)
    assert cli("cases", "show", item["case_id"], "--facts", "--home", waiting, "--json").json["items"] == []
    assert "no case" in cli("cases", "show", "nope", "--facts", "--home", waiting, code=1).err
