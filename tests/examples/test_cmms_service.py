"""The reference CMMS over HTTP, and the client that the plane's tools use."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock import errors
from interlock.examples.enterprise.cmms import main
from interlock.examples.enterprise.cmms_store import CmmsStore
from interlock.examples.enterprise.reference import SAMPLE
from interlock.tools.systems.cmms import Cmms, event_time
from tests.examples.conftest import READER, TOKEN

AT = "2026-03-02T12:00:00.000000Z"
REPORT = {"key": "a", "asset": "FM1-PU01", "code": "M101", "start": AT}
ORDER: dict[str, Any] = {
    "request": "MR", "asset": "FM1-PU01", "code": "M101", "description": "x", "priority": 1,
    "labour_minutes": 60, "cost": 1000, "currency": "USD",
}  # fmt: skip


async def order_of(cmms: Cmms, key: str = "k") -> Any:
    request = (await cmms.report(TOKEN, "a", "FM1-PU01", "M101", AT))["request"]
    return await cmms.create_work_order(TOKEN, key, {**ORDER, "request": request})


@pytest.mark.parametrize("path", ["/assets?name=x", "/rules?rule=x", "/work-orders", "/stats", "/jobs?code=M1"])
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}"])
async def test_every_read_asks_for_the_credential(http: httpx.AsyncClient, path: str, header: str | None) -> None:
    http.headers.pop("Authorization")
    answer = await http.get(path, headers={"Authorization": header} if header is not None else {})
    assert answer.status_code == 401


async def test_a_reading_credential_writes_nothing(cmms: Cmms, store: CmmsStore) -> None:
    assert (await cmms.check(READER))["alerts"] == 0
    with pytest.raises(errors.ToolFailed, match="may only read"):
        await cmms.report(READER, "a", "FM1-PU01", "M101", AT)
    with pytest.raises(errors.ToolFailed, match="may only read"):
        await cmms.create_work_order(READER, "k", ORDER)
    with pytest.raises(errors.ToolFailed, match="may only read"):
        await cmms.step(READER, "WO-1", "cancel")
    assert store.stats()["alerts"] == 0


async def test_a_wrong_credential_is_said_with_a_hint_and_without_the_secret(cmms: Cmms) -> None:
    with pytest.raises(errors.ToolFailed, match="refuses the credential") as failed:
        await cmms.check("sesame-opens-nothing")
    assert failed.value.hint
    assert "sesame" not in str(failed.value)


async def test_health_needs_no_credential(http: httpx.AsyncClient) -> None:
    http.headers.pop("Authorization")
    assert (await http.get("/health")).json() == {"ok": True}


@pytest.mark.parametrize(
    "wrong",
    [
        {"cost": -1},
        {"cost": 1.5},
        {"priority": 0},
        {"priority": 6},
        {"labour_minutes": 0},
        {"currency": "usd"},
        {"x": 1},
    ],
)
async def test_a_malformed_order_is_refused(http: httpx.AsyncClient, store: CmmsStore, wrong: dict[str, Any]) -> None:
    answer = await http.post("/work-orders", json={**ORDER, **wrong}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, store.stats()["work_orders"]) == (422, 0)


async def test_an_order_without_an_idempotency_key_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post("/work-orders", json=ORDER)).status_code == 422
    assert (await http.post("/work-orders", json=ORDER, headers={"Idempotency-Key": ""})).status_code == 422


@pytest.mark.parametrize("time", ["", "yesterday", "13/40/26 1:00", "2026-02-30"])
async def test_what_is_no_time_is_refused(http: httpx.AsyncClient, time: str) -> None:
    answer = await http.post("/reports", json={**REPORT, "start": time})
    assert (answer.status_code, "is no time" in answer.text) == (422, True)


async def test_times_are_compared_as_instants_not_as_text(cmms: Cmms) -> None:
    first = await cmms.report(TOKEN, "a", "FM1-PU01", "M101", "3/2/26 12:00")
    second = await cmms.report(TOKEN, "b", "FM1-PU01", "M101", "2026-03-03T14:00:00+02:00")
    third = await cmms.report(TOKEN, "c", "FM1-PU01", "M101", "2026-03-03T14:00:01+02:00")
    assert [first["joined"], second["joined"], third["joined"]] == [False, True, False]


async def test_201_is_for_the_first_and_200_for_a_double(http: httpx.AsyncClient, store: CmmsStore) -> None:
    request = (await http.post("/reports", json=REPORT)).json()["request"]
    body, key = {**ORDER, "request": request}, {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(http.post("/work-orders", json=body, headers=key) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert (store.stats()["work_orders"], store.stats()["refused_doubles"]) == (1, 9)


async def test_the_client_finds_what_is_there_and_none_where_nothing_is(cmms: Cmms) -> None:
    made = await order_of(cmms)
    assert await cmms.find_work_order(TOKEN, "k") == made
    assert await cmms.find_work_order(TOKEN, "other") is None
    assert await cmms.asset(TOKEN, "FM9") is None
    assert await cmms.rule(TOKEN, "FR77") is None
    assert await cmms.job(TOKEN, "SV101") is None
    rule = await cmms.rule(TOKEN, "FR01")
    assert rule is not None
    assert [code["code"] for code in rule["codes"]] == ["M101", "M102"]


async def test_a_no_of_the_system_is_a_failed_tool_with_its_words(cmms: Cmms) -> None:
    made = await order_of(cmms)
    with pytest.raises(errors.ToolFailed, match=r"409: work order .* is created"):
        await cmms.step(TOKEN, made["id"], "assign", {"technician": "T102"})
    with pytest.raises(errors.ToolFailed, match="404: no work order"):
        await cmms.step(TOKEN, "WO-none", "cancel")
    with pytest.raises(errors.ToolFailed, match="404"):
        await cmms.step(TOKEN, "../stats?", "cancel")


async def test_names_reach_the_system_as_they_are(cmms: Cmms) -> None:
    for name in ["a&b=c", "ä/ö?#", "x\ny", "%2e%2e"]:
        assert await cmms.asset(TOKEN, name) is None


def answering(status: int, **answer: Any) -> Cmms:
    return Cmms(transport=httpx.MockTransport(lambda request: httpx.Response(status, **answer)))


@pytest.mark.parametrize(
    ("status", "error"), [(500, errors.ToolFailed), (502, errors.Unreachable), (503, errors.Unreachable)]
)
async def test_a_read_that_the_system_cannot_answer(status: int, error: type[errors.InterlockError]) -> None:
    with pytest.raises(error, match=str(status)) as failed:
        await answering(status).asset(TOKEN, "x")
    assert failed.value.hint


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_write_that_may_have_happened_is_unknown(status: int) -> None:
    with pytest.raises(errors.UnknownOutcome, match=str(status)):
        await answering(status).report(TOKEN, "a", "x", "M1", AT)


async def test_a_write_that_was_turned_away_did_not_happen() -> None:
    with pytest.raises(errors.Unreachable):
        await answering(503).report(TOKEN, "a", "x", "M1", AT)


@pytest.mark.parametrize("answer", [{"text": "<html>login</html>"}, {"content": b"\xff"}, {"text": ""}])
async def test_an_answer_that_is_no_json_is_said_to_be_none(answer: dict[str, Any]) -> None:
    with pytest.raises(errors.ToolFailed, match="no JSON"):
        await answering(200, **answer).check(TOKEN)


async def test_a_redirect_is_not_followed_with_the_credential() -> None:
    with pytest.raises(errors.ToolFailed, match="302"):
        await answering(302, headers={"Location": "http://elsewhere/"}).check(TOKEN)


def breaking(error: type[httpx.TransportError]) -> Cmms:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return Cmms(transport=httpx.MockTransport(fail))


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_what_was_never_sent_did_not_happen(error: type[httpx.TransportError]) -> None:
    with pytest.raises(errors.Unreachable):
        await breaking(error).report(TOKEN, "a", "x", "M1", AT)


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError])
async def test_what_broke_off_is_unknown_for_a_write_and_an_outage_for_a_read(
    error: type[httpx.TransportError],
) -> None:
    with pytest.raises(errors.UnknownOutcome):
        await breaking(error).report(TOKEN, "a", "x", "M1", AT)
    with pytest.raises(errors.Unreachable):
        await breaking(error).asset(TOKEN, "x")


@pytest.mark.parametrize(
    "text", ["11/24/20 19:00", "2020-11-24 19:00", "2020-11-24T19:00:00Z", "2020-11-24T20:00+01:00"]
)
def test_times_are_read_as_plants_write_them(text: str) -> None:
    assert event_time(text).isoformat() == "2020-11-24T19:00:00+00:00"


# -- as a server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The CMMS in a process of its own, on a free port."""
    command = [sys.executable, "-m", "interlock.examples.enterprise.cmms", "--port", "0"]
    command += ["--database", str(tmp_path / "c.db"), "--reference", str(SAMPLE)]
    with subprocess.Popen(
        command, env={**os.environ, "CMMS_TOKEN": TOKEN}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield found.group()
        process.terminate()


async def test_it_runs_as_a_server(server: str) -> None:
    cmms = Cmms(server)
    assert (await order_of(cmms))["status"] == "created"
    with pytest.raises(errors.ToolFailed, match="refuses the credential"):
        await cmms.check("wrong")
    await cmms.aclose()


def test_a_server_without_a_credential_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CMMS_TOKEN", raising=False)
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
