"""The HTTP interface: what it gives, what it refuses, and whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock import ControlPlane, errors
from interlock.server.answers import status_of
from interlock.server.app import app, create_app
from tests.cli.shop import setup

POLICIES = Path(__file__).parents[1] / "cli" / "shop.cedar"
APPROVE = {"by": "person:bo", "decision": "approve"}


@pytest.fixture
async def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ControlPlane]:
    """A plane in which an approval, an exception and a task wait, and one order is placed."""
    monkeypatch.setenv("SHOP_ERP", str(tmp_path / "erp.txt"))
    async with ControlPlane.open(":memory:", policies=POLICIES) as plane, setup(plane):
        rows = [("acme", 100, ""), ("acme", 250_000, ""), ("unknown", 300_000, ""), ("acme", 400_000, "by hand")]
        inputs = [{"supplier": supplier, "total": total, "note": note} for supplier, total, note in rows]
        cases = await plane.start_many("orders", inputs, requester="person:requester")
        await plane.wait_all([case.id for case in cases if not isinstance(case, errors.InterlockError)], "settled")
        yield plane


@pytest.fixture
async def http(plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    async with client(create_app(plane)) as http:
        yield http


def client(app: Any, peer: str = "127.0.0.1", host: str = "127.0.0.1:8700") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(peer, 5000), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def item(http: httpx.AsyncClient, kind: str) -> dict[str, Any]:
    (found,) = (await http.get("/control/inbox", params={"kind": kind})).json()["items"]
    return dict(found)


def said(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error, which has a hint too."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["hint"] and body.keys() == {"code", "message", "hint"}
    return str(body["message"])


async def test_it_says_that_it_is_there_and_what(http: httpx.AsyncClient) -> None:
    assert (await http.get("/ok")).json() == {"ok": True}
    info = (await http.get("/info")).json()
    assert (info["name"], info["tenant"], info["workflows"]) == ("interlock", "default", {"orders": "1"})
    assert "/control/cases" in (await http.get("/control/openapi.json")).json()["paths"]


async def test_cases_are_listed_by_page_and_filter(http: httpx.AsyncClient) -> None:
    first = (await http.get("/control/cases", params={"limit": 3})).json()
    rest = (await http.get("/control/cases", params={"limit": 3, "cursor": first["cursor"]})).json()
    assert [case["input"]["total"] for case in first["items"] + rest["items"]] == [100, 250_000, 300_000, 400_000]
    assert rest["cursor"] is None
    done = (await http.get("/control/cases", params={"status": "completed", "workflow": "orders"})).json()["items"]
    assert [case["values"] for case in done] == [{"po": "PO-acme-100"}]
    assert (await http.get(f"/control/cases/{done[0]['id']}")).json() == done[0]
    assert (await http.get("/control/cases", params={"workflow": "nope"})).json() == {"items": [], "cursor": None}


async def test_the_inbox_is_listed_and_shown(http: httpx.AsyncClient) -> None:
    items = (await http.get("/control/inbox")).json()["items"]
    assert sorted(one["kind"] for one in items) == ["approval", "exception", "task"]
    approval = await item(http, "approval")
    assert (approval["action"]["tool"], approval["eligible"]) == ("erp.create_po", ["person:bo", "person:kim"])
    assert "request" not in approval and "excluded" not in approval
    assert (await http.get(f"/control/inbox/{approval['id']}")).json() == approval
    mine = (await http.get("/control/inbox", params={"role": "purchasing"})).json()["items"]
    assert [one["kind"] for one in mine] == ["approval"]
    of_case = (await http.get("/control/inbox", params={"case_id": approval["case_id"], "status": "any"})).json()[
        "items"
    ]
    assert [one["id"] for one in of_case] == [approval["id"]]


async def test_a_decision_lets_the_case_go_on(http: httpx.AsyncClient, plane: ControlPlane) -> None:
    approval = await item(http, "approval")
    body = {**APPROVE, "comment": "im Budget ✓", "digest": approval["digest"]}
    decided = (await http.post(f"/control/inbox/{approval['id']}/decide", json=body)).json()
    assert (decided["status"], decided["decided_by"], decided["comment"]) == ("decided", "person:bo", "im Budget ✓")
    await plane.wait(approval["case_id"], until="ended")
    case = (await http.get(f"/control/cases/{approval['case_id']}")).json()
    assert (case["status"], case["values"]) == ("completed", {"po": "PO-acme-250000"})


async def test_two_different_answers_at_once_are_one_decision(http: httpx.AsyncClient) -> None:
    where = f"/control/inbox/{(await item(http, 'approval'))['id']}/decide"
    no = {"by": "person:bo", "decision": "reject", "why": "too dear"}
    answers = await asyncio.gather(*(http.post(where, json=body) for body in (APPROVE, no) * 4))
    kinds = {answer.json()["decision"]["kind"] for answer in answers if answer.status_code == 200}
    assert len(kinds) == 1
    assert {answer.status_code for answer in answers} == {200, 409}


async def test_a_task_is_claimed_and_completed(http: httpx.AsyncClient, plane: ControlPlane) -> None:
    where = f"/control/inbox/{(await item(http, 'task'))['id']}"
    assert (await http.post(f"{where}/claim", json={"by": "person:loo"})).json()["claimed_by"] == "person:loo"
    wrong = await http.post(f"{where}/complete", json={"by": "person:loo", "output": {"po": 3}})
    assert "po" in said(wrong, 422, "input")
    done = (await http.post(f"{where}/complete", json={"by": "person:loo", "output": {"po": "by phone"}})).json()
    assert (await plane.wait(done["case_id"], until="ended")).values == {"po": "by phone"}


async def test_an_item_is_released_and_handed_on(http: httpx.AsyncClient) -> None:
    where = f"/control/inbox/{(await item(http, 'task'))['id']}"
    loo, bo = {"by": "person:loo"}, {"by": "person:bo"}
    await http.post(f"{where}/claim", json=loo)
    said(await http.post(f"{where}/release", json={"by": "person:requester"}), 403, "not_authorized")
    assert (await http.post(f"{where}/release", json={**bo, "comment": "on leave"})).json()["claimed_by"] is None
    said(await http.post(f"{where}/delegate", json={**loo, "to": "person:bo"}), 403, "not_authorized")
    said(await http.post(f"{where}/delegate", json={**loo, "to": "person:loo"}), 422, "input")
    said(await http.post(f"{where}/delegate", json=loo), 422, "input")
    handed = (await http.post(f"{where}/delegate", json={**bo, "to": "person:loo"})).json()
    assert (handed["delegated_to"], handed["status"]) == ("person:loo", "open")


async def test_many_are_answered_and_each_refusal_is_told(http: httpx.AsyncClient) -> None:
    approval, task = (await item(http, "approval"))["id"], (await item(http, "task"))["id"]
    told = (await http.post("/control/inbox/decide", json={**APPROVE, "items": [approval, task, "no"]})).json()
    assert [one["id"] for one in told["items"]] == [approval]
    assert [(one["item"], one["code"]) for one in told["errors"]] == [(task, "input"), ("no", "not_found")]
    for wrong in ([], ["x"] * 1001, "x", [5], None):
        said(await http.post("/control/inbox/decide", json={**APPROVE, "items": wrong}), 422, "input")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**APPROVE, "by": "person:requester"}, 403, "not_authorized"),
        ({**APPROVE, "by": "person:nobody"}, 403, "not_authorized"),
        ({**APPROVE, "by": "agent:orders.order"}, 403, "not_authorized"),
        ({**APPROVE, "by": ""}, 403, "not_authorized"),
        ({**APPROVE, "digest": "0" * 64}, 409, "conflict"),
        ({"by": "person:bo", "decision": "reject"}, 422, "input"),
        ({"by": "person:bo", "decision": "edit"}, 422, "input"),
        ({"by": "person:bo", "decision": "edit", "args": {"total": "much"}}, 422, "input"),
        ({"by": "person:bo", "decision": "edit", "args": {"total": 900_000}}, 403, "not_authorized"),
        ({"by": "person:bo", "decision": "maybe"}, 422, "input"),
        ({"decision": "approve"}, 422, "input"),
        ({**APPROVE, "force": True}, 422, "input"),
        ([], 422, "input"),
        ("approve", 422, "input"),
    ],
)
async def test_what_is_no_answer_decides_nothing(http: httpx.AsyncClient, body: Any, status: int, code: str) -> None:
    approval = await item(http, "approval")
    said(await http.post(f"/control/inbox/{approval['id']}/decide", json=body), status, code)
    assert await item(http, "approval") == approval


async def test_errors_do_not_repeat_what_was_sent(http: httpx.AsyncClient) -> None:
    answer = await http.post("/control/inbox/x/decide", json={"by": {"secret": "hush"}, "decision": "hush"})
    assert answer.status_code == 422 and "hush" not in answer.text


@pytest.mark.parametrize("wrong", ["nope", "..%252f", "'; DROP TABLE inbox; --", "ü" * 200, "%00"])
async def test_wrong_ids_are_not_found(http: httpx.AsyncClient, wrong: str) -> None:
    said(await http.get(f"/control/cases/{wrong}"), 404, "not_found")
    said(await http.get(f"/control/inbox/{wrong}"), 404, "not_found")
    said(await http.post(f"/control/inbox/{wrong}/decide", json=APPROVE), 404, "not_found")
    said(await http.post(f"/control/inbox/{wrong}/claim", json={"by": "person:bo"}), 404, "not_found")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "status=nope", "cursor=x", "cursor=1%20OR%201", "cursor=-1"]
)
async def test_wrong_queries_are_refused(http: httpx.AsyncClient, query: str) -> None:
    said(await http.get(f"/control/cases?{query}"), 422, "input")
    said(await http.get(f"/control/inbox?{query}"), 422, "input")


async def test_a_decision_of_the_wrong_kind(http: httpx.AsyncClient) -> None:
    task = await item(http, "task")
    said(await http.post(f"/control/inbox/{task['id']}/decide", json={**APPROVE, "by": "person:loo"}), 422, "input")
    approval = await item(http, "approval")
    body = {"by": "person:bo", "output": {}}
    said(await http.post(f"/control/inbox/{approval['id']}/complete", json=body), 422, "input")


# who comes in


@pytest.mark.parametrize("peer", ["10.0.0.8", "192.168.1.2", "8.8.8.8", "2001:db8::1", "testclient", ""])
@pytest.mark.parametrize("path", ["/ok", "/info", "/control/cases", "/control/inbox"])
async def test_other_machines_are_refused(plane: ControlPlane, peer: str, path: str) -> None:
    async with client(create_app(plane), peer) as http:
        said(await http.get(path, headers={"x-forwarded-for": "127.0.0.1"}), 403, "not_authorized")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1"])
async def test_this_machine_comes_in(plane: ControlPlane, peer: str) -> None:
    async with client(create_app(plane), peer, "localhost") as http:
        assert (await http.get("/ok")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8700", "10.0.0.8"])
async def test_a_name_that_was_bound_to_this_machine_is_refused(plane: ControlPlane, host: str) -> None:
    async with client(create_app(plane), host=host) as http:
        said(await http.get("/control/cases"), 403, "not_authorized")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost:3000", 200),
    ],
)
async def test_pages_of_other_sites_may_not_decide(http: httpx.AsyncClient, origin: str, status: int) -> None:
    approval = await item(http, "approval")
    where = f"/control/inbox/{approval['id']}/decide"
    answer = await http.post(where, json=APPROVE, headers={"origin": origin})
    assert answer.status_code == status


async def test_a_form_of_another_site_decides_nothing(http: httpx.AsyncClient) -> None:
    approval = await item(http, "approval")
    where = f"/control/inbox/{approval['id']}/decide"
    sent = '{"by": "person:bo", "decision": "approve"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await http.post(where, content=sent, headers={"content-type": kind})
        assert answer.status_code == 422, kind
    assert await item(http, "approval") == approval


# the plane behind it


async def test_the_mounted_application_leaves_the_other_server_its_own_pages() -> None:
    async with client(app) as http:
        for path in ("/ok", "/info", "/docs", "/redoc", "/openapi.json", "/metrics"):
            assert (await http.get(path)).status_code == 404
        paths = (await http.get("/control/openapi.json")).json()["paths"]
    assert len(paths) >= 6 and all(path.startswith("/control/") for path in paths)


async def test_the_plane_is_asked_for_at_each_request() -> None:
    async def opener() -> ControlPlane:
        raise errors.DatabaseLocked("another engine drives it", "stop it")

    async with client(create_app(opener)) as http:
        assert said(await http.get("/control/cases"), 503, "locked") == "another engine drives it"
        assert (await http.get("/ok")).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.AlreadyDecided("x"), 409),
        (errors.Expired("x"), 410),
        (errors.InputError("x"), 422),
        (errors.PolicyError("x"), 500),
        (errors.ConfigurationError("x"), 500),
        (errors.Denied("x"), 403),
        (errors.NotAuthorized("x"), 403),
        (errors.Unreachable("x"), 502),
        (errors.DiskFull("x"), 503),
        (errors.ToolFailed("x"), 500),
        (errors.InterlockError("x"), 500),
    ],
)
def test_each_kind_of_error_has_its_status(error: errors.InterlockError, status: int) -> None:
    assert status_of(error) == status
