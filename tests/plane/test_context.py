"""The data context through the plane: labels by actor, one snapshot per case, encrypted checkpoints."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from langgraph.graph import END, START

from interlock import Agent, Decision, Person, Workflow, errors
from tests.graphs.office import POLICY, State, events, office, waits_on

PUMP = {"id": "pump", "title": "Pump manual", "text": "The pump is greased every month."}
NEWER = {**PUMP, "text": "The pump is greased every week."}
SECRET = {"id": "pay", "title": "Wages", "text": "What the pump crew earns.", "labels": ["role:payroll"]}


async def test_labels_hold_and_policy_may_grant_more() -> None:
    grant = (
        '@id("AUDIT") permit(principal in Interlock::Role::"auditor", '
        'action == Interlock::Action::"context.read", resource) when { context.labels.contains("role:payroll") };'
    )
    async with office(policy=POLICY + grant) as plane:
        plane.register_actor(Person("pay", roles={"payroll"}))
        plane.register_actor(Person("aud", roles={"auditor"}))
        assert (await plane.context.ingest("docs", [PUMP, SECRET])).ingested == 2
        seen = {
            actor: {fact.document_id for fact in await plane.context.query("pump crew", actor=actor)}
            for actor in ("person:pay", "person:aud", "person:ana", "person:nobody", None)
        }
        assert seen == {
            "person:pay": {"pump", "pay"},
            "person:aud": {"pump", "pay"},
            "person:ana": {"pump"},
            "person:nobody": {"pump"},
            None: {"pump"},
        }
        assert await plane.context.delete("docs", ["pay"]) == 1
        assert await plane.context.erase("docs", ["pay"]) == 1
        assert len(await plane.context.query("pump crew", actor="person:pay")) == 1


def reading() -> Workflow:
    """Two tasks that read the same question, with a gate between them."""
    wf = Workflow("reading", State)

    @wf.task(skill="reading")
    async def first(state: Any, call: Any) -> dict[str, Any]:
        (fact,) = await call.context("how often is the pump greased", k=1)
        return {"left": fact.text}

    gate = wf.approval("gate", authority="purchasing")

    @wf.task(skill="reading")
    async def second(state: Any, call: Any) -> dict[str, Any]:
        (fact,) = await call.context("how often is the pump greased", k=1, where={"source": "docs"})
        return {"right": fact.text}

    return wf.flow(START, first, gate, second, END)


async def test_a_case_reads_what_was_known_when_it_began() -> None:
    async with office(reading()) as plane:
        await plane.context.ingest("docs", [PUMP])
        old = await plane.start("reading", {}, requester="person:ana")
        old = await plane.wait(old.id, timeout=30)
        await plane.context.ingest("docs", [NEWER])
        new = await plane.start("reading", {}, requester="person:ana")
        new = await plane.wait(new.id, timeout=30)
        for case in (old, new):
            await plane.approvals.decide(waits_on(case), Decision.approve(), by="person:bo")
        old, new = await plane.wait_all([old.id, new.id], timeout=30)
        assert (old.values["left"], old.values["right"]) == (PUMP["text"], PUMP["text"])
        assert (new.values["left"], new.values["right"]) == (NEWER["text"], NEWER["text"])
        retrieved = await events(plane, old.id, "context.retrieved")
        assert [(e["data"]["task"], e["data"]["snapshot"]) for e in retrieved] == [("first", 1), ("second", 1)]
        (fact,) = await plane.context.query("pump", case_id=old.id)
        assert fact.text == PUMP["text"]


@pytest.mark.skipif(find_spec("Crypto") is not None, reason="pycryptodome is installed")
async def test_a_key_without_the_package_for_it_is_a_clear_error() -> None:
    with pytest.raises(errors.ConfigurationError, match="pycryptodome"):
        async with office(settings={"aes_key": "0123456789abcdef"}):
            pass


async def test_what_there_is_to_look_at() -> None:
    async with office(reading()) as plane:
        plane.register_actor(Agent("helper", skills={"x"}))
        assert {agent.id for agent in plane.agents} == {"agent:reading.first", "agent:reading.second", "agent:helper"}
        assert plane.workflow("reading").name == "reading"
        plane.register_registry("supplier", lambda value, ctx: None, source="erp")
        plane.register_facts("budget", lambda args, ctx: {"left": 5}, actions=["erp.create_po"], types={"left": "long"})
        assert plane.policies.check() == []
        with pytest.raises(errors.ConfigurationError, match="no engine"):
            type(plane).open(":memory:", engine="quantum")
