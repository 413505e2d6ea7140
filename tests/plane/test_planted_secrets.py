"""A secret is planted, and a plant that leaks it in every way it can; then everything that was written is searched."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import re
import sqlite3
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from typer.testing import CliRunner

from interlock import ControlPlane, Decision, Person, ToolContext, Workflow, errors
from interlock.cli.main import app
from interlock.observability import trace
from interlock.settings import Settings
from interlock.tools.credentials import Credentials
from interlock.tools.logs import LogFilter

CORE = "Zq7Xk9Vw2Lm4Rt6Yp8"
SECRET = f'pä"/+{CORE} w&=%<\\42'
POLICY = """
@id("ANY") permit(principal, action in [Interlock::Action::"effect:read", Interlock::Action::"effect:write"], resource);
@id("ASK") forbid(principal, action == Interlock::Action::"plant.set", resource) unless
  { context.approvals.operator >= 1 };
@id("YES") permit(principal in Interlock::Role::"operator", action in Interlock::Action::"effect:approve", resource);
"""


def wrapped(text: str) -> str:
    return "\r\n  ".join(textwrap.wrap(base64.b64encode(text.encode()).decode(), 16))


def in_lines(text: str) -> str:
    return "\n".join(text[at : at + 7] for at in range(0, len(text), 7))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "header": lambda s: f"Authorization: Bearer {s}\r\n",
    "url": lambda s: f"https://plant/?token={quote(s, safe='')}&x=1",
    "url path": lambda s: f"https://plant/{quote(s)}/x",
    "form": lambda s: f"token={quote_plus(s)}",
    "lower case url": lambda s: re.sub("%..", lambda found: found[0].lower(), quote(s, safe="")),
    "json": lambda s: json.dumps({"token": s}),
    "json in unicode": lambda s: json.dumps({"token": s}, ensure_ascii=False),
    "json in json": lambda s: json.dumps(json.dumps({"token": s})),
    "markup": lambda s: f"<a title='{html.escape(s)}'>",
    "python": repr,
    "bytes": lambda s: repr(s.encode()),
    "hexadecimal": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for urls": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "basic": lambda s: "Basic " + base64.b64encode(f"robot:{s}".encode()).decode(),
    "base64 in lines": wrapped,
    "in lines": in_lines,
    "in the middle": lambda s: f"x{s}y",
}


class Order(BaseModel):
    spellings: list[str] = []


class State(Order):
    seen: list[str] = []
    asked: str = ""


class Plant:
    """Gets the credential, and gives it away."""

    async def say(self, how: str, ctx: ToolContext) -> Any:
        text = SPELLINGS[how](str(ctx.credential))
        return {"said": text, text: [text, {"deep": text}], "raw": text.encode()}

    async def fail(self, how: str, ctx: ToolContext) -> Any:
        try:
            raise KeyError(str(ctx.credential))
        except KeyError as exc:
            raise ValueError(f"401: {SPELLINGS[how](str(ctx.credential))}") from exc

    async def answer(self, how: str, ctx: ToolContext) -> Any:
        """A system behind HTTP that gives back what it was sent, in its headers as well."""

        def mirror(request: httpx.Request) -> httpx.Response:
            status = 401 if how == "refused" else 200
            return httpx.Response(status, headers={"x-seen": request.headers["authorization"]}, text=str(request.url))

        headers = {"authorization": f"Bearer {base64.b64encode(str(ctx.credential).encode()).decode()}"}
        async with httpx.AsyncClient(transport=httpx.MockTransport(mirror), headers=headers) as client:
            got = await client.get("https://plant/api", params={"token": str(ctx.credential)})
            got.raise_for_status()
            return {"headers": dict(got.headers), "text": got.text, "url": str(got.url), "request": repr(got.request)}

    async def set(self, value: str, ctx: ToolContext) -> Any:
        return {"set": value, "with": ctx.credential, "ctx": ctx}

    async def lose(self, value: str, ctx: ToolContext) -> Any:
        raise httpx.ReadTimeout(f"https://plant/?token={quote_plus(str(ctx.credential))}")

    async def probe(self, args: Any, ctx: ToolContext) -> Any:
        raise OSError(f"no answer for {ctx.credential}")


def leaking() -> Workflow:
    wf = Workflow("leaking", State, input=Order)

    @wf.task(skill="leaking", tools=["plant.say", "plant.fail", "plant.answer", "plant.set", "plant.lose"])
    async def leak(state: Any, call: Any) -> dict[str, Any]:
        seen: list[str] = []
        for how in state.spellings:
            seen.append(json.dumps(await call("plant.say", {"how": how})))
            seen.append(await _failing(call, "plant.fail", {"how": how}))
        seen.append(json.dumps(await call("plant.answer", {"how": "taken"})))
        seen.append(await _failing(call, "plant.answer", {"how": "refused"}))
        seen.append(await _failing(call, "plant.say", {"how": SECRET}))
        seen.append(await _failing(call, "plant.say", {"how": {"no text": SPELLINGS["basic"](SECRET)}}))
        seen.append(json.dumps(await call("plant.set", {"value": "1"})))
        return {"seen": seen, "asked": json.dumps(await call("plant.lose", {"value": "2"}))}

    return wf.flow(START, leak, END)


async def _failing(call: Any, tool: str, args: dict[str, Any]) -> str:
    try:
        await call(tool, args)
    except errors.InterlockError as exc:
        return f"{exc} {exc.hint} {exc!r}"
    raise AssertionError(f"{tool} {args} did not fail")


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    trace.configure(Settings(), exporter)
    yield exporter
    trace.shutdown()


def leaks(text: str) -> list[str]:
    """In which ways the secret, or the part of it that needs no escape, can be read in a text."""
    joined = re.sub(r"(?:\\+r|\\+n|\s)+", "", text)
    forms = {name: spell(SECRET) for name, spell in SPELLINGS.items()}
    forms |= {"core": CORE, "core in hexadecimal": CORE.encode().hex()}
    for lead in range(3):
        whole = base64.b64encode(bytes(lead) + CORE.encode()).decode()
        forms[f"core in base64 {lead}"] = whole[(lead * 8 + 5) // 6 : (lead + len(CORE)) * 8 // 6]
    return [name for name, form in forms.items() if form in text or re.sub(r"\s", "", form) in joined]


def test_what_looks_for_leaks_finds_them() -> None:
    for name, spell in SPELLINGS.items():
        assert leaks(f"some {spell(SECRET)} text"), name
    assert leaks(f"the {CORE} alone") and leaks(base64.b64encode(f"xy{CORE}".encode()).decode())
    assert leaks("nothing at all [credential]") == []


def written(home: Path) -> dict[str, str]:
    """Every file of a home, and every value in its databases as SQLite gives it."""
    found = {str(file): file.read_bytes().decode("utf-8", "replace") for file in home.rglob("*") if file.is_file()}
    for file in [name for name in found if name.endswith((".db", ".sqlite3"))]:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                rows = db.execute(f'SELECT * FROM "{table}"').fetchall()
                values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for row in rows for v in row]
                found[f"{file}/{table}"] = "\n".join(values)
        db.close()
    return found


def commands(home: Path, case_id: str, items: list[str]) -> dict[str, str]:
    shown = [
        ("cases",), ("cases", "show", case_id), ("cases", "show", case_id, "--facts"), ("inbox", "--status", "any"),
        ("audit", "export"), ("metrics",), ("doctor",), *(("inbox", "show", item) for item in items),
    ]  # fmt: skip
    found = {}
    for command in shown:
        for more in ((), ("--json",)) if command[:2] != ("audit", "export") else ((),):
            result = CliRunner().invoke(app, [*command, "--home", str(home), *more])
            assert result.exit_code == 0, (command, result.output)
            found[" ".join([*command, *more])] = result.stdout + result.stderr
    return found


def setup(plane: ControlPlane) -> None:
    plant = Plant()
    for name in ("say", "fail", "answer"):
        plane.register_tool(getattr(plant, name), name=f"plant.{name}", system="plant", effect="read")
    plane.register_tool(plant.set, name="plant.set", system="plant")
    plane.register_tool(plant.lose, name="plant.lose", system="plant", reconcile=plant.probe)
    for person in (Person("ana"), Person("op", roles={"operator"})):
        plane.register_actor(person)
    plane.register(leaking())
    plane.services.gateway.credentials.offer("plant", SECRET)


async def run(home: Path, log: logging.Handler) -> tuple[dict[str, str], str, list[str]]:
    """Leak all that can be leaked; gives what was written meanwhile and answered, the case, and its questions."""
    url, policies = f"sqlite:///{home / 'interlock.db'}", {"plant.cedar": POLICY}
    async with ControlPlane.open(url, policies=policies, settings=Settings(tool_retries=0)) as plane:
        setup(plane)
        log.addFilter(plane.log_filter)
        await plane.context.ingest("docs", [{"id": "a", "text": "how to set the plant"}])
        case = await plane.start("leaking", {"spellings": list(SPELLINGS)}, requester="person:ana")
        case = await plane.wait(case.id, timeout=60)
        (question,) = (await plane.inbox.list(case_id=case.id)).items
        assert question.action["tool"] == "plant.set", question
        await plane.approvals.decide(question.id, Decision.approve(), by="person:op")
        case = await plane.wait(case.id, timeout=60)
        (unknown,) = (await plane.inbox.list(case_id=case.id)).items
        assert (unknown.kind, unknown.action["tool"]) == ("exception", "plant.lose")
        places = {f"live {place}": text for place, text in written(home).items()}
        await plane.approvals.decide(unknown.id, Decision.respond({"it": "happened"}), by="person:op")
        case = await plane.wait(case.id, until="ended", timeout=60)
        assert case.status == "completed", case.error
        places["ledger"] = "\n".join([repr(event) async for event in plane.ledger.export()])
        answers = [case, question, unknown, plane.services.gateway.credentials]
        places["answers"] = "\n".join(map(repr, answers))
    return places, case.id, [question.id, unknown.id]


def test_a_planted_secret_is_nowhere(
    tmp_path: Path, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    caplog.set_level(logging.DEBUG)
    places, case_id, items = asyncio.run(run(home, caplog.handler))
    trace.shutdown()
    told = "\n".join(span.to_json() for span in spans.get_finished_spans())
    logged = "\n".join(caplog.handler.format(record) for record in caplog.records)
    places |= {**written(home), **commands(home, case_id, items), "spans": told, "logs": logged}
    assert {place: found for place, text in places.items() if (found := leaks(text))} == {}
    assert "execute_tool" in told and "HTTP Request" in logged
    assert "[credential]" in places["ledger"] and "[credential]" in places[f"{home / 'interlock.db'}/effects"]


async def test_a_registry_that_fails_tells_nobody_what_it_sent() -> None:
    async with ControlPlane.open(":memory:", policies={"plant.cedar": POLICY}) as plane:

        def lookup(value: str, ctx: ToolContext) -> None:
            raise OSError(f"401 for https://registry/?token={quote(SECRET)}")

        async def send(to: str) -> str:
            raise AssertionError("never called")

        setup(plane)
        plane.register_registry("address", lookup, source="crm")
        plane.register_tool(send, name="mail.send", system="mail", targets={"to": "address"})
        result = await plane.call_tool("mail.send", {"to": "a@b.com"}, actor="person:ana")
        assert (result.status, result.reasons[0].policy) == ("denied", "gateway.facts")
        told = [repr(event) async for event in plane.ledger.export()]
        assert "[credential]" in repr(result) and leaks(repr(result) + "".join(told)) == []


@pytest.mark.parametrize("error", [RuntimeError, errors.InterlockError])
def test_a_command_that_fails_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    """A project whose own code fails, with the credential of the environment in its error."""
    monkeypatch.setenv("INTERLOCK_CREDENTIAL_PLANT", SECRET)
    monkeypatch.setenv("INTERLOCK_PROJECT", "leaky:setup")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def setup(plane: ControlPlane, reference: Path | None) -> Any:
        raise error(f"cannot connect: {json.dumps(SECRET)}")

    monkeypatch.setitem(sys.modules, "leaky", cast("ModuleType", SimpleNamespace(setup=setup)))
    result = CliRunner().invoke(app, ["check", "--home", str(tmp_path / "home")])
    assert (result.exit_code, "[credential]" in result.stderr) == (1, True)
    logs = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.glob("interlock-error-*.log")}
    assert len(logs) == (error is RuntimeError)
    assert leaks(result.stdout + result.stderr + "".join(logs.values())) == []


def test_a_log_record_loses_its_secrets_in_message_arguments_and_traceback() -> None:
    plain = Credentials(None, {}, hidden=[SECRET])
    try:
        raise ValueError(SECRET)
    except ValueError:
        failed = sys.exc_info()
    record = logging.LogRecord("tool", logging.ERROR, "x.py", 1, "sent %s", (quote(SECRET),), failed)
    assert LogFilter(plain.redact).filter(record)
    text = logging.Formatter("%(message)s").format(record)
    assert text.startswith("sent [credential]\nTraceback") and "ValueError: [credential]" in text
    assert leaks(text) == []


LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])


ENCODINGS = ["base64", "base64 for urls", "base64 in lines", "basic", "hexadecimal"]
ESCAPES = sorted(SPELLINGS.keys() - ENCODINGS - {"in lines"})


@settings(deadline=None, max_examples=150)
@given(st.text(LETTERS, min_size=8, max_size=24), st.lists(st.sampled_from(ESCAPES), max_size=2), st.data())
def test_any_secret_is_cut_out_however_it_is_escaped(secret: str, escapes: list[str], data: st.DataObject) -> None:
    """Escapes may be repeated, also on top of an encoding; an encoding of an encoding is another matter.

    So is a line that ends where the secret has a blank: nobody can tell the two apart.
    """
    first = data.draw(st.sampled_from(sorted(SPELLINGS)))
    assume(first != "in lines" or not any(letter.isspace() for letter in secret))
    spelt = SPELLINGS[first](secret)
    for name in escapes:
        spelt = SPELLINGS[name](spelt)
    assert "[credential]" in Credentials(None, {}, hidden=[secret]).redact(f"said {spelt} there")


def test_a_secret_of_which_python_escapes_some_letters_and_bytes_others() -> None:
    secret = "000000\u00a1\ud7fc"
    spelt = repr(repr(secret).encode())
    assert Credentials(None, {}, hidden=[secret]).redact(f"said {spelt} there") == "[credential]"


@pytest.mark.parametrize("text", ["\\" * 50_000, "%" * 50_000, "&amp;" * 10_000, "p\n" * 25_000, "p" + " \n" * 25_000])
def test_no_text_is_slow_to_look_through(text: str) -> None:
    """Long runs of what escapes are made of: nothing is found, and nothing is changed."""
    assert Credentials(None, {}, hidden=[SECRET]).redact(text) == text
