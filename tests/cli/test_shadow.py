"""`--shadow` on the commands that drive cases, and what `policy shadowed` says of it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from interlock.cli.main import app
from tests.cli.conftest import Run
from tests.cli.test_policies import SHOP, TYPO, commands

DRIVING = {
    "run", "serve", "dev", "demo", "switch", "cases cancel", "cases resume", "cases fork", "inbox decide",
    "inbox complete", "approvals decide",
}  # fmt: skip
ORDERS = [("acme", 100, ""), ("acme", 90000, "")]


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    """A folder with a candidate that asks for what is above 5 euros."""
    folder = tmp_path / "strict"
    folder.mkdir()
    (folder / "a.cedar").write_text(SHOP.replace("100000", "500"), "utf-8")
    return folder


def test_the_commands_that_drive_cases_take_a_shadow() -> None:
    found = {name: {p.name for p in command.params} for name, command in commands(typer.main.get_command(app))}
    assert {name for name, params in found.items() if "shadow" in params} == DRIVING


def test_a_run_records_what_the_shadow_would_have_asked(
    shop: Path, cli: Run, strict: Path, orders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "orders", "--input", orders(ORDERS), "--home", shop, "--json")
    assert cli(*run, "--shadow", strict).json["completed"] == 2
    found = cli("policy", "shadowed", "--home", shop, "--json").json
    assert (found["changed"], found["cases"], list(found["versions"].values())) == (1, 1, [1])
    assert [(s["before"], s["after"], s["money"]) for s in found["outcomes"]] == [("allowed", "asked", {"EUR": 90000})]
    text = cli("policy", "shadowed", "--home", shop)
    assert "1 calls in 1 cases were decided otherwise" in text.err and "900.00 EUR" in text.out
    assert "BUY-1" in text.out and "erp.create_po" in text.out
    assert cli("policy", "shadowed", "--home", shop, "--workflow", "other", "--json").json["changed"] == 0
    assert cli("policy", "shadowed", "--home", shop, "--since", "2100-01-01", "--json").json["changed"] == 0
    assert "is no time" in cli("policy", "shadowed", "--home", shop, "--since", "soon", code=2).err
    call = found["examples"][0]["effect_key"]
    explain = ("policy", "explain", "--call", call, "--home", shop, "--policies", strict, "--json")
    assert cli(*explain).json["decision"] == "asked"


def test_an_answer_goes_on_beside_a_shadow(waiting: Path, cli: Run, strict: Path) -> None:
    (item,) = [
        i for i in cli("approvals", "--home", waiting, "--json").json["items"] if i["action"]["args"]["total"] == 250000
    ]
    nothing = strict / "a.cedar"
    nothing.write_text("", "utf-8")
    said = ("approvals", "decide", item["id"], "--approve", "--by", "person:bo", "--home", waiting)
    cli(*said, "--shadow", strict)
    found = cli("policy", "shadowed", "--home", waiting, "--json").json
    assert [(s["before"], s["after"]) for s in found["outcomes"]] == [("allowed", "denied")]


def test_the_setting_is_a_shadow_as_well_and_looking_commands_do_not_mind_it(
    shop: Path, cli: Run, strict: Path, orders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERLOCK_SHADOW", str(strict))
    assert cli("run", "orders", "--input", orders(ORDERS), "--home", shop, "--json").json["completed"] == 2
    assert cli("policy", "shadowed", "--home", shop, "--json").json["changed"] == 1
    (strict / "a.cedar").write_text(SHOP + TYPO, "utf-8")
    for looking in (("policy", "check"), ("cases",), ("policy", "shadowed"), ("doctor",)):
        cli(*looking, "--home", shop)


def test_a_broken_shadow_stops_the_start_and_nothing_is_run(
    shop: Path, cli: Run, strict: Path, orders: Callable[..., Path]
) -> None:
    run = ("run", "orders", "--input", orders(ORDERS), "--home", shop, "--shadow")
    (strict / "a.cedar").write_text(SHOP + TYPO, "utf-8")
    assert "the shadow is invalid: a.cedar:17" in cli(*run, strict, code=1).err
    assert cli("cases", "--home", shop, "--json").json["items"] == []
    assert "nowhere" in cli(*run, strict / "nowhere", code=2).err


def test_a_live_engine_takes_both_sets_again(
    shop: Path, cli: Run, strict: Path, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    (live / "shop.cedar").write_text(SHOP, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = begin("serve", "--home", shop, "--port", port, "--policies", live, "--shadow", strict)
    assert one.stderr is not None
    assert any("serving" in line for line in one.stderr)
    first = cli("policy", "reload", "--home", shop, "--json").json
    assert first["taken"] and first["shadow"]["taken"] and first["version"] != first["shadow"]["version"]
    (strict / "a.cedar").write_text(SHOP + TYPO, "utf-8")
    again = cli("policy", "reload", "--home", shop, "--json", code=1).json
    assert again["taken"] and not again["shadow"]["taken"]
    assert again["shadow"]["version"] == first["shadow"]["version"]
    text = cli("policy", "reload", "--home", shop, code=1)
    assert "did you mean erp.create_po" in text.out and "shadow: not taken; still version" in text.err
