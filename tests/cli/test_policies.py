"""`--policies` on every command that opens a plane, and taking another set while an engine lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from interlock.cli.main import app
from tests.cli.conftest import HERE, Run

SHOP = (HERE / "shop.cedar").read_text("utf-8")
TYPO = '@id("typo") permit (principal, action == Interlock::Action::"erp.create_op", resource);\n'
# Commands that open no plane: nothing decides there.
NO_PLANE = {"policy reload", "new", "audit key"}


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for part, command in group.commands.items():
        full = f"{name} {part}".strip()
        if isinstance(command, TyperGroup):
            yield from commands(command, full)
            if command.invoke_without_command:
                yield full, command
        else:
            yield full, command


def test_every_command_that_opens_a_plane_takes_policies() -> None:
    found = {name: {p.name for p in command.params} for name, command in commands(typer.main.get_command(app))}
    without = {name for name, params in found.items() if "home" in params and "policies" not in params}
    assert without - NO_PLANE == set()
    assert len(found) > 20


@pytest.mark.parametrize(
    "command",
    [("cases",), ("inbox",), ("approvals",), ("actors",), ("metrics",), ("audit", "verify"), ("audit", "export"),
     ("switch",), ("check",), ("map", "orders"), ("policy", "check")],
    ids=" ".join,
)  # fmt: skip
def test_the_folder_is_what_is_loaded(waiting: Path, cli: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    """An empty folder holds no policies, and every one of these says so."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no *.cedar file" in cli(*command, "--home", waiting, "--policies", empty, code=2).err


