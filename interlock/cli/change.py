"""Commands that change something: given to the live engine of a home, or carried out here when none lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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
_GLANCES, _GLANCE_S = 50, 0.1
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
    lock = EngineLock(home)
    while (address := lock.holder()) is not None:
        try:
            return await _sent(home, address, command, policies or shadow, params)
        except Stopping:
            if not await _gone(lock, address):
                raise
    async with working(home, policies=policies, shadow=shadow) as plane:
        await plane.ready()
        known = commands(plane)
        return await _settled(lambda name, **given: known[name](**given), command, params)


async def _sent(home: Path, address: Address, command: str, sets: Path | None, params: Mapping[str, Any]) -> Any:
    """Raises Stopping while nothing has been done yet; what stops after that is Unreachable."""
    say(f"sent to the engine of {home} (pid {address.pid})")
    if sets is not None:
        say("it decides by its own policies; change those and say `interlock policy reload`")
    answer = await send(address, command, **params)
    try:
        return await _followed(lambda name, **given: send(address, name, **given), command, answer)
    except Stopping as exc:
        raise errors.Unreachable(exc.message, "it was told; look at the case") from exc


async def _gone(lock: EngineLock, address: Address) -> bool:
    """Whether a stopping engine has let go of its home in time."""
    for _ in range(_GLANCES):
        if lock.holder() != address:
            return True
        await asyncio.sleep(_GLANCE_S)
    return False


async def _settled(engine: Engine, command: str, params: Mapping[str, Any]) -> Any:
    return await _followed(engine, command, await engine(command, **params))


async def _followed(engine: Engine, command: str, answer: Any) -> Any:
    """Wait for the cases that a command touched."""
    for case in () if command in _HANDS else _touched(answer):
        settled = await engine("wait", case_id=case, until="settled", timeout=_SETTLES_S)
        say(f"case {case} is {settled['status']}")
    return answer


def _touched(answer: Any) -> list[str]:
    """The cases in an answer: of the item or items that were answered, or the one that was changed."""
    if not isinstance(answer, Mapping):
        return []
    if "items" in answer:
        return list(dict.fromkeys(item["case_id"] for item in answer["items"]))
    case = answer.get("case_id") or answer.get("id")
    return [case] if case is not None else []
