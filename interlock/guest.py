"""The plane of guest mode: one per process, for graphs that run under somebody else's checkpointer, as in Studio."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from interlock.graphs.guest import STUDIO
from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.oversight.policy import OPERATOR
from interlock.plane import ControlPlane
from interlock.settings import Settings
from interlock.tools.gateway import DEV_USER

__all__ = ["close_guest", "open_guest"]

_open: list[tuple[ControlPlane, AsyncExitStack]] = []
_turn = asyncio.Lock()


async def open_guest() -> ControlPlane:
    """The plane at `<home>/dev/interlock.db`, filled by the project; the home is INTERLOCK_HOME, else `.interlock`."""
    async with _turn:
        if not _open:
            _open.append(await _opened(Path(os.environ.get("INTERLOCK_HOME", ".interlock")) / "dev"))
    return _open[0][0]


async def close_guest() -> None:
    """Close the plane of guest mode, if it is open."""
    async with _turn:
        while _open:
            await _open.pop()[1].aclose()


async def _opened(home: Path) -> tuple[ControlPlane, AsyncExitStack]:
    async with AsyncExitStack() as stack:
        settings = await asyncio.to_thread(Settings.load, home)
        url = f"sqlite:///{home / 'interlock.db'}"
        plane = await stack.enter_async_context(ControlPlane.open(url, settings=settings))
        setup = await asyncio.to_thread(settings.resolve, "project")
        await stack.enter_async_context(setup(plane))
        for person in _developers(plane):
            plane.register_actor(person)
        await plane.ready()
        return plane, stack.pop_all()
    raise AssertionError("unreachable")


def _developers(plane: ControlPlane) -> list[Person]:
    """Who asks and who answers in guest mode; the dev user may approve what somebody of the project may."""
    limits: dict[str, Money] = {}
    for person in plane.services.actors.people():
        for name, limit in person.authorities.items():
            limits[name] = max(limits.get(name, limit), limit, key=lambda money: money.amount)
    asking = Person(STUDIO.removeprefix("person:"))
    answering = Person(DEV_USER.removeprefix("person:"), roles={OPERATOR}, authorities=limits)
    return [person for person in (asking, answering) if person.id not in plane.services.actors]
