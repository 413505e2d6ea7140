"""`interlock run`: a case per input, each once, whatever is in the file and however the run ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Orders = Callable[[Sequence[tuple[str, int, str]]], Path]
MIXED = [("acme", 5000, "a"), ("globex", 4000, "b"), ("acme", 250_000, "dear"), ("unknown", 10, "c"), ("löwe", 0, "ß")]
KEYS = {
    "cases", "completed", "waiting", "failed", "exceptions", "approvals_waiting", "ledger_events", "ledger_verified",
    "seconds", "cases_per_s", "peak_mb", "orders",
}  # fmt: skip
TIMES = {"seconds", "cases_per_s", "peak_mb"}


def counts(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in TIMES}


def test_one_json_object_with_the_figures_of_this_input(shop: Path, cli: Any, orders: Orders, erp: Any) -> None:
    found = cli("run", "orders", "--input", orders(MIXED), "--home", shop, "--json").json
    assert found.keys() >= KEYS
    assert (found["cases"], found["completed"], found["waiting"], found["failed"]) == (5, 3, 2, 0)
    assert (found["exceptions"], found["approvals_waiting"], found["orders"]) == (1, 1, 3)
    assert found["ledger_verified"] is True and found["peak_mb"] > 0
    assert sorted(line.split(" ", 1)[1] for line in erp()) == ["acme 5000", "globex 4000", "löwe 0"]


def test_a_second_run_finds_the_cases_and_changes_nothing(shop: Path, cli: Any, orders: Orders, erp: Any) -> None:
    first = cli("run", "orders", "--input", orders(MIXED), "--home", shop, "--json").json
    before = erp()
    second = cli("run", "orders", "--input", orders(MIXED[::-1]), "--home", shop, "--json", "--concurrency", 1).json
    assert counts(first) == counts(second)
    assert erp() == before


def test_figures_are_those_of_this_input_only(shop: Path, cli: Any, orders: Orders) -> None:
    cli("run", "orders", "--input", orders(MIXED), "--home", shop)
    found = cli("run", "orders", "--input", orders(MIXED[:2]), "--home", shop, "--json").json
    assert (found["cases"], found["completed"], found["orders"]) == (2, 2, 2)
    alone = cli("run", "orders", "--input", orders(MIXED[:2]), "--home", shop.with_name("other"), "--json").json
    assert counts(found) == counts(alone)


def test_equal_lines_are_one_case(shop: Path, cli: Any, orders: Orders, erp: Any) -> None:
    found = cli("run", "orders", "--input", orders([MIXED[0]] * 3), "--home", shop, "--json").json
    assert (found["cases"], len(erp())) == (1, 1)


def test_cases_start_in_the_order_of_the_workflow(shop: Path, cli: Any, orders: Orders) -> None:
    cli("run", "orders", "--input", orders(MIXED), "--home", shop)
    totals = [case["input"]["total"] for case in cli("cases", "--home", shop, "--json").json["items"]]
    assert totals == sorted(total for _, total, _ in MIXED)


def test_limit_takes_the_first_of_that_order(shop: Path, cli: Any, orders: Orders) -> None:
    cli("run", "orders", "--input", orders(MIXED), "--home", shop, "--limit", 2)
    assert [c["input"]["total"] for c in cli("cases", "--home", shop, "--json").json["items"]] == [0, 10]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"supplier": "acme", "total": 1}, 0),
        ({"supplier": "acme", "total": 250_000}, 3),
        ({"supplier": "unknown", "total": 1}, 3),
        ({"supplier": "broken", "total": 1}, 1),
    ],
)
def test_the_exit_code_says_how_one_case_ended(shop: Path, cli: Any, order: dict[str, Any], code: int) -> None:
    found = cli("run", "orders", "--input", json.dumps(order), "--home", shop, "--json", code=code).json
    assert found["cases"] == 1


def test_among_many_a_waiting_one_is_no_failure_and_a_failed_one_is(shop: Path, cli: Any, orders: Orders) -> None:
    assert cli("run", "orders", "--input", orders(MIXED), "--home", shop, code=0)
    said = cli("run", "orders", "--input", orders([*MIXED, ("broken", 1, "")]), "--home", shop, code=1)
    assert "the route is broken" in said.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("supplier,total\nacme,1\nacme\n", ["line 3", "1 fields instead of 2"]),
        ("supplier,total\nacme,1\nacme,much\nacme,-1\n", ["line 3: total", "line 4: total"]),
        ("supplier\nacme\n", ["no column total", "it has supplier"]),
        ("\ufefftotal\n1\n", ["no column supplier"]),
        ("supplier,total\n" + "acme,x\n" * 9, ["and 4 more"]),
    ],
)
def test_bad_input_names_its_place_and_starts_nothing(shop: Path, cli: Any, content: str, said: list[str]) -> None:
    path = shop.with_name("bad.csv")
    path.write_text(content, encoding="utf-8")
    answer = cli("run", "orders", "--input", path, "--home", shop, code=2)
    assert all(text in answer.err for text in ["bad.csv", "hint:", *said])
    assert answer.out == ""
    assert cli("cases", "--home", shop, "--json", code=None).out in ("", '{\n  "items": [],\n  "cursor": null\n}\n')


def test_unknown_names_are_said_so(shop: Path, cli: Any, orders: Orders) -> None:
    path = orders(MIXED)
    assert "no workflow 'nope'" in cli("run", "nope", "--input", path, "--home", shop, code=1).err
    who = cli("run", "orders", "--input", path, "--home", shop, "--requester", "person:x", code=1)
    assert "no actor 'person:x'" in who.err
    assert cli("run", "orders", "--home", shop, code=2).err


def test_a_system_that_does_not_answer_ends_with_five(
    shop: Path, cli: Any, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orders(MIXED)
    monkeypatch.setenv("SHOP_DOWN", "1")
    assert "the ERP does not answer" in cli("run", "orders", "--input", path, "--home", shop, code=5).err
    monkeypatch.delenv("SHOP_DOWN")
    assert cli("run", "orders", "--input", path, "--home", shop, "--json").json["completed"] == 3


def test_a_broken_policy_is_named_and_a_forbidden_call_waits_for_a_person(shop: Path, cli: Any, orders: Orders) -> None:
    bad = shop.with_name("bad.cedar")
    bad.write_text("permit(principal, action, resource) when { context.amuont < 3 };")
    said = cli("run", "orders", "--input", orders(MIXED), "--home", shop, "--policies", bad, code=1)
    assert "bad.cedar:1:" in said.err and "did you mean amount" in said.err
    found = cli("run", "orders", "--input", orders([("evil", 5, ""), ("acme", 5, "")]), "--home", shop, "--json").json
    assert (found["exceptions"], found["completed"]) == (1, 1)
    assert "we do not buy from evil" in cli("inbox", "--home", shop).out


def test_who_may_not_start_is_denied(shop: Path, cli: Any, orders: Orders) -> None:
    strict = shop.with_name("strict.cedar")
    strict.write_text('@id("NO") forbid(principal, action == Interlock::Action::"case.start", resource);')
    said = cli("run", "orders", "--input", orders(MIXED), "--home", shop, "--policies", strict, code=4)
    assert "may not start 'orders'" in said.err and "NO" in said.err


def test_progress_is_no_data(shop: Path, process: Any, orders: Orders) -> None:
    answer = process("run", "orders", "--input", orders(MIXED), "--home", shop, "--json", stdin=subprocess.DEVNULL)
    assert answer.json["cases"] == 5
    assert "driving cases: 5" in answer.err


def test_wait_holds_until_another_process_has_decided(
    shop: Path, begin: Any, cli: Any, orders: Orders, erp: Any
) -> None:
    run = begin("run", "orders", "--input", orders(MIXED[:3]), "--home", shop, "--wait", 50, "--json")
    item = until(lambda: cli("approvals", "--home", shop, "--json", code=None), 1)
    said = cli("approvals", "decide", item, "--approve", "--by", "person:bo", "--home", shop, "--json")
    assert said.json["decided_by"] == "person:bo" and "sent to the engine" in said.err
    out, err = run.communicate(timeout=60)
    assert (run.returncode, json.loads(out)["completed"], len(erp())) == (0, 3, 3), err


def until(ask: Callable[[], Any], count: int) -> str:
    """The id of the first item of a list, once there are so many."""
    for _ in range(400):
        answer = ask()
        items = answer.json["items"] if answer.code == 0 else []
        if len(items) >= count:
            return str(items[0]["id"])
        time.sleep(0.05)
    raise AssertionError("nothing came")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_from_there(
    shop: Path, begin: Any, cli: Any, orders: Orders, erp: Any, stop: signal.Signals, code: int
) -> None:
    """The first orders are placed, the others are held back inside their task when the signal comes."""
    path, hold = orders([("acme", total, "x") for total in range(12)]), shop.with_name("go")
    held = {"SHOP_HOLD": str(hold), "INTERLOCK_DRAIN_S": "0.5"}
    run = begin("run", "orders", "--input", path, "--home", shop, "--concurrency", 4, "--json", **held)
    until(lambda: cli("cases", "--home", shop, "--status", "running", "--json", code=None), 1)
    run.send_signal(stop)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    if stop != signal.SIGKILL:
        assert "stopped; nothing is lost" in err
    found = cli("run", "orders", "--input", path, "--home", shop, "--json").json
    assert (found["completed"], found["ledger_verified"], len(set(erp())), len(erp())) == (12, True, 12, 12)
