"""One answer to many approvals: which ones, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from interlock.cli.change import change
from interlock.cli.output import emit, say, table
from interlock.cli.problems import FAILED
from interlock.cli.session import drive, reading

__all__ = ["answer_many", "open_approvals"]

_PAGE = 500


def open_approvals(home: Path, policies: Path | None, tool: str | None, most: int) -> list[str]:
    """The ids of the oldest open approvals, of one tool or all, at most so many."""
    return drive(_open_approvals(home, policies, tool, most))


async def _open_approvals(home: Path, policies: Path | None, tool: str | None, most: int) -> list[str]:
    found: list[str] = []
    async with reading(home, policies=policies) as plane:
        cursor = None
        while len(found) < most:
            page = await plane.approvals.list(limit=_PAGE, cursor=cursor)
            found += [item.id for item in page.items if tool in (None, item.action.get("tool"))]
            cursor = page.cursor
            if cursor is None:
                break
    return found[:most]


def answer_many(home: Path, policies: Path | None, ids: Sequence[str], as_json: bool, **said: Any) -> None:
    """Send the answer, and show item by item what became of it. Exits with 1 when one was refused."""
    told = drive(change(home, "decide_many", policies=policies, item_ids=list(ids), **said))
    if as_json:
        emit(told)
    else:
        table(("item", "case", "answer"), [(i["id"], i["case_id"], i["decision"]["kind"]) for i in told["items"]])
    for wrong in told["errors"]:
        say(f"{wrong['item']}: {wrong['message']} ({wrong['hint']})")
    say(f"{len(told['items'])} answered, {len(told['errors'])} refused")
    if told["errors"]:
        raise typer.Exit(FAILED)
