"""Versions and digests of graphs, what is missing when a case is to go on, and what registering refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import ControlPlane, Decision, Workflow, errors
from tests.graphs.office import POLICY, Erp, State, buying, fill, office, only_item, people


def noting(version: str, note: str, extra: str = "") -> Workflow:
    """A gate, then a task that says which version it is."""
    wf = Workflow("noting", State, version=version)
    gate = wf.approval("gate", authority="purchasing")

    @wf.task(skill="noting")
    async def say(state: Any, call: Any) -> dict[str, Any]:
        return {"note": note}

    steps = [START, gate, say]
    if extra:
        wf.task(extra, skill="more")
        steps.append(extra)
    return wf.flow(*steps, END)


async def test_several_versions_at_once_each_with_its_own_code() -> None:
    async with office(noting("1", "first")) as plane:
        old = await plane.start("noting", {}, requester="person:ana")
        await plane.wait(old.id, timeout=30)
        plane.register(noting("2", "second"))
        new = await plane.start("noting", {}, requester="person:ana")
        for case in (new, old):
            await plane.wait(case.id, timeout=30)
            await plane.approvals.decide((await only_item(plane, case.id)).id, Decision.approve(), by="person:bo")
        old, new = await plane.wait_all([old.id, new.id], timeout=30)
        assert [(c.version, c.values["note"]) for c in (old, new)] == [("1", "first"), ("2", "second")]


async def reopened(url: str, *workflows: Workflow, tools: bool = True) -> ControlPlane:
    plane = await ControlPlane.open(url, policies={"office.cedar": POLICY})
    if tools:
        fill(plane, Erp())
    for workflow in workflows:
        plane.register(workflow)
    await plane.ready()
    return plane


async def waiting_case(url: str, workflow: Workflow) -> str:
    async with office(workflow, url=url) as plane:
        case = await plane.start(workflow.name, {"total": 400_000}, requester="person:ana")
        await plane.wait(case.id, timeout=30)
        return case.id


async def after_answer(plane: ControlPlane, case_id: str) -> Any:
    await plane.approvals.decide((await only_item(plane, case_id)).id, Decision.approve(), by="person:bo")
    return await plane.wait(case_id, timeout=30)


async def test_a_case_whose_graph_has_changed_does_not_go_on(tmp_path: Path) -> None:
    """LangGraph alone would complete it."""
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    case_id = await waiting_case(url, noting("1", "first"))
    plane = await reopened(url, noting("1", "first", extra="more"))
    case = await after_answer(plane, case_id)
    assert (case.status, case.waiting_for[0].kind) == ("waiting", "plane")
    assert "another structure" in case.waiting_for[0].action
    await plane.close()
    plane = await reopened(url, noting("1", "first"))
    assert (await plane.wait(case_id, until="ended", timeout=30)).values["note"] == "first"
    await plane.close()


async def test_a_case_whose_version_is_not_registered_waits_for_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    case_id = await waiting_case(url, noting("1", "first"))
    plane = await reopened(url, noting("2", "second"))
    case = await after_answer(plane, case_id)
    assert "version 1 is not registered" in case.waiting_for[0].action
    plane.register(noting("1", "first"))
    await plane.ready()
    case = await plane.wait(case_id, until="ended", timeout=30)
    assert case.values["note"] == "first"
    await plane.close()


def tooled() -> Workflow:
    wf = Workflow("tooled", State)
    gate = wf.approval("gate", authority="purchasing")

    @wf.task(skill="buying", tools=["erp.create_po"], scopes={"po:write"})
    async def order(state: Any, call: Any) -> dict[str, Any]:
        return {"po": await call("erp.create_po", {"supplier": "acme", "total": 1})}

    return wf.flow(START, gate, order, END)


async def test_a_case_whose_tool_is_missing_waits_for_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'interlock.db'}"
    case_id = await waiting_case(url, tooled())
    async with ControlPlane.open(url, policies={"office.cedar": POLICY}) as plane:
        plane.register(tooled())
        for person in people():
            plane.register_actor(person)
        case = await after_answer(plane, case_id)
        assert "erp.create_po" in case.waiting_for[0].action
        fill(plane, Erp())
        await plane.ready()
        assert (await plane.wait(case.id, until="ended", timeout=30)).values["po"] == "PO-1"


async def test_registering_twice_raises_unless_identical() -> None:
    wf = buying()
    async with office(wf) as plane:
        assert plane.register(wf) is plane.register(wf.compile())
        with pytest.raises(errors.Conflict, match="other content"):
            plane.register(buying())
        with pytest.raises(errors.Conflict, match="other content"):
            plane.register(noting("1", "x"))
            plane.register(noting("1", "x", extra="more"))


async def test_an_invalid_policy_set_denies_every_call_and_says_where(tmp_path: Path) -> None:
    action = 'action == Interlock::Action::"erp.create_po"'
    bad = f'@id("BAD") permit(principal, {action}, resource) when {{ context.amout > 1 }};'
    async with office(buying(), policy=bad) as plane:
        (problem,) = plane.policies.check()
        assert (problem.file, problem.line, "amount" in problem.suggestion) == ("office.cedar", 1, True)
        with pytest.raises(errors.PolicyError, match=r"office\.cedar:1"):
            await plane.ready()
        result = await plane.call_tool("erp.create_po", {"supplier": "a", "total": 1}, actor="agent:buying.order")
        assert result.status == "denied"
        with pytest.raises(errors.Denied, match="invalid"):
            await plane.start("buying", {}, requester="person:ana")


async def test_policies_are_bound_again_when_something_is_registered() -> None:
    async with office() as plane:
        await plane.ready()
        plane.register(buying())
        case = await plane.start("buying", {"total": 1}, requester="person:ana")
        assert (await plane.wait(case.id, until="ended", timeout=30)).status == "completed"
        plane.register_tool(Erp().stock, name="erp.count", effect="read", scope="po:write")
        result = await plane.call_tool("erp.count", {"item": "pump"}, actor="agent:buying.order")
        assert result.unwrap() == 4
