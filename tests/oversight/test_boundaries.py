"""What is decided at each limit: found by looking at the conditions, tried on Cedar."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interlock.oversight.boundaries import Boundary, boundaries
from interlock.oversight.policy import ActionSpec
from tests.oversight.department import GET, PO, bound

SCOPE = 'principal in Interlock::Role::"buyer", action == Interlock::Action::"erp.create_po", resource'
SIGNED = f'@id("signed") permit ({SCOPE}) when {{ context.amount <= 5000 && context.approvals.purchasing >= 1 }};'


def found(text: str, *specs: ActionSpec) -> dict[str, Boundary]:
    """Boundaries by limit, of the policies of these tests."""
    policies = bound(text, specs or (PO, GET))
    assert policies.check() == []
    return {one.limit: one for one in boundaries(policies.edition) if one.file == "t.cedar"}


def row(one: Boundary) -> list[tuple[int, str]]:
    return [(d.value, str(d)) for d in (one.below, one.at, one.above) if d is not None]


def test_below_at_and_above_of_amounts() -> None:
    limits = found(f'@id("own") permit ({SCOPE}) when {{ context.amount <= 100 }};\n{SIGNED}')
    own, signed = limits["context.amount <= 100"], limits["context.amount <= 5000"]
    assert row(own) == [(99, "allowed"), (100, "allowed"), (101, "asked: 1 of purchasing")]
    assert row(signed) == [(4999, "asked: 1 of purchasing"), (5000, "asked: 1 of purchasing"), (5001, "denied")]
    assert (own.policy, own.line, own.action, signed.line) == ("own", 1, "erp.create_po", 2)


@pytest.mark.parametrize(
    ("condition", "limit", "decisions"),
    [
        ("context.amount < 100", "context.amount <= 99", ["allowed", "allowed", "denied"]),
        ("context.amount > 100", "context.amount >= 101", ["denied", "allowed", "allowed"]),
        ("100 >= context.amount", "context.amount <= 100", ["allowed", "allowed", "denied"]),
        ("!(context.amount > 100)", "context.amount <= 100", ["allowed", "allowed", "denied"]),
        ("context.counts.day < 3", "context.counts.day <= 2", ["allowed", "allowed", "denied"]),
        ("context.repeats.hour == 0", "context.repeats.hour == 0", ["denied", "allowed", "denied"]),
        ("context.args.total <= 7", "context.args.total <= 7", ["allowed", "allowed", "denied"]),
        (
            "context.totals.day + context.amount <= 500", "context.amount + context.totals.day <= 500",
            ["allowed", "allowed", "denied"],
        ),
        ("context.amount - 20 <= context.totals.day", "context.amount <= context.totals.day + 20",
         ["allowed", "allowed", "denied"]),
        ('context.currency == "EUR" && context.amount <= 5', "context.amount <= 5", ["allowed", "allowed", "denied"]),
        ('context.currency != "" && context.amount <= 5', "context.amount <= 5", ["allowed", "allowed", "denied"]),
        ('context.history.done.contains("erp.get_po") && context.amount <= 5', "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ('context.args.vendor like "ac*e" && context.amount <= 5', "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ("context.amount * 2 <= 9", "context.amount <= 4", ["allowed", "allowed", "denied"]),
        ("2 * context.amount + 4 * context.totals.day <= 9", "context.amount + 2 * context.totals.day <= 4",
         ["allowed", "allowed", "denied"]),
        ("-context.amount >= -5", "context.amount <= 5", ["allowed", "allowed", "denied"]),
        ('context.args has note && context.args.note != "" && context.amount <= 5', "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ("context.args has tags && !context.args.tags.isEmpty() && context.amount <= 5", "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ('context.preparers.containsAll(["a", "b"]) && context.amount <= 5', "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ('["EUR", "USD"].contains(context.currency) && context.amount <= 5', "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ("context.frozen && !context.late && context.amount <= 5", "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
        ("if context.frozen then context.amount <= 5 else context.amount <= 3", "context.amount <= 5",
         ["allowed", "allowed", "denied"]),
    ],
)  # fmt: skip
def test_limits_of_every_form(condition: str, limit: str, decisions: list[str]) -> None:
    fact = replace(PO, facts={"frozen": "bool", "late": "bool"})
    one = found(f'@id("p") permit ({SCOPE}) when {{ {condition} }};', fact, GET)[limit]
    assert [d.decision for d in (one.below, one.at, one.above) if d] == decisions, one


def test_a_forbid_denies_from_its_limit_on() -> None:
    forbid = SCOPE.replace('principal in Interlock::Role::"buyer"', "principal")
    text = f'@id("p") permit ({SCOPE});\n@id("f") forbid ({forbid}) when {{ context.amount > 50 }};'
    policies = bound(text)
    one = next(b for b in boundaries(policies.edition) if b.policy == "f")
    # The forbid names no role, so nobody would be permitted whom it is tried on.
    assert one.limit == "context.amount >= 51" and one.at is not None and one.at.policies == ["f"]


def test_a_policy_with_too_many_alternatives_says_so() -> None:
    wide = " && ".join(f"(context.amount < {n} || context.totals.day < {n})" for n in range(12))
    (one,) = found(f'@id("p") permit ({SCOPE}) when {{ {wide} }};').values()
    assert "too many" in one.note and one.at is None


def test_a_sum_that_one_number_alone_does_not_reach_is_said() -> None:
    odd = "2 * context.totals.day + 3 * context.totals.week == 1"
    notes = {one.note for one in found(f'@id("p") permit ({SCOPE}) when {{ {odd} }};').values()}
    assert len(notes) == 1 and "no request was found" in notes.pop()


def test_limits_of_persons() -> None:
    approver = 'principal is Interlock::Person, action == Interlock::Action::"approve:erp.create_po", resource'
    one = found(f'@id("a") permit ({approver}) when {{ principal.limit >= context.amount }};')
    limit = one["context.amount <= principal.limit"]
    assert [d.decision for d in (limit.below, limit.at, limit.above) if d] == ["allowed", "allowed", "denied"]


def test_where_no_witness_is_found_that_is_said() -> None:
    odd = "context.amount <= 5 && context.args.vendor == context.currency && context.currency != context.requester"
    one = found(f'@id("p") permit ({SCOPE}) when {{ {odd} }};')["context.amount <= 5"]
    assert one.below is one.at is one.above is None
    assert "no request was found" in one.note


def test_limits_that_approvals_lift_are_known() -> None:
    day = f'@id("day") permit ({SCOPE}) when {{ context.amount + context.totals.day <= 100 }};'
    assert found(day)["context.amount + context.totals.day <= 100"].lifted_by == {}
    assert found(f"{day}\n{SIGNED}")["context.amount + context.totals.day <= 100"].lifted_by == {"purchasing": 1}
    plain = f'@id("own") permit ({SCOPE}) when {{ context.amount <= 100 }};\n{SIGNED}'
    assert found(plain)["context.amount <= 100"].lifted_by == {}


def test_the_ends_of_the_numbers_are_no_stumbling_block() -> None:
    one = found(f'@id("p") permit ({SCOPE}) when {{ context.amount < 9223372036854775807 }};')
    assert [decision for _, decision in row(one["context.amount <= 9223372036854775806"])] == [
        "allowed",
        "allowed",
        "denied",
    ]
    assert found(f'@id("p") permit ({SCOPE}) when {{ context.amount <= 9223372036854775807 }};') == {}


def test_an_invalid_set_and_an_unknown_action_have_no_limits() -> None:
    assert boundaries(bound("permit (principal, action, resource) when { context.amuont < 5 };").edition) == []
    assert boundaries(bound("").edition, "erp.nothing") == []
