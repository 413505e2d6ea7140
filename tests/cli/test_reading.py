"""Commands that only read: metrics, audit, policy, map, actors, check, doctor."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from interlock.money import Money

JSON_COMMANDS = [
    ("cases",), ("inbox",), ("approvals",), ("actors",), ("metrics",), ("audit", "verify"), ("policy", "check"),
    ("switch",), ("check",), ("doctor",), ("map", "orders"),
]  # fmt: skip


@pytest.mark.parametrize("command", JSON_COMMANDS, ids=" ".join)
def test_every_reading_command_prints_one_json_document(waiting: Path, cli: Any, command: tuple[str, ...]) -> None:
    answer = cli(*command, "--home", waiting, "--json")
    assert isinstance(answer.json, dict)
    assert cli(*command, "--home", waiting).out != answer.out


@pytest.mark.parametrize("command", [*JSON_COMMANDS[:6], ("switch",), ("audit", "export")], ids=" ".join)
def test_a_home_without_a_database_is_said_and_not_made(shop: Path, cli: Any, command: tuple[str, ...]) -> None:
    if command == ("actors",):
        return
    assert "interlock demo" in cli(*command, "--home", shop, code=1).err
    assert not shop.exists()


@pytest.mark.parametrize("command", [("cases",), ("audit", "verify"), ("metrics",), ("inbox",)], ids=" ".join)
def test_a_corrupt_database_is_said_and_left_as_it_is(waiting: Path, cli: Any, command: tuple[str, ...]) -> None:
    database = waiting / "interlock.db"
    for name in ("interlock.db-wal", "interlock.db-shm"):
        (waiting / name).unlink(missing_ok=True)
    database.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    before = database.read_bytes()
    answer = cli(*command, "--home", waiting, code=1)
    assert "cannot be read" in answer.err and "hint: restore a backup" in answer.err
    assert database.read_bytes() == before
    shown = cli("doctor", "--home", waiting, code=1).out
    assert "WRONG" in shown and "restore a backup" in shown


def test_reading_changes_nothing(waiting: Path, cli: Any) -> None:
    before = (waiting / "interlock.db").read_bytes()
    for command in (("cases",), ("inbox",), ("metrics",), ("audit", "verify"), ("doctor",)):
        cli(*command, "--home", waiting)
    assert (waiting / "interlock.db").read_bytes() == before
    assert not (waiting / "engine.json").exists()


# audit


def test_an_edited_ledger_is_found_and_the_event_is_named(waiting: Path, cli: Any) -> None:
    connection = sqlite3.connect(waiting / "interlock.db")
    connection.execute("UPDATE ledger SET actor = 'person:nobody' WHERE seq = 5")
    connection.commit()
    connection.close()
    answer = cli("audit", "verify", "--home", waiting, "--json", code=1)
    assert (answer.json["ok"], answer.json["first_bad"]) == (False, 5)
    assert "BROKEN at event 5" in cli("audit", "verify", "--home", waiting, code=1).out
    assert "broken at event 5" in cli("doctor", "--home", waiting, code=1).out


def test_export_is_json_lines_of_the_events_asked_for(waiting: Path, cli: Any) -> None:
    events = [json.loads(line) for line in cli("audit", "export", "--home", waiting).out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    case = next(event["case_id"] for event in reversed(events) if event["case_id"])
    of_case = cli("audit", "export", "--case", case, "--home", waiting).out.splitlines()
    assert [json.loads(line) for line in of_case] == [event for event in events if event["case_id"] == case]
    late = cli("audit", "export", "--since", events[-1]["at"], "--home", waiting).out.splitlines()
    assert [json.loads(line)["seq"] for line in late] == [e["seq"] for e in events if e["at"] >= events[-1]["at"]]
    assert cli("audit", "export", "--since", "2999-01-01", "--home", waiting).out == ""
    assert "is no time" in cli("audit", "export", "--since", "soon", "--home", waiting, code=2).err


# metrics


def test_metrics_are_those_of_the_ledger(waiting: Path, cli: Any) -> None:
    figures = cli("metrics", "--home", waiting, "--json").json
    assert (figures["cases"]["completed"], figures["cases"]["waiting"]) == (1, 3)
    assert figures["money"]["EUR"]["executed"] == 100
    assert "money.EUR.executed" in cli("metrics", "--home", waiting).out
    by_day = cli("metrics", "--home", waiting, "--by", "day", "--json").json
    assert [period["cases"]["completed"] for period in by_day["periods"]] == [1]
    assert "period" in cli("metrics", "--home", waiting, "--by", "day", "--workflow", "orders").out


@pytest.mark.parametrize("wrong", [("--by", "hour"), ("--since", "soon"), ("--tz", "Mars")])
def test_metrics_refuse_what_makes_no_sense(waiting: Path, cli: Any, wrong: tuple[str, str]) -> None:
    assert wrong[1] in cli("metrics", "--home", waiting, *wrong, code=2).err


# policy


def test_policy_check_names_all_that_is_wrong(shop: Path, cli: Any) -> None:
    bad = shop.with_name("bad.cedar")
    bad.write_text(
        'permit(principal, action == Interlock::Action::"erp.create_p", resource);\n'
        "permit(principal, action, resource) when { context.amuont < 3 };\n"
        "forbid("
    )
    answer = cli("policy", "check", "--policies", bad, "--home", shop, code=1)
    places = [line.partition(": ")[0] for line in answer.out.splitlines()]
    assert [place.rsplit(":", 1)[0] for place in places] == ["bad.cedar:1", "bad.cedar:2", "bad.cedar:3"]
    assert "did you mean erp.create_po" in answer.out and "did you mean amount" in answer.out
    found = cli("policy", "check", "--policies", bad, "--home", shop, "--json", code=1).json
    assert found["valid"] is False and len(found["problems"]) == 3
    assert "cannot read" in cli("policy", "check", "--policies", shop / "nowhere", "--home", shop, code=2).err


def test_policy_check_of_a_sound_set(shop: Path, cli: Any) -> None:
    found = cli("policy", "check", "--home", shop, "--json").json
    assert (found["valid"], found["problems"], found["files"]) == (True, [], ["builtin.cedar", "shop.cedar"])


def explain(cli: Any, home: Path, args: dict[str, Any], *more: str, code: int = 0) -> Any:
    who = ("--tool", "erp.create_po", "--actor", "agent:orders.order")
    return cli("policy", "explain", *who, "--args", json.dumps(args), "--home", home, "--json", *more, code=code)


def test_policy_explain_says_decision_why_need_and_who(shop: Path, cli: Any) -> None:
    assert explain(cli, shop, {"supplier": "acme", "total": 5}).json["decision"] == "allowed"
    asked = explain(cli, shop, {"supplier": "acme", "total": 200_000}).json
    assert (asked["decision"], asked["need"], asked["who"]) == (
        "asked",
        {"purchasing": 1},
        {"purchasing": ["person:bo", "person:kim"]},
    )
    apart = explain(cli, shop, {"supplier": "acme", "total": 200_000}, "--requester", "person:bo").json
    assert apart["who"] == {"purchasing": ["person:kim"]}
    given = explain(
        cli, shop, {"supplier": "acme", "total": 200_000}, "--context", '{"approvals": {"purchasing": 1}}'
    ).json
    assert given["decision"] == "allowed"
    evil = explain(cli, shop, {"supplier": "evil", "total": 5}).json
    assert (evil["decision"], evil["reasons"][0]) == ("denied", ["BUY-3", "we do not buy from evil"])
    assert explain(cli, shop, {"supplier": "acme"}).json["reasons"][0][0] == "gateway.schema"


def test_policy_explain_for_people_shows_each_condition(shop: Path, cli: Any) -> None:
    shown = cli(
        "policy", "explain", "--tool", "erp.create_po", "--actor", "agent:orders.order", "--home", shop,
        "--args", '{"supplier": "acme", "total": 200000}',
    ).out  # fmt: skip
    assert shown.startswith("asked\n") and "needs 1 approval of purchasing: person:bo" in shown
    assert "shop.cedar:1" in shown and "context.amount = 200000" in shown


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("--tool", "nope", "--actor", "agent:orders.order"), 1),
        (("--tool", "erp.create_po", "--actor", "agent:nope"), 1),
        (("--tool", "erp.create_po", "--actor", "agent:orders.order", "--args", "["), 2),
        (("--tool", "erp.create_po", "--actor", "agent:orders.order", "--args", "[]"), 2),
    ],
)
def test_policy_explain_of_what_is_not_there(shop: Path, cli: Any, wrong: tuple[str, ...], code: int) -> None:
    assert cli("policy", "explain", *wrong, "--home", shop, code=code).err


def test_the_right_to_start_is_explained_too(shop: Path, cli: Any) -> None:
    start = ("policy", "explain", "--tool", "case.start", "--actor", "person:requester", "--home", shop, "--json")
    assert cli(*start).json["decision"] == "allowed"


# map, actors, check


def test_map_as_text_picture_and_data(shop: Path, cli: Any) -> None:
    text = cli("map", "orders", "--home", shop).out
    assert "flowchart TD" in text and "erp.create_po" in text and "agent:orders.order" in text
    file = shop.with_name("ö.svg")
    assert "written to" in cli("map", "orders", "--format", "svg", "--output", file, "--home", shop).err
    steps = [g.get("data-step") for g in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}g")]  # ours
    assert {"vet", "order", "look"} <= set(steps)
    ways = {(e["source"], e["target"], e["kind"]) for e in cli("map", "orders", "--home", shop, "--json").json["edges"]}
    assert ("vet", "look", "branch") in ways
    assert "registered: ['orders']" in cli("map", "nope", "--home", shop, code=1).err
    assert "cannot be written" in cli("map", "orders", "--home", shop, "--output", shop / "no" / "x", code=2).err
    cli("map", "orders", "--format", "png", "--home", shop, code=2)


def test_actors_are_those_of_the_project(shop: Path, cli: Any) -> None:
    found = {actor["id"]: actor for actor in cli("actors", "--home", shop, "--json").json["items"]}
    assert {"person:bo", "person:loo", "person:requester", "agent:orders.order", "agent:orders.vet"} <= set(found)
    assert found["person:bo"]["authorities"] == [f"purchasing {Money.of('5000', 'EUR')}"]
    assert found["agent:orders.order"]["kind"] == "code"


def test_check_of_a_sound_and_of_a_careless_project(
    shop: Path, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("check", "--home", shop, "--json").json["ok"] is True
    (tmp_path / "careless.py").write_text(CARELESS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INTERLOCK_PROJECT", "careless:setup")
    monkeypatch.delenv("INTERLOCK_POLICIES")
    answer = cli("check", "--home", shop, "--json", code=1).json
    errors = {(f["where"], f["what"].split(",")[0]) for f in answer["findings"] if f["level"] == "error"}
    assert errors == {
        ("tool erp.pay", "writes"),
        ("task careless.nobody", "nobody can perform it"),
        ("task careless.act", "names the tool 'erp.gone'"),
        ("approval careless.gate", "nobody holds the authority 'treasury'"),
        ("approval careless.later", "nobody holds the authority 'treasury'"),
        ("workflow careless, step lonely", "cannot be reached from the start"),
    }
    warned = {(f["where"], f["what"].split(",")[0]) for f in answer["findings"] if f["level"] == "warning"}
    assert {
        ("tool erp.pay", "names no system"), ("tool erp.pay", "asks for no scope"), ("workflow careless", "has no SLA"),
        ("workflow careless", "has no owner"), ("approval careless.gate", "has no SLA"),
        ("approval careless.later", "escalates to role:cfo"),
    } <= warned  # fmt: skip
    assert all(finding["hint"] for finding in answer["findings"])
    assert "6 errors" in cli("check", "--home", shop, code=1).err


CARELESS = """
from contextlib import asynccontextmanager
from datetime import timedelta
from langgraph.graph import END, START
from typing_extensions import TypedDict
from interlock import Person, Workflow

