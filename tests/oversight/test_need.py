"""Need and who: the fewest approvals that permit a call, and the persons who may give them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.money import Money
from interlock.oversight.actors import Person
from interlock.oversight.need import QUORUM, separated, with_approvals
from interlock.oversight.policy import Policies
from tests.oversight.department import ask, bound

PERMIT = 'permit (principal, action == Interlock::Action::"erp.create_po", resource)'
APPROVE = (
    '@id("app") permit (principal in Interlock::Role::"purchasing", action == '
    'Interlock::Action::"approve:erp.create_po", resource) when { principal.limit >= context.amount };'
)


def when(condition: str) -> Policies:
    policies = bound(f"{PERMIT} when {{ {condition} }};\n{APPROVE}", authorities=("purchasing", "cfo", "legal"))
    assert policies.check() == []
    return policies


@pytest.mark.parametrize(
    ("condition", "need"),
    [
        ("true", {}),
        ("context.approvals.purchasing >= 1", {"purchasing": 1}),
        ("context.approvals.purchasing >= 2", {"purchasing": 2}),
        ("context.approvals.purchasing >= 3", None),
        ("context.approvals.purchasing >= 1 && context.approvals.cfo >= 1", {"purchasing": 1, "cfo": 1}),
        ("context.approvals.cfo >= 1 || context.approvals.purchasing >= 2", {"cfo": 1}),
        ("context.approvals.purchasing >= 1 || context.approvals.cfo >= 1", {"purchasing": 1}),
        ("context.approvals.purchasing + context.approvals.cfo >= 3", {"purchasing": 2, "cfo": 1}),
        ("context.approvals.purchasing >= 1 && context.amount < 0", None),
        ("context.approvals.purchasing == 0 && context.amount > 0", None),
        ("context.amount > 5", None),
    ],
)
def test_the_smallest_vector(condition: str, need: dict[str, int] | None) -> None:
    policies = when(condition)
    assert policies.need(ask(policies, 0)) == need


def test_the_counts_are_totals_with_those_that_are_there() -> None:
    policies = when("context.approvals.purchasing >= 2")
    assert policies.need(ask(policies, approvals={"purchasing": 1})) == {"purchasing": 2}
    policies = when("context.approvals.purchasing >= 1 && context.approvals.cfo >= 1")
    assert policies.need(ask(policies, approvals={"cfo": 1})) == {"purchasing": 1, "cfo": 1}


def test_a_forbid_that_approvals_do_not_lift_leaves_no_need() -> None:
    text = f"{PERMIT} when {{ context.approvals.purchasing >= 1 }};\n"
    policies = bound(text + "forbid (principal, action, resource) when { context.totals.day > 100 };")
    assert policies.need(ask(policies)) == {"purchasing": 1}
    assert policies.need(ask(policies, totals={"day": 101})) is None


def test_many_authorities_are_searched_within_a_bound() -> None:
    names = [f"a{n}" for n in range(30)]
    any_of = " || ".join(f"context.approvals.{name} >= 1" for name in names)
    policies = bound(f"{PERMIT} when {{ {any_of} }};", authorities=names)
    assert policies.need(ask(policies)) == {"a0": 1}
    last = bound(f"{PERMIT} when {{ {any_of} }} unless {{ context.approvals.a29 < 1 }};", authorities=names)
    assert last.need(ask(last)) == {"a29": 1}
    all_of = " && ".join(f"context.approvals.{name} >= 1" for name in names)
    assert (policies := bound(f"{PERMIT} when {{ {all_of} }};", authorities=names)).need(ask(policies)) is None


def test_a_gate_needs_one_approval_of_the_authority_it_names() -> None:
    policies = bound("")
    gate = ask(policies, 900, action="buying.approve", authority="purchasing")
    assert policies.need(gate) == {"purchasing": 1}
    assert policies.decide(with_approvals(gate, {"purchasing": 1})).allowed
    assert not policies.decide(with_approvals(gate, {"cfo": 2})).allowed
    assert not policies.decide(with_approvals(gate, {})).allowed
    assert policies.need(ask(policies, action="buying.approve", authority="treasury")) == {"treasury": 1}


def test_a_hypothetical_request_leaves_the_first_one_as_it_was() -> None:
    policies = when("context.approvals.purchasing >= 1")
    request = ask(policies)
    policies.need(request)
    assert request.context["approvals"] == {"cfo": 0, "legal": 0, "operator": 0, "purchasing": 0}


conditions = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["purchasing", "cfo", "legal"]), st.integers(0, 3)), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(conditions)
def test_need_is_minimal(ways: list[list[tuple[str, int]]]) -> None:
    policies = when(
        " || ".join("(" + " && ".join(f"context.approvals.{n} >= {c}" for n, c in way) + ")" for way in ways)
    )
    names = ("purchasing", "cfo", "legal")
    permitted = [
        dict(zip(names, vector, strict=True))
        for vector in product(range(QUORUM + 1), repeat=3)
        if any(all(vector[names.index(n)] >= c for n, c in way) for way in ways)
    ]
    need = policies.need(ask(policies))
    if need is None:
        assert not permitted
    else:
        full = {name: need.get(name, 0) for name in names}
        assert full in permitted
        assert sum(need.values()) == min(sum(vector.values()) for vector in permitted)
        assert 0 not in need.values()


def person(name: str, limit: int = 1000, currency: str = "EUR", **more: str) -> Person:
    return Person(name, authorities={more.get("authority", "purchasing"): Money(limit, currency)})


def test_who_is_everyone_with_authority_and_limit() -> None:
    policies = when("context.approvals.purchasing >= 1")
    people = [
        person("bo"), person("cy", 499), person("di", 500), person("ed", currency="USD"),
        person("fay", authority="cfo"), Person("gil", roles={"purchasing"}), Person("hal"),
    ]  # fmt: skip
    request = ask(policies, 500)
    assert policies.who(request, "purchasing", people) == ["person:bo", "person:di"]
    assert policies.who(request, "cfo", people) == []
    assert policies.who(request, "nothing", people) == []
    assert policies.who(request, "purchasing", []) == []


def test_a_role_without_a_limit_approves_nothing_but_zero() -> None:
    policies = when("context.approvals.purchasing >= 1")
    assert policies.who(ask(policies, 0), "purchasing", [Person("gil", roles={"purchasing"})]) == ["person:gil"]
    assert policies.who(ask(policies, 1), "purchasing", [Person("gil", roles={"purchasing"})]) == []


def test_one_excluded_person_does_not_veto_the_others() -> None:
    policies = when("context.approvals.purchasing >= 1")
    people = [person("bo"), person("cy")]
    assert policies.who(ask(policies), "purchasing", people, ["person:bo"]) == ["person:cy"]


def test_requester_and_preparers_never_may_also_when_the_caller_forgets_them() -> None:
    policies = when("context.approvals.purchasing >= 1")
    people = [person("ana"), person("bo"), person("cy")]
    request = ask(policies, requester="person:ana", preparers=["agent:x", "person:cy"])
    assert policies.who(request, "purchasing", people) == ["person:bo"]


def test_a_replaced_builtin_does_not_let_the_excluded_approve() -> None:
    policies = Policies({"builtin.cedar": '@id("all") permit (principal, action, resource);'})
    from_department = bound("")
    known = from_department.edition.actions.values()
    policies.bind([a.spec for a in known if not a.name.startswith("approve:")], (), ())
    assert policies.check() == []
    people = [person("ana"), person("bo")]
    assert policies.who(ask(policies, requester="person:ana"), "purchasing", people) == ["person:bo"]


def test_a_second_approver_without_authority_does_not_count() -> None:
    policies = when("context.approvals.purchasing >= 2")
    request = ask(policies, 500)
    people = [person("bo"), person("fay", authority="cfo")]
    first = policies.who(request, "purchasing", people)
    assert first == ["person:bo"]
    assert policies.who(request, "purchasing", people, excluded=first) == []
    told = policies.explain(request, people)
    assert (told["decision"], told["need"], told["who"]) == ("asked", {"purchasing": 2}, {"purchasing": ["person:bo"]})


def test_a_thousand_people_are_asked_at_once() -> None:
    policies = when("context.approvals.purchasing >= 1")
    people = [person(f"p{n}", n) for n in range(1000)]
    assert len(policies.who(ask(policies, 900), "purchasing", people)) == 100


def test_limits_are_those_of_the_request_as_it_is_now() -> None:
    policies = when("context.approvals.purchasing >= 1")
    request = ask(policies, 500)
    assert policies.who(request, "purchasing", [person("bo", 500)]) == ["person:bo"]
    more = replace(request, context={**request.context, "amount": 501})
    assert policies.who(more, "purchasing", [person("bo", 500)]) == []


def test_separated_keeps_persons_only() -> None:
    assert separated("person:bo", None, "", ["agent:x", "person:al"], ()) == ["person:al", "person:bo"]
    assert separated() == []
