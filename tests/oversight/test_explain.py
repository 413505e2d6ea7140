"""Texts of conditions, their values, and what is said of those that cannot be evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oversight.department import ask, bound

SCOPE = '(principal, action == Interlock::Action::"erp.create_po", resource)'


def lacks(condition: str, **context: Any) -> str:
    policies = bound(f'@id("p") permit {SCOPE} when {{ {condition} }};')
    assert policies.check() == []
    return policies.decide(ask(policies, 200, **context)).reasons[0].text


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("context.amount < 5", "not context.amount < 5 (context.amount is 200)"),
        ('context.currency == "USD"', 'not context.currency == "USD" (context.currency is "EUR")'),
        ('context.args.vendor like "x*"', '(context.args.vendor is "v1")'),
        ('context.requester == "person:bo"', "(context.requester is person:ana)"),
        ("context.preparers.contains(context.requester)", "context.preparers is []"),
        ("context.args has note", "not context.args has note"),
        ("!(context.amount > 5)", "(context.amount is 200)"),
        ("context.amount < 5 || context.totals.day > 3", "context.totals.day is 0"),
        ("if context.amount > 5 then false else true", "(context.amount is 200)"),
        ("false", "not false"),
    ],
)
def test_a_false_condition_is_said_with_its_values(condition: str, said: str) -> None:
    assert said in lacks(condition)


def test_only_what_is_false_is_said() -> None:
    text = lacks('context.amount > 5 && context.amount < 100 && context.currency == "EUR"')
    assert text == "does not permit it: not context.amount < 100 (context.amount is 200)"


def test_a_condition_behind_a_failed_has_cannot_be_evaluated_and_is_not_blamed() -> None:
    text = lacks('context.args has note && context.args.note == "urgent"')
    assert text == "does not permit it: not context.args has note"
    policies = bound(f'@id("p") permit {SCOPE} when {{ context.args has note && context.args.note == "urgent" }};')
    told = policies.explain(ask(policies, 1))["policies"]
    conditions = next(policy["conditions"] for policy in told if policy["id"] == "p")
    assert [condition["holds"] for condition in conditions] == [False, None]


def test_a_scope_is_a_condition_too() -> None:
    policies = bound(
        '@id("p") permit (principal in Interlock::Role::"lead", action == Interlock::Action::"erp.create_po",'
        ' resource == Interlock::System::"crm");'
    )
    assert policies.check() == []
    text = policies.decide(ask(policies, roles=())).reasons[0].text
    assert 'principal in Interlock::Role::"lead" and resource == Interlock::System::"crm"' in text
    assert "agent:buyer in no role" in text


def test_the_limit_of_the_person_is_shown() -> None:
    scope = SCOPE.replace("erp.", "approve:erp.").replace("principal", "principal is Interlock::Person")
    policies = bound(f'@id("a") permit {scope} when {{ principal.limit >= context.amount }};')
    request = ask(policies, 5, action="approve:erp.create_po", by="person:bo")
    assert "principal.limit is 0" in dict(policies.decide(request).reasons)["a"]


def test_every_permit_of_the_action_is_named_and_no_other() -> None:
    policies = bound(
        f'@id("one") permit {SCOPE} when {{ context.amount < 5 }};\n'
        '@id("two") permit (principal, action in Interlock::Action::"effect:write", resource)\n'
        "when { context.amount < 6 };\n"
        '@id("three") permit (principal, action == Interlock::Action::"erp.get_po", resource);\n'
        '@id("four") permit (principal, action, resource) when { context.amount < 7 };\n'
        '@id("no") forbid (principal, action, resource) when { context.amount > 900 };'
    )
    assert policies.check() == []
    assert policies.decide(ask(policies, 10)).policy_ids == ["one", "two", "four"]
    assert policies.decide(ask(policies, 1000)).policy_ids == ["no"]


def test_a_permit_that_cannot_be_evaluated_is_said_as_such() -> None:
    policies = bound(f'@id("p") permit {SCOPE} when {{ context.amount + 9223372036854775807 > 5 }};')
    text = policies.decide(ask(policies, 5)).reasons[0].text
    assert "cannot be evaluated, so the answer is no" in text and "overflow" in text


def test_a_policy_without_id_is_named_by_its_place() -> None:
    policies = bound(f"\n\nforbid {SCOPE};")
    reason = policies.decide(ask(policies)).reasons[0]
    assert list(reason) == ["t:3", "forbidden by t:3"]


def test_a_long_value_is_cut() -> None:
    text = lacks('context.args.vendor == "v" || context.args has tags && context.args.tags.contains("x")', args={
        "total": 1, "vendor": "w" * 5000, "tags": ["y" * 5000],
    })  # fmt: skip
    assert len(text) < 600 and "www..." in text and "yyy..." in text


def test_values_are_not_shown_twice_nor_in_part() -> None:
    text = lacks("context.totals.by_actor.day > 5 && context.totals == context.totals")
    assert text.endswith("(context.totals.by_actor.day is 0)")
