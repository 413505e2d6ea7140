"""The layout of maps, and the SVG that is made of it."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START

from interlock.graphs.drawing import svg
from interlock.graphs.layout import Box, arrange
from interlock.graphs.map import Edge, Kind, Map, Node, Way

GRAPHS = st.integers(1, 14).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30))
)
SVG = "{http://www.w3.org/2000/svg}"


def apart(one: Box, other: Box) -> bool:
    beside = abs(one.x - other.x) >= (one.width + other.width) / 2 - 0.01
    return beside or one.bottom <= other.top + 0.01 or other.bottom <= one.top + 0.01


@given(GRAPHS)
@settings(max_examples=60, deadline=None)
def test_boxes_never_overlap_and_ways_lead_down(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, numbered = graph
    names = [f"s{number}" for number in range(size)]
    edges = [(names[a], names[b]) for a, b in numbered]
    sizes = {name: (100.0 + 20 * (number % 3), 30.0 + 10 * (number % 4)) for number, name in enumerate(names)}
    found = arrange(sizes, edges)
    assert found.boxes.keys() == sizes.keys() and len(found.lines) == len(edges)
    boxes = list(found.boxes.values())
    assert all(apart(one, other) for i, one in enumerate(boxes) for other in boxes[:i])
    for (source, target), line in zip(edges, found.lines, strict=True):
        if line.back:
            assert found.boxes[target].top <= found.boxes[source].top
        else:
            assert found.boxes[source].bottom < found.boxes[target].top
            assert [y for _, y in line.points] == sorted(y for _, y in line.points)
    slip = 1e-6  # coordinates are sums of fractions
    assert all(b.x - b.width / 2 >= -slip and b.x + b.width / 2 <= found.width + slip for b in boxes)
    assert all(b.bottom <= found.height + slip for b in boxes)


@given(GRAPHS)
@settings(max_examples=20, deadline=None)
def test_long_lines_pass_beside_the_boxes(graph: tuple[int, list[tuple[int, int]]]) -> None:
    names = [f"s{number}" for number in range(graph[0])]
    found = arrange(dict.fromkeys(names, (120.0, 40.0)), [(names[a], names[b]) for a, b in graph[1]])
    for line in found.lines:
        inner = [] if line.back else line.points[1:-1]
        for (x, top), (_, bottom) in zip(inner[::2], inner[1::2], strict=True):
            for box in found.boxes.values():
                crosses = box.top < bottom and top < box.bottom
                assert not crosses or abs(x - box.x) >= box.width / 2


def test_the_same_graph_gives_the_same_layout() -> None:
    sizes = dict.fromkeys("abcdef", (80.0, 20.0))
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "a"), ("a", "f"), ("e", "f")]
    assert arrange(sizes, edges) == arrange(sizes, edges)


def test_a_straight_flow_is_drawn_straight() -> None:
    names = [f"s{number}" for number in range(40)]
    found = arrange(dict.fromkeys(names, (90.0, 30.0)), list(itertools.pairwise(names)))
    assert len({round(box.x, 3) for box in found.boxes.values()}) == 1


def test_nothing_to_draw_is_no_error() -> None:
    assert arrange({}, []).boxes == {}


def chart(*names: str, kind: Kind = "task", way: Way = "flow") -> Map:
    nodes = [Node(START, "start"), *(Node(name, kind, "skill", ("a.b",), "4 h", "", ("agent:x",)) for name in names)]
    nodes.append(Node(END, "end"))
    steps = [node.id for node in nodes]
    edges = [Edge(a, b, way) for a, b in itertools.pairwise(steps)]
    return Map("work <flow>", "1", "own&er", "1 d", nodes, edges)


def texts(document: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(document).iter(f"{SVG}text")]  # ours


def test_the_picture_is_whole_xml_with_a_group_per_step() -> None:
    document = svg(chart("triage", "plan"))
    root = ElementTree.fromstring(document)  # ours
    assert [g.get("data-step") for g in root.iter(f"{SVG}g") if g.get("data-step")] == [START, "triage", "plan", END]
    assert {"work <flow>", "triage", "plan", "within 4 h", "a.b", "by x"} <= set(texts(document))
    assert len([p for p in root.iter(f"{SVG}path") if "way flow" in (p.get("class") or "")]) == 3


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_name_breaks_the_picture(name: str) -> None:
    if name in (START, END):
        return
    root = ElementTree.fromstring(svg(chart(name)))  # ours
    assert len([g for g in root.iter(f"{SVG}g") if g.get("data-step") is not None]) == 3


def test_it_needs_nothing_from_outside_and_runs_no_script() -> None:
    document = svg(chart('<script>alert("x")</script>', "javascript:alert(1)"))
    assert not re.search(r"<script|@import|url\((?!#)|href|onload", document)
    assert re.findall(r"https?://[^\"' ]+", document) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme:dark" in document


def test_a_long_name_is_cut_and_kept_whole_in_the_tool_tip() -> None:
    long = "a_very_long_name_of_a_step_that_does_not_fit_anywhere"
    document = svg(chart(long))
    assert long not in texts(document)
    assert any(text.endswith("…") for text in texts(document))
    assert long in document


def test_many_tools_are_counted() -> None:
    tools = tuple(f"system.tool_{number}" for number in range(9))
    document = svg(Map("w", "1", "", "", [Node("a", "task", "s", tools)], []))
    assert "and 5 more tools" in texts(document)
    assert "system.tool_8" in document
