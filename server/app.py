"""The HTTP interface of a plane, for this machine only: `/ok`, `/info`, and cases and inbox under `/control`.

There is no login yet: whoever is on this machine answers under the name that is given, as on the command line.
Under `langgraph dev` the module's `app` is the `http.app` beside the LangGraph server, on the guest plane. It leaves
`/ok` and `/info` to that server: Studio reads them, and a mounted `/info` would take the place of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.types import Lifespan

from interlock import errors
from interlock.guest import close_guest, open_guest
from interlock.plane import ControlPlane
from interlock.server import control
from interlock.server.answers import on_error, on_invalid
from interlock.server.loopback import loopback_only

__all__ = ["app", "create_app"]

Opener = Callable[[], Awaitable[ControlPlane]]


def create_app(plane: ControlPlane | Opener) -> FastAPI:
    """The application on a plane, or on what an async function gives (asked at each request, so let it remember).

    The plane is not closed here: whoever opened it does that.
    """
    served = _control(plane if callable(plane) else _always(plane))
    guard = [Depends(loopback_only)]
    served.get("/ok", dependencies=guard)(_ok)
    served.get("/info", dependencies=guard)(_info)
    return served


def _control(opener: Opener, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """What is ours alone: everything under `/control`."""
    about: dict[str, Any] = {"title": "Interlock", "version": version("interlock")}
    pages: dict[str, Any] = {"openapi_url": "/control/openapi.json", "docs_url": None, "redoc_url": None}
    served = FastAPI(**about, **pages, lifespan=lifespan)
    served.state.open = opener
    served.add_exception_handler(errors.InterlockError, on_error)
    served.add_exception_handler(RequestValidationError, on_invalid)
    served.include_router(control.router, dependencies=[Depends(loopback_only)])
    return served


def _always(plane: ControlPlane) -> Opener:
    async def given() -> ControlPlane:
        return plane

    return given


async def _ok() -> dict[str, bool]:
    return {"ok": True}


async def _info(plane: control.Plane) -> dict[str, Any]:
    """Version, and what is registered here."""
    workflows = {name: entry.workflow.version for name, entry in plane.registry.latest().items()}
    return {"name": "interlock", "version": version("interlock"), "tenant": plane.tenant, "workflows": workflows}


@asynccontextmanager
async def _guesthouse(_: FastAPI) -> AsyncIterator[None]:
    """Whoever opened the plane of guest mode, a graph or a request: it is closed with the server."""
    yield
    await close_guest()


app = _control(open_guest, lifespan=_guesthouse)
