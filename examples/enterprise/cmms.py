"""The reference CMMS: a small maintenance system over HTTP, with a database and a credential of its own.

Run it in this process through `httpx.ASGITransport(create_app(...))`, or as a server:
`CMMS_TOKEN=... python -m interlock.examples.enterprise.cmms --port 8790 --database cmms.db --reference FOLDER`.
"""

from __future__ import annotations

import argparse
import hmac
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from interlock import errors
from interlock.clock import iso
from interlock.examples.enterprise.cmms_store import CmmsStore, Refused
from interlock.examples.enterprise.reference import SAMPLE, read_reference
from interlock.tools.systems.cmms import event_time

Access = Literal["read", "write"]
Key = Annotated[str, Header(min_length=1, max_length=300)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Report(Strict):
    """An alert with its diagnosed code."""

    key: str = Field(min_length=1)
    asset: str
    code: str
    start: str


class Order(Strict):
    """A work order to be created; `cost` in minor units."""

    request: str
    asset: str
    code: str
    description: str
    priority: int = Field(ge=1, le=5)
    labour_minutes: int = Field(gt=0)
    cost: int = Field(ge=0)
    currency: str = Field(pattern="^[A-Z]{3}$")


class Slot(Strict):
    starts: str
    ends: str


class Assignment(Strict):
    technician: str


def create_app(store: CmmsStore, tokens: Mapping[str, Access]) -> FastAPI:
    """The service over a store. `tokens` gives the bearer credentials and what each may do."""
    app = FastAPI(title="Reference CMMS")
    app.add_exception_handler(Refused, _refused)
    read, write = _guard(tokens, ("read", "write")), _guard(tokens, ("write",))
    app.get("/health")(lambda: {"ok": True})
    _add_reads(app, store, [Depends(read)])
    _add_reports(app, store, [Depends(write)])
    _add_steps(app, store, [Depends(write)])
    return app


def _guard(tokens: Mapping[str, Access], access: tuple[Access, ...]) -> Callable[..., Awaitable[None]]:
    async def check(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, given = authorization.partition(" ")
        granted = [may for token, may in tokens.items() if hmac.compare_digest(token.encode(), given.encode())]
        if scheme.lower() != "bearer" or not granted:
            raise HTTPException(401, "wrong or missing credential")
        if granted[0] not in access:
            raise HTTPException(403, "this credential may only read")

    return check


def _refused(request: Request, exc: Exception) -> JSONResponse:
    status, detail = (exc.status, exc.detail) if isinstance(exc, Refused) else (500, "internal error")
    return JSONResponse({"detail": detail}, status)


def _time(text: str) -> str:
    try:
        return iso(event_time(text))
    except ValueError as exc:
        raise HTTPException(422, f"{text!r} is no time") from exc


def _add_reads(app: FastAPI, store: CmmsStore, guard: list[Any]) -> None:
    @app.get("/assets", dependencies=guard)
    def asset(name: str) -> dict[str, Any]:
        return store.asset(name)

    @app.get("/rules", dependencies=guard)
    def rule(rule: str) -> dict[str, Any]:
        return store.rule(rule)

    @app.get("/history", dependencies=guard)
    def history(
        before: str,
        codes: Annotated[list[str], Query()] = [],  # noqa: B006  # FastAPI copies defaults
        asset: str | None = None,
        limit: Annotated[int, Query(ge=0, le=100)] = 5,
    ) -> dict[str, Any]:
        return store.history(codes, _time(before), asset, limit)

    @app.get("/jobs", dependencies=guard)
    def job(code: str) -> dict[str, Any]:
        return store.job(code)

    @app.get("/technicians", dependencies=guard)
    def technicians(asset: str, start: str, request: str) -> list[dict[str, Any]]:
        return store.technicians(asset, _time(start), request)

    @app.get("/work-orders", dependencies=guard)
    def work_orders(key: str | None = None) -> list[dict[str, Any]]:
        return store.work_orders() if key is None else [store.find(key)]

    app.get("/stats", dependencies=guard)(store.stats)


def _add_reports(app: FastAPI, store: CmmsStore, guard: list[Any]) -> None:
    @app.post("/reports", dependencies=guard)
    def report(body: Report) -> dict[str, Any]:
        return store.report(body.key, body.asset, body.code, _time(body.start))

    @app.post("/work-orders", dependencies=guard)
    def create(body: Order, response: Response, idempotency_key: Key) -> dict[str, Any]:
        order, created = store.create(idempotency_key, body.model_dump())
        response.status_code = 201 if created else 200
        return order


def _add_steps(app: FastAPI, store: CmmsStore, guard: list[Any]) -> None:
    @app.post("/work-orders/{order}/schedule", dependencies=guard)
    def schedule(order: str, body: Slot) -> dict[str, Any]:
        return store.advance(order, "schedule", {"starts": _time(body.starts), "ends": _time(body.ends)})

    @app.post("/work-orders/{order}/assign", dependencies=guard)
    def assign(order: str, body: Assignment) -> dict[str, Any]:
        return store.advance(order, "assign", {"technician": body.technician})

    @app.post("/work-orders/{order}/close", dependencies=guard)
    def close(order: str) -> dict[str, Any]:
        return store.advance(order, "close", {})

    @app.post("/work-orders/{order}/cancel", dependencies=guard)
    def cancel(order: str) -> dict[str, Any]:
        return store.cancel(order)


def main(arguments: list[str] | None = None) -> None:
    """Serve a database until stopped, and print the address; port 0 takes a free one.

    The credential comes from the environment variable CMMS_TOKEN, never from a flag.
    """
    parser = argparse.ArgumentParser(description="The reference CMMS")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--database", type=Path, default=Path("cmms.db"))
    parser.add_argument("--reference", type=Path, default=SAMPLE)
    options = parser.parse_args(arguments)
    if not (token := os.environ.get("CMMS_TOKEN")):
        parser.error("set CMMS_TOKEN to the bearer credential that clients must give")
    try:
        reference = read_reference(options.reference)
    except errors.InputError as exc:
        parser.error(str(exc))
    with closing(CmmsStore(options.database)) as store, socket.create_server((options.host, options.port)) as listener:
        store.load(reference)
        print(f"Reference CMMS at http://{options.host}:{listener.getsockname()[1]}", flush=True)
        server = uvicorn.Server(uvicorn.Config(create_app(store, {token: "write"}), log_level="warning"))
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
