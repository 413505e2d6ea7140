"""Commands that change something: given to the live engine of a home, or carried out here when none lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from interlock import errors
from interlock.cli.output import say
from interlock.cli.session import working
from interlock.graphs.commands import commands
from interlock.graphs.engine.lock import Address, EngineLock
from interlock.graphs.engine.remote import Stopping, send

__all__ = ["change"]

_SETTLES_S = 60.0
_GLANCES, _GLANCE_S = 400, 0.1  # an engine drains for half a minute, see drain_s
_HANDS = frozenset({"claim", "release", "delegate"})  # they move items between people, and no case
Engine = Callable[..., Awaitable[Any]]


async def change(
    home: Path, command: str, *, policies: Path | None = None, shadow: Path | None = None, **params: Any
) -> Any:
    """Run a command of the engine and return its answer; the cases it touched are driven until they have settled.

    A live engine decides by its own policies; `policies` and `shadow` are for the one that is made when none lives.

    Raises NotFound when the home has no database, and whatever the command raises.
    """
    if not (home / "interlock.db").exists():
        raise errors.NotFound(f"there is no database in {home}", "start with `interlock demo`, or name it with --home")
    work, lock = _Work(command, params), EngineLock(home)
    while (address := lock.holder()) is not None:
        _say_where(home, address, policies or shadow)
        try:
            return await work.by(partial(send, address))
        except errors.Unreachable as exc:
            if not (work.can_go_on_after(exc) and await _gone(lock, address)):
                raise
    async with working(home, policies=policies, shadow=shadow) as plane:
        await plane.ready()
        known = commands(plane)
        return await work.by(lambda name, **given: known[name](**given))


class _Work:
    """A command, and the cases it touches until they have settled. Where one engine stops, the next goes on."""

    def __init__(self, command: str, params: Mapping[str, Any]) -> None:
        self._command, self._params = command, params
        self._answer: Any = None
        self._told = False
        self._unsettled: list[str] = []

    async def by(self, engine: Engine) -> Any:
        """Give the command, unless an engine has taken it already, and wait for its cases; gives its answer."""
        if not self._told:
            self._answer = await engine(self._command, **self._params)
            self._told = True
            self._unsettled = [] if self._command in _HANDS else _touched(self._answer)
        while self._unsettled:
            settled = await engine("wait", case_id=self._unsettled[0], until="settled", timeout=_SETTLES_S)
            say(f"case {self._unsettled.pop(0)} is {settled['status']}")
        return self._answer

    def can_go_on_after(self, exc: errors.Unreachable) -> bool:
        """Whether it is known what the engine did: nothing, or the whole command."""
        return self._told or isinstance(exc, Stopping)


def _say_where(home: Path, address: Address, policies: Path | None) -> None:
    say(f"sent to the engine of {home} (pid {address.pid})")
    if policies is not None:
        say("it decides by its own policies; change those and say `interlock policy reload`")


async def _gone(lock: EngineLock, address: Address) -> bool:
    """Whether a stopping engine has let go of its home in time."""
    for _ in range(_GLANCES):
        if lock.holder() != address:
            return True
        await asyncio.sleep(_GLANCE_S)
    return False


def _touched(answer: Any) -> list[str]:
    """The cases in an answer: of the items that were answered, those that go on, or the one that was changed."""
    if not isinstance(answer, Mapping):
        return []
    if "cases" in answer:
        return list(answer["cases"])
    if "items" in answer:
        return list(dict.fromkeys(item["case_id"] for item in answer["items"]))
    case = answer.get("case_id") or answer.get("id")
    return [case] if case is not None else []
