"""What registering refuses at once: a check that never bites is found before the first call, not after it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langgraph.graph import END, START

from interlock import Agent, ControlPlane, Person, Workflow, errors
from tests.graphs.office import State, office

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def gated(name: str, gate: str) -> Workflow:
    wf = Workflow(name, State)
    return wf.flow(START, wf.approval(gate, authority="purchasing"), END)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Agent("a", capacity="3"),  # type: ignore[arg-type]
        lambda: Agent("a", capacity=True),
        lambda: Agent("a", cost=3),  # type: ignore[arg-type]
        lambda: Agent("a", owner=3),  # type: ignore[arg-type]
        lambda: Agent("a", skills=3),  # type: ignore[arg-type]
        lambda: Agent("a", skills={3}),  # type: ignore[arg-type]
        lambda: Agent("a", scopes="bank"),  # type: ignore[arg-type]
        lambda: Person("a", authorities=["purchasing"]),  # type: ignore[arg-type]
        lambda: Person("a", authorities={"purchasing": 100}),  # type: ignore[dict-item]
        lambda: Person("a", calendar=3),  # type: ignore[arg-type]
        lambda: Person("a", calendar=[("monday", "friday")]),  # type: ignore[list-item]
        lambda: Person("a", calendar=[(datetime(2026, 1, 1), NOW)]),  # noqa: DTZ001
    ],
)
def test_what_is_no_actor(make: Callable[[], Any]) -> None:
    with pytest.raises(errors.InputError) as refused:
        make()
    assert refused.value.hint


def test_leave_is_given_in_pairs() -> None:
    ana = Person("ana", calendar=[(NOW, datetime(2026, 2, 1, tzinfo=UTC))])
    assert ana.away(datetime(2026, 1, 15, tzinfo=UTC))
    assert ana == Person("ana", calendar=list(ana.calendar))


@pytest.mark.parametrize(
    "register",
    [
        lambda plane: plane.register_actor("person:ana"),
        lambda plane: plane.register_registry("account", {"DE1": True}, source="erp"),
        lambda plane: plane.register_registry("account", len, source="erp", canonical="lower"),
        lambda plane: plane.register_facts("f", {"open": True}, actions=["erp.stock"], types={"open": "bool"}),
        lambda plane: plane.register_facts("f", dict, actions="erp.stock", types={"open": "bool"}),
        lambda plane: plane.register_facts("f", dict, actions=["erp.stock"], types={"open": "float"}),
        lambda plane: plane.register_facts("f", dict, actions=["erp.stock"], types={"amount": "long"}),
    ],
)
async def test_what_is_no_registration(register: Callable[[ControlPlane], Any]) -> None:
    async with office() as plane:
        with pytest.raises(errors.ConfigurationError):
            register(plane)
        assert plane.policies.check() == []


async def test_two_facts_of_one_name_are_told_apart_by_their_actions() -> None:
    async with office() as plane:
        plane.register_facts("one", dict, actions=["erp.stock"], types={"open": "bool"})
        plane.register_facts("two", dict, actions=["erp.create_po"], types={"open": "long"})
        with pytest.raises(errors.Conflict, match="'one'"):
            plane.register_facts("three", dict, actions=["erp.stock"], types={"open": "bool"})


@pytest.mark.parametrize("first", ["tool", "gate"])
async def test_a_gate_and_a_tool_are_never_one_action(first: str) -> None:
    async def pay(amount: int) -> int:
        return amount

    async with office() as plane:
        steps: list[Callable[[], Any]] = [
            lambda: plane.register_tool(pay, name="erp.pay"),
            lambda: plane.register(gated("erp", "pay")),
        ]
        if first == "gate":
            steps.reverse()
        steps[0]()
        with pytest.raises(errors.Conflict, match=r"erp\.pay"):
            steps[1]()
        assert plane.policies.check() == []


@pytest.mark.parametrize("name", ["case.start", "task.perform", "context.read"])
async def test_the_actions_of_the_plane_are_its_own(name: str) -> None:
    async def anything() -> None: ...

    async with office() as plane:
        with pytest.raises(errors.Conflict):
            plane.register_tool(anything, name=name)
        with pytest.raises(errors.Conflict):
            plane.register(gated(*name.split(".")))
        with pytest.raises(errors.Conflict, match="from outside"):
            plane.register(gated("adhoc", "gate"))


class Counting(BaseTool):
    """Says its arguments by its `_run` alone."""

    name: str = "count"
    description: str = "counts"

    def _run(self, text: str, times: int = 1) -> int:
        return len(text) * times


async def test_a_tool_class_says_its_arguments_by_its_code() -> None:
    async with office() as plane:
        plane.register_tool(Counting(), effect="read")
        plane.register_actor(Agent("buyer"))
        assert (await plane.call_tool("count", {"text": "abc", "times": 2}, actor="agent:buyer")).unwrap() == 6
        refused = await plane.call_tool("count", {"text": 3}, actor="agent:buyer")
        assert refused.reasons[0].policy == "gateway.schema"


@pytest.mark.parametrize(
    "options",
    [
        {"url": 3},
        {"url": "postgresql://host/db"},
        {"engine": "temporal"},
        {"tenant": ""},
        {"policies": 3},
        {"policies": "/nowhere"},
        {"policies": {"a.cedar": 3}},
        {"clock": "noon"},
    ],
)
async def test_what_no_plane_opens_with(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError) as refused:
        await ControlPlane.open(**{"url": ":memory:", **options})
    assert refused.value.hint


async def test_every_target_has_its_origins_in_every_request() -> None:
    rule = """@id("SEND") permit(principal, action == Interlock::Action::"mail.send", resource)
      when { context.origins.to.contains("absent") && context.origins.text.isEmpty() };"""

    async def send(text: str, to: str | None = None) -> str:
        return text

    async with office(policy=rule) as plane:
        plane.register_tool(send, name="mail.send", targets={"to": "address"})
        plane.register_actor(Agent("buyer"))
        assert plane.policies.check() == []
        assert (await plane.call_tool("mail.send", {"text": "hello"}, actor="agent:buyer")).status == "done"
        assert (await plane.call_tool("mail.send", {"text": "a", "to": "x"}, actor="agent:buyer")).status == "denied"
