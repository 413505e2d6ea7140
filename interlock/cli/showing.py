"""One case, as its live engine sees it, or as the database holds it when none lives; and what it was told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from interlock import errors
from interlock.cli.session import modelled, reading
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import send
from interlock.tools.facts import listed

__all__ = ["case_facts", "show_case"]


async def show_case(home: Path, case_id: str, *, policies: Path | None = None) -> Any:
    """Who waits for the objects of a case only a live engine knows. Raises NotFound."""
    address = EngineLock(home).holder() if (home / "interlock.db").exists() else None
    if address is not None:
        with suppress(errors.Unreachable):  # it is stopping: the database says the rest
            return await send(address, "show", case_id=case_id)
    async with reading(home, policies=policies) as plane:
        return await plane.case(case_id)


async def case_facts(home: Path, case_id: str, *, policies: Path | None = None) -> list[dict[str, Any]]:
    """Every fact and tool result of a case with source, time and trust, as its project declares it. Raises NotFound."""
    async with reading(home, policies=policies) as plane, modelled(home, policies=policies) as project:
        case, tools = await plane.case(case_id), project.services.tools
        return await plane.services.db.read(lambda tx: listed(tx, case.tenant, case.id, tools))
