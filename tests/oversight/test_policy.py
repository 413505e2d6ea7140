"""Decisions: default deny, forbid wins, every error is a deny, reasons for people; and binding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock import errors
from interlock.oversight.actions import Request
from interlock.oversight.policy import ActionSpec, Policies
from tests.oversight.department import ACTIONS, GATE, GET, PO, ask, bound

BUY = (
    '@id("buy") permit (principal in Interlock::Role::"buyer", action == Interlock::Action::"erp.create_po", resource)'
)
ANYONE = '@id("any") permit (principal, action == Interlock::Action::"erp.create_po", resource);'


def test_default_is_deny_also_without_any_policy() -> None:
    policies = bound("")
    assert policies.check() == []
    verdict = policies.decide(ask(policies))
    assert not verdict.allowed
    assert verdict.policy_ids == ["interlock.default"]


def test_forbid_wins_and_reasons_carry_id_and_reason() -> None:
    policies = bound(
        f'{BUY} when {{ context.amount <= 100 }};\n@id("stop")\n@reason("no purchases above 50 this month")\n'
        'forbid (principal, action in Interlock::Action::"system:erp", resource) when { context.amount > 50 };'
    )
    assert policies.check() == []
    allowed = policies.decide(ask(policies, 50))
    assert allowed.allowed and list(allowed.reasons[0]) == ["buy", "permitted by buy"]
    denied = policies.decide(ask(policies, 51))
    assert not denied.allowed
    assert [list(reason) for reason in denied.reasons] == [["stop", "no purchases above 50 this month"]]
    assert denied.version == policies.version


def test_a_default_denial_names_every_permit_and_its_false_conjuncts_with_values() -> None:
    policies = bound(
        f"{BUY} when {{ context.amount <= 100 && context.totals.day + context.amount <= 500 }};\n"
        '@id("signed") permit (principal, action == Interlock::Action::"erp.create_po", resource)\n'
        'when { context.approvals.purchasing >= 1 } unless { context.workflow == "test" };'
    )
    verdict = policies.decide(ask(policies, 200, roles=["clerk"], totals={"day": 400}, workflow="test"))
    texts = dict(verdict.reasons)
    assert list(texts) == ["buy", "signed"]
    assert 'principal in Interlock::Role::"buyer" (principal is agent:buyer in clerk)' in texts["buy"]
    assert "context.amount <= 100 (context.amount is 200)" in texts["buy"]
    assert "context.totals.day is 400" in texts["buy"]
    assert "context.approvals.purchasing is 0" in texts["signed"]
    assert 'context.workflow is "test"' in texts["signed"]
    only = policies.decide(ask(policies, 200, totals={"day": 0})).reasons[0].text
    assert "totals" not in only and "principal" not in only


def test_a_forbid_that_cannot_be_evaluated_denies() -> None:
    policies = bound(
        f'{ANYONE}\n@id("over") forbid (principal, action == Interlock::Action::"erp.create_po", resource)\n'
        "when { context.amount * 4000000000 > 5 };"
    )
    assert policies.check() == []
    assert policies.decide(ask(policies, 0)).allowed
    verdict = policies.decide(ask(policies, 2**60))
    assert not verdict.allowed
    assert verdict.policy_ids == ["over"]
    assert "overflow" in verdict.reasons[0].text


def test_a_permit_that_cannot_be_evaluated_denies_even_beside_one_that_holds() -> None:
    policies = bound(
        f'{ANYONE}\n@id("sum") permit (principal, action == Interlock::Action::"erp.create_po", resource)\n'
        "when { context.amount + context.totals.day > 0 };"
    )
    assert not policies.decide(ask(policies, 2**62, totals={"day": 2**62})).allowed


BROKEN: list[dict[str, Any]] = [
    {"amount": "5"}, {"amount": 5.5}, {"amount": True}, {"amount": 2**63}, {"amount": -(2**63) - 1},
    {"amount": None}, {"amount": [5]}, {"amount": {"__entity": {"type": "Interlock::Role", "id": "buyer"}}},
    {"amount": object()}, {"amount": float("nan")},
]  # fmt: skip


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_request_that_does_not_fit_the_schema_is_denied_and_never_raises(wrong: dict[str, Any]) -> None:
    policies = bound(f'{ANYONE} @id("f") forbid (principal, action, resource) when {{ context.amount > 1000000 }};')
    request = ask(policies, 5)
    assert policies.decide(request).allowed
    verdict = policies.decide(replace(request, context={**request.context, **wrong}))
    assert not verdict.allowed
    assert verdict.policy_ids == ["interlock.request"]
    assert policies.need(replace(request, context={**request.context, **wrong})) is None


def test_a_value_that_is_no_json_is_denied_and_never_raises() -> None:
    policies = bound(f"{BUY} when {{ context.amount <= 100 }};")
    asked = ask(policies)
    verdict = policies.decide(replace(asked, context={**asked.context, "amount": object()}))
    assert (verdict.allowed, verdict.policy_ids) == (False, ["interlock.request"])


def test_a_missing_attribute_is_denied() -> None:
    policies = bound(f'{ANYONE} @id("f") forbid (principal, action, resource) when {{ context.amount > 1000000 }};')
    request = ask(policies, 5)
    bare = {key: value for key, value in request.context.items() if key != "amount"}
    assert not policies.decide(replace(request, context=bare)).allowed
    assert not policies.decide(replace(request, context={})).allowed


@pytest.mark.parametrize("who", ["", "buyer", "robot:x", "agent:", "person:", 'agent:"x', "agent:ü"])
def test_strange_principals_are_answered_not_raised(who: str) -> None:
    policies = bound(f"{BUY};")
    assert not policies.decide(ask(policies, 5, by=who, roles=())).allowed


def test_roles_are_names_not_syntax() -> None:
    policies = bound(f"{BUY};")
    assert not policies.decide(ask(policies, 5, roles=['buyer"', "Buyer", "buyer ", ""])).allowed


def test_an_unknown_action_is_denied_with_a_suggestion() -> None:
    policies = bound(f"{BUY};")
    verdict = policies.decide(Request("erp.create_pos", "agent:buyer"))
    assert not verdict.allowed
    assert "did you mean erp.create_po?" in verdict.reasons[0].text
    assert policies.need(Request("erp.create_pos", "agent:buyer")) is None
    assert policies.who(Request("erp.create_pos", "agent:buyer"), "purchasing", []) == []
    assert policies.complete_context("erp.create_pos", {"amount": 1}) == {"amount": 1}


def test_before_bind_everything_is_denied() -> None:
    policies = Policies({"t.cedar": ANYONE})
    verdict = policies.decide(Request("erp.create_po", "agent:buyer"))
    assert not verdict.allowed and verdict.policy_ids == ["interlock.policies"]
    assert policies.check()
    assert policies.explain(Request("erp.create_po", "agent:buyer"))["decision"] == "denied"


def test_an_invalid_set_denies_every_call_until_it_is_bound_validly() -> None:
    typo = '@id("x") permit (principal, action == Interlock::Action::"erp.get", resource);'
    policies = bound(f"{ANYONE}\n{typo}")
    verdict = policies.decide(ask(policies, 1))
    assert not verdict.allowed
    assert "t.cedar:2:" in verdict.reasons[0].text
    assert policies.who(ask(policies, 1), "purchasing", []) == []
    # The tool is registered now: the same set is valid.
    policies.bind([*ACTIONS, ActionSpec("erp.get", "read")], ("buyer",), ())
    assert policies.check() == []
    assert policies.decide(ask(policies, 1)).allowed
    # And a tool that goes away makes it invalid again.
    policies.bind(ACTIONS, ("buyer",), ())
    assert not policies.decide(ask(policies, 1)).allowed


def test_binding_again_keeps_the_version_which_follows_the_text() -> None:
    one, other = bound(ANYONE), bound(ANYONE + " ")
    assert one.version == bound(ANYONE).version != other.version


def test_groups_reach_calls_but_make_no_approvers() -> None:
    policies = bound('@id("all") permit (principal, action in Interlock::Action::"effect:write", resource);')
    assert policies.decide(ask(policies)).allowed
    assert not policies.decide(ask(policies, action="erp.get_po")).allowed
    assert not policies.decide(ask(policies, action="approve:erp.create_po", by="person:bo")).allowed


def test_a_rule_about_an_effect_is_valid_before_its_first_tool() -> None:
    text = '@id("r") permit (principal, action in Interlock::Action::"effect:read", resource);'
    assert bound(text, [PO]).check() == []
    assert bound("", []).check() == []


def test_agents_never_approve_whatever_a_policy_says() -> None:
    policies = bound('@id("a") permit (principal, action == Interlock::Action::"approve:erp.create_po", resource);')
    assert policies.check() == []
    assert policies.decide(ask(policies, action="approve:erp.create_po", by="person:bo")).allowed
    verdict = policies.decide(ask(policies, action="approve:erp.create_po", by="agent:buyer"))
    assert not verdict.allowed and verdict.policy_ids == ["interlock.separation"]


@pytest.mark.parametrize("excluded", [["person:bo"], [{"__entity": {}}], [None], "person:bo", [{"id": "bo"}], 5, None])
def test_a_malformed_exclusion_is_never_a_permit_by_accident(excluded: Any) -> None:
    policies = bound(
        '@id("a") permit (principal, action == Interlock::Action::"approve:erp.create_po", resource)'
        " when { context.amount < 10 };"
    )
    request = ask(policies, action="approve:erp.create_po", by="person:bo")
    verdict = policies.decide(replace(request, context={**request.context, "excluded": excluded}))
    assert not verdict.allowed


def test_builtin_rules_can_be_replaced() -> None:
    mine = Policies({"builtin.cedar": '@id("mine") permit (principal, action, resource);'})
    mine.bind(ACTIONS, (), ())
    assert mine.check() == []
    assert mine.decide(Request("case.start", "person:ana")).policy_ids == ["mine"]


def test_builtin_actions_follow_the_shipped_rules() -> None:
    policies = bound("")
    start = policies.complete_context("case.start", {"registered": True})
    assert policies.decide(Request("case.start", "person:ana", context=start)).allowed
    start = policies.complete_context("case.start", {})
    assert not policies.decide(Request("case.start", "person:ana", context=start)).allowed
    for skill, skills, allowed in (("buying", ["buying"], True), ("law", ["buying"], False), ("", [], True)):
        context = policies.complete_context("task.perform", {"skill": skill, "skills": skills})
        assert policies.decide(Request("task.perform", "agent:x", context=context)).allowed is allowed
    for labels, held, allowed in ((["hr"], ["hr", "x"], True), (["hr"], ["x"], False), ([], [], True)):
        context = policies.complete_context("context.read", {"labels": labels, "held": held})
        assert policies.decide(Request("context.read", "agent:x", context=context)).allowed is allowed


def test_a_tainted_target_needs_an_operator() -> None:
    policies = bound(ANYONE)
    clean = ask(policies, 5, origins={"vendor": ["registry"]})
    assert policies.decide(clean).allowed
    for origins in (["untrusted"], ["unknown"], ["untrusted", "unknown"]):
        tainted = ask(policies, 5, origins={"vendor": origins})
        verdict = policies.decide(tainted)
        assert not verdict.allowed and verdict.policy_ids == ["taint.target"]
        assert policies.need(tainted) == {"operator": 1}
        assert policies.decide(ask(policies, 5, origins={"vendor": origins}, approvals={"operator": 1})).allowed
    assert policies.decide(ask(policies, 5, origins={"vendor": ["untrusted", "input"]})).allowed


def test_explain_tells_decision_need_who_and_conditions() -> None:
    policies = bound(f"{BUY} when {{ context.amount <= 100 }};")
    told = policies.explain(ask(policies, 200))
    assert (told["decision"], told["need"], told["who"]) == ("denied", None, {})
    buy = next(policy for policy in told["policies"] if policy["id"] == "buy")
    assert (buy["effect"], buy["file"], buy["line"]) == ("permit", "t.cedar", 1)
    assert [(c["text"], c["holds"]) for c in buy["conditions"]] == [
        ('principal in Interlock::Role::"buyer"', True), ("context.amount <= 100", False),
    ]  # fmt: skip
    assert policies.explain(ask(policies, 100))["decision"] == "allowed"


ORDER = ActionSpec(
    "cmms.create_work_order",
    system="cmms",
    args={"properties": {"priority": {"type": "integer"}}, "required": ["priority"]},
)


@pytest.mark.parametrize("actions", [[], [PO], [GATE], [ORDER], [ActionSpec("cmms.report", system="cmms")]])
def test_shipped_policies_bind_on_any_plane(actions: list[ActionSpec]) -> None:
    policies = Policies()
    policies.bind(actions, (), ())
    assert policies.check() == []
    assert policies.hints() == []


def test_a_list_of_the_shipped_policies_holds_for_those_of_its_actions_that_are_there() -> None:
    policies = Policies()
    policies.bind([ActionSpec("cmms.report", system="cmms")], (), ())
    report = Request("cmms.report", "agent:x", frozenset({"maintenance-agent"}), "cmms")
    context = policies.complete_context("cmms.report", {})
    assert policies.decide(replace(report, context=context)).policy_ids == ["maintenance.write"]


def test_hints_name_roles_that_nobody_has() -> None:
    policies = bound(f"{BUY.replace('buyer', 'buyr')};")
    assert policies.check() == []
    hint = policies.hints()[0]
    assert (hint.file, hint.line, hint.suggestion) == ("t.cedar", 1, "did you mean buyer?")
    assert "'buyr'" in hint.message


def test_a_fact_may_not_take_a_name_or_type_that_is_none() -> None:
    for facts in ({"amount": "long"}, {"mine": "float"}, {"excluded": "set"}):
        with pytest.raises(errors.ConfigurationError):
            bound(ANYONE, [ActionSpec("erp.create_po", facts=facts)])


def test_facts_are_typed_and_complete() -> None:
    spec = ActionSpec("erp.create_po", facts={"frozen": "bool", "open": "long", "site": "string", "seen": "set"})
    policies = bound(
        f'{ANYONE} @id("f") forbid (principal, action == Interlock::Action::"erp.create_po", resource)'
        ' when { context.frozen || context.open > 3 || context.site == "x" || context.seen.contains("y") };',
        [spec],
    )
    assert policies.check() == []
    assert policies.decide(ask(policies)).allowed
    facts: list[dict[str, Any]] = [{"frozen": True}, {"open": 4}, {"site": "x"}, {"seen": {"y"}}, {"open": "4"}]
    for fact in facts:
        assert not policies.decide(ask(policies, **fact)).allowed


def test_a_rule_for_all_actions_may_test_a_fact_that_only_some_have() -> None:
    policies = bound(
        f'{ANYONE} @id("get") permit (principal, action == Interlock::Action::"erp.get_po", resource);'
        '@id("f") forbid (principal, action, resource) when { context has frozen && context.frozen };',
        [replace(PO, facts={"frozen": "bool"}), GET],
    )
    assert policies.check() == []
    assert policies.decide(ask(policies, action="erp.get_po")).allowed
    assert policies.decide(ask(policies)).allowed
    assert not policies.decide(ask(policies, frozen=True)).allowed


def test_a_set_is_read_from_a_folder_a_file_or_texts(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("\ufeff" + ANYONE, "utf-8")
    (tmp_path / "b.yaml").write_text("- {role: cfo, action: erp.create_po, currency: EUR, per_act: 10}", "utf-8")
    (tmp_path / "c.yml").write_text("- {role: hr, action: erp.create_po, currency: EUR, per_act: 10}", "utf-8")
    (tmp_path / "notes.txt").write_text("no policy", "utf-8")
    folder = Policies(tmp_path)
    assert list(folder.files) == ["builtin.cedar", "a.cedar", "b.yaml", "c.yml"]
    folder.bind(ACTIONS, (), ("cfo",))
    assert folder.check() == []
    assert list(Policies(tmp_path / "a.cedar").files) == ["builtin.cedar", "a.cedar"]


def test_a_source_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "latin.cedar").write_bytes(b"\xff\xfe\xff")
    for source in (tmp_path / "none", tmp_path / "latin.cedar", tmp_path / "none.yaml"):
        with pytest.raises(errors.ConfigurationError) as caught:
            Policies(source)
        assert caught.value.hint
    for text in (None, 5, b"permit", Path("x.cedar")):
        with pytest.raises(errors.ConfigurationError):
            Policies({"x": text})  # type: ignore[dict-item]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(errors.ConfigurationError, match=r"no \*\.cedar"):
        Policies(empty)


@settings(max_examples=40, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_a_bound_holds_for_every_number(amount: int, day: int) -> None:
    verdict = BOUNDED.decide(ask(BOUNDED, amount, totals={"day": day}))
    assert verdict.allowed is (amount <= 100 and -(2**63) <= day + amount <= 500)


BOUNDED = bound(f"{BUY} when {{ context.amount <= 100 && context.totals.day + context.amount <= 500 }};")


async def test_policies_without_a_ledger_simulate_nothing() -> None:
    with pytest.raises(errors.ConfigurationError, match="no ledger"):
        await bound(ANYONE).simulate({"t.cedar": ANYONE})
