"""One case, as its live engine sees it, or as the database holds it when none lives."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from interlock import errors
from interlock.cli.session import reading
from interlock.graphs.engine.lock import EngineLock
from interlock.graphs.engine.remote import send

__all__ = ["show_case"]


async def show_case(home: Path, case_id: str, *, policies: Path | None = None) -> Any:
    """Who waits for the objects of a case only a live engine knows. Raises NotFound."""
    address = EngineLock(home).holder() if (home / "interlock.db").exists() else None
    if address is not None:
        with suppress(errors.Unreachable):  # it is stopping: the database says the rest
            return await send(address, "show", case_id=case_id)
    async with reading(home, policies=policies) as plane:
        return await plane.case(case_id)