def test_doctor_and_check_look_at_the_policies_given(waiting: Path, cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.cedar").write_text(SHOP + TYPO)
    checked = json.loads(cli("check", "--home", waiting, "--policies", folder, "--json", code=1).out)
    assert [f["where"] for f in checked["findings"] if "erp.create_op" in f["what"]] == ["a.cedar:17"]
    assert "erp.create_op" in cli("doctor", "--home", waiting, "--policies", folder, code=1).out
    cli("doctor", "--home", waiting)


def test_a_decision_is_taken_under_the_policies_given(waiting: Path, cli: Run, tmp_path: Path, erp: Any) -> None:
    """A folder in which nobody approves: the same answer that counts under the shop's own policies is refused."""
    item = next(i for i in cli("approvals", "--home", waiting, "--json").json["items"])
    answer = ("approvals", "decide", item["id"], "--approve", "--by", item["eligible"][0], "--home", waiting)
    nobody = tmp_path / "nobody.cedar"
    nobody.write_text(SHOP.replace('"purchasing"', '"nobody"'))
    cli(*answer, "--policies", nobody, code=4)
    cli(*answer)


def test_every_error_of_every_file_is_printed(waiting: Path, cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.cedar").write_text(
        f"{SHOP}\npermit (principal, action, resource) when {{ context.amount = 5 }};\n{TYPO}"
    )
    (folder / "b.cedar").write_text(
        'permit (principal, action == Interlock::Action::"erp.create_po", resource)\n'
        'when { context.amont <= 5 && context.args.suplier == "x" && context.curency == "EUR" };\n'
        "allow (principal, action, resource);\n"
        'forbid (principal in Interlock::Rolle::"x", action, resource) when { context.amount < 0.5 };\n'
        'permit (principal, action == Interlock::Action::"erp.create_po", resource)\n'
        'when { context.history.done.contains("erp.creat_po") && context.counts.daily < 3 };\n'
    )
    found = cli("policy", "check", "--home", waiting, "--policies", folder, "--json", code=1).json["problems"]
    where = {(p["file"], p["line"]) for p in found}
    assert {("a.cedar", 18), ("a.cedar", 19), ("b.cedar", 2), ("b.cedar", 3), ("b.cedar", 4), ("b.cedar", 6)} <= where
    told = " ".join(f"{p['message']} {p['suggestion']}" for p in found)
    for word in ("amont", "did you mean amount?", "write permit", "compare with ==", "erp.create_op", "counts.daily",
                 "erp.creat_po", "no fractions"):  # fmt: skip
        assert word in told, found
    text = cli("policy", "check", "--home", waiting, "--policies", folder, code=1)
    assert len(text.out.splitlines()) >= len(found)


def test_a_file_that_cannot_be_read_hides_nothing(waiting: Path, cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.cedar").write_text(TYPO)
    (folder / "b.cedar").write_bytes(b"\xff\xfe")
    (folder / "c.yaml").write_text("- role: x\n  action: nothing\n")
    found = cli("policy", "check", "--home", waiting, "--policies", folder, "--json", code=1).json
    assert [p["file"] for p in found["problems"]] == ["a.cedar", "b.cedar", "c.yaml"] and not found["valid"]


def test_boundaries_as_text_and_json(waiting: Path, cli: Run) -> None:
    found = cli("policy", "boundaries", "--home", waiting, "--tool", "erp.create_po", "--json").json["boundaries"]
    (limit,) = [b for b in found if b["policy"] == "BUY-1"]
    assert [limit[at]["decision"] for at in ("below", "at", "above")] == ["allowed", "allowed", "asked"]
    assert limit["above"]["need"] == {"purchasing": 1} and limit["above"]["value"] == 100001
    assert "asked: 1 of purchasing" in cli("policy", "boundaries", "--home", waiting).out
    assert "erp.nothing" in cli("policy", "boundaries", "--home", waiting, "--tool", "erp.nothing", code=1).err


def test_check_lists_dead_rules_and_limits_that_approvals_lift(waiting: Path, cli: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.cedar"
    scope = 'permit (principal, action == Interlock::Action::"erp.create_po", resource) when'
    mine.write_text(
        f'@id("day") {scope} {{ context.totals.day + context.amount <= 500 }};\n'
        f'@id("two") {scope} {{ context.approvals.purchasing >= 2 }};\n'
        f'@id("dead") {scope} {{ context.amount > 9 && context.amount < 3 }};\n'
    )
    said = cli("policy", "check", "--home", waiting, "--policies", mine)
    assert "mine.cedar:3:1: dead changes nothing" in said.out and "lifted by approval: 2 of purchasing" in said.out
    told = cli("policy", "check", "--home", waiting, "--policies", mine, "--json").json
    assert [(one["policy"], one["by"]) for one in told["lifted"]] == [("day", {"purchasing": 2})]


def test_explain_tells_who_may_not_approve_and_why(waiting: Path, cli: Run) -> None:
    item = cli("approvals", "--home", waiting, "--json").json["items"][0]
    told = cli("policy", "explain", "--home", waiting, "--item", item["id"], "--json").json
    assert told["decision"] == "asked" and told["who"]["purchasing"] == item["eligible"]
    assert told["who_not"]["purchasing"][item["requester"]] == ["asked for it"]
    assert set(told["who_not"]["purchasing"]).isdisjoint(item["eligible"])
    assert (
        f"not {item['requester']}: asked for it"
        in cli("policy", "explain", "--home", waiting, "--item", item["id"]).out
    )


def test_explain_a_recorded_call(waiting: Path, cli: Run) -> None:
    events = [json.loads(line) for line in cli("audit", "export", "--home", waiting).out.splitlines()]
    for decision in ("allowed", "asked"):
        event = next(e for e in events if e["type"] == "policy.decided" and e["data"]["decision"] == decision)
        key = event["data"]["effect_key"]
        told = cli("policy", "explain", "--home", waiting, "--call", key, "--json").json
        assert told["decision"] == decision and told["policies"]
        assert [past["at"] for past in told["recorded"]] == [event["at"]]
    assert "no call 'nothing'" in cli("policy", "explain", "--home", waiting, "--call", "nothing", code=1).err


@pytest.mark.parametrize("options", [(), ("--tool", "erp.create_po"), ("--item", "x", "--call", "y")], ids=" ".join)
def test_explain_wants_one_question(waiting: Path, cli: Run, options: tuple[str, ...]) -> None:
    assert "--item, or --call" in cli("policy", "explain", "--home", waiting, *options, code=2).err


@pytest.fixture
def served(waiting: Path, begin: Any, tmp_path: Path) -> Iterator[tuple[Path, Path, subprocess.Popen[str]]]:
    """A home that is served under a folder of policies."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "shop.cedar").write_text(SHOP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = begin("serve", "--home", waiting, "--port", port, "--policies", folder)
    _await(one, "serving")
    yield waiting, folder, one


def _await(process: subprocess.Popen[str], word: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(f"ended without {word!r}")


Served = tuple[Path, Path, subprocess.Popen[str]]


def test_a_live_engine_takes_a_set_that_validates_and_keeps_the_old_one_otherwise(served: Served, cli: Run) -> None:
    home, folder, one = served
    first = cli("policy", "reload", "--home", home, "--json").json
    (folder / "shop.cedar").write_text(SHOP + TYPO)
    refused = cli("policy", "reload", "--home", home, "--json", code=1).json
    assert (refused["taken"], refused["version"]) == (False, first["version"])
    assert refused["problems"][0]["suggestion"] == "did you mean erp.create_po?"
    (folder / "shop.cedar").write_text(SHOP.replace("evil", "bad"))
    taken = cli("policy", "reload", "--home", home, "--json").json
    assert taken["taken"] and taken["version"] != first["version"]
    one.terminate()
    one.wait(30)
    events = [json.loads(line) for line in cli("audit", "export", "--home", home).out.splitlines()]
    loaded = [e["data"] for e in events if e["type"] == "policy.loaded"]
    assert [e["version"] for e in loaded][-1] == taken["version"]
    assert loaded[-1]["previous"] == first["version"]


def test_a_hangup_takes_the_policies_again(served: Served) -> None:
    _, folder, one = served
    (folder / "shop.cedar").write_text(SHOP + TYPO)
    os.kill(one.pid, signal.SIGHUP)
    assert "not taken" in _await(one, "policies: ")
    (folder / "shop.cedar").write_text(SHOP.replace("evil", "bad"))
    os.kill(one.pid, signal.SIGHUP)
    assert "now version" in _await(one, "policies: ")


def test_without_an_engine_there_is_nothing_to_reload(waiting: Path, cli: Run) -> None:
    assert "no engine lives" in cli("policy", "reload", "--home", waiting, code=1).err


def test_who_reloads_has_to_be_somebody(served: Served, cli: Callable[..., Any]) -> None:
    assert "person:nobody" in cli("policy", "reload", "--home", served[0], "--by", "person:nobody", code=1).err


def test_a_candidate_is_tried_on_the_calls_of_a_home(waiting: Path, cli: Run, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    (candidate / "a.cedar").write_text(SHOP.replace("100000", "50"))
    simulate = ("policy", "simulate", "--home", waiting, "--candidate", candidate)
    found = cli(*simulate, "--json").json
    assert (found["calls"], found["changed"]) == (2, 1)
    (example,) = found["examples"]
    assert (example["before"], example["after"], example["need"]) == ("allowed", "asked", {"purchasing": 1})
    text = cli(*simulate)
    assert example["case_id"] in text.out and "1.00 EUR" in text.out and "1 of 2 calls in 2 cases" in text.err
    why = cli(
        "policy", "explain", "--call", example["effect_key"], "--home", waiting, "--policies", candidate, "--json"
    )
    assert why.json["decision"] == "asked"
    assert cli(*simulate, "--workflow", "other", "--json").json["calls"] == 0
    assert cli(*simulate, "--since", "2100-01-01", "--json").json["calls"] == 0
    assert "is no time" in cli(*simulate, "--since", "soon", code=2).err


def test_an_equal_candidate_says_that_nothing_changes(waiting: Path, cli: Run) -> None:
    text = cli("policy", "simulate", "--home", waiting, "--candidate", HERE / "shop.cedar")
    assert "0 of 2 calls" in text.err and "would" not in text.out and "rule" not in text.out


def test_a_candidate_that_is_no_valid_set_is_refused(waiting: Path, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(SHOP + TYPO)
    simulate = ("policy", "simulate", "--home", waiting, "--candidate")
    assert "a.cedar:17" in cli(*simulate, tmp_path / "a.cedar", code=1).err
    cli(*simulate, tmp_path / "nowhere", code=2)
    cli("policy", "simulate", "--home", tmp_path / "none", "--candidate", HERE / "shop.cedar", code=1)
