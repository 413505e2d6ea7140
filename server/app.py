"""The HTTP interface of a plane, for this machine only: `/ok`, `/info`, and cases and inbox under `/control`.

Under `langgraph dev` it is the `http.app` beside the LangGraph server, on the guest plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError

from interlock import errors
from interlock.plane import ControlPlane
from interlock.server import control
from interlock.server.answers import on_error, on_invalid
from interlock.server.loopback import loopback_only
from interlock.settings import Settings

__all__ = ["app", "create_app"]

Opener = Callable[[], Awaitable[ControlPlane]]


def create_app(plane: ControlPlane | Opener) -> FastAPI:
    """The application on a plane, or on what an async function gives (asked at each request, so let it remember).

    The plane is not closed here: whoever opened it does that.
    """
    served = FastAPI(
        title="Interlock", version=version("interlock"), openapi_url="/control/openapi.json", docs_url=None
    )
    served.state.open = plane if callable(plane) else _always(plane)
    served.add_exception_handler(errors.InterlockError, on_error)
    served.add_exception_handler(RequestValidationError, on_invalid)
    guard = [Depends(loopback_only)]
    served.get("/ok", dependencies=guard)(_ok)
    served.get("/info", dependencies=guard)(_info)
    served.include_router(control.router, dependencies=guard)
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


async def _guest() -> ControlPlane:
    """The plane of guest mode, which whoever opens it keeps. Files are read in a thread."""
    opening = await asyncio.to_thread(lambda: Settings.load().resolve("guest"))
    plane: ControlPlane = await opening()
    return plane


app = create_app(_guest)
