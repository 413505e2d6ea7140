"""What changes while a call is on its way to its commit: it is judged by one edition, and approved by who still may."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock import Agent, ControlPlane, Decision, Person
from tests.graphs.office import POLICY, Erp, fill, office

ORDER = {"supplier": "a", "total": 2_000_000}


@pytest.mark.parametrize("needed", [1, 3])
async def test_one_edition_judges_a_call_to_its_end(
    tmp_path: Path, needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies are reloaded between the question whether it is allowed and the one what is missing."""
    (file := tmp_path / "p.cedar").write_text(POLICY)
    async with ControlPlane.open(":memory:", policies=str(file)) as plane:
        fill(plane, Erp())
        plane.register_actor(Agent("buyer", scopes={"po:write"}))
        call = await plane.call_tool("erp.create_po", ORDER, actor="agent:buyer")
        assert call.approval
        await plane.approvals.decide(call.approval, Decision.approve(), by="person:cy")
        inbox = plane.services.inbox
        granted = inbox.granted

        async def reloaded(*asked: Any, **more: Any) -> Any:
            found = await granted(*asked, **more)
            file.write_text(POLICY.replace("purchasing >= 2", f"purchasing >= {needed}"))
            assert await plane.policies.reload() == []
            monkeypatch.undo()
            return found

        monkeypatch.setattr(inbox, "granted", reloaded)
        again = await plane.call_tool("erp.create_po", ORDER, actor="agent:buyer", approval=call.approval)
        assert again.status == "asked"


async def test_what_was_revoked_before_the_intent_is_not_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    erp, args = Erp(), {**ORDER, "total": 400_000}
    async with office(erp=erp) as plane:
        plane.register_actor(Agent("buyer", scopes={"po:write"}))
        plane.register_actor(Person("gus"))
        call = await plane.call_tool("erp.create_po", args, actor="agent:buyer")
        assert call.approval
        until = plane.services.clock.now() + timedelta(days=1)
        given = await plane.delegations.give("person:bo", "person:gus", until=until, by="person:bo")
        await plane.approvals.decide(call.approval, Decision.approve(), by="person:gus")
        records = plane.services.gateway._records
        intent = records.intent

        async def revoked(attempt: Any) -> Any:
            monkeypatch.undo()
            await plane.delegations.revoke(given.id, by="person:bo")
            return await intent(attempt)

        monkeypatch.setattr(records, "intent", revoked)
        again = await plane.call_tool("erp.create_po", args, actor="agent:buyer", approval=call.approval)
        assert again.status != "done"
        assert erp.orders == []
