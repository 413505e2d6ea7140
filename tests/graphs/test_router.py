"""The router as a function of data: eligible first, rules in order, agents before people, then load, cost, id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import Agent, Money, Person, Rule
from interlock.graphs.router import Facts, choose
from interlock.graphs.task import TaskSpec
from interlock.oversight.actors import Actor


def agent(name: str, **options: Any) -> Agent:
    return Agent(name, **{"skills": {"x"}, "model": "openai:small", **options})


def spec(**options: Any) -> TaskSpec:
    return TaskSpec("t", "wf", **{"skill": "x", **options})


def chosen(task: TaskSpec, *actors: Actor, **facts: Any) -> Any:
    return choose(task, actors, Facts(**{"forbidden": lambda actor: None, **facts}))


@dataclass
class Case:
    requester: str = "person:ana"


def test_agents_before_people_then_load_then_cost_then_id() -> None:
    ann, bob, cat = agent("ann", cost=Money(5, "EUR")), agent("bob", cost=Money(1, "EUR")), agent("cat")
    eve = Person("eve", skills={"x"})
    assert chosen(spec(), eve, ann, bob).actor == "agent:bob"
    assert chosen(spec(), eve, ann, bob, cat).actor == "agent:cat"
    assert chosen(spec(), ann, bob, load={"agent:bob": 3}).actor == "agent:ann"
    assert chosen(spec(), eve).actor == "person:eve"


@pytest.mark.parametrize(
    ("task", "actor", "why"),
    [
        (spec(skill="y"), agent("a"), "lacks the skill 'y'"),
        (spec(roles=frozenset({"r"})), agent("a"), "lacks the role r"),
        (spec(scopes=frozenset({"s"})), agent("a"), "lacks the scope s"),
        (spec(), agent("a", capacity=1), "is at its capacity of 1 open tasks"),
        (spec(), agent("a", roles={"forbidden"}), "because I say so"),
    ],
)
def test_why_somebody_is_not_eligible(task: TaskSpec, actor: Agent, why: str) -> None:
    def forbidden(one: Actor) -> str | None:
        return "because I say so" if "forbidden" in one.roles else None

    choice = chosen(task, actor, load={"agent:a": 1}, forbidden=forbidden)
    assert (choice.actor, choice.considered[0]["why"]) == (None, why)
    assert any(why in reason for reason in choice.why)


def test_people_need_no_scope() -> None:
    assert chosen(spec(scopes=frozenset({"s"})), Person("eve", skills={"x"})).actor == "person:eve"


def ALWAYS(task: Any, case: Any) -> bool:  # reads as a constant
    return True


def rules(*given: Rule) -> TaskSpec:
    return spec(rules=given)


def test_rules_apply_in_order_and_say_why() -> None:
    ann, bob, eve = agent("ann"), agent("bob", skills={"x", "legal"}), Person("eve", skills={"x"})
    assert chosen(rules(Rule(ALWAYS, prefer="person", why="by hand")), ann, eve).why[0] == "by hand"
    assert chosen(rules(Rule(ALWAYS, prefer="person")), ann).actor == "agent:ann"
    assert chosen(rules(Rule(ALWAYS, exclude="agent:ann")), ann, bob).actor == "agent:bob"
    assert chosen(rules(Rule(ALWAYS, assign={"skill": "legal"})), ann, bob).actor == "agent:bob"
    assert chosen(rules(Rule(ALWAYS, assign="person")), ann, eve).actor == "person:eve"
    nobody = chosen(rules(Rule(ALWAYS, assign="person", why="only people")), ann)
    assert (nobody.actor, nobody.why) == (None, ["only people"])
    both = rules(Rule(ALWAYS, exclude="person"), Rule(ALWAYS, assign="person"))
    assert chosen(both, ann, eve).actor is None
    conditional = rules(Rule(when=lambda task, case: case.requester == "person:bo", assign="person"))
    assert chosen(conditional, ann, eve, case=Case()).actor == "agent:ann"
    assert chosen(conditional, ann, eve, case=Case("person:bo")).actor == "person:eve"


def test_a_forced_actor_is_never_replaced() -> None:
    ann, bob = agent("ann"), agent("bob", capacity=1)
    facts = {"load": {"agent:bob": 1}, "forced_by": "assigned at start"}
    choice = chosen(spec(), ann, bob, forced="agent:bob", **facts)
    assert (choice.actor, choice.why) == (
        None,
        ["assigned at start: agent:bob is not eligible: is at its capacity of 1 open tasks"],
    )
    assert chosen(spec(), ann, forced="agent:ann", **facts).actor == "agent:ann"
    assert "not registered" in chosen(spec(), ann, forced="agent:zoe", **facts).why[0]


names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(names, st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_candidates(found: list[str], load: Any, shuffle: Any) -> None:
    loads = {f"agent:{name}": n for name, n in load.items()}
    actors = [agent(name, capacity=4 if name < "c" else None) for name in found]
    first = chosen(spec(), *actors, load=loads)
    shuffle.shuffle(actors)
    second = chosen(spec(), *actors, load=loads)
    assert (first.actor, first.kind) == (second.actor, second.kind)
    eligible = {one["actor"] for one in first.considered if one["eligible"]}
    assert first.actor in eligible or (first.actor is None and not eligible)
