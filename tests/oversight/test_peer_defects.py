"""Defects that were reproduced in another governance toolkit: here each of them is a no."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interlock import errors
from interlock.money import Money
from interlock.observability.ledger import Ledger
from interlock.oversight.actors import Actors, Person
from interlock.oversight.inbox import Decision, Inbox, Item
from interlock.oversight.policy import Policies, Request
from interlock.storage.database import Database
from interlock.testing import ManualClock
from tests.oversight.department import add_case, ask, bound

SCOPE = '(principal, action == Interlock::Action::"erp.create_po", resource)'
ANYONE = f'@id("any") permit {SCOPE};'
SIGNED = f"""
@id("two") permit {SCOPE} when {{ context.approvals.purchasing >= 2 }};
@id("app") permit (principal in Interlock::Role::"purchasing", action == Interlock::Action::"approve:erp.create_po",
  resource) when {{ principal.limit >= context.amount }};
"""


def test_1_a_deny_rule_on_the_amount_stops_the_call() -> None:
    policies = bound(f'{ANYONE} @id("cap") forbid {SCOPE} when {{ context.amount > 5000 }};')
    assert policies.decide(ask(policies, 5000)).allowed
    assert policies.decide(ask(policies, 100000)).policy_ids == ["cap"]


def test_2_the_amount_as_a_text_stops_the_call() -> None:
    policies = bound(f'{ANYONE} @id("cap") forbid {SCOPE} when {{ context.amount > 5000 }};')
    request = ask(policies, 1)
    assert not policies.decide(replace(request, context={**request.context, "amount": "100000"})).allowed
    assert not policies.decide(replace(request, context={**request.context, "amount": "1"})).allowed


def test_3_an_allow_rule_with_two_conditions_needs_both() -> None:
    policies = bound(f'permit {SCOPE} when {{ context.currency == "EUR" && context.amount <= 5000 }};')
    assert policies.decide(ask(policies, 5000)).allowed
    assert not policies.decide(ask(policies, 5001)).allowed
    assert not policies.decide(ask(policies, 5000, currency="USD")).allowed


def test_4_an_allow_rule_with_a_misspelled_attribute_lets_nothing_through() -> None:
    policies = bound(f"{ANYONE} permit {SCOPE} when {{ context.amuont <= 5000 }};")
    assert policies.check()
    assert not policies.decide(ask(policies, 1)).allowed


@pytest.mark.parametrize(("amount", "currency", "allowed"), [(9, "EUR", False), (9, "USD", True), (1, "EUR", True)])
def test_5_brackets_count(amount: int, currency: str, allowed: bool) -> None:
    policies = bound(f'permit {SCOPE} when {{ !(context.amount > 5 && context.currency == "EUR") }};')
    assert policies.decide(ask(policies, amount, currency=currency)).allowed is allowed
    grouped = bound(f"permit {SCOPE} when {{ (context.amount + 1) * 2 <= 20 }};")
    assert [grouped.decide(ask(grouped, n)).allowed for n in (9, 10)] == [True, False]


@pytest.mark.parametrize(
    "garbage",
    [
        "amount > 5000 -> deny",
        "rules: [{effect: deny}]",
        '{"Effect": "Deny"}',
        "permit(principal, action);",
        "\x00\x01",
    ],
)
def test_6_garbage_does_not_validate(garbage: str) -> None:
    policies = bound(f"{ANYONE}\n{garbage}")
    assert policies.check()
    assert not policies.decide(ask(policies, 1)).allowed


def item(request: Request, stage: int = 0, excluded: tuple[str, ...] = ()) -> Item:
    return Item(
        f"i{stage}", "default", "approval", "c1", "buying", "order", effect_key="e1", digest="d1", stage=stage,
        requester="person:ana", authority="purchasing", request=request, excluded=list(excluded),
    )  # fmt: skip


@pytest.fixture
def policies() -> Policies:
    return bound(SIGNED)


@pytest.fixture
async def inbox(db: Database, ledger: Ledger, clock: ManualClock, policies: Policies) -> Inbox:
    await add_case(db, "c1", "waiting")
    people = [Person(name, authorities={"purchasing": Money(10**6, "EUR")}) for name in ("ana", "bo", "cy")]
    return Inbox(db, ledger, policies, Actors(people), clock)


async def test_9_the_requester_does_not_approve_the_own_request(db: Database, inbox: Inbox, policies: Policies) -> None:
    await db.commit(inbox.opening(item(ask(policies, 500))))
    with pytest.raises(errors.NotAuthorized):
        await inbox.decide("i0", Decision.approve(), by="person:ana")
    assert (await inbox.get("i0")).open


async def test_10_one_person_does_not_fill_both_stages(db: Database, inbox: Inbox, policies: Policies) -> None:
    request = ask(policies, 500)
    await db.commit(inbox.opening(item(request)))
    await inbox.decide("i0", Decision.approve(), by="person:bo")
    await db.commit(inbox.opening(item(request, 1)))  # even when nobody said who the first approver was
    with pytest.raises(errors.NotAuthorized):
        await inbox.decide("i1", Decision.approve(), by="person:bo")
    granted = await inbox.granted(request, case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 1}
    await inbox.decide("i1", Decision.approve(), by="person:cy")
    granted = await inbox.granted(request, case_id="c1", effect_key="e1", digest="d1")
    assert granted.approvals == {"purchasing": 2}
