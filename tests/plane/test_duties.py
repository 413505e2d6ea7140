"""The conflict matrix: what one actor must not both do, in a case or with a counterparty, also at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from interlock import Agent, ControlPlane, ToolResult, errors
from interlock.oversight.duties import Conflicts

POLICY = '@id("all") permit (principal, action in Interlock::Action::"effect:write", resource);'
CREATE_PAY = '- between: [erp.create, bank.pay]\n  within: {}\n  why: who creates "vendors" does not pay them\n'


class Vendor(BaseModel):
    to: str


def _form(text: str) -> str:
    return text.strip().lower()


@asynccontextmanager
async def plant(folder: Path, within: str) -> AsyncIterator[ControlPlane]:
    (folder / "t.cedar").write_text(POLICY, "utf-8")
    (folder / "conflicts.yaml").write_text(CREATE_PAY.format(within), "utf-8")
    async with ControlPlane.open(":memory:", policies=folder) as plane:

        async def act(to: str) -> str:
            await asyncio.sleep(0)
            return to

        for name in ("erp.create", "bank.pay", "erp.other"):
            plane.register_tool(
                act, name=name, args_schema=Vendor, system="erp", scope="w", effect="write", targets={"to": "vendor"},
            )  # fmt: skip
        plane.register_registry(
            "vendor", lambda value, ctx: {}, source="erp", canonical=lambda text: text.strip().lower()
        )
        for name in ("ann", "ben"):
            plane.register_actor(Agent(name, scopes={"w"}))
        await plane.ready()
        yield plane


async def call(plane: ControlPlane, tool: str, to: str = "v1", actor: str = "ann", **more: Any) -> ToolResult:
    return await plane.call_tool(tool, {"to": to}, actor=f"agent:{actor}", **more)


@pytest.mark.parametrize(("first", "second"), [("erp.create", "bank.pay"), ("bank.pay", "erp.create")])
async def test_one_actor_does_not_do_both_with_a_counterparty(tmp_path: Path, first: str, second: str) -> None:
    async with plant(tmp_path, "counterparty") as plane:
        assert (await call(plane, first)).status == "done"
        no = await call(plane, second, " V1 ")
        assert no.status == "denied"
        assert no.reasons[0].policy == f"sod.conflict.1.{second}.{first}"
        assert no.reasons[0].text.startswith('who creates "vendors" does not pay them')
        assert (await call(plane, second, actor="ben")).status == "done"
        assert (await call(plane, second, "v2")).status == "done"
        assert [(await call(plane, tool)).status for tool in (first, "erp.other")] == ["done", "done"]


async def test_both_at_once_are_not_both_done(tmp_path: Path) -> None:
    async with plant(tmp_path, "counterparty") as plane:
        for number in range(12):
            both = await asyncio.gather(*(call(plane, t, f"v{number}") for t in ("erp.create", "bank.pay")))
            assert Counter(result.status for result in both) == {"done": 1, "denied": 1}


async def test_within_a_case_only(tmp_path: Path) -> None:
    async with plant(tmp_path, "case") as plane:
        assert [(await call(plane, t)).status for t in ("erp.create", "bank.pay")] == ["done", "done"]


async def test_what_is_misspelled_is_found_with_its_row(tmp_path: Path) -> None:
    async with plant(tmp_path, "case") as plane:
        (tmp_path / "conflicts.yaml").write_text("# ours\n- {between: [erp.craete, bank.pay], within: case, why: x}\n")
        told = [str(problem) for problem in await plane.policies.reload()]
        assert any(t.startswith("conflicts.yaml:2:1: row 1: ") and "did you mean erp.create" in t for t in told), told


BAD = [
    "", "[]", "a: b", "- 5", "- {between: [a, b], within: case}", "- {between: [a], within: case, why: x}",
    "- {between: [a, a], within: case, why: x}", "- {between: ab, within: case, why: x}",
    "- {between: [a, B], within: case, why: x}", "- {between: [a, b], within: [case], why: x}",
    "- {between: [a, b], within: day, why: x}", "- {between: [a, b], within: case, why: ' '}",
    "- {between: [a, 5], within: case, why: x}", "- {between: [a, b], within: case, why: x, more: y}", "- {",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_matrix_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "conflicts.yaml").write_text(text, "utf-8")
    with pytest.raises(errors.ConfigurationError) as caught:
        Conflicts.load(tmp_path / "conflicts.yaml")
    assert caught.value.hint