class State(TypedDict, total=False):
    x: int

wf = Workflow("careless", State)

@wf.task(skill="acting", tools=["erp.gone"])
async def act(state, call):
    return {}

wf.task("nobody", skill="magic")
wf.task("lonely", skill="acting")
gate = wf.approval("gate", authority="treasury")
later = wf.approval("later", authority="treasury", sla=timedelta(hours=1), escalate=["cfo"])
wf.flow(START, act, "nobody", gate, later, END)

async def pay(amount: int) -> str:
    return "paid"

@asynccontextmanager
async def setup(plane, reference=None):
    plane.register_tool(pay, name="erp.pay", effect="write")
    plane.register_actor(Person("ana", skills={"acting"}))
    plane.register(wf)
    yield
"""


# doctor


def test_doctor_of_a_sound_home(waiting: Path, cli: Any) -> None:
    found = cli("doctor", "--home", waiting, "--json").json
    assert found["ok"] is True
    assert [check["what"] for check in found["checks"]] == [
        "python", "packages", "home", "settings", "credentials", "database", "ledger", "engine", "model", "project",
    ]  # fmt: skip


def test_doctor_of_no_home_is_sound(shop: Path, cli: Any) -> None:
    assert cli("doctor", "--home", shop, "--json").json["ok"] is True


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("INTERLOCK_PROJECT", "nowhere:setup", "cannot be loaded"),
        ("INTERLOCK_PROJECT", "shop:nothing", "cannot be loaded"),
        ("INTERLOCK_CONCURRENCY", "many", "concurrency: Input should be a valid integer"),
        ("INTERLOCK_EMBEDDINGS", "magic", "is no embedding model"),
        ("SHOP_DOWN", "1", "the ERP does not answer"),
        ("INTERLOCK_CREDENTIALS_FILE", "/nowhere.yaml", "cannot be read"),
    ],
)
def test_doctor_finds_what_is_wrong(
    waiting: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    wrong = [check for check in cli("doctor", "--home", waiting, "--json", code=1).json["checks"] if not check["ok"]]
    assert any(said in check["found"] for check in wrong)
    assert all(check["hint"] for check in wrong)


def test_doctor_minds_who_may_read_the_credentials(waiting: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = waiting / "credentials.yaml"
    file.write_text("erp: very-secret\n")
    file.chmod(0o644)
    monkeypatch.setenv("INTERLOCK_CREDENTIALS_FILE", str(file))
    shown = cli("doctor", "--home", waiting, code=1).out
    assert "can be read by others" in shown and "chmod 600" in shown and "very-secret" not in shown
    file.chmod(0o600)
    assert "very-secret" not in cli("doctor", "--home", waiting).out


def test_doctor_of_a_file_in_place_of_a_home(shop: Path, cli: Any) -> None:
    shop.write_text("no folder")
    assert "is no folder" in cli("doctor", "--home", shop, code=1).out
    assert "hint" in cli("run", "orders", "--input", '{"supplier": "a", "total": 1}', "--home", shop, code=None).err


def test_wrong_settings_are_named_and_their_values_are_not(waiting: Path, cli: Any) -> None:
    (waiting / "settings.yaml").write_text("api_key: [hush]\nnope: 1\n")
    said = cli("actors", "--home", waiting, code=2).err
    assert "api_key" in said and "nope" in said and "hush" not in said
    (waiting / "settings.yaml").write_text("a: [\n")
    assert "unreadable settings" in cli("cases", "--home", waiting, code=2).err
