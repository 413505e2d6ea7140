"""Credentials that a command or a keyring keeps: how long, for whom, and that nothing of them is ever told."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock import errors
from interlock.testing import ManualClock
from interlock.tools import vault
from interlock.tools.contract import ToolContext
from interlock.tools.credentials import HIDDEN, Credentials
from interlock.tools.vault import Command
from tests.tools.plant import plant

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "s3cret-of-the-vault-77"
ANYTHING = '@id("ANY") permit(principal, action, resource);'


def printing(log: Path, text: str, *more: str) -> list[str]:
    """A command that counts its runs in a file and prints a text."""
    code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.open('a').write(' '.join(sys.argv[3:]) + '\\n');"
    return [sys.executable, "-S", "-c", code + " print(sys.argv[2])", str(log), text, *more]


def runs(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
async def clock() -> AsyncIterator[ManualClock]:
    yield ManualClock(NOW)


def given(seconds: int) -> str:
    return json.dumps({"secret": SECRET, "expires_at": (NOW + timedelta(seconds=seconds)).isoformat()})


async def test_a_plain_secret_is_good_for_one_call(tmp_path: Path, clock: ManualClock) -> None:
    credentials = Credentials(None, {}, command=Command(printing(tmp_path / "log", SECRET), 10, clock))
    for _ in range(2):
        assert await credentials.fetch("erp", "erp.buy", "c1") == SECRET
    assert len(runs(tmp_path / "log")) == 2
    assert credentials.redact(f"it is {SECRET}") == f"it is {HIDDEN}"
    assert repr(await credentials.fetch("erp", "erp.buy", "c1")) == HIDDEN


async def test_what_expires_is_kept_until_then(tmp_path: Path, clock: ManualClock) -> None:
    command = Command(printing(tmp_path / "log", given(60)), 10, clock)
    assert [await command.ask("erp", "erp.buy", case) for case in ("c1", "c2")] == [SECRET] * 2
    assert len(runs(tmp_path / "log")) == 1, "it names no case, so all cases share it"
    await clock.advance(timedelta(seconds=60))
    with pytest.raises(errors.ConfigurationError, match=r"erp.*expired"):
        await command.ask("erp", "erp.buy", "c1")


async def test_a_command_that_names_the_case_gives_each_its_own(tmp_path: Path, clock: ManualClock) -> None:
    words = printing(tmp_path / "log", given(60), "{system}", "{tool}", "{case}")
    command = Command(words, 10, clock)
    for case in ("c1", "c2", "c1"):
        await command.ask("erp", "erp.buy", case)
    assert runs(tmp_path / "log") == ["erp erp.buy c1", "erp erp.buy c2"]


async def test_callers_at_the_same_time_share_a_run_and_no_cancellation(tmp_path: Path, clock: ManualClock) -> None:
    command = Command(printing(tmp_path / "log", SECRET), 10, clock)
    asked = [asyncio.create_task(command.ask("erp", "t", "c")) for _ in range(5)]
    await asyncio.sleep(0)
    asked[0].cancel()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1:] == [SECRET] * 4
    assert len(runs(tmp_path / "log")) == 1


FAILING = {
    "ended with code 3": f"import sys; print('{SECRET}'); print('{SECRET}', file=sys.stderr); sys.exit(3)",
    "took longer": "import time; time.sleep(60)",
    "printed neither": f'print(\'{{"secret": "{SECRET}"\')',
    "printed no secret": "print()",
    "something too long": "print('x' * 70000)",
    "secret, or": "print('{\"secret\": 5}')",
    "neither a secret": "import sys; sys.stdout.buffer.write(b'\\xff\\xfe')",
}


@pytest.mark.parametrize("what", FAILING)
async def test_a_command_that_fails_is_told_without_what_it_printed(what: str, clock: ManualClock) -> None:
    command = Command([sys.executable, "-S", "-c", FAILING[what]], 1.0 if "longer" in what else 10, clock)
    with pytest.raises(errors.ConfigurationError, match=what) as failed:
        await command.ask("erp", "erp.buy", "c1")
    told = f"{failed.value} {failed.value.__cause__!r} {failed.value.hint}"
    assert "'erp'" in told
    assert SECRET not in told
    await command.close()


async def test_a_command_that_is_not_there_is_told(clock: ManualClock) -> None:
    with pytest.raises(errors.ConfigurationError, match="could not be run: FileNotFoundError"):
        await Command(["/nowhere/vault"], 10, clock).ask("erp", "erp.buy", "c1")


async def test_closing_ends_what_runs(clock: ManualClock) -> None:
    command = Command([sys.executable, "-S", "-c", "import time; time.sleep(60)"], 60, clock)
    asked = asyncio.create_task(command.ask("erp", "erp.buy", "c1"))
    await asyncio.sleep(0.05)
    await command.close()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_the_keyring_knows_tools_before_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {("interlock", "erp"): "of-the-system", ("interlock", "erp.buy"): "of-the-tool"}
    ring = SimpleNamespace(get_password=lambda service, name: held.get((service, name)))
    monkeypatch.setitem(sys.modules, "keyring", ring)
    credentials = Credentials(None, {}, keyring=True)
    assert await credentials.fetch("erp", "erp.buy", "c") == "of-the-tool"
    assert await credentials.fetch("erp", "erp.sell", "c") == "of-the-system"
    assert await credentials.fetch("crm", "crm.get", "c") is None

    def broken(service: str, name: str) -> Any:
        raise RuntimeError(f"locked: {SECRET}")

    ring.get_password = broken
    with pytest.raises(errors.ConfigurationError, match=r"'erp'.*RuntimeError") as failed:
        await credentials.fetch("erp", "erp.buy", "c")
    assert SECRET not in str(failed.value)


async def test_a_missing_keyring_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(vault, "import_module", gone)
    with pytest.raises(errors.ConfigurationError, match="keyring is missing"):
        await Credentials(None, {}, keyring=True).fetch("erp", "erp.buy", "c")


async def test_a_tool_has_a_credential_of_its_own_before_that_of_its_system(tmp_path: Path) -> None:
    environ = {"INTERLOCK_CREDENTIAL_ERP": "system", "INTERLOCK_CREDENTIAL_ERP_BUY": "tool"}
    credentials = Credentials(None, environ)
    credentials.offer("crm", "offered")
    fetched = [await credentials.fetch(*one, "c") for one in (("erp", "erp.buy"), ("erp", "erp.x"), ("crm", "crm.get"))]
    assert fetched == ["tool", "system", "offered"]


async def test_only_the_call_that_runs_gets_one_and_no_argument_may_hold_it() -> None:
    given: list[tuple[str, str | None]] = []

    def act(text: str, ctx: ToolContext) -> str:
        given.append(("tool", ctx.credential))
        return f"sent {text} with {ctx.credential}"

    def facts(args: Any, ctx: ToolContext) -> dict[str, Any]:
        given.append(("facts", ctx.credential))
        return {"fine": True}

    async with plant(policies=ANYTHING) as one:
        one.credentials.offer("mail", SECRET)
        one.tools.register(act, name="mail.send", system="mail", effect="write")
        one.tools.register_facts("fine", facts, actions=["mail.send"], types={"fine": "bool"})
        one.bind()
        await one.case()
        sent = await one.gateway.call("mail.send", {"text": "hi"}, one.site(ns=""))
        assert (sent.status, sent.value) == ("done", f"sent hi with {HIDDEN}")
        assert given == [("facts", None), ("tool", SECRET)]
        for spelling in (SECRET, SECRET.encode().hex(), f"{SECRET[:9]}\n{SECRET[9:]}"):
            told = await one.gateway.call("mail.send", {"text": f"it is {spelling}."}, one.site(ns=""), slot=1)
            assert [reason.policy for reason in told.reasons] == ["gateway.secret"]
        assert len(given) == 2


async def test_a_call_without_a_credential_fails_and_has_not_happened(clock: ManualClock) -> None:
    async with plant(policies=ANYTHING) as one:
        one.gateway.credentials._command = Command(["/nowhere/vault"], 10, clock)
        one.tools.register(lambda text: text, name="mail.send", system="mail", effect="write")
        one.bind()
        await one.case()
        failed = await one.gateway.call("mail.send", {"text": "hi"}, one.site(ns=""))
        assert failed.status == "failed"
        assert "'mail'" in str(failed.error)
