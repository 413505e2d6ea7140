"""`interlock inbox`, `approvals`, `cases`, `switch`: what people do, with and without a live engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def item(waiting: Path, cli: Any) -> Any:
    """The id of the open item of a kind."""

    def find(kind: str) -> str:
        (found,) = cli("inbox", "--kind", kind, "--home", waiting, "--json").json["items"]
        return str(found["id"])

    return find


def test_the_inbox_shows_every_kind_and_approvals_only_theirs(waiting: Path, cli: Any) -> None:
    items = cli("inbox", "--home", waiting, "--json").json["items"]
    assert sorted(one["kind"] for one in items) == ["approval", "exception", "task"]
    assert [one["kind"] for one in cli("approvals", "list", "--home", waiting, "--json").json["items"]] == ["approval"]
    shown = cli("inbox", "--home", waiting).out
    assert all(text in shown for text in ("2,500.00 EUR", "purchasing", "nobody knows this supplier", "erp.create_po"))


def test_lists_go_on_where_a_page_ended(waiting: Path, cli: Any) -> None:
    for command, count in (("inbox", 3), ("cases", 4)):
        first = cli(command, "--home", waiting, "--json", "--limit", 2).json
        rest = cli(command, "--home", waiting, "--json", "--limit", 2, "--cursor", first["cursor"]).json
        assert len({one["id"] for one in first["items"] + rest["items"]}) == count
        assert rest["cursor"] is None
        assert f"--cursor {first['cursor']}" in cli(command, "--home", waiting, "--limit", 2).err
        assert "is no cursor" in cli(command, "--home", waiting, "--cursor", "x'; --", code=2).err


def test_a_role_sees_what_it_may_answer(waiting: Path, cli: Any) -> None:
    kinds = [i["kind"] for i in cli("inbox", "--role", "purchasing", "--home", waiting, "--json").json["items"]]
    assert kinds == ["approval"]
    assert cli("inbox", "--role", "nobody", "--home", waiting, "--json").json["items"] == []


def test_an_approval_is_given_and_its_case_goes_on(waiting: Path, cli: Any, item: Any, erp: Any) -> None:
    before = len(erp())
    said = cli("approvals", "decide", item("approval"), "--approve", "--by", "person:bo", "--home", waiting, "--json",
               "--comment", "im Budget ✓")  # fmt: skip
    assert (said.json["status"], said.json["comment"]) == ("decided", "im Budget ✓")
    assert "is completed" in said.err
    assert len(erp()) == before + 1
    assert cli("audit", "verify", "--home", waiting).out.endswith("verified\n")


def test_a_no_is_final_and_a_repeated_answer_is_the_first(waiting: Path, cli: Any, item: Any, erp: Any) -> None:
    approval = item("approval")
    answer = ("approvals", "decide", approval, "--by", "person:bo", "--home", waiting)
    first = cli(*answer, "--reject", "too dear", "--json").json
    assert first["decision"]["why"] == "too dear"
    assert cli(*answer, "--reject", "too dear", "--json").json["decided_at"] == first["decided_at"]
    assert "the first answer stands" in cli(*answer, "--approve", code=1).err
    assert not any("250000" in line for line in erp())


def test_an_edit_is_a_new_action(waiting: Path, cli: Any, item: Any, erp: Any) -> None:
    answer = ("approvals", "decide", item("approval"), "--by", "person:bo", "--home", waiting)
    over = cli(*answer, "--edit", json.dumps({"supplier": "acme", "total": 900_000}), code=4)
    assert "may not decide" in over.err
    assert "total" in cli(*answer, "--edit", '{"total": "much"}', code=2).err
    cli(*answer, "--edit", '{"total": 70000}')
    assert [line.split(" ", 1)[1] for line in erp()] == ["acme 70000"]


@pytest.mark.parametrize(
    ("who", "said"),
    [("person:requester", "kept apart"), ("person:loo", "authority 'purchasing' is missing"), ("agent:x", "may not"),
     ("person:nobody", "may not decide"), ("", "may not decide")],
)  # fmt: skip
def test_who_may_not_decide_is_refused(waiting: Path, cli: Any, item: Any, who: str, said: str) -> None:
    answer = cli("approvals", "decide", item("approval"), "--approve", "--by", who, "--home", waiting, code=4)
    assert said in answer.err


@pytest.mark.parametrize(
    "wrong",
    [(), ("--approve", "--reject", "no"), ("--edit", "["), ("--edit", "[]"), ("--reject", ""), ("--reject", " ")],
)
def test_exactly_one_whole_answer_is_needed(waiting: Path, cli: Any, item: Any, wrong: tuple[str, ...]) -> None:
    approval = item("approval")
    cli("approvals", "decide", approval, *wrong, "--by", "person:bo", "--home", waiting, code=2)
    assert item("approval") == approval


def test_a_stale_digest_decides_nothing(waiting: Path, cli: Any, item: Any) -> None:
    answer = ("approvals", "decide", item("approval"), "--approve", "--by", "person:bo", "--home", waiting)
    assert "another action" in cli(*answer, "--digest", "0" * 64, code=1).err


@pytest.mark.parametrize("answer", [("--approve",), ("--respond", '{"checked": true}'), ("--reject", "no such firm")])
def test_an_exception_is_answered_by_the_operator(waiting: Path, cli: Any, item: Any, answer: tuple[str, ...]) -> None:
    exception = item("exception")
    refused = cli("inbox", "decide", exception, *answer, "--by", "person:loo", "--home", waiting, code=4)
    assert "operator" in refused.err
    said = cli("inbox", "decide", exception, *answer, "--by", "person:bo", "--home", waiting).err
    assert {"--approve": "is waiting", "--respond": "is waiting", "--reject": "is failed"}[answer[0]] in said


def test_a_task_is_claimed_and_completed_by_its_person(waiting: Path, cli: Any, item: Any) -> None:
    task = item("task")
    assert "somebody else's" in cli("inbox", "claim", task, "--by", "person:bo", "--home", waiting, code=4).err
    claimed = cli("inbox", "claim", task, "--by", "person:loo", "--home", waiting, "--json").json
    assert claimed["claimed_by"] == "person:loo"
    done = ("inbox", "complete", task, "--by", "person:loo", "--home", waiting)
    assert "po" in cli(*done, "--output", '{"po": 3}', code=2).err
    assert "no JSON" in cli(*done, "--output", "{", code=2).err
    wrong = cli("inbox", "decide", task, "--approve", "--by", "person:loo", "--home", waiting, code=2)
    assert "complete tasks" in wrong.err
    case = cli(*done, "--output", '{"po": "by phone"}', "--json").json["case_id"]
    assert cli("cases", "show", case, "--home", waiting, "--json").json["status"] == "completed"


def test_show_says_what_is_asked_and_why(waiting: Path, cli: Any, item: Any) -> None:
    shown = cli("approvals", "show", item("approval"), "--home", waiting).out
    assert all(text in shown for text in ("asks for", "erp.create_po", "250000", "because", "BUY-1", "person:bo"))
    assert '"asked":"unknown"' in cli("inbox", "show", item("exception"), "--home", waiting).out


@pytest.mark.parametrize("wrong", ["nope", "", "../../etc/passwd", "'; DROP TABLE inbox; --", "ü" * 300])
def test_wrong_ids_are_not_found(waiting: Path, cli: Any, wrong: str) -> None:
    assert "no inbox item" in cli("inbox", "show", wrong, "--home", waiting, code=1).err
    assert "no case" in cli("cases", "show", wrong, "--home", waiting, code=1).err
    assert "hint" in cli("approvals", "decide", wrong, "--approve", "--by", "person:bo", "--home", waiting, code=1).err
    assert "hint" in cli("cases", "cancel", wrong, "--by", "person:bo", "--home", waiting, code=1).err


def test_a_case_is_cancelled_paused_resumed_and_forked(waiting: Path, cli: Any) -> None:
    found = cli("cases", "--status", "waiting", "--home", waiting, "--json").json
    ids = [case["id"] for case in found["items"]]
    by = ("--by", "person:bo", "--home", waiting, "--json", "--comment", "why")
    assert cli("cases", "cancel", ids[0], *by).json["status"] == "cancelled"
    assert "has cancelled" in cli("cases", "cancel", ids[0], *by, code=1).err
    cli("cases", "pause", ids[1], *by)
    cli("cases", "resume", ids[1], *by)
    fork = cli("cases", "fork", ids[1], *by).json
    assert fork["parent"] == ids[1] and fork["id"] != ids[1]
    kinds = [json.loads(line)["type"] for line in cli("audit", "export", "--home", waiting).out.splitlines()]
    assert {"case.cancelled", "case.paused", "case.resumed", "case.forked"} <= set(kinds)


def test_a_switch_stops_and_lets_go_on(shop: Path, cli: Any, orders: Any, erp: Any) -> None:
    cli("run", "orders", "--input", orders([("acme", 1, "")]), "--home", shop)
    by = ("--by", "person:bo", "--home", shop)
    cli("switch", "tool:erp.create_po", "off", *by, "--comment", "audit")
    assert cli("switch", "--home", shop, "--json").json["items"][0]["comment"] == "audit"
    blocked = cli("run", "orders", "--input", orders([("acme", 2, "")]), "--home", shop, "--json", code=3).json
    assert (blocked["waiting"], len(erp())) == (1, 1)
    cli("switch", "tool:erp.create_po", "on", *by)
    assert "can be switched" in cli("switch", "bogus", "off", *by, code=2).err
    assert "no state" in cli("switch", "all", "maybe", *by, code=2).err
    cli("switch", "all", "off", "--home", shop, code=2)


def test_nothing_is_asked_when_who_decides_is_not_said(waiting: Path, cli: Any, item: Any) -> None:
    assert "--by" in cli("approvals", "decide", item("approval"), "--approve", "--home", waiting, code=2).err


def test_a_live_engine_takes_the_commands_and_a_second_one_is_refused(
    waiting: Path, begin: Any, cli: Any, orders: Any, item: Any
) -> None:
    approval = item("approval")
    path = orders([("acme", 999, "held")])
    run = begin("run", "orders", "--input", path, "--home", waiting, "--json", SHOP_HOLD=str(waiting / "go"))
    wait_for_engine(waiting, cli)
    assert "another engine drives" in cli("run", "orders", "--input", path, "--home", waiting, code=1).err
    said = cli("approvals", "decide", approval, "--by", "person:requester", "--approve", "--home", waiting, code=4).err
    assert "sent to the engine" in said and "kept apart" in said
    cli("switch", "agent:x", "drain", "--by", "person:bo", "--home", waiting)
    assert cli("switch", "--home", waiting, "--json").json["items"][0]["state"] == "drain"
    assert "lives (pid" in cli("doctor", "--home", waiting).out
    (waiting / "go").touch()
    out, err = run.communicate(timeout=60)
    assert json.loads(out)["completed"] == 1, err
    assert "none lives" in cli("doctor", "--home", waiting).out


def wait_for_engine(home: Path, cli: Any) -> None:
    for _ in range(1200):
        if (home / "engine.json").exists():
            return
        time.sleep(0.05)
    raise AssertionError("no engine came")
