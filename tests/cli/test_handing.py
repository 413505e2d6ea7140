"""`release`, `delegate` and many answers from the command line, with and without a live engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_people import wait_for_engine


@pytest.fixture
def two(shop: Path, cli: Any, orders: Any) -> Path:
    """A home in which three orders wait for an approval, one of them above bo's limit."""
    rows = [("acme", 250_000, "a"), ("acme", 300_000, "b"), ("acme", 900_000, "c")]
    cli("run", "orders", "--input", orders(rows), "--home", shop, "--concurrency", 1)
    return shop


def ids(home: Path, cli: Any) -> list[str]:
    return [one["id"] for one in cli("approvals", "list", "--home", home, "--json").json["items"]]


def test_an_item_is_claimed_released_and_handed_on(waiting: Path, cli: Any) -> None:
    (task,) = cli("inbox", "--kind", "task", "--home", waiting, "--json").json["items"]
    home = ("--home", waiting, "--json")
    cli("inbox", "claim", task["id"], "--by", "person:loo", *home)
    assert "may not release" in cli("inbox", "release", task["id"], "--by", "person:requester", *home, code=4).err
    assert cli("inbox", "release", task["id"], "--by", "person:bo", *home).json["claimed_by"] is None
    handing = ("inbox", "delegate", task["id"], "--by", "person:loo", *home)
    assert "somebody else's" in cli(*handing, "--to", "person:bo", code=4).err
    assert "themselves" in cli(*handing, "--to", "person:loo", code=2).err
    assert "--to" in cli(*handing, code=2).err
    (approval,) = ids(waiting, cli)
    refused = cli("approvals", "delegate", approval, "--to", "person:loo", "--by", "person:bo", *home, code=4)
    assert "authority 'purchasing' is missing" in refused.err


def test_all_of_a_tool_are_answered_and_what_is_refused_is_said(two: Path, cli: Any, erp: Any) -> None:
    many = ("approvals", "decide", "--all", "--tool", "erp.create_po", "--approve", "--by", "person:bo", "--home", two)
    told = cli(*many, "--json", code=1)
    assert [one["action"]["money"]["amount"] for one in told.json["items"]] == [250_000, 300_000]
    assert [one["code"] for one in told.json["errors"]] == ["not_authorized"]
    assert "2 answered, 1 refused" in told.err
    assert told.err.count("is completed") == 2
    assert len(erp()) == 2
    again = cli(*many, code=1)
    assert "0 answered, 1 refused" in again.err
    assert "0 answered, 0 refused" in cli("approvals", "decide", "--all", "--tool", "erp.x", *many[5:]).err


def test_ids_and_a_bound_choose_what_is_answered(two: Path, cli: Any, erp: Any) -> None:
    first, second, _ = ids(two, cli)
    answer = ("--reject", "not now", "--by", "person:bo", "--home", two)
    assert "1 answered, 0 refused" in cli("approvals", "decide", "--all", "--max", 1, *answer).err
    shown = cli("approvals", "decide", first, second, "nothing", "--json", *answer, code=1)
    assert [one["id"] for one in shown.json["items"]] == [first, second]  # the first has its answer already
    assert [(one["item"], one["code"]) for one in shown.json["errors"]] == [("nothing", "not_found")]
    assert erp() == []


@pytest.mark.parametrize(
    "wrong",
    [(), ("x", "--all"), ("x", "--tool", "erp.create_po"), ("x", "y", "--digest", "0"), ("--all", "--max", 0)],
)
def test_what_says_not_which_items_is_a_mistake(two: Path, cli: Any, wrong: tuple[object, ...]) -> None:
    cli("approvals", "decide", *wrong, "--approve", "--by", "person:bo", "--home", two, code=2)
    assert len(ids(two, cli)) == 3


def test_a_live_engine_hands_items_on_and_takes_many_answers(
    two: Path, begin: Any, cli: Any, orders: Any, erp: Any
) -> None:
    run = begin("run", "orders", "--input", orders([("acme", 999, "held")]), "--home", two, SHOP_HOLD=str(two / "go"))
    wait_for_engine(two, cli)
    first, *_ = ids(two, cli)
    by = ("--by", "person:bo", "--home", two, "--json")
    assert "sent to the engine" in cli("approvals", "claim", first, *by).err
    assert cli("approvals", "release", first, *by).json["claimed_by"] is None
    assert "missing" in cli("approvals", "delegate", first, "--to", "person:loo", *by, code=4).err
    (two / "go").touch()
    told = cli("approvals", "decide", "--all", "--approve", *by, code=1)
    assert (len(told.json["items"]), len(told.json["errors"])) == (2, 1)
    run.communicate(timeout=60)
    assert len(erp()) == 3
