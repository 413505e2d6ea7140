"""The map of a workflow as data and as Mermaid text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from interlock import Agent, Money, Person, Workflow
from interlock.graphs.map import Edge, Map, Node, describe, mermaid


class State(TypedDict, total=False):
    vendor_ok: bool
    order: str
    total: int


async def validate_vendor(state: Any, call: Any) -> dict[str, Any]:
    return {}


def procurement() -> Workflow:
    wf = Workflow("procurement", State, version="2", owner="finance", sla=timedelta(days=1))
    wf.task(skill="vendors", tools=["screening.lookup"])(validate_vendor)
    wf.task("review", skill="contracts")
    wf.task("budget", skill="budgets", sla=timedelta(minutes=30))
    gate = wf.approval("approve", amount="total", authority="purchasing", sla=timedelta(hours=4), on_reject=END)
    wf.task("place", skill="buying", tools=["erp.create_po"])
    wf.flow(START, validate_vendor, ["review", "budget"], gate, "place", END)
    return wf


def edges(chart: Map) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.target, edge.kind) for edge in chart.edges}


def test_a_task_is_one_step_and_a_list_is_a_fan() -> None:
    wf = procurement()
    chart = describe(wf, wf.compile())
    assert [node.id for node in chart.nodes] == [
        START, "validate_vendor", "review", "budget", "place", "approve", END,
    ]  # fmt: skip
    assert edges(chart) == {
        (START, "validate_vendor", "flow"),
        ("validate_vendor", "review", "flow"),
        ("validate_vendor", "budget", "flow"),
        ("review", "approve", "flow"),
        ("budget", "approve", "flow"),
        ("approve", "place", "flow"),
        ("approve", END, "reject"),
        ("place", END, "flow"),
    }
    assert (chart.owner, chart.version, chart.sla) == ("finance", "2", "1 d")
    assert chart.unreachable() == []


def test_steps_say_who_performs_them_with_what_and_until_when() -> None:
    wf = procurement()
    people = [Person("bo", authorities={"purchasing": Money(1, "EUR")}), Person("ana", skills={"vendors"})]
    chart = describe(wf, wf.compile(), [Agent("buyer", skills={"buying"}, run=validate_vendor), *people])
    nodes = {node.id: node for node in chart.nodes}
    assert nodes["validate_vendor"].performers == ("agent:procurement.validate_vendor", "person:ana")
    assert nodes["validate_vendor"].tools == ("screening.lookup",)
    assert nodes["place"].performers == ("agent:buyer",)
    assert nodes["approve"] == Node("approve", "approval", "", (), "4 h", "purchasing", ("person:bo",))
    assert nodes["budget"].sla == "30 min"
    assert nodes["review"].performers == ()


def test_declared_targets_of_a_branch_are_taken_as_they_are() -> None:
    wf = procurement()
    wf.branch("place", lambda state: "review" if state.get("total") else None, ["validate_vendor", END])
    found = edges(describe(wf, wf.compile()))
    assert {("place", "validate_vendor", "branch"), ("place", END, "branch")} <= found
    assert ("place", "review", "branch") not in found


def test_undeclared_targets_are_those_that_the_function_names() -> None:
    wf = procurement()
    wf.branch(validate_vendor, lambda state: END if not state["vendor_ok"] else None)
    wf.branch("place", lambda state: {"x": "review", "y": ["budget", "approve"]}.get("x"))
    found = edges(describe(wf, wf.compile()))
    assert ("validate_vendor", END, "branch") in found
    assert {target for source, target, kind in found if source == "place" and kind == "branch"} == {
        "review", "budget", "approve",
    }  # fmt: skip


def test_a_handle_in_a_closure_counts_and_a_key_of_the_state_does_not() -> None:
    wf = Workflow("w", State)
    wf.task("order", skill="x")
    back = wf.task("back", skill="y")
    wf.flow(START, "order", "back", END)
    wf.branch("back", lambda state: back if state["order"] else None)
    assert {e for e in edges(describe(wf, wf.compile())) if e[2] == "branch"} == {("back", "back", "branch")}


def test_a_branch_that_names_nothing_may_lead_anywhere() -> None:
    wf = procurement()
    wf.task("lonely", skill="x")
    wf.branch("place", lambda state: state.get("order"))
    chart = describe(wf, wf.compile())
    assert {node.id for node in chart.nodes if node.free} == {"place"}
    assert chart.unreachable() == []
    assert "may lead anywhere" in mermaid(chart)


def test_a_step_outside_the_flow_is_unreachable() -> None:
    wf = procurement()
    wf.task("lonely", skill="x")
    assert describe(wf, wf.compile()).unreachable() == ["lonely"]


def test_nodes_and_conditional_edges_of_langgraph_are_steps_too() -> None:
    wf = Workflow("mixed", State)
    wf.task("first", skill="x")
    wf.add_node("plain", lambda state: {})
    wf.add_node("other", lambda state: {})
    wf.flow(START, "first")
    wf.add_edge("first", "plain")
    wf.add_conditional_edges("plain", lambda state: "other", ["other", END])
    wf.add_edge("other", END)
    chart = describe(wf, wf.compile())
    assert edges(chart) == {
        (START, "first", "flow"),
        ("first", "plain", "flow"),
        ("plain", "other", "branch"),
        ("plain", END, "branch"),
        ("other", END, "flow"),
    }
    assert {node.id: node.kind for node in chart.nodes}["plain"] == "node"


def test_a_loop_stays_a_loop() -> None:
    wf = procurement()
    wf.branch("place", lambda state: "validate_vendor", ["validate_vendor"])
    assert ("place", "validate_vendor", "branch") in edges(describe(wf, wf.compile()))


def test_describing_does_not_change_the_workflow() -> None:
    wf = procurement()
    graph = wf.compile()
    assert describe(wf, graph) == describe(wf, graph)
    assert isinstance(wf, StateGraph)


@pytest.mark.parametrize(
    ("span", "text"),
    [(86400, "1 d"), (3600, "1 h"), (5400, "90 min"), (60, "1 min"), (90, "90 s"), (1.5, "1.5 s"), (172800, "2 d")],
)
def test_durations_are_said_exactly(span: float, text: str) -> None:
    wf = Workflow("w", State, sla=timedelta(seconds=span))
    wf.task("a", skill="x")
    wf.flow(START, "a", END)
    assert describe(wf, wf.compile()).sla == text


@given(st.text(min_size=1), st.text(), st.text())
def test_no_name_breaks_the_mermaid_text(name: str, skill: str, authority: str) -> None:
    chart = Map(name, "1", "", "", [Node(name, "task", skill, (name,), authority=authority)], [Edge(name, name)])
    lines = mermaid(chart).split("\n")
    assert lines[3] == "flowchart TD"
    assert lines[4].count('"') == 2
    assert lines[4].startswith('    n0["') and lines[4].endswith('"]')
    assert lines[5] == "    n0 --> n0"


def test_json_has_nodes_and_edges() -> None:
    wf = procurement()
    data = describe(wf, wf.compile()).as_json()
    assert data["nodes"][1]["skill"] == "vendors"
    assert {"source": "approve", "target": END, "kind": "reject"} in data["edges"]
