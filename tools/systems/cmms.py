"""The maintenance system (CMMS): an HTTP client, and the tools that the plane offers on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from pydantic import Field

from interlock import errors
from interlock.clock import parse
from interlock.money import Money
from interlock.tools.contract import DidNotHappen, Happened, ToolContext, tool

__all__ = ["Cmms", "anomaly_rule", "business_key", "event_time", "tools"]

Text = Annotated[str, Field(min_length=1, max_length=500)]
Limit = Annotated[int, Field(ge=0, le=100)]

_ADDRESS_HINT = "check the address of the CMMS and that it runs, then run the same command again"
_CREDENTIAL_HINT = "give the plane a valid credential for the system 'cmms'"
_NOT_NOW = 503  # refused before anything was done
_DOWN = (502, _NOT_NOW, 504)
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)


def event_time(text: str) -> datetime:
    """A time as plant systems write it: `11/24/20 19:00` (UTC) or ISO 8601. Raises ValueError."""
    try:
        return parse(text)
    except ValueError:
        return datetime.strptime(text, "%m/%d/%y %H:%M").replace(tzinfo=UTC)


def anomaly_rule(kpi: str, side: str) -> str:
    """The rule id of an anomaly: its figure and the side (high, low) on which it left its bounds."""
    return f"kpi:{kpi.lower()}:{side.lower()}"


class Cmms:
    """The CMMS behind a URL, or in this process behind an ASGI transport.

    Every method takes the bearer credential first and raises Unreachable when the system does not answer,
    UnknownOutcome when the answer to a write was lost, and ToolFailed when the system says no.
    """

    def __init__(
        self, base_url: str = "http://cmms.internal", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url
        self._client = httpx.AsyncClient(base_url=base_url, transport=transport, timeout=10.0, trust_env=False)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def check(self, credential: str) -> dict[str, Any]:
        """The system's counters: shows that it is reachable and takes the credential."""
        return await self._get(credential, "/stats", {})  # type: ignore[no-any-return]

    async def asset(self, credential: str, name: str) -> dict[str, Any] | None:
        """By id or name; None when there is no such asset."""
        return await self._find(credential, "/assets", {"name": name})  # type: ignore[no-any-return]

    async def rule(self, credential: str, rule: str) -> dict[str, Any] | None:
        """A rule with its codes in the order of the mapping; None when there is no such rule."""
        return await self._find(credential, "/rules", {"rule": rule})  # type: ignore[no-any-return]

    async def history(self, credential: str, before: str, codes: list[str], asset: str | None, limit: int) -> Any:
        """What past work orders, finished before a time, say: counts, cited ids and median minutes per code."""
        params = {"before": before, "codes": codes, "limit": limit} | ({"asset": asset} if asset else {})
        return await self._get(credential, "/history", params)

    async def job(self, credential: str, code: str) -> dict[str, Any] | None:
        """Usual labour (minutes) and parts (minor units) of a failure code; None when there is no such job."""
        return await self._find(credential, "/jobs", {"code": code})  # type: ignore[no-any-return]

    async def technicians(self, credential: str, asset: str, start: str, request: str) -> Any:
        """Who covers the asset, with skills, shift hours and load."""
        return await self._get(credential, "/technicians", {"asset": asset, "start": start, "request": request})

    async def report(self, credential: str, key: str, asset: str, code: str, start: str) -> Any:
        """Open a maintenance request for an alert or join the open one."""
        return await self._post(credential, "/reports", {"key": key, "asset": asset, "code": code, "start": start})

    async def create_work_order(self, credential: str, key: str, order: dict[str, Any]) -> Any:
        """Create the work order of an idempotency key; the same key and content again gives the first one."""
        return await self._post(credential, "/work-orders", order, {"Idempotency-Key": key})

    async def find_work_order(self, credential: str, key: str) -> dict[str, Any] | None:
        """The work order that was created with an idempotency key, or None."""
        found = await self._find(credential, "/work-orders", {"key": key})
        return found[0] if found else None

    async def step(self, credential: str, work_order: str, step: str, body: dict[str, Any] | None = None) -> Any:
        """Schedule, assign, close or cancel a work order."""
        return await self._post(credential, f"/work-orders/{quote(work_order, safe='')}/{step}", body)

    async def _find(self, credential: str, path: str, params: dict[str, Any]) -> Any:
        answer = await self._send(credential, "GET", path, params=params)
        return None if answer.status_code == 404 else self._content(answer)

    async def _get(self, credential: str, path: str, params: dict[str, Any]) -> Any:
        return self._content(await self._send(credential, "GET", path, params=params))

    async def _post(self, credential: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        return self._content(await self._send(credential, "POST", path, json=body, headers=headers or {}))

    async def _send(self, credential: str, method: str, path: str, headers: Any = None, **parts: Any) -> httpx.Response:
        try:
            bearer = {"Authorization": f"Bearer {credential}", **(headers or {})}
            return await self._client.request(method, path, headers=bearer, **parts)
        except _NEVER_SENT as exc:
            raise errors.Unreachable(f"the CMMS at {self.base_url} does not answer: {exc}", _ADDRESS_HINT) from exc
        except httpx.TransportError as exc:
            if method == "GET":
                raise errors.Unreachable(f"the CMMS at {self.base_url} broke off: {exc}", _ADDRESS_HINT) from exc
            what = f"the CMMS at {self.base_url} broke off after {method} {path}: {exc}"
            raise errors.UnknownOutcome(what, "look in the CMMS whether it happened") from exc

    def _content(self, answer: httpx.Response) -> Any:
        status, asked = answer.status_code, f"{answer.request.method} {answer.request.url.path}"
        if status in (401, 403):
            raise errors.ToolFailed(f"the CMMS refuses the credential: {_detail(answer)}", _CREDENTIAL_HINT)
        if status >= 500 and status != _NOT_NOW and answer.request.method != "GET":
            # A gateway in between, or the system itself, may have failed after the write was done.
            raise errors.UnknownOutcome(f"the CMMS answers {status} to {asked}", "look in the CMMS whether it happened")
        if status in _DOWN:
            raise errors.Unreachable(f"the CMMS at {self.base_url} is down ({status})", _ADDRESS_HINT)
        if not answer.is_success:
            hint = "correct the arguments" if status < 500 else "look into the log of the CMMS"
            raise errors.ToolFailed(f"the CMMS answers {status}: {_detail(answer)}", hint)
        try:
            return answer.json()
        except ValueError as exc:
            raise errors.ToolFailed(f"the answer to {asked} is no JSON: {answer.text[:80]!r}", _ADDRESS_HINT) from exc


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


# -- the tools


def tools(cmms: Cmms, *, sandbox: bool = False) -> list[Callable[..., Any]]:
    """The tools of one CMMS, each to be given to `plane.register_tool`. `sandbox`: its effects are harmless."""
    return [*_reads(cmms), *_writes(cmms, sandbox)]


def business_key(request: str) -> str:
    """What the CMMS receives as idempotency key: one work order per maintenance request."""
    return f"wo:{request}"


def _reads(cmms: Cmms) -> list[Callable[..., Any]]:
    read: dict[str, Any] = {"system": "cmms", "scope": "cmms:read", "effect": "read"}

    @tool(name="cmms.asset", **read)
    async def asset(name: Text, ctx: ToolContext) -> Any:
        """An asset by id or name, with its site; null when there is none."""
        return await cmms.asset(_credential(ctx), name)

    @tool(name="cmms.rule", **read)
    async def rule(rule: Text, ctx: ToolContext) -> Any:
        """An alert rule with the failure codes it maps to, in order; null when there is none."""
        return await cmms.rule(_credential(ctx), rule)

    @tool(name="cmms.history", **read)
    async def history(
        before: Text,
        ctx: ToolContext,
        codes: list[str] = [],  # noqa: B006 (copied per call)
        asset: str | None = None,
        limit: Limit = 5,
    ) -> Any:
        """Work orders finished before a time, of one asset or all: counts, cited ids, median minutes per code."""
        return await cmms.history(_credential(ctx), before, codes, asset, limit)

    @tool(name="cmms.job", **read)
    async def job(code: Text, ctx: ToolContext) -> Any:
        """Usual labour and price of parts of a failure code; null when none is described."""
        return await cmms.job(_credential(ctx), code)

    @tool(name="cmms.technicians", **read)
    async def technicians(asset: Text, start: Text, request: Text, ctx: ToolContext) -> Any:
        """Technicians who cover an asset, with skills, shift hours and load at a time."""
        return await cmms.technicians(_credential(ctx), asset, start, request)

    return [asset, rule, history, job, technicians]


def _writes(cmms: Cmms, sandbox: bool) -> list[Callable[..., Any]]:
    return [_report(cmms, sandbox), _create(cmms, sandbox), *_steps(cmms, sandbox)]


def _report(cmms: Cmms, sandbox: bool) -> Callable[..., Any]:
    @tool(name="cmms.report", idempotent="event", **_write(sandbox))
    async def report(event: Text, asset: Text, code: Text, start: Text, ctx: ToolContext) -> Any:
        """Report a diagnosed event: opens a maintenance request, or joins the open one of this asset and code."""
        return await cmms.report(_credential(ctx), event, asset, code, start)

    return report


def _create(cmms: Cmms, sandbox: bool) -> Callable[..., Any]:
    async def probe(args: dict[str, Any], ctx: ToolContext) -> Happened | DidNotHappen:
        found = await cmms.find_work_order(_credential(ctx), business_key(args["request"]))
        return DidNotHappen() if found is None else Happened(found)

    async def undo(args: dict[str, Any], result: dict[str, Any], ctx: ToolContext) -> Any:
        return await cmms.step(_credential(ctx), result["id"], "cancel")

    @tool(
        name="cmms.create_work_order",
        resource=lambda args: f"maintenance_request/{args['request']}",
        money=lambda args: Money(args["cost"], args["currency"]),
        idempotent=lambda args: business_key(args["request"]),
        reconcile=probe,
        compensate=undo,
        **_write(sandbox),
    )
    async def create_work_order(  # noqa: PLR0917 (the arguments of the tool)
        request: Text,
        asset: Text,
        code: Text,
        description: Text,
        priority: Annotated[int, Field(ge=1, le=5)],
        labour_minutes: Annotated[int, Field(gt=0)],
        cost: Annotated[int, Field(ge=0, description="in minor units of the currency")],
        currency: Annotated[str, Field(pattern="^[A-Z]{3}$")],
        ctx: ToolContext,
    ) -> Any:
        """Create the work order of a maintenance request; its cost is what authorities are asked about."""
        order = {"request": request, "asset": asset, "code": code, "description": description, "priority": priority}
        order |= {"labour_minutes": labour_minutes, "cost": cost, "currency": currency}
        return await cmms.create_work_order(_credential(ctx), business_key(request), order)

    return create_work_order


def _steps(cmms: Cmms, sandbox: bool) -> list[Callable[..., Any]]:
    step: dict[str, Any] = {"idempotent": True, "resource": _work_order, **_write(sandbox)}

    @tool(name="cmms.schedule", **step)
    async def schedule(work_order: Text, starts: Text, ends: Text, ctx: ToolContext) -> Any:
        """Give a work order its slot (UTC)."""
        return await cmms.step(_credential(ctx), work_order, "schedule", {"starts": starts, "ends": ends})

    @tool(name="cmms.assign", **step)
    async def assign(work_order: Text, technician: Text, ctx: ToolContext) -> Any:
        """Assign a scheduled work order to a technician of the CMMS."""
        return await cmms.step(_credential(ctx), work_order, "assign", {"technician": technician})

    @tool(name="cmms.close", **step)
    async def close(work_order: Text, ctx: ToolContext) -> Any:
        """Release an assigned work order to its technician."""
        return await cmms.step(_credential(ctx), work_order, "close")

    return [schedule, assign, close]


def _write(sandbox: bool) -> dict[str, Any]:
    return {"system": "cmms", "scope": "cmms:write", "effect": "write", "sandbox": sandbox}


def _work_order(args: dict[str, Any]) -> str:
    return f"work_order/{args['work_order']}"


def _credential(ctx: ToolContext) -> str:
    if not ctx.credential:
        raise errors.ToolFailed("the plane has no credential for the system 'cmms'", _CREDENTIAL_HINT)
    return ctx.credential
